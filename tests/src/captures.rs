//! Captured frames: the parser reads the same as tcpdump.
//!
//! The captures are not part of this repository; the test says where it looks for them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use enforcer::policy::Mac;
use enforcer_common::flow::{Address, Class, FAMILY_V4, Flow};
use enforcer_common::packet::Packet;
use enforcer_common::parse::parse;
use enforcer_common::reason::Reason;
use enforcer_common::wire::mac_bytes;
use pcap_parser::pcapng::Block;
use pcap_parser::{Linktype, PcapCapture, PcapNGCapture};

use crate::harness::{lacking, run, skip};

/// tcpdump's output about a frame.
#[derive(Debug, Default)]
struct Reading {
    line: String,
    /// Source and destination.
    macs: [String; 2],
    vlans: Vec<u16>,
    /// The protocol's number, or that of the first extension header.
    protocol: Option<u8>,
    /// Source and destination of the outermost packet, if it can be read.
    addresses: Option<[IpAddr; 2]>,
    /// Source and destination.
    ports: Option<[u16; 2]>,
}

#[test]
fn tcpdump_reads_the_same() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/pcaps");
    let Ok(entries) = fs::read_dir(&directory) else {
        skip("tcpdump_reads_the_same", "no captures in ../shared/data/pcaps");
        return;
    };
    assert_eq!(lacking(&["tcpdump"]), Vec::<String>::new());
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    let mut accepted = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        let Some(frames) = frames(&path) else { continue };
        let readings = readings(&path);
        assert_eq!(readings.len(), frames.len(), "{}", path.display());
        for (number, (frame, reading)) in (1..).zip(frames.iter().zip(&readings)) {
            let mut flow = Flow { length: frame.len() as u32, ..Flow::default() };
            let outcome = parse(&Packet::from_slice(frame), &mut flow);
            let name = outcome.err().map_or("accepted", Reason::name);
            *outcomes.entry(name).or_default() += 1;
            if outcome.is_ok() {
                accepted += 1;
                let place = format!("{}, frame {number}", path.display());
                agrees(&flow, reading, &place);
            }
        }
    }
    println!("{outcomes:?}");
    assert!(accepted > 100, "hardly a frame is accepted: {outcomes:?}");
}

#[track_caller]
fn agrees(flow: &Flow, reading: &Reading, place: &str) {
    let place = format!("{place}: {reading:?}\n{flow:?}");
    let macs = [flow.source_mac, flow.destination_mac].map(mac);
    assert_eq!(macs, reading.macs, "{place}");
    assert_eq!(flow.vlans[..usize::from(flow.tags())], reading.vlans, "{place}");
    match flow.class {
        Class::Arp => {
            let source = address(flow, flow.source);
            let said = [format!("tell {source}"), format!("Reply {source} is-at")];
            let ends = |text: &String| {
                reading.line.match_indices(text.as_str()).any(|(at, text)| {
                    let next = reading.line[at + text.len()..].chars().next();
                    next.is_none_or(|c| !c.is_ascii_digit())
                })
            };
            assert!(said.iter().any(ends), "{place}");
        }
        Class::Eapol | Class::Lldp | Class::Stp => assert_eq!(reading.addresses, None, "{place}"),
        Class::Ip | Class::Neighbour | Class::Multicast | Class::Dhcp | Class::OddDhcp => {
            let found = [flow.source, flow.destination].map(|other| address(flow, other));
            assert_eq!(Some(found), reading.addresses, "{place}");
            // Behind extension headers tcpdump gives no number.
            if !matches!(reading.protocol, Some(0 | 43 | 44 | 60)) {
                assert_eq!(Some(flow.protocol), reading.protocol, "{place}");
            }
            let has_ports = matches!(flow.protocol, 6 | 17 | 132);
            if has_ports && !flow.fragment.is_later() {
                let found = [flow.source_port, flow.destination_port];
                assert_eq!(Some(found), reading.ports, "{place}");
            }
        }
    }
}

fn mac(number: u64) -> String {
    Mac(mac_bytes(number)).to_string()
}

fn address(flow: &Flow, address: Address) -> IpAddr {
    if flow.family == FAMILY_V4 || flow.class == Class::Arp {
        Ipv4Addr::from(address.to_v4()).into()
    } else {
        Ipv6Addr::from(address.to_v6()).into()
    }
}

