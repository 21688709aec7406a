//! `enforcer explain --pcap`: judges captured frames.

use std::collections::BTreeSet;
use std::path::Path;

use crate::commands::Result;
use anyhow::anyhow;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use enforcer::api::Exit;
use enforcer::api::{CapturedFrame, ExplainFrames, Explanation};
use enforcer::control::client::Client;
use enforcer::convert;
use enforcer::policy::explain::heard::Heard;
use enforcer::policy::explain::{Captured, captured, frames_on_host, link, protected};

use super::super::text::{clean, number};
use super::super::{GREEN, RED, Screen, YELLOW, block_on, print, print_json};
use super::read::{Capture, Frame, read};
use super::{Trial, render};
use crate::cli::Explain;

/// Base64 in one request: a viewer may send 64 KiB.
const REQUEST: usize = 48 << 10;
/// Most frames that a daemon accepts in one request.
const AT_ONCE: usize = 1000;

pub(super) fn run(client: &Client, args: &Explain, path: &Path) -> Result<Exit> {
    let Capture { mut frames, count, .. } =
        read(path, args.frame.map_or(0, |n| n.saturating_sub(1)))?;
    if let Some(number) = args.frame {
        frames.truncate(1);
        if frames.is_empty() || number == 0 {
            let error = anyhow!("{} has {count} frames, and no frame {number}", path.display());
            return Err(error.into());
        }
    }
    let first = args.frame.unwrap_or(1);
    let interface = args.interface.as_deref();
    let answers = match &args.policy {
        Some(policy) => match Trial::read(policy, interface)? {
            Some(trial) => on_host(&trial, frames, interface)?,
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

fn on_host(trial: &Trial, frames: Vec<Frame>, interface: Option<&str>) -> Result<Vec<Explanation>> {
    let Trial { policy, host, compiled, .. } = trial;
    let names: Vec<String> = host.interfaces.iter().map(|known| known.name.clone()).collect();
    let frames = placed(frames, &names, &[], interface);
    let described = (1..).zip(frames).map(|(number, frame)| {
        let Frame { bytes, length, link, interface, arrived } = frame;
        let (length, interface) = (Some(length), interface.as_deref());
        let frame = Captured { bytes, length, interface, link, arrived };
        captured(policy, host, &Heard::default(), number, frame)
    });
    let described = described.collect::<Result<Vec<_>, _>>()?;
    let answers = frames_on_host(policy, host, compiled, &described, host.now);
    trial.note();
    Ok(answers.into_iter().map(convert::explanation).collect())
}

/// The frames with the interface that each arrived on, if known. `indices` are those of the
/// protected interfaces, if the capture may be from this machine.
///
/// A capture from another machine names other interfaces: they are used if one of them is protected
/// here.
fn placed(
    mut frames: Vec<Frame>,
    names: &[String],
    indices: &[u32],
    asked: Option<&str>,
) -> Vec<Frame> {
    let index = |frame: &Frame| link::index(frame.link, &frame.bytes);
    let at = |index: u32| indices.iter().position(|known| *known == index);
    let is_named =
        frames.iter().any(|frame| frame.interface.as_ref().is_some_and(|n| names.contains(n)));
    let is_numbered = frames.iter().any(|frame| index(frame).is_some_and(|n| at(n).is_some()));
    for frame in &mut frames {
        let named = frame.interface.take().filter(|_| is_named);
        let numbered = index(frame).filter(|_| is_numbered).map(|number| {
            at(number)
                .and_then(|at| names.get(at).cloned())
                .unwrap_or_else(|| format!("the interface with index {number}"))
        });
        frame.interface = asked.map(str::to_owned).or(named).or(numbered);
    }
    frames
}

async fn ask(
    client: &Client,
    frames: Vec<Frame>,
    interface: Option<&str>,
) -> Result<Vec<Explanation>> {
    let status = client.status().await?;
    let (names, indices): (Vec<String>, Vec<u32>) =
        status.interfaces.into_iter().map(|known| (known.name, known.index)).unzip();
    if let Some(name) = interface {
        protected(&names.iter().map(String::as_str).collect::<Vec<_>>(), name)?;
    }
    let frames = placed(frames, &names, &indices, interface);
    let mut frames = frames.into_iter().map(|frame| CapturedFrame {
        packet: BASE64_STANDARD.encode(&frame.bytes),
        length: Some(frame.length),
        interface: frame.interface,
        link: Some(frame.link).filter(|link| *link != link::ETHERNET),
        arrived: frame.arrived,
    });
    let mut answers = Vec::new();
    loop {
        let mut request = ExplainFrames::default();
        let mut room = REQUEST;
        for frame in frames.by_ref() {
            let named = frame.interface.as_ref().map_or(0, String::len);
            room = room.saturating_sub(frame.packet.len() + named + 96);
            request.frames.push(frame);
            if room == 0 || request.frames.len() == AT_ONCE {
                break;
            }
        }
        if request.frames.is_empty() {
            return Ok(answers);
        }
        answers.extend(client.explain_frames(&request).await?);
    }
}

/// Two lines for each frame: the verdict and the reason.
fn list(answers: &[Explanation], first: usize, screen: Screen) -> String {
    let mut out = String::new();
    for (at, answer) in (first..).zip(answers) {
        let (style, verdict) = match answer.verdict.as_str() {
            "pass" => (GREEN, "pass "),
            "drop" => (RED, "DROP "),
            "not-judged" => (YELLOW, "-    "),
            _ => (YELLOW, "would"),
        };
        let verdict = screen.paint(style, verdict);
        out.push_str(&format!("{at:>5} {verdict} {}\n", clean(&answer.frame)));
        let mut why = match &answer.rule {
            Some(rule) => format!("{} {} at {}", rule.action, rule.id, rule.place),
            None => answer.text.clone(),
        };
        match answer.device.as_ref().unwrap_or(&answer.group).as_str() {
            "" => why = format!("not judged: {why}"),
            who => why.push_str(&format!("; {who}")),
        }
        if answer.decided_by == "host" {
            why.push_str("; decided on the host");
        }
        out.push_str(&format!("            {}\n", clean(&why)));
    }
    let passed = answers.iter().filter(|answer| answer.verdict == "pass").count();
    let would = answers.iter().filter(|answer| answer.verdict == "would-drop").count();
    let unjudged = answers.iter().filter(|answer| answer.verdict == "not-judged").count();
    let dropped = answers.len() - passed - would - unjudged;
    let [all, passed, dropped] = [answers.len(), passed, dropped].map(|n| number(n as u64));
    out.push_str(&format!("{all} frames: {passed} pass, {dropped} are dropped"));
    if would > 0 {
        out.push_str(&format!(", {} would be", number(would as u64)));
    }
    if unjudged > 0 {
        out.push_str(&format!(", {} are not judged", number(unjudged as u64)));
    }
    out.push('\n');
    // `--frame` says for each frame what was assumed.
    let assumed = answers.iter().flat_map(|answer| &answer.assumed);
    let lacks = assumed.filter(|text| text.starts_with("the capture has no "));
    let lacks: BTreeSet<&str> = lacks.filter_map(|text| text.split(':').next()).collect();
    for lack in lacks {
        out.push_str(&format!("note: {}: --frame N says what is taken instead\n", clean(lack)));
    }
    let notes: BTreeSet<&String> = answers.iter().flat_map(|answer| &answer.notes).collect();
    for note in notes {
        out.push_str(&format!("note: {}\n", clean(note)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_where_the_capture_says_if_that_is_here() {
        let names = ["lan0".to_owned(), "lan1".to_owned()];
        let frame = |link, index: u32, interface: Option<&str>| {
            let mut bytes = vec![0; 40];
            bytes[4..8].copy_from_slice(&index.to_be_bytes());
            let interface = interface.map(str::to_owned);
            Frame { bytes, length: 40, link, interface, arrived: None }
        };
        let places = |frames: Vec<Frame>, asked| -> Vec<Option<String>> {
            let placed = placed(frames, &names, &[3, 4], asked);
            placed.into_iter().map(|frame| frame.interface).collect()
        };
        let of = |names: [Option<&str>; 2]| names.map(|name| name.map(str::to_owned)).to_vec();
        // From this machine, from another one, and with a requested interface.
        let here = || vec![frame(1, 0, Some("lan1")), frame(1, 0, Some("wan0"))];
        assert_eq!(places(here(), None), of([Some("lan1"), Some("wan0")]));
        let there = vec![frame(1, 0, Some("eth0")), frame(1, 0, Some("eth1"))];
        assert_eq!(places(there, None), of([None, None]));
        assert_eq!(places(here(), Some("lan0")), of([Some("lan0"), Some("lan0")]));
        // By the index that is in each frame.
        let cooked = vec![frame(276, 4, None), frame(276, 9, None)];
        let expected = of([Some("lan1"), Some("the interface with index 9")]);
        assert_eq!(places(cooked, None), expected);
        assert_eq!(places(vec![frame(276, 8, None), frame(276, 9, None)], None), of([None, None]));
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
    6 -     10.20.0.10 to 10.20.0.12 tcp/40000 on lan0
            not judged: the gateway sent it
3 frames: 0 pass, 1 are dropped, 1 would be, 1 are not judged
note: the capture has no source MAC: --frame N says what is taken instead
note: another tool drops it
";
        let outgoing = Explanation {
            verdict: "not-judged".into(),
            text: "the gateway sent it".into(),
            decided_by: "none".into(),
            frame: "10.20.0.10 to 10.20.0.12 tcp/40000 on lan0".into(),
            ..Explanation::default()
        };
        let assumed = vec!["the capture has no source MAC".into(), "VLAN 20".into()];
        let would = Explanation { notes: vec!["another tool drops it".into()], assumed, ..would };
        assert_eq!(list(&[answer, would, outgoing], 4, Screen::default()), expected);
    }
}
