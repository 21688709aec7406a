//! Untrusted text in logs, messages and tables: one test for unsafe characters, and two ways to show them.
//!
//! Request targets, file names, user names and operators' texts may contain anything. In a log, a newline
//! would forge a line; on a terminal, an escape sequence would be obeyed, and a bidirectional control
//! could show `deny` where the text says `allow` (Unicode Technical Report 36, section 2.10).

use std::borrow::Cow;

/// Whether a character must not be shown as it is: control characters, and characters that are invisible or
/// that reorder or break the text around them.
pub fn is_unsafe(character: char) -> bool {
    character.is_control() || is_invisible(character)
}

/// Whether a character reorders the text around it, or ends a line without being a control character:
/// refused in every name and reason.
///
/// Bidi_Control of Unicode (PropList.txt) and the two separators of category Zl and Zp.
pub fn reorders(character: char) -> bool {
    matches!(character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character has no width or looks like a blank: the format characters and separators of Unicode,
/// and those that are ignored if they cannot be displayed (Default_Ignorable_Code_Point).
pub fn is_invisible(character: char) -> bool {
    let blank = !character.is_ascii() && character.is_whitespace();
    blank
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The text in one line, with each unsafe character escaped (`
/// `, `\u{1b}`). Text without any is returned unchanged.
pub fn escaped(text: &str) -> Cow<'_, str> {
    escape(text, is_unsafe)
}

/// The same for a text of several lines: line ends stay.
pub fn escaped_lines(text: &str) -> Cow<'_, str> {
    escape(text, |character| is_unsafe(character) && character != '\n')
}

fn escape(text: &str, unsafe_: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&unsafe_) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match unsafe_(character) {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// The text with each unsafe character replaced by U+FFFD. The number of characters stays, so that columns
/// line up.
pub fn plain(text: &str) -> String {
    replaced(text, is_unsafe)
}

/// The same for a document: tabs and line ends stay.
pub fn plain_lines(text: &str) -> String {
    replaced(text, |character| is_unsafe(character) && !matches!(character, '\t' | '\n'))
}

fn replaced(text: &str, unsafe_: impl Fn(char) -> bool) -> String {
    text.chars().map(|c| if unsafe_(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_in_its_line() {
        let forged = "a\nERROR: b\x1b[31m\u{202e}c\u{85}\u{2028}\u{200f}ü";
        let expected = "a\\nERROR: b\\u{1b}[31m\\u{202e}c\\u{85}\\u{2028}\\u{200f}ü";
        assert_eq!(escaped(forged), expected);
        assert_eq!(escaped_lines("a\nb\r"), "a\nb\\r");
        assert_eq!(plain("a\x1b[31mb\n\u{202e}"), "a\u{fffd}[31mb\u{fffd}\u{fffd}");
        assert_eq!(plain_lines("\ta # \u{1b}[2J\u{202e}b\n"), "\ta # \u{fffd}[2J\u{fffd}b\n");
        assert!(matches!(escaped("Bett 12, Überwachung"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_reorders_is_unsafe_to_show() {
        let all = (0..=0x10_ffff).filter_map(char::from_u32);
        let bidi: Vec<char> = all.filter(|c| reorders(*c)).collect();
        assert_eq!(bidi.len(), 3 + 7 + 4);
        assert!(bidi.into_iter().all(is_unsafe));
        assert!(!is_unsafe(' ') && !is_unsafe('é'));
    }
}
