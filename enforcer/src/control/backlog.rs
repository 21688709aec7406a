//! Events that are kept for those who ask later: a bounded number of bytes, the oldest go first.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use crate::api::Event;

/// Most bytes of lines that are kept.
pub(super) const MAX_BYTES: usize = 8 << 20;
/// What a line costs beside its bytes, about.
const OVERHEAD: usize = 128;

/// How an event ends without its frame.
const END: &[u8] = b"}\n";

/// An event as it is sent.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) time: Timestamp,
    /// JSON with its newline.
    plain: Bytes,
    /// What ends the line instead of `}` and newline for who wants frames.
    frame: Option<Bytes>,
}

impl Line {
    /// Writes an event; `frame` is the beginning of its frame, base64.
    pub(super) fn new(event: &Event, frame: Option<&str>) -> Self {
        let mut plain = serde_json::to_vec(event).unwrap_or_default();
        plain.push(b'\n');
        let frame = frame.map(|frame| {
            format!(",\"packet\":\"{frame}\",\"packet_info\":{{\"linktype\":1}}}}\n").into()
        });
        let time = event.timestamp.parse().unwrap_or_default();
        Self { time, plain: plain.into(), frame }
    }

    /// Appends the line for a follower, with the frame if it wants that.
    pub(super) fn put(&self, frames: bool, to: &mut BytesMut) {
        let Some(frame) = self.frame.as_ref().filter(|_| frames) else {
            return to.extend_from_slice(&self.plain);
        };
        to.extend_from_slice(self.plain.strip_suffix(END).unwrap_or(&self.plain));
        to.extend_from_slice(frame);
    }

    /// Bytes of that.
    pub(super) fn len(&self, frames: bool) -> usize {
        let frame = self.frame.as_ref().filter(|_| frames);
        self.plain.len() + frame.map_or(0, |frame| frame.len() - END.len())
    }

    /// The event, without its frame.
    pub(super) fn event(&self) -> Option<Event> {
        serde_json::from_slice(&self.plain).ok()
    }

    fn size(&self) -> usize {
        self.plain.len() + self.frame.as_ref().map_or(0, Bytes::len) + OVERHEAD
    }
}

/// The latest events. Each has a number; they count up without a gap.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    lines: VecDeque<Arc<Line>>,
    /// Number of the oldest one that is kept.
    first: u64,
    bytes: usize,
}

/// Numbers of events that a follower has not read yet.
pub(super) type Section = Range<u64>;

impl Backlog {
    /// Keeps one more.
    pub(super) fn keep(&mut self, line: Arc<Line>) {
        self.bytes += line.size();
        self.lines.push_back(line);
        while self.bytes > MAX_BYTES
            && let Some(oldest) = self.lines.pop_front()
        {
            self.first += 1;
            self.bytes -= oldest.size();
        }
    }

    /// Those from a time on, in the order in which they came. Where the clock went back, older ones are among
    /// them.
    pub(super) fn since(&self, time: Timestamp) -> Section {
        let before = self.lines.iter().take_while(|line| line.time < time).count() as u64;
        self.first + before..self.first + self.lines.len() as u64
    }

    /// The next of a section, `most` at a time, and how many of it are gone.
    pub(super) fn read(&self, section: &mut Section, most: usize) -> (Vec<Arc<Line>>, u64) {
        let gone = self.first.min(section.end).saturating_sub(section.start);
        section.start += gone;
        let from = usize::try_from(section.start.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let left = usize::try_from(section.end - section.start).unwrap_or(usize::MAX);
        let lines: Vec<_> = self.lines.iter().skip(from).take(left.min(most)).cloned().collect();
        section.start = match lines.len() {
            0 => section.end,
            read => section.start + read as u64,
        };
        (lines, gone)
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter::tests::event;
    use super::*;

    fn at(second: i64) -> Line {
        let time = Timestamp::from_second(second).unwrap();
        Line::new(&Event { timestamp: time.to_string(), ..event() }, Some("AAEC"))
    }

    #[test]
    fn a_line_has_its_frame_for_who_asks() {
        let bytes = |line: &Line, frames| {
            let mut bytes = BytesMut::new();
            line.put(frames, &mut bytes);
            assert_eq!(bytes.len(), line.len(frames));
            bytes
        };
        let line = at(1_800_000_000);
        let plain: Event = serde_json::from_slice(&bytes(&line, false)).unwrap();
        assert_eq!((&plain.packet, line.event()), (&None, Some(plain.clone())));
        let whole: Event = serde_json::from_slice(&bytes(&line, true)).unwrap();
        assert_eq!(whole.packet.as_deref(), Some("AAEC"));
        assert_eq!(whole.packet_info.map(|info| info.linktype), Some(1));
        assert_eq!(Event { packet: None, packet_info: None, ..whole }, plain);
        let without = Line::new(&plain, None);
        assert_eq!(bytes(&without, true), bytes(&without, false));
    }

    #[test]
    fn the_latest_are_kept_and_no_more_than_fit() {
        let mut past = Backlog::default();
        let first = 1_800_000_000;
        let many = (MAX_BYTES / at(first).size() + 100) as i64;
        for second in 0..many {
            past.keep(at(first + second).into());
        }
        assert!(past.bytes <= MAX_BYTES && past.bytes + at(first).size() > MAX_BYTES);
        assert_eq!(past.bytes, past.lines.iter().map(|line| line.size()).sum::<usize>());
        let since = |second| past.since(Timestamp::from_second(first + second).unwrap());
        let count = |section: Section| (section.end - section.start) as usize;
        assert_eq!(count(since(0)), past.lines.len());
        assert!(past.lines.len() < many as usize);
        assert_eq!(count(since(many - 3)), 3);
        assert_eq!(count(since(many)), 0);
        let mut section = since(many - 3);
        let (lines, gone) = past.read(&mut section, 2);
        assert_eq!((lines.len(), gone, count(section.clone())), (2, 0, 1));
        assert_eq!(lines[0].time.as_second(), first + many - 3);
        // What goes while it waits is counted.
        let mut slow = since(0);
        let end = slow.end;
        for second in many..many + 10 {
            past.keep(at(first + second).into());
        }
        let (lines, gone) = past.read(&mut slow, 1);
        assert_eq!((lines.len(), gone), (1, 10));
        assert_eq!(lines[0].time, past.lines[0].time);
        for second in 0..2 * many {
            past.keep(at(first + second).into());
        }
        let left = end - slow.start;
        assert_eq!(past.read(&mut slow, 1).1, left);
        assert!(slow.is_empty());
    }
}
