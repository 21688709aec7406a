//! The flow cache: the verdict of a flow is looked up with two loads instead of being decided again.
//!
//! Only decisions of rules and defaults without an end are cached. An entry holds the group entry that it was decided
//! by, so a live change, which stores another group entry, invalidates it. A refusal is cached only if its flow was
//! reported shortly before: the event budget bounds such flows, so that they cannot evict many allowed ones.
//!
//! The key is everything that the verdict depends on. Malformed frames are detected for each frame; only the plainest
//! shape of frame is looked up at all.
//!
//! There are [`SETS`] sets of four flows. Each set has a word of *tags*, 16 bits of each flow's hash; all tags together
//! stay in the L2 cache. The first frame of a flow stores its tag, the second one its entry. A scan or a flood of new
//! flows therefore evicts nothing and touches no memory but the tags.

use super::{Decision, FrameContext, Policy, asked, group_entry};
use crate::event::Refused;
use crate::flow::{Address, FAMILY_NONE, FAMILY_V4, FAMILY_V6};
use crate::image::walk::GOLDEN;
use crate::image::{self, Line};
use crate::packet::Packet;
use crate::reason::{Reason, Verdict};
use crate::wire::{self, ether_type, protocol};

/// Sets that a CPU has; a power of two.
pub const SETS: u32 = 1 << 12;
/// Flows of a set: 16 bits of a word each.
const WAYS: u32 = 4;
/// Lines that tags take.
const TAG_LINES: u32 = SETS / 8;
/// Lines that a CPU has.
pub const LINES: u32 = TAG_LINES + SETS * WAYS;

/// The cache of a CPU: [`LINES`] lines.
pub trait Memory {
    /// The line with this number.
    fn line(&mut self, number: Number) -> Option<&mut Line>;
}

/// The number of a line. It is below [`LINES`], so it cannot select a line of another CPU.
#[derive(Clone, Copy, Debug)]
pub struct Number(u32);

impl Number {
    /// The line with the tags of a set.
    #[inline(always)]
    fn tags(set: u32) -> Self {
        Self((set & (SETS - 1)) >> 3)
    }

    /// The line of a flow of a set.
    #[inline(always)]
    fn flow(set: u32, way: u32) -> Self {
        Self(TAG_LINES + (set & (SETS - 1)) * WAYS + (way & (WAYS - 1)))
    }

    /// As a plain number.
    #[inline(always)]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// Everything that the verdict on a plain frame depends on, as in the frame.
///
/// A frame is plain if it has no VLAN tag, no options or extension headers, is not a fragment, goes to
/// one receiver, is TCP or UDP but not DHCP, and all of its lengths are right.
pub trait Key: Copy {
    /// The frame's key, if it is plain, of this family and was received by `interface`. The frame must be
    /// contiguous.
    fn read(frame: &Packet<'_>, interface: u32) -> Option<Self>;

    /// The key as the first words of a line: source MAC and EtherType; interface, protocol and
    /// destination port; addresses.
    fn words(&self) -> [u64; 6];

    /// Whether a line is one of this key.
    fn is(&self, line: &Line) -> bool;

    /// A hash of the key, whose upper bits depend on all of its bits.
    fn mixed(&self) -> u64;

    /// The destination address.
    fn destination(&self) -> Address;

    /// The flow that an event on a frame with this key would report.
    #[inline(always)]
    fn refused(&self, cached: &CachedVerdict) -> Refused {
        let [sender, place, ..] = self.words();
        Refused {
            source_mac: sender.swap_bytes() >> 16,
            destination: self.destination(),
            interface: (place >> 32) as u32,
            vlans: [0, 0],
            service: place as u32 & 0xff_0000 | u32::from(network(place)),
            reason: cached.reason,
            verdict: cached.verdict,
            named: cached.named,
            direction: 0,
        }
    }
}

/// The address family by the EtherType of an untagged frame.
#[inline(always)]
pub fn family(frame: &Packet<'_>) -> u8 {
    let kind = frame.first::<16>().map_or(0, |head| (head.word::<1>() >> 32) as u16);
    match u16::from_be(kind) {
        ether_type::IPV4 => FAMILY_V4,
        ether_type::IPV6 => FAMILY_V6,
        _ => FAMILY_NONE,
    }
}

/// The key of an IPv4 frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V4 {
    sender: u64,
    place: u64,
    /// Source and destination.
    addresses: u64,
}

/// The key of an IPv6 frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6 {
    sender: u64,
    place: u64,
    /// Source and destination.
    addresses: [u64; 4],
}

