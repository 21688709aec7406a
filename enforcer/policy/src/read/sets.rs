//! `[sets]`: named address lists, in the document or in separate files.

use std::io;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::super::address::{ParseError, quoted};
use super::super::remark::{MAX_FILE, check};
use super::super::{Place, Range, Ranges, Set};
use super::fields::{Value, entries};
use super::{MAX_RANGES, MAX_SET_FILE, Reader};

/// Most problems that are listed per file; further ones are counted.
const PROBLEMS_OF_A_FILE: usize = 20;

type Load<'l> = &'l mut dyn FnMut(&str) -> io::Result<String>;

impl Reader<'_> {
    pub(super) fn read_sets(&mut self, sets: &DeTable<'_>, load: Load<'_>) {
        for (key, value) in entries(sets) {
            let (name, offset) = (key.get_ref().as_ref(), key.span().start);
            if matches!(name, "any" | "gateway" | "local") {
                let hint = "rules name it without `@`; choose another name";
                self.reader.error(offset, format!("`{name}` is a reserved word"), hint);
            } else {
                self.reader.name("set", name, offset);
            }
            let before = self.reader.problems.errors();
            let mut ranges = match value.get_ref().as_table() {
                Some(table) => self.file_set(name, table, offset, load),
                None => self.listed_set(name, value),
            };
            if ranges.is_empty() && self.reader.problems.errors() == before {
                let hint = Some("rules that name it match nothing");
                self.reader.warn_absent(offset, format!("the set `{name}` is empty"), hint);
            }
            ranges.shrink();
            // A set with problems is also recorded, so that rules that name it are not reported as well.
            self.sets.insert(name.to_owned(), Arc::new(Set { name: name.to_owned(), ranges }));
        }
    }

    fn listed_set(&mut self, name: &str, value: &Value<'_>) -> Ranges {
        let Some(texts) = self.reader.strings(name, value, "10.20.0.0/24") else {
            return Ranges::default();
        };
        let mut ranges = Ranges::default();
        for (text, offset) in texts {
            match entry(text) {
                Ok(range) if self.room(offset) => ranges.push(range),
                Ok(_) => break,
                Err(error) => self.complain(offset, error),
            }
        }
        ranges
    }

    fn file_set(
        &mut self,
        name: &str,
        table: &DeTable<'_>,
        offset: usize,
        load: Load<'_>,
    ) -> Ranges {
        self.reader.known_keys(table, &["file", "skip-invalid"], "a set");
        let skip = match table.get("skip-invalid").map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Boolean(skip))) => *skip,
            Some((value, _)) => {
                let example = "skip-invalid = true";
                self.reader.wrong_type("skip-invalid", value, "a boolean", example);
                return Ranges::default();
            }
            None => false,
        };
        if table.get("file").is_none() {
            let hint = format!("write `{name} = {{ file = \"list.txt\" }}`");
            self.reader.absent(offset, format!("the set `{name}` names no file"), hint);
            return Ranges::default();
        }
        let Some((file, offset)) = self.reader.string(table, "file", "list.txt") else {
            return Ranges::default();
        };
        if file.is_empty() || check("it", file, MAX_FILE).is_err() {
            let message = format!("{} is not a file name", quoted(file));
            self.reader.error(offset, message, "write `{ file = \"list.txt\" }`");
            return Ranges::default();
        }
        match load(file) {
            Ok(text) if text.len() > MAX_SET_FILE => {
                let message = format!("`{file}` is larger than {} MiB", MAX_SET_FILE >> 20);
                self.reader.error(offset, message, "split it, or leave out what is not needed");
                Ranges::default()
            }
            Ok(text) => self.set_file(file, &text, offset, skip),
            Err(error) => {
                let hint = if error.kind() == io::ErrorKind::InvalidData {
                    "the file must be text in UTF-8"
                } else {
                    "file names are relative to the policy's directory"
                };
                self.reader.error(offset, format!("cannot read `{file}`: {error}"), hint);
                Ranges::default()
            }
        }
    }

    /// Reads a file with one address, CIDR or range per line. A million lines are common: a valid line
    /// needs no allocation. With `skip`, invalid lines are left out and counted.
    fn set_file(&mut self, file: &str, text: &str, offset: usize, skip: bool) -> Ranges {
        let mut ranges = Ranges::default();
        let mut wrong = Wrong { file: file.into(), count: 0, first: None, last: None };
        for (index, content) in lines(text).enumerate() {
            let word = content.trim();
            if word.is_empty() {
                continue;
            }
            match Range::parse(word) {
                Ok(range) => {
                    if !self.room(offset) {
                        break;
                    }
                    ranges.push(range);
                }
                Err(mut error) => {
                    wrong.count += 1;
                    if !skip && wrong.count > PROBLEMS_OF_A_FILE || skip && wrong.count > 1 {
                        continue;
                    }
                    let indent = content.chars().take_while(|c| c.is_whitespace()).count();
                    let place = wrong.place(index, indent);
                    if let Some(hint) = of_a_list(word) {
                        let shown =
                            if word.len() > 100 { quoted(word) } else { format!("`{word}`") };
                        error = ParseError::new(format!("{shown} is not an address"), hint);
                    }
                    if skip {
                        wrong.first = Some((place, error));
                    } else {
                        self.reader.problems.error(place.clone(), error.message, error.hint);
                        wrong.last = Some(place);
                    }
                }
            }
        }
        self.tell(wrong, offset, ranges.len());
        ranges
    }

    /// Reports skipped lines, or those beyond the limit; `read` lines were valid.
    fn tell(&mut self, wrong: Wrong, offset: usize, read: usize) {
        let Wrong { file, count, first, last } = wrong;
        if let Some((place, error)) = first {
            let s = if count == 1 { " is" } else { "s are" };
            let why = format!("{}:{}: {}", place.file, place.line, error.message);
            if read == 0 {
                // Probably an error page and not a list: if all lines were skipped, the set would be empty.
                let message = format!("`{file}` has no line that can be read: {why}");
                self.reader.problems.error(place, message, error.hint);
            } else {
                let message = format!("{count} line{s} left out of `{file}`; the first is {why}");
                let hint = "`skip-invalid` allows it; the set has all the others";
                self.reader.warn(offset, message, Some(hint));
            }
        } else if let (true, Some(place)) = (count > PROBLEMS_OF_A_FILE, last) {
            let more = count - PROBLEMS_OF_A_FILE;
            let s = if more == 1 { "" } else { "s" };
            let message = format!("and {more} more line{s} of `{file}` that cannot be read");
            let hint = "one address, CIDR or range a line; comments begin with `#`; \
                        `skip-invalid = true` leaves such lines out";
            self.reader.problems.error(place, message, Some(hint.to_owned()));
        }
    }

    /// Counts a range, and reports the first one beyond the limit.
    fn room(&mut self, offset: usize) -> bool {
        self.ranges += 1;
        if self.ranges == MAX_RANGES + 1 {
            let message = format!("the sets have more than {MAX_RANGES} ranges");
            self.reader.error(
                offset,
                message,
                "merge what is adjacent, or leave out what is not needed",
            );
        }
        self.ranges <= MAX_RANGES
    }

    pub(super) fn complain(&mut self, offset: usize, error: ParseError) {
        let place = self.reader.lines.place(offset);
        self.reader.problems.error(place, error.message, error.hint);
    }
}

