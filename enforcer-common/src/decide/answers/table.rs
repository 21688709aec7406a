//! The table of answers: where a flow is, what makes room for it, and when it is over.

use super::has_echo;
use super::size::{SET_BITS, Size, WAYS};
use crate::decide::{FrameContext, Policy, group_entry};
use crate::flow::{Address, Flow};
use crate::image::walk::GOLDEN;
use crate::shared::Word;
use crate::wire::{protocol, tcp};

/// Words of the last line.
pub mod counter {
    /// Flows that found no room.
    pub const FULL: usize = 0;
    /// Flows that were noted.
    pub const NOTED: usize = 1;
}

/// A line of the table.
pub type Answers = [Word; 8];

/// Seconds that a flow waits for its first answer.
pub const UNANSWERED: u64 = 30;
/// Seconds that an idle TCP connection is kept: longer than Linux waits before it asks whether the other side is still
/// there (`net.ipv4.tcp_keepalive_time`, 7200).
pub const TCP: u64 = 8_100;
/// Seconds that it is kept after both sides have closed it.
pub const CLOSED: u64 = 60;
/// Seconds that it is kept after it was reset.
pub const RESET: u64 = 10;
/// Seconds that an idle flow of UDP or of a protocol without ports is kept.
pub const UDP: u64 = 180;
/// Seconds that an echo is kept.
pub const ECHO: u64 = 10;
/// Seconds without a frame after which a flow may have to make room for another one.
pub const QUIET: u64 = 60;

/// Bits of the first word of a state; the upper half is when the other side was seen last, boot clock, in seconds.
pub mod state {
    /// The entry holds a flow.
    pub const HELD: u64 = 1;
    /// The device has answered.
    pub const ANSWERED: u64 = 2;
    /// The other side has closed it.
    pub const CLOSED_THERE: u64 = 4;
    /// The device has closed it.
    pub const CLOSED_HERE: u64 = 8;
    /// It was reset.
    pub const RESET: u64 = 16;
}

/// The key of a flow, as the words of its line without the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub [u64; 7]);

/// Where a flow's entry would be.
#[derive(Clone, Copy)]
pub(super) struct Place {
    size: Size,
    set: u32,
    pub(super) digest: u64,
}

impl Key {
    /// Of a frame in the device's view; `port` is the device's port or the identifier of an echo.
    #[inline(always)]
    pub(in crate::decide) fn of(flow: &Flow, service: u32, port: u32) -> Self {
        // An echo has one number for both ends.
        let far = if has_echo(flow.protocol) { port } else { service & 0xffff };
        Self::new(flow, (flow.protocol, flow.destination), (far, port))
    }

    /// Of a flow of the device behind a frame in its view: protocol and other end, and the ports of both ends, the
    /// other one's first.
    #[inline(always)]
    pub(super) fn new(flow: &Flow, (number, peer): (u8, Address), (far, near): (u32, u32)) -> Self {
        let protocol = u64::from(number);
        let has_ports = matches!(number, protocol::TCP | protocol::UDP | protocol::SCTP);
        let ports = if has_ports || has_echo(number) { far << 16 | near } else { 0 };
        Self([
            peer.high,
            peer.low,
            flow.source.high,
            flow.source.low,
            flow.source_mac | u64::from(flow.vlan()) << 48,
            u64::from(flow.interface) << 32 | protocol << 8 | u64::from(flow.family),
            u64::from(ports),
        ])
    }

    /// Of a plain frame of a device: sender and interface, addresses from and to, family and protocol, and ports to and
    /// from, host order. The protocol has ports.
    #[inline(always)]
    pub(in crate::decide) fn plain(
        (source_mac, interface): (u64, u32),
        (source, peer): (Address, Address),
        (family, protocol): (u8, u8),
        (far, near): (u16, u16),
    ) -> Self {
        Self([
            peer.high,
            peer.low,
            source.high,
            source.low,
            source_mac,
            u64::from(interface) << 32 | u64::from(protocol) << 8 | u64::from(family),
            u64::from(far) << 16 | u64::from(near),
        ])
    }

    /// The protocol.
    #[inline(always)]
    pub(super) fn protocol(&self) -> u8 {
        (self.0[5] >> 8) as u8
    }

    /// Set and digest.
    #[inline(always)]
    pub(super) fn place<P: Policy>(&self, policy: &P) -> Place {
        let (keys, size) = (policy.keys(), policy.answers_size());
        let Self([.., high, low, sender, _, _]) = self;
        let digest = keys.digest(self.0);
        let first = keys.slot::<SET_BITS>(sender ^ low.rotate_left(24) ^ high.rotate_left(40));
        let set = first.wrapping_add(digest as u32 & (size.window() - 1)) & (size.sets() - 1);
        Place { size, set, digest }
    }
}

