//! Frames that really arrive: they show whether drivers run the program, which a test run cannot.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::live::Error;
use crate::api::InterfaceStatus;
use crate::control::client::Client;
use crate::doctor::Finding;
use crate::host::Kernel;
use crate::host::neighbours::at_and_above;
use crate::policy::compile::on_link;
use crate::policy::{Host, Policy, Range};

const CHECK: &str = "live-frames";
/// Time for the answers of neighbours: the kernel asks three times, a second apart.
const TIME: Duration = Duration::from_millis(3500);
const PAUSE: Duration = Duration::from_millis(100);

/// Makes neighbours behind each interface answer, and checks whether the program runs for the arriving
/// frames.
pub(super) async fn arrive(
    client: &Client,
    policy: &Policy,
    host: &Host,
) -> Result<Vec<Finding>, Error> {
    let before = client.status().await?.interfaces;
    let kernel = Kernel::open()?;
    let links = kernel.links().await?;
    let received = |links: &[crate::host::Link], index: u32| {
        links.iter().find(|link| link.index == index).map_or(0, |link| link.received)
    };
    for row in before.iter().filter(|row| row.index != 0) {
        let addresses = addresses(policy, host, row.index);
        kernel.ask_neighbours(&at_and_above(row.index, &links), &addresses).await?;
    }
    let end = Instant::now() + TIME;
    loop {
        let now = client.status().await?.interfaces;
        let links_now = kernel.links().await?;
        let rows = before.iter().filter(|row| row.index != 0).map(|row| {
            let after = now.iter().find(|after| after.index == row.index);
            let runs = after.map_or(0, |after| after.runs.wrapping_sub(row.runs));
            let arrived = received(&links_now, row.index);
            (row, runs, arrived.wrapping_sub(received(&links, row.index)))
        });
        let rows: Vec<_> = rows.collect();
        if rows.iter().all(|(_, runs, _)| *runs > 0) || Instant::now() >= end {
            return Ok(rows.into_iter().map(|(row, runs, new)| judge(row, runs, new)).collect());
        }
        sleep(PAUSE).await;
    }
}

/// Addresses of named devices that are on-link at an interface.
fn addresses(policy: &Policy, host: &Host, index: u32) -> Vec<(u32, IpAddr)> {
    let own = host.interfaces.iter().find(|own| own.index == index);
    let near: Vec<Range> = own.into_iter().flat_map(|own| &own.prefixes).map(on_link).collect();
    let single = |range: &Range| match *range {
        Range::V4(first, last) if first == last => Some(IpAddr::V4(first.into())),
        Range::V6(first, last) if first == last => Some(IpAddr::V6(first.into())),
        Range::V4(..) | Range::V6(..) => None,
    };
    let all = policy.devices.iter().flat_map(|device| &device.addresses).filter_map(single);
    let is_near = |address: &IpAddr| near.iter().any(|near| near.contains(*address));
    all.filter(is_near).map(|address| (index, address)).collect()
}

/// Judges the program's runs against the received frames.
fn judge(row: &InterfaceStatus, runs: u64, arrived: u64) -> Finding {
    let finding = match (runs, arrived) {
        (0, 0) => Finding::unknown(
            CHECK,
            "nothing arrived within 3.5 s, so it is not proven that the driver runs the program",
            "have a device behind it send something (switch it on, ping it), and try again",
        ),
        (0, arrived) => Finding::fail(
            CHECK,
            format!("{arrived} frames arrived, and the driver ran the program for none of them"),
            "enforcer status says what the daemon does about it; `xdp = \"generic\"` in enforcer.toml \
             does without the driver",
        ),
        (runs, _) => {
            Finding::ok(CHECK, format!("the driver ran the program for {runs} frames that arrived"))
        }
    };
    finding.on(&row.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;
    use crate::policy::{HostInterface, Mac, read};

    #[test]
    fn what_arrives_and_is_not_judged_is_a_failure() {
        let row = InterfaceStatus {
            name: "lan0".into(),
            index: 3,
            mode: "native".into(),
            enforcing: true,
            backstop: "armed".into(),
            proof: "idle".into(),
            received: 0,
            runs: 0,
            transmit: None,
            note: None,
        };
        for (runs, arrived, state) in
            [(0, 0, State::Unknown), (0, 2, State::Fail), (2, 2, State::Ok), (2, 0, State::Ok)]
        {
            assert_eq!(judge(&row, runs, arrived).state, state, "{runs} of {arrived}");
        }
    }

    #[test]
    fn devices_are_asked_where_they_are_near() {
        let text = "schema = 1\n[devices.a]\nip = [\"10.20.0.12\", \"2001:db8:20::5\"]\n\
                    [devices.b]\nip = [\"10.21.0.12\", \"10.20.0.0/28\"]\n";
        let (policy, _) = read("p", text, &mut |_| unreachable!());
        let interface = HostInterface {
            name: "lan0".into(),
            index: 3,
            mac: Mac([2, 0, 0, 0, 0, 9]),
            prefixes: vec![
                ("10.20.0.1".parse().unwrap(), 24),
                ("2001:db8:20::1".parse().unwrap(), 64),
            ],
            ..HostInterface::default()
        };
        let host = Host { interfaces: vec![interface], ..Host::default() };
        let near = ["10.20.0.12", "2001:db8:20::5"].map(|near| (3, near.parse().unwrap()));
        assert_eq!(addresses(&policy, &host, 3), near);
        assert!(addresses(&policy, &host, 4).is_empty());
    }
}
