//! The key of a plain frame, read from the frame itself.

use super::CachedVerdict;
use crate::decide::answers;
use crate::event::Refused;
use crate::flow::{Address, FAMILY_NONE, FAMILY_V4, FAMILY_V6};
use crate::image::Line;
use crate::image::walk::GOLDEN;
use crate::packet::Packet;
use crate::wire::{self, ether_type, protocol};

/// Everything that the verdict on a plain frame depends on, as in the frame.
///
/// A frame is plain if it has no VLAN tag, no options or extension headers, is not a fragment, goes to
/// one receiver, is TCP or UDP but not DHCP, and all of its lengths are right.
pub trait Key: Copy {
    /// [`FAMILY_V4`] or [`FAMILY_V6`].
    const FAMILY: u8;

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

    /// The source address.
    fn source(&self) -> Address;

    /// The destination address.
    fn destination(&self) -> Address;

    /// What else tells an answer apart, of the frame that the key was read from.
    fn ends(frame: &Packet<'_>) -> Option<Ends>;

    /// The key of the flow that a frame with this key is of, if it answers what others have opened.
    #[inline(always)]
    fn answers(&self, ends: Ends) -> answers::Key {
        let [sender, place, ..] = self.words();
        answers::Key::plain(
            (sender.swap_bytes() >> 16, (place >> 32) as u32),
            (self.source(), self.destination()),
            (Self::FAMILY, (place >> 16) as u8),
            (network(place), ends.source_port),
        )
    }

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

/// What of a plain frame is in no [`Key`], because no rule is about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The source port, host order.
    pub source_port: u16,
    /// The control bits of TCP, 0 for another protocol.
    pub tcp_flags: u8,
}

impl Ends {
    /// By the word with the ports, and the byte of the control bits.
    #[inline(always)]
    fn new(ports: u64, flags: u8, number: u8) -> Self {
        let tcp_flags = if number == protocol::TCP { flags } else { 0 };
        Self { source_port: network(ports), tcp_flags }
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
    pub(super) sender: u64,
    pub(super) place: u64,
    /// Source and destination.
    pub(super) addresses: u64,
}

/// The key of an IPv6 frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6 {
    pub(super) sender: u64,
    pub(super) place: u64,
    /// Source and destination.
    pub(super) addresses: [u64; 4],
}

impl Key for V4 {
    const FAMILY: u8 = FAMILY_V4;

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
    fn source(&self) -> Address {
        Address::v4((self.addresses as u32).swap_bytes())
    }

    #[inline(always)]
    fn destination(&self) -> Address {
        Address::v4(((self.addresses >> 32) as u32).swap_bytes())
    }

    #[inline(always)]
    fn ends(frame: &Packet<'_>) -> Option<Ends> {
        let head = frame.first::<{ wire::ETHERNET + wire::IPV4 + 20 }>()?;
        let (ports, behind) = (head.word::<4>() >> 16, head.word::<5>());
        Some(Ends::new(ports, (behind >> 56) as u8, (head.word::<2>() >> 56) as u8))
    }
}

impl Key for V6 {
    const FAMILY: u8 = FAMILY_V6;

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
    fn source(&self) -> Address {
        let [high, low, _, _] = self.addresses;
        Address { high: high.swap_bytes(), low: low.swap_bytes() }
    }

    #[inline(always)]
    fn destination(&self) -> Address {
        let [_, _, high, low] = self.addresses;
        Address { high: high.swap_bytes(), low: low.swap_bytes() }
    }

    #[inline(always)]
    fn ends(frame: &Packet<'_>) -> Option<Ends> {
        let head = frame.first::<{ wire::ETHERNET + wire::IPV6 + 20 }>()?;
        let (ports, behind) = (head.word::<6>() >> 48, head.word::<8>());
        Some(Ends::new(ports, (behind >> 24) as u8, (head.word::<2>() >> 32) as u8))
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
