use std::time::Duration;

use super::*;
use crate::guard::proof::{Counters, Proof};

/// Id of our program.
const OURS: u32 = 77;
/// Id of another tool's program.
const OTHER: u32 = 5;

fn link(name: &str, index: u32, program: Option<u32>) -> Link {
    let attached = Attached { program, native: program.is_some() };
    Link { name: name.into(), index, attached, ..Link::default() }
}

fn seen(links: Vec<Link>) -> Seen {
    let attached_to = links.iter().map(|link| (link.index, link.index)).collect();
    Seen { links, programs: BTreeSet::from([OURS]), attached_to }
}

fn guarded(name: &str, index: u32) -> Guarded {
    Guarded::new(name.into(), name.into(), index, None)
}

/// An interface whose driver is known not to run the program, after this many repairs.
fn failing(name: &str, index: u32, repairs: u32) -> Guarded {
    let mut guarded = Guarded { repairs, ..guarded(name, index) };
    for (second, received) in (1..).zip([0, 100, 200]) {
        guarded.prover.look(Counters { received, runs: 0 }, Duration::from_secs(second));
    }
    assert_eq!(guarded.prover.proof(), Proof::Refuted);
    guarded
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn plan(names: &[String], guarded: &[Guarded], seen: &Seen) -> Vec<Step> {
    steps(names, guarded, Xdp::Auto, seen)
}

#[test]
fn nothing_is_done_while_all_is_well_but_tags_are_looked_after() {
    let seen = seen(vec![link("lan0", 3, Some(OURS)), link("wan0", 4, None)]);
    let steps = plan(&names(&["lan0", "lan9"]), &[guarded("lan0", 3)], &seen);
    assert_eq!(steps, [Step::KeepTags("lan0".into())]);
}

#[test]
fn an_interface_without_our_program_is_attached_to_and_it_is_said_why() {
    for (program, known, why) in [
        (None, true, Missing::Detached),
        (Some(OTHER), true, Missing::Replaced(OTHER)),
        (None, false, Missing::New),
        (Some(OTHER), false, Missing::Replaced(OTHER)),
    ] {
        let there = link("lan0", 3, program);
        let seen = seen(vec![there.clone()]);
        let guarded: Vec<Guarded> = known.then(|| guarded("lan0", 3)).into_iter().collect();
        let steps = plan(&names(&["lan0"]), &guarded, &seen);
        assert_eq!(steps, [Step::Attach { link: there, why }, Step::KeepTags("lan0".into())]);
    }
}

#[test]
fn an_interface_that_became_another_kind_is_tried_again_although_ours_is_attached() {
    let there = Link { no_ethernet: Some("none".into()), ..link("lan0", 3, Some(OURS)) };
    let steps = plan(&names(&["lan0"]), &[guarded("lan0", 3)], &seen(vec![there]));
    assert!(matches!(&steps[0], Step::Attach { why: Missing::Replaced(OURS), .. }), "{steps:?}");
}

#[test]
fn a_renamed_interface_is_protected_under_its_old_name_and_so_is_one_that_took_the_name() {
    let mut known = [guarded("lan0", 3)];
    let renamed = seen(vec![link("lan1", 3, Some(OURS))]);
    let told = note(&mut known, &renamed);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].reason, &*told[0].interface), ("interface-renamed", "lan0"));
    assert_eq!(note(&mut known, &renamed), [], "it is told once");
    let chosen = chosen(&names(&["lan0"]), &known, &renamed.links);
    assert_eq!((chosen.len(), &*chosen[0].name, chosen[0].index), (1, "lan0", 3));

    let both = seen(vec![link("lan1", 3, Some(OURS)), link("lan0", 8, None)]);
    let steps = plan(&names(&["lan0"]), &known, &both);
    let Step::Attach { link, why: Missing::New } = &steps[0] else { panic!("{steps:?}") };
    assert_eq!(link.index, 8);
    assert_eq!(steps[1..], [Step::KeepTags("lan0".into()), Step::KeepTags("lan1".into())]);
}

#[test]
fn one_that_is_gone_is_told_once_and_so_is_one_in_another_namespace() {
    for (attached_to, text) in
        [(Some(0), "lan0 is gone"), (Some(9), "lan0 is in another network namespace")]
    {
        let mut known = [guarded("lan0", 3)];
        let attached_to = attached_to.map(|to| (3, to)).into_iter().collect();
        let seen = Seen { attached_to, ..seen(Vec::new()) };
        let told = note(&mut known, &seen);
        assert!(told.len() == 1 && told[0].text.starts_with(text), "{told:?}");
        assert_eq!(told[0].reason, "interface-gone");
        assert_eq!(note(&mut known, &seen), []);
        assert_eq!(plan(&names(&["lan0"]), &known, &seen), []);
    }
}

#[test]
fn one_that_returned_with_another_index_gets_its_link_back() {
    let seen = Seen { attached_to: BTreeMap::new(), ..seen(vec![link("lan0", 3, Some(OURS))]) };
    let steps = plan(&names(&["lan0"]), &[], &seen);
    assert_eq!(steps, [Step::Renumber(3), Step::KeepTags("lan0".into())]);
}

#[test]
fn another_mode_is_told_but_the_first_one_is_not() {
    let mut known = [guarded("lan0", 3)];
    let native = seen(vec![link("lan0", 3, Some(OURS))]);
    assert_eq!(note(&mut known, &native), []);
    let mut generic = native.clone();
    generic.links[0].attached.native = false;
    let told = note(&mut known, &generic);
    assert_eq!((told[0].reason, &*told[0].text), ("xdp-mode", "lan0 is in generic mode now"));
    // The mode of another tool's program does not count.
    let mut other = native;
    other.links[0].attached = Attached { program: Some(OTHER), native: true };
    assert_eq!(note(&mut known, &other), []);
}

#[test]
fn a_driver_that_does_not_run_it_gets_a_new_object_then_generic_mode_if_it_may() {
    let there = seen(vec![link("lan0", 3, Some(OURS))]);
    let remedy = |repairs, xdp| {
        let steps = steps(&names(&["lan0"]), &[failing("lan0", 3, repairs)], xdp, &there);
        let [Step::Repair { remedy, .. }, Step::KeepTags(_)] = &steps[..] else {
            panic!("{steps:?}")
        };
        *remedy
    };
    assert_eq!(remedy(0, Xdp::Auto), Some(Remedy::NewObject));
    assert_eq!(remedy(1, Xdp::Auto), Some(Remedy::Generic));
    assert_eq!(remedy(1, Xdp::Native), None, "the settings want native mode");
    assert_eq!(remedy(2, Xdp::Auto), None);
    let due: Vec<u32> = (2..100).filter(|n| remedy(*n, Xdp::Auto).is_some()).collect();
    assert_eq!(due, [30, 60, 90]);
}
