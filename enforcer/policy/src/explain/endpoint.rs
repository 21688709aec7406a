//! Parses the destination and the protocol of a request.

use std::net::IpAddr;

use enforcer_common::wire::protocol;

use super::Error;
use crate::address::{ParseError, quoted};
use crate::{Range, Service};

/// Destination of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) address: IpAddr,
    pub(super) protocol: u8,
    /// Destination port, if the protocol has ports.
    pub(super) port: Option<u16>,
}

impl Endpoint {
    /// Parses `ADDR`, `ADDR:PORT`, `[ADDR]` or `[ADDR]:PORT`, and a protocol.
    pub(super) fn parse(to: &str, proto: &str) -> Result<Self, Error> {
        let protocol = parse_protocol(proto)?;
        let (host, port) = split(to)?;
        let address = parse_address(host)?;
        let port = port.map(|port| parse_port(to, port)).transpose()?;
        let name = name(protocol);
        match (has_ports(protocol), port) {
            (true, None) => {
                let hint = format!("write `{}`", join(address, 443));
                return Err(Error::PortMissing { protocol: name, hint });
            }
            (false, Some(_)) => {
                let hint = format!("write `{address}` alone, or another protocol");
                return Err(Error::PortGiven { protocol: name, hint });
            }
            (true, Some(_)) | (false, None) => {}
        }
        let other = match (protocol, address) {
            (protocol::ICMP, IpAddr::V6(_)) => Some("icmpv6"),
            (protocol::ICMPV6, IpAddr::V4(_)) => Some("icmp"),
            _ => None,
        };
        if let Some(other) = other {
            let hint = format!("write `--proto {other}`");
            return Err(Error::Family { from: name, to: address.to_string(), hint });
        }
        Ok(Self { address, protocol, port })
    }

    /// `202.114.4.119 tcp/443`.
    pub(super) fn words(&self) -> String {
        let service = match self.port {
            Some(port) => Service::ports(self.protocol, port, port),
            None => Service::protocol(self.protocol),
        };
        format!("{} {service}", self.address)
    }
}

/// Whether the protocol has ports in the policy language.
pub(super) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
}

fn name(protocol: u8) -> String {
    Service::protocol(protocol).to_string()
}

pub(super) fn parse_protocol(text: &str) -> Result<u8, Error> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.strip_prefix("proto/").unwrap_or(&lower);
    if number.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(number) = number.parse()
    {
        return Ok(number);
    }
    match lower.as_str() {
        "tcp" => Ok(protocol::TCP),
        "udp" => Ok(protocol::UDP),
        "sctp" => Ok(protocol::SCTP),
        "icmp" => Ok(protocol::ICMP),
        "icmpv6" | "ipv6-icmp" | "icmp6" => Ok(protocol::ICMPV6),
        _ => Err(Error::Protocol { name: crate::address::cut(text, 60) }),
    }
}

/// Address and port as text.
fn split(text: &str) -> Result<(&str, Option<&str>), Error> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            let message = format!("{} has no `]`", quoted(text));
            return Err(Error::Endpoint { message, hint: "write `[2001:db8::1]:443`".to_owned() });
        };
        return match (rest, rest.strip_prefix(':')) {
            ("", _) => Ok((host, None)),
            (_, Some(port)) => Ok((host, Some(port))),
            _ => {
                let message = format!("{} does not go on with a port", quoted(text));
                Err(Error::Endpoint { message, hint: format!("write `[{host}]:443`") })
            }
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Ok((host, Some(port))),
        _ => Ok((text, None)),
    }
}

pub(super) fn parse_address(text: &str) -> Result<IpAddr, Error> {
    let refuse = |error: ParseError| Error::Endpoint {
        message: error.message,
        hint: error.hint.unwrap_or_else(|| "write an IPv4 or IPv6 address".to_owned()),
    };
    let range = Range::parse(text).map_err(refuse)?;
    text.parse().map_err(|_| Error::Endpoint {
        message: format!("`{range}` is more than one address"),
        hint: "a frame goes to one address: choose one of them".to_owned(),
    })
}

pub(super) fn parse_port(whole: &str, text: &str) -> Result<u16, Error> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| Error::Endpoint {
        message: format!("{} does not end with a port", quoted(whole)),
        hint: "ports are numbers, 0 to 65535: `10.20.0.10:443`, `[2001:db8::1]:443`".to_owned(),
    })
}

/// `10.20.0.10:443`, `[2001:db8::1]:443`.
pub(super) fn join(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}
