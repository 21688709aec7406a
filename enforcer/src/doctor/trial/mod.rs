//! Tests with frames that must be dropped and frames that must pass.
//!
//! - `arrival`: frames that really arrive
//! - `frames`: the frames
//! - `place`: a network namespace and a BPF file system that belong to one thread and end with it
//! - `run`: the program on pairs of interfaces there
//! - `live`: tests the active program with probes that have no side effects
//! - `wire`: raw sockets

mod arrival;
mod frames;
mod live;
mod place;
mod run;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use enforcer_common::reason::Reason;

use super::Finding;
use crate::policy::Problem;
pub use live::live;
pub use run::run;

/// A frame and its expected result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameContext {
    /// Its name.
    pub name: &'static str,
    /// The expected reason, which implies the verdict.
    pub reason: Reason,
    /// The frame.
    pub frame: Vec<u8>,
}

/// Observations on one pair of interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Numbers of the cases that arrived before the program was attached.
    pub before: BTreeSet<usize>,
    /// Numbers of those that arrived with it.
    pub arrived: BTreeSet<usize>,
    /// Frames that were counted meanwhile, by reason.
    pub counted: BTreeMap<Reason, u64>,
}

/// Most failures that are named.
const NAMED: usize = 3;

/// Judges the program by one pair of interfaces.
pub fn judge(place: &str, cases: &[FrameContext], seen: &Seen) -> Finding {
    const CHECK: &str = "self-test";
    let numbered = || cases.iter().enumerate();
    let lost: Vec<&str> = numbered()
        .filter(|(number, _)| !seen.before.contains(number))
        .map(|(_, case)| case.name)
        .collect();
    if !lost.is_empty() {
        // Frames that do not arrive without a program cannot show what the program does.
        let why = format!("{place}: without a program not everything arrives: {}", named(&lost));
        return Finding::unknown(
            CHECK,
            why,
            "look for other programs on every interface (tc, nft)",
        );
    }
    let mut wrong = Vec::new();
    let mut expected: BTreeMap<Reason, u64> = BTreeMap::new();
    for (number, case) in numbered() {
        *expected.entry(case.reason).or_default() += 1;
        match (seen.arrived.contains(&number), case.reason.passes()) {
            (true, false) => wrong.push(format!("{} arrived", case.name)),
            (false, true) => wrong.push(format!("{} did not arrive", case.name)),
            (true, true) | (false, false) => {}
        }
    }
    let reasons: BTreeSet<Reason> = expected.keys().chain(seen.counted.keys()).copied().collect();
    for reason in reasons {
        let of = |counts: &BTreeMap<Reason, u64>| counts.get(&reason).copied().unwrap_or(0);
        let (count, wanted) = (of(&seen.counted), of(&expected));
        if count != wanted {
            wrong.push(format!("{} counted {count}, not {wanted}", reason.name()));
        }
    }
    if wrong.is_empty() {
        let lives = cases.iter().filter(|case| case.reason.passes()).count();
        let dies = cases.len() - lives;
        let lived = if lives == 0 { String::new() } else { format!(", {lives} lived") };
        return Finding::ok(CHECK, format!("{place}: {dies} frames died{lived}, all were counted"));
    }
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    Finding::fail(
        CHECK,
        format!("{place}: {}", named(&wrong)),
        "do not enforce with this kernel and this build; report this line and `uname -a`",
    )
}

/// The first of the problems of a policy.
fn first(problems: &[Problem]) -> String {
    problems.first().map(|problem| problem.message.clone()).unwrap_or_default()
}

/// The first of a list, and how many more there are.
fn named(list: &[&str]) -> String {
    let mut text = list.iter().take(NAMED).copied().collect::<Vec<_>>().join("; ");
    if list.len() > NAMED {
        text.push_str(&format!("; and {} more", list.len() - NAMED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn case(name: &'static str, reason: Reason) -> FrameContext {
        FrameContext { name, reason, frame: Vec::new() }
    }

    /// Two frames are dropped, two pass, and all are counted.
    fn cases() -> (Vec<FrameContext>, Seen) {
        let cases = vec![
            case("a denied one", Reason::Deny),
            case("a tag", Reason::VlanUndeclared),
            case("ARP", Reason::Arp),
            case("an allowed one", Reason::Allow),
        ];
        let counted = cases.iter().map(|case| (case.reason, 1)).collect();
        (cases, Seen { before: [0, 1, 2, 3].into(), arrived: [2, 3].into(), counted })
    }

    #[test]
    fn all_is_well() {
        let (cases, seen) = cases();
        let finding = judge("native", &cases, &seen);
        let text = "native: 2 frames died, 2 lived, all were counted";
        assert_eq!(finding, Finding::ok("self-test", text));
    }

    type Break = fn(&mut Seen);

    #[test]
    fn every_broken_path_fails() {
        let (cases, well) = cases();
        let breaks: [(&str, Break); 6] = [
            ("a tag arrived", |seen| seen.arrived.extend([1])),
            ("ARP did not arrive", |seen| seen.arrived.retain(|number| *number != 2)),
            ("deny counted 0, not 1", |seen| {
                seen.counted.retain(|reason, _| *reason != Reason::Deny);
            }),
            ("allow counted 2, not 1", |seen| seen.counted.extend([(Reason::Allow, 2)])),
            ("no-policy counted 4, not 0", |seen| seen.counted.extend([(Reason::NoPolicy, 4)])),
            ("a denied one arrived; a tag arrived", |seen| seen.arrived.extend([0, 1])),
        ];
        for (text, change) in breaks {
            let mut seen = well.clone();
            change(&mut seen);
            let finding = judge("native", &cases, &seen);
            assert_eq!(finding.state, State::Fail, "{text}");
            assert_eq!(finding.text, format!("native: {text}"));
        }
        // Nothing attached at all: everything arrives, and nothing is counted.
        let open = Seen { arrived: well.before.clone(), before: well.before, ..Seen::default() };
        let finding = judge("native", &cases, &open);
        assert_eq!(finding.state, State::Fail);
        assert!(finding.text.ends_with("; and 3 more"), "{}", finding.text);
    }

    #[test]
    fn a_wire_that_carries_nothing_proves_nothing() {
        let (cases, mut seen) = cases();
        seen.before.remove(&0);
        let finding = judge("native", &cases, &seen);
        assert_eq!(finding.state, State::Unknown);
        assert!(finding.text.ends_with("arrives: a denied one"), "{}", finding.text);
    }
}
