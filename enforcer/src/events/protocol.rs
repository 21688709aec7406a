//! IP protocols, as named in events and policies.

use std::fmt;
use std::str::FromStr;

use enforcer_common::wire::protocol;

/// A protocol of IP, by its number (IANA, Protocol Numbers). Its text is the one of events: `TCP`,
/// `UDP`, `ICMP`, `IPv6-ICMP`, `SCTP`, or the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol(pub u8);

/// Protocols with a name in events.
const NAMED: [(u8, &str); 5] = [
    (protocol::ICMP, "ICMP"),
    (protocol::TCP, "TCP"),
    (protocol::UDP, "UDP"),
    (protocol::ICMPV6, "IPv6-ICMP"),
    (protocol::SCTP, "SCTP"),
];

impl Protocol {
    /// The service as a policy writes it: `tcp/515`, `icmp`, `proto/47`.
    pub fn service(self, port: Option<u16>) -> String {
        let name = match self.0 {
            protocol::ICMP => "icmp",
            protocol::TCP => "tcp",
            protocol::UDP => "udp",
            protocol::ICMPV6 => "icmpv6",
            protocol::SCTP => "sctp",
            number => return format!("proto/{number}"),
        };
        port.map_or_else(|| name.to_owned(), |port| format!("{name}/{port}"))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMED.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

impl FromStr for Protocol {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match NAMED.iter().find(|(_, name)| *name == text) {
            Some((number, _)) => Ok(Self(*number)),
            None => text.parse().map(Self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_have_a_name_or_a_number() {
        for number in 0..=u8::MAX {
            let text = Protocol(number).to_string();
            assert_eq!(text.parse(), Ok(Protocol(number)), "{text}");
        }
        for (text, port, service) in [
            ("TCP", Some(515), "tcp/515"),
            ("IPv6-ICMP", None, "icmpv6"),
            ("47", None, "proto/47"),
            ("0", None, "proto/0"),
        ] {
            assert_eq!(text.parse::<Protocol>().unwrap().service(port), service);
        }
    }
}
