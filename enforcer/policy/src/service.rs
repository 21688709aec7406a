//! Services: `tcp/443`, `udp/8000-8010`, `icmp`, `proto/47`, `any`.

use std::fmt;

use super::Service;
use super::address::ParseError;

/// Protocols with a name, and whether they have ports.
const NAMED: [(&str, u8, bool); 5] = [
    ("tcp", 6, true),
    ("udp", 17, true),
    ("sctp", 132, true),
    ("icmp", 1, false),
    ("icmpv6", 58, false),
];

/// Common other names, and what to write instead.
const OTHER: [(&str, &str); 20] = [
    ("http", "tcp/80"),
    ("https", "tcp/443"),
    ("ssh", "tcp/22"),
    ("telnet", "tcp/23"),
    ("dns", "udp/53"),
    ("domain", "udp/53"),
    ("ntp", "udp/123"),
    ("snmp", "udp/161"),
    ("syslog", "udp/514"),
    ("nfs", "tcp/2049"),
    ("dicom", "tcp/104"),
    ("mqtt", "tcp/1883"),
    ("icmp6", "icmpv6"),
    ("ipv6-icmp", "icmpv6"),
    ("igmp", "proto/2"),
    ("gre", "proto/47"),
    ("esp", "proto/50"),
    ("ah", "proto/51"),
    ("all", "any"),
    ("*", "any"),
];

const FORMS: &str =
    "write `tcp/443`, `udp/8000-8010`, `sctp/…`, `icmp`, `icmpv6`, `proto/47` or `any`";

impl Service {
    /// Parses one service.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Self::read(text).map_err(|error| error.printable(text, "a service"))
    }

    fn read(text: &str) -> Result<Self, ParseError> {
        if text == "any" {
            return Ok(Self::ANY);
        }
        let (name, rest) = match text.split_once('/') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        if name == "proto" {
            return match rest.and_then(number) {
                Some(protocol) if protocol <= 255 => {
                    Ok(Self::protocol(u8::try_from(protocol).unwrap_or(u8::MAX)))
                }
                _ => Err(ParseError::new(
                    format!("`{text}` does not name an IP protocol"),
                    "write its number, 0 to 255: `proto/47`",
                )),
            };
        }
        let Some(&(_, protocol, has_ports)) = NAMED.iter().find(|named| named.0 == name) else {
            return Err(unknown(text, name, rest));
        };
        match rest {
            None => Ok(Self::protocol(protocol)),
            Some(_) if !has_ports => Err(ParseError::new(
                format!("`{text}`: {name} has no ports"),
                format!("write `{name}`"),
            )),
            Some(rest) => ports(text, name, protocol, rest),
        }
    }

    /// Sorts the services, and merges those that overlap or touch within one protocol.
    pub fn normalise(services: &[Self]) -> Vec<Self> {
        let mut sorted = services.to_vec();
        sorted.sort_unstable();
        let mut merged: Vec<Self> = Vec::with_capacity(sorted.len());
        for service in sorted {
            match merged.last_mut() {
                Some(last)
                    if service.first <= last.last
                        || (service.first == last.last + 1
                            && service.first >> 16 == last.last >> 16) =>
                {
                    last.last = last.last.max(service.last);
                }
                _ => merged.push(service),
            }
        }
        merged
    }
}

/// In the notation of a policy.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ANY {
            return f.write_str("any");
        }
        let protocol = self.first >> 16;
        let (first, last) = (self.first & 0xffff, self.last & 0xffff);
        match NAMED.iter().find(|named| u32::from(named.1) == protocol) {
            Some((name, ..)) => f.write_str(name)?,
            None => write!(f, "proto/{protocol}")?,
        }
        match (first, last) {
            (0, 0xffff) => Ok(()),
            _ if first == last => write!(f, "/{first}"),
            _ => write!(f, "/{first}-{last}"),
        }
    }
}

fn ports(text: &str, name: &str, protocol: u8, rest: &str) -> Result<Service, ParseError> {
    let (low, high) = rest.split_once('-').unwrap_or((rest, rest));
    let (Some(first), Some(last)) = (number(low.trim_end()), number(high.trim_start())) else {
        let hint = match OTHER.iter().find(|other| other.0 == rest) {
            Some((_, instead)) => format!("ports are numbers: `{instead}`"),
            None => format!("ports are numbers: `{name}/443` or `{name}/8000-8010`"),
        };
        return Err(ParseError::new(format!("`{text}` does not name a port"), hint));
    };
    let (Ok(low), Ok(high)) = (u16::try_from(first), u16::try_from(last)) else {
        return Err(ParseError::new(
            format!("`{text}`: there is no port {}", first.max(last)),
            "ports are 0 to 65535",
        ));
    };
    if low > high {
        return Err(ParseError::new(
            format!("`{text}` ends before it begins"),
            format!("write `{name}/{high}-{low}`"),
        ));
    }
    Ok(Service::ports(protocol, low, high))
}

