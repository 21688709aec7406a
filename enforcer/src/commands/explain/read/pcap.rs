//! pcap, draft-ietf-opsawg-pcap and `sf-pcap.c` of libpcap.
//!
//! Written by hand: pcap-parser takes every file for little-endian.

use anyhow::{Result, bail};

use super::{Capture, Frame, MAX_FRAME, Order};

/// Microseconds, nanoseconds, and Alexey Kuznetzov's, whose frames have a longer header.
const MAGICS: [u32; 3] = [0xa1b2_c3d4, 0xa1b2_3c4d, MODIFIED];
const MODIFIED: u32 = 0xa1b2_cd34;
/// Lengths of the file header and of both kinds of frame header.
const HEADER: usize = 24;
const RECORD: usize = 16;
const RECORD_MODIFIED: usize = 24;
/// In the word with the link type: whether its top bits have the length of the FCS, in units of 16
/// bits.
const HAS_FCS: u32 = 1 << 26;
/// `PACKET_OUTGOING` (include/uapi/linux/if_packet.h).
const OUTGOING: u8 = 4;

pub(super) fn read(bytes: &[u8], capture: &mut Capture) -> Result<()> {
    let order = [false, true].map(|big| Order { big }).into_iter().find_map(|order| {
        let magic = order.word(bytes, 0)?;
        MAGICS.contains(&magic).then_some((order, magic == MODIFIED))
    });
    let Some((order, modified)) = order else {
        bail!(if bytes.len() < 4 { "it is cut off" } else { "it is neither" });
    };
    let header = (order.half(bytes, 4), order.half(bytes, 6), order.word(bytes, 20));
    let (Some(major), Some(minor), Some(link)) = header else { bail!("it is cut off") };
    if major < 2 {
        bail!("it is of version {major}.{minor}, older than 2.0");
    }
    let fcs = if link & HAS_FCS == 0 { 0 } else { (link >> 28) as usize * 2 };
    // The upper six bits are not part of the type.
    let link = link & 0x03ff_ffff;
    let mut rest = bytes.get(HEADER..).unwrap_or_default();
    while !rest.is_empty() {
        let head = if modified { RECORD_MODIFIED } else { RECORD };
        let lengths = (order.word(rest, 8), order.word(rest, 12), rest.get(head..));
        let (Some(mut known), Some(mut length), Some(data)) = lengths else {
            capture.ends("cut off");
            break;
        };
        // Versions before 2.3 and DG/UX have the two lengths swapped, 2.3 may have either order.
        if minor < 3 || major == 543 || (minor == 3 && known > length) {
            (known, length) = (length, known);
        }
        if known as usize > MAX_FRAME {
            capture.ends("damaged");
            break;
        }
        let Some((data, next)) = data.split_at_checked(known as usize) else {
            capture.ends("cut off");
            break;
        };
        let outgoing = modified && rest.get(22) == Some(&OUTGOING);
        let arrived = outgoing.then_some(false);
        let frame = Frame { bytes: Vec::new(), length: 0, link, interface: None, arrived };
        // An FCS that was not captured must not be cut off.
        capture.add(data, length, fcs, frame);
        rest = next;
    }
    Ok(())
}
