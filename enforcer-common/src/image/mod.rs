//! The lines of a policy image; [`walk`] says how to look things up in them.
//!
//! An image is one flat array of 64-byte [`Line`]s. Everything in it is reached from a
//! [`Layout`] by line number; a number outside the array, or a word of the wrong kind, is
//! [`Corrupt`] and never a verdict.
//!
//! **Words** are 32-bit values: four bits of [`Word`] kind, 28 bits of payload.
//!
//! **Trees** map every key to a word. They are B+trees over the *last* keys of intervals, in
//! ascending order, with adjacent children, so that a node needs only one child number:
//!
//! | line | keys of 32 bits | keys of 64 bits |
//! |---|---|---|
//! | inner | child, 15 ends | child, 7 ends |
//! | leaf | 8 ends, 8 words | 5 ends, 5 words |
//!
//! The slot of a key is the number of ends below it. Unused ends hold the largest key, which no
//! key exceeds. Addresses of IPv4, services and VLANs are 32-bit keys; MAC addresses and the
//! halves of IPv6 addresses are 64-bit keys. An IPv6 tree over upper halves holds, where a
//! prefix is longer than 64 bits, a word that is a tree over lower halves.
//!
//! **Tables** map exact keys of 48 bits to 16-bit values: eight entries a line, two candidate
//! lines a key.
// tidy: long because the format of an image is described in one place

pub mod walk;

pub use walk::{
    bucket_hashes, declares_vlan, destination_v6, group_entry, index_64, live_v4, live_v6,
    look_up_32, look_up_64, look_up_128, look_up_exact, look_up_top, look_up_usual,
};

/// 64 bytes, one cache line: the unit of a policy image. Eight 64-bit numbers in host order.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Line(pub [u64; 8]);

/// A table or index that is not in this image.
pub const ABSENT: u32 = u32::MAX;
/// No rule decided.
pub const NO_RULE: u32 = u32::MAX;
/// No device of the MAC table.
pub const NO_DEVICE: u32 = u32::MAX;
/// Most groups in an image, the one of unknown devices included.
pub const MAX_GROUPS: u32 = 1 << 14;
/// Most rules with an end that may cover the same endpoint.
pub const MAX_EXPIRING: usize = 8;
/// Inner levels of a 32-bit tree below its top: 8 · 16^3 intervals.
pub const MAX_DEPTH_32: u32 = 3;
/// Inner levels below a [`top`]: 12 · 8 · 16^4 intervals.
pub const MAX_DEPTH_TOP: u32 = 4;
/// Inner levels of a 64-bit tree: 5 · 8^7 intervals.
pub const MAX_DEPTH_64: u32 = 7;

/// Inner levels of the 32-bit trees of live rules, those below a [`top`] included: 12 · 8 · 16
/// intervals of addresses, 8 · 16 of services.
pub const MAX_DEPTH_LIVE: u32 = 1;
/// Inner levels of the 64-bit trees of live rules: 5 · 8^2 intervals.
pub const MAX_DEPTH_LIVE_64: u32 = 2;

/// Ends in an inner line of a 32-bit tree.
pub const INNER_32: usize = 15;
/// Ends in a leaf of a 32-bit tree.
pub const LEAF_32: usize = 8;
/// Ends in an inner line of a 64-bit tree.
pub const INNER_64: usize = 7;
/// Ends in a leaf of a 64-bit tree.
pub const LEAF_64: usize = 5;
/// Ends in the top of a large tree.
pub const TOP_ENDS: usize = 11;

/// The image cannot be walked: it has an invalid line number or word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// Kinds of [`Word`].
pub mod kind {
    /// Nothing: no rule, no owner.
    pub const NONE: u32 = 0;
    /// Pass, by the rule in the payload. In a source tree: the group in the payload.
    pub const PASS: u32 = 1;
    /// Drop, by the rule in the payload. In a source tree: owned by the device in the payload.
    pub const DROP: u32 = 2;
    /// A rule with an end: the line in the payload, see [`super::expiry`].
    pub const EXPIRES: u32 = 3;
    /// A 32-bit tree of depth 0; the next three kinds are the deeper ones.
    pub const TREE_32: u32 = 4;
    /// A 64-bit tree of depth 0; the next seven kinds are the deeper ones.
    pub const TREE_64: u32 = 8;
}

/// What a key maps to: four bits of [`kind`], 28 bits of payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Word(pub u32);

