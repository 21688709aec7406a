//! Syntax errors: a limit on their number, and their wording.

use std::borrow::Cow;

use toml_parser::decoder::Encoding;
use toml_parser::lexer::TokenKind;
use toml_parser::parser::{EventReceiver, RecursionGuard, ValidateWhitespace, parse_document};
use toml_parser::{ErrorSink, ParseError as TomlError, Raw, Source, Span};

/// Most syntax errors that are parsed. The rest of the document is ignored, because it is not accepted
/// anyway.
pub(super) const MAX_ERRORS: usize = 1000;

/// Maximum nesting, as in `toml`.
const MAX_DEPTH: u32 = 80;

/// The document up to the line in which the limit of syntax errors is reached.
///
/// The parser stores every error with its message: three hundred bytes for two bytes of garbage.
pub(super) fn readable(text: &str) -> &str {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut count = 0_usize;
    let mut end = None;
    let mut errors = |error: TomlError| {
        count += 1;
        if count == MAX_ERRORS {
            end = error.unexpected().map(|span| span.start());
        }
    };
    let mut decode = Decode { source };
    let mut guard = RecursionGuard::new(&mut decode, MAX_DEPTH);
    let mut receiver = ValidateWhitespace::new(&mut guard, source);
    parse_document(&tokens, &mut receiver, &mut errors);
    let Some((before, after)) = end.and_then(|end| text.split_at_checked(end)) else {
        return text;
    };
    let rest = after.find('\n').unwrap_or(after.len());
    text.get(..before.len() + rest).unwrap_or(text)
}

/// Offsets of replacement characters outside comments, which stand for invalid UTF-8.
pub(super) fn undecodable(text: &str) -> Vec<usize> {
    if !text.contains(char::REPLACEMENT_CHARACTER) {
        return Vec::new();
    }
    let mut offsets = Vec::new();
    for token in Source::new(text).lex() {
        let (start, end) = (token.span().start(), token.span().end());
        let part = text.get(start..end).filter(|_| token.kind() != TokenKind::Comment);
        let found =
            part.into_iter().flat_map(|part| part.match_indices(char::REPLACEMENT_CHARACTER));
        offsets.extend(found.map(|(at, _)| start + at).take(MAX_ERRORS));
    }
    offsets.truncate(MAX_ERRORS);
    offsets
}

/// Reports errors inside keys and values, and stores nothing.
struct Decode<'t> {
    source: Source<'t>,
}

impl Decode<'_> {
    fn raw(&self, span: Span, encoding: Option<Encoding>) -> Option<Raw<'_>> {
        let text = self.source.input().get(span.start()..span.end())?;
        Some(Raw::new_unchecked(text, encoding, span))
    }
}

impl EventReceiver for Decode<'_> {
    fn simple_key(&mut self, span: Span, encoding: Option<Encoding>, error: &mut dyn ErrorSink) {
        if let Some(raw) = self.raw(span, encoding) {
            raw.decode_key(&mut Cow::Borrowed(""), error);
        }
    }

    fn scalar(&mut self, span: Span, encoding: Option<Encoding>, error: &mut dyn ErrorSink) {
        if let Some(raw) = self.raw(span, encoding) {
            let _ = raw.decode_scalar(&mut Cow::Borrowed(""), error);
        }
    }
}

/// The message of the TOML parser in our style, with a hint if one helps.
pub(super) fn explain(message: &str) -> (String, Option<String>) {
    let mut message = message.trim().replace('\n', ", ");
    message.retain(|character| !character.is_control());
    if let Some(start) = message.strip_suffix(", expected literal string") {
        message.truncate(start.len());
    }
    let hint = if message.contains("duplicate key") {
        Some("the same key or table is written twice; keep one")
    } else if message.contains("unquoted") || message.contains("string values must be quoted") {
        Some("texts are written in quotes: \"…\"")
    } else {
        None
    };
    (message, hint.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_floods_are_cut() {
        let few = "a = \nb = x\n".repeat(MAX_ERRORS / 4);
        assert_eq!(readable(&few).len(), few.len());
        for flood in ["=\n", "a = x\n", "a = \"\\q\"\n", "a = 1\r\r\n", "[[[\n"] {
            let text = flood.repeat(20 * MAX_ERRORS);
            let kept = readable(&text).len();
            assert!(kept < text.len() / 10, "{flood:?} keeps {kept} of {}", text.len());
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        for open in ["[", "{a=", "a.", "[a.", "[["] {
            let _ = readable(&format!("a = {}", open.repeat(200_000)));
            let _ = readable(&open.repeat(200_000));
        }
    }
}
