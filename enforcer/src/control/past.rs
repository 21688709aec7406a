//! Events that are kept for those who ask later: a bounded number of bytes, the oldest go first.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;

use crate::api::Event;

/// Most bytes of lines that are kept.
pub(super) const MAX_BYTES: usize = 8 << 20;
/// What a line costs beside its bytes, about.
const OVERHEAD: usize = 128;

/// An event as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Line {
    time: Timestamp,
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

    /// The bytes for a follower, with the frame's if it wants them.
    pub(super) fn bytes(&self, frames: bool) -> Bytes {
        let Some(frame) = self.frame.as_ref().filter(|_| frames) else { return self.plain.clone() };
        let open = self.plain.strip_suffix(b"}\n").unwrap_or(&self.plain);
        let mut bytes = BytesMut::with_capacity(open.len() + frame.len());
        bytes.put(open);
        bytes.put(&frame[..]);
        bytes.freeze()
    }

    /// The event, without its frame.
    pub(super) fn event(&self) -> Option<Event> {
        serde_json::from_slice(&self.plain).ok()
    }

    fn size(&self) -> usize {
        self.plain.len() + self.frame.as_ref().map_or(0, Bytes::len) + OVERHEAD
    }
}

/// The latest events.
#[derive(Debug, Default)]
pub(super) struct Past {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl Past {
    /// Keeps one more.
    pub(super) fn keep(&mut self, line: Line) {
        self.bytes += line.size();
        self.lines.push_back(line);
        while self.bytes > MAX_BYTES
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.size();
        }
    }

    /// Those from a time on, in the order in which they came.
    pub(super) fn since(&self, time: Timestamp) -> VecDeque<Line> {
        self.lines.iter().filter(|line| line.time >= time).cloned().collect()
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
        let line = at(1_800_000_000);
        let plain: Event = serde_json::from_slice(&line.bytes(false)).unwrap();
        assert_eq!((&plain.packet, line.event()), (&None, Some(plain.clone())));
        let whole: Event = serde_json::from_slice(&line.bytes(true)).unwrap();
        assert_eq!(whole.packet.as_deref(), Some("AAEC"));
        assert_eq!(whole.packet_info.map(|info| info.linktype), Some(1));
        assert_eq!(Event { packet: None, packet_info: None, ..whole }, plain);
        assert_eq!(Line::new(&plain, None).bytes(true), Line::new(&plain, None).bytes(false));
    }

    #[test]
    fn the_latest_are_kept_and_no_more_than_fit() {
        let mut past = Past::default();
        let first = 1_800_000_000;
        let many = (MAX_BYTES / at(first).size() + 100) as i64;
        for second in 0..many {
            past.keep(at(first + second));
        }
        assert!(past.bytes <= MAX_BYTES && past.bytes + at(first).size() > MAX_BYTES);
        assert_eq!(past.bytes, past.lines.iter().map(Line::size).sum::<usize>());
        let since = |second| past.since(Timestamp::from_second(first + second).unwrap());
        assert_eq!(since(0).len(), past.lines.len());
        assert!(past.lines.len() < many as usize);
        assert_eq!(since(many - 3).len(), 3);
        assert_eq!(since(many).len(), 0);
    }
}
