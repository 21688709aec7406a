//! Events as a capture: pcapng, a block an event, with a comment that says whose it is and why.

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use enforcer::api::Event;
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};

use super::render::{Words, device};

/// `if_tsresol` of the nanoseconds that the crate writes.
const NANOSECONDS: u8 = 9;

/// A capture that is being written.
pub(super) struct Capture<W: Write> {
    writer: PcapNgWriter<W>,
    /// Names, in the order of their blocks.
    interfaces: Vec<String>,
}

impl<W: Write> Capture<W> {
    /// Begins it.
    pub(super) fn new(out: W) -> Result<Self> {
        let writer = PcapNgWriter::new(out).map_err(written)?;
        Ok(Self { writer, interfaces: Vec::new() })
    }

    /// Adds the frame of an event; whether it has one.
    pub(super) fn add(&mut self, event: &Event, words: &Words) -> Result<bool> {
        let Some(data) = event.packet.as_ref().and_then(|text| STANDARD.decode(text).ok()) else {
            return Ok(false);
        };
        let interface_id = self.interface(event.in_iface.as_deref().unwrap_or("unknown"))?;
        let time = event.timestamp.parse::<jiff::Timestamp>().unwrap_or_default();
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::try_from(time.as_duration()).unwrap_or_default(),
            original_len: event.pkt_len.unwrap_or(0),
            data: Cow::Owned(data),
            options: vec![EnhancedPacketOption::Comment(comment(event, words).into())],
        };
        self.writer.write_pcapng_block(block).map_err(written)?;
        Ok(true)
    }

    /// Hands on what was written, so that whoever reads along sees whole frames.
    pub(super) fn flush(&mut self) -> Result<()> {
        Ok(self.writer.get_mut().flush()?)
    }

    fn interface(&mut self, name: &str) -> Result<u32> {
        if let Some(at) = self.interfaces.iter().position(|known| known == name) {
            return Ok(u32::try_from(at)?);
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
        Ok(u32::try_from(self.interfaces.len() - 1)?)
    }
}

/// `DROP bed-12 (patient-monitors): deny r-1a2b3c4d ICSMA-25-030-01`.
fn comment(event: &Event, words: &Words) -> String {
    let detail = &event.enforcer;
    let verdict = match detail.verdict.as_deref() {
        Some("drop") => "DROP",
        Some(other) => other,
        None => "?",
    };
    let mut text = format!("{verdict} {}", device(event));
    if let Some(group) = &detail.group {
        text += &format!(" ({group})");
    }
    let reason = detail.reason.as_deref().unwrap_or_default();
    match &detail.rule {
        None => text += &format!(": {}", words.get(reason).map_or(reason, String::as_str)),
        Some(rule) => text += &format!(": {reason} {rule}"),
    }
    if let Some(reason) = &detail.rule_reason {
        text += &format!(" {reason}");
    }
    if detail.repeats > 0 {
        text += &format!(" (×{})", detail.count + detail.repeats);
    }
    text
}

/// A closed pipe has to be seen as one.
fn written(error: pcap_file::PcapError) -> anyhow::Error {
    if let pcap_file::PcapError::IoError(error) = error { error.into() } else { error.into() }
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::{event, words};
    use super::*;

    #[test]
    fn comments() {
        let mut event = event();
        event.enforcer.repeats = 3;
        assert_eq!(comment(&event, &words()), "DROP bed-12 (monitors): deny r-1a2b3c4d CHG-1 (×4)");
        event.enforcer.rule = None;
        event.enforcer.rule_reason = None;
        event.enforcer.reason = Some("default".into());
        event.enforcer.verdict = Some("would-drop".into());
        event.enforcer.repeats = 0;
        assert_eq!(comment(&event, &words()), "would-drop bed-12 (monitors): no rule allows it");
    }

    #[test]
    fn blocks() {
        use pcap_file::pcapng::PcapNgReader;
        let mut capture = Capture::new(Vec::new()).unwrap();
        let mut event = event();
        assert!(!capture.add(&event, &words()).unwrap(), "no frame, no block");
        event.packet = Some("AAECAwQ=".into());
        for interface in ["lan0", "lan1", "lan0"] {
            event.in_iface = Some(interface.into());
            assert!(capture.add(&event, &words()).unwrap());
        }
        let bytes = capture.writer.into_inner();
        let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
        let mut seen = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Some(block) = block.unwrap().into_enhanced_packet() {
                assert_eq!((&*block.data, block.original_len), (&[0, 1, 2, 3, 4][..], 74));
                let time: jiff::Timestamp = event.timestamp.parse().unwrap();
                assert_eq!(block.timestamp.as_nanos() as i128, time.as_nanosecond());
                seen.push(block.interface_id);
            }
        }
        assert_eq!(seen, [0, 1, 0]);
    }
}