/// The frames of an Ethernet capture, as far as they were captured.
fn frames(path: &Path) -> Option<Vec<Vec<u8>>> {
    let bytes = fs::read(path).unwrap();
    match path.extension()?.to_str()? {
        "pcap" => {
            let capture = PcapCapture::from_file(&bytes).unwrap();
            let blocks = capture.blocks.iter().map(|block| block.data.to_vec());
            (capture.header.network == Linktype::ETHERNET).then(|| blocks.collect())
        }
        "pcapng" => {
            let capture = PcapNGCapture::from_file(&bytes).unwrap();
            let mut frames = Vec::new();
            for block in capture.sections.iter().flat_map(|section| &section.blocks) {
                if let Block::InterfaceDescription(interface) = block {
                    assert_eq!(interface.linktype, Linktype::ETHERNET, "{}", path.display());
                } else if let Block::EnhancedPacket(packet) = block {
                    frames.push(packet.data[..packet.caplen as usize].to_vec());
                }
            }
            Some(frames)
        }
        _ => None,
    }
}

/// tcpdump's readings, one per frame: the short output for the ports, the verbose one for the
/// protocol.
fn readings(path: &Path) -> Vec<Reading> {
    let path = path.display().to_string();
    let lines = |words: &str| {
        let text = run("tcpdump", &["-#", "-t", "-e", "-n", words, "-r", &path]);
        // A line without a number continues the frame above.
        let is_first = |line: &&str| {
            let number = line.trim_start().split("  ").next().unwrap_or_default();
            line.starts_with(' ') && number.parse::<u32>().is_ok()
        };
        text.lines().filter(is_first).map(str::to_owned).collect::<Vec<_>>()
    };
    let (quiet, verbose) = (lines("-q"), lines("-v"));
    assert_eq!(quiet.len(), verbose.len(), "{path}");
    let mut readings: Vec<Reading> = quiet.iter().map(|line| reading(line)).collect();
    for (reading, line) in readings.iter_mut().zip(&verbose) {
        reading.protocol = protocol(line);
    }
    readings
}

/// `    1  MAC > MAC, 802.1Q, length 78: vlan 10, p 0, IPv4, 10.0.0.1.68 > 10.0.0.2.67: UDP, …`
fn reading(line: &str) -> Reading {
    let mut reading = Reading { line: line.to_owned(), ..Reading::default() };
    let (_, rest) = line.trim_start().split_once("  ").unwrap();
    let (source, rest) = rest.split_once(" > ").unwrap();
    let (destination, rest) = rest.split_once(", ").unwrap();
    reading.macs = [source.to_owned(), destination.to_owned()];
    let marker = ["IPv4, ", "IPv6, "].into_iter().filter_map(|marker| rest.find(marker)).min();
    let (head, packet) = rest.split_at(marker.unwrap_or(rest.len()));
    reading.vlans = head
        .split(", ")
        .filter_map(|part| part.rsplit_once("vlan ").and_then(|(_, id)| id.parse().ok()))
        .collect();
    // Inside a non-IP tunnel (MPLS, PPPoE) there is another packet, which does not count.
    let Some(packet) = packet.get(6..) else { return reading };
    let packet = match packet.strip_prefix("length ") {
        Some(packet) => packet.split_once(": ").map_or("", |(_, packet)| packet),
        None => packet,
    };
    let Some((source, rest)) = packet.split_once(" > ") else { return reading };
    let (destination, rest) = rest.split_once(": ").unwrap_or((rest, ""));
    let (Some(source), Some(destination)) = (endpoint(source), endpoint(destination)) else {
        return reading;
    };
    reading.addresses = Some([source.0, destination.0]);
    reading.ports = source.1.zip(destination.1).map(|(a, b)| [a, b]);
    // `HBH DSTOPT 30000 > 13000: UDP`
    if reading.ports.is_none()
        && let Some((source, rest)) = rest.split_once(" > ")
        && let Ok(source) = source.rsplit(' ').next().unwrap_or_default().parse()
        && let Ok(destination) = rest.split(':').next().unwrap_or_default().parse()
    {
        reading.ports = Some([source, destination]);
    }
    reading
}

/// `10.0.0.1`, `10.0.0.1.68`, `2001:db8::1` or `2001:db8::1.68`.
fn endpoint(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse() {
        return Some((address, None));
    }
    let (address, port) = text.rsplit_once('.')?;
    Some((address.parse().ok()?, Some(port.parse().ok()?)))
}

/// The number in `proto TCP (6)` or `next-header ICMPv6 (58)`.
fn protocol(line: &str) -> Option<u8> {
    let at = ["proto ", "next-header "].into_iter().filter_map(|word| line.find(word)).min()?;
    line[at..].split_once('(')?.1.split_once(')')?.0.parse().ok()
}
