//! pcapng, draft-ietf-opsawg-pcapng: sections, each with its own byte order and interfaces, and
//! packet blocks of all three kinds.
//!
//! Written by hand: pcap-parser gives up on a file with one invalid option, does not know packet
//! blocks of the first kind, and does not report where a file is cut.

use anyhow::{Result, bail};

use super::{Capture, Frame, MAX_FRAME, Order};

/// Start of every section, in either byte order.
pub(super) const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const ORDER: u32 = 0x1a2b_3c4d;
const SECTION: u32 = u32::from_be_bytes(MAGIC);
const INTERFACE: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE: u32 = 3;
const ENHANCED: u32 = 6;
/// Options: name and length of FCS of an interface, flags of a packet.
const NAME: u16 = 2;
const FCS: u16 = 13;
const FLAGS: u16 = 2;

/// An interface of a section.
struct Interface {
    link: u32,
    /// Most bytes of a frame, 0 for any number.
    snap: u32,
    name: Option<String>,
    fcs: usize,
}

pub(super) fn read(bytes: &[u8], capture: &mut Capture) -> Result<()> {
    let mut order = Order { big: false };
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            let orders = [false, true].map(|big| Order { big });
            let Some(found) = orders.into_iter().find(|o| o.word(rest, 8) == Some(ORDER)) else {
                if rest.len() == bytes.len() && rest.len() >= 12 {
                    bail!("it is neither");
                }
                capture.ends(if rest.len() < 12 { "cut off" } else { "damaged" });
                break;
            };
            order = found;
            interfaces.clear();
        }
        let (Some(kind), Some(length)) = (order.word(rest, 0), order.word(rest, 4)) else {
            capture.ends("cut off");
            break;
        };
        // Type, length, and the length again.
        if length < 12 {
            capture.ends("damaged");
            break;
        }
        let padded = (length as usize).next_multiple_of(4);
        let Some(block) = rest.get(..padded) else {
            capture.ends("cut off");
            break;
        };
        let body = block.get(8..length as usize - 4).unwrap_or_default();
        let read = match kind {
            INTERFACE => interface(order, body).map(|interface| interfaces.push(interface)),
            PACKET | SIMPLE | ENHANCED => packet(order, kind, body, &interfaces, capture),
            SECTION => Some(()),
            // Names, statistics, secrets, custom blocks.
            _ => Some(()),
        };
        if read.is_none() {
            capture.ends("damaged");
            break;
        }
        rest = rest.get(padded..).unwrap_or_default();
    }
    Ok(())
}

fn interface(order: Order, body: &[u8]) -> Option<Interface> {
    let (link, snap) = (order.half(body, 0)?.into(), order.word(body, 4)?);
    let mut interface = Interface { link, snap, name: None, fcs: 0 };
    let options = Options { order, rest: body.get(8..)? };
    for (code, value) in options {
        if code == NAME {
            let name = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
            // Of all interfaces together.
            interface.name = Some(name).filter(|name| !name.is_empty() && name != "any");
        } else if code == FCS {
            interface.fcs = value.first().copied().unwrap_or(0).into();
        }
    }
    Some(interface)
}

/// `None` if it contradicts itself.
fn packet(
    order: Order,
    kind: u32,
    body: &[u8],
    interfaces: &[Interface],
    capture: &mut Capture,
) -> Option<()> {
    let (number, known, length, data): (u32, u32, u32, usize) = match kind {
        ENHANCED => (order.word(body, 0)?, order.word(body, 12)?, order.word(body, 16)?, 20),
        PACKET => (order.half(body, 0)?.into(), order.word(body, 12)?, order.word(body, 16)?, 20),
        _ => {
            let length = order.word(body, 0)?;
            let snap = interfaces.first()?.snap;
            let most = u32::try_from(body.len().checked_sub(4)?).unwrap_or(u32::MAX);
            (0, length.min(if snap == 0 { u32::MAX } else { snap }).min(most), length, 4)
        }
    };
    let interface = interfaces.get(number as usize)?;
    let known = known as usize;
    let bytes = body.get(data..data.checked_add(known)?).filter(|_| known <= MAX_FRAME)?;
    let mut frame = Frame {
        bytes: Vec::new(),
        length: 0,
        link: interface.link,
        interface: interface.name.clone(),
        arrived: None,
    };
    let mut fcs = interface.fcs;
    if kind != SIMPLE {
        let rest = body.get(data + known.next_multiple_of(4)..).unwrap_or_default();
        let mut options = Options { order, rest };
        if let Some((_, value)) = options.find(|(code, _)| *code == FLAGS)
            && let Some(flags) = order.word(value, 0)
        {
            frame.arrived = match flags & 3 {
                1 => Some(true),
                2 => Some(false),
                _ => None,
            };
            let said = (flags >> 5 & 0xf) as usize;
            fcs = if said == 0 { fcs } else { said };
        }
    }
    capture.add(bytes, length, fcs, frame);
    Some(())
}

/// Options of a block; anything else ends them.
struct Options<'a> {
    order: Order,
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (code, length) = (self.order.half(self.rest, 0)?, self.order.half(self.rest, 2)?);
        let length = usize::from(length);
        let value = self.rest.get(4..4 + length).filter(|_| code != 0)?;
        self.rest = self.rest.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    }
}
