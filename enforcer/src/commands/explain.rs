//! `enforcer explain`: the verdict first, then why, then what nearly decided.

use anyhow::Result;
use enforcer::api::{ExplainRequest, Explanation};
use enforcer::control::client::Client;
use enforcer::exit::Exit;

use super::text::{clean, time};
use super::{GREEN, RED, Screen, YELLOW, block_on, print, print_json};
use crate::cli::Explain;

pub(super) fn run(client: &Client, args: &Explain) -> Result<Exit> {
    let request = ExplainRequest {
        from: args.from.clone(),
        to: args.to.clone(),
        proto: args.proto.clone(),
        interface: args.interface.clone(),
        vlan: args.vlan,
    };
    let explanation = block_on(async { Ok(client.explain(&request).await?) })?;
    if args.output.json {
        print_json(std::slice::from_ref(&explanation))?;
    } else {
        print(&render(&explanation, Screen::of_stdout()))?;
    }
    Ok(Exit::Fine)
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
    if let Some(device) = &explanation.device {
        line("device", device);
    }
    line("group", &format!("{}, {}", explanation.group, explanation.mode));
    line("reason", &explanation.reason);
    if let Some(rule) = &explanation.rule {
        line("rule", &format!("{} {} {} {}", rule.id, rule.action, rule.to, rule.service));
        line("", &format!("at {}", rule.place));
        if let Some(reason) = &rule.reason {
            line("", &format!("because: {reason}"));
        }
        if let Some(owner) = &rule.owner {
            line("", &format!("owner: {owner}"));
        }
        if let Some(until) = &rule.until {
            line("", &format!("until {}", time(until)));
        }
    }
    let by = match explanation.decided_by.as_str() {
        "kernel" => "the program in the kernel",
        "host" => "the same code, outside the kernel",
        other => other,
    };
    line("decided", &format!("by {by}"));
    if !explanation.near_misses.is_empty() {
        out.push_str("\nrules that nearly matched:\n");
        for miss in &explanation.near_misses {
            let (rule, place, why) = (&miss.rule, &miss.place, &miss.why);
            out.push_str(&format!("  {}\n", clean(&format!("{rule} at {place}"))));
            out.push_str(&format!("    {}\n", clean(why)));
        }
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
            reason: "default".into(),
            text: "no rule allows it".into(),
            decided_by: "kernel".into(),
            frame: "10.20.0.12 to 202.114.4.119 tcp/443 on lan0".into(),
            device: Some("bed-12".into()),
            group: "patient-monitors".into(),
            mode: "enforce".into(),
            rule: None,
            near_misses: vec![NearMiss {
                rule: "r-5e6f7a8b".into(),
                place: "policy.toml:12".into(),
                why: "allows tcp/443 to @update-servers, which does not hold the address".into(),
            }],
        }
    }

    #[test]
    fn no_rule() {
        let expected = "\
drop: no rule allows it

frame    10.20.0.12 to 202.114.4.119 tcp/443 on lan0
device   bed-12
group    patient-monitors, enforce
reason   default
decided  by the program in the kernel

rules that nearly matched:
  r-5e6f7a8b at policy.toml:12
    allows tcp/443 to @update-servers, which does not hold the address
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
            rule: Some(RuleRow {
                id: "r-1a2b3c4d".into(),
                group: "patient-monitors".into(),
                action: "deny".into(),
                to: "202.114.4.0/24".into(),
                service: "any".into(),
                reason: Some("ICSMA-25-030-01".into()),
                owner: None,
                until: None,
                frames: 0,
                bytes: 0,
                place: "policy.toml:14".into(),
            }),
            ..explanation()
        };
        let expected = "\
drop: a deny rule matches

frame    10.20.0.12 to 202.114.4.119 tcp/443 on lan0
device   bed-12
group    patient-monitors, enforce
reason   deny
rule     r-1a2b3c4d deny 202.114.4.0/24 any
         at policy.toml:14
         because: ICSMA-25-030-01
decided  by the same code, outside the kernel
";
        assert_eq!(render(&explanation, Screen::default()), expected);
    }
}
