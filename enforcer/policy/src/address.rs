//! Addresses, CIDRs, ranges and MAC addresses: parsing and formatting.

mod mac;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_common::flow::{Address, FAMILY_V4, FAMILY_V6};

pub(crate) use self::mac::{as_prefix, is_wildcard, looks_like_mac, mac_prefix};
use super::{Mac, Range};
use crate::shown::{escaped, is_invisible};

/// Family and address, in the form in which the parser reads them from a frame.
pub fn numbers(address: IpAddr) -> (u8, Address) {
    match address {
        IpAddr::V4(address) => (FAMILY_V4, Address::v4(address.into())),
        IpAddr::V6(address) => (FAMILY_V6, Address::v6(address.octets())),
    }
}

/// Why a text cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong; in lower case, without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The message and the hint.
impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl ParseError {
    /// An error with a hint.
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }

    /// The same error, or one that does not repeat the text: if the text is too long, has control
    /// characters, or has a look-alike character.
    pub(crate) fn printable(self, text: &str, wanted: &str) -> Self {
        const LONGEST: usize = 100;
        if let Some(hint) = foreign(text) {
            return Self::new(format!("{} is not {wanted}", quoted(text)), hint);
        }
        if text.len() > LONGEST || text.contains(char::is_control) {
            return Self { message: format!("{} is not {wanted}", quoted(text)), hint: None };
        }
        self
    }
}

const MAPPED_FIRST: u128 = 0xffff_0000_0000;
const MAPPED_LAST: u128 = 0xffff_ffff_ffff;

impl Range {
    /// Reads an address, a CIDR or a range `a-b`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Self::read(text).map_err(|error| error.printable(text, "an address"))
    }

    fn read(text: &str) -> Result<Self, ParseError> {
        let range = if let Some((address, length)) = text.split_once('/') {
            cidr(text, address, length)?
        } else if let Ok(address) = text.parse() {
            Self::single(address)
        } else if let Some((first, last)) = text.split_once('-') {
            between(first.trim_end(), last.trim_start())?
        } else {
            return Err(no_address(text));
        };
        refuse_mapped(range)
    }

    /// A range with a single address.
    pub fn single(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address.to_bits(), address.to_bits()),
            IpAddr::V6(address) => Self::V6(address.to_bits(), address.to_bits()),
        }
    }

    /// The prefixes that make up the range, ascending: first address and length in bits.
    pub fn prefixes(self) -> Vec<(IpAddr, u8)> {
        let mut found = Vec::new();
        match self {
            Self::V4(first, last) => split(first.into(), last.into(), 32, |address, length| {
                let address = Ipv4Addr::from_bits(u32::try_from(address).unwrap_or(u32::MAX));
                found.push((address.into(), length));
            }),
            Self::V6(first, last) => split(first, last, 128, |address, length| {
                found.push((Ipv6Addr::from_bits(address).into(), length));
            }),
        }
        found
    }

    /// Whether the range contains the address.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(first, last), IpAddr::V4(address)) => {
                (first..=last).contains(&address.to_bits())
            }
            (Self::V6(first, last), IpAddr::V6(address)) => {
                (first..=last).contains(&address.to_bits())
            }
            (Self::V4(..), IpAddr::V6(_)) | (Self::V6(..), IpAddr::V4(_)) => false,
        }
    }
}

/// A single address, a CIDR if the range is one, else `first-last`.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last, bits): (IpAddr, IpAddr, u32) = match *self {
            Self::V4(first, last) => {
                (Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(last).into(), 32)
            }
            Self::V6(first, last) => {
                (Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(last).into(), 128)
            }
        };
        let (low, high) = match *self {
            Self::V4(first, last) => (first.into(), last.into()),
            Self::V6(first, last) => (first, last),
        };
        let differ: u128 = low ^ high;
        if differ == 0 {
            return write!(f, "{first}");
        }
        let free = 128 - differ.leading_zeros();
        let mask = differ; // all ones below `free` if the range is a prefix
        if differ.count_ones() == free && low & mask == 0 {
            return write!(f, "{first}/{}", bits - free);
        }
        write!(f, "{first}-{last}")
    }
}

