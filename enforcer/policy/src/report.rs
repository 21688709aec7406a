//! Human-readable problems.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Problem, Severity};
use crate::shown::is_unsafe;

/// Width of the smallest supported terminal, in columns.
const WIDTH: usize = 80;

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BLUE: &str = "\x1b[1;34m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

impl Severity {
    /// `error` or `warning`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Whether any problem is an error.
pub fn has_errors(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

/// Formats problems with their lines for display; empty if there are none.
///
/// `text_of` returns the text of a file, by the file name in places.
pub fn render<'t>(
    problems: &[Problem],
    text_of: &dyn Fn(&str) -> Option<&'t str>,
    colour: bool,
) -> String {
    let paint = |code: &'static str| if colour { code } else { "" };
    let lines = lines(problems, text_of);
    let mut out = String::new();
    for problem in problems {
        let place = &problem.place;
        let code = match problem.severity {
            Severity::Error => RED,
            Severity::Warning => YELLOW,
        };
        let head = format!("{place}: {}: ", problem.severity.name());
        let body = wrap(&problem.message, head.chars().count(), 4);
        let _ = writeln!(
            out,
            "{}{place}:{} {}{}:{} {}{body}{}",
            paint(BOLD),
            paint(PLAIN),
            paint(code),
            problem.severity.name(),
            paint(PLAIN),
            paint(BOLD),
            paint(PLAIN),
        );
        if let Some(line) = lines.get(&(&*place.file, place.line)) {
            let number = place.line.to_string();
            let room = WIDTH.saturating_sub(number.len() + 4).max(20);
            let (shown, indent, length) = excerpt(line, place.column, room);
            let gutter = " ".repeat(number.len());
            let bar = format!("{}|{}", paint(BLUE), paint(PLAIN));
            let _ = writeln!(out, " {}{number}{} {bar} {shown}", paint(BLUE), paint(PLAIN));
            let marks = format!("{}{}{}", paint(code), "^".repeat(length), paint(PLAIN));
            let _ = writeln!(out, " {gutter} {bar} {}{marks}", " ".repeat(indent));
        }
        if let Some(hint) = &problem.hint {
            let _ = writeln!(out, "{}hint:{} {}", paint(BLUE), paint(PLAIN), wrap(hint, 6, 6));
        }
        out.push('\n');
    }
    if !problems.is_empty() {
        out.push_str(&count(problems));
        out.push('\n');
    }
    out
}

/// `3 errors, 1 warning`: the number of listed problems.
pub fn count(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let part = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    match (errors, problems.len() - errors) {
        (0, 0) => "no problems".to_owned(),
        (errors, 0) => part(errors, "error"),
        (0, warnings) => part(warnings, "warning"),
        (errors, warnings) => format!("{}, {}", part(errors, "error"), part(warnings, "warning")),
    }
}

/// The lines with problems: one scan of each file, however many problems it has.
fn lines<'p, 't>(
    problems: &'p [Problem],
    text_of: &dyn Fn(&str) -> Option<&'t str>,
) -> BTreeMap<(&'p str, u32), &'t str> {
    let mut wanted: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for problem in problems {
        wanted.entry(&problem.place.file).or_default().insert(problem.place.line);
    }
    let mut found = BTreeMap::new();
    for (file, numbers) in wanted {
        let Some(text) = text_of(file) else { continue };
        let mut number = 0;
        let mut rest = text.lines();
        for wanted in numbers {
            let Some(skip) = wanted.checked_sub(number + 1) else { continue };
            let Some(line) = rest.nth(usize::try_from(skip).unwrap_or(usize::MAX)) else { break };
            number = wanted;
            found.insert((file, wanted), line);
        }
    }
    found
}

/// The visible part of a line, the indent of the marks below it, and their number.
fn excerpt(line: &str, column: u32, room: usize) -> (String, usize, usize) {
    let characters: Vec<char> = {
        // Only the part near the column is processed: a line may be as long as the document.
        let skip = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(room);
        line.chars().skip(skip).take(2 * room + 1).collect()
    };
    let column = usize::try_from(column).unwrap_or(usize::MAX);
    let skipped = column.saturating_sub(room);
    let at = (column - 1).saturating_sub(skipped).min(characters.len());
    let length = word(&characters, at);
    let fits_from_start = skipped == 0 && at + length < room;
    let start = if fits_from_start { 0 } else { at.saturating_sub(room / 3) };
    let cut_before = start + skipped > 0;
    let cut_after = characters.len() - start > room - usize::from(cut_before);
    let taken = room - usize::from(cut_before) - usize::from(cut_after);
    let mut shown = String::new();
    if cut_before {
        shown.push('…');
    }
    for &character in characters.iter().skip(start).take(taken) {
        // A tab counts as one column; other unsafe characters are replaced.
        shown.push(match character {
            '\t' => ' ',
            _ if is_unsafe(character) => char::REPLACEMENT_CHARACTER,
            _ => character,
        });
    }
    if cut_after {
        shown.push('…');
    }
    let indent = at - start + usize::from(cut_before);
    (shown.trim_end().to_owned(), indent, length.min(room.saturating_sub(indent)).max(1))
}

/// Length of the word at a position: a string with its quotes, or up to a separator.
fn word(characters: &[char], at: usize) -> usize {
    let rest = characters.get(at..).unwrap_or_default();
    match rest.first() {
        Some(&quote @ ('"' | '\'')) => {
            rest.iter().skip(1).position(|&character| character == quote).map_or(1, |end| end + 2)
        }
        Some('[' | '{') | None => 1,
        Some(_) => rest
            .iter()
            .position(|character| character.is_whitespace() || "=,[]{}#".contains(*character))
            .unwrap_or(rest.len())
            .max(1),
    }
}

/// Breaks a text at spaces; `used` columns of the first line are already taken.
fn wrap(text: &str, used: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = used;
    for (at, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if at > 0 && column + 1 + length > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if at > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Place;

    fn problem(
        severity: Severity,
        line: u32,
        column: u32,
        message: &str,
        hint: Option<&str>,
    ) -> Problem {
        let place = Place { file: "policy.toml".into(), line, column };
        Problem { severity, place, message: message.to_owned(), hint: hint.map(str::to_owned) }
    }

    #[test]
    fn two_problems() {
        let text = "schema = 1\n[sets]\ncentral = [\"10.20.0.5/24\"]\nempty = []\n";
        let problems = [
            problem(Severity::Error, 3, 12, "address bits are set", Some("write `10.20.0.0/24`")),
            problem(Severity::Warning, 4, 1, "the set `empty` is empty", None),
        ];
        let expected = r#"policy.toml:3:12: error: address bits are set
 3 | central = ["10.20.0.5/24"]
   |            ^^^^^^^^^^^^^^
hint: write `10.20.0.0/24`

policy.toml:4:1: warning: the set `empty` is empty
 4 | empty = []
   | ^^^^^

1 error, 1 warning
"#;
        assert_eq!(render(&problems, &|_| Some(text), false), expected);
    }

    #[test]
    fn colour_only_when_asked() {
        let problems = [problem(Severity::Error, 1, 1, "no", Some("yes"))];
        assert!(!render(&problems, &|_| Some("x = 1"), false).contains('\x1b'));
        let coloured = render(&problems, &|_| Some("x = 1"), true);
        assert!(coloured.contains("\x1b[1;31merror:\x1b[0m"), "{coloured:?}");
    }

    #[test]
    fn no_problem_no_text() {
        assert_eq!(render(&[], &|_| None, false), "");
        assert_eq!(count(&[]), "no problems");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}\"bad\"{}", "a ".repeat(100), " b".repeat(100));
        let problems = [problem(Severity::Error, 1, 201, "long", None)];
        let shown = render(&problems, &|_| Some(&text), false);
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines[2].chars().position(|c| c == '^').expect("caret");
        let marked: String = lines[1].chars().skip(at).take(5).collect();
        assert_eq!(marked, "\"bad\"");
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{shown}");
    }

    #[test]
    fn a_terminal_obeys_nothing_of_a_line() {
        let problems = [problem(Severity::Error, 1, 3, "odd", None)];
        let shown = render(&problems, &|_| Some("\t\x1b[2J"), false);
        assert!(!shown.contains('\x1b') && !shown.contains('\t'), "{shown:?}");
    }

    proptest! {
        #[test]
        fn any_line_is_shown(line in "\\PC{0,300}", column in 1_u32..400, room in 20_usize..90) {
            let (shown, indent, length) = excerpt(&line, column, room);
            prop_assert!(shown.chars().count() <= room);
            prop_assert!(indent <= room && length >= 1);
        }
    }
}