impl Place {
    /// The tag: never 0, which is that of a free way.
    #[inline(always)]
    pub(super) fn tag(self) -> u64 {
        self.digest >> 40 & 0xffff | 1
    }

    /// Line of the tags, and the word in it.
    #[inline(always)]
    pub(super) fn tags(self) -> (u32, usize) {
        (self.set >> 3, (self.set & 7) as usize)
    }

    /// Line of the key of a way; the state is in the next one.
    #[inline(always)]
    pub(super) fn line(self, way: u32) -> u32 {
        self.size.tag_lines() + (self.set * WAYS + (way & (WAYS - 1))) * 2
    }
}

/// Whether the flow whose key is in a line is not over.
#[inline(always)]
pub(super) fn is_alive<P: Policy>(policy: &P, protocol: u8, line: u32) -> bool {
    let Some([seen, ..]) = policy.answers(line.wrapping_add(1)) else { return false };
    !is_over(seen.get(), protocol, policy.seconds())
}

/// Who judged a flow by the rules in force: mixed into the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judge {
    /// The transmit side: an accept rule covers it.
    Sender,
    /// The receiving side too: everything else that a frame of the device must meet has been checked.
    Receiver,
}

impl Judge {
    /// The stamp of a flow that was judged by a group's entry.
    #[inline(always)]
    pub(super) fn stamp<P: Policy>(self, policy: &P, place: Place, entry: u64) -> u64 {
        let who = match self {
            Self::Sender => 0,
            Self::Receiver => u64::MAX,
        };
        place.digest ^ stamped(policy, entry) ^ who
    }
}

/// Whether a flow was judged by the rules in force.
#[inline(always)]
pub(super) fn is_fresh<P: Policy>(policy: &P, line: u32, place: Place) -> bool {
    let Some([_, stamp, by, ..]) = policy.answers(line.wrapping_add(1)) else { return false };
    let entry = group_entry(policy, by.get() as u32);
    // A mode that ends changes without another entry.
    entry.is_ok_and(|entry| {
        let (sender, stamp) = (Judge::Sender.stamp(policy, place, entry.0), stamp.get());
        !entry.is_timed() && (stamp == sender || stamp == !sender)
    })
}

/// Sets by what a flow was judged.
#[inline(always)]
pub(super) fn mark<P: Policy>(policy: &P, line: u32, (by, stamp): (u64, u64)) {
    if let Some([_, mark, who, ..]) = policy.answers(line.wrapping_add(1)) {
        mark.set(0);
        who.set(by);
        mark.set(stamp);
    }
}

/// Notes one more frame of a known flow.
#[inline(always)]
pub(super) fn renew<P: Policy>(policy: &P, context: &FrameContext, line: u32, segments: u32) {
    let Some([seen, _, _, frames, bytes, ..]) = policy.answers(line.wrapping_add(1)) else {
        return;
    };
    let flow = &context.flow;
    let (before, now) = (seen.get(), policy.seconds());
    // Where frames still come, the reset was not one of this connection.
    let flags = before & 0xffff_ffff & !state::RESET | closing(flow.tcp_flags, state::CLOSED_THERE);
    // Seconds: one store for all frames of one, as long as nothing else changes.
    if now << 32 | flags != before {
        seen.set(now << 32 | flags);
    }
    frames.set(frames.get().wrapping_add(u64::from(segments)));
    bytes.set(bytes.get().wrapping_add(u64::from(flow.length)));
}

/// Notes one more frame of the device: its control bits of TCP, and its length in bytes.
#[inline(always)]
pub(super) fn answered([seen, _, _, _, _, frames, bytes, _]: &Answers, flags: u8, length: u32) {
    let before = seen.get();
    let closes = closing(flags, state::CLOSED_HERE) | state::ANSWERED;
    if before & closes != closes {
        seen.set(before | closes);
    }
    frames.set(frames.get().wrapping_add(1));
    bytes.set(bytes.get().wrapping_add(u64::from(length)));
}

