//! Frames as dissected by tshark, which shares no code with the enforcer's parser.

use std::path::Path;
use std::process::Command;

/// The requested fields, in this order.
const FIELDS: [&str; 37] = [
    "frame.protocols",
    "frame.len",
    "eth.src",
    "eth.dst",
    "vlan.id",
    "ieee8021ad.id",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "ip.hdr_len",
    "ip.len",
    "ip.id",
    "ip.flags.mf",
    "ip.frag_offset",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.plen",
    "ipv6.hlim",
    "ipv6.hopopts.len_oct",
    "ipv6.dstopts.len_oct",
    "ipv6.fraghdr.nxt",
    "ipv6.fraghdr.offset",
    "ipv6.fraghdr.more",
    "ipv6.fraghdr.ident",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "icmp.type",
    "icmpv6.type",
    "icmpv6.nd.na.target_address",
    "arp.opcode",
    "arp.src.hw_mac",
    "arp.src.proto_ipv4",
    "arp.hw.type",
    "arp.proto.type",
    "arp.hw.size",
    "arp.proto.size",
];

/// Runs tshark on a capture; returns its lines, one per frame.
///
/// # Panics
/// When tshark fails.
#[track_caller]
pub(super) fn read(capture: &Path) -> String {
    let mut tshark = Command::new("tshark");
    // Ignore the user's preferences.
    tshark.env("WIRESHARK_CONFIG_DIR", capture.with_extension("none"));
    tshark.args(["-n", "-r"]).arg(capture).args(["-T", "fields", "-E", "occurrence=a"]);
    for preference in [
        // No reassembly: each frame is judged on its own.
        "ip.defragment:FALSE",
        "ipv6.defragment:FALSE",
        "tcp.desegment_tcp_streams:FALSE",
        "tcp.analyze_sequence_numbers:FALSE",
    ] {
        tshark.args(["-o", preference]);
    }
    // Do not dissect the payload of segments and datagrams.
    for ports in ["tcp.port==443,data", "udp.port==5000-5010,data"] {
        tshark.args(["-d", ports]);
    }
    tshark.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    let output = tshark.output().unwrap_or_else(|error| panic!("cannot start tshark: {error}"));
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A line of tshark.
pub(super) struct Reading<'a> {
    fields: Vec<&'a str>,
    /// Protocols from the frame's first on.
    pub(super) protocols: Vec<&'a str>,
}

impl<'a> Reading<'a> {
    /// Takes a line apart.
    pub(super) fn new(line: &'a str) -> Self {
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!(fields.len(), FIELDS.len(), "tshark wrote {line:?}");
        let protocols = fields[0].split(':').filter(|name| *name != "ethertype").collect();
        Self { fields, protocols }
    }

    /// All values of a field, outermost first.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let at = FIELDS.iter().position(|field| *field == name).expect("a field that is asked for");
        self.fields[at].split(',').filter(|value| !value.is_empty())
    }

    /// The outermost value.
    pub(super) fn first(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// Whether the outermost value is one of these.
    pub(super) fn is(&self, name: &str, values: &[&str]) -> bool {
        self.first(name).is_some_and(|value| values.contains(&value))
    }

    /// The outermost value as a number.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.first(name).and_then(number)
    }
}

/// Decimal, hexadecimal or boolean.
pub(super) fn number(text: &str) -> Option<u32> {
    match text {
        "True" => Some(1),
        "False" => Some(0),
        _ => match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        },
    }
}
