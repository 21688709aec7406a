//! Frames that leave enforcing and observing gateways.

use super::{Settings, enforced, observed};
use crate::replay::Kind;

/// A million random stacks of headers, or `ENFORCER_COMPOSED_FRAMES`, from `ENFORCER_COMPOSED_SEED`:
/// every frame that comes out is allowed according to tshark.
#[test]
fn nothing_gets_out() {
    for run in enforced(Settings::from_env()) {
        println!("{run}");
        assert!(run.problems().is_empty(), "{:#?}", run.problems());
    }
}

/// The same frames without drops: the oracle calls most of the frames that come out leaks.
#[test]
fn what_an_observed_group_sends_leaks() {
    let settings = Settings { seed: 1, frames: 20_000 };
    for kind in [Kind::Routed, Kind::Bridged] {
        let run = observed(kind, settings);
        println!("{run}");
        assert!(run.leaked() * 10 > run.sent, "{run}");
        for kind in ["service", "destination address", "source address", "VLAN", "source MAC"] {
            let expected = run.bridged() || !["VLAN", "source MAC"].contains(&kind);
            assert_eq!(run.leaks.contains_key(kind), expected, "{kind}: {run}");
        }
        for kind in ["fragment without its first one", "fragment overlaps what has arrived"] {
            assert_eq!(run.leaks.contains_key(kind), run.bridged(), "{kind}: {run}");
        }
    }
}