fn unknown(text: &str, name: &str, rest: Option<&str>) -> ParseError {
    let lower = text.to_ascii_lowercase();
    let instead = if lower != text && is_service(&lower) {
        Some(lower)
    } else if let Some((_, instead)) = OTHER.iter().find(|other| other.0 == lower) {
        Some((*instead).to_owned())
    } else if number(text).is_some_and(|port| port <= 65535) {
        Some(format!("tcp/{text}"))
    } else if let Some(protocol) = rest.filter(|_| number(name).is_some()) {
        Some(format!("{protocol}/{name}")).filter(|turned| is_service(turned))
    } else {
        let slashed = text.replacen([':', ' '], "/", 1);
        (slashed != text && is_service(&slashed)).then_some(slashed)
    };
    let hint = instead.map_or_else(|| FORMS.to_owned(), |instead| format!("write `{instead}`"));
    ParseError::new(format!("`{text}` is not a service"), hint)
}

/// Whether a hint may suggest this text. An invalid text must not lead to another hint: swapping `1/2`
/// would never end.
fn is_service(text: &str) -> bool {
    let name = text.split_once('/').map_or(text, |(name, _)| name);
    let known = text == "any" || name == "proto" || NAMED.iter().any(|named| named.0 == name);
    known && Service::parse(text).is_ok()
}

/// A number of digits only, without the sign that `parse` would accept.
fn number(text: &str) -> Option<u32> {
    (text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_that_are_services() {
        for (text, service) in [
            ("any", Service::ANY),
            ("tcp", Service::protocol(6)),
            ("proto/6", Service::protocol(6)),
            ("tcp/443", Service::ports(6, 443, 443)),
            ("udp/8000-8010", Service::ports(17, 8000, 8010)),
            ("udp/0-65535", Service::protocol(17)),
            ("sctp/0", Service::ports(132, 0, 0)),
            ("icmp", Service::protocol(1)),
            ("icmpv6", Service::protocol(58)),
            ("proto/255", Service::protocol(255)),
        ] {
            assert_eq!(Service::parse(text), Ok(service), "{text}");
            assert_eq!(Service::parse(&service.to_string()), Ok(service), "{text}");
        }
    }

    #[test]
    fn texts_that_are_not() {
        for (text, message, hint) in [
            ("tcp/65536", "`tcp/65536`: there is no port 65536", "ports are 0 to 65535"),
            ("tcp/90-80", "`tcp/90-80` ends before it begins", "write `tcp/80-90`"),
            ("tcp/https", "`tcp/https` does not name a port", "ports are numbers: `tcp/443`"),
            ("443/tcp", "`443/tcp` is not a service", "write `tcp/443`"),
            ("443", "`443` is not a service", "write `tcp/443`"),
            ("TCP/443", "`TCP/443` is not a service", "write `tcp/443`"),
            ("tcp:443", "`tcp:443` is not a service", "write `tcp/443`"),
            ("https", "`https` is not a service", "write `tcp/443`"),
            ("gre", "`gre` is not a service", "write `proto/47`"),
            ("tpc/80", "`tpc/80` is not a service", FORMS),
            ("icmp/8", "`icmp/8`: icmp has no ports", "write `icmp`"),
            (
                "proto/256",
                "`proto/256` does not name an IP protocol",
                "write its number, 0 to 255: `proto/47`",
            ),
        ] {
            let expected = ParseError::new(message, hint);
            assert_eq!(Service::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_hint_asks_for_no_other_hint() {
        let colons = format!("tcp{}", ":".repeat(200_000));
        assert!(Service::parse(&colons).is_err());
        for text in ["1/2", "80/443", "0/0", "/", ":", "A:1/2"] {
            let error = Service::parse(text).expect_err("no service");
            assert_eq!(error.hint.as_deref(), Some(FORMS), "{text}");
        }
    }

    #[test]
    fn normalised_services() {
        let services: Vec<Service> = ["udp/5", "tcp/80", "tcp/81-90", "tcp/85-95", "proto/47"]
            .map(|text| Service::parse(text).expect(text))
            .into();
        let text: Vec<String> =
            Service::normalise(&services).iter().map(ToString::to_string).collect();
        assert_eq!(text, ["tcp/80-95", "udp/5", "proto/47"]);
    }

    proptest! {
        #[test]
        fn printed_services_read_back(protocol in prop::sample::select(vec![6_u8, 17, 132]), a: u16, b: u16) {
            let service = Service::ports(protocol, a.min(b), a.max(b));
            prop_assert_eq!(Service::parse(&service.to_string()), Ok(service));
        }

        #[test]
        fn any_text_is_judged(text in "(tcp|udp|proto|icmp|)[/:]?[0-9a-z é+-]{0,9}") {
            let _ = Service::parse(&text);
        }
    }
}
