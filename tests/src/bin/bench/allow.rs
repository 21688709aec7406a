//! The cost of a live `allow`: of the command, and up to the first connection through it.
use std::time::Instant;

use tests::harness::{
    Daemon, Lab,
    programs::{self, Server},
    topology::UPDATES,
};

use crate::{
    MILLION, feed,
    measure::{Spread, enforcer, timed},
    report::{Bound, Report},
};

/// Times that the change is made and revoked.
const ROUNDS: usize = 51;
/// Devices that may go to the prefixes of a file, by one service.
pub(crate) const POLICY: &str = "schema = 1\n[sets]\nfeed = { file = \"feed.txt\" }\n[groups.beds]\n\
     members = [\"00:1b:44/24\"]\nallow = [{ to = \"@feed\", service = \"tcp/443\" }]\n";

/// Measures under a million prefixes.
pub(crate) fn run(report: &mut Report) {
    let lab = Lab::gateway("bench-allow");
    let _server = Server::start(&lab.internet, "x", &[80, 81], &[]);
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    daemon.write("feed.txt", &feed::file(&feed::prefixes(MILLION, 1)));
    daemon.run();
    let (mut commands, mut wholes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        assert!(!programs::connects(&lab.dev1, UPDATES, 81), "the rule is not there yet");
        let begun = Instant::now();
        let command = change(&lab, &daemon, || {
            assert!(programs::connects(&lab.dev1, UPDATES, 81), "it is in force on return");
            wholes.push(begun.elapsed().as_secs_f64() * 1e3);
        });
        commands.push(command);
    }
    let (command, whole) = (Spread::of(commands), Spread::of(wholes));
    let rows = [
        [vec!["the command, its start and end included".to_owned()], command.cells()].concat(),
        [vec!["to the first connection, nc's start included".to_owned()], whole.cells()].concat(),
    ];
    let title = format!("A live `allow` under {MILLION} prefixes, {ROUNDS} rounds");
    report.table(&title, &["ms", "median", "least", "90 %", "most"], &rows);
    let what = "`allow` in force, under 1,000,000 prefixes";
    report.target(what, command.median, Bound::AtMost(20.0), " ms");
}

/// Runs `enforcer allow`, the given work, and `revoke`; returns the milliseconds of the first one.
pub(crate) fn change(lab: &Lab, daemon: &Daemon<'_>, under: impl FnOnce()) -> f64 {
    let (time, stdout) =
        timed(&mut enforcer(lab, daemon, &["allow", "beds", UPDATES, "tcp/81", "--json"]));
    under();
    let answer: serde_json::Value = serde_json::from_str(&stdout).expect("a line of JSON");
    let id = answer["change"]["id"].as_str().expect("an id").to_owned();
    daemon.json(&["revoke", &id]);
    time
}
