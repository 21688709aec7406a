//! `enforcer rules`: one line for each rule, with its counter.

use enforcer::api::Exit;
use enforcer::api::RuleRow;
use enforcer::control::client::Client;
use enforcer::policy::live::span;

use super::text::{head, number, table, time};
use super::{Result, Screen, block_on, print, print_json};

pub(super) fn run(client: &Client, json: bool) -> Result<Exit> {
    let rows = block_on(async { Ok(client.rules().await?) })?;
    if json {
        print_json(&rows)?;
    } else {
        print(&render(&rows, Screen::of_stdout().width))?;
    }
    Ok(Exit::Fine)
}

fn render(rules: &[RuleRow], width: Option<usize>) -> String {
    if rules.is_empty() {
        return "the policy in force has no rules\n".to_owned();
    }
    let mut rows = vec![head(&["RULE", "GROUP", "", "TO", "SERVICE", "FRAMES", "WHY"])];
    for rule in rules {
        let why = match (rule.left, rule.until.as_deref()) {
            (Some(left), _) => Some(format!("{} left", span(left))),
            (None, until) => until.map(|until| format!("until {}", time(until))),
        };
        let why = why.into_iter().chain(rule.reason.clone()).collect::<Vec<_>>().join(", ");
        rows.push(vec![
            rule.id.clone(),
            rule.group.clone(),
            rule.action.clone(),
            end(rule),
            rule.service.clone(),
            number(rule.frames),
            why,
        ]);
    }
    table(&rows, &[5], &[6, 1, 4, 3], width)
}

/// The remote end; of an accept or refuse rule it is the one that sends to the device.
pub(super) fn end(rule: &RuleRow) -> String {
    if rule.action == "accept" || rule.action == "refuse" {
        format!("from {}", rule.to)
    } else {
        rule.to.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighty_columns() {
        let allow = RuleRow {
            id: "r-5e6f7a8b".into(),
            group: "patient-monitors".into(),
            action: "allow".into(),
            to: "@update-servers".into(),
            service: "tcp/443".into(),
            reason: Some("CHG-4711".into()),
            owner: Some("biomed".into()),
            until: Some("2027-01-31T00:00:00Z".into()),
            left: None,
            frames: 0,
            bytes: 0,
            place: "policy.toml:12".into(),
            live: false,
        };
        let deny = RuleRow {
            id: "r-1a2b3c4d".into(),
            action: "deny".into(),
            to: "202.114.4.0/24".into(),
            service: "any".into(),
            reason: Some("ICSMA-25-030-01".into()),
            until: None,
            frames: 12_345,
            ..allow.clone()
        };
        let accept = RuleRow { action: "accept".into(), ..allow.clone() };
        assert_eq!(end(&accept), "from @update-servers");
        let expected = "\
RULE        GROUP              TO               SERVICE  FRAMES  WHY
r-5e6f7a8b  patient-m…  allow  @update-servers  tcp/443       0  until 2…
r-1a2b3c4d  patient-m…  deny   202.114.4.0/24   any      12,345  ICSMA-2…
";
        assert_eq!(render(&[allow.clone(), deny], Some(73)), expected);
        let whole = render(&[allow], None);
        assert!(whole.ends_with("  until 2027-01-31 00:00:00, CHG-4711\n"), "{whole}");
    }
}
