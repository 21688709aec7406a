//! A policy image: the plain value that policy and data plane share.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use enforcer_common::decide::answers::{self, Answers};
use enforcer_common::decide::asked::{self, Question};
use enforcer_common::decide::datagrams::{self, Datagram};
use enforcer_common::decide::flow_cache::{self, Key, V4, V6};
use enforcer_common::decide::hops::Hop;
use enforcer_common::decide::{
    FrameContext, Policy, decide, inbound, is_quoted, judge, read, read_quoted,
};
use enforcer_common::flow::{FAMILY_V4, FAMILY_V6, Flow};
use enforcer_common::image::clock::Clocks;
use enforcer_common::image::{Corrupt, Layout, Line, Lines, flag};
use enforcer_common::keyed::Keys;
use enforcer_common::packet::{Frame, Packet};

/// The contents of a generation. Clones share the lines, so that a live change costs only what it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where the parts of the image begin.
    pub layout: Layout,
    /// Lines as compiled.
    compiled: Arc<Vec<Line>>,
    /// Compiled lines that were overwritten since.
    written: BTreeMap<u32, Line>,
    /// Lines appended to the compiled ones.
    appended: Vec<Line>,
    /// Number of counters of the generation: one per rule, and spare ones.
    pub rules: u32,
    /// Number of spare lines after the last line.
    pub spare: u32,
    /// Known next hops on links with bound next hops. They are not part of the lines: they change with
    /// every neighbour, and the kernel has them in a separate table.
    pub hops: Arc<Hops>,
}

/// MACs, as numbers, by address on a link; also those of the routers there.
pub type Hops = BTreeMap<Hop, u64>;

impl Image {
    /// An image of compiled lines.
    pub fn new(layout: Layout, lines: Vec<Line>, rules: u32, spare: u32) -> Self {
        let (written, appended) = (BTreeMap::new(), Vec::new());
        let hops = Arc::default();
        Self { layout, compiled: Arc::new(lines), written, appended, rules, spare, hops }
    }

    /// Whether groups have accept or refuse rules.
    pub fn has_inbound_rules(&self) -> bool {
        self.layout.flags & flag::ANSWERS != 0
    }

    /// Whether frames towards devices are judged.
    pub fn judges_inbound(&self) -> bool {
        self.layout.flags & (flag::ANSWERS | flag::INBOUND) != 0
    }

    /// Number of lines, without the spare ones.
    pub fn len(&self) -> usize {
        self.compiled.len() + self.appended.len()
    }

    /// Whether the image has no line.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The line with this number.
    pub fn line(&self, number: u32) -> Option<&Line> {
        // Skips the look-up for most images, in which no line was overwritten.
        let written = if self.written.is_empty() { None } else { self.written.get(&number) };
        let number = number as usize;
        written
            .or_else(|| self.compiled.get(number))
            .or_else(|| self.appended.get(number.checked_sub(self.compiled.len())?))
    }

    /// The 64-bit word with this number.
    pub fn word(&self, at: usize) -> Option<u64> {
        self.line(u32::try_from(at / 8).ok()?)?.0.get(at % 8).copied()
    }

    /// Writes a 64-bit word; `None` if it is outside the image.
    pub fn write_word(&mut self, at: usize, word: u64) -> Option<()> {
        let number = u32::try_from(at / 8).ok()?;
        let mut line = *self.line(number)?;
        *line.0.get_mut(at % 8)? = word;
        match (at / 8).checked_sub(self.compiled.len()) {
            Some(behind) => *self.appended.get_mut(behind)? = line,
            None => drop(self.written.insert(number, line)),
        }
        Some(())
    }

    /// Applies a patch to this copy of the active image; `None` if the patch does not fit.
    pub fn patch(&mut self, patch: &Patch) -> Option<()> {
        let lines = u32::try_from(patch.lines.len()).ok()?;
        self.spare = self.spare.checked_sub(lines)?;
        self.appended.extend(&patch.lines);
        patch.entries.iter().try_for_each(|&(at, entry)| self.write_word(at, entry))
    }

