//! Policies and live changes, one after the other, under a stream.

use super::world::Beside;
use super::{REPLACEMENTS, begin};
use crate::harness::{Daemon, Lab, number};
use enforcer_testkit::random::Random;

#[test]
fn every_frame_is_judged_by_exactly_one_policy() {
    let lab = Lab::gateway("churn");
    let replacements = number("ENFORCER_CHURN_REPLACEMENTS", REPLACEMENTS);
    let seed = number("ENFORCER_CHURN_SEED", 1);
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], "");
    let (_daemon, operator, mut timeline) = begin(&lab, daemon);
    let (mut policies, mut changes) = (0, 0);
    while policies < replacements || changes < replacements {
        let state = timeline.state().clone();
        // Policies and changes in any order, and changes alone at the end.
        if policies < replacements && random.below(3) < 2 {
            let next = state.other();
            timeline.change(next.clone(), || operator.apply(&next, None).expect("it is applied"));
            policies += 1;
        } else {
            let change = random.pick(&Beside::ALL);
            let made = || operator.toggle(&state, change).expect("it is made");
            timeline.change(state.toggled(change), made);
            changes += 1;
        }
    }
    let status = operator.status();
    assert_eq!(status.policy.revision, 1 + policies);
    let tally = timeline.judge();
    println!("{policies} policies, {changes} live changes: {tally:?}");
    assert!(tally.telling > 1000, "{tally:?}");
}

/// Devices in the groups of one policy with the rules of the other: the fault that the stream must
/// detect.
#[test]
fn half_a_policy_would_be_seen() {
    let lab = Lab::gateway("half");
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], "");
    let (_daemon, operator, mut timeline) = begin(&lab, daemon);
    let state = timeline.state().clone();
    let mut half = state.bundle();
    let members = |device: u32| format!("members = [\"device-{device}\"]");
    let swapped = half.text.replace(&members(0), "first").replace(&members(1), &members(0));
    half.text = swapped.replace("first", &members(1));
    timeline.change(state.clone(), || {
        operator.put(&half).expect("it is applied");
        operator.apply(&state, None).expect("it is applied");
    });
    let tally = timeline.tally();
    assert!(tally.lost > 0 && tally.leaked > 0, "{tally:?}");
}
