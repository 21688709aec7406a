use super::heard::{Heard, Neighbour, Route};
use super::*;
use crate::{HostInterface, Mac, OnLink, compile, read};

const NOW: i64 = 1_800_000_000;

const POLICY: &str = r#"schema = 1
[sets]
updates = ["198.51.100.0/24", "203.0.113.0/24"]
[devices.bed-12]
mac = "00:1b:44:11:3a:b7"
ip = ["10.20.0.12", "2001:db8:20::12"]
[devices.bed-13]
mac = "00:1b:44:11:3a:b8"
vlan = 20
[devices.pump-7]
ip = "10.20.0.64/29"
[groups.monitors]
members = ["bed-12", "bed-13"]
allow = [
  { to = "10.20.0.10", service = ["tcp/515-520", "udp/53"] },
  { to = "@updates", service = "tcp/443" },
  { to = "10.20.9.9", service = "tcp/80", until = 2020-01-01T00:00:00Z },
  { to = "202.114.4.119", service = "tcp/2049" },
]
deny = [{ to = "202.114.4.0/24", reason = "ICSMA-25-030-01" }]
[groups.pumps]
members = ["pump-7"]
mode = "observe"
allow = [{ to = "10.20.0.99", service = "tcp/80" }]
[groups.cellar]
members = ["00:1b:44:00:00:01"]
mode = "quarantine"
allow = [{ to = "8.8.0.0/16" }]
"#;

fn host() -> Host {
    let interface = HostInterface {
        name: "lan0".into(),
        index: 3,
        mac: Mac([2, 0, 0, 0, 0xff, 0]),
        prefixes: vec![(IpAddr::V4(Ipv4Addr::new(10, 20, 0, 1)), 24)],
        ..HostInterface::default()
    };
    let own = vec![IpAddr::V4(Ipv4Addr::new(10, 20, 0, 1))];
    Host { interfaces: vec![interface], own, now: NOW, ..Host::default() }
}

fn ask(from: &str, to: &str, proto: &str) -> Result<Explanation, Error> {
    let (policy, problems) = read("p", POLICY, &mut |_| unreachable!("no files"));
    assert!(problems.iter().all(|problem| problem.severity != crate::Severity::Error));
    let compiled = compile(&policy, &host()).expect("policy");
    let request = Request {
        mac: None,
        from: from.into(),
        to: to.into(),
        proto: proto.into(),
        interface: None,
        vlan: None,
    };
    on_host(&policy, &host(), &compiled, &request, NOW)
}

fn whys(explanation: &Explanation) -> Vec<&str> {
    explanation.near_misses.iter().map(|miss| miss.why.as_str()).collect()
}

#[test]
fn right_destination_wrong_port() {
    let said = ask("bed-12", "10.20.0.10:443", "tcp").expect("answer");
    assert_eq!((said.verdict, said.reason), ("drop", "default-drop"));
    assert_eq!(said.frame, "10.20.0.12 to 10.20.0.10 tcp/443 on lan0");
    assert_eq!(said.assumed, ["source address 10.20.0.12 taken from device bed-12"]);
    assert_eq!(
        (said.device.as_deref(), &*said.group, &*said.mode),
        (Some("bed-12"), "monitors", "enforce")
    );
    assert_eq!(
        whys(&said),
        [
            "right destination, but it allows tcp/515-520, udp/53, not tcp/443",
            "right service, but it is for @updates, which does not hold 10.20.0.10",
        ]
    );
    let expected = "{ to = \"10.20.0.10\", service = \"tcp/443\" },";
    assert_eq!(said.suggestion.as_deref(), Some(expected));
}

#[test]
fn right_service_wrong_destination() {
    let said = ask("bed-12", "10.20.0.12:516", "tcp").expect("answer");
    assert_eq!(whys(&said), ["right service, but 10.20.0.12 is 2 addresses behind 10.20.0.10"]);
    let said = ask("bed-12", "198.51.99.255:443", "tcp").expect("answer");
    let why = "right service, but 198.51.99.255 is 1 address before 198.51.100.0/24 of @updates";
    assert_eq!(whys(&said), [why]);
}

