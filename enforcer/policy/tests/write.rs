//! A written policy reads back as the same policy.
#![allow(missing_docs, reason = "a test binary")]

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use enforcer_policy::{End, Place, Policy, Rule, Service, Severity, read, report, write};
use enforcer_testkit::random;

fn reread(text: &str) -> Policy {
    let (policy, problems) = read("written", text, &mut |_| unreachable!("files are inlined"));
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    assert_eq!(errors, 0, "{}\n{text}", report::render(&problems, &|_| Some(text), false));
    policy
}

/// The policy with all places equal.
fn placeless(mut policy: Policy) -> Policy {
    let nowhere = Place { file: "".into(), line: 0, column: 0 };
    policy.devices.iter_mut().for_each(|device| device.place = nowhere.clone());
    policy.interfaces.iter_mut().for_each(|interface| interface.place = nowhere.clone());
    policy.every_rule_mut().for_each(|rule| rule.place = nowhere.clone());
    for group in &mut policy.groups {
        group.place = nowhere.clone();
        group.members.iter_mut().for_each(|member| member.place = nowhere.clone());
    }
    policy
}

fn reads_back(policy: &Policy) {
    let text = write(policy);
    let again = reread(&text);
    assert_eq!(placeless(again.clone()), placeless(policy.clone()), "{text}");
    assert_eq!(write(&again), text);
}

#[test]
fn shipped_policies() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    for entry in fs::read_dir(&directory).expect("policies") {
        let path = entry.expect("entry").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("policy");
        let (policy, problems) =
            read("p", &text, &mut |name| fs::read_to_string(directory.join(name)));
        assert_eq!(problems, []);
        reads_back(&policy);
    }
}

#[test]
fn set_files_become_part_of_the_document() {
    let mut feed = String::from("# a list\n");
    for number in 0..5000_u32 {
        feed.push_str(&format!("203.0.{}.{} ; {number}\n", number >> 8, number & 0xff));
        feed.push_str(&format!("2001:db8:{number:x}::/48\n"));
    }
    let text = "schema = 1\n[sets]\nfeed = { file = \"feed.txt\" }\nempty = { file = \"none\" }\n\
        [groups.g]\nmembers = [\"10.0.0.0/8\"]\n\
        deny = [{ to = \"@feed\" }, { to = \"@empty\", service = [\"udp\", \"icmp\"] }]\n";
    let (policy, _) =
        read("p", text, &mut |name| Ok(if name == "none" { String::new() } else { feed.clone() }));
    reads_back(&policy);
    let (bare, _) = read("p", "schema = 1", &mut |_| unreachable!("no files"));
    reads_back(&bare);
}

/// A random policy in the form that the reader produces.
fn normalised(mut policy: Policy) -> Policy {
    for interface in &mut policy.interfaces {
        let mut seen = HashSet::new();
        interface.vlans.retain(|vlan| seen.insert(*vlan));
    }
    for rule in policy.every_rule_mut() {
        let words: Vec<String> = rule.services.iter().map(Service::to_string).collect();
        rule.to_text = rule.to.to_string();
        rule.service_text = words.join(", ");
        // A document cannot express ends on the boot clock.
        rule.until = rule.until.and_then(End::wall).map(End::Wall);
        // Text that needs quoting in a document.
        rule.reason = rule.until.map(|until| format!("\"{}\" \\ {until:?}\u{e9}", rule.id));
        rule.id.clear();
        rule.live = false;
    }
    // A document has no temporary mode, only the one that follows.
    if let Some(timed) = policy.unknown.timed.take() {
        policy.unknown.mode = timed.afterwards;
    }
    let distinct = |rules: &mut Vec<Rule>| {
        let mut seen = HashSet::new();
        rules.retain(|rule| seen.insert((rule.to.to_string(), Service::normalise(&rule.services))));
    };
    policy.interfaces.iter_mut().for_each(|interface| distinct(&mut interface.accept));
    for group in &mut policy.groups {
        if let Some(timed) = group.timed.take() {
            group.mode = timed.afterwards;
        }
        for rules in [&mut group.allow, &mut group.deny, &mut group.accept] {
            distinct(rules);
        }
    }
    policy
}

#[test]
fn random_policies() {
    for seed in 0..2_000 {
        let policy = normalised(random::policy(&mut random::Random::new(seed)));
        let text = write(&policy);
        let mut again = reread(&text);
        assert_eq!(write(&again), text, "seed {seed}");
        again.every_rule_mut().for_each(|rule| rule.id.clear());
        assert_eq!(placeless(again), placeless(policy), "seed {seed}\n{text}");
    }
}
