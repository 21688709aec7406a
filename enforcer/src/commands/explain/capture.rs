//! `enforcer explain --pcap`: what becomes of captured frames.

use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use enforcer::api::{CapturedFrame, ExplainFrames, Explanation};
use enforcer::control::client::Client;
use enforcer::exit::Exit;
use enforcer::policy::explain::{captured, frames_on_host};
use pcap_parser::pcapng::Block;
use pcap_parser::{Linktype, PcapCapture, PcapError, PcapNGCapture};

use super::super::text::{clean, number};
use super::super::{GREEN, RED, Screen, YELLOW, block_on, print, print_json};
use super::{Trial, render};
use crate::cli::Explain;

/// Most frames that are read from a capture.
const MAX_FRAMES: usize = 10_000;
/// Bytes of a frame that are asked about: no header reaches further.
const HEADERS: usize = 512;
/// Base64 in one request: whoever may only look may send 64 KiB.
const REQUEST: usize = 48 << 10;

/// A frame of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    /// Its first bytes.
    bytes: Vec<u8>,
    /// Its length in bytes, without FCS.
    length: u32,
    /// The interface that the capture names.
    interface: Option<String>,
}

pub(super) fn run(client: &Client, args: &Explain, path: &Path) -> Result<Exit> {
    let mut frames = read(path)?;
    let count = frames.len();
    let first = match args.frame {
        Some(number) => {
            let frame = number.checked_sub(1).and_then(|index| frames.get(index));
            frames = match frame {
                Some(frame) => vec![frame.clone()],
                None => bail!("{} has {count} frames, and no frame {number}", path.display()),
            };
            number
        }
        None => 1,
    };
    let interface = args.interface.as_deref();
    let answers = match &args.policy {
        Some(policy) => match Trial::read(policy, interface)? {
            Some(trial) => on_host(&trial, &frames, interface)?,
            None => return Ok(Exit::Problems),
        },
        None => block_on(ask(client, frames, interface))?,
    };
    let screen = Screen::of_stdout();
    match answers.as_slice() {
        answers if args.output.json => print_json(answers)?,
        [answer] if args.frame.is_some() || count == 1 => print(&render(answer, screen))?,
        answers => print(&list(answers, first, screen))?,
    }
    Ok(Exit::Fine)
}

fn on_host(trial: &Trial, frames: &[Frame], interface: Option<&str>) -> Result<Vec<Explanation>> {
    let known = |name: &&str| trial.site.interfaces.iter().any(|known| known.name == **name);
    let described = (1..).zip(frames).map(|(number, frame)| {
        let interface = interface.or(frame.interface.as_deref().filter(known));
        captured(&trial.site, number, frame.bytes.clone(), Some(frame.length), interface)
    });
    let described = described.collect::<Result<Vec<_>, _>>()?;
    let Trial { policy, site, compiled, .. } = trial;
    let answers = frames_on_host(policy, site, compiled, &described, site.now);
    trial.note();
    Ok(answers)
}

async fn ask(
    client: &Client,
    frames: Vec<Frame>,
    interface: Option<&str>,
) -> Result<Vec<Explanation>> {
    // The capture may come from another machine: its interface counts where it is protected here.
    let known: Vec<String> =
        client.status().await?.interfaces.into_iter().map(|i| i.name).collect();
    let mut frames = frames.into_iter().map(|frame| CapturedFrame {
        packet: BASE64_STANDARD.encode(&frame.bytes),
        length: Some(frame.length),
        interface: interface
            .map(Into::into)
            .or_else(|| frame.interface.filter(|name| known.contains(name))),
    });
    let mut answers = Vec::new();
    loop {
        let mut request = ExplainFrames::default();
        let mut room = REQUEST;
        for frame in frames.by_ref() {
            room = room.saturating_sub(frame.packet.len() + 64);
            request.frames.push(frame);
            if room == 0 {
                break;
            }
        }
        if request.frames.is_empty() {
            return Ok(answers);
        }
        answers.extend(client.explain_frames(&request).await?);
    }
}

/// Two lines a frame: what becomes of it, and why.
fn list(answers: &[Explanation], first: usize, screen: Screen) -> String {
    let mut out = String::new();
    for (at, answer) in (first..).zip(answers) {
        let (style, verdict) = match answer.verdict.as_str() {
            "pass" => (GREEN, "pass "),
            "drop" => (RED, "DROP "),
            _ => (YELLOW, "would"),
        };
        let verdict = screen.paint(style, verdict);
        out.push_str(&format!("{at:>5} {verdict} {}\n", clean(&answer.frame)));
        let mut why = match &answer.rule {
            Some(rule) => format!("{} {} at {}", rule.action, rule.id, rule.place),
            None => answer.text.clone(),
        };
        let who = answer.device.as_ref().unwrap_or(&answer.group);
        why.push_str(&format!("; {who}"));
        if answer.decided_by == "host" {
            why.push_str("; decided on the host");
        }
        out.push_str(&format!("            {}\n", clean(&why)));
    }
    let passed = answers.iter().filter(|answer| answer.verdict == "pass").count();
    let would = answers.iter().filter(|answer| answer.verdict == "would-drop").count();
    let dropped = answers.len() - passed - would;
    let [all, passed, dropped] = [answers.len(), passed, dropped].map(|n| number(n as u64));
    out.push_str(&format!("{all} frames: {passed} pass, {dropped} are dropped"));
    if would > 0 {
        out.push_str(&format!(", {} would be", number(would as u64)));
    }
    out.push('\n');
    out
}

