//! Rules for free text from operators: reasons, owners, file names. They are the same for a policy, a live
//! change and a request.

use jiff::{Timestamp, civil, tz::Offset};

use super::address::ParseError;
use crate::shown::{escaped, reorders};

/// Maximum length of a reason or owner, in bytes.
pub const MAX_REMARK: usize = 256;
/// Maximum length of a file name in a request, in bytes: PATH_MAX of Linux.
pub const MAX_FILE: usize = 4096;
/// Maximum length of the remote end or the services of a live change, in bytes.
pub(super) const MAX_WORD: usize = 1024;

/// First and last year in which a rule or a live change may end; other years are taken for a typing error.
pub(super) const YEARS: std::ops::RangeInclusive<u16> = 2000..=2199;

/// Checks that a text can be shown in one line: no control characters, none that reorder it, and at most
/// `longest` bytes. `what` names it in the error.
///
/// # Errors
///
/// What is wrong, with a hint.
pub fn check(what: &str, text: &str, longest: usize) -> Result<(), ParseError> {
    if text.chars().any(char::is_control) {
        return Err(ParseError::new(
            format!("{what} has control characters"),
            "write it in one line",
        ));
    }
    if let Some(character) = text.chars().find(|character| reorders(*character)) {
        let code = format!("U+{:04X}", u32::from(character));
        let message = format!("{what} has the character {code}, which reorders or breaks text");
        return Err(ParseError::new(message, "leave it out: it is invisible"));
    }
    // The reader takes it for a byte that is not UTF-8.
    if text.contains(char::REPLACEMENT_CHARACTER) {
        let message = format!("{what} has the character U+FFFD");
        return Err(ParseError::new(
            message,
            "it stands for a byte that is not UTF-8: leave it out",
        ));
    }
    if text.len() > longest {
        let hint = match longest {
            MAX_REMARK => "give a ticket number and keep the story there",
            _ => "shorten it",
        };
        return Err(ParseError::new(format!("{what} is longer than {longest} bytes"), hint));
    }
    Ok(())
}

/// [`check`] for a reason or an owner.
///
/// # Errors
///
/// As [`check`].
pub fn check_remark(key: &str, text: &str) -> Result<(), ParseError> {
    check(&format!("`{key}`"), text, MAX_REMARK)
}

/// The nearest text that [`check_remark`] accepts: a change stored by an earlier version must not be lost.
pub(super) fn mended(text: &str) -> String {
    let mut mended = escaped(text).replace(char::REPLACEMENT_CHARACTER, "?");
    if mended.len() > MAX_REMARK {
        let end = (0..=MAX_REMARK - '…'.len_utf8()).rev().find(|at| mended.is_char_boundary(*at));
        mended.truncate(end.unwrap_or_default());
        mended.push('…');
    }
    mended
}

/// First and last second in which something may end, in seconds since 1970-01-01 UTC.
fn ends() -> (i64, i64) {
    let year = |year: u16, last: bool| {
        let year = i16::try_from(year).unwrap_or(i16::MAX);
        let date = match last {
            true => civil::date(year, 12, 31).at(23, 59, 59, 0),
            false => civil::date(year, 1, 1).at(0, 0, 0, 0),
        };
        Offset::UTC.to_timestamp(date).map_or(0, Timestamp::as_second)
    };
    (year(*YEARS.start(), false), year(*YEARS.end(), true))
}

/// The nearest end that a policy accepts.
pub fn nearest_end(until: i64) -> i64 {
    let (first, last) = ends();
    until.clamp(first, last)
}

/// Checks whether something may end at a time, in seconds since 1970-01-01 UTC.
///
/// # Errors
///
/// The time is outside the years that a policy accepts.
pub(super) fn check_end(until: i64) -> Result<(), ParseError> {
    let (first, last) = ends();
    if (first..=last).contains(&until) {
        return Ok(());
    }
    let date = Timestamp::from_second(until);
    let date = date.map_or_else(|_| format!("{until} s"), |date| date.to_string());
    let hint = format!("years are {} to {}", YEARS.start(), YEARS.end());
    Err(ParseError::new(format!("nothing can end at {date}"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_is_one_line_that_reads_as_it_is_written() {
        for fine in ["", "CHG-4711", "Bett 12: Überwachung, \"ja\"", &"x".repeat(256)] {
            assert_eq!(check_remark("reason", fine), Ok(()));
            assert_eq!(mended(fine), fine);
        }
        for (bad, why) in [
            ("a\nb", "`reason` has control characters"),
            ("a\u{9b}31m", "`reason` has control characters"),
            ("a\u{202e}b", "`reason` has the character U+202E"),
            ("a\u{2066}b", "`reason` has the character U+2066"),
            ("a\u{200f}b", "`reason` has the character U+200F"),
            ("a\u{2028}b", "`reason` has the character U+2028"),
            ("a\u{fffd}b", "`reason` has the character U+FFFD"),
            (&"ü".repeat(129), "`reason` is longer than 256 bytes"),
        ] {
            let error = check_remark("reason", bad).unwrap_err();
            assert!(error.message.starts_with(why), "{error:?}");
            assert_eq!(check_remark("reason", &mended(bad)), Ok(()), "{bad:?}");
        }
    }

    #[test]
    fn an_end_is_in_the_years_that_a_policy_takes() {
        let second = |text: &str| text.parse::<Timestamp>().unwrap().as_second();
        let (first, last) = (second("2000-01-01T00:00:00Z"), second("2199-12-31T23:59:59Z"));
        assert_eq!(ends(), (first, last));
        assert!(check_end(first).is_ok() && check_end(last).is_ok());
        for until in [i64::MIN, first - 1, last + 1, i64::MAX] {
            assert!(check_end(until).unwrap_err().message.starts_with("nothing can end at "));
        }
    }
}