/// The invalid lines of a file.
struct Wrong {
    file: Arc<str>,
    count: usize,
    /// The first invalid line, if such lines are skipped.
    first: Option<(Place, ParseError)>,
    /// The last one that is listed.
    last: Option<Place>,
}

impl Wrong {
    fn place(&self, index: usize, indent: usize) -> Place {
        let number = |at: usize| u32::try_from(at + 1).unwrap_or(u32::MAX);
        Place { file: self.file.clone(), line: number(index), column: number(indent) }
    }
}

/// The lines of a set file without comments. Spamhaus DROP, the best known of such lists, uses `;` for
/// comments; a file with CR only comes from an old Macintosh or a spreadsheet.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let end = if text.contains('\n') { '\n' } else { '\r' };
    // By bytes: with a million lines, searching for one of two characters took half of the time.
    let comment = |byte: u8| byte == b'#' || byte == b';';
    text.split(end).map(move |line| match line.bytes().position(comment) {
        Some(at) => line.get(..at).unwrap_or_default(),
        None => line,
    })
}

/// How to convert a line of another list format.
fn of_a_list(word: &str) -> Option<String> {
    if word.starts_with(['{', '[', '"']) {
        let value: Option<serde_json::Value> =
            serde_json::from_str(word.trim_end_matches(',')).ok();
        let is_address = |value: &serde_json::Value| {
            value.as_str().is_some_and(|text| Range::parse(text).is_ok())
        };
        let key = value.as_ref().and_then(serde_json::Value::as_object).and_then(|object| {
            object.iter().find(|(_, value)| is_address(value)).map(|(key, _)| key.as_str())
        });
        let fits = |key: &&str| key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let filter = match key.filter(fits) {
            Some(key) => format!(".{key} // empty"),
            None if word.starts_with('{') => ".ADDRESS // empty".to_owned(),
            None => ".[]".to_owned(),
        };
        return Some(format!(
            "this is JSON; one address a line is wanted: jq -r '{filter}' LIST.json > LIST.txt"
        ));
    }
    // `Example network:192.0.2.0-192.0.2.255`, the format of PeerGuardian.
    let (_, address) = word.rsplit_once(':')?;
    Range::parse(address).is_ok_and(|range| matches!(range, Range::V4(..))).then(|| {
        format!("a name is in front of it; write `{address}`: sed 's/.*://' LIST.p2p > LIST.txt")
    })
}

/// An entry of a list in the document.
fn entry(text: &str) -> Result<Range, ParseError> {
    if text.starts_with('@') {
        let message = format!("{} is a set inside a set", quoted(text));
        return Err(ParseError::new(message, "write its addresses, or a rule for each set"));
    }
    if matches!(text, "any" | "gateway" | "local") {
        let message = format!("`{text}` cannot be part of a set");
        return Err(ParseError::new(message, format!("write a rule with `to = \"{text}\"`")));
    }
    Range::parse(text)
}
