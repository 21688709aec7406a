//! The daemon, the program and the backstop.

use super::super::Finding;
use super::super::facts::Facts;
use super::{Attached, attached, unknown};
use crate::api::Status;
use crate::backstop::table::Family;
use crate::backstop::{self, Error};
use crate::config::Backstop;
use crate::dataplane::Error as Refused;
use crate::fault::Fault as _;
use crate::host::Link;

/// The command that installs the tables.
const INSTALL: &str = "enforcer backstop install, at boot before network-pre.target";

pub(super) fn machine(facts: &Facts) -> Vec<Finding> {
    vec![daemon(facts), tables(facts)]
}

pub(super) fn interface(facts: &Facts, link: &Link) -> Vec<Finding> {
    [program(facts, link), transmit(facts, link), state(facts, link)]
        .into_iter()
        .flatten()
        .collect()
}

/// Whether what is sent to devices is judged, if the policy in force has rules for that.
fn transmit(facts: &Facts, link: &Link) -> Option<Finding> {
    const CHECK: &str = "transmit";
    let status = facts.enforcement.daemon.as_ref().ok()?.as_ref()?;
    let row = status.interfaces.iter().find(|row| row.index == link.index)?;
    Some(match row.transmit.as_deref()? {
        "attached" => Finding::ok(CHECK, "what is sent to devices is judged, as the kernel says"),
        _ => Finding::fail(
            CHECK,
            "no program on the transmit side: answers do not pass, and nothing sent to devices is \
             refused",
            "the daemon's log says why; before Linux 6.6 the kernel needs CONFIG_NET_CLS_BPF",
        ),
    })
}

fn daemon(facts: &Facts) -> Finding {
    const CHECK: &str = "daemon";
    let status = match (&facts.enforcement.daemon, &facts.enforcement.pinned) {
        (Ok(Some(status)), _) => status,
        (Err(unseen), _) | (Ok(None), Err(unseen)) => return unknown(CHECK, unseen),
        (Ok(None), Ok(None)) => {
            return Finding::warning(
                CHECK,
                "no daemon runs, and nothing is enforced",
                "enforcer run",
            );
        }
        (Ok(None), Ok(Some(pinned))) if pinned.active => {
            let text = "no daemon runs: the kernel keeps enforcing, but without events and repairs";
            return Finding::warning(CHECK, text, "enforcer run");
        }
        (Ok(None), Ok(Some(_))) => {
            let text =
                "no daemon runs, and no policy is in force: protected interfaces drop everything";
            return Finding::fail(CHECK, text, "enforcer run, or enforcer detach");
        }
    };
    let Status { version, pid, policy, warnings, .. } = status;
    let look = "enforcer status";
    if !status.enforcing {
        return Finding::fail(CHECK, "it runs, but one of its interfaces is not protected", look);
    }
    let text = format!("{version}, pid {pid}: enforces revision {}", policy.revision);
    match warnings.as_slice() {
        [] => Finding::ok(CHECK, text),
        [warning, ..] => Finding::warning(CHECK, format!("{text}, and warns: {warning}"), look),
    }
}

/// Whose program is attached.
fn program(facts: &Facts, link: &Link) -> Option<Finding> {
    const CHECK: &str = "program";
    Some(match attached(facts, link) {
        Attached::None => {
            // Without a daemon this is expected, and reported once.
            facts.enforcement.daemon.as_ref().ok()?.as_ref()?;
            let text = "none is attached: nothing is enforced here";
            Finding::fail(
                CHECK,
                text,
                "enforcer status; is it among `interfaces` in enforcer.toml?",
            )
        }
        Attached::Ours => Finding::ok(CHECK, "enforcer's is attached, as the kernel says"),
        Attached::Other(id) => {
            let interface = link.name.clone();
            let error = Refused::Busy { interface, id: Some(id), native: link.attached.native };
            Finding::fail(CHECK, error.to_string(), error.hint().unwrap_or_default())
        }
        Attached::Unknown(id) => {
            Finding::unknown(CHECK, format!("whose program {id} is"), "run it as root")
        }
    })
}

fn tables(facts: &Facts) -> Finding {
    const CHECK: &str = "backstop";
    let tables = match &facts.enforcement.tables {
        Ok(tables) => tables,
        Err(unseen) => return unknown(CHECK, unseen),
    };
    let missing: Vec<&str> =
        Family::ALL.iter().filter(|f| !tables.contains_key(f)).map(|f| f.name()).collect();
    match (missing.as_slice(), facts.enforcement.backstop) {
        ([], Backstop::Off) => Finding::warning(
            CHECK,
            "installed, and the settings leave it alone: nothing opens it",
            "backstop = \"auto\" in enforcer.toml, or enforcer backstop remove",
        ),
        ([], _) => Finding::ok(CHECK, "both tables are installed"),
        ([_, _], Backstop::Required) => Finding::fail(CHECK, Error::Absent.to_string(), INSTALL),
        ([_, _], Backstop::Off) => Finding::warning(
            CHECK,
            "off by the settings: between boot and the daemon's start everything is forwarded",
            "backstop = \"auto\" in enforcer.toml, and enforcer backstop install",
        ),
        ([_, _], Backstop::Auto) => Finding::warning(
            CHECK,
            "not installed: between boot and the daemon's start everything is forwarded",
            INSTALL,
        ),
        (missing, _) => {
            let text = format!("the table `{} enforcer` is missing", missing.join(", "));
            Finding::fail(CHECK, text, "enforcer backstop install")
        }
    }
}

/// What the tables do with traffic from an interface.
fn state(facts: &Facts, link: &Link) -> Option<Finding> {
    const CHECK: &str = "backstop";
    let tables = facts.enforcement.tables.as_ref().ok().filter(|tables| !tables.is_empty())?;
    let state = backstop::state(tables, &link.name, link.index, &facts.network.links);
    let attached = attached(facts, link);
    Some(match (state, attached) {
        (_, Attached::Unknown(_)) => return None,
        ("armed", Attached::Ours) => Finding::ok(CHECK, "armed: lets through what XDP passed"),
        ("armed", _) => Finding::fail(
            CHECK,
            "armed, but arriving frames are not judged: they are forwarded",
            "enforcer backstop install shuts it while no daemon runs",
        ),
        ("shut", Attached::Ours) => Finding::fail(
            CHECK,
            "shut although it is protected: nothing from here is forwarded",
            "enforcer run arms it; if it runs, its log says why not",
        ),
        ("shut", _) => Finding::ok(CHECK, "shut until the daemon arms it"),
        _ => Finding::warning(CHECK, "its tables do not cover this one", INSTALL),
    })
}
