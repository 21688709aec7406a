//! `enforcer explain`: the verdict first, then why, then the rules that nearly matched.
//!
//! - `capture`: the frames of a capture
//! - `read`: captures as tcpdump reads them

mod capture;
mod read;

use std::path::Path;

use enforcer::api::Exit;
use enforcer::api::{ExplainRequest, Explanation};
use enforcer::control::client::Client;
use enforcer::convert;
use enforcer::image::Time;
use enforcer::policy::explain::heard::Heard;
use enforcer::policy::explain::{inbound, on_host};
use enforcer::policy::live::span;
use enforcer::policy::{Compiled, Host, HostInterface, Mac, Policy, Selector, compile, report};
use jiff::Timestamp;

use super::document::{self, Document, text_of};
use super::rules::end;
use super::text::{clean, time};
use super::{GREEN, RED, Result, Screen, YELLOW, block_on, print, print_json};
use crate::cli::Explain;

pub(super) fn run(client: &Client, args: &Explain) -> Result<Exit> {
    if let Some(capture) = &args.pcap {
        return capture::run(client, args, capture);
    }
    let request = ExplainRequest {
        from: args.from.clone().unwrap_or_default(),
        mac: None,
        to: args.to.clone().unwrap_or_default(),
        proto: args.proto.clone(),
        interface: args.interface.clone(),
        vlan: args.vlan,
        inbound: args.inbound,
    };
    let explanation = match &args.policy {
        Some(policy) => match Trial::read(policy, args.interface.as_deref())? {
            Some(trial) => {
                let Trial { policy, host, compiled, .. } = &trial;
                let asked = convert::request(&request);
                let answer = if request.inbound {
                    let (heard, now) = (Heard::default(), Time::wall(host.now));
                    inbound(policy, host, &heard, compiled, &asked, now)?
                } else {
                    on_host(policy, host, compiled, &asked, host.now)?
                };
                trial.note();
                convert::explanation(answer)
            }
            None => return Ok(Exit::Problems),
        },
        None => block_on(async { Ok(client.explain(&request).await?) })?,
    };
    if args.output.json {
        print_json(std::slice::from_ref(&explanation))?;
    } else {
        print(&render(&explanation, Screen::of_stdout()))?;
    }
    Ok(Exit::Fine)
}

/// A policy that need not be in force, compiled for a machine of which little is known.
struct Trial {
    file: String,
    policy: Policy,
    host: Host,
    compiled: Compiled,
}

impl Trial {
    /// Reads and compiles it. If it is refused, prints why to standard error.
    fn read(path: &Path, interface: Option<&str>) -> Result<Option<Self>> {
        let Document { bundle, policy, problems } = document::read(path)?;
        let refused = |problems: &[_]| {
            eprint!("{}", report::render(problems, &|name| text_of(&bundle, name), false));
        };
        if report::has_errors(&problems) {
            refused(&problems);
            return Ok(None);
        }
        let host = host(&policy, interface, Timestamp::now().as_second());
        let compiled = match compile(&policy, &host) {
            Ok(compiled) => compiled,
            Err(problems) => {
                refused(&problems);
                return Ok(None);
            }
        };
        let file = bundle.file;
        Ok(Some(Self { file, policy, host, compiled }))
    }

    /// Prints to standard error what could not be known.
    fn note(&self) {
        eprintln!(
            "note: {} decided on the host, without the daemon: `gateway` and `local` are unknown \
             here and hold no address, and what the gateway sent itself is judged like the rest",
            clean(&self.file)
        );
    }
}

/// A machine with the interfaces that the policy names, or `lan0`, and the requested one; without
/// addresses.
fn host(policy: &Policy, asked: Option<&str>, now: i64) -> Host {
    let declared = policy.interfaces.iter().map(|interface| interface.name.as_str());
    let bound = policy.devices.iter().filter_map(|device| device.interface.as_deref());
    let members = policy.groups.iter().flat_map(|group| &group.members);
    let members = members.filter_map(|member| match &member.selector {
        Selector::Interface(name) => Some(name.as_str()),
        Selector::Device(_)
        | Selector::Mac(_)
        | Selector::MacPrefix(..)
        | Selector::Addresses(_)
        | Selector::Vlan(_) => None,
    });
    let mut names: Vec<&str> = Vec::new();
    for name in declared.chain(bound).chain(members).chain(asked) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        names.push("lan0");
    }
    let interfaces = (1..).zip(names).map(|(index, name)| HostInterface {
        name: name.to_owned(),
        index,
        // No device has this address, so it makes no difference.
        mac: Mac([0; 6]),
        prefixes: Vec::new(),
        ..HostInterface::default()
    });
    Host { interfaces: interfaces.collect(), now, ..Host::default() }
}

