//! Tests the active program with probes, which are neither counted nor reported.

use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use enforcer_common::reason::{Reason, Verdict};
use enforcer_common::wire::ether_type;

use super::frames;
use super::{FrameContext, arrival, first, named};
use crate::api::{CapturedFrame, ExplainFrames, Explanation, InterfaceStatus, Status};
use crate::control::client::{self, Client};
use crate::doctor::{Finding, chain};
use crate::fault::Fault as _;
use crate::host::{self, Kernel, Link};
use crate::image::{HostImage, Time};
use crate::policy::{
    Compiled, Device, Host, Mac, Mode, Policy, Problem, Range, Rule, Selector, Service, Severity,
    To, compile, explain, read,
};

const CHECK: &str = "live-test";
/// Most rules that are searched for one that decides.
const RULES: usize = 1000;

/// Why the test did not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Daemon(#[from] client::Error),
    #[error(transparent)]
    Host(#[from] host::Error),
    #[error("the policy in force cannot be read: {0}")]
    Policy(String),
}

/// A frame, and the expected reason, which implies the verdict.
struct Question {
    name: String,
    reason: Reason,
    frame: Vec<u8>,
}

/// Tests the active program, for each interface that the daemon protects.
pub async fn live(client: &Client) -> Vec<Finding> {
    match ask_all(client).await {
        Ok(findings) => findings,
        Err(Error::Daemon(e)) => {
            vec![Finding::unknown(CHECK, chain(&e), e.hint().unwrap_or("enforcer status".into()))]
        }
        Err(e) => {
            vec![Finding::unknown(CHECK, chain(&e), "enforcer policy show | enforcer check -")]
        }
    }
}

async fn ask_all(client: &Client) -> Result<Vec<Finding>, Error> {
    let status = client.status().await?;
    let text = client.policy().await?;
    let (policy, problems) = read("policy", &text, &mut |_| Err(io::ErrorKind::NotFound.into()));
    let errors: Vec<Problem> = problems.into_iter().filter(is_error).collect();
    if !errors.is_empty() {
        return Err(Error::Policy(first(&errors)));
    }
    let host = host(&status).await?;
    let mut findings = arrival::arrive(client, &policy, &host).await?;
    let compiled = compile(&policy, &host).map_err(|e| Error::Policy(first(&e)))?;
    for row in status.interfaces.iter().filter(|row| row.index != 0) {
        let own = host.interfaces.iter().find(|known| known.index == row.index);
        let mut questions = must_die(own.map_or(Mac([0; 6]), |own| own.mac), vlan(&policy));
        if policy.essential.arp {
            let probe = frames::arp(frames::DEVICE, [0; 4], [192, 0, 2, 1]);
            let frame = frames::ethernet([0xff; 6], frames::DEVICE, ether_type::ARP, &probe);
            questions.push(Question { name: "ARP".into(), reason: Reason::Arp, frame });
        }
        match own_destination(&policy, &host, &compiled, row) {
            Some(question) => questions.push(question),
            None => findings.push(no_rule().on(&row.name)),
        }
        let answers = ask(client, &row.name, &questions).await?;
        findings.push(judge(&questions, &answers).on(&row.name));
    }
    if findings.is_empty() {
        findings.push(Finding::unknown(
            CHECK,
            "the daemon protects no interface",
            "enforcer status",
        ));
    }
    Ok(findings)
}

fn is_error(problem: &Problem) -> bool {
    problem.severity == Severity::Error
}

/// The daemon's host.
async fn host(status: &Status) -> Result<Host, host::Error> {
    let kernel = Kernel::open()?;
    let links = kernel.links().await?;
    let protected = status.interfaces.iter().filter_map(|row| {
        let link = links.iter().find(|link| link.index == row.index)?;
        Some(Link { name: row.name.clone(), ..link.clone() })
    });
    kernel.host(&protected.collect::<Vec<_>>(), &links, jiff::Timestamp::now().as_second()).await
}

async fn ask(
    client: &Client,
    interface: &str,
    questions: &[Question],
) -> Result<Vec<Explanation>, client::Error> {
    let frames = questions.iter().map(|question| CapturedFrame {
        packet: BASE64_STANDARD.encode(&question.frame),
        interface: Some(interface.to_owned()),
        arrived: Some(true),
        ..CapturedFrame::default()
    });
    client.explain_frames(&ExplainFrames { frames: frames.collect() }).await
}

/// Frames that no policy lets pass; `vlan` is one that the policy does not declare.
fn must_die(own: Mac, vlan: u16) -> Vec<Question> {
    let mut cases = frames::cases(own.0);
    let plain = cases.iter().find(|case| case.reason == Reason::Allow);
    let tagged = plain.map(|case| frames::tag(&case.frame, &[(ether_type::VLAN, vlan)]));
    cases.retain(|case| {
        matches!(
            case.reason,
            Reason::SourceMacOwn
                | Reason::SourceMacMulticast
                | Reason::TruncatedNetwork
                | Reason::HeaderLength
                | Reason::SourceRoute
                | Reason::EtherType
                | Reason::RoutingHeader
                | Reason::RogueRouter
        )
    });
    let undeclared = tagged.map(|frame| FrameContext {
        name: "a VLAN that is not declared",
        reason: Reason::VlanUndeclared,
        frame,
    });
    let question = |case: FrameContext| Question {
        name: case.name.to_owned(),
        reason: case.reason,
        frame: case.frame,
    };
    cases.into_iter().chain(undeclared).map(question).collect()
}

