//! The latency of a request through a gateway: sockperf's ping-pong over TCP, one request at a
//! time.
use std::time::Duration;

use tests::harness::{
    Finished, Lab, Process,
    topology::{DEV1_MAC, UPDATES},
    wait_until,
};

use super::policy::Policy;
use crate::{measure::Spread, report::Report};

/// Times that each gateway is measured, in turn.
const ROUNDS: usize = 7;
/// Seconds of each.
const SECONDS: &str = "2";
/// Printed percentiles, as in sockperf's output.
const PERCENTILES: [&str; 4] = ["50.000", "90.000", "99.000", "99.900"];

/// Measures three gateways and prints.
pub(super) fn run(report: &mut Report) {
    let names = ["no enforcement", "enforcer", "nftables, netdev ingress"];
    let labs = ["none", "enf", "nft"].map(|name| Lab::gateway(&format!("wire-{name}")));
    let address: std::net::Ipv4Addr = UPDATES.parse().expect("it is an address");
    let policy = Policy::with(DEV1_MAC, address.to_bits());
    let _daemon = policy.enforcer(&labs[1].gw);
    policy.nftables(&labs[2].gw);
    let _servers = labs.each_ref().map(server);
    let mut found = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (lab, found) in labs.iter().zip(&mut found) {
            found.push(percentiles(&ask(lab, SECONDS)));
        }
    }
    let rows: Vec<_> = names.iter().zip(&found).map(|(name, found)| row(name, found)).collect();
    let header = ["µs, there and back", "50 %", "90 %", "99 %", "99.9 %"];
    let title = format!(
        "A request through the gateway (TCP, one at a time; median of {ROUNDS} rounds of {SECONDS} s, \
         least to most)"
    );
    report.table(&title, &header, &rows);
}

/// A server that answers.
fn server(lab: &Lab) -> Process {
    let server = lab.internet.spawn("sockperf", &["server", "--tcp", "-i", UPDATES, "-p", "443"]);
    wait_until("sockperf answers", || ask(lab, "1").success().then_some(()));
    server
}

/// Sends requests for this many seconds.
fn ask(lab: &Lab, seconds: &str) -> Finished {
    let words = ["ping-pong", "--tcp", "-i", UPDATES, "-p", "443", "--full-rtt", "-t", seconds];
    lab.dev1.run("sockperf", &words, Duration::from_secs(20))
}

/// Microseconds of the percentiles.
fn percentiles(ended: &Finished) -> [f64; 4] {
    assert!(ended.success(), "sockperf: {} {}", ended.stdout, ended.stderr);
    PERCENTILES.map(|percentile| {
        let lines = ended.stdout.lines().filter(|line| line.contains("percentile"));
        let figure = lines.filter_map(|line| line.split_once(percentile)?.1.split_once('='));
        let mut figure = figure.map(|(_, figure)| figure.trim().parse().expect("a number"));
        figure.next().unwrap_or_else(|| panic!("no {percentile} %: {}", ended.stdout))
    })
}

fn row(name: &str, found: &[[f64; 4]]) -> Vec<String> {
    let cell = |column: usize| {
        let Spread { median, least, most, .. } =
            Spread::of(found.iter().map(|round| round[column]).collect());
        format!("{median:.1} ({least:.1}–{most:.1})")
    };
    [name.to_owned()].into_iter().chain((0..PERCENTILES.len()).map(cell)).collect()
}