impl Word {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Largest payload.
    pub const MAX_PAYLOAD: u32 = (1 << 28) - 1;

    /// A word; bits of `payload` above 28 are lost.
    #[inline(always)]
    pub const fn new(kind: u32, payload: u32) -> Self {
        Self(kind << 28 | payload & Self::MAX_PAYLOAD)
    }

    /// One of [`kind`].
    #[inline(always)]
    pub const fn kind(self) -> u32 {
        self.0 >> 28
    }

    /// A line, rule, group or device, by kind.
    #[inline(always)]
    pub const fn payload(self) -> u32 {
        self.0 & Self::MAX_PAYLOAD
    }
}

/// Where everything in an image begins. Read-only constants of the kernel program, so that the
/// verifier removes the code for what is [`ABSENT`] or [`Word::NONE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// First line of the table MAC → group, [`BOUND_SOURCES`] and [`BOUND_PLACE`].
    pub macs: u32,
    /// Lines of that table less one; a power of two less one.
    pub macs_mask: u32,
    /// First line of the index device → VLAN and interface, eight 64-bit numbers a line.
    pub places: u32,
    /// Tree over MAC addresses → group.
    pub mac_prefixes: u32,
    /// Line of the [`top`] of the tree over IPv4 source addresses → group or owner.
    pub sources_v4: u32,
    /// Tree over IPv6 source addresses → group or owner.
    pub sources_v6: u32,
    /// Tree over VLAN ids → group.
    pub vlans: u32,
    /// First line of the table interface index → line behind [`Layout::interface_lines`].
    pub interfaces: u32,
    /// Lines of that table less one.
    pub interfaces_mask: u32,
    /// First interface line.
    pub interface_lines: u32,
    /// First line of the group entries, eight 64-bit numbers a line.
    pub groups: u32,
    /// Number of groups, the one of unknown devices (0) included.
    pub group_count: u32,
    /// Tree over IPv4 addresses → [`kind::PASS`] with [`HOST_OWN`], or with [`HOST_LOCAL`] and the
    /// number of an interface added to it.
    pub host_v4: u32,
    /// The same for IPv6.
    pub host_v6: u32,
    /// Bits of [`essential`].
    pub essential: u32,
    /// Bits of [`flag`].
    pub flags: u32,
}

impl Layout {
    /// Nothing is present: every frame is [`Corrupt`].
    pub const EMPTY: Self = Self {
        macs: ABSENT,
        macs_mask: 0,
        places: ABSENT,
        mac_prefixes: 0,
        sources_v4: ABSENT,
        sources_v6: 0,
        vlans: 0,
        interfaces: ABSENT,
        interfaces_mask: 0,
        interface_lines: 0,
        groups: ABSENT,
        group_count: 0,
        host_v4: 0,
        host_v6: 0,
        essential: 0,
        flags: 0,
    };
}

impl Layout {
    /// Line 0 of an image is its layout, so that an image found in the kernel describes itself.
    pub fn to_line(&self) -> Line {
        let mut line = Line::default();
        let words = [
            self.macs,
            self.macs_mask,
            self.places,
            self.mac_prefixes,
            self.sources_v4,
            self.sources_v6,
            self.vlans,
            self.interfaces,
            self.interfaces_mask,
            self.interface_lines,
            self.groups,
            self.group_count,
            self.host_v4,
            self.host_v6,
            self.essential,
            self.flags,
        ];
        for (index, word) in words.into_iter().enumerate() {
            line.set_word(index, word);
        }
        line
    }
}

/// Bits of [`Layout::essential`].
pub mod essential {
    /// ARP.
    pub const ARP: u32 = 1;
    /// ND and MLD.
    pub const NEIGHBOUR: u32 = 2;
    /// DHCP.
    pub const DHCP: u32 = 4;
    /// 802.1X.
    pub const EAPOL: u32 = 8;
    /// LLDP.
    pub const LLDP: u32 = 16;
    /// Spanning tree.
    pub const STP: u32 = 32;
}

/// Bits of [`Layout::flags`].
pub mod flag {
    /// Some rules have an end.
    pub const EXPIRING: u32 = 1;
    /// Some interfaces have next hops that are bound.
    pub const BOUND_HOPS: u32 = 2;
    /// Some groups have accept or refuse rules: behind each descriptor is a line of [`super::beside`].
    pub const ANSWERS: u32 = 4;
    /// Some frames towards devices are refused: by rules, by the `inbound` of a group or the `flooded` of an interface.
    pub const INBOUND: u32 = 8;
}