/// Writes a flow into the table: where it was, or in place of the one that is missed least.
#[inline(always)]
pub(super) fn write<P: Policy>(
    policy: &P,
    context: &FrameContext,
    (key, place, line): (&Key, Place, Option<u32>),
    (by, stamp): (u64, u64),
    segments: u32,
) -> Option<()> {
    let now = policy.seconds();
    let flow = &context.flow;
    let flags = state::HELD | closing(flow.tcp_flags, state::CLOSED_THERE);
    let line = match line {
        Some(line) => line,
        None => room(policy, place, now)?,
    };
    let held = policy.answers(line.wrapping_add(1))?;
    let [seen, mark, who, frames, bytes, answers, answered, created] = held;
    // No state of another flow counts for this one, whatever is read in between.
    seen.set(0);
    mark.set(0);
    let [digest, a, b, c, d, e, f, g] = policy.answers(line)?;
    let Key(words) = key;
    let [wa, wb, wc, wd, we, wf, wg] = *words;
    digest.set(0);
    a.set(wa);
    b.set(wb);
    c.set(wc);
    d.set(wd);
    e.set(we);
    f.set(wf);
    g.set(wg);
    who.set(by);
    frames.set(u64::from(segments));
    bytes.set(u64::from(flow.length));
    answers.set(0);
    answered.set(0);
    created.set(now);
    mark.set(stamp);
    seen.set(now << 32 | flags);
    digest.set(place.digest);
    count(policy, counter::NOTED);
    Some(())
}

/// Finds a way for a new flow and tags it: a free one, an expired one, the oldest without an answer, the oldest that is
/// quiet; or none.
#[inline(always)]
fn room<P: Policy>(policy: &P, place: Place, now: u64) -> Option<u32> {
    let (mut best, mut way) = (0u64, 0);
    let mut next = 0;
    while next < WAYS {
        let line = place.line(next);
        let [seen, ..] = policy.answers(line.wrapping_add(1))?;
        let [.., kinds, _] = policy.answers(line)?;
        let (before, protocol) = (seen.get(), (kinds.get() >> 8) as u8);
        let idle = now.wrapping_sub(before >> 32) & 0xffff_ffff;
        let rank = if before & state::HELD == 0 {
            4
        } else if is_over(before, protocol, now) {
            3
        } else if before & state::ANSWERED == 0 {
            2
        } else {
            u64::from(idle > QUIET)
        };
        let score = rank << 32 | idle;
        if rank > 0 && score >= best {
            (best, way) = (score, next);
        }
        next += 1;
    }
    if best == 0 {
        count(policy, counter::FULL);
        return None;
    }
    let (line, word) = place.tags();
    let tags = policy.answers(line)?.get(word)?;
    let shift = 16 * way;
    tags.set(tags.get() & !(0xffff << shift) | place.tag() << shift);
    Some(place.line(way))
}

/// Line of the key of a flow, if it is in the table.
#[inline(always)]
pub(super) fn find<P: Policy>(policy: &P, place: Place, key: &Key) -> Option<u32> {
    let (line, word) = place.tags();
    let tags = policy.answers(line)?.get(word)?.get();
    let mut way = 0;
    while way < WAYS {
        if tags >> (16 * way) & 0xffff == place.tag() {
            let line = place.line(way);
            let [digest, a, b, c, d, e, f, g] = policy.answers(line)?;
            let Key([wa, wb, wc, wd, we, wf, wg]) = key;
            let differs = digest.get() ^ place.digest
                | a.get() ^ wa
                | b.get() ^ wb
                | c.get() ^ wc
                | d.get() ^ wd
                | e.get() ^ we
                | f.get() ^ wf
                | g.get() ^ wg;
            if differs == 0 {
                return Some(line);
            }
        }
        way += 1;
    }
    None
}

#[inline(always)]
fn count<P: Policy>(policy: &P, counter: usize) {
    if let Some(word) =
        policy.answers(policy.answers_size().counters()).and_then(|line| line.get(counter))
    {
        word.add(1);
    }
}

/// Whether a flow in this state is over.
#[inline(always)]
pub fn is_over(state: u64, protocol: u8, now: u64) -> bool {
    let idle = now.wrapping_sub(state >> 32) & 0xffff_ffff;
    // A CPU whose clock is a tick ahead has written it.
    let idle = if idle > u64::from(u32::MAX) - 60 { 0 } else { idle };
    let closed = state::CLOSED_HERE | state::CLOSED_THERE;
    let most = if state & state::RESET != 0 {
        RESET
    } else if state & closed == closed {
        CLOSED
    } else if state & state::ANSWERED == 0 {
        UNANSWERED
    } else {
        match protocol {
            protocol::TCP => TCP,
            protocol::ICMP | protocol::ICMPV6 => ECHO,
            _ => UDP,
        }
    };
    state & state::HELD == 0 || idle > most
}

/// What the flags of a segment say about the end of its flow; `fin` is the bit of the side that sends it.
#[inline(always)]
fn closing(flags: u8, fin: u64) -> u64 {
    let fin = if flags & tcp::FIN != 0 { fin } else { 0 };
    fin | if flags & tcp::RST != 0 { state::RESET } else { 0 }
}

/// What identifies the image and the group's rules that a flow was judged by.
#[inline(always)]
fn stamped<P: Policy>(policy: &P, entry: u64) -> u64 {
    (entry ^ policy.nonce()).wrapping_mul(GOLDEN)
}