    /// The lines as one slice.
    pub fn lines(&self) -> Cow<'_, [Line]> {
        if self.written.is_empty() && self.appended.is_empty() {
            return Cow::Borrowed(&self.compiled);
        }
        let mut lines = [self.compiled.as_slice(), &self.appended].concat();
        for (number, line) in &self.written {
            if let Some(place) = lines.get_mut(*number as usize) {
                *place = *line;
            }
        }
        Cow::Owned(lines)
    }

    /// The layout as the kernel program reads it: sixteen 32-bit numbers in host order.
    pub fn layout_bytes(&self) -> Vec<u8> {
        self.layout.to_line().0.iter().flat_map(|pair| pair.to_le_bytes()).collect()
    }
}

/// Changes that turn an active image into another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Number of the first new line.
    pub first: u32,
    /// Lines to append.
    pub lines: Vec<Line>,
    /// Group entries to store after the lines: the number of a 64-bit word in the image, and its value.
    pub entries: Vec<(usize, u64)>,
}

/// Lines as the kernel reads them: host order, [`size_of::<Line>`] bytes each.
pub fn line_bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: `Line` is eight `u64` without padding, and the slice covers them exactly.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast::<u8>(), size_of_val(lines)) }
}

/// A reading of the clocks, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// The earliest time that it may be, since 1970-01-01 UTC.
    pub earliest: i64,
    /// The latest time that it may be, since 1970-01-01 UTC.
    pub latest: i64,
    /// Time since boot, including suspend.
    pub boot: i64,
}

impl Time {
    /// A correct wall clock, where nothing ends on the boot clock.
    pub const fn wall(now: i64) -> Self {
        Self { earliest: now, latest: now, boot: 0 }
    }
}

/// An image on the host, judged by the same code as in the kernel.
pub struct HostImage<'a> {
    image: &'a Image,
    time: Time,
    keys: Keys,
    nonce: u64,
    /// Allocated when the first fragment is seen.
    datagrams: OnceCell<Box<[Datagram]>>,
    /// Allocated when the first frame is looked up in it.
    answers: OnceCell<Box<[Answers]>>,
    /// The same.
    asked: OnceCell<Box<[Question]>>,
}

impl<'a> HostImage<'a> {
    /// An image at a time in seconds since 1970-01-01 UTC, before any fragment.
    pub fn new(image: &'a Image, now: i64) -> Self {
        Self::at(image, Time::wall(now))
    }

    /// The same with the clocks of a running system.
    pub fn at(image: &'a Image, time: Time) -> Self {
        Self {
            image,
            time,
            keys: Keys::OPEN,
            nonce: 1,
            datagrams: OnceCell::new(),
            answers: OnceCell::new(),
            asked: OnceCell::new(),
        }
    }

    /// The same with the keys of a running data plane, which determine which datagrams share a slot.
    #[must_use]
    pub fn with_keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// Judges a frame that the interface with this index received.
    pub fn decide(&self, frame: &[u8], interface: u32) -> FrameContext {
        let mut case = FrameContext::NEW;
        decide(&Packet::from_slice(frame), interface, self, &mut case);
        case
    }

    /// The rule by which a frame passes as an answer without being judged, as the first stage of the kernel program does:
    /// one like it passed before, and nothing has changed since.
    pub fn answers_again(&self, frame: &[u8], interface: u32) -> Option<u32> {
        let frame = Packet::from_slice(frame);
        match flow_cache::family(&frame) {
            FAMILY_V4 => self.again(&V4::read(&frame, interface)?, &frame),
            FAMILY_V6 => self.again(&V6::read(&frame, interface)?, &frame),
            _ => None,
        }
    }

    fn again<K: Key>(&self, key: &K, frame: &Packet<'_>) -> Option<u32> {
        answers::again(self, key, K::ends(frame)?, frame.length())
    }

    /// [`HostImage::decide`] for a frame with only its first `known` bytes; `None` if the decision depends on a later
    /// byte.
    pub fn decide_from(&self, frame: &[u8], known: usize, interface: u32) -> Option<FrameContext> {
        let mut case = FrameContext::NEW;
        let frame = Partly { whole: Packet::from_slice(frame), known, beyond: Cell::new(false) };
        decide(&frame, interface, self, &mut case);
        (!frame.beyond.get()).then_some(case)
    }

