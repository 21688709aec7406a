//! Captured frames in place of described ones.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_common::flow::{Class, Flow};
use enforcer_common::packet::Packet;
use enforcer_common::parse::parse;
use enforcer_common::wire::{ether_type, mac_bytes};

use super::frame::Unjudged;
use super::heard::Heard;
use super::link::{self, Head, To};
use super::{Described, Error, Request, address, sender, smallest_service};
use crate::{Host, HostInterface, Mac, Policy};

/// Shortest frame with an Ethernet header, and longest one with an IP packet and two tags, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 14..=65_557;

/// A frame from a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// The captured bytes.
    pub bytes: Vec<u8>,
    /// Length of the frame, without FCS; `None` if it equals the number of bytes.
    pub length: Option<u32>,
    /// Name of the interface in the capture.
    pub interface: Option<&'a str>,
    /// Link-layer header type, numbered as in capture files.
    pub link: u32,
    /// Whether the frame arrived at the capturing interface or was sent from it, if known.
    pub arrived: Option<bool>,
}

/// The complete frame number `number` of a request. Bytes that were not captured are zeros; a missing
/// Ethernet header is replaced by a plausible one. [`words`] describes the frame after parsing.
///
/// # Errors
///
/// No interface is protected, or there are more bytes than the frame's length.
pub fn captured(
    policy: &Policy,
    host: &Host,
    heard: &Heard,
    number: usize,
    frame: Captured<'_>,
) -> Result<Described, Error> {
    let Captured { mut bytes, length, interface, link, mut arrived } = frame;
    let known = bytes.len();
    let length = length.map_or(known, |length| length as usize);
    if length < known {
        let why = format!("{known} bytes of a frame of {length}");
        return Err(Error::Captured { number, why });
    }
    let mut assumed = Vec::new();
    let head = link::head(link, &bytes);
    let source = match &head {
        Ok(Some(head)) => head.source,
        _ => bytes.get(6..12).and_then(<[u8]>::first_chunk).copied().map(Mac),
    };
    let seen = source.and_then(|mac| heard.of(mac)).and_then(|entry| entry.interface);
    let seen = host.interfaces.iter().find(|known| Some(known.index) == seen);
    let place = match (interface, seen) {
        (Some(name), _) => host.interfaces.iter().find(|known| known.name == name),
        (None, Some(seen)) => Some(seen),
        (None, None) => Some(sender::first_interface(host, &mut assumed)?),
    };
    let on = place.or(host.interfaces.first()).ok_or(Error::NoInterface)?;
    let mut described = Described {
        frame: Vec::new(),
        known,
        interface: on.index,
        words: String::new(),
        assumed,
        unjudged: None,
    };
    let mut unjudged = match head {
        Err(unjudged) => Some(unjudged),
        Ok(None) => {
            bytes.resize(length.min(*LENGTHS.end()), 0);
            described.frame = bytes;
            None
        }
        Ok(Some(head)) => {
            if head.is_outgoing {
                arrived = Some(false);
            }
            let put = Put { policy, host, heard, on };
            put.ethernet(&head, &bytes, length, &mut described).err()
        }
    };
    let size = described.frame.len();
    if unjudged.is_none() {
        unjudged = if !LENGTHS.contains(&size) || length > *LENGTHS.end() {
            let text = format!("{length} bytes are no Ethernet frame");
            Some(Unjudged { reason: "no-frame", text })
        } else if let (Some(name), None) = (interface, place) {
            let text = format!("it was captured on {name}, which is not protected");
            Some(Unjudged { reason: "unprotected", text })
        } else {
            match arrived {
                Some(true) => None,
                Some(false) => Some(outgoing("the capture says that it was sent from there")),
                None => from_elsewhere(heard, host, on, &described.frame).map(outgoing),
            }
        };
    }
    if unjudged.is_some() {
        described.words = match size {
            0 => format!("{length} bytes"),
            _ => spoken(host, &described),
        };
    }
    described.unjudged = unjudged;
    Ok(described)
}

fn outgoing(why: impl AsRef<str>) -> Unjudged {
    let text = format!("it does not come from behind the interface: {}", why.as_ref());
    Unjudged { reason: "outgoing", text }
}

/// Why a frame does not come from behind the interface, if its MACs show that.
fn from_elsewhere(heard: &Heard, host: &Host, on: &HostInterface, frame: &[u8]) -> Option<String> {
    let mac = |at: usize| frame.get(at..at + 6).and_then(<[u8]>::first_chunk).copied().map(Mac);
    let (destination, source) = (mac(0)?, mac(6)?);
    let protected = host.interfaces.iter().map(|known| (known.mac, &known.name));
    let mut own = protected.chain(heard.own.iter().map(|(mac, name)| (*mac, name)));
    // On an unknown machine, all MACs are zero.
    if let Some((_, name)) = own.find(|(mac, _)| *mac == source && *mac != Mac::default()) {
        return Some(format!("the gateway sent it, {source} is the MAC of {name}"));
    }
    let behind = |mac: Mac| heard.of(mac).and_then(|entry| entry.interface);
    if behind(source) == Some(on.index) {
        return None;
    }
    let named = |index: u32| host.interfaces.iter().find(|known| known.index == index);
    let other = behind(source).and_then(named).map(|other| &other.name);
    let other = other.or_else(|| {
        let entry = heard.elsewhere.iter().find(|(entry, _)| entry.mac == source);
        entry.map(|(_, name)| name)
    });
    if let Some(other) = other {
        return Some(format!("{source} is behind {other}"));
    }
    let arrives = behind(destination) == Some(on.index) && !destination.is_multicast();
    let is_new = heard.of(source).is_none();
    (arrives && is_new).then(|| format!("{destination}, to which it goes, is behind {}", on.name))
}

