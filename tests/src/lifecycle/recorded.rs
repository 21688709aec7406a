//! Replays the recorded orders of a day to another daemon: the outcomes must be the same.
use std::{cell::Cell, fs};

use enforcer::{
    api::{
        Endpoint, ErrorCode, Guard, LiveAction, LiveChange, LiveRequest, Mode, PolicyBundle, Status,
    },
    control::client::{Client, Error},
    request::{Peer, Recorded, Request},
};
use tokio::runtime::{Builder, Runtime};

use super::{
    POLICY,
    clock::{now, tell},
    wider,
};
use crate::harness::{Daemon, Lab, topology::UPDATES, wait_until};

/// Seconds of an hour.
const HOUR: i64 = 3_600;
/// Root; its process id differs in each run.
const ROOT: Peer = Peer { uid: 0, gid: 0, pid: None };

/// What is in force after an order, and its error. Left out is what differs between runs: times,
/// generations, measured milliseconds.
#[derive(Debug, PartialEq)]
struct Outcome {
    error: Option<(ErrorCode, String)>,
    revision: u64,
    digest: String,
    waits: bool,
    modes: Vec<(String, String)>,
    live: Vec<(String, String, LiveAction)>,
    rules: Vec<String>,
    history: Vec<(u64, bool, Option<String>)>,
}

/// A daemon whose clock is set by a file, and its client.
struct Day<'a> {
    daemon: Daemon<'a>,
    runtime: Runtime,
    client: Client,
    /// The time of the last order.
    last: Cell<i64>,
}

impl<'a> Day<'a> {
    /// Starts a daemon without earlier state, which records its requests.
    fn begin(lab: &'a Lab, at: i64) -> Self {
        let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
        tell(&daemon, at - now(), true, 0);
        let clock = format!("ENFORCER_TEST_CLOCK={}", daemon.path("clock").display());
        let record = format!("ENFORCER_TEST_RECORD={}", daemon.path("record").display());
        daemon.start_by(&["env", &clock, &record]);
        let runtime = Builder::new_current_thread().enable_all().build();
        let client = Client::new(&daemon.path("enforcer.sock"));
        Self {
            daemon,
            runtime: runtime.expect("a runtime can be made"),
            client,
            last: Cell::new(at),
        }
    }

    fn status(&self) -> Status {
        self.runtime.block_on(self.client.status()).expect("the daemon answers")
    }

    /// Sets the clock, and waits until the daemon has read it: it warns of an unsynchronised clock that
    /// jumps ahead.
    fn wait_for(&self, at: i64) {
        if at - self.last.replace(at) < HOUR / 2 {
            return;
        }
        let is_ahead = || self.status().warnings.iter().any(|text| text.contains("ahead at once"));
        tell(&self.daemon, at - now(), false, 0);
        wait_until("the clock is seen to be ahead", || is_ahead().then_some(()));
        tell(&self.daemon, at - now(), true, 0);
        wait_until("the clock is seen to be right", || (!is_ahead()).then_some(()));
    }

    /// Makes one request, and returns its outcome.
    fn ask(&self, Recorded { at, request }: &Recorded) -> Outcome {
        self.wait_for(*at);
        let client = &self.client;
        let asked = self.runtime.block_on(async {
            match request {
                Request::Apply { bundle, .. } => client.apply(bundle).await.map(drop),
                Request::Change { request, .. } => client.change(request).await.map(drop),
                Request::Revoke { id, guard, .. } => client.revoke(id, guard).await.map(drop),
                Request::Confirm { .. } => client.confirm().await.map(drop),
                Request::Rollback { revision, guard, .. } => {
                    client.rollback(*revision, guard).await.map(drop)
                }
                Request::Ask(_)
                | Request::Refused { .. }
                | Request::Explain(_)
                | Request::ExplainFrames(_)
                | Request::Detach { .. } => unreachable!("no order of the day"),
            }
        });
        let error = match asked {
            Ok(()) => None,
            Err(Error::Refused(failure)) => Some((failure.code, failure.error)),
            Err(e) => panic!("{request:?}: {e}"),
        };
        let status = self.status();
        let (rules, history) = self.runtime.block_on(async {
            let rules = client.rules().await.expect("rules");
            (rules, client.history().await.expect("history"))
        });
        Outcome {
            error,
            revision: status.policy.revision,
            digest: status.policy.digest,
            waits: status.confirm_until.is_some(),
            modes: status.groups.into_iter().map(|group| (group.name, group.mode)).collect(),
            live: status
                .live
                .into_iter()
                .map(|change| (change.id, change.target, change.action))
                .collect(),
            rules: rules.into_iter().map(|rule| rule.id).collect(),
            history: history
                .into_iter()
                .map(|row| (row.revision, row.in_force, row.live))
                .collect(),
        }
    }

