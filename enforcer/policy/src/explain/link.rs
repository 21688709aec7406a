//! Link types of captures (<https://www.tcpdump.org/linktypes.html>), and how to reconstruct the Ethernet
//! header from them.

use enforcer_common::wire::ether_type;

use super::frame::Unjudged;
use crate::Mac;

/// `LINKTYPE_ETHERNET`.
pub const ETHERNET: u32 = 1;
/// `LINKTYPE_NULL` and `LINKTYPE_LOOP`: four bytes, then an IP packet.
const LOOPBACK: [u32; 2] = [0, 108];
/// `LINKTYPE_RAW`, and its values in files of the BSDs.
const RAW: [u32; 3] = [101, 12, 14];
const IPV4: u32 = 228;
const IPV6: u32 = 229;
/// `LINKTYPE_LINUX_SLL`: packet type, device type, address length, address (8), protocol.
const SLL: u32 = 113;
/// `LINKTYPE_LINUX_SLL2`: protocol, 2 reserved bytes, interface index, device type, packet type, address
/// length, address (8).
const SLL2: u32 = 276;

/// Packet types of cooked captures (include/uapi/linux/if_packet.h).
const BROADCAST: u8 = 1;
const MULTICAST: u8 = 2;
const OUTGOING: u8 = 4;
/// Device types (include/uapi/linux/if_arp.h).
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;

/// Whether frames of a link type can be judged.
pub fn is_known(link: u32) -> bool {
    link == ETHERNET || [SLL, SLL2, IPV4, IPV6].contains(&link) || is_packet(link)
}

fn is_packet(link: u32) -> bool {
    RAW.contains(&link) || LOOPBACK.contains(&link)
}

/// The interface index in the frame's own header.
pub fn index(link: u32, bytes: &[u8]) -> Option<u32> {
    let index = bytes.get(4..8)?.first_chunk()?;
    (link == SLL2).then_some(u32::from_be_bytes(*index))
}

/// What the header of another link type says about the missing Ethernet header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes before the packet.
    pub(super) skip: usize,
    pub(super) ether_type: u16,
    /// `None` if the capture does not have it.
    pub(super) source: Option<Mac>,
    pub(super) destination: To,
    /// Whether the capturing machine sent the frame.
    pub(super) is_outgoing: bool,
}

/// Destination of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum To {
    /// The capture does not say.
    #[default]
    Unknown,
    Mac(Mac),
}

/// Reads the header before a packet; `None` for an Ethernet frame, which needs no reconstruction.
///
/// # Errors
///
/// The frame cannot be judged.
pub(super) fn head(link: u32, bytes: &[u8]) -> Result<Option<Head>, Unjudged> {
    match link {
        ETHERNET => Ok(None),
        SLL | SLL2 => cooked(link, bytes).map(Some),
        IPV4 => Ok(Some(Head { ether_type: ether_type::IPV4, ..Head::default() })),
        IPV6 => Ok(Some(Head { ether_type: ether_type::IPV6, ..Head::default() })),
        _ if is_packet(link) => {
            let skip = if LOOPBACK.contains(&link) { 4 } else { 0 };
            packet(bytes, skip).map(Some)
        }
        _ => Err(Unjudged {
            reason: "link-type",
            text: format!("frames of link type {link} have no header that can be judged"),
        }),
    }
}

/// A packet without a header of its own, after `skip` bytes.
fn packet(bytes: &[u8], skip: usize) -> Result<Head, Unjudged> {
    let version = bytes.get(skip).map(|first| first >> 4);
    let ether_type = match version {
        Some(4) => ether_type::IPV4,
        Some(6) => ether_type::IPV6,
        Some(other) => {
            let text = format!("a packet of IP version {other}");
            return Err(Unjudged { reason: "link-type", text });
        }
        None => return Err(cut(bytes.len(), bytes.len())),
    };
    Ok(Head { skip, ether_type, ..Head::default() })
}

fn cooked(link: u32, bytes: &[u8]) -> Result<Head, Unjudged> {
    let half = |at: usize| {
        let bytes = bytes.get(at..at + 2)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    };
    let parts = || {
        Some(if link == SLL {
            let kind = u8::try_from(half(0)?).unwrap_or(u8::MAX);
            (16, kind, half(2)?, usize::from(half(4)?), bytes.get(6..14)?, half(14)?)
        } else {
            let (kind, length) = (*bytes.get(10)?, usize::from(*bytes.get(11)?));
            (20, kind, half(8)?, length, bytes.get(12..20)?, half(0)?)
        })
    };
    let Some((skip, kind, device, length, address, ether_type)) = parts() else {
        return Err(cut(bytes.len(), bytes.len()));
    };
    if device == ARPHRD_LOOPBACK {
        let text = "on the loopback of the machine that captured it".to_owned();
        return Err(Unjudged { reason: "outgoing", text });
    }
    if device != ARPHRD_ETHER {
        let head = packet(bytes, skip)?;
        return Ok(Head { is_outgoing: kind == OUTGOING, ..head });
    }
    let source = address.first_chunk().copied().filter(|_| length == 6).map(Mac);
    let destination = match (kind, ether_type) {
        (BROADCAST, _) => To::Mac(Mac([0xff; 6])),
        (MULTICAST, _) => match multicast(ether_type, bytes.get(skip..).unwrap_or_default()) {
            Some(mac) => To::Mac(mac),
            None => {
                let text = format!(
                    "the capture has no destination MAC, and for type 0x{ether_type:04x} that decides"
                );
                return Err(Unjudged { reason: "capture-lacks", text });
            }
        },
        _ => To::Unknown,
    };
    // A smaller value is not a type but a kind of 802.3 frame (include/uapi/linux/if_ether.h).
    if kind != OUTGOING && ether_type < 0x0600 {
        let text = "the capture has no 802.3 header".to_owned();
        return Err(Unjudged { reason: "capture-lacks", text });
    }
    Ok(Head { skip, ether_type, source, destination, is_outgoing: kind == OUTGOING })
}

/// The MAC of the multicast group that an IP packet is sent to: RFC 1112 section 6.4, RFC 2464 section 7.
fn multicast(kind: u16, packet: &[u8]) -> Option<Mac> {
    match kind {
        ether_type::IPV4 => {
            let [_, b, c, d] = *packet.get(16..20)?.first_chunk()?;
            Some(Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
        }
        ether_type::IPV6 => {
            let [a, b, c, d] = *packet.get(36..40)?.first_chunk()?;
            Some(Mac([0x33, 0x33, a, b, c, d]))
        }
        _ => None,
    }
}

/// The capture holds too little of the frame.
pub(super) fn cut(known: usize, length: usize) -> Unjudged {
    Unjudged {
        reason: "capture-cut",
        text: format!(
            "the capture has {known} bytes of this frame of {length}, too few to judge it: capture \
             with a larger snap length (tcpdump -s 0)"
        ),
    }
}
