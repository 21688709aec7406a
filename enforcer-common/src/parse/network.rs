//! IPv4, IPv6 and its extension headers.

use super::{ends_with, transport, verifier_barrier};
use crate::flow::{Address, Class, FAMILY_V4, FAMILY_V6, Flow, Fragment};
use crate::image::walk::is_zero;
use crate::packet::Frame;
use crate::reason::Reason;
use crate::wire::{self, protocol};

/// Extension headers that are walked before giving up.
const MAX_EXTENSIONS: usize = 4;
/// Bytes of extension headers that are walked before giving up.
const MAX_EXTENSION_BYTES: usize = 256;

/// IPv4, RFC 791.
#[inline(always)]
pub(super) fn ipv4<F: Frame>(frame: &F, flow: &mut Flow, offset: usize) -> Result<(), Reason> {
    let Some(head) = frame.read::<{ wire::IPV4 }>(offset) else {
        return Err(Reason::TruncatedNetwork);
    };
    let [version, _, l0, l1, i0, i1, f0, f1, _, number, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
        head;
    if version >> 4 != 4 {
        return Err(Reason::IpVersion);
    }
    let header = usize::from(version & 0xf) * 4;
    if header < wire::IPV4 {
        return Err(Reason::HeaderLength);
    }
    flow.family = FAMILY_V4;
    let source = u32::from_be_bytes([s0, s1, s2, s3]);
    let destination = u32::from_be_bytes([d0, d1, d2, d3]);
    flow.source = Address::v4(source);
    flow.destination = Address::v4(destination);
    flow.protocol = number;

    let total = usize::from(wire::be16(l0, l1));
    if offset + header > flow.length as usize {
        return Err(Reason::TruncatedNetwork);
    }
    let Some(payload) = total.checked_sub(header) else {
        return Err(Reason::Length);
    };
    if offset + total > flow.length as usize {
        return Err(Reason::Length);
    }
    if !ends_with(flow, offset, total) {
        return Err(Reason::TrailingBytes);
    }
    let fragment = wire::be16(f0, f1);
    if header > wire::IPV4 {
        let plain = header == wire::IPV4 + 4 && fragment & 0x3fff == 0;
        let report = number == protocol::IGMP && destination >> 28 == 0xe;
        // Of a querier without an address (RFC 4541 section 2.1.1) the source is 0.0.0.0.
        let net = if frame.is_inbound(flow) && source == 0 { 1 } else { source >> 24 };
        return options(frame, offset + wire::IPV4, plain && report, net);
    }
    addresses_v4(flow, source, destination)?;

    let behind = usize::from(fragment & 0x1fff) * 8;
    let more = fragment & 0x2000 != 0;
    if more || behind != 0 {
        flow.fragment_id = u32::from(wire::be16(i0, i1));
        fragmented(flow, behind, more, payload)?;
        if flow.fragment.is_later() {
            return Ok(());
        }
    }
    transport::parse(frame, flow, offset + wire::IPV4, payload)?;
    let queries = frame.is_inbound(flow) && flow.protocol == protocol::IGMP;
    if source == 0 && !queries && !matches!(flow.class, Class::Dhcp | Class::OddDhcp) {
        return Err(Reason::MartianSource);
    }
    Ok(())
}

/// Judges options. All are refused (RFC 7126), a source route under its own reason, with one
/// exception.
///
/// Every IGMP message carries the router alert option (RFC 2236 section 2, RFC 3376 section 4): in a
/// whole packet to a multicast group, and without any other option, it is left to the rules.
/// `report` says whether the packet is such a one; `net` is the first byte of its source.
///
/// Up to three leading NOPs are skipped; a source route behind more of them is refused too, under
/// the general reason.
#[inline(always)]
fn options<F: Frame>(frame: &F, offset: usize, report: bool, net: u32) -> Result<(), Reason> {
    const NOP: u8 = 1;
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    /// RFC 2113: "router shall examine packet", four bytes long.
    const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];
    let Some(option) = frame.read::<4>(offset) else {
        return Err(Reason::TruncatedNetwork);
    };
    if report && option == ROUTER_ALERT {
        // The part of `addresses_v4` that applies to a multicast destination; there is no port to
        // read.
        let host = net != 0 && net != 127 && net < 224;
        return if host { Ok(()) } else { Err(Reason::MartianSource) };
    }
    let [a, b, c, d] = option;
    let mut first = a;
    if first == NOP {
        first = b;
        if first == NOP {
            first = c;
            if first == NOP {
                first = d;
            }
        }
    }
    Err(if first == LOOSE || first == STRICT { Reason::SourceRoute } else { Reason::Options })
}

