use std::net::IpAddr;

use super::super::{check, compile};
use crate::{Host, HostInterface, Mac, read};

const NOW: i64 = 1_800_000_000;
const FEED: &str = "0.0.0.0/8\n10.0.0.0/8\n127.0.0.0/8\n224.0.0.0/3\n203.0.113.0/24\n";

fn host() -> Host {
    let own: Vec<IpAddr> =
        ["10.20.0.1", "127.0.0.1", "2001:db8:20::1"].map(|own| own.parse().unwrap()).into();
    let prefixes = vec![(own[0], 24), (own[2], 64)];
    let mac = Mac([2, 0, 0, 0, 0xff, 0]);
    let lan =
        HostInterface { name: "lan0".into(), index: 1, mac, prefixes, ..HostInterface::default() };
    Host { interfaces: vec![lan], own, now: NOW, ..Host::default() }
}

/// Warnings about a group `g` with one member, on a known machine and without one; without hints.
fn said(document: &str) -> [Vec<String>; 2] {
    let text = format!("schema = 1\n{document}");
    let (policy, problems) = read("p.toml", &text, &mut |_| Ok(FEED.to_owned()));
    assert_eq!(problems, [], "{text}");
    let lines = |problems: Vec<crate::Problem>| {
        problems.iter().map(|p| format!("{}: {}", p.place.line, p.message)).collect::<Vec<_>>()
    };
    [lines(compile(&policy, &host()).unwrap().warnings), lines(check(&policy, NOW))]
}

/// Checks the warnings about the rules of one group, which are in lines 4 (allow) and 5 (deny).
#[track_caller]
fn rules(allow: &str, deny: &str, expected: &[&str]) {
    let document = format!(
        "sets = {{ feed = {{ file = \"f\" }}, all = [\"0.0.0.0/0\"], own = [\"10.20.0.1\"], \
         v6 = [\"2001:db8:5::/48\"] }}\n[groups.g]\nmembers = [\"02:00:00:00:00:12\"]\n\
         allow = [{allow}]\ndeny = [{deny}]"
    );
    let [here, anywhere] = said(&document);
    let told: Vec<&str> = here.iter().map(|line| line.split_once(": ").unwrap().1).collect();
    assert_eq!(told, expected, "{allow} and {deny}");
    // Every warning without a machine also appears on one.
    assert!(anywhere.iter().all(|line| here.contains(line)), "{anywhere:?} and {here:?}");
}

const NEVER: &str = "this allow rule never decides anything";

#[test]
fn rules_that_never_decide() {
    let own = "the set `feed` holds 10.0.0.0/8, and with it the gateway's own address 10.20.0.1";
    let central = "{ to = \"10.20.0.10\", service = \"tcp/515-520\" }";
    rules(central, "{ to = \"@feed\" }", &[NEVER, own]);
    rules(central, "{ to = \"10.0.0.0/8\" }", &[NEVER]);
    rules(central, "{ to = \"any\" }", &[NEVER]);
    // Covered by several ports and ranges together.
    rules(central, "{ to = \"any\", service = \"tcp/515-519\" }", &[]);
    rules(central, "{ to = \"any\", service = [\"tcp/100-517\", \"tcp/518-600\"] }", &[NEVER]);
    rules(central, "{ to = \"any\", service = [\"tcp/100-516\", \"tcp/518-600\"] }", &[]);
    rules(central, "{ to = \"any\", service = \"udp\" }", &[]);
    rules(
        "{ to = \"10.20.0.8/30\" }",
        "{ to = \"10.20.0.0-10.20.0.9\" }, { to = \"10.20.0.10-10.20.0.99\" }",
        &[NEVER],
    );
    rules("{ to = \"10.20.0.8/30\" }", "{ to = \"10.20.0.0-10.20.0.10\" }", &[]);
    // The machine's addresses count.
    rules("{ to = \"gateway\" }", "{ to = \"any\" }", &[NEVER]);
    rules("{ to = \"10.20.0.9\" }", "{ to = \"local\" }", &[NEVER]);
    // IPv6 remains.
    rules("{ to = \"any\" }", "{ to = \"0.0.0.0-223.255.255.255\" }", &[]);
    // Already allowed by an earlier rule.
    rules("{ to = \"10.0.0.0/8\" }, { to = \"10.1.0.0/16\", service = \"tcp\" }", "", &[NEVER]);
    rules("{ to = \"10.1.0.0/16\" }, { to = \"10.0.0.0/8\" }", "", &[]);
}

#[test]
fn ends_of_rules_count() {
    let until = |year: u16| format!("{{ to = \"any\", until = {year}-01-01T00:00:00Z }}");
    // NOW is in 2027.
    rules(&until(2028), "{ to = \"10.0.0.0/8\" }", &[]);
    rules("{ to = \"10.0.0.1\" }", &until(2028), &[]);
    rules(&until(2028), "{ to = \"any\" }", &[NEVER]);
    let [here, anywhere] = said(&format!(
        "[groups.g]\nmembers = [\"10.0.0.1\"]\nallow = [{}]\ndeny = [{}]\n",
        "{ to = \"10.0.0.1\" }",
        until(2026)
    ));
    assert_eq!((here.len(), &here), (1, &anywhere));
    assert!(here[0].starts_with("5: rule r-") && here[0].ends_with(" has ended and is left out"));
}

