//! Converts byte offsets of a text to lines and columns.

use std::fmt;
use std::sync::Arc;

use super::Place;
use crate::shown::escaped;

/// `file:line:column`, as editors and terminals expect it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", escaped(&self.file), self.line, self.column)
    }
}

/// Distance between marks from which characters are counted, so that a look-up does not scan all of a
/// document with a single line.
const STRIDE: usize = 1024;

/// Offsets at which the lines of a text begin.
pub(crate) struct Lines<'t> {
    file: Arc<str>,
    text: &'t str,
    starts: Vec<usize>,
    /// Number of characters before every multiple of [`STRIDE`]; empty if the text is ASCII.
    marks: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// Indexes a text once, so that a look-up takes logarithmic time.
    pub(crate) fn new(file: &str, text: &'t str) -> Self {
        let starts = std::iter::once(0)
            .chain(
                text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at + 1),
            )
            .collect();
        let mut marks = Vec::new();
        if !text.is_ascii() {
            let mut count = 0;
            for chunk in text.as_bytes().chunks(STRIDE) {
                marks.push(count);
                count += characters(chunk);
            }
            marks.push(count);
        }
        Self { file: file.into(), text, starts, marks }
    }

    /// Line and column of a byte offset; an offset after the end counts as the end.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.characters_before(offset) - self.characters_before(start) + 1;
        Place {
            file: self.file.clone(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }

    fn characters_before(&self, offset: usize) -> usize {
        let Some(&mark) = self.marks.get(offset / STRIDE) else { return offset };
        let from = offset / STRIDE * STRIDE;
        mark + self.text.as_bytes().get(from..offset).map_or(0, characters)
    }
}

/// Number of characters that begin in a piece of UTF-8.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters() {
        let text = "aé\nb\u{1F489}c\n";
        let lines = Lines::new("f", text);
        let at = |offset| {
            let place = lines.place(offset);
            (place.line, place.column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(3), (1, 3));
        assert_eq!(at(4), (2, 1));
        assert_eq!(at(9), (2, 3));
        assert_eq!(at(11), (3, 1));
        assert_eq!(at(usize::MAX), (3, 1));
    }

    #[test]
    fn marks_agree_with_counting() {
        let text: String = "aé\u{1F489}\n".repeat(3000);
        let lines = Lines::new("f", &text);
        let (mut line, mut column) = (1, 1);
        for (offset, character) in text.char_indices() {
            let place = lines.place(offset);
            assert_eq!((place.line, place.column), (line, column));
            (line, column) = if character == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
    }
}
