//! Frame to [`Flow`], or why not.
//!
//! - [`link`](self): Ethernet, VLAN tags, 802.3, ARP and protocols with their own EtherType
//! - `network`: IPv4, IPv6 and its extension headers
//! - `format`: what DHCP, ND and MLD must look like to be essential
//! - `transport`: TCP, UDP, ICMP, ICMPv6, ND and DHCP
//!
//! An unreadable part is a reason to drop, never to pass. Every length is checked against the frame
//! and against the header that encloses it.

mod format;
mod network;
mod transport;

use crate::flow::{Address, Class, FAMILY_V4, Flow};
use crate::packet::Frame;
use crate::reason::Reason;
use crate::wire::{self, ether_type};

/// Reads a frame into `flow`, as far as it can be read.
///
/// `flow.interface` and `flow.length` are the caller's. On an error, the fields read before it
/// are set: an event can still name the device.
///
/// # Errors
///
/// The reason why no policy could let this frame pass.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, flow: &mut Flow) -> Result<(), Reason> {
    let Some(head) = frame.read::<{ wire::ETHERNET }>(0) else {
        return Err(Reason::TruncatedEthernet);
    };
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = head;
    flow.destination_mac = wire::mac([d0, d1, d2, d3, d4, d5]);
    flow.source_mac = wire::mac([s0, s1, s2, s3, s4, s5]);
    flow.ether_type = wire::be16(t0, t1);
    if flow.source_mac & wire::MULTICAST_MAC != 0 {
        return Err(Reason::SourceMacMulticast);
    }
    if flow.source_mac == 0 {
        return Err(Reason::SourceMacZero);
    }

    let mut offset = wire::ETHERNET;
    // Two tags, unrolled, so that their offsets are constants for the verifier.
    if is_tag(flow.ether_type) {
        offset = tag(frame, flow, wire::ETHERNET, 0)?;
        if is_tag(flow.ether_type) {
            offset = tag(frame, flow, wire::ETHERNET + wire::TAG, 1)?;
            if is_tag(flow.ether_type) {
                return Err(Reason::VlanDepth);
            }
            let [_, inner] = flow.vlans;
            if inner != 0 {
                // The policy names single VLANs only: a stack of two cannot be declared. A tag
                // behind a priority tag is refused too: a bridge that filters VLANs takes the frame
                // for untagged and carries the tag to ports outside its VLAN.
                return Err(Reason::VlanUndeclared);
            }
        }
    }

    flow.network = offset as u8;
    verifier_barrier();
    let offset = usize::from(flow.network);
    match flow.ether_type {
        ether_type::IPV4 => {
            network::ipv4(frame, flow, offset)?;
            verifier_barrier();
            format::format(frame, flow)
        }
        ether_type::IPV6 => {
            network::ipv6(frame, flow, offset)?;
            verifier_barrier();
            format::format(frame, flow)
        }
        ether_type::ARP => arp(frame, flow, offset),
        ether_type::EAPOL => {
            flow.class = Class::Eapol;
            // A switch answers a device at its own address.
            if !frame.is_inbound(flow) && !stays(flow.destination_mac) {
                return Err(Reason::EapolDestination);
            }
            eapol(frame, flow, offset)
        }
        ether_type::LLDP if stays(flow.destination_mac) => {
            flow.class = Class::Lldp;
            lldp(frame, offset)
        }
        length if length < ether_type::FIRST => llc(frame, flow, offset),
        _ => Err(Reason::EtherType),
    }
}

/// Makes the compiler drop its knowledge of memory.
///
/// The kernel keeps a [`Flow`] in map memory. Values read from there after this are unknown to the
/// verifier, so it merges the paths that lead here instead of following each to the end of the
/// program.
#[inline(always)]
pub fn verifier_barrier() {
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}

#[inline(always)]
fn is_tag(ether_type: u16) -> bool {
    ether_type == ether_type::VLAN || ether_type == ether_type::SERVICE_VLAN
}

/// Whether an address is reserved for bridges: 01:80:c2:00:00:00 to :0f (IEEE 802.1D).
#[inline(always)]
fn is_reserved(mac: u64) -> bool {
    mac & !0xf == wire::RESERVED_MAC
}

/// Whether no bridge forwards frames to this address.
///
/// While spanning tree is off, Linux forwards everything that goes to the first address of the
/// block (net/bridge/br_input.c, `br_handle_frame`).
#[inline(always)]
fn stays(mac: u64) -> bool {
    is_reserved(mac) && mac != wire::RESERVED_MAC
}

/// Reads the tag at `offset` and returns the offset behind it.
#[inline(always)]
fn tag<F: Frame>(frame: &F, flow: &mut Flow, offset: usize, index: usize) -> Result<usize, Reason> {
    let service = flow.ether_type == ether_type::SERVICE_VLAN;
    let Some([control_high, control_low, type_high, type_low]) = frame.read::<4>(offset) else {
        return Err(Reason::TruncatedEthernet);
    };
    let id = wire::be16(control_high, control_low) & 0x0fff;
    if let Some(slot) = flow.vlans.get_mut(index) {
        *slot = id;
    }
    flow.ether_type = wire::be16(type_high, type_low);
    // Declared VLANs are 802.1Q; an 802.1ad tag with an id uses a different number space.
    if id == 0x0fff || (service && id != 0) {
        return Err(Reason::VlanUndeclared);
    }
    Ok(offset + wire::TAG)
}

