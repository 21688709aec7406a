//! Events as a capture: pcapng with one block per event, and a comment with device and reason.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

use enforcer_common::reason::Verdict;
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};

use super::event::{Direction, Event, Refusal};
use super::text::{Words, device};

/// `if_tsresol` of the nanoseconds that the crate writes.
const NANOSECONDS: u8 = 9;
/// `epb_flags` of a frame that the interface sends.
const OUTBOUND: u32 = 2;

/// A capture that is being written.
pub struct Capture<W: Write> {
    writer: PcapNgWriter<W>,
    /// Names, in the order of their blocks.
    interfaces: Vec<String>,
}

impl<W: Write> Capture<W> {
    /// Starts a capture.
    pub fn new(out: W) -> io::Result<Self> {
        let writer = PcapNgWriter::new(out).map_err(written)?;
        Ok(Self { writer, interfaces: Vec::new() })
    }

    /// Adds the frame of an event; returns whether it has one.
    pub fn add(&mut self, event: &Event, words: &Words) -> io::Result<bool> {
        let Some(refusal) = event.refusal() else { return Ok(false) };
        let Some(data) = refusal.frame.as_deref() else { return Ok(false) };
        let interface_id =
            self.interface(refusal.head.interface.as_deref().unwrap_or("unknown"))?;
        let time = refusal.head.time.at;
        let mut options =
            vec![EnhancedPacketOption::Comment(comment(event, refusal, words).into())];
        if refusal.direction == Direction::In {
            options.push(EnhancedPacketOption::Flags(OUTBOUND));
        }
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::try_from(time.as_duration()).unwrap_or_default(),
            original_len: refusal.length,
            data: Cow::Borrowed(data),
            options,
        };
        self.writer.write_pcapng_block(block).map_err(written)?;
        Ok(true)
    }

    /// Flushes, so that a program reading the pipe sees whole frames.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.get_mut().flush()
    }

    fn interface(&mut self, name: &str) -> io::Result<u32> {
        if let Some(at) = self.interfaces.iter().position(|known| known == name) {
            return u32::try_from(at).map_err(io::Error::other);
        }
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Owned(name.to_owned())),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        self.writer.write_pcapng_block(block).map_err(written)?;
        self.interfaces.push(name.to_owned());
        u32::try_from(self.interfaces.len() - 1).map_err(io::Error::other)
    }
}

/// `DROP bed-12 (patient-monitors): deny r-1a2b3c4d ICSMA-25-030-01`.
fn comment(event: &Event, refusal: &Refusal, words: &Words) -> String {
    let verdict = match refusal.verdict {
        Verdict::Drop => "DROP",
        Verdict::WouldDrop | Verdict::Pass => refusal.verdict.name(),
    };
    let mut text = format!("{verdict} {}", device(event));
    if let Some(group) = &refusal.group {
        text += &format!(" ({group})");
    }
    let reason = refusal.reason.as_str();
    match &refusal.rule {
        None => text += &format!(": {}", words.get(reason).map_or(reason, String::as_str)),
        Some(rule) => text += &format!(": {reason} {}", rule.id),
    }
    if let Some(reason) = refusal.rule.as_ref().and_then(|rule| rule.reason.as_ref()) {
        text += &format!(" {reason}");
    }
    if refusal.repeats > 0 {
        text += &format!(" (×{})", 1 + refusal.repeats);
    }
    text
}

/// Keeps a closed pipe recognisable as such.
fn written(error: pcap_file::PcapError) -> io::Error {
    if let pcap_file::PcapError::IoError(error) = error { error } else { io::Error::other(error) }
}

#[cfg(test)]
mod tests {
    use super::super::event::tests::refusal;
    use super::*;

    fn event(refusal: &Refusal) -> Event {
        Event::Drop(refusal.clone().into())
    }

    #[test]
    fn comments() {
        let words = [("default".to_owned(), "no rule allows it".to_owned())].into();
        let mut refusal = refusal();
        refusal.repeats = 3;
        assert_eq!(
            comment(&event(&refusal), &refusal, &words),
            "DROP bed-12 (patient-monitors): deny r-1a2b3c4d ICSMA-25-030-01 (×4)"
        );
        refusal.rule = None;
        refusal.reason = super::super::event::ReasonName::of("default");
        refusal.verdict = Verdict::WouldDrop;
        refusal.repeats = 0;
        assert_eq!(
            comment(&event(&refusal), &refusal, &words),
            "would-drop bed-12 (patient-monitors): no rule allows it"
        );
    }

    #[test]
    fn blocks() {
        use pcap_file::pcapng::PcapNgReader;
        let mut capture = Capture::new(Vec::new()).unwrap();
        let (mut refusal, words) = (refusal(), Words::new());
        assert!(!capture.add(&event(&refusal), &words).unwrap(), "no frame, no block");
        refusal.frame = Some(vec![0, 1, 2, 3, 4].into());
        for interface in ["lan0", "lan1", "lan0"] {
            refusal.head.interface = Some(interface.into());
            assert!(capture.add(&event(&refusal), &words).unwrap());
        }
        let bytes = capture.writer.into_inner();
        let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
        let mut seen = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Some(block) = block.unwrap().into_enhanced_packet() {
                assert_eq!((&*block.data, block.original_len), (&[0, 1, 2, 3, 4][..], 74));
                let time = refusal.head.time.at.as_nanosecond();
                assert_eq!(block.timestamp.as_nanos() as i128, time);
                seen.push(block.interface_id);
            }
        }
        assert_eq!(seen, [0, 1, 0]);
    }
}
