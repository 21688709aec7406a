//! Sessions of real programs, through everything that happens to a gateway.

use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use enforcer_common::abi::map;
use enforcer_common::decide::answers::Size;
use enforcer_testkit::frames::{Ethernet, Tcp, V4, ether_type};

use super::POLICY;
use crate::harness::frames::Sender;
use crate::harness::programs::{self, Files, Server};
use crate::harness::topology::{CENTRAL, DEV1, DEV1_V6};
use crate::harness::{Daemon, Lab, lacking, number, skip, wait_until};

fn policy() -> String {
    POLICY.replace("\"tcp/22\"", "\"tcp/80\", \"tcp/104\"")
}

/// Forgets every flow, as a gateway does that was started again.
fn wipe(daemon: &Daemon<'_>) {
    let table = MapData::from_pin(daemon.pin(map::ANSWERS)).expect("it is pinned");
    let table = Map::from_map_data(table).expect("it is an array");
    let mut table: Array<_, [u64; 8]> = table.try_into().expect("it is an array of lines");
    for line in 0..Size::USUAL.lines() {
        if table.get(&line, 0).expect("a line") != [0; 8] {
            table.set(line, [0; 8], 0).expect("a line");
        }
    }
}

#[test]
fn sessions_outlive_policies_daemons_and_the_table() {
    let lab = Lab::gateway("sessions");
    let text = policy();
    let other = text.replace("udp/161", "udp/162");
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], &text);
    let files = Files::start(&lab.dev1, 80, 12);
    let _device = Server::start(&lab.dev1, "device", &[104], &[]);
    // Only the device sends; the workstation asks each second whether it is still there.
    let fetch = files.fetch_slowly_by(&lab.central, DEV1, &["--keepalive-time", "1"]);
    fetch.wait_for(100_000);
    let goes_on = |what: &str| {
        let before = fetch.bytes();
        // On an emulated machine it may be over by now.
        let all = files.content().len() as u64;
        wait_until(what, || (fetch.bytes() >= all.min(before + 50_000)).then_some(()));
        assert!(programs::connects(&lab.central, DEV1, 104), "{what}");
        assert!(programs::ping(&lab.central, DEV1), "{what}");
    };
    for _ in 0..10 {
        assert!(daemon.apply(&other).success());
        assert!(daemon.apply(&text).success());
    }
    goes_on("policies came and went");
    daemon.kill9();
    goes_on("the daemon is gone");
    daemon.run();
    goes_on("there is another one");
    wipe(&daemon);
    goes_on("the table was empty");
    let (ended, content) = fetch.finish();
    assert!(ended.success() && content == files.content(), "{ended:?}, {} bytes", content.len());
}

/// Segments of the flood.
const FLOOD: u32 = 1_000_000;

#[test]
fn a_flood_on_an_accepted_port_costs_an_open_session_nothing() {
    let lab = Lab::gateway("synflood");
    let daemon = Daemon::start(&lab.gw, &["lan0"], &policy());
    let files = Files::start(&lab.dev1, 80, 4);
    let fetch = files.fetch_slowly(&lab.central, DEV1);
    fetch.wait_for(100_000);
    let tail = daemon.tail(&[]);
    let syn = |(peer, port): (u32, u16)| {
        let segment = Tcp { source: port, ..Tcp::new(104) }.segment(b"");
        let packet = V4::new(0x0a1e_0020 + peer, 0x0a14_000b, 6).packet(&segment);
        Ethernet::new([2, 0, 0, 0x30, 0, 0x10])
            .to([2, 0, 0, 0x30, 0, 1])
            .frame(ether_type::IPV4, &packet)
    };
    let (flood, before) = (Sender::open(&lab.central, "eth0"), fetch.bytes());
    let start = std::time::Instant::now();
    for peer in 0..FLOOD / 50_000 {
        for from in (1_000..51_000).step_by(500) {
            flood.send(&(from..from + 500).map(|port| syn((peer, port))).collect::<Vec<_>>());
        }
    }
    println!("{FLOOD} SYNs in {:?}", start.elapsed());
    let told = tail.wait_for("a full table", |line| line["enforcer"]["reason"] == "answers-full");
    assert_eq!(told["event_type"], "tamper", "{told}");
    assert!(fetch.bytes() > before, "it goes on meanwhile");
    let (ended, content) = fetch.finish();
    assert!(ended.success() && content == files.content(), "{ended:?}, {} bytes", content.len());
    let listed = daemon.json(&["flows"]).len();
    assert!((100..=1_024).contains(&listed), "a sixteenth of the table: {listed}");
}

/// Policies that replace each other; `ENFORCER_ANSWERS_REPLACEMENTS` overrides it.
const REPLACEMENTS: u64 = 1_000;
/// Of them during one transfer.
const DURING: u64 = 100;