/// Whether a frame ends with the `used` bytes from `offset` on, or with Ethernet's padding behind
/// them. A bridge would forward any other trailing bytes: a tunnel.
#[inline(always)]
fn ends_with(flow: &Flow, offset: usize, used: usize) -> bool {
    let padded = usize::from(flow.network) + wire::PADDED;
    let end = offset + used;
    flow.length as usize <= if end > padded { end } else { padded }
}

/// 802.1X, IEEE 802.1X-2020 section 11.3: version, packet type, length of the body.
#[inline(always)]
fn eapol<F: Frame>(frame: &F, flow: &Flow, offset: usize) -> Result<(), Reason> {
    /// EAPOL-Announcement-Req, the last type that is assigned.
    const LAST_TYPE: u8 = 8;
    const HEADER: usize = 4;
    let Some([version, kind, l0, l1]) = frame.read::<HEADER>(offset) else {
        return Err(Reason::TruncatedNetwork);
    };
    let used = HEADER + usize::from(wire::be16(l0, l1));
    let plain = (1..=3).contains(&version)
        && kind <= LAST_TYPE
        && offset + used <= flow.length as usize
        && ends_with(flow, offset, used);
    if plain { Ok(()) } else { Err(Reason::EssentialShape) }
}

/// LLDP, IEEE 802.1AB-2016 section 8.5.2: the first TLV is the chassis id, 2 to 256 bytes long.
#[inline(always)]
fn lldp<F: Frame>(frame: &F, offset: usize) -> Result<(), Reason> {
    let Some([t0, t1]) = frame.read::<2>(offset) else {
        return Err(Reason::TruncatedNetwork);
    };
    let (kind, length) = (wire::be16(t0, t1) >> 9, wire::be16(t0, t1) & 0x1ff);
    let plain = kind == 1 && (2..=256).contains(&length);
    if plain { Ok(()) } else { Err(Reason::EssentialShape) }
}

/// ARP for IPv4 over Ethernet, RFC 826.
#[inline(always)]
fn arp<F: Frame>(frame: &F, flow: &mut Flow, offset: usize) -> Result<(), Reason> {
    flow.class = Class::Arp;
    let Some(packet) = frame.read::<{ wire::ARP }>(offset) else {
        return Err(Reason::TruncatedNetwork);
    };
    let [h0, h1, p0, p1, hl, pl, o0, o1, m0, m1, m2, m3, m4, m5, a, b, c, d, rest @ ..] = packet;
    let [_, _, _, _, _, _, e, f, g, h] = rest;
    let operation = wire::be16(o0, o1);
    let plain = wire::be16(h0, h1) == 1
        && wire::be16(p0, p1) == ether_type::IPV4
        && hl == 6
        && pl == 4
        && (operation == 1 || operation == 2)
        && wire::mac([m0, m1, m2, m3, m4, m5]) == flow.source_mac
        && ends_with(flow, offset, wire::ARP)
        // A reply must name an address.
        && (operation == 1 || [a, b, c, d] != [0; 4]);
    if !plain {
        return Err(Reason::ArpMalformed);
    }
    flow.source = Address::v4(u32::from_be_bytes([a, b, c, d]));
    flow.destination = Address::v4(u32::from_be_bytes([e, f, g, h]));
    flow.claim = flow.source;
    if flow.source.low != 0 {
        flow.family = FAMILY_V4;
    } else {
        // A probe (RFC 5227) has no sender address: its target is the address that the sender is
        // about to use.
        flow.claim = flow.destination;
    }
    Ok(())
}

/// An 802.3 frame: spanning tree is the only kind that a policy can allow.
#[inline(always)]
fn llc<F: Frame>(frame: &F, flow: &mut Flow, offset: usize) -> Result<(), Reason> {
    let Some([destination, source, control]) = frame.read::<3>(offset) else {
        return Err(Reason::TruncatedNetwork);
    };
    if [destination, source, control] != [0x42, 0x42, 0x03] || !is_reserved(flow.destination_mac) {
        return Err(Reason::Llc);
    }
    flow.class = Class::Stp;
    // Protocol id 0, version and type (IEEE 802.1D-2004 section 9.3): a BPDU is at least those.
    let used = usize::from(flow.ether_type);
    let plain = frame.read::<7>(offset).is_some_and(|[_, _, _, p0, p1, ..]| p0 == 0 && p1 == 0)
        && used >= 7
        && offset + used <= flow.length as usize
        && ends_with(flow, offset, used);
    if plain { Ok(()) } else { Err(Reason::EssentialShape) }
}

#[cfg(test)]
mod tests;
