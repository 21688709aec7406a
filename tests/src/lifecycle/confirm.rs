//! Policies that return unless they are confirmed, and earlier revisions.
use std::time::Duration;

use super::{POLICY, wider};
use crate::harness::{
    Daemon, Lab,
    programs::{self, Server},
    topology::{HOSTILE, UPDATES},
    wait::pause,
    wait_until,
};

const SHUT: &str = "schema = 1\n[groups.beds]\nmembers = [\"00:1b:44/24\"]\n";

#[test]
fn an_unconfirmed_policy_goes_and_a_confirmed_one_stays() {
    let lab = Lab::gateway("confirm");
    let _server = Server::start(&lab.internet, "x", &[80, 515], &[]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let old = || programs::connects(&lab.dev1, UPDATES, 80);
    let new = || programs::connects(&lab.dev1, HOSTILE, 515);
    let apply = |daemon: &Daemon<'_>, text: &str, time: &str| {
        let path = daemon.write("policy.toml", text).display().to_string();
        let applied = daemon.cli(&["apply", "--confirm", time, &path]);
        assert!(applied.success(), "{applied:?}");
        assert!(applied.stdout.contains("unless `enforcer confirm` comes first"), "{applied:?}");
    };

    apply(&daemon, SHUT, "3s");
    assert!(!old(), "it is in force at once");
    let status = daemon.status();
    assert_eq!(status["policy"]["revision"], 2);
    assert!(status["confirm_until"].is_string(), "{status}");
    // No other policy is accepted while it waits.
    let other = daemon.write("other.toml", &wider()).display().to_string();
    for words in [["apply", &other].as_slice(), &["rollback", "1"]] {
        let refused = daemon.cli(words);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("waits to be confirmed"), "{refused:?}");
    }
    wait_until("the policy before returns", || old().then_some(()));
    let status = daemon.status();
    assert_eq!(status["policy"]["revision"], 1);
    assert!(
        status["confirm_until"].is_null() && status["warnings"].to_string().contains("in time")
    );
    let late = daemon.cli(&["confirm"]);
    assert_eq!(late.code, Some(1), "{late:?}");
    assert!(late.stderr.contains("nothing waits to be confirmed"), "{late:?}");
    // Its file is still where the daemon reads it at start, but it does not return.
    daemon.restart();
    assert!(old());
    assert!(daemon.status()["warnings"].to_string().contains("not confirmed"), "{}", daemon.log());

    apply(&daemon, SHUT, "60s");
    let taken = daemon.cli(&["rollback"]);
    assert!(taken.success() && taken.stdout.contains("revision 1 is in force again"), "{taken:?}");
    assert!(old());

    apply(&daemon, &wider(), "4s");
    let kept = daemon.cli(&["confirm"]);
    assert!(kept.success(), "{kept:?}");
    assert!(old() && new());
    pause(Duration::from_secs(5));
    assert!(old() && new(), "the deadline is disarmed");
    daemon.restart();
    assert!(old() && new());
    assert_eq!(daemon.status()["policy"]["revision"], 2);
    let trail = daemon.cli(&["audit", "show", "--config", &config(&daemon)]).stdout;
    for word in ["apply", "returned", "rollback", "confirm"] {
        assert!(trail.contains(word), "{word}: {trail}");
    }
}

fn config(daemon: &Daemon<'_>) -> String {
    daemon.path("enforcer.toml").display().to_string()
}

#[test]
fn a_restart_takes_back_what_was_not_confirmed() {
    let lab = Lab::gateway("unconfirmed");
    let _server = Server::start(&lab.internet, "x", &[80], &[]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let reach = || programs::connects(&lab.dev1, UPDATES, 80);
    let path = daemon.write("policy.toml", SHUT).display().to_string();
    assert!(daemon.cli(&["apply", "--confirm", "60s", &path]).success());
    assert!(!reach());
    daemon.kill9();
    assert!(!reach(), "the kernel waits for its deadline");
    daemon.run();
    assert!(reach());
    let status = daemon.status();
    assert_eq!(status["policy"]["revision"], 1);
    let warnings = status["warnings"].to_string();
    assert!(
        warnings.contains("revision 2 was not confirmed before the daemon ended"),
        "{warnings}"
    );
    daemon.restart();
    assert!(reach(), "nor does it come back later");
}

#[test]
fn an_earlier_revision_comes_back() {
    let lab = Lab::gateway("rollback");
    let _server = Server::start(&lab.internet, "x", &[80, 515], &[]);
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let old = || programs::connects(&lab.dev1, UPDATES, 80);
    let new = || programs::connects(&lab.dev1, HOSTILE, 515);
    let none = daemon.cli(&["rollback"]);
    assert_eq!(none.code, Some(1), "{none:?}");
    assert!(daemon.apply(&wider()).success());
    assert!(daemon.apply(SHUT).success());
    assert!(!old() && !new());
    let back = daemon.cli(&["rollback"]);
    assert!(back.stdout.contains("revision 4 is in force: the policy of revision 2"), "{back:?}");
    assert!(old() && new());
    daemon.restart();
    assert!(old() && new(), "the file that was rolled back does not come back");
    assert!(daemon.status()["warnings"].to_string().contains("rolled back"));
    let first = daemon.cli(&["rollback", "1"]);
    assert!(first.success(), "{first:?}");
    assert!(old() && !new());
    for revision in ["5", "77"] {
        let refused = daemon.cli(&["rollback", revision]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
    }
    let history = daemon.cli(&["history"]).stdout;
    assert!(history.contains("rolled back to revision 1"), "{history}");
    // An explicit apply works.
    assert!(daemon.apply(SHUT).success());
    assert!(!old());
    daemon.restart();
    assert!(!old());
}