/// Data for making an Ethernet header.
struct Put<'a> {
    policy: &'a Policy,
    host: &'a Host,
    heard: &'a Heard,
    on: &'a HostInterface,
}

impl Put<'_> {
    /// Puts an Ethernet header in front of a packet.
    fn ethernet(
        &self,
        head: &Head,
        bytes: &[u8],
        length: usize,
        described: &mut Described,
    ) -> Result<(), Unjudged> {
        let packet = bytes.get(head.skip..).unwrap_or_default();
        let source = match head.source {
            Some(mac) => mac,
            None if head.is_outgoing => Mac::default(),
            None => self.source(head.ether_type, packet, length, described)?,
        };
        let destination = match head.destination {
            To::Mac(mac) => mac,
            To::Unknown => {
                let (mac, name) = (self.on.mac, &self.on.name);
                let text = format!("the capture has no destination MAC: {mac} of {name} taken");
                described.assumed.push(text);
                mac
            }
        };
        let whole = 14 + length.saturating_sub(head.skip);
        let frame = &mut described.frame;
        frame.extend(destination.0);
        frame.extend(source.0);
        frame.extend(head.ether_type.to_be_bytes());
        frame.extend(packet);
        described.known = frame.len();
        frame.resize(whole.min(*LENGTHS.end()).max(described.known), 0);
        Ok(())
    }

    /// The MAC that a packet comes from, judging by its source address.
    fn source(
        &self,
        kind: u16,
        packet: &[u8],
        length: usize,
        described: &mut Described,
    ) -> Result<Mac, Unjudged> {
        let Some(address) = source_address(kind, packet) else {
            return Err(link::cut(packet.len(), length));
        };
        if self.host.own.contains(&address) {
            return Err(outgoing(format!("{address} is the gateway's own address")));
        }
        let request = Request {
            from: address.to_string(),
            mac: None,
            to: address.to_string(),
            proto: "255".to_owned(),
            interface: Some(self.on.name.clone()),
            vlan: None,
        };
        let sender = sender::Sender::find(self.policy, self.host, self.heard, &request, address);
        let Ok(sender) = sender else { return Err(link::cut(packet.len(), length)) };
        described.assumed.push("the capture has no source MAC".to_owned());
        described.assumed.extend(sender.assumed);
        Ok(sender.mac)
    }
}

/// The source address of a captured packet, if the capture does not include its MAC.
pub fn source_of(link: u32, bytes: &[u8]) -> Option<IpAddr> {
    let head = link::head(link, bytes).ok()??;
    let packet = bytes.get(head.skip..)?;
    if head.source.is_some() { None } else { source_address(head.ether_type, packet) }
}

fn source_address(kind: u16, packet: &[u8]) -> Option<IpAddr> {
    match kind {
        ether_type::IPV4 => {
            let octets: [u8; 4] = *packet.get(12..16)?.first_chunk()?;
            Some(Ipv4Addr::from(octets).into())
        }
        ether_type::IPV6 => {
            let octets: [u8; 16] = *packet.get(8..24)?.first_chunk()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// Describes a frame that is not judged.
pub(super) fn spoken(host: &Host, described: &Described) -> String {
    let known = described.frame.get(..described.known).unwrap_or(&described.frame);
    let (length, interface) = (known.len() as u32, described.interface);
    let mut flow = Flow { length, interface, ..Flow::default() };
    // Fields that cannot be parsed are left out.
    let _ = parse(&Packet::from_slice(known), &mut flow);
    words(host, &flow)
}

/// `10.20.0.12 to 202.114.4.119 tcp/443 on lan0, VLAN 20`, from the parsed fields.
pub(super) fn words(host: &Host, flow: &Flow) -> String {
    let mac = |number| Mac(mac_bytes(number)).to_string();
    let mut words = match (address(flow, flow.source), address(flow, flow.destination)) {
        (Some(source), Some(destination)) if flow.class != Class::Arp => {
            format!("{source} to {destination} {}", smallest_service(flow))
        }
        _ => {
            let (source, destination) = (mac(flow.source_mac), mac(flow.destination_mac));
            format!("{source} to {destination} type 0x{:04x}", flow.ether_type)
        }
    };
    let interface = host.interfaces.iter().find(|known| known.index == flow.interface);
    if let Some(interface) = interface {
        words.push_str(&format!(" on {}", interface.name));
    }
    if flow.vlan() != 0 {
        words.push_str(&format!(", VLAN {}", flow.vlan()));
    }
    words
}
