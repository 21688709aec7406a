//! Explanations compared with the image's decisions.
#![allow(missing_docs, reason = "a test binary")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_common::reason::{Reason, Verdict};
use enforcer_policy::explain::{Error, Request, explain, frame, on_host};
use enforcer_policy::image::{HostImage, Time};
use enforcer_policy::{Rule, Service, compile, read, report};
use enforcer_testkit::random;

fn request(random: &mut random::Random) -> Request {
    let v4 = random.once_in(2);
    let address = |random: &mut random::Random| -> IpAddr {
        if v4 {
            Ipv4Addr::from_bits(random::v4(random)).into()
        } else {
            Ipv6Addr::from_bits(random::v6(random)).into()
        }
    };
    let from = match random.below(3) {
        0 => format!("d{}", random.below(5)),
        1 => random::mac(random).to_string(),
        _ => address(random).to_string(),
    };
    let proto = random.pick(&["tcp", "udp", "sctp", "icmp", "icmpv6", "47"]);
    let port = random.pick(&[0, 53, 67, 80, 443, 515, 547, 8000, 65535]);
    let to = address(random);
    let to = match proto {
        "tcp" | "udp" | "sctp" => std::net::SocketAddr::new(to, port).to_string(),
        _ => to.to_string(),
    };
    let interface = random.once_in(4).then(|| random.pick(&["lan0", "lan1"]).to_owned());
    let vlan = random.once_in(3).then(|| random.pick(&[0, 10, 11, 12, 13]));
    Request { from, mac: None, to, proto: proto.to_owned(), interface, vlan }
}

/// The suggestion, parsed after pasting it.
fn pasted(suggestion: &str) -> Rule {
    let list = match suggestion.strip_prefix("allow = ") {
        Some(list) => list.to_owned(),
        None => format!("[\n  {suggestion}\n]"),
    };
    let text = format!("schema = 1\n[groups.g]\nmembers = [\"vlan:1\"]\nallow = {list}\n");
    let (policy, problems) = read("pasted", &text, &mut |_| unreachable!("no files"));
    assert_eq!(problems, [], "{}", report::render(&problems, &|_| Some(&text), false));
    policy.groups[0].allow[0].clone()
}

#[test]
fn explanations_agree_with_the_image_and_suggestions_work() {
    let host = random::host();
    let (mut reasons, mut refused, mut suggested) = (BTreeMap::new(), BTreeMap::new(), 0);
    let mut misses = 0;
    for seed in 0..2_000 {
        let mut random = random::Random::new(seed);
        let mut policy = random::policy(&mut random);
        for group in &mut policy.groups {
            for rule in group.allow.iter_mut().chain(&mut group.deny) {
                let words: Vec<String> = rule.services.iter().map(Service::to_string).collect();
                (rule.to_text, rule.service_text) = (rule.to.to_string(), words.join(", "));
            }
        }
        let compiled = compile(&policy, &host).expect("policy");
        for _ in 0..20 {
            let request = request(&mut random);
            let described = match frame(&policy, &host, &request) {
                Ok(described) => described,
                Err(error) => {
                    assert!(error.hint().is_some(), "{error}");
                    let expected = matches!(error, Error::Device { .. } | Error::Family { .. });
                    assert!(expected, "seed {seed}: {request:?}: {error}");
                    *refused.entry(matches!(error, Error::Device { .. })).or_insert(0) += 1;
                    continue;
                }
            };
            let reference = HostImage::new(&compiled.image, random::NOW);
            let case = reference.decide(&described.frame, described.interface);
            let said = explain(
                &policy,
                &host,
                &compiled,
                &described,
                &case,
                Time::wall(random::NOW),
                "host",
            );
            let context = format!("seed {seed}: {request:?}\n{said:#?}\n{policy:#?}");
            let verdict = match case.decision.verdict {
                Verdict::Pass => "pass",
                Verdict::Drop => "drop",
                Verdict::WouldDrop => "would-drop",
            };
            assert_eq!(said.verdict, verdict, "{context}");
            let reason = case.decision.reason;
            assert_eq!((said.reason, &*said.text), (reason.name(), reason.words()));
            assert_eq!(said.rule.is_some(), matches!(reason, Reason::Allow | Reason::Deny));
            assert!(said.near_misses.len() <= 5, "{context}");
            assert_eq!(on_host(&policy, &host, &compiled, &request, random::NOW), Ok(said.clone()));
            misses += said.near_misses.len();
            *reasons.entry(reason.name()).or_insert(0) += 1;

            assert_eq!(said.suggestion.is_some(), reason == Reason::Default, "{context}");
            let Some(suggestion) = &said.suggestion else { continue };
            suggested += 1;
            let mut policy = policy.clone();
            policy.groups[case.decision.group as usize - 1].allow.push(pasted(suggestion));
            let compiled = compile(&policy, &host).expect("policy");
            let reference = HostImage::new(&compiled.image, random::NOW);
            let case = reference.decide(&described.frame, described.interface);
            assert_eq!(case.decision.reason, Reason::Allow, "{context}");
            assert_eq!(case.decision.verdict, Verdict::Pass, "{context}");
            let rule = compiled.rules[case.decision.rule as usize].unwrap().rule(&policy);
            assert_eq!(rule.expect("rule").1.id, pasted(suggestion).id, "{context}");
        }
    }
    // A case that the generator never reaches would go untested.
    assert!(suggested > 500 && misses > 1000, "{suggested} suggestions, {misses} near misses");
    for reason in [
        Reason::Allow,
        Reason::Deny,
        Reason::Default,
        Reason::DefaultPass,
        Reason::Unknown,
        Reason::UnknownPass,
        Reason::Quarantine,
        Reason::SourceBinding,
        Reason::VlanUndeclared,
        Reason::Dhcp,
        Reason::MartianDestination,
    ] {
        let count = reasons.get(reason.name()).copied().unwrap_or(0);
        assert!(count >= 20, "{} was hardly met: {reasons:?}", reason.name());
    }
    assert_eq!(refused.len(), 2, "{refused:?}");
}
