//! Which events a follower wants.

use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;

use crate::api::{Event, TAMPER};

/// What an event must have to be sent; an empty filter takes all. Lines about loss and about
/// tampering pass every filter: whoever looks at a part must know that the part may be incomplete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Name of the group.
    pub group: Option<String>,
    /// Name, MAC address or source address of the device.
    pub device: Option<String>,
    /// Where the destination lies.
    pub to: Option<Cidr>,
    /// Name of the reason.
    pub reason: Option<String>,
    /// Whether the frame was dropped.
    pub verdict: Option<Verdict>,
}

/// The verdict of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Dropped.
    Drop,
    /// Passed, because the group is observed.
    WouldDrop,
}

impl Verdict {
    /// The name in events and queries.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::WouldDrop => "would-drop",
        }
    }
}

/// An address or a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

/// Text that is neither an address nor a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an address nor a CIDR such as 203.0.113.0/24")]
pub struct NotACidr(String);

impl FromStr for Cidr {
    type Err = NotACidr;

    fn from_str(text: &str) -> Result<Self, NotACidr> {
        let wrong = || NotACidr(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => max,
            Some(length) => length.parse().ok().filter(|l| *l <= max).ok_or_else(wrong)?,
        };
        Ok(Self { address, length })
    }
}

impl TryFrom<String> for Cidr {
    type Error = NotACidr;

    fn try_from(text: String) -> Result<Self, NotACidr> {
        text.parse()
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Cidr {
    /// Whether an address lies in it.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                (a.to_bits() ^ b.to_bits()) & mask == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                (a.to_bits() ^ b.to_bits()) & mask == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl Filter {
    /// Whether an event is wanted.
    pub fn matches(&self, event: &Event) -> bool {
        if event.event_type == "lost" || event.event_type == TAMPER {
            return true;
        }
        let detail = &event.enforcer;
        let same = |wanted: &Option<String>, value: &Option<String>| {
            wanted.is_none() || wanted.as_deref() == value.as_deref()
        };
        same(&self.group, &detail.group)
            && same(&self.reason, &detail.reason)
            && self.verdict.is_none_or(|v| detail.verdict.as_deref() == Some(v.name()))
            && self.device.as_deref().is_none_or(|device| is_device(device, event))
            && self.to.is_none_or(|cidr| {
                let to = event.dest_ip.as_deref().and_then(|ip| ip.parse().ok());
                to.is_some_and(|ip| cidr.contains(ip))
            })
    }

    /// The query string that asks for it, with `?`; empty for the empty filter.
    pub fn query(&self) -> String {
        let mut query = String::new();
        let mut add = |key: &str, value: Option<&str>| {
            if let Some(value) = value {
                query.push(if query.is_empty() { '?' } else { '&' });
                query.push_str(key);
                query.push('=');
                percent_encode(value, &mut query);
            }
        };
        add("group", self.group.as_deref());
        add("device", self.device.as_deref());
        add("to", self.to.map(|cidr| cidr.to_string()).as_deref());
        add("reason", self.reason.as_deref());
        add("verdict", self.verdict.map(Verdict::name));
        query
    }
}

fn is_device(wanted: &str, event: &Event) -> bool {
    let is = |value: Option<&String>| value.is_some_and(|v| v.eq_ignore_ascii_case(wanted));
    event.enforcer.device.as_deref() == Some(wanted)
        || is(event.ether.as_ref().map(|ether| &ether.src_mac))
        || is(event.src_ip.as_ref())
}

/// RFC 3986, section 2.3: all but the unreserved characters.
pub(super) fn percent_encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::api::{Detail, Ether};

    /// A drop of `bed-12` towards the address that the advisory names.
    pub(crate) fn event() -> Event {
        Event {
            timestamp: "2026-11-23T12:03:04.123456+01:00".into(),
            event_type: "drop".into(),
            in_iface: Some("lan0".into()),
            vlan: vec![20],
            ether: Some(Ether {
                src_mac: "00:1b:44:11:3a:b7".into(),
                dest_mac: "02:00:00:00:00:01".into(),
                ether_type: 0x0800,
            }),
            src_ip: Some("10.20.0.12".into()),
            src_port: Some(40000),
            dest_ip: Some("202.114.4.119".into()),
            dest_port: Some(515),
            proto: Some("TCP".into()),
            pkt_len: Some(74),
            enforcer: Detail {
                verdict: Some("drop".into()),
                reason: Some("deny".into()),
                device: Some("bed-12".into()),
                group: Some("patient-monitors".into()),
                rule: Some("r-1a2b3c4d".into()),
                rule_reason: Some("ICSMA-25-030-01".into()),
                generation: 3,
                revision: 2,
                count: 1,
                suppressed: 0,
                message: None,
            },
        }
    }

    #[test]
    fn each_part_decides() {
        let yes = |filter: Filter| assert!(filter.matches(&event()), "{filter:?}");
        let no = |filter: Filter| assert!(!filter.matches(&event()), "{filter:?}");
        let some = |s: &str| Some(s.to_owned());
        yes(Filter::default());
        yes(Filter { group: some("patient-monitors"), ..Filter::default() });
        no(Filter { group: some("pumps"), ..Filter::default() });
        for device in ["bed-12", "00:1B:44:11:3a:b7", "10.20.0.12"] {
            yes(Filter { device: some(device), ..Filter::default() });
        }
        no(Filter { device: some("bed-1"), ..Filter::default() });
        yes(Filter { to: "202.114.4.0/24".parse().ok(), ..Filter::default() });
        no(Filter { to: "202.114.5.0/24".parse().ok(), ..Filter::default() });
        yes(Filter { reason: some("deny"), ..Filter::default() });
        no(Filter { reason: some("default"), ..Filter::default() });
        yes(Filter { verdict: Some(Verdict::Drop), ..Filter::default() });
        no(Filter { verdict: Some(Verdict::WouldDrop), ..Filter::default() });
    }

    #[test]
    fn a_line_about_loss_passes_every_filter() {
        let lost = Event { event_type: "lost".into(), ..event() };
        assert!(Filter { group: Some("pumps".into()), ..Filter::default() }.matches(&lost));
    }

    #[test]
    fn prefixes() {
        let contains =
            |cidr: &str, ip: &str| cidr.parse::<Cidr>().unwrap().contains(ip.parse().unwrap());
        assert!(contains("0.0.0.0/0", "255.255.255.255"));
        assert!(contains("10.20.0.99/24", "10.20.0.1"));
        assert!(contains("10.20.0.1", "10.20.0.1"));
        assert!(!contains("10.20.0.1", "10.20.0.2"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!contains("2001:db8::/128", "2001:db8::1"));
        assert!(!contains("::/0", "10.0.0.1"));
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "bed-12", "10.0.0.0/"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }

    #[test]
    fn queries_are_encoded() {
        let filter = Filter {
            group: Some("a b&c=ü".into()),
            to: "2001:db8::/32".parse().ok(),
            verdict: Some(Verdict::WouldDrop),
            ..Filter::default()
        };
        let expected = "?group=a%20b%26c%3D%C3%BC&to=2001%3Adb8%3A%3A%2F32&verdict=would-drop";
        assert_eq!(filter.query(), expected);
        assert_eq!(Filter::default().query(), "");
    }
}
