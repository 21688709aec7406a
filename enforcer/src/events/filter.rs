//! Which events a follower wants.

use std::fmt;

use enforcer_common::reason::Verdict;

use super::cidr::{Cidr, NotACidr};
use super::event::{Event, Name, Refusal};
use crate::policy::Service;

/// Prefix of an unwanted property's name in queries.
const NOT: &str = "not_";
/// Number of properties.
const KINDS: usize = 7;
/// Most parts of a filter: each is evaluated for each event.
const MAX_TERMS: usize = 64;

/// Properties that an event must and must not have to be sent; an empty filter takes all. Lines
/// about loss and tampering match every filter, because a reader of a part must know that it may be
/// incomplete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// For each kind that occurs here, one has to match.
    pub wanted: Vec<Term>,
    /// None of these may match.
    pub unwanted: Vec<Term>,
}

/// One property of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// Name of the group.
    Group(String),
    /// Name, MAC address or IP address of the device.
    Device(String),
    /// Prefix of the destination.
    To(Cidr),
    /// Protocol and destination port.
    Service(Service),
    /// Name of the reason.
    Reason(String),
    /// Whether the frame was dropped.
    Verdict(Verdict),
    /// Interface that received the frame, or was about to send it.
    Interface(String),
}

/// Why a query is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such property.
    #[error("there is no filter `{0}`")]
    Unknown(String),
    /// Its value is invalid.
    #[error("{0}")]
    Value(String),
}

impl Term {
    /// Reads a property by its name in queries.
    ///
    /// # Errors
    ///
    /// When there is no such property, or none with this value.
    pub fn parse(name: &str, value: &str) -> Result<Self, Error> {
        let wrong = |error: &dyn fmt::Display| Error::Value(error.to_string());
        match name {
            "group" => Ok(Self::Group(value.into())),
            "device" => Ok(Self::Device(value.into())),
            "to" => value.parse().map(Self::To).map_err(|e: NotACidr| wrong(&e)),
            "service" => service(value).map(Self::Service),
            "reason" => Ok(Self::Reason(value.into())),
            "verdict" => verdict(value).map(Self::Verdict),
            "interface" => Ok(Self::Interface(value.into())),
            other => Err(Error::Unknown(other.into())),
        }
    }

    /// Its name and its value in queries.
    fn parts(&self) -> (&'static str, String) {
        match self {
            Self::Group(name) => ("group", name.clone()),
            Self::Device(name) => ("device", name.clone()),
            Self::To(cidr) => ("to", cidr.to_string()),
            Self::Service(service) => ("service", service.to_string()),
            Self::Reason(name) => ("reason", name.clone()),
            Self::Verdict(verdict) => ("verdict", verdict.name().into()),
            Self::Interface(name) => ("interface", name.clone()),
        }
    }

    /// Which property it is.
    fn kind(&self) -> usize {
        match self {
            Self::Group(_) => 0,
            Self::Device(_) => 1,
            Self::To(_) => 2,
            Self::Service(_) => 3,
            Self::Reason(_) => 4,
            Self::Verdict(_) => 5,
            Self::Interface(_) => 6,
        }
    }

    fn matches(&self, event: &Event) -> bool {
        let is = |wanted: &str, value: Option<&Name>| value.is_some_and(|value| **value == *wanted);
        let refusal = event.refusal();
        match self {
            Self::Group(name) => is(name, event.group()),
            Self::Device(name) => is_device(name, event),
            Self::To(cidr) => {
                let to = refusal.and_then(|refusal| refusal.destination);
                to.is_some_and(|ip| cidr.contains(ip))
            }
            Self::Service(service) => key(event).is_some_and(|key| service.contains(key)),
            Self::Reason(name) => event.reason().is_some_and(|reason| reason == name.as_str()),
            Self::Verdict(verdict) => event.verdict() == Some(*verdict),
            Self::Interface(name) => is(name, event.head().interface.as_ref()),
        }
    }
}

/// A service of the policy language.
///
/// # Errors
///
/// The error says what may be written instead.
fn service(text: &str) -> Result<Service, Error> {
    Service::parse(text).map_err(|error| Error::Value(error.to_string()))
}

/// Protocol and port of an event as a service has them, see [`enforcer_common::image`].
fn key(event: &Event) -> Option<u32> {
    let refusal = event.refusal()?;
    let protocol = u32::from(refusal.protocol?.0);
    Some(protocol << 16 | u32::from(refusal.destination_port.unwrap_or(0)))
}

fn verdict(name: &str) -> Result<Verdict, Error> {
    let known = Verdict::named(name).filter(|verdict| *verdict != Verdict::Pass);
    known.ok_or_else(|| Error::Value(format!("`{name}` is neither drop nor would-drop")))
}

impl Filter {
    /// A filter that takes only what has this property.
    #[must_use]
    pub fn only(mut self, term: Term) -> Self {
        self.wanted.push(term);
        self
    }

