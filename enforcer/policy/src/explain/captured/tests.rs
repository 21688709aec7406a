//! Frames from captures of all kinds, judged by one policy.

use super::super::heard::Neighbour;
use super::super::{Explanation, frames_on_host};
use super::*;
use crate::{compile, read};

const POLICY: &str = r#"schema = 1
[devices.bed-12]
mac = "00:1b:44:11:3a:b7"
ip = "10.20.0.12"
[devices.pump-7]
ip = "10.20.0.64"
[groups.beds]
members = ["bed-12", "pump-7"]
allow = [{ to = "10.30.0.10", service = "tcp/515" }, { to = "224.0.0.251", service = "udp/5353" }]
[unknown]
default = "drop"
"#;

const BED: [u8; 6] = [0x00, 0x1b, 0x44, 0x11, 0x3a, 0xb7];
const LAN0: [u8; 6] = [2, 0, 0, 0, 0xff, 0];
const SERVER: [u8; 6] = [2, 0, 0, 0, 0x30, 0x10];

fn host() -> Host {
    let interface = |name: &str, index, mac| HostInterface {
        name: name.to_owned(),
        index,
        mac: Mac(mac),
        prefixes: Vec::new(),
        ..HostInterface::default()
    };
    let interfaces = vec![interface("lan0", 3, LAN0), interface("lan1", 4, [2, 0, 0, 0, 0xff, 1])];
    Host {
        interfaces,
        own: vec!["10.20.0.1".parse().unwrap()],
        now: 1_800_000_000,
        ..Host::default()
    }
}

/// An IPv4 packet with a TCP SYN or a UDP datagram.
fn packet(from: [u8; 4], to: [u8; 4], protocol: u8, port: u16) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet.extend([from, to].concat());
    packet.extend(50_000_u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    match protocol {
        17 => packet.extend([0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        _ => packet.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0xfa, 0xf0, 0, 0, 0, 0]),
    }
    packet
}

fn allowed() -> Vec<u8> {
    packet([10, 20, 0, 12], [10, 30, 0, 10], 6, 515)
}

fn answer() -> Vec<u8> {
    packet([10, 30, 0, 10], [10, 20, 0, 12], 6, 50_000)
}

fn ethernet(to: [u8; 6], from: [u8; 6], packet: &[u8]) -> Vec<u8> {
    [to.as_slice(), &from, &[8, 0], packet].concat()
}

fn sll(kind: u16, from: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let head = [kind.to_be_bytes(), [0, 1], [0, 6]].concat();
    [head.as_slice(), &from, &[0, 0, 8, 0], packet].concat()
}

fn sll2(kind: u8, from: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let head = [8, 0, 0, 0, 0, 0, 0, 3, 0, 1, kind, 6];
    [head.as_slice(), &from, &[0, 0], packet].concat()
}

fn frame(link: u32, bytes: Vec<u8>) -> Captured<'static> {
    Captured { bytes, length: None, interface: Some("lan0"), link, arrived: None }
}

fn ask_heard(heard: &Heard, frame: Captured<'_>) -> Explanation {
    let (policy, problems) = read("p", POLICY, &mut |_| unreachable!("no files"));
    assert_eq!(problems, []);
    let host = host();
    let compiled = compile(&policy, &host).expect("policy");
    let described = captured(&policy, &host, heard, 1, frame).expect("a frame");
    frames_on_host(&policy, &host, &compiled, &[described], host.now).swap_remove(0)
}

fn ask(frame: Captured<'_>) -> Explanation {
    ask_heard(&Heard::default(), frame)
}

#[track_caller]
fn is(said: &Explanation, verdict: &str, reason: &str) {
    assert_eq!((said.verdict, said.reason), (verdict, reason), "{said:?}");
    if verdict == "not-judged" {
        assert_eq!((said.decided_by, &*said.group), ("none", ""), "{said:?}");
    }
}