#[test]
fn ended_and_shadowed() {
    let said = ask("bed-12", "10.20.9.9:80", "tcp").expect("answer");
    assert_eq!(whys(&said), ["would allow it, but ended on 2020-01-01T00:00:00Z"]);
    let said = ask("bed-12", "202.114.4.119:2049", "tcp").expect("answer");
    let rule = said.rule.as_ref().expect("rule");
    assert_eq!((rule.action, &*rule.to, &*rule.service), ("deny", "202.114.4.0/24", "any"));
    assert_eq!(whys(&said), [format!("would allow it, but deny {} wins", rule.id)]);
    assert_eq!(said.suggestion, None);
}

#[test]
fn another_group_and_a_device_without_mac() {
    let said = ask("bed-12", "10.20.0.99:80", "tcp").expect("answer");
    assert!(whys(&said).contains(&"would allow it, but is for the group pumps"));
    let said = ask("pump-7", "8.8.8.8", "icmp").expect("answer");
    assert_eq!((said.verdict, said.device.as_deref()), ("would-drop", Some("pump-7")));
    assert_eq!(
        said.assumed,
        [
            "source address 10.20.0.65 taken from device pump-7",
            "MAC 02:00:5e:00:00:01 made up: neither the policy nor the gateway's neighbours know one \
             for 10.20.0.65",
        ]
    );
    let expected = "{ to = \"8.8.8.8\", service = \"icmp\" },";
    assert_eq!(said.suggestion.as_deref(), Some(expected));
}

#[test]
fn rules_that_are_not_asked() {
    let said = ask("00:1b:44:00:00:01", "8.8.8.8:53", "udp").expect("answer");
    assert_eq!((said.reason, &*said.mode), ("quarantine", "quarantine"));
    let why = "would allow it, but rules are not asked: the group is in quarantine";
    assert_eq!(whys(&said), [why]);
    let taken = "source address 10.20.0.2 taken from 10.20.0.0/24, the network of lan0";
    assert_eq!(said.assumed, [taken]);
}

#[test]
fn addresses_of_the_sender() {
    let said = ask("10.20.0.12", "10.20.0.10:515", "tcp").expect("answer");
    assert_eq!((said.verdict, said.device.as_deref()), ("pass", Some("bed-12")));
    assert_eq!(said.assumed, ["MAC 00:1b:44:11:3a:b7 taken from device bed-12"]);
    let said = ask("bed-12", "[2001:db8::1]:443", "tcp").expect("answer");
    assert_eq!(said.frame, "2001:db8:20::12 to 2001:db8::1 tcp/443 on lan0");
    let said = ask("bed-13", "2001:db8::1", "47").expect("answer");
    assert_eq!(said.frame, "2001:db8::1 to 2001:db8::1 proto/47 on lan0, VLAN 20");
    assert_eq!(
        said.assumed,
        [
            "source address 2001:db8::1 made up: no IPv6 network of lan0 is known",
            "VLAN 20 taken from device bed-13",
        ]
    );
    let said = ask("bed-12", "255.255.255.255:67", "udp").expect("answer");
    assert_eq!((said.verdict, said.reason), ("pass", "dhcp"));
}

#[test]
fn what_cannot_be_asked() {
    for (from, to, proto, message, hint) in [
        ("bed-21", "8.8.8.8", "icmp", "there is no device `bed-21`", "did you mean `bed-12`?"),
        (
            "pumps",
            "8.8.8.8",
            "icmp",
            "there is no device `pumps`",
            "this is a group: name one of its devices, or an address",
        ),
        (
            "10.20.0.12",
            "2001:db8::1",
            "icmpv6",
            "10.20.0.12 cannot reach 2001:db8::1: one is IPv4, the other IPv6",
            "write an address of the same family, or the device's name",
        ),
        (
            "pump-7",
            "2001:db8::1",
            "icmpv6",
            "pump-7 cannot reach 2001:db8::1: one is IPv4, the other IPv6",
            "write an address of the family of 10.20.0.64",
        ),
        (
            "bed-12",
            "2001:db8::1",
            "icmp",
            "icmp cannot reach 2001:db8::1: one is IPv4, the other IPv6",
            "write `--proto icmpv6`",
        ),
        ("bed-12", "8.8.8.8", "tcp", "tcp needs a port", "write `8.8.8.8:443`"),
        ("bed-12", "2001:db8::1", "udp", "udp needs a port", "write `[2001:db8::1]:443`"),
        (
            "bed-12",
            "8.8.8.8:7",
            "icmp",
            "icmp has no ports",
            "write `8.8.8.8` alone, or another protocol",
        ),
        (
            "bed-12",
            "8.8.8.8:http",
            "tcp",
            "`8.8.8.8:http` does not end with a port",
            "ports are numbers, 0 to 65535: `10.20.0.10:443`, `[2001:db8::1]:443`",
        ),
        (
            "bed-12",
            "example.com:443",
            "tcp",
            "`example.com` is not an address",
            "names cannot be used yet; write the addresses, or a set of them",
        ),
        (
            "bed-12",
            "10.0.0.0/8:443",
            "tcp",
            "`10.0.0.0/8` is more than one address",
            "a frame goes to one address: choose one of them",
        ),
        ("bed-12", "[2001:db8::1", "tcp", "`[2001:db8::1` has no `]`", "write `[2001:db8::1]:443`"),
        (
            "bed-12",
            "8.8.8.8",
            "tpc",
            "`tpc` is not a protocol",
            "write tcp, udp, sctp, icmp, icmpv6 or a number to 255",
        ),
    ] {
        let error = ask(from, to, proto).expect_err(to);
        assert_eq!(
            (&*error.to_string(), error.hint()),
            (message, Some(hint)),
            "{from} {to} {proto}"
        );
    }
}

