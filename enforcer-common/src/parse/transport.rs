//! TCP, UDP, SCTP, ICMP, ICMPv6, ND and DHCP.

use crate::flow::{Address, Class, FAMILY_V4, Flow, Fragment};
use crate::packet::Frame;
use crate::reason::Reason;
use crate::wire::{self, neighbour as kind, protocol};

/// Largest ND or MLD message that is essential, in bytes: more is a tunnel. Bytes behind the packet
/// in its frame count, because a bridge forwards them.
const MAX_NEIGHBOUR: usize = 256;
/// ff02::1:2, all DHCP relay agents and servers (RFC 8415 section 7.1).
const DHCP_V6_SERVERS: Address = Address { high: 0xff02_0000_0000_0000, low: 0x0001_0002 };

/// Reads the transport header at `offset`; `payload` bytes belong to the packet from there.
#[inline(always)]
pub(super) fn parse<F: Frame>(
    frame: &F,
    flow: &mut Flow,
    offset: usize,
    payload: usize,
) -> Result<(), Reason> {
    match flow.protocol {
        protocol::TCP => {
            let header = inside::<F, 20>(frame, flow, offset, payload)?;
            let [s0, s1, d0, d1, _, _, _, _, _, _, _, _, data, flags, ..] = header;
            flow.source_port = wire::be16(s0, s1);
            flow.destination_port = wire::be16(d0, d1);
            flow.tcp_flags = flags;
            let length = usize::from(data >> 4) * 4;
            if length < 20 || length > payload {
                let tiny = flow.fragment == Fragment::First && length > payload;
                return Err(if tiny { Reason::FragmentTiny } else { Reason::DataOffset });
            }
            Ok(())
        }
        protocol::UDP => {
            let [s0, s1, d0, d1, l0, l1, _, _] = inside::<F, 8>(frame, flow, offset, payload)?;
            flow.source_port = wire::be16(s0, s1);
            flow.destination_port = wire::be16(d0, d1);
            let length = usize::from(wire::be16(l0, l1));
            // The length is that of the datagram; a first fragment holds only a part.
            if length < 8 || (length > payload && flow.fragment == Fragment::Whole) {
                return Err(Reason::Length);
            }
            let inbound = frame.is_inbound(flow);
            dhcp(flow, offset, inbound)
        }
        protocol::SCTP => {
            let [s0, s1, d0, d1, ..] = inside::<F, 12>(frame, flow, offset, payload)?;
            flow.source_port = wire::be16(s0, s1);
            flow.destination_port = wire::be16(d0, d1);
            Ok(())
        }
        protocol::ICMP if flow.family == FAMILY_V4 => {
            let [kind, code, _, _, i0, i1, ..] = inside::<F, 8>(frame, flow, offset, payload)?;
            flow.destination_port = wire::be16(kind, code);
            if kind == wire::echo::V4_REQUEST || kind == wire::echo::V4_REPLY {
                flow.echo = wire::be16(i0, i1);
            }
            // Redirect, router advertisement and solicitation (RFC 792, RFC 1256).
            if kind == 5 || kind == 9 || kind == 10 {
                return Err(Reason::Redirect);
            }
            Ok(())
        }
        protocol::ICMPV6 if flow.family != FAMILY_V4 => {
            let [kind, code, _, _, i0, i1, ..] = inside::<F, 8>(frame, flow, offset, payload)?;
            flow.destination_port = wire::be16(kind, code);
            if kind == wire::echo::V6_REQUEST || kind == wire::echo::V6_REPLY {
                flow.echo = wire::be16(i0, i1);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Reads `N` bytes that lie inside the packet, not merely inside the frame.
#[inline(always)]
fn inside<F: Frame, const N: usize>(
    frame: &F,
    flow: &Flow,
    offset: usize,
    payload: usize,
) -> Result<[u8; N], Reason> {
    if payload >= N
        && let Some(bytes) = frame.read::<N>(offset)
    {
        return Ok(bytes);
    }
    // RFC 1858: the first fragment must hold the whole transport header.
    let first = flow.fragment == Fragment::First;
    Err(if first { Reason::FragmentTiny } else { Reason::TruncatedTransport })
}

/// DHCP by its ports: RFC 2131 section 4.1, RFC 8415 section 7.2. `offset` is that of the UDP header. The
/// format is checked later, see `format`.
#[inline(always)]
fn dhcp(flow: &mut Flow, offset: usize, inbound: bool) -> Result<(), Reason> {
    let v4 = flow.family == FAMILY_V4;
    let (client, server) = if v4 { (68, 67) } else { (546, 547) };
    if flow.source_port == server && flow.destination_port == client {
        if !inbound || flow.fragment != Fragment::Whole {
            return Err(Reason::RogueDhcp);
        }
        // Its format is checked later, so where it is must be known. Over IPv6 a server or relay is on the link.
        let header = usize::from(flow.network) + if v4 { wire::IPV4 } else { wire::IPV6 };
        if offset == header && (v4 || flow.source.high >> 54 == 0x3fa) {
            flow.class = Class::Dhcp;
        }
        return Ok(());
    }
    let to_server = flow.source_port == client && flow.destination_port == server;
    if inbound {
        return Ok(());
    }
    if to_server && flow.fragment == Fragment::Whole {
        let everybody = if v4 {
            flow.destination.low == u64::from(u32::MAX)
        } else {
            flow.destination == DHCP_V6_SERVERS
        };
        // Unicast to a server elsewhere is left to the rules; the decision knows the gateway. Any
        // other group is not a server, whatever the ports.
        let group = flow.destination.high >> 56 == 0xff;
        let header = usize::from(flow.network) + if v4 { wire::IPV4 } else { wire::IPV6 };
        if offset == header && (everybody || (!group && flow.source != Address::default())) {
            flow.class = Class::Dhcp;
        }
    }
    Ok(())
}

/// Neighbour discovery (RFC 4861) and multicast listener reports (RFC 2710, RFC 3810).
///
/// `offset` is where the extension headers start, `extensions` their length, `payload` the
/// length of both; `hops` is the hop limit of the IPv6 header.
#[inline(always)]
pub(super) fn neighbour<F: Frame>(
    frame: &F,
    flow: &mut Flow,
    offset: usize,
    extensions: usize,
    payload: usize,
    hops: u8,
) -> Result<(), Reason> {
    let short = flow.length as usize <= offset + MAX_NEIGHBOUR;
    let link_local = flow.source.high >> 54 == 0x3fa;
    match flow.destination_port >> 8 {
        // RFC 4861 section 6.1.2, and for queries RFC 3810 section 5.1.14. The options of a router are not looked at: a
        // device needs those of every router. Others are judged by the rules, like any packet.
        message @ (kind::ROUTER_ADVERTISEMENT | kind::LISTENER_QUERY) if frame.is_inbound(flow) => {
            let plain = if message == kind::LISTENER_QUERY {
                hops == 1 && short && flow.fragment == Fragment::Whole
            } else {
                hops == 255 && extensions == 0 && flow.fragment == Fragment::Whole
            };
            if plain && link_local {
                flow.class = Class::Multicast;
            }
        }
        kind::ROUTER_ADVERTISEMENT => return Err(Reason::RogueRouter),
        kind::REDIRECT => return Err(Reason::Redirect),
        kind::ROUTER_SOLICITATION | kind::SOLICITATION | kind::ADVERTISEMENT => {
            flow.class = Class::Neighbour;
            // RFC 6980: never fragmented. RFC 4861 section 7.1: hop limit 255, code 0.
            let plain = extensions == 0
                && flow.fragment == Fragment::Whole
                && hops == 255
                && flow.destination_port & 0xff == 0
                && short;
            if !plain {
                return Err(Reason::NeighbourMalformed);
            }
            if flow.destination_port >> 8 != kind::ROUTER_SOLICITATION {
                if payload < 24 {
                    return Err(Reason::TruncatedTransport);
                }
                let Some(target) = frame.read::<16>(offset + 8) else {
                    return Err(Reason::TruncatedTransport);
                };
                flow.claim = Address::v6(target);
            }
        }
        // Reports and done; queries come from routers.
        131 | 132 | 143 => {
            let link_local = link_local || flow.source == Address::default();
            let to_link = flow.destination.high >> 48 == 0xff02;
            if hops == 1 && link_local && to_link && short {
                flow.class = Class::Multicast;
            }
        }
        _ => {}
    }
    Ok(())
}
