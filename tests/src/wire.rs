//! `enforcer explain` compared with the wire: its answer about a frame is what happens to it.
//!
//! - `behind`: routers, neighbours, both directions, chains of other tools
//! - `odd`: captures from other machines
mod behind;
mod odd;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use enforcer::api::ExplainRequest;
use enforcer::control::client::Client;
use enforcer_testkit::{
    corpus::{A4, A6, DEVICE},
    frames::{self, Ethernet, Tcp, V4, V6},
    random::Random,
};
use serde_json::Value;

use crate::{
    harness::{
        Daemon, Sniffer,
        frames::{contains, send_all},
        programs::{self, Server},
        topology::{DEV1, DEV1_MAC, UPDATES},
        wait_until,
    },
    replay::{Kind, counted, lab::Lab},
};

/// The device.
const MAC: &str = "02:00:00:00:00:02";
/// Flows that are sent and explained.
const FLOWS: u32 = 1000;
/// Rules of the group, of each kind.
const RULES: (usize, usize) = (30, 12);

/// A flow that a device sends.
#[derive(Clone, Debug)]
struct Flow {
    number: u32,
    to: IpAddr,
    protocol: &'static str,
    port: Option<u16>,
}

impl Flow {
    fn random(random: &mut Random, number: u32) -> Self {
        let to = address(random);
        let other = if to.is_ipv4() { "icmp" } else { "icmpv6" };
        let protocol = random.pick(&["tcp", "tcp", "udp", "udp", "sctp", "47", other]);
        let port = matches!(protocol, "tcp" | "udp" | "sctp").then(|| port(random));
        Self { number, to, protocol, port }
    }

    /// A unique marker of the frame.
    fn marker(&self) -> [u8; 8] {
        (u64::from(self.number) << 32 | 0x0dec_1ded).to_be_bytes()
    }

    fn frame(&self) -> Vec<u8> {
        let port = self.port.unwrap_or(0);
        let mut segment = match self.protocol {
            "tcp" => Tcp::new(port).segment(&self.marker()),
            "udp" => frames::udp(40_000, port, &self.marker()),
            "sctp" => frames::sctp(40_000, port),
            "icmp" => frames::icmp(8, 0, &self.marker()),
            "icmpv6" => frames::icmp(128, 0, &self.marker()),
            _ => self.marker().to_vec(),
        };
        if self.protocol == "sctp" {
            segment.extend(self.marker());
        }
        let number = match self.protocol {
            "tcp" => 6,
            "udp" => 17,
            "sctp" => 132,
            "icmp" => 1,
            "icmpv6" => 58,
            _ => 47,
        };
        let ethernet = Ethernet::new(DEVICE);
        match self.to {
            IpAddr::V4(to) => {
                ethernet.frame(0x0800, &V4::new(A4, to.into(), number).packet(&segment))
            }
            IpAddr::V6(to) => {
                ethernet.frame(0x86dd, &V6::new(A6, to.into(), number).packet(&segment))
            }
        }
    }

    fn request(&self) -> ExplainRequest {
        let to = match (self.to, self.port) {
            (IpAddr::V4(to), Some(port)) => format!("{to}:{port}"),
            (IpAddr::V6(to), Some(port)) => format!("[{to}]:{port}"),
            (to, None) => to.to_string(),
        };
        ExplainRequest {
            from: MAC.into(),
            mac: None,
            to,
            proto: self.protocol.into(),
            interface: None,
            vlan: None,
            inbound: false,
        }
    }
}

/// From a few prefixes, so that rules match flows.
fn address(random: &mut Random) -> IpAddr {
    let last = random.below(16) as u16;
    if random.once_in(3) {
        let third = random.pick(&[0, 1, 0xff]);
        return Ipv6Addr::new(0x2001, 0xdb8, third, 0, 0, 0, 0, last).into();
    }
    let [a, b, c] = random.pick(&[[192, 0, 2], [198, 51, 100], [203, 0, 113]]);
    Ipv4Addr::new(a, b, c, last as u8).into()
}

fn port(random: &mut Random) -> u16 {
    random.pick(&[22, 53, 80, 443, 515, 520, 8000])
}

fn rule(random: &mut Random, number: usize) -> String {
    let to = match random.below(4) {
        0 => format!("{}/28", address(random)),
        1 => "any".to_owned(),
        _ => address(random).to_string(),
    };
    // A prefix with host bits set is a policy error.
    let to = match to.strip_suffix("/28") {
        Some(address) if address.contains(':') => "2001:db8::/48".to_owned(),
        Some(address) => {
            let end = address.rfind('.').expect("a dotted quad");
            format!("{}.0/28", &address[..end])
        }
        None => to,
    };
    let port = port(random);
    let services =
        [format!("tcp/{port}"), format!("udp/{port}-8000"), "icmp".into(), "proto/47".into()];
    let service = random.pick(&services);
    format!("  {{ to = {to:?}, service = {service:?}, reason = \"rule {number}\" }},\n")
}

fn policy(random: &mut Random) -> String {
    let mut text =
        "schema = 1\n[groups.g]\nmembers = [\"02:00:00:00:00:02\"]\nallow = [\n".to_owned();
    (0..RULES.0).for_each(|number| text.push_str(&rule(random, number)));
    text.push_str("]\ndeny = [\n");
    (0..RULES.1).for_each(|number| text.push_str(&rule(random, RULES.0 + number)));
    // A `String` takes everything.
    let _ = writeln!(text, "]");
    // A repeated rule is an error.
    let mut seen = std::collections::BTreeSet::new();
    let is_new = |line: &&str| {
        let rule = line.split(", reason").next().unwrap_or(line).to_owned();
        !line.starts_with("  {") || seen.insert(rule)
    };
    text.lines().filter(is_new).map(|line| format!("{line}\n")).collect()
}