/// Reads a capture of either format.
///
/// # Errors
///
/// What is no capture of Ethernet frames, or has none. A last frame that was cut off is left out.
fn read(path: &Path) -> Result<Vec<Frame>> {
    let name = clean(&path.display().to_string());
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
    let frames =
        if bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) { pcapng(&bytes) } else { pcap(&bytes) };
    let mut frames = frames.with_context(|| format!("cannot read {name} as pcap or pcapng"))?;
    if frames.is_empty() {
        bail!("{name} has no Ethernet frame");
    }
    if frames.len() > MAX_FRAMES {
        let (all, most) = (number(frames.len() as u64), number(MAX_FRAMES as u64));
        eprintln!("note: {name} has {all} frames; only the first {most} are asked about");
        frames.truncate(MAX_FRAMES);
    }
    Ok(frames)
}

fn pcap(bytes: &[u8]) -> Result<Vec<Frame>> {
    let capture = PcapCapture::from_file(bytes).map_err(refused)?;
    let link = capture.header.network;
    if link != Linktype::ETHERNET {
        bail!("its frames are of type {}, not Ethernet (1)", link.0);
    }
    let frames = capture.blocks.iter().map(|block| frame(block.data, block.origlen, None));
    Ok(frames.collect())
}

fn pcapng(bytes: &[u8]) -> Result<Vec<Frame>> {
    let capture = PcapNGCapture::from_file(bytes).map_err(refused)?;
    let (mut frames, mut others) = (Vec::new(), 0);
    for section in &capture.sections {
        let mut interfaces: Vec<(Linktype, Option<String>)> = Vec::new();
        for block in &section.blocks {
            if let Block::InterfaceDescription(interface) = block {
                let name = interface.if_name().and_then(Result::ok).map(Into::into);
                interfaces.push((interface.linktype, name));
            } else if let Block::EnhancedPacket(packet) = block {
                let data = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
                match interfaces.get(packet.if_id as usize) {
                    Some((Linktype::ETHERNET, name)) => {
                        frames.push(frame(data, packet.origlen, name.clone()));
                    }
                    _ => others += 1,
                }
            }
        }
    }
    if others > 0 {
        eprintln!("note: {} frames are not of Ethernet and left out", number(others));
    }
    Ok(frames)
}

/// The parser's errors hold the rest of the file, which nobody wants to read.
fn refused(error: PcapError<&[u8]>) -> anyhow::Error {
    let why = match error {
        PcapError::HeaderNotRecognized => "it is neither",
        PcapError::Incomplete(_) | PcapError::UnexpectedEof | PcapError::Eof => "it is cut off",
        PcapError::BufferTooSmall
        | PcapError::ReadError
        | PcapError::NomError(..)
        | PcapError::OwnedNomError(..) => "it is damaged",
    };
    anyhow::anyhow!(why)
}

fn frame(data: &[u8], length: u32, interface: Option<String>) -> Frame {
    let bytes = data.get(..HEADERS.min(data.len())).unwrap_or(data).to_vec();
    Frame { length: length.max(bytes.len() as u32), bytes, interface }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> Result<Vec<Frame>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(file.path())
    }

    /// A capture of one frame of 1,000 bytes, of which 20 were captured; the frame's type is `link`.
    fn capture(link: u32) -> Vec<u8> {
        let words = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 96, link, 1, 1, 20, 1000];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        bytes.extend([7; 20]);
        bytes
    }

    #[test]
    fn a_capture_with_short_frames() {
        let frame = Frame { bytes: vec![7; 20], length: 1000, interface: None };
        assert_eq!(written(&capture(1)).unwrap(), [frame]);
    }

    #[test]
    fn what_is_no_capture_of_ethernet() {
        for (bytes, why) in [
            (capture(101), "type 101, not Ethernet (1)"),
            (
                b"schema = 1, which is no capture at all".to_vec(),
                "as pcap or pcapng: it is neither",
            ),
            (Vec::new(), "as pcap or pcapng: it is cut off"),
            (capture(1)[..24].to_vec(), "has no Ethernet frame"),
        ] {
            let error = format!("{:#}", written(&bytes).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_list_for_a_terminal() {
        let answer = Explanation {
            verdict: "drop".into(),
            text: "no rule allows it".into(),
            decided_by: "kernel".into(),
            frame: "10.20.0.12 to 202.114.4.119 tcp/515 on lan0".into(),
            device: Some("bed-12".into()),
            ..Explanation::default()
        };
        let would = Explanation {
            verdict: "would-drop".into(),
            decided_by: "host".into(),
            device: None,
            group: "beds".into(),
            ..answer.clone()
        };
        let expected = "    4 DROP  10.20.0.12 to 202.114.4.119 tcp/515 on lan0
            no rule allows it; bed-12
    5 would 10.20.0.12 to 202.114.4.119 tcp/515 on lan0
            no rule allows it; beds; decided on the host
2 frames: 0 pass, 1 are dropped, 1 would be
";
        assert_eq!(list(&[answer, would], 4, Screen::default()), expected);
    }
}
