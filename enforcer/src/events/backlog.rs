//! Events kept for later queries: limited in bytes, the oldest are removed first.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use super::event::Event;

/// Most bytes of events that are kept.
pub(super) const MAX_BYTES: usize = 8 << 20;
/// Memory of an event besides its own bytes and those of its JSON, if a follower reads that.
const OVERHEAD: usize = 128;
const JSON: usize = 640;

/// A published event: stored once, however many followers have it queued.
#[derive(Debug)]
pub struct Published {
    /// The event.
    pub event: Event,
    /// Its JSON without and with its frame, made for the first follower that reads it.
    plain: OnceLock<Bytes>,
    framed: OnceLock<Bytes>,
    /// Bytes of memory, about.
    size: usize,
}

impl Published {
    /// `followed`: a follower wants it, so its JSON will be created.
    pub(super) fn new(event: Event, followed: bool) -> Self {
        let size = event.size() + OVERHEAD + if followed { JSON } else { 0 };
        Self { event, plain: OnceLock::new(), framed: OnceLock::new(), size }
    }

    /// Its line of JSON, with its frame if that is wanted.
    pub fn json(&self, frame: bool) -> &Bytes {
        let made = if frame { &self.framed } else { &self.plain };
        made.get_or_init(|| self.event.line(frame))
    }

    /// Appends the same; does not store it if it was not created before.
    pub fn put(&self, frame: bool, to: &mut BytesMut) {
        let made = if frame { &self.framed } else { &self.plain };
        match made.get() {
            Some(line) => to.extend_from_slice(line),
            None => to.extend_from_slice(&self.event.line(frame)),
        }
    }

    fn time(&self) -> Timestamp {
        self.event.head().time.at
    }
}

/// The latest events. Each has a number; they count up without a gap.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    lines: VecDeque<Arc<Published>>,
    /// Number of the oldest one that is kept.
    first: u64,
    bytes: usize,
}

/// Numbers of events that a follower still has to read.
pub(super) type Section = Range<u64>;

impl Backlog {
    /// Keeps one more.
    pub(super) fn keep(&mut self, line: Arc<Published>) {
        self.bytes += line.size;
        self.lines.push_back(line);
        while self.bytes > MAX_BYTES
            && let Some(oldest) = self.lines.pop_front()
        {
            self.first += 1;
            self.bytes -= oldest.size;
        }
    }

    /// Events from a time on, in order of arrival. If the clock went back, older ones may be among them.
    pub(super) fn since(&self, time: Timestamp) -> Section {
        let before = self.lines.iter().take_while(|line| line.time() < time).count() as u64;
        self.first + before..self.first + self.lines.len() as u64
    }

    /// The next events of a section, at most `most`, and the number of removed ones.
    pub(super) fn read(&self, section: &mut Section, most: usize) -> (Vec<Arc<Published>>, u64) {
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
    use super::super::event::tests::refusal;
    use super::*;

    fn at(second: i64) -> Published {
        let mut refusal = refusal();
        refusal.head.time = Timestamp::from_second(second).unwrap().into();
        refusal.frame = Some(Bytes::from_static(&[0, 1, 2]));
        Published::new(Event::Drop(refusal.into()), false)
    }

    #[test]
    fn the_frame_is_included_on_request() {
        let line = at(1_800_000_000);
        let read = |frames| -> serde_json::Value {
            let mut bytes = BytesMut::new();
            line.put(frames, &mut bytes);
            assert_eq!(bytes, *line.json(frames));
            serde_json::from_slice(&bytes).unwrap()
        };
        assert_eq!(read(false).get("packet"), None);
        assert_eq!(read(true)["packet"], "AAEC");
        assert_eq!(read(true)["packet_info"]["linktype"], 1);
    }

    #[test]
    fn the_latest_are_kept_and_no_more_than_fit() {
        let mut past = Backlog::default();
        let first = 1_800_000_000;
        let many = (MAX_BYTES / at(first).size + 100) as i64;
        for second in 0..many {
            past.keep(at(first + second).into());
        }
        assert!(past.bytes <= MAX_BYTES && past.bytes + at(first).size > MAX_BYTES);
        assert_eq!(past.bytes, past.lines.iter().map(|line| line.size).sum::<usize>());
        let since = |second| past.since(Timestamp::from_second(first + second).unwrap());
        let count = |section: Section| (section.end - section.start) as usize;
        assert_eq!(count(since(0)), past.lines.len());
        assert!(past.lines.len() < many as usize);
        assert_eq!(count(since(many - 3)), 3);
        assert_eq!(count(since(many)), 0);
        let mut section = since(many - 3);
        let (lines, gone) = past.read(&mut section, 2);
        assert_eq!((lines.len(), gone, count(section.clone())), (2, 0, 1));
        assert_eq!(lines[0].time().as_second(), first + many - 3);
        // Events removed while it waits are counted.
        let mut slow = since(0);
        let end = slow.end;
        for second in many..many + 10 {
            past.keep(at(first + second).into());
        }
        let (lines, gone) = past.read(&mut slow, 1);
        assert_eq!((lines.len(), gone), (1, 10));
        assert_eq!(lines[0].time(), past.lines[0].time());
        for second in 0..2 * many {
            past.keep(at(first + second).into());
        }
        let left = end - slow.start;
        assert_eq!(past.read(&mut slow, 1).1, left);
        assert!(slow.is_empty());
    }
}
