//! A policy that changes under an established connection.
use super::policy;
use crate::harness::{
    Daemon, Lab,
    programs::{self, Files, Server},
    topology::{CENTRAL, HOSTILE, UPDATES},
    wait_until,
};

const BEDS: &str = "\"10.20.0.0/24\"";

#[test]
fn a_transfer_loses_no_byte_while_policies_change() {
    let lab = Lab::gateway("live");
    let files = Files::start(&lab.internet, 80, 8);
    let _central = Server::start(&lab.central, "central", &[8000], &[]);
    let text = policy(BEDS);
    let daemon = Daemon::start(&lab.gw, &["lan0"], &text);
    assert!(!programs::connects(&lab.dev1, CENTRAL, 8000));
    let fetch = files.fetch_slowly(&lab.dev1, UPDATES);
    fetch.wait_for(100_000);

    let more = format!("allow = [\n  {{ to = \"{CENTRAL}\", service = \"tcp/8000\" }},");
    let applied = daemon.apply(&text.replace("allow = [", &more));
    assert!(applied.success(), "{applied:?}");
    assert!(
        applied.stdout.contains(&format!("+ allow beds: tcp/8000 to {CENTRAL}")),
        "{applied:?}"
    );
    assert!(programs::connects(&lab.dev1, CENTRAL, 8000));
    // The rules that stay keep their counters.
    let kept = daemon.rule_frames(UPDATES);
    assert!(kept > 1, "{kept}");
    let mut rounds = 0;
    while fetch.bytes() < files.content().len() as u64 / 4 * 3 {
        assert!(daemon.apply(&text).success());
        assert!(daemon.apply(&text.replace("allow = [", &more)).success());
        rounds += 1;
    }
    assert!(rounds > 0, "the transfer was over too soon");
    let (ended, content) = fetch.finish();
    assert!(ended.success(), "{ended:?}");
    assert!(content == files.content(), "{} bytes", content.len());
    assert!(daemon.rule_frames(UPDATES) > kept);
    assert_eq!(daemon.status()["policy"]["revision"], 2 + 2 * rounds);
}

#[test]
fn an_established_connection_is_cut_at_once() {
    let lab = Lab::gateway("cut");
    let server = Server::start(&lab.internet, "x", &[515], &[]);
    let allowed = policy(BEDS).replace("deny = ", "# deny = ").replace("tcp/80\"", "tcp\"");
    let allowed = allowed.replace(UPDATES, HOSTILE);
    let daemon = Daemon::start(&lab.gw, &["lan0"], &allowed);
    // A line every few milliseconds for as long as the connection works.
    let script = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done";
    let script = format!("{{ {script}; }} | nc -n {HOSTILE} 515");
    let mut sender = lab.dev1.spawn("sh", &["-c", &script]);
    let data = || server.calls().iter().filter(|call| call.starts_with("data tcp 515")).count();
    wait_until("data flows", || (data() > 10).then_some(()));

    let applied = daemon.apply(&policy(BEDS));
    assert!(applied.success(), "{applied:?}");
    // Segments that already passed the gateway may still arrive.
    programs::settle();
    let (arrived, denied) = (data(), daemon.reason("deny", "frames"));
    wait_until("retransmissions are denied", || {
        (daemon.reason("deny", "frames") > denied + 1).then_some(())
    });
    assert_eq!(data(), arrived);
    assert!(sender.is_running(), "the connection stalls, it does not end");
    assert!(!programs::connects(&lab.dev1, HOSTILE, 515));
    assert_eq!(data(), arrived);
}