#[test]
fn sets_that_hold_too_much() {
    let everything = |verb| {
        format!(
            "the set `all` holds 0.0.0.0/0: this rule {verb} nearly every address of its family"
        )
    };
    rules("", "{ to = \"@all\" }", &[&everything("denies")]);
    rules("{ to = \"@all\" }", "", &[&everything("allows")]);
    rules("", "{ to = \"@own\" }", &["the set `own` holds the gateway's own address 10.20.0.1"]);
    // A set may hold own addresses in an allow rule; a deny rule gets one warning.
    rules("{ to = \"@own\" }", "", &[]);
    let feed = "the set `feed` holds 10.0.0.0/8, and with it the gateway's own address 10.20.0.1";
    let twice = "{ to = \"@feed\", service = \"tcp\" }, { to = \"@feed\", service = \"udp\" }";
    rules("", twice, &[feed]);
    // Addresses written in the policy are not a published list.
    rules("{ to = \"198.51.100.1\" }", "{ to = \"10.0.0.0/8\" }", &[]);
}

#[test]
fn rules_that_never_match() {
    let never = |why: &str| format!("this allow rule never matches: {why}");
    rules("{ to = \"2001:db8::1\", service = \"icmp\" }", "", &[&never("IPv6 has no icmp")]);
    rules("{ to = \"10.0.0.1\", service = \"icmpv6\" }", "", &[&never("IPv4 has no icmpv6")]);
    rules("{ to = \"any\", service = [\"icmp\", \"icmpv6\"] }", "", &[]);
    let nobody = "no frame to 127.0.0.1 is well-formed (`martian-destination`)";
    rules("{ to = \"127.0.0.1\" }", "", &[&never(nobody)]);
    rules("{ to = \"255.255.255.255\", service = \"udp/1900\" }", "", &[]);
    rules("{ to = \"240.0.0.0/4\" }, { to = \"224.0.0.251\" }", "", &[]);
    let cast = "10.20.0.255 is the broadcast address behind lan0, and every frame to it is dropped \
                before (`l2-l3-cast`)";
    rules("{ to = \"10.20.0.255\", service = \"udp/138\" }", "", &[&never(cast)]);

    let [here, _] = said(
        "[devices.d]\nmac = \"02:00:00:00:00:12\"\nip = \"10.20.0.12\"\n[groups.g]\n\
         members = [\"d\"]\nallow = [{ to = \"2001:db8::1\" }, { to = \"any\" }]",
    );
    let bound = "7: this allow rule never matches: it leads to IPv6 alone, and every member is \
                 bound to IPv4 addresses";
    assert_eq!(here, [bound]);
    let mut host = host();
    host.interfaces[0].prefixes.clear();
    let text = "schema = 1\n[groups.g]\nmembers = [\"10.0.0.1\"]\nallow = [{ to = \"local\" }]";
    let (policy, _) = read("p.toml", text, &mut |_| unreachable!());
    let warnings = compile(&policy, &host).unwrap().warnings;
    assert!(warnings[0].message.starts_with("`local` is nothing on this machine"), "{warnings:?}");
    assert_eq!(check(&policy, NOW), []);
}

#[test]
fn groups_members_and_devices() {
    let [here, anywhere] = said(
        "[devices.a]\nmac = \"02:00:00:00:00:12\"\nip = \"10.20.0.12\"\n\
         [devices.b]\nmac = \"02:00:00:00:ff:00\"\nip = \"10.20.0.1\"\n\
         [groups.g]\nmembers = [\"a\", \"b\"]\ndefault = \"pass\"\n\
         allow = [{ to = \"198.51.100.1\" }]\n\
         [groups.h]\nmembers = [\"10.20.0.12\", \"interface:lan9\", \"10.20.0.0/24\"]",
    );
    assert_eq!(
        here,
        [
            "5: `b` has the MAC of the gateway's own lan0",
            "5: `b` has the gateway's own address 10.20.0.1",
            "11: the allow rules of `g` change no verdict: its default is `pass`, and deny rules win \
             over them",
            "13: 10.20.0.12 never makes a device a member of `h`: it is bound to the MAC of `a`, \
             which is in `g`",
            "13: interface `lan9` is not protected on this machine",
        ]
    );
    assert_eq!(anywhere, [here[2].clone(), here[3].clone()]);
}

#[test]
fn hints_say_who_wins() {
    let text = "schema = 1\nsets.feed = { file = \"f\" }\n[groups.g]\nmembers = [\"10.20.0.9\"]\n\
                allow = [{ to = \"198.51.100.0/24\" }, { to = \"10.20.0.1\", service = \"udp/53\" }]\n\
                deny = [{ to = \"@feed\" }]";
    let (policy, _) = read("p.toml", text, &mut |_| Ok(FEED.to_owned()));
    let found = check(&policy, NOW);
    assert_eq!((found.len(), found[0].place.to_string().as_str()), (1, "p.toml:5:38"));
    assert_eq!(
        found[0].hint.as_deref(),
        Some(
            "the deny rule at p.toml:6:9 (@feed: 10.0.0.0/8) wins; take one of them out, or narrow \
             what is denied"
        )
    );
}

#[test]
fn warnings_are_bounded() {
    let rules: String =
        (0..500).map(|n| format!("{{ to = \"10.0.{}.{}\" }},", n / 250, n % 250)).collect();
    let text = format!(
        "schema = 1\n[groups.g]\nmembers = [\"10.0.0.1\"]\nallow = [{rules}]\n\
         deny = [{{ to = \"10.0.0.0/8\" }}]"
    );
    let (policy, _) = read("p.toml", &text, &mut |_| unreachable!());
    let found = check(&policy, NOW);
    assert_eq!(found.len(), 101);
    assert_eq!(found[100].message, "and 400 more warnings about rules, groups and sets");
}
