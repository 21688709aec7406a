//! A policy image: the plain value in which policy and data plane meet.

use std::cell::RefCell;

use enforcer_common::decide::{Case, FragmentKey, FragmentState, Policy, decide, judge};
use enforcer_common::flow::Flow;
use enforcer_common::image::{Layout, Line, Lines};
use enforcer_common::packet::Packet;

/// What a generation is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where everything begins.
    pub layout: Layout,
    /// The lines.
    pub lines: Vec<Line>,
    /// Counters that the generation needs: one a rule, and some in reserve.
    pub rules: u32,
    /// Lines in reserve behind `lines`.
    pub spare: u32,
}

impl Image {
    /// The lines as the kernel sees them: host order, [`size_of::<Line>`] bytes each.
    pub fn bytes(&self) -> &[u8] {
        line_bytes(&self.lines)
    }

    /// The layout as the kernel program sees it: sixteen 32-bit numbers in host order.
    pub fn layout_bytes(&self) -> Vec<u8> {
        self.layout.to_line().0.iter().flat_map(|pair| pair.to_le_bytes()).collect()
    }
}

/// What makes one image of another while it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Number of the first new line.
    pub first: u32,
    /// Lines behind those that the image has.
    pub lines: Vec<Line>,
    /// Group entries to store once the lines are there: where, as the number of a 64-bit word in
    /// the image, and what.
    pub entries: Vec<(usize, u64)>,
}

/// Lines as the kernel sees them.
pub(crate) fn line_bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: `Line` is eight `u64` without padding, and the slice covers them exactly.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast::<u8>(), size_of_val(lines)) }
}

/// A datagram whose first fragment passed, and what was kept of it.
type Kept = RefCell<Vec<(FragmentKey, FragmentState)>>;

/// An image on the host, judged by the very code that judges in the kernel.
pub struct HostImage<'a> {
    image: &'a Image,
    now: u64,
    fragments: Kept,
}

impl<'a> HostImage<'a> {
    /// An image at a time, in seconds since 1970-01-01 UTC, with no fragment seen yet.
    pub fn new(image: &'a Image, now: i64) -> Self {
        let now = u64::try_from(now).unwrap_or(0);
        Self { image, now, fragments: RefCell::default() }
    }

    /// Judges a frame that the interface with this index received.
    pub fn decide(&self, frame: &[u8], interface: u32) -> Case {
        let mut case = Case::NEW;
        decide(&Packet::from_slice(frame), interface, self, &mut case);
        case
    }

    /// Judges a flow without a frame.
    pub fn judge(&self, flow: Flow) -> Case {
        let mut case = Case::of(flow);
        judge(self, &mut case);
        case
    }
}

impl Lines for HostImage<'_> {
    fn line(&self, number: u32) -> Option<&Line> {
        self.image.lines.get(number as usize)
    }
}

impl Policy for HostImage<'_> {
    fn layout(&self) -> &Layout {
        &self.image.layout
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentState> {
        let kept = self.fragments.borrow();
        kept.iter().rev().find(|(other, _)| other == key).map(|(_, state)| *state)
    }

    fn keep_fragment(&self, key: &FragmentKey, state: &FragmentState) {
        let mut kept = self.fragments.borrow_mut();
        kept.retain(|(other, _)| other != key);
        kept.push((*key, *state));
    }
}