    /// Judges a frame towards a device that leaves by the interface with this index, and notes it, as the transmit side
    /// does. `None` if no rule is about such frames.
    pub fn send(&self, frame: &[u8], interface: u32) -> Option<FrameContext> {
        let mut case = FrameContext::NEW;
        let frame = Packet::from_slice(frame);
        (case.flow.interface, case.flow.length, case.flow.direction) =
            (interface, frame.length(), 1);
        read(&frame, &mut case);
        if is_quoted(self, &case) {
            read_quoted(&frame, &mut case);
        }
        inbound::judge_and_note(self, &mut case, 1).then_some(case)
    }

    /// Judges the flow of a frame towards a device, in the device's view, and notes nothing. Whether any rule is about such
    /// frames.
    pub fn judge_inbound(&self, flow: Flow) -> (FrameContext, bool) {
        let mut case = FrameContext::of(flow);
        let next = inbound::judge(self, &mut case);
        (case, next != inbound::Next::Nothing)
    }

    /// The group of the device at whose end a flow is, and the accept rule that covers it, if any. The flow is in the
    /// device's view: the source is its end.
    pub fn accepts(&self, flow: Flow) -> FrameContext {
        let mut case = FrameContext::of(flow);
        if let Ok(Some((rule, _))) = answers::rule_for(self, &mut case) {
            case.decision.rule = rule;
        }
        case
    }

    /// Goes on at another time.
    pub fn set_time(&mut self, time: Time) {
        self.time = time;
    }

    /// Goes on with another image: what was noted stays, as in the kernel.
    #[must_use]
    pub fn replaced<'b>(self, image: &'b Image, nonce: u64) -> HostImage<'b> {
        let Self { time, keys, datagrams, answers, asked, .. } = self;
        HostImage { image, time, keys, nonce, datagrams, answers, asked }
    }

    /// Judges a flow without a frame.
    pub fn judge(&self, flow: Flow) -> FrameContext {
        let mut case = FrameContext::of(flow);
        judge(self, &mut case);
        case
    }
}

/// A frame whose first bytes are known. Records reads of other bytes.
struct Partly<'a> {
    whole: Packet<'a>,
    known: usize,
    beyond: Cell<bool>,
}

impl Frame for Partly<'_> {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let read = self.whole.read(offset);
        if read.is_some() && offset + N > self.known {
            self.beyond.set(true);
        }
        read
    }

    fn length(&self) -> u32 {
        self.whole.length()
    }
}

impl Lines for HostImage<'_> {
    fn line(&self, number: u32) -> Option<&Line> {
        self.image.line(number)
    }
}

impl Policy for HostImage<'_> {
    fn layout(&self) -> &Layout {
        &self.image.layout
    }

    fn clocks(&self) -> Result<Clocks, Corrupt> {
        let Time { earliest, latest, boot } = self.time;
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        Ok(Clocks::new(seconds(latest), seconds(earliest), seconds(boot)))
    }

    fn boot(&self) -> u64 {
        u64::try_from(self.time.boot).unwrap_or(0)
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn nonce(&self) -> u64 {
        self.nonce
    }

    fn answers(&self, number: u32) -> Option<&Answers> {
        let none = || (0..self.answers_size().lines()).map(|_| Answers::default()).collect();
        self.answers.get_or_init(none).get(number as usize)
    }

    fn question(&self, number: u32) -> Option<&Question> {
        let none = || (0..asked::ENTRIES).map(|_| Question::default()).collect();
        self.asked.get_or_init(none).get(number as usize)
    }

    fn datagram(&self, number: u32) -> Option<&Datagram> {
        let none = || (0..datagrams::ENTRIES).map(|_| Datagram::default()).collect();
        self.datagrams.get_or_init(none).get(number as usize)
    }

    fn hop(&self, hop: &Hop) -> Option<u64> {
        self.image.hops.get(hop).copied()
    }
}