#[test]
fn frames_are_long_enough_and_tagged() {
    let (policy, _) = read("p", POLICY, &mut |_| unreachable!("no files"));
    let mut request = Request {
        mac: None,
        from: "bed-12".into(),
        to: "10.20.0.10:515".into(),
        proto: "tcp".into(),
        interface: Some("lan0".into()),
        vlan: Some(20),
    };
    let described = frame(&policy, &host(), &request).expect("frame");
    assert_eq!((described.frame.len(), described.interface), (60, 3));
    assert_eq!(described.frame[..6], [2, 0, 0, 0, 0xff, 0]);
    assert_eq!(described.frame[12..18], [0x81, 0, 0, 20, 8, 0]);
    request.vlan = Some(4095);
    assert_eq!(frame(&policy, &host(), &request), Err(Error::Vlan { id: 4095 }));
    request.interface = Some("lan1".into());
    let error = frame(&policy, &host(), &request).expect_err("interface");
    assert_eq!(error.hint(), Some("did you mean `lan0`?"));
}

fn entry(mac: &str, address: &str) -> Neighbour {
    let (mac, address) = (Mac::parse(mac).expect("a MAC"), address.parse().ok());
    Neighbour { mac, address, interface: Some(3), vlan: Some(0) }
}

/// The same with the gateway's knowledge, on lan0 and lan1.
fn ask_heard(heard: &Heard, from: &str, to: &str) -> Explanation {
    let (policy, _) = read("p", POLICY, &mut |_| unreachable!("no files"));
    let mut host = host();
    host.interfaces.push(HostInterface {
        name: "lan1".into(),
        index: 4,
        ..HostInterface::default()
    });
    let compiled = compile(&policy, &host).expect("policy");
    let request = Request {
        mac: None,
        from: from.into(),
        to: to.into(),
        proto: "tcp".into(),
        interface: None,
        vlan: None,
    };
    let described = frame_heard(&policy, &host, heard, &request).expect("a frame");
    frames_on_host(&policy, &host, &compiled, &[described], NOW).swap_remove(0)
}

#[test]
fn a_device_behind_a_router_has_the_routers_mac() {
    let source: IpAddr = "10.20.0.65".parse().expect("an address");
    let router = "10.20.0.254".parse().expect("an address");
    let known = entry("00:1b:44:00:00:01", "10.20.0.254");
    let route = |known| Heard {
        behind: vec![entry("00:1b:44:00:00:01", "10.20.0.254")],
        routes: [(source, Route::Router(router, known))].into(),
        ..Heard::default()
    };
    // By name and by address: the MAC decides, and it belongs to a group in quarantine.
    for from in ["pump-7", "10.20.0.65"] {
        let said = ask_heard(&route(Some(known)), from, "10.20.0.99:80");
        assert_eq!((said.verdict, said.reason), ("drop", "quarantine"), "{said:?}");
        let taken = "MAC 00:1b:44:00:00:01 taken from the gateway's neighbours: 10.20.0.65 is \
                     behind the router 10.20.0.254";
        assert!(said.assumed.iter().any(|text| text == taken), "{said:?}");
    }
    // The explanation says what is not known.
    let said = ask_heard(&route(None), "pump-7", "10.20.0.99:80");
    assert!(said.assumed.iter().any(|text| text.contains("does not know now")), "{said:?}");
}

