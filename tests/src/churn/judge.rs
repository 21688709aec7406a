//! Checks that each frame was judged by exactly one policy: the one in force or, during a change,
//! the old or the new one.

use super::stream::{DEVICES, Marks, Stream, class};
use super::world::State;

/// One change, and the frames that were judged during it.
#[derive(Debug)]
struct Call {
    /// Frames before these were judged before it began.
    begun: Marks,
    /// Frames from these on were sent after it had ended.
    ended: Marks,
    /// Policies that may be in force meanwhile, besides the old one.
    between: Vec<State>,
    /// Whether the old policy must not return meanwhile.
    ordered: bool,
    /// Whether nothing was enforced for moments of it.
    open: bool,
    /// The policy in force afterwards.
    after: State,
}

/// The policies that were in force during a stream.
pub(super) struct Timeline {
    stream: Stream,
    /// Frames before these were sent while the lab's last cable was plugged in.
    from: Marks,
    first: State,
    calls: Vec<Call>,
}

/// Numbers of frames.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: usize,
    pub(super) arrived: usize,
    /// Judged while a change was under way.
    pub(super) between: usize,
    /// Those of them whose verdict tells the old policy from the new one.
    pub(super) telling: usize,
    /// While nothing was enforced: arrived although forbidden.
    pub(super) unprotected: usize,
    /// While nothing was enforced: did not arrive although allowed.
    pub(super) shut: usize,
    /// Did not arrive although allowed.
    pub(super) lost: usize,
    /// Arrived although forbidden.
    pub(super) leaked: usize,
    /// Judged by the old policy, after a frame that was judged by the new one.
    pub(super) back: usize,
    complaints: Vec<String>,
}

impl Timeline {
    /// Begins with the policy that is in force now.
    pub(super) fn begin(stream: Stream, first: State) -> Self {
        let from = stream.judged();
        Self { stream, from, first, calls: Vec::new() }
    }

    /// The stream.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// What is in force.
    pub(super) fn state(&self) -> &State {
        self.calls.last().map_or(&self.first, |call| &call.after)
    }

    /// Makes a change that takes effect in one moment, and continues the stream under the new
    /// policy.
    #[track_caller]
    pub(super) fn change(&mut self, after: State, make: impl FnOnce()) {
        self.disturb(true, |_| {
            make();
            (Vec::new(), after)
        });
        self.stream.go_on();
    }

    /// Does something that puts other policies in force: `make` returns those that may be in force
    /// meanwhile, besides the old and the new one, and the new one.
    #[track_caller]
    pub(super) fn disturb(
        &mut self,
        ordered: bool,
        make: impl FnOnce(&Stream) -> (Vec<State>, State),
    ) {
        let begun = self.stream.judged();
        let (between, after) = make(&self.stream);
        let ended = self.stream.sent();
        self.calls.push(Call { begun, ended, between, ordered, open: false, after });
    }

    /// Does something that leaves moments without enforcement until it returns: frames that pass
    /// meanwhile are counted. The policy does not change.
    pub(super) fn expose(&mut self, make: impl FnOnce()) {
        let after = self.state().clone();
        let begun = self.stream.judged();
        make();
        let ended = self.stream.sent();
        let between = Vec::new();
        self.calls.push(Call { begun, ended, between, ordered: false, open: true, after });
    }

    /// Ends the stream and judges every frame.
    ///
    /// # Panics
    /// When one was not judged correctly.
    #[track_caller]
    pub(super) fn judge(self) -> Tally {
        let tally = self.tally();
        assert!(
            tally.lost + tally.leaked + tally.back == 0,
            "{} lost, {} leaked, {} judged by what was in force before:\n{}",
            tally.lost,
            tally.leaked,
            tally.back,
            tally.complaints.join("\n")
        );
        tally
    }

    /// Ends the stream and counts.
    #[track_caller]
    pub(super) fn tally(self) -> Tally {
        let Self { stream, from: start, first, calls } = self;
        let arrived = stream.end();
        let mut tally = Tally::default();
        for (device, arrived) in arrived.iter().enumerate() {
            tally.sent += arrived.len();
            tally.arrived += arrived.iter().filter(|arrived| **arrived).count();
            let (mut before, mut from) = (&first, start[device] as usize);
            for call in &calls {
                let begun = call.begun[device] as usize;
                tally.steady(device, from..begun, arrived, before);
                let end = call.ended[device] as usize;
                tally.disturbed(device, begun.max(from)..end, arrived, before, call);
                (before, from) = (&call.after, end);
            }
            tally.steady(device, from..arrived.len(), arrived, before);
        }
        assert!(tally.sent > 1000 && tally.arrived > 100, "{tally:?}");
        tally
    }
}

impl Tally {
    fn steady(
        &mut self,
        device: usize,
        frames: std::ops::Range<usize>,
        arrived: &[bool],
        state: &State,
    ) {
        for number in frames {
            self.expect(
                device,
                number,
                arrived[number],
                state.passes(device, class(number as u64)),
            );
        }
    }

    fn disturbed(
        &mut self,
        device: usize,
        frames: std::ops::Range<usize>,
        arrived: &[bool],
        before: &State,
        call: &Call,
    ) {
        let mut changed = false;
        for number in frames {
            self.between += 1;
            let class = class(number as u64);
            let (old, new) = (before.passes(device, class), call.after.passes(device, class));
            let came = arrived[number];
            if call.open {
                self.unprotected += usize::from(came && !new);
                self.shut += usize::from(new && !came);
                continue;
            }
            if call.between.iter().any(|state| state.passes(device, class) != old) {
                continue;
            }
            if old == new {
                self.expect(device, number, came, new);
                continue;
            }
            self.telling += 1;
            if came == new {
                changed = true;
            } else if changed && call.ordered {
                self.back += 1;
                self.complain(device, number, "was judged by the policy before");
            }
        }
    }

    fn expect(&mut self, device: usize, number: usize, came: bool, passes: bool) {
        if came && !passes {
            self.leaked += 1;
            self.complain(device, number, "leaked");
        } else if passes && !came {
            self.lost += 1;
            self.complain(device, number, "was lost");
        }
    }

    fn complain(&mut self, device: usize, number: usize, what: &str) {
        const SHOWN: usize = 20;
        if self.complaints.len() < SHOWN {
            let class = class(number as u64);
            self.complaints.push(format!("device {device}: {class:?} frame {number} {what}"));
        }
    }
}

const _: () = assert!(DEVICES == 3, "two that change places, and one that is observed");