#[test]
fn replacements_end_no_session() {
    let lab = Lab::gateway("replaced");
    let (text, other) = (policy(), policy().replace("udp/161", "udp/162"));
    let daemon = Daemon::start(&lab.gw, &["lan0"], &text);
    let files = Files::start(&lab.dev1, 80, 60);
    let mut left = number("ENFORCER_ANSWERS_REPLACEMENTS", REPLACEMENTS);
    while left > 0 {
        let fetches = [DEV1, DEV1_V6].map(|to| files.fetch_slowly(&lab.central, to));
        fetches.iter().for_each(|fetch| fetch.wait_for(100_000));
        let refused = daemon.reason("default-drop", "frames");
        let now = left.min(DURING);
        for round in 0..now {
            let next = if round % 2 == 0 { &other } else { &text };
            assert!(daemon.apply(next).success());
        }
        for fetch in &fetches {
            let before = fetch.bytes();
            wait_until("the transfer goes on", || (fetch.bytes() > before).then_some(()));
        }
        assert_eq!(daemon.reason("default-drop", "frames"), refused, "an answer was refused");
        left -= now;
    }
}

#[test]
fn sessions_outlive_another_size_of_the_table() {
    let lab = Lab::gateway("resized");
    let mut daemon = Daemon::start(&lab.gw, &["lan0"], &policy());
    let files = Files::start(&lab.dev1, 80, 60);
    let entries = |daemon: &Daemon<'_>| {
        let table = MapData::from_pin(daemon.pin(map::ANSWERS)).expect("it is pinned");
        table.info().expect("it is a map").max_entries()
    };
    assert_eq!(entries(&daemon), Size::USUAL.lines());
    for (setting, flows) in [("answers = 100_000", 1 << 17), ("answers = 1024", 1 << 10)] {
        // One for each: on an emulated machine the other is over by then.
        let fetch = files.fetch_slowly_by(&lab.central, DEV1, &["--keepalive-time", "1"]);
        fetch.wait_for(100_000);
        daemon.setting(setting);
        daemon.restart();
        assert_eq!(entries(&daemon), Size::for_flows(flows).expect("a size").lines());
        let is_noted = || !daemon.json(&["flows"]).is_empty();
        wait_until("it is noted again", || is_noted().then_some(()));
        let before = fetch.bytes();
        wait_until("the transfer goes on", || (fetch.bytes() > before).then_some(()));
        // The same setting: the same table.
        let id = |daemon: &Daemon<'_>| {
            MapData::from_pin(daemon.pin(map::ANSWERS)).expect("a pin").info().expect("a map").id()
        };
        let same = id(&daemon);
        daemon.restart();
        assert_eq!(id(&daemon), same);
        let text = std::fs::read_to_string(daemon.path("enforcer.toml")).expect("it was written");
        daemon.settings(&text.replace(setting, ""));
    }
}

#[test]
fn dicom_in_both_directions() {
    let missing = lacking(&["storescp", "echoscu", "iperf3"]);
    if !missing.is_empty() {
        return skip("answers::sessions::dicom_in_both_directions", &missing.join(", "));
    }
    let lab = Lab::gateway("dicom");
    let allow =
        format!("default = \"drop\"\nallow = [{{ to = \"{CENTRAL}\", service = \"tcp/11112\" }}]");
    let text = policy().replace("default = \"drop\"", &allow);
    let daemon = Daemon::start(&lab.gw, &["lan0"], &text);
    let _device = programs::dicom_server(&lab.dev1, 104);
    let _archive = programs::dicom_server(&lab.central, 11_112);
    // A workstation asks the device, and the device sends to the archive.
    assert!(programs::dicom_echo(&lab.central, DEV1, 104));
    assert!(programs::dicom_echo(&lab.dev1, CENTRAL, 11_112));
    assert!(!programs::dicom_echo(&lab.dev1, CENTRAL, 104));
    let iperf = lab.dev1.spawn("iperf3", &["-s", "-1", "-p", "80"]);
    wait_until("iperf3 listens", || programs::connects(&lab.dev1, "127.0.0.1", 80).then_some(()));
    drop(iperf);
    let mut iperf = lab.dev1.spawn("iperf3", &["-s", "-p", "80"]);
    programs::settle();
    // Backwards: the device sends, the workstation has opened it.
    let words = ["-c", DEV1, "-p", "80", "-n", "20M", "-R", "--connect-timeout", "2000"];
    let measured = lab.central.run("iperf3", &words, Duration::from_secs(20));
    assert!(measured.success(), "{measured:?} {}", iperf.is_running());
    let told = daemon.json(&["explain", "--from", DEV1, "--to", &format!("{CENTRAL}:50000")]);
    let near = told[0]["near_misses"].to_string();
    assert!(near.contains("would let it pass as an answer"), "{told:?}");
    assert!(told[0]["notes"].to_string().contains("has opened"), "{told:?}");
}