impl Key for V4 {
    #[inline(always)]
    fn read(frame: &Packet<'_>, interface: u32) -> Option<Self> {
        let head = frame.first::<{ wire::ETHERNET + wire::IPV4 + 20 }>()?;
        let words = [head.word::<0>(), head.word::<1>(), head.word::<2>(), head.word::<3>()];
        let [to, from, length, source] = words;
        let (destination, behind) = (head.word::<4>(), head.word::<5>());
        let total = network(length) as usize;
        let plain = to & 1 == 0
            && from >> 32 & 0xff_ffff == 0x45_0000 | u64::from(ether_type::IPV4.swap_bytes())
            && length >> 32 & 0xff3f == 0
            && ends(frame, total);
        if !plain {
            return None;
        }
        let (number, payload) = ((length >> 56) as u8, total.checked_sub(wire::IPV4)?);
        let ports = destination >> 16;
        check(number, ports, (behind >> 48) as u8, payload)?;
        Some(Self {
            sender: to >> 48 | from << 16,
            place: place(interface, number, ports),
            addresses: source >> 16 | destination << 48,
        })
    }

    #[inline(always)]
    fn words(&self) -> [u64; 6] {
        // The rest is not compared. Zeros would compile to a call of `memset`, for which the kernel's stack has no
        // room.
        [self.sender, self.place, self.addresses, self.addresses, self.addresses, self.addresses]
    }

    #[inline(always)]
    fn is(&self, line: &Line) -> bool {
        // The EtherType is in the first word, so no IPv6 line matches.
        let [sender, place, addresses, ..] = line.0;
        addresses == self.addresses && sender == self.sender && place == self.place
    }

    #[inline(always)]
    fn mixed(&self) -> u64 {
        mix(self.addresses, self.sender, self.place)
    }

    #[inline(always)]
    fn destination(&self) -> Address {
        Address::v4(((self.addresses >> 32) as u32).swap_bytes())
    }
}

impl Key for V6 {
    #[inline(always)]
    fn read(frame: &Packet<'_>, interface: u32) -> Option<Self> {
        let head = frame.first::<{ wire::ETHERNET + wire::IPV6 + 20 }>()?;
        let words = [head.word::<0>(), head.word::<1>(), head.word::<2>()];
        let [to, from, length] = words;
        let payload = network(length >> 16) as usize;
        let plain = to & 1 == 0
            && from >> 32 & 0xf0_ffff == 0x60_0000 | u64::from(ether_type::IPV6.swap_bytes())
            && ends(frame, wire::IPV6 + payload);
        if !plain {
            return None;
        }
        let [a, b, c, d] = [head.word::<3>(), head.word::<4>(), head.word::<5>(), head.word::<6>()];
        let (ports, behind) = (d >> 48 | head.word::<7>() << 16, head.word::<8>());
        let number = (length >> 32) as u8;
        check(number, ports, (behind >> 16) as u8, payload)?;
        let addresses =
            [length >> 48 | a << 16, a >> 48 | b << 16, b >> 48 | c << 16, c >> 48 | d << 16];
        let place = place(interface, number, ports);
        Some(Self { sender: to >> 48 | from << 16, place, addresses })
    }