#[test]
fn addresses_and_places_are_those_that_were_heard() {
    let heard = |entry| Heard { behind: vec![entry], ..Heard::default() };
    // Only a MAC.
    let said =
        ask_heard(&heard(entry("00:1b:44:00:00:01", "10.20.0.77")), "001b.4400.0001", "8.8.8.8:53");
    assert!(said.frame.starts_with("10.20.0.77 to 8.8.8.8"), "{said:?}");
    let other = entry("00:1b:44:00:00:01", "2001:db8::7");
    let said = ask_heard(&heard(other), "00:1b:44:00:00:01", "8.8.8.8:53");
    assert!(said.frame.starts_with("10.20.0.2 to 8.8.8.8"), "{said:?}");
    // The device has another address than in the policy: its frames are dropped.
    let said =
        ask_heard(&heard(entry("00:1b:44:11:3a:b7", "10.20.0.99")), "bed-12", "10.20.0.10:515");
    assert_eq!((said.verdict, said.reason), ("drop", "source-binding"), "{said:?}");
    assert!(said.assumed[0].ends_with("though bed-12 has another in the policy"), "{said:?}");
    // Another MAC answers for the device's address.
    for from in ["bed-12", "10.20.0.12"] {
        let said =
            ask_heard(&heard(entry("02:00:00:00:00:09", "10.20.0.12")), from, "10.20.0.10:515");
        assert_eq!(said.verdict, "drop", "{said:?}");
        let taken = "MAC 02:00:00:00:00:09 taken from the gateway's neighbours, though \
                     00:1b:44:11:3a:b7 is the MAC of bed-12";
        assert!(said.assumed.iter().any(|text| text == taken), "{said:?}");
    }
    // Interface and VLAN.
    let place =
        Neighbour { interface: Some(4), vlan: Some(0), ..entry("00:1b:44:11:3a:b8", "10.20.0.13") };
    let said = ask_heard(&heard(place), "bed-13", "10.20.0.10:515");
    assert_eq!(said.frame, "10.20.0.13 to 10.20.0.10 tcp/515 on lan1");
    assert_eq!((said.verdict, said.reason), ("drop", "vlan-binding"), "{said:?}");
    assert!(said.assumed.contains(&"no VLAN, taken from the gateway's neighbours".to_owned()));
}

#[test]
fn what_comes_from_elsewhere_is_said() {
    let elsewhere = vec![(entry("02:00:00:00:00:09", "10.20.0.65"), "wan0".to_owned())];
    let said = ask_heard(&Heard { elsewhere, ..Heard::default() }, "pump-7", "8.8.8.8:53");
    let text = "the gateway reaches 10.20.0.65 by wan0, which is not protected";
    assert!(said.assumed.iter().any(|assumed| assumed.starts_with(text)), "{said:?}");
}

/// On a link with bound next hops, the described frame goes where a device would send it.
#[test]
fn next_hops_of_bound_links() {
    let text = format!("{POLICY}[interfaces.lan0]\nnext-hop = \"bound\"\n");
    let (policy, _) = read("p", &text, &mut |_| unreachable!("no files"));
    let mut host = host();
    let lan0 = &mut host.interfaces[0];
    let (peer, router) = (Mac([2, 0, 0, 0, 0, 9]), Mac([2, 0, 0, 0, 0, 1]));
    lan0.neighbours = vec![("10.20.0.10".parse().unwrap(), peer)];
    lan0.next_hops = vec![router];
    let own = host.own[0];
    host.interfaces[0].on_link = vec![OnLink { interface: 3, address: own, length: 24 }];
    let assumed = |to: &str| {
        let request = Request {
            from: "bed-12".into(),
            to: to.into(),
            proto: "tcp".into(),
            mac: None,
            interface: None,
            vlan: None,
        };
        let described = frame(&policy, &host, &request).unwrap();
        described.assumed.into_iter().find(|text| text.starts_with("destination MAC"))
    };
    assert_eq!(
        assumed("10.20.0.10:515").unwrap(),
        "destination MAC 02:00:00:00:00:09, of 10.20.0.10"
    );
    assert_eq!(
        assumed("198.51.100.7:443").unwrap(),
        "destination MAC 02:00:00:00:00:01, of the gateway's next router"
    );
    let unknown = assumed("10.20.0.77:515").unwrap();
    assert!(unknown.ends_with("of the gateway: nobody is known to have 10.20.0.77"), "{unknown}");
    assert_eq!(assumed("10.20.0.1:515"), None, "the gateway itself");
}
