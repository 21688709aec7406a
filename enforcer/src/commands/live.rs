//! `enforcer allow`, `deny`, `mode` and `revoke`: changes on top of the policy file.

use enforcer::api::Exit;
use enforcer::api::{Endpoint, LiveAction, LiveChange, LiveReport, LiveRequest, Mode};
use enforcer::control::client::Client;
use enforcer::convert;
use enforcer::policy::live::span;

use super::text::{clean, seconds};
use super::{Result, Screen, YELLOW, block_on, print, print_json, session};
use crate::cli::{self, GroupMode, Terms};

pub(super) fn allow(client: &Client, args: &cli::Live) -> Result<Exit> {
    make(client, &args.target, LiveAction::Allow(endpoint(args)), &args.terms, args.output.json)
}

pub(super) fn deny(client: &Client, args: &cli::Live) -> Result<Exit> {
    make(client, &args.target, LiveAction::Deny(endpoint(args)), &args.terms, args.output.json)
}

pub(super) fn accept(client: &Client, args: &cli::Inbound) -> Result<Exit> {
    let end = Endpoint { to: args.from.clone(), service: args.service.clone() };
    make(client, &args.target, LiveAction::Accept(end), &args.terms, args.output.json)
}

pub(super) fn refuse(client: &Client, args: &cli::Inbound) -> Result<Exit> {
    let end = Endpoint { to: args.from.clone(), service: args.service.clone() };
    make(client, &args.target, LiveAction::Refuse(end), &args.terms, args.output.json)
}

pub(super) fn mode(client: &Client, args: &cli::Mode) -> Result<Exit> {
    let mode = match args.mode {
        GroupMode::Enforce => Mode::Enforce,
        GroupMode::Observe => Mode::Observe,
        GroupMode::Quarantine => Mode::Quarantine,
    };
    make(client, &args.group, LiveAction::Mode { mode }, &args.terms, args.output.json)
}

pub(super) fn revoke(client: &Client, id: &str, force: bool, json: bool) -> Result<Exit> {
    let guard = session::guard(force);
    show(&block_on(async { Ok(client.revoke(id, &guard).await?) })?, "revoked", json)
}

fn endpoint(args: &cli::Live) -> Endpoint {
    Endpoint { to: args.to.clone(), service: args.service.clone() }
}

fn make(
    client: &Client,
    target: &str,
    action: LiveAction,
    terms: &Terms,
    json: bool,
) -> Result<Exit> {
    let change = LiveChange {
        reason: terms.reason.clone(),
        owner: terms.owner.clone(),
        until: terms.end(),
        lasts: terms.lasts(),
        ..LiveChange::new(target, action)
    };
    let request = LiveRequest { change, guard: session::guard(terms.force) };
    show(&block_on(async { Ok(client.change(&request).await?) })?, "in force", json)
}

fn show(report: &LiveReport, done: &str, json: bool) -> Result<Exit> {
    if json {
        print_json(std::slice::from_ref(report))?;
    } else {
        print(&render(report, done, Screen::of_stdout()))?;
    }
    Ok(Exit::Fine)
}

fn render(report: &LiveReport, done: &str, screen: Screen) -> String {
    let change = &report.change;
    let mut line = format!("{}  {}", change.id, clean(&convert::words(change)));
    if let Some(lasts) = change.lasts {
        line.push_str(&format!(" for {}", span(lasts)));
    }
    if let Some(until) = change.until {
        line.push_str(&format!(" until {}", seconds(until)));
    }
    if let Some(reason) = &change.reason {
        line.push_str(&format!(" ({})", clean(reason)));
    }
    line.push_str(&format!("\n{done} after {:.1} ms\n", report.milliseconds));
    for note in &report.notes {
        line.push_str(&format!("{}: {}\n", screen.paint(YELLOW, "note"), clean(note)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done() {
        let action =
            LiveAction::Allow(Endpoint { to: "192.0.2.7".into(), service: "tcp/443".into() });
        let change = LiveChange {
            id: "l-1a2b3c4d".into(),
            reason: Some("CHG-4711".into()),
            by: "uid 0".into(),
            ..LiveChange::new("bed-12", action)
        };
        let notes = vec!["deny rule r-1 still wins".into()];
        let report = LiveReport { change, generation: 3, notes, milliseconds: 1.26 };
        let expected = "\
l-1a2b3c4d  allow bed-12: tcp/443 to 192.0.2.7 (CHG-4711)
in force after 1.3 ms
note: deny rule r-1 still wins
";
        assert_eq!(render(&report, "in force", Screen::default()), expected);
    }
}