/// A VLAN that the policy does not declare.
fn vlan(policy: &Policy) -> u16 {
    let is_declared = |id: &u16| {
        let members = policy.groups.iter().flat_map(|group| &group.members);
        policy.interfaces.iter().any(|interface| interface.vlans.contains(id))
            || policy.devices.iter().any(|device| device.vlan == Some(*id))
            || members.into_iter().any(|member| member.selector == Selector::Vlan(*id))
    };
    (1..=4094).rev().find(|id| !is_declared(id)).unwrap_or(4094)
}

/// A frame from a device to a destination that a rule allows.
fn own_destination(
    policy: &Policy,
    host: &Host,
    compiled: &Compiled,
    row: &InterfaceStatus,
) -> Option<Question> {
    let reference = HostImage::new(&compiled.image, host.now);
    let groups = policy
        .groups
        .iter()
        .filter(|group| group.mode_at(Time::wall(host.now)) != Mode::Quarantine);
    let pairs = groups.flat_map(|group| {
        let devices = group.members.iter().filter_map(|member| {
            let Selector::Device(index) = member.selector else { return None };
            policy.devices.get(index)
        });
        devices.flat_map(|device| group.allow.iter().map(move |rule| (device, rule)))
    });
    pairs.take(RULES).find_map(|(device, rule)| {
        let request = request(host, device, rule, &row.name)?;
        let described = explain::frame(policy, host, &request).ok()?;
        let decision = reference.decide(&described.frame, row.index).decision;
        let lives = decision.verdict == Verdict::Pass && decision.reason == Reason::Allow;
        let name = format!("{} by rule {}", described.words, rule.id);
        let question = Question { name, reason: Reason::Allow, frame: described.frame };
        (lives && described.interface == row.index).then_some(question)
    })
}

fn request(host: &Host, device: &Device, rule: &Rule, interface: &str) -> Option<explain::Request> {
    device.mac?;
    let (to, is_v6) = match destination(host, &rule.to)? {
        Range::V4(first, _) => (std::net::Ipv4Addr::from_bits(first).to_string(), false),
        Range::V6(first, _) => (std::net::Ipv6Addr::from_bits(first).to_string(), true),
    };
    let service = rule.services.first()?;
    let (protocol, port) = (service.first >> 16, service.first & 0xffff);
    // For `any`, and for port 0, which is unused, pick a concrete value.
    let (protocol, port) = match (protocol, port) {
        (0, _) if *service == Service::ANY => (6, 443),
        (6 | 17 | 132, 0) => (protocol, 443),
        other => other,
    };
    let to = match (protocol, is_v6) {
        (6 | 17 | 132, true) => format!("[{to}]:{port}"),
        (6 | 17 | 132, false) => format!("{to}:{port}"),
        _ => to,
    };
    Some(explain::Request {
        from: device.name.clone(),
        to,
        proto: protocol.to_string(),
        interface: Some(interface.to_owned()),
        mac: None,
        vlan: None,
    })
}

fn destination(host: &Host, to: &To) -> Option<Range> {
    match to {
        To::Any => Some(Range::V4(u32::from_be_bytes([198, 51, 100, 10]), u32::MAX)),
        To::Range(range) => Some(*range),
        To::Set(set) => set.ranges.iter().next(),
        To::Gateway | To::Local => {
            host.interfaces.iter().flat_map(|own| &own.prefixes).find_map(|(address, _)| {
                match address {
                    std::net::IpAddr::V4(v4) => Some(Range::V4(v4.to_bits(), v4.to_bits())),
                    std::net::IpAddr::V6(_) => None,
                }
            })
        }
    }
}

fn no_rule() -> Finding {
    Finding::warning(
        "live-rule",
        "no allow rule could be tried: none is for a device with a name and a MAC address",
        "enforcer explain --from ADDRESS --to DESTINATION asks about a frame of your own",
    )
}