/// Whether the text is probably meant as an address, a CIDR, a range or a MAC address.
pub(crate) fn looks_like_address(text: &str) -> bool {
    let numeric = text.contains('.')
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'/'));
    let slash = text.split_once('/').is_some_and(|(_, length)| length.parse::<u8>().is_ok());
    // Twelve digits without a separator may be a serial number, and so a device name.
    let groups = text.split('-').count() == 6 || text.split('.').count() == 3;
    numeric || slash || text.contains(':') || groups && Mac::parse(text).is_some()
}

/// The text, if it is exactly this many hexadecimal digits.
fn hex(part: &str, digits: usize) -> Option<&str> {
    (part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(part)
}

/// Whether a length has a sign or leading zeros, which `parse` would accept.
fn length_is_odd(text: &str) -> bool {
    let length = text.split_once('/').map_or("48", |(_, length)| length);
    length.len() > 1 && !matches!(length.as_bytes().first(), Some(b'1'..=b'9'))
        || !length.bytes().all(|byte| byte.is_ascii_digit())
}

fn cidr(text: &str, address: &str, length: &str) -> Result<Range, ParseError> {
    let parsed: IpAddr = match address.parse() {
        Ok(parsed) => parsed,
        Err(_) if !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(ParseError::new(
                format!("`{text}` is not a CIDR"),
                format!("write all four numbers: `{address}.0.0.0/{length}`"),
            ));
        }
        Err(_) => return Err(no_address(address)),
    };
    let bits = if parsed.is_ipv4() { 32_u8 } else { 128 };
    let length = match length.parse::<u8>() {
        Ok(value) if value <= bits && !length_is_odd(text) => value,
        _ => {
            let hint = match length.parse::<Ipv4Addr>().map(Ipv4Addr::to_bits) {
                Ok(mask) if mask.leading_ones() + mask.trailing_zeros() == 32 => {
                    format!("write the mask as a length: `{address}/{}`", mask.leading_ones())
                }
                _ => format!("a length is a number from 0 to {bits}"),
            };
            return Err(ParseError::new(format!("`{length}` is not a prefix length"), hint));
        }
    };
    let free = u32::from(bits - length);
    let host = 1_u128.checked_shl(free).unwrap_or(0).wrapping_sub(1);
    let range = match parsed {
        IpAddr::V4(address) => {
            let host = u32::try_from(host).unwrap_or(u32::MAX);
            Range::V4(address.to_bits() & !host, address.to_bits() | host)
        }
        IpAddr::V6(address) => Range::V6(address.to_bits() & !host, address.to_bits() | host),
    };
    if !matches!((range, parsed), (Range::V4(first, _), IpAddr::V4(a)) if first == a.to_bits())
        && !matches!((range, parsed), (Range::V6(first, _), IpAddr::V6(a)) if first == a.to_bits())
    {
        return Err(ParseError::new(
            format!("`{text}` has address bits set behind its first {length}"),
            format!("write `{range}` for the network, or `{address}` for the one address"),
        ));
    }
    Ok(range)
}

fn between(first: &str, last: &str) -> Result<Range, ParseError> {
    let low: IpAddr = first.parse().map_err(|_| no_address(first))?;
    let high: IpAddr = last.parse().map_err(|_| no_address(last))?;
    let range = match (low, high) {
        (IpAddr::V4(low), IpAddr::V4(high)) => {
            (low <= high).then(|| Range::V4(low.to_bits(), high.to_bits()))
        }
        (IpAddr::V6(low), IpAddr::V6(high)) => {
            (low <= high).then(|| Range::V6(low.to_bits(), high.to_bits()))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            return Err(ParseError::new(
                format!("the range `{first}-{last}` mixes IPv4 and IPv6"),
                "both ends of a range are of one family",
            ));
        }
    };
    range.ok_or_else(|| {
        ParseError::new(
            format!("the range `{first}-{last}` ends before it begins"),
            format!("write `{last}-{first}`"),
        )
    })
}

