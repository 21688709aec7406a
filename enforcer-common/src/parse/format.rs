//! Checks the format of essentials: frames that pass regardless of the rules must be well formed.
//!
//! This is a second pass over a frame whose class is known. Everything is at a fixed distance from the
//! network header, so the verifier follows few paths.

use crate::flow::{Class, FAMILY_V4, Flow};
use crate::packet::Frame;
use crate::reason::Reason;
use crate::wire;

/// Length of a UDP header, in bytes.
const UDP: usize = 8;
/// Bytes of a BOOTP message in front of its options, the cookie of RFC 2131 section 3 included.
const BOOTP: usize = 240;
/// Largest UDP datagram that counts as a DHCP client message, in bytes.
const MAX_DHCP: usize = 1024;
/// Largest one that counts as a DHCP server message: what fits into a frame.
const MAX_REPLY: usize = 1480;

/// Checks the format of DHCP, ND and MLD.
#[inline(always)]
pub(super) fn format<F: Frame>(frame: &F, flow: &mut Flow) -> Result<(), Reason> {
    // At most two tags: the mask changes nothing, but shows the verifier the bound.
    const { assert!(wire::ETHERNET + 2 * wire::TAG < 32) };
    let network = usize::from(flow.network & 31);
    match flow.class {
        Class::Dhcp => {
            let plain = if flow.family == FAMILY_V4 {
                is_bootp(frame, flow, network)?
            } else {
                is_dhcp_v6(frame, network, frame.is_inbound(flow))?
            };
            if !plain {
                flow.class = Class::OddDhcp;
            }
            Ok(())
        }
        Class::Neighbour => neighbour(frame, flow, network),
        Class::Multicast
        | Class::Ip
        | Class::Arp
        | Class::OddDhcp
        | Class::Eapol
        | Class::Lldp
        | Class::Stp => Ok(()),
    }
}

/// Bytes behind an IPv6 header, by its length field.
#[inline(always)]
fn payload_v6<F: Frame>(frame: &F, network: usize) -> Result<usize, Reason> {
    let Some([high, low]) = frame.read::<2>(network + 4) else {
        return Err(Reason::TruncatedNetwork);
    };
    Ok(usize::from(wire::be16(high, low)))
}

/// Whether the packet holds exactly one DHCP client message over Ethernet: RFC 2131 sections 2 and
/// 3. Its hardware address must be the frame's source, so that one device cannot lease the addresses of many. Towards a
/// device it is a server's message, whose hardware address is the frame's destination, unless it is broadcast.
#[inline(always)]
fn is_bootp<F: Frame>(frame: &F, flow: &Flow, network: usize) -> Result<bool, Reason> {
    const CLIENT: usize = 28;
    /// A request over Ethernet, with six-byte addresses, that no relay has forwarded.
    const REQUEST: [u8; 4] = [1, 1, 6, 0];
    const COOKIE: [u8; 4] = [99, 130, 83, 99];
    let udp = network + wire::IPV4;
    let (Some([t0, t1]), Some([l0, l1])) = (frame.read::<2>(network + 2), frame.read::<2>(udp + 4))
    else {
        return Err(Reason::TruncatedTransport);
    };
    let length = usize::from(wire::be16(l0, l1));
    let whole = usize::from(wire::be16(t0, t1)) == wire::IPV4 + length;
    let inbound = frame.is_inbound(flow);
    let most = if inbound { MAX_REPLY } else { MAX_DHCP };
    if !whole || length <= UDP + BOOTP || length > most {
        return Ok(false);
    }
    let message = udp + UDP;
    let Some(first) = frame.read::<4>(message) else {
        return Err(Reason::TruncatedTransport);
    };
    let Some(client) = frame.read::<6>(message + CLIENT) else {
        return Err(Reason::TruncatedTransport);
    };
    let Some(cookie) = frame.read::<4>(message + BOOTP - COOKIE.len()) else {
        return Err(Reason::TruncatedTransport);
    };
    /// The same of a reply.
    const REPLY: [u8; 4] = [2, 1, 6, 0];
    let number = u32::from_ne_bytes;
    let (kind, own) =
        if inbound { (REPLY, flow.destination_mac) } else { (REQUEST, flow.source_mac) };
    let [op, hardware, length, _] = first;
    let differs =
        number([op, hardware, length, 0]) ^ number(kind) | number(cookie) ^ number(COOKIE);
    let hops = first[3] == 0 || inbound;
    let to_all = inbound && own & wire::MULTICAST_MAC != 0;
    Ok(differs == 0 && hops && (to_all || wire::mac(client) == own))
}

/// Whether the packet holds exactly one DHCPv6 message of a client, or of a server, by its type: RFC 8415 section 7.3.
#[inline(always)]
fn is_dhcp_v6<F: Frame>(frame: &F, network: usize, of_server: bool) -> Result<bool, Reason> {
    /// Advertise, reply, reconfigure.
    const SERVER_TYPES: u32 = 1 << 2 | 1 << 7 | 1 << 10;
    const CLIENT_TYPES: u32 =
        1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 11;
    let udp = network + wire::IPV6;
    let payload = payload_v6(frame, network)?;
    let Some([l0, l1, _, _, kind]) = frame.read::<5>(udp + 4) else {
        // Too short for a message, but not a fault in an ordinary datagram.
        return Ok(false);
    };
    let length = usize::from(wire::be16(l0, l1));
    let most = if of_server { MAX_REPLY } else { MAX_DHCP };
    let fits = length == payload && (UDP + 4..=most).contains(&length);
    let types = if of_server { SERVER_TYPES } else { CLIENT_TYPES };
    Ok(fits && types >> (kind & 31) & u32::from(kind < 32) != 0)
}

/// Checks that an ND message has its stated length, and that a link-layer address in its options (RFC 4861
/// section 4.6) is the frame's source: hosts use the option, not the frame (section 7.2.3).
///
/// At most four options of eight bytes each, the size of an Ethernet link-layer address and of the nonce
/// of RFC 7527.
#[inline(always)]
fn neighbour<F: Frame>(frame: &F, flow: &Flow, network: usize) -> Result<(), Reason> {
    const MAX_OPTIONS: usize = 4;
    let message = network + wire::IPV6;
    let payload = payload_v6(frame, network)?;
    let head =
        if flow.destination_port >> 8 == wire::neighbour::ROUTER_SOLICITATION { 8 } else { 24 };
    let options = payload.wrapping_sub(head);
    if options > 8 * MAX_OPTIONS || options % 8 != 0 {
        return Err(Reason::NeighbourMalformed);
    }
    let mut at = 0;
    while at < MAX_OPTIONS {
        if 8 * at < options {
            let Some([kind, eights, a, b, c, d, e, f]) = frame.read::<8>(message + head + 8 * at)
            else {
                return Err(Reason::TruncatedTransport);
            };
            // 1 is the sender's address, 2 the target's.
            let address = kind == 1 || kind == 2;
            if address && wire::mac([a, b, c, d, e, f]) != flow.source_mac {
                return Err(Reason::NeighbourSpoof);
            }
            if eights != 1 {
                return Err(Reason::NeighbourMalformed);
            }
        }
        at += 1;
    }
    Ok(())
}