/// Judges the answers of the active program.
fn judge(questions: &[Question], answers: &[Explanation]) -> Finding {
    let asked = || questions.iter().zip(answers);
    if answers.len() != questions.len() {
        let why = format!("{} answers to {} questions", answers.len(), questions.len());
        return Finding::unknown(CHECK, why, "use the daemon's own version of this command");
    }
    if let Some((_, answer)) = asked().find(|(_, answer)| answer.decided_by != "kernel") {
        let why = answer.assumed.last().cloned().unwrap_or("the host has decided".into());
        return Finding::unknown(CHECK, why, "Linux 5.14 and later can be asked");
    }
    let wrong: Vec<String> = asked()
        .filter_map(|(question, answer)| {
            let (name, verdict, reason) = (&question.name, answer.verdict.as_str(), &answer.reason);
            // `would-drop` passes and is reported, because its group is observed.
            let is_right =
                (verdict == "pass") == question.reason.passes() && reason == question.reason.name();
            (!is_right).then(|| format!("{name}: {verdict} ({reason})"))
        })
        .collect();
    if !wrong.is_empty() {
        let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
        let remedy = "enforcer rollback if it is the policy; else report this line and `uname -a`";
        return Finding::fail(CHECK, named(&wrong), remedy);
    }
    let alive = || questions.iter().filter(|question| question.reason.passes());
    let lives = alive().count();
    let (dies, observed) =
        (questions.len() - lives, asked().filter(|(_, a)| a.verdict == "would-drop").count());
    let tried = alive().map(|question| question.name.as_str()).collect::<Vec<_>>().join("; ");
    if observed > 0 {
        let text =
            format!("{observed} of {dies} frames that must die pass: they are observed only");
        return Finding::warning(CHECK, text, "enforcer mode unknown enforce");
    }
    Finding::ok(CHECK, format!("{dies} frames would die, {lives} would live: {tried}"))
}

#[cfg(test)]
mod tests {
    use super::super::super::State;
    use super::*;

    fn question(name: &str, reason: Reason) -> Question {
        Question { name: name.into(), reason, frame: Vec::new() }
    }

    fn answer((verdict, reason, by): (&str, &str, &str)) -> Explanation {
        Explanation {
            verdict: verdict.into(),
            reason: reason.into(),
            decided_by: by.into(),
            ..Explanation::default()
        }
    }

    #[test]
    fn answers_are_held_against_what_must_be() {
        let questions = [question("a tag", Reason::VlanUndeclared), question("ARP", Reason::Arp)];
        let (tag, arp) = ("vlan-undeclared", "arp");
        let dies = ("drop", tag, "kernel");
        let lives = ("pass", arp, "kernel");
        let table = [
            ([dies, lives], State::Ok, "1 frames would die, 1 would live: ARP"),
            ([("pass", tag, "kernel"), lives], State::Fail, "a tag: pass (vlan-undeclared)"),
            ([("drop", "deny", "kernel"), lives], State::Fail, "a tag: drop (deny)"),
            ([dies, ("drop", "essential-off", "kernel")], State::Fail, "ARP: drop (essential-off)"),
            ([dies, ("would-drop", arp, "kernel")], State::Fail, "ARP: would-drop (arp)"),
            ([("would-drop", tag, "kernel"), lives], State::Warning, "1 of 1 frames that"),
            ([("drop", tag, "host"), lives], State::Unknown, "the host has decided"),
        ];
        for (answers, state, text) in table {
            let finding = judge(&questions, &answers.map(answer));
            assert_eq!(finding.state, state, "{finding:?}");
            assert!(finding.text.contains(text), "{finding:?}");
        }
        assert_eq!(judge(&questions, &[answer(dies)]).state, State::Unknown);
    }

    #[test]
    fn a_rule_is_tried_at_its_own_destination() {
        let text = "schema = 1\n[devices.bed]\nmac = \"02:00:00:00:00:01\"\nip = [\"10.20.0.12\"]\n\
                    [groups.beds]\nmembers = [\"bed\"]\n\
                    allow = [{ to = \"203.0.113.9\", service = \"tcp/1\" }, \
                    { to = \"198.51.100.0/24\", service = \"tcp/515-520\" }]\n\
                    deny = [{ to = \"203.0.113.9\" }]\n";
        let (policy, problems) = read("p", text, &mut |_| unreachable!());
        assert!(!problems.iter().any(is_error), "{problems:?}");
        let interface = crate::policy::HostInterface {
            name: "lan0".into(),
            index: 3,
            mac: Mac([2, 0, 0, 0, 0, 9]),
            prefixes: Vec::new(),
            ..crate::policy::HostInterface::default()
        };
        let host = Host { interfaces: vec![interface], ..Host::default() };
        let compiled = compile(&policy, &host).unwrap();
        let row = InterfaceStatus {
            name: "lan0".into(),
            index: 3,
            mode: "native".into(),
            enforcing: true,
            backstop: "armed".into(),
            proof: "seen".into(),
            received: 90,
            runs: 90,
            transmit: None,
            note: None,
        };
        let question = own_destination(&policy, &host, &compiled, &row).unwrap();
        // The first one is denied.
        let rule = &policy.groups[0].allow[1].id;
        let name = format!("10.20.0.12 to 198.51.100.0 tcp/515 on lan0 by rule {rule}");
        assert_eq!(question.name, name);
        let empty = Policy { groups: Vec::new(), ..policy };
        assert!(own_destination(&empty, &host, &compiled, &row).is_none());
        assert_eq!(vlan(&empty), 4094);
    }
}