    /// Adds a part of a query; names of properties that must not match begin with `not_`.
    ///
    /// # Errors
    ///
    /// When there is no such property, or none with this value.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), Error> {
        if self.wanted.len() + self.unwanted.len() >= MAX_TERMS {
            return Err(Error::Value(format!("a filter has {MAX_TERMS} parts at most")));
        }
        match name.strip_prefix(NOT) {
            Some(name) => self.unwanted.push(Term::parse(name, value)?),
            None => self.wanted.push(Term::parse(name, value)?),
        }
        Ok(())
    }

    /// Whether an event is wanted.
    pub fn matches(&self, event: &Event) -> bool {
        if matches!(event, Event::Lost(_) | Event::Tamper(_)) {
            return true;
        }
        if self.unwanted.iter().any(|term| term.matches(event)) {
            return false;
        }
        // Any of several values of one property may match. One pass, because there may be many.
        let (mut named, mut found) = ([false; KINDS], [false; KINDS]);
        for term in &self.wanted {
            let kind = term.kind();
            named[kind] = true;
            found[kind] = found[kind] || term.matches(event);
        }
        named == found
    }

    /// Whether it takes every event.
    pub fn takes_all(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty()
    }

    /// The query for this filter.
    pub fn query(&self) -> String {
        let mut query = String::new();
        for (not, terms) in [("", &self.wanted), (NOT, &self.unwanted)] {
            for (name, value) in terms.iter().map(Term::parts) {
                query.push_str(if query.is_empty() { "" } else { "&" });
                query.push_str(not);
                query.push_str(name);
                query.push('=');
                percent_encode(&value, &mut query);
            }
        }
        query
    }
}

fn is_device(wanted: &str, event: &Event) -> bool {
    event.device().is_some_and(|name| **name == *wanted)
        || event.mac().is_some_and(|mac| mac.to_string().eq_ignore_ascii_case(wanted))
        || event
            .refusal()
            .and_then(Refusal::device_address)
            .is_some_and(|address| address.to_string().eq_ignore_ascii_case(wanted))
}

/// RFC 3986, section 2.3: all but the unreserved characters.
pub(crate) fn percent_encode(value: &str, out: &mut String) {
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
    use super::super::event::tests::{event, refusal};
    use super::super::event::{Lost, Protocol, RING_FULL, ReasonName};
    use super::*;

    /// From the parts of a query.
    pub(crate) fn filter(parts: &[(&str, &str)]) -> Filter {
        let mut filter = Filter::default();
        for (name, value) in parts {
            filter.add(name, value).unwrap();
        }
        filter
    }

    #[test]
    fn each_part_decides() {
        for (name, yes, no) in [
            ("group", "patient-monitors", "pumps"),
            ("device", "bed-12", "bed-1"),
            ("device", "00:1B:44:11:3a:b7", "00:1b:44:11:3a:b6"),
            ("device", "10.20.0.12", "10.20.0.1"),
            ("to", "202.114.4.0/24", "202.114.5.0/24"),
            ("service", "tcp/500-515", "udp/515"),
            ("service", "tcp", "tcp/516"),
            ("reason", "deny", "default-drop"),
            ("verdict", "drop", "would-drop"),
            ("interface", "lan0", "lan1"),
        ] {
            assert!(filter(&[(name, yes)]).matches(&event()), "{name} {yes}");
            assert!(!filter(&[(name, no)]).matches(&event()), "{name} {no}");
            let not = format!("not_{name}");
            assert!(!filter(&[(&not, yes)]).matches(&event()), "{not} {yes}");
            assert!(filter(&[(&not, no)]).matches(&event()), "{not} {no}");
            assert!(filter(&[(name, no), (name, yes)]).matches(&event()), "any of {name}");
            assert!(!filter(&[(name, yes), (&not, yes)]).matches(&event()), "{name} and {not}");
        }
        assert!(Filter::default().matches(&event()));
        assert!(!filter(&[("group", "pumps"), ("device", "bed-12")]).matches(&event()));
    }

    #[test]
    fn services_without_ports() {
        let of = |protocol| {
            let mut refusal = refusal();
            (refusal.protocol, refusal.destination_port) = (protocol, None);
            Event::Drop(refusal.into())
        };
        let event = of(Some(Protocol(47)));
        assert!(filter(&[("service", "proto/47")]).matches(&event));
        assert!(!filter(&[("service", "tcp")]).matches(&event));
        let event = of(None);
        assert!(!filter(&[("service", "any")]).matches(&event), "it has no service");
        assert!(filter(&[("not_service", "any")]).matches(&event));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let mut filter = Filter::default();
        assert_eq!(filter.add("colour", "red"), Err(Error::Unknown("colour".into())));
        assert_eq!(filter.add("not_", "red"), Err(Error::Unknown(String::new())));
        for (name, value, said) in [
            ("to", "bed-12", "neither an address nor a CIDR"),
            ("service", "https", "write `tcp/443`"),
            ("not_verdict", "pass", "neither drop nor would-drop"),
        ] {
            let error = filter.add(name, value).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(filter, Filter::default());
    }

    #[test]
    fn a_line_about_loss_passes_every_filter() {
        let (head, cause) = (refusal().head, ReasonName::of(RING_FULL));
        let lost = Event::Lost(Lost { head, cause, count: 7, frames: None });
        assert!(filter(&[("group", "pumps")]).matches(&lost));
    }

    #[test]
    fn queries_are_encoded() {
        let parts = [
            ("group", "a b&c=ü"),
            ("to", "2001:db8::/32"),
            ("service", "udp/8000-8010"),
            ("not_verdict", "would-drop"),
        ];
        let expected = "group=a%20b%26c%3D%C3%BC&to=2001%3Adb8%3A%3A%2F32\
                        &service=udp%2F8000-8010&not_verdict=would-drop";
        assert_eq!(filter(&parts).query(), expected);
        assert_eq!(Filter::default().query(), "");
    }
}