/// An address of the gateway itself.
pub const HOST_OWN: u32 = 1;
/// The first of the numbers for addresses in an on-link prefix; the protected interface's number
/// is added.
pub const HOST_LOCAL: u32 = 2;

/// Bit of a MAC table value: the device may only use the source addresses that it owns.
pub const BOUND_SOURCES: u16 = 1 << 15;
/// Bit of a MAC table value: the device has a VLAN or an interface of its own.
pub const BOUND_PLACE: u16 = 1 << 14;
/// Group in a MAC table value: a MAC of the gateway's own, which no device may use. No group has this number.
pub const OWN_MAC: u32 = MAX_GROUPS - 1;
/// Owner of the gateway's own addresses, and of those of its routers, in a source tree: no device.
pub const OWNER_GATEWAY: u32 = Word::MAX_PAYLOAD;

/// Reads a number that may be a constant of the running program.
///
/// With a plain read the compiler could use the value at build time.
#[inline(always)]
pub fn constant(field: &u32) -> u32 {
    // SAFETY: a reference is valid for reads.
    unsafe { core::ptr::read_volatile(field) }
}

impl Line {
    /// One of the sixteen 32-bit numbers, low half first.
    #[inline(always)]
    pub fn word(&self, index: usize) -> Option<u32> {
        let pair = self.0.get(index / 2)?;
        Some((pair >> (index % 2 * 32)) as u32)
    }

    /// Sets one of the sixteen 32-bit numbers; an index past them does nothing.
    pub fn set_word(&mut self, index: usize, word: u32) {
        if let Some(pair) = self.0.get_mut(index / 2) {
            let shift = index % 2 * 32;
            *pair = *pair & !(u64::from(u32::MAX) << shift) | u64::from(word) << shift;
        }
    }
}

/// Access to an image's lines.
pub trait Lines {
    /// The line with this number. Lines of groups are read by [`Lines::entry`] alone: in the kernel they change.
    fn line(&self, number: u32) -> Option<&Line>;

    /// One of the eight entries of groups in a line, `slot` modulo 8. It is read in one piece, because user space may
    /// store another one at the same time.
    #[inline(always)]
    fn entry(&self, number: u32, slot: u32) -> Option<u64> {
        self.line(number)?.0.get((slot & 7) as usize).copied()
    }

    /// [`look_up_64`]. The kernel has it as a function of its own, so that its verifier walks it once.
    #[inline(always)]
    fn tree_64(&self, word: Word, key: u64) -> Result<Word, Corrupt> {
        walk::walk_64(self, word, key)
    }
}

impl Lines for [Line] {
    fn line(&self, number: u32) -> Option<&Line> {
        self.get(number as usize)
    }
}

/// An entry of a table: 48 bits of key, 16 of value.
pub const fn table_entry(key: u64, value: u16) -> u64 {
    key << 16 | value as u64
}

/// What a group does with the frames it would drop.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Drops them.
    Enforce = 0,
    /// Lets them pass and says so.
    Observe = 1,
    /// Drops all but the essentials.
    Quarantine = 2,
}

/// A group's entry: published with one 8-byte store, read once a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct GroupEntry(pub u64);

impl GroupEntry {
    /// An entry.
    pub const fn new(descriptor: u32, mode: Mode, default_pass: bool) -> Self {
        Self(descriptor as u64 | (mode as u64) << 32 | (default_pass as u64) << 40)
    }

    /// The same entry, whose mode gives way to `afterwards` at the time of a [`clock`] that is in
    /// [`top::UNTIL`] of its descriptor, which must not be [`ABSENT`].
    pub const fn until(self, afterwards: Mode, clock: u64) -> Self {
        Self(self.0 | (afterwards as u64) << 48 | 1 << 41 | (clock & 3) << 46)
    }

    /// The [`clock`] by which the mode ends: bits 46 and 47.
    #[inline(always)]
    pub const fn clock(self) -> u64 {
        self.0 >> 46 & 3
    }

    /// Whether the mode has an end.
    #[inline(always)]
    pub const fn is_timed(self) -> bool {
        self.0 >> 41 & 1 != 0
    }

    /// The entry once its mode has ended.
    #[inline(always)]
    pub const fn afterwards(self) -> Self {
        Self(self.0 & !(0xff << 32 | 1 << 41) | (self.0 >> 48 & 0xff) << 32)
    }

