//! A captured frame in the place of a described one.

use enforcer_common::flow::{Class, Flow};
use enforcer_common::wire::mac_bytes;

use super::frame::Described;
use super::{Error, address, sender, smallest_service};
use crate::policy::{Mac, Site};

/// Shortest frame with an Ethernet header, and longest that a jumbo frame may be, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 14..=65_536;

/// The frame number `number` of a request, whole: where the capture holds only its first bytes, the
/// rest is zeros. [`words`] say what it is, once it has been read.
///
/// # Errors
///
/// What is no frame; an interface that is not protected.
pub fn captured(
    site: &Site,
    number: usize,
    mut bytes: Vec<u8>,
    length: Option<u32>,
    interface: Option<&str>,
) -> Result<Described, Error> {
    let mut assumed = Vec::new();
    let interface = match interface {
        Some(name) => sender::named(site, name)?,
        None => sender::first_interface(site, &mut assumed)?,
    };
    let had = bytes.len();
    let length = length.map_or(had, |length| length as usize);
    if !LENGTHS.contains(&length) || !LENGTHS.contains(&had) || length < had {
        let why = format!("{had} bytes of a frame of {length}");
        return Err(Error::Captured { number, why });
    }
    bytes.resize(length, 0);
    let index = interface.index;
    Ok(Described { frame: bytes, interface: index, words: String::new(), assumed })
}

/// `10.20.0.12 to 202.114.4.119 tcp/443 on lan0, VLAN 20`, as the parser has read it.
pub(super) fn words(site: &Site, flow: &Flow) -> String {
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
    let interface = site.interfaces.iter().find(|known| known.index == flow.interface);
    if let Some(interface) = interface {
        words.push_str(&format!(" on {}", interface.name));
    }
    if flow.vlan() != 0 {
        words.push_str(&format!(", VLAN {}", flow.vlan()));
    }
    words
}