fn render(explanation: &Explanation, screen: Screen) -> String {
    let style = match explanation.verdict.as_str() {
        "pass" => GREEN,
        "drop" => RED,
        _ => YELLOW,
    };
    let verdict = screen.paint(style, &clean(&explanation.verdict));
    let mut out = format!("{verdict}: {}\n\n", clean(&explanation.text));
    let mut line = |name: &str, text: &str| {
        out.push_str(&format!("{name:<8} {}\n", clean(text)));
    };
    line("frame", &explanation.frame);
    for assumed in &explanation.assumed {
        line("", assumed);
    }
    if let Some(device) = &explanation.device {
        line("device", device);
    }
    if explanation.verdict != "not-judged" {
        line("group", &format!("{}, {}", explanation.group, explanation.mode));
    }
    line("reason", &explanation.reason);
    if let Some(rule) = &explanation.rule {
        line("rule", &format!("{} {} {} {}", rule.id, rule.action, end(rule), rule.service));
        line("", &format!("at {}", rule.place));
        if let Some(reason) = &rule.reason {
            line("", &format!("because: {reason}"));
        }
        if let Some(owner) = &rule.owner {
            line("", &format!("owner: {owner}"));
        }
        if let Some(until) = &rule.until {
            let left = rule.left.map(|left| format!(" ({} left)", span(left)));
            line("", &format!("until {}{}", time(until), left.unwrap_or_default()));
        }
    }
    let by = match explanation.decided_by.as_str() {
        "kernel" => "the program in the kernel",
        "host" => "the same code, outside the kernel",
        other => other,
    };
    if by != "none" {
        line("decided", &format!("by {by}"));
    }
    for note in &explanation.notes {
        line("note", note);
    }
    if !explanation.near_misses.is_empty() {
        out.push_str("\nrules that nearly matched:\n");
        for miss in &explanation.near_misses {
            let (rule, place, why) = (&miss.rule, &miss.place, &miss.why);
            out.push_str(&format!("  {}\n", clean(&format!("{rule} at {place}"))));
            out.push_str(&format!("    {}\n", clean(why)));
        }
    }
    if let Some(suggestion) = &explanation.suggestion {
        let group = clean(&explanation.group);
        out.push_str(&format!("\nto allow no more than this, add to the rules of {group}:\n"));
        out.push_str(&format!("  {}\n", clean(suggestion)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use enforcer::api::{NearMiss, RuleRow};

    fn explanation() -> Explanation {
        Explanation {
            verdict: "drop".into(),
            reason: "default-drop".into(),
            text: "no rule allows it".into(),
            decided_by: "kernel".into(),
            frame: "10.20.0.12 to 202.114.4.119 tcp/443 on lan0".into(),
            assumed: vec!["source address 10.20.0.12 taken from device bed-12".into()],
            device: Some("bed-12".into()),
            group: "patient-monitors".into(),
            mode: "enforce".into(),
            rule: None,
            near_misses: vec![NearMiss {
                rule: "r-5e6f7a8b".into(),
                place: "policy.toml:12".into(),
                why: "right destination, but it allows tcp/515-520, not tcp/443".into(),
            }],
            suggestion: Some("{ to = \"202.114.4.119\", service = \"tcp/443\" },".into()),
            notes: Vec::new(),
        }
    }

    #[test]
    fn no_rule() {
        let expected = "\
drop: no rule allows it

frame    10.20.0.12 to 202.114.4.119 tcp/443 on lan0
         source address 10.20.0.12 taken from device bed-12
device   bed-12
group    patient-monitors, enforce
reason   default-drop
decided  by the program in the kernel

rules that nearly matched:
  r-5e6f7a8b at policy.toml:12
    right destination, but it allows tcp/515-520, not tcp/443

to allow no more than this, add to the rules of patient-monitors:
  { to = \"202.114.4.119\", service = \"tcp/443\" },
";
        assert_eq!(render(&explanation(), Screen::default()), expected);
    }

    #[test]
    fn a_rule() {
        let explanation = Explanation {
            text: "a deny rule matches".into(),
            reason: "deny".into(),
            decided_by: "host".into(),
            near_misses: Vec::new(),
            suggestion: None,
            notes: vec!["another tool drops it".into()],
            rule: Some(RuleRow {
                id: "r-1a2b3c4d".into(),
                group: "patient-monitors".into(),
                action: "deny".into(),
                to: "202.114.4.0/24".into(),
                service: "any".into(),
                reason: Some("ICSMA-25-030-01".into()),
                owner: None,
                until: None,
                left: None,
                frames: 0,
                bytes: 0,
                place: "policy.toml:14".into(),
                live: false,
            }),
            ..explanation()
        };
        let expected = "\
drop: a deny rule matches

frame    10.20.0.12 to 202.114.4.119 tcp/443 on lan0
         source address 10.20.0.12 taken from device bed-12
device   bed-12
group    patient-monitors, enforce
reason   deny
rule     r-1a2b3c4d deny 202.114.4.0/24 any
         at policy.toml:14
         because: ICSMA-25-030-01
decided  by the same code, outside the kernel
note     another tool drops it
";
        assert_eq!(render(&explanation, Screen::default()), expected);
    }
}