    /// The same entry of a group that lets in only what is accepted, was asked for or is essential: bit 45.
    pub const fn shut(self) -> Self {
        Self(self.0 | 1 << 45)
    }

    /// Whether a frame towards a device of the group must be accepted, asked for or essential.
    #[inline(always)]
    pub const fn is_shut(self) -> bool {
        self.0 >> 45 & 1 != 0
    }

    /// Line of the [descriptor](top); [`ABSENT`] when the group has no rules.
    #[inline(always)]
    pub const fn descriptor(self) -> u32 {
        self.0 as u32
    }

    /// Whether refused frames pass.
    #[inline(always)]
    pub const fn observes(self) -> bool {
        (self.0 >> 32) as u8 == Mode::Observe as u8
    }

    /// Whether all but the essentials is dropped.
    #[inline(always)]
    pub const fn quarantines(self) -> bool {
        (self.0 >> 32) as u8 == Mode::Quarantine as u8
    }

    /// Whether frames that no rule matches pass.
    #[inline(always)]
    pub const fn default_pass(self) -> bool {
        self.0 >> 40 & 1 != 0
    }
}

/// The top of a large 32-bit tree, and room for more: a group's descriptor is the top of its
/// IPv4 destination tree and holds the word of its IPv6 tree.
///
/// Words: 0 depth below this line, [`ABSENT`] for no tree; 1 the first child; 2 to 12 ends; 13
/// the IPv6 word; 14 the line of the live rules; 15 the end of the mode.
pub mod top {
    /// Word of the depth below this line.
    pub const DEPTH: usize = 0;
    /// Word of the first child.
    pub const CHILD: usize = 1;
    /// First word of the ends.
    pub const ENDS: usize = 2;
    /// Word of the IPv6 tree.
    pub const V6: usize = 13;
    /// Word of the line of the descriptor of live rules, 0 for none. Rules that were added after
    /// the image was made are looked up separately, so that the cost of a change depends on the
    /// live rules and not on the policy.
    pub const LIVE: usize = 14;
    /// Word of the end of the group's mode, in seconds of the [`super::clock`] in its entry: since
    /// 1970-01-01 UTC good until 2106.
    pub const UNTIL: usize = 15;
}

/// The line behind a group's descriptor, if the image has [`flag::ANSWERS`]. The other words are zero.
pub mod beside {
    /// Word of the line of the descriptor of the accept and refuse rules, 0 for none: a [`super::top`] over the addresses
    /// of those who send to a device, whose services are the device's.
    pub const INBOUND: usize = 0;
    /// Word of the kinds of these rules: [`ACCEPTS`], [`REFUSES`].
    pub const KINDS: usize = 1;
    /// There are accept rules.
    pub const ACCEPTS: u32 = 1;
    /// There are refuse rules: what a frame is about must be readable.
    pub const REFUSES: u32 = 2;
}

/// The clock that an end refers to: two bits.
///
/// The wall clock may be wrong, and a step of it must neither prolong rules that let frames pass
/// nor cut short rules that drop them. The kernel therefore has two readings of it, the latest and
/// the earliest possible time.
pub mod clock {
    use super::walk::opaque;

    /// Seconds since 1970-01-01 UTC, by the latest possible time.
    pub const WALL: u64 = 0;
    /// Seconds since boot, time asleep included. Nothing steps this clock.
    pub const BOOT: u64 = 1;
    /// Seconds since 1970-01-01 UTC, by the earliest possible time.
    pub const HELD: u64 = 2;

    /// The readings of the clocks, in seconds.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Clocks {
        latest: u64,
        /// What turns the latest time into the earliest, and into the boot clock.
        differences: [u64; 2],
    }

    impl Clocks {
        /// From the latest and the earliest possible time, since 1970-01-01 UTC, and the time since
        /// boot.
        #[inline(always)]
        pub const fn new(latest: u64, earliest: u64, boot: u64) -> Self {
            Self { latest, differences: [latest ^ earliest, latest ^ boot] }
        }

        /// 1 while the clock selected by the masks is before `end`, which is below 2^63; then 0.
        ///
        /// No branch: the verifier would follow both paths from each rule with an end. [`opaque`]
        /// keeps the compiler from making one.
        #[inline(always)]
        pub(crate) fn is_before(&self, end: u64, [held, boot]: [u64; 2]) -> u64 {
            let [to_earliest, to_boot] = self.differences;
            let now = self.latest ^ to_earliest & held ^ to_boot & boot;
            opaque(now).wrapping_sub(end) >> 63
        }
    }

    /// The masks that select a clock of [`Clocks`]: [`WALL`], [`BOOT`] or [`HELD`].
    #[inline(always)]
    pub const fn masks(clock: u64) -> [u64; 2] {
        [(clock >> 1 & 1).wrapping_neg(), (clock & 1).wrapping_neg()]
    }
}

