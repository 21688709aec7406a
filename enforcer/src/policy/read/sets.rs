//! `[sets]`: named address lists, in the document or in files of their own.

use std::io;
use std::sync::Arc;

use toml::de::DeTable;

use super::super::address::{Complaint, quoted};
use super::super::{Place, Range, Set};
use super::fields::{Value, entries};
use super::{MAX_RANGES, MAX_SET_FILE, Reader};

/// Problems that are listed of one file; the rest is counted.
const PROBLEMS_OF_A_FILE: usize = 20;

type Load<'l> = &'l mut dyn FnMut(&str) -> io::Result<String>;

impl Reader<'_> {
    pub(super) fn read_sets(&mut self, sets: &DeTable<'_>, load: Load<'_>) {
        for (key, value) in entries(sets) {
            let (name, offset) = (key.get_ref().as_ref(), key.span().start);
            if matches!(name, "any" | "gateway" | "local") {
                let hint = "rules name it without `@`; choose another name";
                self.sheet.error(offset, format!("`{name}` is a reserved word"), hint);
            } else {
                self.sheet.name("set", name, offset);
            }
            let before = self.sheet.problems.errors();
            let ranges = match value.get_ref().as_table() {
                Some(table) => self.file_set(name, table, offset, load),
                None => self.listed_set(name, value),
            };
            if ranges.is_empty() && self.sheet.problems.errors() == before {
                let hint = Some("rules that name it match nothing");
                self.sheet.warn_absent(offset, format!("the set `{name}` is empty"), hint);
            }
            // Even a set with problems is known, so that its rules are not reported too.
            self.sets.insert(name.to_owned(), Arc::new(Set { name: name.to_owned(), ranges }));
        }
    }

    fn listed_set(&mut self, name: &str, value: &Value<'_>) -> Vec<Range> {
        let Some(texts) = self.sheet.strings(name, value, "10.20.0.0/24") else {
            return Vec::new();
        };
        let mut ranges = Vec::with_capacity(texts.len());
        for (text, offset) in texts {
            match entry(text) {
                Ok(range) if self.room(offset) => ranges.push(range),
                Ok(_) => break,
                Err(complaint) => self.complain(offset, complaint),
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
    ) -> Vec<Range> {
        self.sheet.known_keys(table, &["file"], "a set");
        if table.get("file").is_none() {
            let hint = format!("write `{name} = {{ file = \"list.txt\" }}`");
            self.sheet.absent(offset, format!("the set `{name}` names no file"), hint);
            return Vec::new();
        }
        let Some((file, offset)) = self.sheet.string(table, "file", "list.txt") else {
            return Vec::new();
        };
        if file.is_empty() || file.contains(char::is_control) {
            let message = format!("{} is not a file name", quoted(file));
            self.sheet.error(offset, message, "write `{ file = \"list.txt\" }`");
            return Vec::new();
        }
        match load(file) {
            Ok(text) if text.len() > MAX_SET_FILE => {
                let message = format!("`{file}` is larger than {} MiB", MAX_SET_FILE >> 20);
                self.sheet.error(offset, message, "split it, or leave out what is not needed");
                Vec::new()
            }
            Ok(text) => self.set_file(file, &text, offset),
            Err(error) => {
                let hint = if error.kind() == io::ErrorKind::InvalidData {
                    "the file must be text in UTF-8"
                } else {
                    "file names are relative to the policy's directory"
                };
                self.sheet.error(offset, format!("cannot read `{file}`: {error}"), hint);
                Vec::new()
            }
        }
    }

    /// One address, CIDR or range a line. A million lines are common: nothing is allocated for a
    /// good one.
    fn set_file(&mut self, file: &str, text: &str, offset: usize) -> Vec<Range> {
        let name: Arc<str> = file.into();
        let mut ranges = Vec::new();
        let mut wrong = 0_usize;
        let mut last = None;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            // Spamhaus DROP, the best known of such lists, sets comments off with `;`.
            let content = line.split(['#', ';']).next().unwrap_or_default();
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
                Err(complaint) => {
                    let indent = content.chars().take_while(|c| c.is_whitespace()).count();
                    let place = Place {
                        file: name.clone(),
                        line: u32::try_from(index + 1).unwrap_or(u32::MAX),
                        column: u32::try_from(indent + 1).unwrap_or(u32::MAX),
                    };
                    wrong += 1;
                    if wrong <= PROBLEMS_OF_A_FILE {
                        self.sheet.problems.error(place.clone(), complaint.message, complaint.hint);
                        last = Some(place);
                    }
                }
            }
        }
        if let (true, Some(place)) = (wrong > PROBLEMS_OF_A_FILE, last) {
            let more = wrong - PROBLEMS_OF_A_FILE;
            let s = if more == 1 { "" } else { "s" };
            let message = format!("and {more} more line{s} of `{file}` that cannot be read");
            let hint = "one address, CIDR or range a line; comments begin with `#`";
            self.sheet.problems.error(place, message, Some(hint.to_owned()));
        }
        ranges
    }

    /// Counts a range. The one that is too many is an error.
    fn room(&mut self, offset: usize) -> bool {
        self.ranges += 1;
        if self.ranges == MAX_RANGES + 1 {
            let message = format!("the sets have more than {MAX_RANGES} ranges");
            self.sheet.error(
                offset,
                message,
                "merge what is adjacent, or leave out what is not needed",
            );
        }
        self.ranges <= MAX_RANGES
    }

    pub(super) fn complain(&mut self, offset: usize, complaint: Complaint) {
        let place = self.sheet.lines.place(offset);
        self.sheet.problems.error(place, complaint.message, complaint.hint);
    }
}

/// An entry of a list in the document.
fn entry(text: &str) -> Result<Range, Complaint> {
    if text.starts_with('@') {
        let message = format!("{} is a set inside a set", quoted(text));
        return Err(Complaint::new(message, "write its addresses, or a rule for each set"));
    }
    if matches!(text, "any" | "gateway" | "local") {
        let message = format!("`{text}` cannot be part of a set");
        return Err(Complaint::new(message, format!("write a rule with `to = \"{text}\"`")));
    }
    Range::parse(text)
}