/// Addresses that no host may send from or to: RFC 1122 section 3.2.1.3, RFC 6890.
///
/// 0.0.0.0 as a source is judged later, because a DHCP client has no other.
#[inline(always)]
fn addresses_v4(flow: &Flow, source: u32, destination: u32) -> Result<(), Reason> {
    let multicast = destination >> 28 == 0xe;
    let broadcast = destination == u32::MAX;
    if flow.destination_mac & wire::MULTICAST_MAC != 0 && !multicast && !broadcast {
        return Err(Reason::CastMismatch);
    }
    let first = source >> 24;
    if first == 127 || first >= 224 || (first == 0 && source != 0) {
        return Err(Reason::MartianSource);
    }
    let first = destination >> 24;
    if first == 127 || first == 0 || (first >= 240 && !broadcast) {
        return Err(Reason::MartianDestination);
    }
    Ok(())
}

/// IPv6, RFC 8200.
#[inline(always)]
pub(super) fn ipv6<F: Frame>(frame: &F, flow: &mut Flow, offset: usize) -> Result<(), Reason> {
    let Some([version, _, _, _, l0, l1, next, hops]) = frame.read::<8>(offset) else {
        return Err(Reason::TruncatedNetwork);
    };
    if version >> 4 != 6 {
        return Err(Reason::IpVersion);
    }
    let (Some(source), Some(destination)) =
        (frame.read::<16>(offset + 8), frame.read::<16>(offset + 24))
    else {
        return Err(Reason::TruncatedNetwork);
    };
    flow.family = FAMILY_V6;
    flow.source = Address::v6(source);
    flow.destination = Address::v6(destination);
    flow.protocol = next;

    let payload = usize::from(wire::be16(l0, l1));
    if payload == 0 {
        let jumbo = next == protocol::HOP_BY_HOP;
        return Err(if jumbo { Reason::Jumbogram } else { Reason::Length });
    }
    if offset + wire::IPV6 + payload > flow.length as usize {
        return Err(Reason::Length);
    }
    if !ends_with(flow, offset, wire::IPV6 + payload) {
        return Err(Reason::TrailingBytes);
    }
    addresses_v6(flow, frame.is_inbound(flow))?;

    let extensions = extensions(frame, flow, offset + wire::IPV6, payload)?;
    verifier_barrier();
    if !flow.fragment.is_later() {
        transport::parse(
            frame,
            flow,
            offset + wire::IPV6 + extensions,
            payload.saturating_sub(extensions),
        )?;
        if flow.protocol == protocol::ICMPV6 && flow.family == FAMILY_V6 {
            transport::neighbour(frame, flow, offset + wire::IPV6, extensions, payload, hops)?;
        }
    }
    let unspecified = flow.source == Address::default();
    if unspecified && flow.class != Class::Neighbour && flow.class != Class::Multicast {
        return Err(Reason::MartianSource);
    }
    Ok(())
}

/// Addresses that no host may send from or to: RFC 4291, RFC 6890.
///
/// `::` as a source is judged later, because duplicate address detection has no other.
#[inline(always)]
fn addresses_v6(flow: &Flow, inbound: bool) -> Result<(), Reason> {
    let (source, destination) = (flow.source, flow.destination);
    let multicast = destination.high >> 56 == 0xff;
    if flow.destination_mac & wire::MULTICAST_MAC != 0 && !multicast {
        return Err(Reason::CastMismatch);
    }
    let unspecified = source.high == 0 && source.low == 0;
    // ::/64 holds loopback, v4-compatible and v4-mapped addresses; none of them is on a wire.
    if source.high >> 56 == 0xff || (source.high == 0 && !unspecified) {
        return Err(Reason::MartianSource);
    }
    // ff00::/16 and ff01::/16 never leave a node.
    let node_local = multicast && (destination.high >> 48) & 0xf <= 1;
    if destination.high == 0 || node_local {
        return Err(Reason::MartianDestination);
    }
    let link_local = source.high >> 54 == 0x3fa;
    let on_link = destination.high >> 54 == 0x3fa || (multicast && scope(destination) <= 2);
    // A router answers from its link-local address wherever it was asked from.
    if link_local && !on_link && !inbound {
        return Err(Reason::MartianSource);
    }
    Ok(())
}

/// Scope of a multicast address, RFC 4291 section 2.7.
#[inline(always)]
fn scope(address: Address) -> u64 {
    (address.high >> 48) & 0xf
}

/// Walks the extension headers at `offset` and returns their length in bytes.
///
/// Unrolled: each accepted header has eight bytes, so everything is at a fixed distance. The verifiers of
/// Linux 5.10 and 6.1 also refuse a loop whose last instruction is not its jump (`check_cfg`).
#[inline(always)]
fn extensions<F: Frame>(
    frame: &F,
    flow: &mut Flow,
    offset: usize,
    payload: usize,
) -> Result<usize, Reason> {
    const { assert!(MAX_EXTENSIONS == 4) };
    if let Walked::Ends(at) = extension::<F, 0>(frame, flow, offset, payload)? {
        return Ok(at);
    }
    if let Walked::Ends(at) = extension::<F, 1>(frame, flow, offset, payload)? {
        return Ok(at);
    }
    if let Walked::Ends(at) = extension::<F, 2>(frame, flow, offset, payload)? {
        return Ok(at);
    }
    if let Walked::Ends(at) = extension::<F, 3>(frame, flow, offset, payload)? {
        return Ok(at);
    }
    match extension::<F, MAX_EXTENSIONS>(frame, flow, offset, payload)? {
        Walked::Ends(at) => Ok(at),
        Walked::On => Err(Reason::ExtensionDepth),
    }
}