/// A capture of Ethernet frames, draft-ietf-opsawg-pcap.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut file: Vec<u8> = bytes(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 0x4_0000, 1]);
    for frame in frames {
        let length = frame.len() as u32;
        file.extend::<Vec<u8>>(bytes(&[0, 0, length, length]));
        file.extend(frame);
    }
    file
}

#[test]
fn explain_says_what_becomes_of_a_thousand_flows() {
    let mut random = Random::new(5);
    let lab = Lab::build(Kind::Routed);
    let daemon = Daemon::start(&lab.gateway, &["g0"], &policy(&mut random));
    let flows: Vec<Flow> = (1..=FLOWS).map(|number| Flow::random(&mut random, number)).collect();
    let bytes: Vec<Vec<u8>> = flows.iter().map(Flow::frame).collect();

    let capture = daemon.path("flows.pcap");
    std::fs::write(&capture, pcap(&bytes)).expect("the directory is ours");
    let capture = capture.display().to_string();

    // On the wire.
    let tail = daemon.tail(&[]);
    let behind = Sniffer::start(&lab.behind, "x0");
    let slices: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    send_all(&lab.device, "l0", &slices);
    wait_until("every frame is counted", || {
        let judged: u64 = counted(&daemon).values().sum();
        (judged >= u64::from(FLOWS)).then_some(())
    });
    let out = behind.frames(Duration::from_millis(500));
    let passed = |flow: &Flow| out.iter().any(|frame| contains(frame, &flow.marker()));
    let wire: Vec<&str> =
        flows.iter().map(|flow| if passed(flow) { "pass" } else { "drop" }).collect();

    let drops = wire.iter().filter(|verdict| **verdict == "drop").count() as u64;
    let told = || tail.lines().iter().filter_map(|line| line["enforcer"]["count"].as_u64()).sum();
    wait_until("every refused frame is told", || {
        let told: u64 = told();
        (told >= drops).then_some(())
    });

    // Explained by description: the active program answers, and nothing is counted.
    let before = counted(&daemon);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    let client = Client::new(&daemon.path("enforcer.sock"));
    let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
    for (flow, wire) in flows.iter().zip(&wire) {
        let answer = runtime.block_on(client.explain(&flow.request())).expect("it answers");
        assert_eq!((&*answer.verdict, &*answer.decided_by), (*wire, "kernel"), "{flow:?}");
        assert_eq!(answer.rule.is_some(), answer.reason != "default-drop", "{answer:?}");
        *reasons.entry(answer.reason).or_default() += 1;
    }
    println!("{reasons:?}");
    for reason in ["allow", "deny", "default-drop"] {
        assert!(reasons.get(reason).is_some_and(|count| *count > 50), "{reason}: {reasons:?}");
    }

    // And from a capture.
    let answers = daemon.json(&["explain", "--pcap", &capture]);
    assert_eq!(answers.len(), flows.len());
    for ((flow, wire), answer) in flows.iter().zip(&wire).zip(&answers) {
        assert_eq!(answer["verdict"], *wire, "{flow:?} {answer}");
        assert_eq!(answer["decided_by"], "kernel", "{answer}");
        assert!(answer["frame"].to_string().contains(&flow.to.to_string()), "{flow:?} {answer}");
    }
    let text = daemon.cli(&["explain", "--pcap", &capture]).stdout;
    let passes = wire.iter().filter(|verdict| **verdict == "pass").count();
    let sum = format!("1,000 frames: {passes} pass, {} are dropped\n", wire.len() - passes);
    assert!(text.ends_with(&sum), "{}", &text[text.len() - 200..]);
    let one = daemon.cli(&["explain", "--pcap", &capture, "--frame", "7"]).stdout;
    assert!(one.contains("\ndecided  by the program in the kernel\n"), "{one}");

    assert_eq!(counted(&daemon), before, "nothing was counted");
    assert_eq!(told(), drops, "no event was sent");
    let by_file = daemon.path("policy.toml").display().to_string();
    let host = daemon.json(&["explain", "--policy", &by_file, "--pcap", &capture]);
    let verdicts = |answers: &[Value]| -> Vec<Value> {
        answers.iter().map(|answer| answer["verdict"].clone()).collect()
    };
    assert_eq!(verdicts(&host), verdicts(&answers));
    assert_eq!(host[0]["decided_by"], "host");
}

/// An address identifies the device if the gateway knows its MAC.
#[test]
fn explain_knows_the_gateways_neighbours() {
    let lab = crate::harness::Lab::gateway("explain");
    let _server = Server::start(&lab.internet, "x", &[80], &[]);
    let policy = "schema = 1\n[groups.beds]\nmembers = [\"00:1b:44/24\"]\n\
                  allow = [{ to = \"any\", service = \"tcp/80\" }]\n";
    let daemon = Daemon::start(&lab.gw, &["lan0"], policy);
    assert!(programs::connects(&lab.dev1, UPDATES, 80));
    let words = ["explain", "--from", DEV1, "--to", &format!("{UPDATES}:81")];
    let answer = daemon.json(&words).remove(0);
    assert_eq!((&answer["verdict"], &answer["group"]), (&"drop".into(), &"beds".into()));
    assert!(answer["assumed"].to_string().contains(&format!("MAC {DEV1_MAC} taken from")));
}