    /// Stops the daemon, and returns its recording.
    fn end(mut self) -> Vec<Recorded> {
        let text = fs::read_to_string(self.daemon.path("record")).expect("a record");
        let detached = self.daemon.detach();
        assert!(detached.success(), "{detached:?}");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect(line));
        self.daemon.wait();
        lines.collect()
    }
}

fn live(target: &str, action: LiveAction, until: Option<i64>) -> Request {
    let change = LiveChange { until, ..LiveChange::new(target, action) };
    Request::Change { request: LiveRequest { change, guard: Guard::default() }, peer: ROOT }
}

fn apply(text: &str, confirm: Option<u32>) -> Request {
    let file = "policy.toml".to_owned();
    let bundle = PolicyBundle { file, text: text.into(), confirm, ..PolicyBundle::default() };
    Request::Apply { bundle, peer: ROOT }
}

/// Orders hour by hour from midnight on, and the number of those that are refused.
fn day(midnight: i64) -> (Vec<Recorded>, usize) {
    let hour = |hour: i64| midnight + hour * HOUR;
    let end = || Endpoint { to: UPDATES.into(), service: "tcp/80".into() };
    let deny = LiveAction::Deny(end());
    let guard = Guard::default();
    let orders = [
        (2, apply(&wider(), None)),
        (4, live("beds", deny.clone(), Some(hour(9)))),
        (5, live("beds", LiveAction::Mode { mode: Mode::Observe }, Some(hour(7)))),
        // Neither exists: both are refused.
        (6, live("pumps", LiveAction::Allow(end()), None)),
        (6, Request::Revoke { id: "l-none".into(), guard, peer: ROOT }),
        // By then the mode has ended, but not the rule.
        (8, apply(POLICY, Some(60))),
        (8, Request::Confirm { peer: ROOT }),
        (10, live("beds", deny, None)),
        (12, Request::Rollback { revision: Some(2), guard, peer: ROOT }),
        (14, apply("schema = 1\n[groups.beds]\nmembers = [\"bed-1\"]\n", None)),
        (16, Request::Confirm { peer: ROOT }),
    ];
    let orders = orders.map(|(at, request)| Recorded { at: hour(at), request });
    (orders.to_vec(), 3)
}

#[test]
fn a_day_that_was_written_down_comes_to_the_same_again() {
    let lab = Lab::gateway("recorded");
    let midnight = now() / 86_400 * 86_400 + 86_400;
    let (orders, refused) = day(midnight);

    let first = Day::begin(&lab, midnight);
    let before: Vec<Outcome> = orders.iter().map(|order| first.ask(order)).collect();
    let errors = before.iter().filter(|outcome| outcome.error.is_some()).count();
    assert_eq!(errors, refused, "{before:#?}");
    let [.., eleven] = &before[..] else { panic!("no outcome") };
    assert_eq!((eleven.revision, eleven.live.len(), eleven.waits), (4, 1, false), "{before:#?}");
    let recorded = first.end();

    // The recording has the same requests, from the same users, at about the same times.
    assert_eq!(recorded.len(), orders.len());
    for (order, recorded) in orders.iter().zip(&recorded) {
        assert!((0..60).contains(&(recorded.at - order.at)), "{recorded:?}");
        let kind = |request: &Request| std::mem::discriminant(request);
        assert_eq!(kind(&order.request), kind(&recorded.request));
    }

    let second = Day::begin(&lab, midnight);
    let again: Vec<Outcome> = recorded.iter().map(|order| second.ask(order)).collect();
    for ((order, before), again) in recorded.iter().zip(&before).zip(&again) {
        assert_eq!(before, again, "{order:?}");
    }
    second.end();
}