    #[inline(always)]
    fn words(&self) -> [u64; 6] {
        let [a, b, c, d] = self.addresses;
        [self.sender, self.place, a, b, c, d]
    }

    #[inline(always)]
    fn is(&self, line: &Line) -> bool {
        let [sender, place, a, b, c, d, ..] = line.0;
        let [own_a, own_b, own_c, own_d] = self.addresses;
        let addresses = d == own_d && b == own_b && c == own_c && a == own_a;
        addresses && sender == self.sender && place == self.place
    }

    #[inline(always)]
    fn mixed(&self) -> u64 {
        let [a, b, c, d] = self.addresses;
        mix((a ^ c.rotate_left(24)).wrapping_mul(GOLDEN) ^ b ^ d, self.sender, self.place)
    }

    #[inline(always)]
    fn destination(&self) -> Address {
        let [_, _, high, low] = self.addresses;
        Address { high: high.swap_bytes(), low: low.swap_bytes() }
    }
}

/// Whether a frame holds a packet of `total` bytes, followed by at most Ethernet's padding.
#[inline(always)]
fn ends(frame: &Packet<'_>, total: usize) -> bool {
    let (bytes, packet) = (frame.linear(), wire::ETHERNET + total);
    bytes == packet || packet < bytes && bytes <= wire::ETHERNET + wire::PADDED
}

/// The 16-bit number in network order in the lowest bits of a word.
#[inline(always)]
fn network(word: u64) -> u16 {
    (word as u16).swap_bytes()
}

/// Interface, protocol and destination port, which is the second 16 bits of `ports`.
#[inline(always)]
fn place(interface: u32, number: u8, ports: u64) -> u64 {
    u64::from(interface) << 32 | u64::from(number) << 16 | ports >> 16 & 0xffff
}

#[inline(always)]
fn mix(ends: u64, sender: u64, place: u64) -> u64 {
    let sum = ends.wrapping_add(sender.rotate_left(21)).wrapping_add(place.rotate_left(43));
    sum.wrapping_mul(GOLDEN)
}

/// A key's set and its tag.
///
/// The hash has no key: an attacker can choose flows that evict each other, but that only slows the
/// attacker's own traffic.
#[inline(always)]
fn bucket<K: Key>(key: &K) -> (u32, u64) {
    let mixed = key.mixed();
    ((mixed >> 52) as u32 & (SETS - 1), mixed >> 36 & 0xffff)
}

/// Whether `payload` bytes are well-formed TCP or UDP: `ports` is the first word, `data` the byte
/// with the data offset of TCP.
#[inline(always)]
fn check(number: u8, ports: u64, data: u8, payload: usize) -> Option<()> {
    let length = match number {
        protocol::TCP => usize::from(data >> 4) * 4,
        protocol::UDP if !is_dhcp(network(ports >> 16)) => usize::from(network(ports >> 32)),
        _ => return None,
    };
    let least = if number == protocol::TCP { 20 } else { 8 };
    (length >= least && length <= payload).then_some(())
}

/// Whether this is a port of DHCP, for which the source port matters too.
#[inline(always)]
fn is_dhcp(port: u16) -> bool {
    port == 67 || port == 68 || port == 546 || port == 547
}

/// The tag in one position of a word.
#[inline(always)]
fn tag_at(tags: u64, way: u32) -> u64 {
    tags >> (16 * way) & 0xffff
}

/// The first position in `tags` that holds `tag`.
///
/// With branches: the position is predicted often enough, and the CPU then fetches the line before
/// the tags have arrived.
#[inline(always)]
fn way(tags: u64, tag: u64) -> Option<u32> {
    let mut way = 0;
    while way < WAYS {
        if tag_at(tags, way) == tag {
            return Some(way);
        }
        way += 1;
    }
    None
}

