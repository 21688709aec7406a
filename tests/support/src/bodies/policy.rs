//! A document, read, compiled, written and read again.

use std::io;

use enforcer_common::flow::{Address, FAMILY_V4, FAMILY_V6, Flow};
use enforcer_common::image::NO_RULE;
use enforcer_common::wire;
use enforcer_policy::image::HostImage;
use enforcer_policy::read::MAX_PROBLEMS;
use enforcer_policy::{Policy, Range, Selector, Service, To, compile, diff, read, report, write};

use crate::naive;
use crate::random::{NOW, host};

/// Number of senders, of destinations and of services that are tried.
const TRIED: usize = 12;

/// The input is a document and, behind a NUL, the contents of each set file.
///
/// A policy that reads without errors compiles, judges like the naive model, and is the same after
/// it was written and read again.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (text, file) = text.split_once('\0').unwrap_or((text, ""));
    let (policy, problems) = read("document", text, &mut |name| match name {
        "none" => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(file.to_owned()),
    });
    // Errors beyond the limit are summarised in one line, and so are warnings.
    assert!(problems.len() <= MAX_PROBLEMS + 2, "{} problems", problems.len());
    for problem in &problems {
        assert!(problem.place.line > 0 && problem.place.column > 0, "{problem:?}");
        let shown =
            problem.message.chars().chain(problem.hint.iter().flat_map(|hint| hint.chars()));
        assert!(shown.clone().all(|c| c == '\n' || !c.is_control()), "{problem:?}");
    }
    report::render(&problems, &|name| Some(if name == "document" { text } else { file }), false);
    if report::has_errors(&problems) {
        return;
    }

    let compiled = match compile(&policy, &host()) {
        Ok(compiled) => compiled,
        Err(problems) => {
            // The only limit of an image that a short document can reach.
            assert!(problems.iter().all(|p| p.message.contains("with `until`")), "{problems:?}");
            return;
        }
    };
    agrees(&policy, &HostImage::new(&compiled.image, NOW), |number| {
        compiled.rules[number as usize]?.rule(&policy).map(|(_, rule)| rule.id.clone())
    });

    let written = write(&policy);
    let (again, problems) = read("written", &written, &mut |_| unreachable!("files are inlined"));
    let said = report::render(&problems, &|_| Some(&written), false);
    assert!(!report::has_errors(&problems), "{said}\n{written}");
    assert_eq!(write(&again), written);
    assert_eq!(diff(&policy, &again), [], "{written}");
    let recompiled = compile(&again, &host()).expect("as before");
    assert!(recompiled.image == compiled.image && recompiled.rules == compiled.rules, "{written}");
}

/// Tries flows from and to addresses in the policy.
fn agrees(policy: &Policy, reference: &HostImage<'_>, id: impl Fn(u32) -> Option<String>) {
    let (mut senders, mut ends) = (vec![Flow::NEW], vec![]);
    let mut services = vec![Service::ANY];
    for device in &policy.devices {
        let mac = device.mac.map_or(0, |mac| wire::mac(mac.0));
        let vlans = [device.vlan.unwrap_or(0), 0];
        let flow = Flow { source_mac: mac, vlans, ..Flow::NEW };
        senders.extend(device.addresses.iter().map(|range| Flow { source: from(range), ..flow }));
        senders.push(flow);
    }
    for group in &policy.groups {
        for member in &group.members {
            let flow = match &member.selector {
                Selector::Device(_) | Selector::Interface(_) => continue,
                Selector::Mac(mac) | Selector::MacPrefix(mac, _) => {
                    Flow { source_mac: wire::mac(mac.0), ..Flow::NEW }
                }
                Selector::Addresses(range) => Flow { source: from(range), ..Flow::NEW },
                Selector::Vlan(vlan) => Flow { vlans: [*vlan, 0], ..Flow::NEW },
            };
            senders.push(flow);
        }
    }
    for rule in policy.every_rule() {
        services.extend(&rule.services);
        match &rule.to {
            To::Any | To::Gateway | To::Local => {}
            To::Range(range) => ends.push(*range),
            To::Set(set) => ends.extend(set.ranges.iter().take(TRIED)),
        }
    }
    ends.push(Range::V4(0x0a14_0001, 0x0a14_0102));
    ends.push(Range::V6(0x2001_0db8 << 96 | 1, 0xfe80 << 112));
    for sender in senders.iter().rev().take(TRIED) {
        for range in ends.iter().rev().take(TRIED) {
            for service in services.iter().rev().take(TRIED) {
                for (to, service) in [(from(range), service.first), (upto(range), service.last)] {
                    let flow = Flow {
                        interface: 1,
                        destination: to,
                        family: if matches!(range, Range::V4(..)) { FAMILY_V4 } else { FAMILY_V6 },
                        protocol: (service >> 16) as u8,
                        destination_port: service as u16,
                        ..*sender
                    };
                    let decision = reference.judge(flow).decision;
                    let answer = naive::Answer {
                        verdict: decision.verdict,
                        reason: decision.reason,
                        rule: (decision.rule != NO_RULE).then(|| id(decision.rule)).flatten(),
                        group: decision.group,
                    };
                    assert_eq!(answer, naive::decide(policy, &host(), &flow, NOW), "{flow:?}");
                }
            }
        }
    }
}

fn from(range: &Range) -> Address {
    match *range {
        Range::V4(first, _) => Address::v4(first),
        Range::V6(first, _) => Address::v6(first.to_be_bytes()),
    }
}

fn upto(range: &Range) -> Address {
    match *range {
        Range::V4(_, last) => Address::v4(last),
        Range::V6(_, last) => Address::v6(last.to_be_bytes()),
    }
}