/// A rule with an end, as a line: 0 the end in seconds of a [`clock`], below 2^63; 1 high half the word
/// until then, low half the word from then on; 2 and 3 the masks of the clock.
pub mod expiry {
    use super::clock::{Clocks, masks};
    use super::{Line, Word};

    /// The line of a rule with an end.
    pub const fn line(until: u64, clock: u64, before: Word, after: Word) -> Line {
        let until = until & u64::MAX >> 1;
        let [held, boot] = masks(clock);
        Line([until, (before.0 as u64) << 32 | after.0 as u64, held, boot, 0, 0, 0, 0])
    }

    /// The word that applies now.
    #[inline(always)]
    pub fn at(line: &Line, clocks: &Clocks) -> Word {
        let [end, words, held, boot, ..] = line.0;
        let before = clocks.is_before(end, [held, boot]);
        Word((words >> (before << 5)) as u32)
    }
}

/// Where a device belongs: bits 0 to 31 the interface index, 0 for any; then
/// [`place::HAS_VLAN`] and the VLAN id.
pub mod place {
    /// Bit: the device belongs to the VLAN in the twelve bits from [`VLAN_SHIFT`].
    pub const HAS_VLAN: u64 = 1 << 48;
    /// First bit of the VLAN id; 0 is untagged.
    pub const VLAN_SHIFT: u32 = 32;
}

/// Line of the [`rates`].
pub const RATES: u32 = 1;

/// The rates of essentials, as a line of 64-bit numbers.
pub mod rates {
    /// First of the words of nanoseconds for a frame of a kind, see [`Kind`].
    pub const FRAMES: usize = 0;
    /// Word of the nanoseconds for a byte.
    pub const BYTE: usize = 5;
    /// Word of the nanoseconds for a new MAC address on an interface.
    pub const MAC: usize = 6;
    /// Word of the nanoseconds for a new IP address of a MAC address.
    pub const ADDRESS: usize = 7;

    /// Kinds of essentials that are counted separately.
    #[repr(u8)]
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Kind {
        /// DHCP.
        Dhcp = 0,
        /// ARP.
        Arp = 1,
        /// ND and MLD.
        Neighbour = 2,
        /// 802.1X.
        Eapol = 3,
        /// LLDP and spanning tree.
        Lldp = 4,
    }
}

/// An interface: 0 its own MAC; 1 low half its group and bits of [`interface`], high half the first
/// of eight lines of a bitmap of declared VLANs, or [`ABSENT`]; from [`interface::ABOVE`] on the MACs of
/// the devices on top of it, or [`interface::NO_MAC`].
pub mod interface {
    /// In place of a MAC. No frame has this one, whereas some may have 00:00:00:00:00:00.
    pub const NO_MAC: u64 = 1 << 48;
    /// First 64-bit word of the MACs of the devices on top.
    pub const ABOVE: usize = 2;
    /// Word of the group.
    pub const GROUP: usize = 2;
    /// Bit of the group's word: frames must go to the next hops that are known.
    pub const BOUND_HOPS: u32 = 1 << 31;
    /// Bit of the group's word: of broadcast and multicast, essentials alone leave by the interface.
    pub const ESSENTIAL_FLOODS: u32 = 1 << 30;
    /// The bits of the group's word that are the group's number.
    pub const GROUP_BITS: u32 = super::MAX_GROUPS - 1;
    /// First bit of the group's word that counts the lines from [`super::Layout::interface_lines`] to the descriptor of the
    /// interface's accept rules: a [`super::top`] over the addresses of those who send, whose services are the receivers'.
    /// 0 if there are none.
    pub const ACCEPTS_SHIFT: u32 = GROUP_BITS.count_ones();
    /// The bits of that number, shifted down.
    pub const ACCEPTS_BITS: u32 = (1 << 16) - 1;
    const _: () = assert!(ACCEPTS_BITS << ACCEPTS_SHIFT == ESSENTIAL_FLOODS - super::MAX_GROUPS);
    /// Word of the bitmap's first line.
    pub const VLANS: usize = 3;
}