fn refuse_mapped(range: Range) -> Result<Range, ParseError> {
    let Range::V6(first @ MAPPED_FIRST..=MAPPED_LAST, last @ MAPPED_FIRST..=MAPPED_LAST) = range
    else {
        return Ok(range);
    };
    let low = |number: u128| u32::try_from(number & 0xffff_ffff).unwrap_or(0);
    Err(ParseError::new(
        format!("`{range}` is an IPv4-mapped IPv6 address, which no frame carries"),
        format!("write `{}`", Range::V4(low(first), low(last))),
    ))
}

/// Why a text is not an address, as specifically as possible.
fn no_address(text: &str) -> ParseError {
    let message = format!("`{text}` is not an address");
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let octets = text.split('.').count();
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let hint = if text.is_empty() {
        "write an IPv4 or IPv6 address".to_owned()
    } else if text.trim() != text {
        "leave out the spaces".to_owned()
    } else if let Some(inner) = inner {
        format!("leave out the brackets: `{inner}`")
    } else if let Some((address, _)) = text.split_once('%') {
        format!("leave out the zone: `{address}`")
    } else if numeric && octets == 4 {
        if text.split('.').any(|octet| octet.parse::<u16>().map_or(true, |number| number > 255)) {
            "each of the four numbers is 0 to 255".to_owned()
        } else {
            "leave out leading zeros: some programs read them as octal".to_owned()
        }
    } else if numeric && text.contains('.') {
        format!("an IPv4 address has four numbers, this has {octets}")
    } else if Mac::parse(text).is_some() {
        "this is a MAC address; an IP address belongs here".to_owned()
    } else if text.contains(':') && looks_like_mac(text) {
        "this is a MAC prefix; an IP address belongs here".to_owned()
    } else if text.parse::<std::net::SocketAddr>().is_ok() {
        "ports belong into `service`: `tcp/443`".to_owned()
    } else if text.contains("//")
        || text.contains('.') && text.contains(|c: char| c.is_alphabetic())
    {
        "names cannot be used yet; write the addresses, or a set of them".to_owned()
    } else {
        "write an address (`10.20.0.10`), a CIDR (`10.20.0.0/24`) or a range (`10.20.0.5-10.20.0.9`)"
            .to_owned()
    };
    ParseError::new(message, hint)
}

/// A hint about the first character that is not ASCII: addresses and services have only ASCII.
fn foreign(text: &str) -> Option<String> {
    let (at, character) = text.char_indices().find(|(_, character)| !character.is_ascii())?;
    let code = format!("U+{:04X}", u32::from(character));
    Some(if character == char::REPLACEMENT_CHARACTER {
        "there is a byte that is not UTF-8; save the file as UTF-8".to_owned()
    } else if is_invisible(character) {
        let place = match (at, at + character.len_utf8()) {
            (0, _) => "in front of it",
            (_, end) if end == text.len() => "behind it",
            _ => "in it",
        };
        format!("leave out the invisible character {code} {place}")
    } else if matches!(character, '\u{2010}'..='\u{2015}' | '\u{2212}') {
        format!("write `-` in the place of `{character}` ({code})")
    } else {
        format!("write it in ASCII: `{character}` is {code}")
    })
}

/// Splits a range into prefixes.
fn split(mut first: u128, last: u128, bits: u8, mut found: impl FnMut(u128, u8)) {
    while first <= last {
        // The largest block that begins here and fits into the range.
        let aligned = if first == 0 { 128 } else { first.trailing_zeros() };
        let fits = match (last - first).checked_add(1) {
            Some(count) => count.ilog2(),
            None => 128,
        };
        let free = aligned.min(fits).min(u32::from(bits));
        found(first, bits - u8::try_from(free).unwrap_or(bits));
        let step = 1_u128.checked_shl(free).unwrap_or(0);
        match first.checked_add(step) {
            Some(next) if step != 0 => first = next,
            _ => return,
        }
    }
}

/// A word of the document for use in a message: shortened, without control characters.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    format!("`{}`", cut(text, SHOWN))
}

/// The beginning of a text, with control characters escaped.
pub(crate) fn cut(text: &str, length: usize) -> String {
    let short: String = text.chars().take(length).collect();
    let mut short = escaped(&short).into_owned();
    if text.chars().nth(length).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