#[test]
fn the_same_packet_in_captures_of_every_kind() {
    is(&ask(frame(1, ethernet(LAN0, BED, &allowed()))), "pass", "allow");
    is(&ask(frame(113, sll(0, BED, &allowed()))), "pass", "allow");
    is(&ask(frame(276, sll2(0, BED, &allowed()))), "pass", "allow");
    for link in [101, 12, 14, 228] {
        let said = ask(frame(link, allowed()));
        is(&said, "pass", "allow");
        assert_eq!(said.assumed[0], "the capture has no source MAC");
        assert!(
            said.assumed.contains(&"MAC 00:1b:44:11:3a:b7 taken from device bed-12".to_owned())
        );
    }
    let loopback = [&[0, 0, 0, 2], allowed().as_slice()].concat();
    is(&ask(frame(108, loopback)), "pass", "allow");
    let said = ask(frame(113, sll(0, BED, &allowed())));
    let taken = "the capture has no destination MAC: 02:00:00:00:ff:00 of lan0 taken";
    assert_eq!(said.assumed, [taken]);
    // Multicast groups get the MAC of the group.
    let group = packet([10, 20, 0, 12], [224, 0, 0, 251], 17, 5353);
    let said = ask(frame(113, sll(2, BED, &group)));
    is(&said, "pass", "allow");
    assert!(said.assumed.is_empty(), "{said:?}");
    // A device whose MAC neither the policy nor the gateway knows.
    let said = ask(frame(101, packet([10, 20, 0, 64], [10, 30, 0, 10], 6, 515)));
    is(&said, "pass", "allow");
    assert!(said.assumed.iter().any(|text| text.contains("made up")), "{said:?}");
}

#[test]
fn what_the_gateway_sent_is_named_and_not_judged() {
    let sent = ethernet(BED, LAN0, &answer());
    let said = ask(frame(1, sent.clone()));
    is(&said, "not-judged", "outgoing");
    assert!(
        said.text.ends_with("the gateway sent it, 02:00:00:00:ff:00 is the MAC of lan0"),
        "{said:?}"
    );
    assert_eq!(said.frame, "10.30.0.10 to 10.20.0.12 tcp/50000 on lan0");
    // A frame that is known to have arrived is judged.
    is(&ask(Captured { arrived: Some(true), ..frame(1, sent.clone()) }), "drop", "src-mac-own");
    // Recognised by another MAC of the gateway, here a bridge's.
    let own = Heard { own: vec![(Mac(SERVER), "br0".into())], ..Heard::default() };
    is(&ask_heard(&own, frame(1, ethernet(BED, SERVER, &answer()))), "not-judged", "outgoing");
    // Recognised by the capture's direction.
    is(&ask(frame(113, sll(4, LAN0, &answer()))), "not-judged", "outgoing");
    is(&ask(frame(276, sll2(4, LAN0, &answer()))), "not-judged", "outgoing");
    let said = ask(Captured { arrived: Some(false), ..frame(1, ethernet(LAN0, BED, &allowed())) });
    is(&said, "not-judged", "outgoing");
    is(&ask(frame(101, packet([10, 20, 0, 1], [10, 20, 0, 12], 6, 1))), "not-judged", "outgoing");
}

#[test]
fn across_a_bridge_the_far_host_has_a_mac_of_its_own() {
    let answer = || frame(1, ethernet(BED, SERVER, &answer()));
    // Without knowledge of the hosts, the frame may have come from there.
    is(&ask(answer()), "drop", "unknown-device");
    let entry = |mac, interface| Neighbour { mac: Mac(mac), interface, ..Neighbour::default() };
    let behind = vec![entry(BED, Some(3))];
    let other = Heard { behind: vec![entry(SERVER, Some(4))], ..Heard::default() };
    let past = Heard { elsewhere: vec![(entry(SERVER, None), "wan0".into())], ..Heard::default() };
    let to_us = Heard { behind: behind.clone(), ..Heard::default() };
    for (heard, why) in [
        (other, "02:00:00:00:30:10 is behind lan1"),
        (past, "02:00:00:00:30:10 is behind wan0"),
        (to_us, "00:1b:44:11:3a:b7, to which it goes, is behind lan0"),
    ] {
        let said = ask_heard(&heard, answer());
        is(&said, "not-judged", "outgoing");
        assert!(said.text.ends_with(why), "{said:?}");
    }
    // Two hosts on the same wire.
    let both = vec![entry(BED, Some(3)), entry(SERVER, Some(3))];
    is(&ask_heard(&Heard { behind: both, ..Heard::default() }, answer()), "drop", "unknown-device");
    // Without an interface name, the interface is the one where the MAC was seen.
    let behind = vec![entry(BED, Some(4))];
    let unnamed = Captured { interface: None, ..frame(1, ethernet(LAN0, BED, &allowed())) };
    let said = ask_heard(&Heard { behind, ..Heard::default() }, unnamed);
    assert!(said.frame.ends_with(" on lan1"), "{said:?}");
}

