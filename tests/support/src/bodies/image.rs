//! Judges a frame by an image in which some numbers are overwritten.

use std::cell::{Cell, OnceCell};

use enforcer_common::decide::answers::Answers;
use enforcer_common::decide::asked::{self, Question};
use enforcer_common::decide::datagrams::{self, Datagram, FragmentState};
use enforcer_common::decide::hops::Hop;
use enforcer_common::decide::{self, FrameContext, inbound};
use enforcer_common::flow::Flow;
use enforcer_common::image::clock::Clocks;
use enforcer_common::image::{Corrupt, Layout, Line, Lines, NO_DEVICE};
use enforcer_common::keyed::Keys;
use enforcer_common::packet::{Frame as _, Packet};
use enforcer_common::parse::parse;
use enforcer_common::reason::{Reason, Verdict};
use enforcer_policy::image::Image;

use crate::random::NOW;

/// More lines than any decision fetches: three address look-ups with two trees of eight levels each, and
/// fewer than that for everything else.
const LONGEST_WALK: usize = 96;
/// Most numbers that are overwritten.
const MOST: u8 = 16;

/// The input is an interface, a count, that many triples of line, word and number, and a frame.
///
/// A decision always ends: with a verdict, or as corrupt, which drops. An interface that is not in the
/// image passes nothing.
pub fn run(input: &[u8]) {
    let &[interface, count, ref rest @ ..] = input else { return };
    let interface = super::interface(interface);
    let (written, frame) = rest
        .as_chunks::<11>()
        .0
        .split_at_checked((count % MOST).into())
        .map_or((&[][..], rest), |(written, _)| (written, &rest[written.len() * 11..]));
    let mut image = super::fixed().1.image.clone();
    for &[low, high, word, number @ ..] in written {
        let line = usize::from(u16::from_le_bytes([low, high])) % image.len();
        let at = line * 8 + usize::from(word % 8);
        image.write_word(at, u64::from_le_bytes(number)).expect("a line of the image");
    }
    let damaged = Damaged {
        image,
        fetched: Cell::default(),
        keys: Keys::OPEN,
        datagrams: (0..datagrams::ENTRIES).map(|_| Datagram::default()).collect(),
        answers: OnceCell::new(),
        asked: OnceCell::new(),
    };
    damaged.begin(frame, interface);
    let mut case = FrameContext::NEW;
    decide::decide(&Packet::from_slice(frame), interface, &damaged, &mut case);

    let decision = case.decision;
    let reason = decision.reason;
    assert!(damaged.fetched.get() <= LONGEST_WALK, "{} lines", damaged.fetched.get());
    assert_eq!(decision.verdict == Verdict::Pass, reason.passes(), "{decision:?}");
    assert!(decision.verdict == Verdict::Drop || reason.observable(), "{decision:?}");
    assert!(reason != Reason::NoPolicy && reason != Reason::ReadFailed, "{decision:?}");
    inwards(&damaged, frame, interface);
    if !damaged.knows(interface) {
        let refused = matches!(reason, Reason::InterfaceUnknown | Reason::Corrupt);
        assert!(refused && decision.verdict == Verdict::Drop, "{decision:?}");
    }
    if reason != Reason::Corrupt && reason != Reason::InterfaceUnknown {
        assert!(decision.group < damaged.image.layout.group_count, "{decision:?}");
    }
}

/// Judges the same frame as one that leaves towards a device.
fn inwards(damaged: &Damaged, frame: &[u8], interface: u32) {
    damaged.fetched.set(0);
    let mut case = FrameContext::NEW;
    let frame = Packet::from_slice(frame);
    let length = frame.length();
    (case.flow.interface, case.flow.length, case.flow.direction) = (interface, length, 1);
    decide::read(&frame, &mut case);
    if decide::is_quoted(damaged, &case) {
        decide::read_quoted(&frame, &mut case);
    }
    let is_judged = inbound::judge_and_note(damaged, &mut case, 1);
    let decision = case.decision;
    assert!(damaged.fetched.get() <= LONGEST_WALK, "{} lines", damaged.fetched.get());
    if is_judged {
        assert_eq!(decision.verdict == Verdict::Pass, decision.reason.passes(), "{decision:?}");
        assert_ne!(decision.reason, Reason::NoPolicy, "{decision:?}");
    }
}

struct Damaged {
    image: Image,
    /// Number of fetched lines.
    fetched: Cell<usize>,
    keys: Keys,
    datagrams: Box<[Datagram]>,
    /// Allocated when the first frame is looked up in it: most are not.
    answers: OnceCell<Box<[Answers]>>,
    /// The same.
    asked: OnceCell<Box<[Question]>>,
}

impl Damaged {
    /// Every datagram counts as seen, so that later fragments are judged completely.
    fn begin(&self, frame: &[u8], interface: u32) {
        let mut flow = Flow { interface, length: frame.len() as u32, ..Flow::NEW };
        if parse(&Packet::from_slice(frame), &mut flow).is_ok() && flow.fragment.is_later() {
            let mut case = FrameContext::of(flow);
            for device in [NO_DEVICE, 0] {
                case.decision.device = device;
                let state = FragmentState { since: NOW as u64, end: 64, ..FragmentState::NONE };
                datagrams::write(self, &case, state);
            }
        }
    }

    /// Whether an interface is in the table of interfaces.
    fn knows(&self, interface: u32) -> bool {
        let layout = &self.image.layout;
        let table =
            layout.interfaces as usize..=(layout.interfaces + layout.interfaces_mask) as usize;
        let lines = self.image.lines();
        let mut entries = lines[table].iter().flat_map(|line| line.0);
        entries.any(|entry| entry != 0 && entry >> 16 == u64::from(interface))
    }
}

impl Lines for Damaged {
    fn line(&self, number: u32) -> Option<&Line> {
        self.fetched.set(self.fetched.get() + 1);
        self.image.line(number)
    }
}

impl decide::Policy for Damaged {
    fn layout(&self) -> &Layout {
        &self.image.layout
    }

    fn clocks(&self) -> Result<Clocks, Corrupt> {
        Ok(Clocks::new(NOW as u64, NOW as u64, NOW as u64))
    }

    fn boot(&self) -> u64 {
        NOW as u64
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn datagram(&self, number: u32) -> Option<&Datagram> {
        self.datagrams.get(number as usize)
    }

    fn hop(&self, hop: &Hop) -> Option<u64> {
        self.image.hops.get(hop).copied()
    }

    fn nonce(&self) -> u64 {
        0
    }

    fn question(&self, number: u32) -> Option<&Question> {
        let none = || (0..asked::ENTRIES).map(|_| Question::default()).collect();
        self.asked.get_or_init(none).get(number as usize)
    }

    fn answers(&self, number: u32) -> Option<&Answers> {
        let none = || (0..self.answers_size().lines()).map(|_| Answers::default()).collect();
        self.answers.get_or_init(none).get(number as usize)
    }
}
