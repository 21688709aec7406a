//! Sums up drops without a line of their own.
//!
//! The daemon reports their exact number every second. Most of them are repeats, which the next line
//! about the same flow includes (`×18,204 in 5 s`). Only frames that no such line has included
//! within a period get a line here.

use std::collections::HashMap;
use std::time::Duration;

use enforcer::events::Event;
use enforcer::events::event::{ReasonName, Suppressed as Frames};
use enforcer::events::text::device;
use enforcer_common::reason::Verdict;

/// Least interval between such lines; longer than the interval at which a repeated flow is
/// reported.
pub(super) const PERIOD: Duration = Duration::from_secs(10);

/// Device, reason and verdict of the frames.
type Key = (String, Option<ReasonName>, Option<Verdict>);

#[derive(Debug, Default)]
pub(super) struct Suppressed(HashMap<Key, Sum>);

#[derive(Debug)]
struct Sum {
    /// The last event about them.
    frames: Frames,
    /// Frames that no line has included.
    untold: u64,
    /// The part of them that was already pending a period ago.
    before: u64,
}

fn key(event: &Event) -> Key {
    (device(event), event.reason().cloned(), event.verdict())
}

impl Suppressed {
    /// Records an event; returns whether it needs no line now.
    pub(super) fn take(&mut self, event: &Event) -> bool {
        let Event::Suppressed(frames) = event else {
            if let Some(refusal) = event.refusal()
                && let Some(sum) = self.0.get_mut(&key(event))
            {
                sum.untold = sum.untold.saturating_sub(refusal.repeats);
            }
            return false;
        };
        let new = || Sum { frames: frames.clone(), untold: 0, before: 0 };
        let sum = self.0.entry(key(event)).or_insert_with(new);
        sum.untold += frames.count;
        sum.frames = frames.clone();
        true
    }

    /// After a period: the lines that are now due.
    pub(super) fn due(&mut self) -> Vec<Event> {
        let mut due = Vec::new();
        for sum in self.0.values_mut() {
            let count = sum.before.min(sum.untold);
            sum.untold -= count;
            sum.before = sum.untold;
            if count > 0 {
                sum.frames.count = count;
                due.push(sum.frames.clone());
            }
        }
        self.0.retain(|_, sum| sum.untold > 0);
        due.sort_by_key(|frames| frames.head.time.at);
        due.into_iter().map(Event::Suppressed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::{event, refusal};
    use super::*;
    use enforcer::events::event::{Refusal, Sender};

    fn suppressed(count: u64) -> Event {
        let Refusal { head, device, verdict, reason, .. } = refusal();
        let sender = Sender { device, ..Sender::default() };
        Event::Suppressed(Frames { head, sender, verdict, reason, count })
    }

    fn told(waiting: &mut Suppressed) -> Vec<u64> {
        waiting.due().iter().map(Event::count).collect()
    }

    #[test]
    fn what_a_later_line_tells_has_none_of_its_own() {
        let mut waiting = Suppressed::default();
        assert!(waiting.take(&suppressed(500)) && waiting.take(&suppressed(500)));
        assert!(told(&mut waiting).is_empty(), "a line may still come");
        let repeated = Refusal { repeats: 990, ..refusal() };
        assert!(!waiting.take(&event(repeated)));
        assert!(waiting.take(&suppressed(7)));
        assert_eq!(told(&mut waiting), [10 + 7]);
        assert!(told(&mut waiting).is_empty() && waiting.0.is_empty());
    }

    #[test]
    fn unreported_drops_come_after_a_period() {
        let mut waiting = Suppressed::default();
        waiting.take(&suppressed(500));
        assert!(told(&mut waiting).is_empty());
        waiting.take(&suppressed(20));
        assert_eq!(told(&mut waiting), [500]);
        assert_eq!(told(&mut waiting), [20]);
    }
}