#[test]
fn a_short_capture_is_no_fault_of_the_device() {
    let whole = ethernet(LAN0, BED, &allowed());
    for known in 0..whole.len() {
        let length = Some(whole.len() as u32);
        let said = ask(Captured { length, ..frame(1, whole[..known].to_vec()) });
        is(&said, "not-judged", "capture-cut");
        let text = format!("the capture has {known} bytes of this frame of {}", whole.len());
        assert!(said.text.starts_with(&text), "{said:?}");
    }
    // The deciding bytes are there, only payload is missing.
    let mut longer = whole.clone();
    longer[17] = 240;
    is(&ask(Captured { length: Some(254), ..frame(1, longer) }), "pass", "allow");
    // A frame that the device itself cut short.
    is(&ask(frame(1, whole[..30].to_vec())), "drop", "truncated-l3");
    for (link, known) in [(113, 15), (276, 19), (101, 0), (101, 15), (228, 3)] {
        let bytes = match link {
            113 => sll(0, BED, &allowed()),
            276 => sll2(0, BED, &allowed()),
            _ => allowed(),
        };
        let length = Some(bytes.len() as u32);
        let said = ask(Captured { length, ..frame(link, bytes[..known].to_vec()) });
        is(&said, "not-judged", "capture-cut");
    }
}

#[test]
fn what_cannot_be_judged_says_why() {
    let said =
        ask(Captured { interface: Some("wan0"), ..frame(1, ethernet(LAN0, BED, &allowed())) });
    is(&said, "not-judged", "unprotected");
    assert_eq!(said.text, "it was captured on wan0, which is not protected");
    is(&ask(frame(105, allowed())), "not-judged", "link-type");
    is(&ask(frame(101, vec![0x50; 40])), "not-judged", "link-type");
    let lldp = [&[0, 2, 0, 1, 0, 6], BED.as_slice(), &[0, 0, 0x88, 0xcc], &[0; 40]].concat();
    is(&ask(frame(113, lldp)), "not-judged", "capture-lacks");
    let stp = [&[0, 2, 0, 1, 0, 6], BED.as_slice(), &[0, 0, 0, 4], &[0; 40]].concat();
    is(&ask(frame(113, stp)), "not-judged", "capture-lacks");
    let loopback = [&[0, 0, 3, 4, 0, 6], [0; 6].as_slice(), &[0, 0, 8, 0], &allowed()].concat();
    is(&ask(frame(113, loopback)), "not-judged", "outgoing");
    is(&ask(frame(1, vec![1; 13])), "not-judged", "no-frame");
    let huge = Captured { length: Some(u32::MAX), ..frame(1, ethernet(LAN0, BED, &allowed())) };
    is(&ask(huge), "not-judged", "no-frame");
    is(&ask(frame(1, vec![0; 100_000])), "not-judged", "no-frame");
    is(&ask(frame(101, vec![0x45; 100_000])), "not-judged", "no-frame");
}

#[test]
fn what_looks_like_an_answer_gets_an_accept_rule() {
    let mut answer = packet([10, 20, 0, 12], [10, 30, 0, 10], 6, 50_123);
    answer[20..22].copy_from_slice(&22_u16.to_be_bytes());
    let suggestion = |packet: &[u8]| {
        let said = ask(frame(1, ethernet(LAN0, BED, packet)));
        is(&said, "drop", "default-drop");
        said.suggestion.expect("a rule")
    };
    // A SYN from port 22 opens something.
    assert_eq!(suggestion(&answer), "{ to = \"10.30.0.10\", service = \"tcp/50123\" },");
    answer[33] = 0x12;
    assert_eq!(suggestion(&answer), "accept = [{ from = \"10.30.0.10\", service = \"tcp/22\" }]");
}