/// Result of looking for an extension header.
enum Walked {
    /// There is one; continue behind it.
    On,
    /// There are no more, or no more can be read; their length in bytes.
    Ends(usize),
}

/// Bytes of an accepted extension header.
const EXTENSION: usize = 8;

/// Looks for an extension header behind `COUNT` others.
#[inline(always)]
fn extension<F: Frame, const COUNT: usize>(
    frame: &F,
    flow: &mut Flow,
    offset: usize,
    payload: usize,
) -> Result<Walked, Reason> {
    verifier_barrier();
    let at = COUNT * EXTENSION;
    match flow.protocol {
        protocol::ROUTING => return Err(Reason::RoutingHeader),
        protocol::NO_NEXT => return Err(Reason::NoNextHeader),
        protocol::MOBILITY
        | protocol::HIP
        | protocol::SHIM6
        | protocol::EXPERIMENT_1
        | protocol::EXPERIMENT_2 => return Err(Reason::ExtensionHeader),
        protocol::HOP_BY_HOP if COUNT != 0 => return Err(Reason::ExtensionOrder),
        protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS | protocol::FRAGMENT => {}
        _ => return Ok(Walked::Ends(at)),
    }
    if COUNT == MAX_EXTENSIONS {
        return Err(Reason::ExtensionDepth);
    }
    // Inside the packet, not merely inside the frame.
    if at + EXTENSION > payload {
        return Err(truncated(flow));
    }
    let Some([next, length, f0, f1, i0, i1, i2, i3]) = frame.read::<EXTENSION>(offset + at) else {
        return Err(Reason::TruncatedExtension);
    };
    let is_fragment = flow.protocol == protocol::FRAGMENT;
    let hop_by_hop = flow.protocol == protocol::HOP_BY_HOP;
    flow.protocol = next;
    let behind_it = at + EXTENSION;
    if is_fragment {
        let field = wire::be16(f0, f1);
        let behind = usize::from(field & 0xfff8);
        let more = field & 1 != 0;
        // An atomic fragment (RFC 6946) is the whole datagram.
        if more || behind != 0 {
            if flow.fragment != Fragment::Whole {
                return Err(Reason::ExtensionOrder);
            }
            flow.fragment_id = u32::from_be_bytes([i0, i1, i2, i3]);
            fragmented(flow, behind, more, payload.saturating_sub(behind_it))?;
            if flow.fragment.is_later() {
                return Ok(Walked::Ends(behind_it));
            }
        }
        return Ok(Walked::On);
    }
    let end = at + (usize::from(length) + 1) * EXTENSION;
    if end > MAX_EXTENSION_BYTES {
        return Err(Reason::ExtensionLength);
    }
    if end > payload {
        return Err(truncated(flow));
    }
    // Options are judged, not skipped: only a header of eight bytes with padding passes, and the router
    // alert of MLD (RFC 2710 section 3) in front of ICMPv6. A device needs no home addresses, tunnel
    // limits, jumbo lengths or unknown options. They are compared as one number, because two
    // comparisons would be two paths for the verifier.
    let options = u64::from_be_bytes([0, 0, f0, f1, i0, i1, i2, i3]);
    let alert = u64::from(hop_by_hop && next == protocol::ICMPV6);
    let known = is_zero(options)
        | is_zero(options ^ 0x0104_0000_0000)
        | is_zero(options ^ 0x0502_0000_0100) & alert
        | is_zero(options ^ 0x0100_0502_0000) & alert;
    if known & is_zero(length.into()) == 0 {
        return Err(Reason::Options);
    }
    Ok(Walked::On)
}

/// A header chain must end inside the first fragment: RFC 7112.
#[inline(always)]
fn truncated(flow: &Flow) -> Reason {
    if flow.fragment == Fragment::First { Reason::FragmentTiny } else { Reason::TruncatedExtension }
}

/// Records the position of a fragment; `behind` and `payload` are in bytes.
#[inline(always)]
fn fragmented(flow: &mut Flow, behind: usize, more: bool, payload: usize) -> Result<(), Reason> {
    flow.fragment_offset = behind as u16;
    flow.fragment_length = payload as u16;
    if more && !payload.is_multiple_of(8) || payload == 0 || behind + payload > 0xffff {
        return Err(Reason::Length);
    }
    if behind == 0 {
        flow.fragment = Fragment::First;
    } else {
        flow.fragment = if more { Fragment::Later } else { Fragment::Last };
        // RFC 3128: a fragment at offset 1 can only overwrite TCP flags.
        if behind == 8 {
            return Err(Reason::FragmentTiny);
        }
    }
    Ok(())
}