/// The tags with one more: in the first or second position while they are free, then in a
/// pseudo-random one that differs with each change.
#[inline(always)]
fn with_tag(tags: u64, tag: u64) -> u64 {
    let way = match (tag_at(tags, 0), tag_at(tags, 1)) {
        (0, _) => 0,
        (_, 0) => 1,
        _ => ((tags ^ tag).wrapping_mul(GOLDEN) >> 62) as u32,
    };
    tags ^ (tag_at(tags, way) ^ tag) << (16 * way)
}

/// A verdict in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedVerdict {
    /// Rule that decided, or [`image::NO_RULE`].
    pub rule: u32,
    /// Number of the [`Reason`].
    pub reason: u8,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the policy names the source MAC.
    pub named: bool,
}

/// Set in the last word of a line if the policy names the source MAC.
const NAMED: u64 = 1 << 31;

/// The cached verdict of this key, if it is still valid.
#[inline(always)]
pub fn find<K: Key, M: Memory, P: Policy>(
    memory: &mut M,
    policy: &P,
    key: &K,
) -> Option<CachedVerdict> {
    let (set, tag) = bucket(key);
    let tags = *memory.line(Number::tags(set))?.0.get((set & 7) as usize)?;
    let line = memory.line(Number::flow(set, way(tags, tag)?))?;
    if !key.is(line) {
        return None;
    }
    let [_, _, _, _, _, _, entry, packed] = line.0;
    let group = packed as u32 & 0xffff;
    if group_entry(policy, group).ok()?.0 != entry {
        return None;
    }
    let verdict = match (packed >> 24) as u8 & 3 {
        0 => Verdict::Pass,
        1 => Verdict::Drop,
        _ => Verdict::WouldDrop,
    };
    let (rule, reason) = ((packed >> 32) as u32, (packed >> 16) as u8);
    Some(CachedVerdict { rule, reason, verdict, named: packed & NAMED != 0 })
}

/// Whether the next frame with the same key gets the same verdict.
#[inline(always)]
pub fn is_cacheable(context: &FrameContext) -> bool {
    let Decision { reason, group, .. } = context.decision;
    let passes = asked::is_by_rule(reason);
    let refused =
        matches!(reason, Reason::Deny | Reason::Default | Reason::Unknown | Reason::Quarantine);
    // The key has no source port: another frame with it may be an answer.
    let is_final = context.identity.ends == 0 && !context.may_answer() && !asked::notes(context);
    (passes || refused) && is_final && group <= 0xffff
}

/// Stores the verdict on a frame with this key, or the tag of a new flow; [`is_cacheable`] must hold.
#[inline(always)]
pub fn insert<K: Key, M: Memory>(memory: &mut M, key: &K, context: &FrameContext) -> Option<()> {
    let decision = &context.decision;
    let (set, tag) = bucket(key);
    let tags = memory.line(Number::tags(set))?.0.get_mut((set & 7) as usize)?;
    let Some(way) = way(*tags, tag) else {
        *tags = with_tag(*tags, tag);
        return None;
    };
    let [sender, place, a, b, c, d] = key.words();
    let why = (decision.verdict as u64) << 24 | u64::from(decision.reason.number()) << 16;
    let named = if decision.device == image::NO_DEVICE { 0 } else { NAMED };
    let packed = u64::from(decision.rule) << 32 | named | why | u64::from(decision.group);
    // It moves to the first position, which is searched first; the entry there takes its place.
    *tags ^= (tag_at(*tags, 0) ^ tag) | (tag_at(*tags, 0) ^ tag) << (16 * way);
    let first = Number::flow(set, 0);
    // Word by word: LLVM 22's BPF target crashes on a copy of 64 bytes.
    let before = memory.line(first)?.0.map(core::hint::black_box);
    *memory.line(Number::flow(set, way))? = Line(before);
    *memory.line(first)? = Line([sender, place, a, b, c, d, context.entry, packed]);
    Some(())
}

#[cfg(test)]
mod tests;
