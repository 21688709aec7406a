//! MAC addresses and prefixes, in the notations of labels, switches, the IEEE's lists and Wireshark.

use std::fmt;
use std::net::IpAddr;

use super::{ParseError, hex, length_is_odd};
use crate::Mac;

/// Hexadecimal digits of an address.
const ALL: usize = 12;
/// Fewest digits without a separator that are read as a prefix: a manufacturer's block.
const BLOCK: usize = 6;
/// A hint that shows how to write a prefix.
const EXAMPLE: &str = "write the leading bytes and a length in bits: `00:1b:44/24`";

impl std::str::FromStr for Mac {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(format!("`{text}` is not a MAC address"), EXAMPLE);
        Self::parse(text).ok_or_else(wrong)
    }
}

/// Lower case, with colons.
impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Mac {
    /// Reads `00:1b:44:11:3a:b7`, `00-1b-44-11-3a-b7`, `001b.4411.3ab7`, `001b44-113ab7` or
    /// `001b44113ab7`.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, count) = digits(text)?;
        (count == ALL).then(|| Self::from_number(number))
    }

    fn from_number(number: u64) -> Self {
        let [_, _, bytes @ ..] = number.to_be_bytes();
        Self(bytes)
    }

    /// Whether it is a group address (the group bit is set), which no device has as its own.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

/// Parses a MAC prefix: the address with zeros after the prefix, and the length in bits, 1 to 48.
pub(crate) fn mac_prefix(text: &str) -> Result<(Mac, u8), ParseError> {
    read(text).map_err(|error| error.printable(text, "a MAC prefix"))
}

fn read(text: &str) -> Result<(Mac, u8), ParseError> {
    if let Some((leading, length)) = wildcard(text) {
        return read(&format!("{leading}/{length}"));
    }
    let (address, length) = text.split_once('/').unwrap_or((text, "48"));
    let Some((number, count)) = digits(address) else {
        return Err(ParseError::new(format!("`{text}` is not a MAC prefix"), EXAMPLE));
    };
    let length = match length.parse::<u8>() {
        Ok(length @ 1..=48) if !length_is_odd(text) => length,
        _ => {
            return Err(ParseError::new(
                format!("`{length}` is not the length of a MAC prefix"),
                "1 to 48 bits; 24 covers one manufacturer's block",
            ));
        }
    };
    if usize::from(length) > count * 4 {
        return Err(ParseError::new(
            format!("`{text}` gives {} bits, fewer than its length", count * 4),
            "write as many bytes as the length covers: `00:1b:44/24`",
        ));
    }
    let kept = number & !((1_u64 << (48 - u32::from(length))) - 1);
    let prefix = Mac::from_number(kept);
    if kept != number {
        return Err(ParseError::new(
            format!("`{text}` has bits set behind its first {length}"),
            format!("write `{prefix}/{length}`, or a longer length"),
        ));
    }
    Ok((prefix, length))
}

/// Whether a text is a MAC prefix with a wildcard: `00:1b:44:*`, `00-1b-44-xx-xx-xx`.
pub(crate) fn is_wildcard(text: &str) -> bool {
    wildcard(text).is_some()
}

/// The bytes before the wildcard, and their length in bits.
fn wildcard(text: &str) -> Option<(String, usize)> {
    let separator = if text.contains(':') { ":" } else { "-" };
    let groups: Vec<&str> = text.split(separator).collect();
    let given = groups.iter().take_while(|group| hex(group, 2).is_some()).count();
    let (leading, rest) = groups.split_at_checked(given)?;
    let any = |group: &&str| matches!(*group, "*" | "**" | "xx" | "XX");
    let whole = groups.len() == ALL / 2 || *rest == ["*"];
    let fits = (1..ALL / 2).contains(&given) && !rest.is_empty() && rest.iter().all(any) && whole;
    fits.then(|| (leading.join(separator), given * 8))
}

/// Whether a text, or its part before a `/`, is meant as a MAC address and not as an IPv6 address.
pub(crate) fn looks_like_mac(text: &str) -> bool {
    text.parse::<IpAddr>().is_err() && digits(text).is_some()
}

/// The correct notation for a text that looks like a MAC prefix without a length: `00:1b:44/24`.
pub(crate) fn as_prefix(text: &str) -> Option<String> {
    let (number, count) = digits(text)?;
    let Mac(bytes) = Mac::from_number(number);
    let bytes: Vec<String> =
        bytes.iter().take(count.div_ceil(2)).map(|byte| format!("{byte:02x}")).collect();
    (count < ALL).then(|| format!("{}/{}", bytes.join(":"), count * 4))
}

/// The digits as a number, padded with zeros on the right, and their count.
///
/// Groups have the same length, except that the last may be shorter: the IEEE's blocks can end within a
/// byte.
fn digits(text: &str) -> Option<(u64, usize)> {
    let separator = text.chars().find(|c| matches!(c, ':' | '-' | '.'));
    let groups: Vec<&str> = match separator {
        Some(separator) => text.split(separator).collect(),
        None => vec![text],
    };
    let size = groups.first()?.len();
    // Groups of four with colons would be an IPv6 address, groups of two with dots an IPv4 address.
    let known = match separator {
        None => size >= BLOCK,
        Some(':') => size == 2,
        Some('.') => size == 4,
        Some(_) => size == 2 || size == 4 || size == 6,
    };
    let (last, others) = groups.split_last()?;
    let even = others.iter().all(|group| group.len() == size) && (1..=size).contains(&last.len());
    let count = groups.iter().map(|group| group.len()).sum();
    if !known || !even || count > ALL || (separator.is_some() && others.is_empty()) {
        return None;
    }
    let mut number = 0_u64;
    for group in &groups {
        // `from_str_radix` accepts a sign; a MAC address has none.
        number =
            number << (4 * group.len()) | u64::from_str_radix(hex(group, group.len())?, 16).ok()?;
    }
    Some((number << (4 * (ALL - count)), count))
}
