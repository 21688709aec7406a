//! Typed access to a table, and errors about values of the wrong type.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::super::address::{ParseError, cut, quoted};
use super::super::place::Lines;
use super::super::remark::check_remark;
use super::super::{DefaultVerdict, Mode, Problem};
use super::problems::Problems;
use super::syntax;

pub(super) type Key<'i> = Spanned<DeString<'i>>;
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// Maximum length of a device, group or set name.
pub(crate) const MAX_NAME: usize = 64;

/// The entries of a table in the order of the document.
pub(super) fn entries<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a Key<'i>, &'a Value<'i>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// Whether the value is an empty list.
pub(super) fn is_empty_list(value: &Value<'_>) -> bool {
    value.get_ref().as_array().is_some_and(|items| items.is_empty())
}

/// The candidate that was probably meant, if any.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    /// Most names that are compared; a policy may have a hundred thousand.
    const LOOK_AT: usize = 2000;
    let limit = if word.chars().count() <= 3 { 1 } else { 2 };
    candidates
        .into_iter()
        .take(LOOK_AT)
        .map(|candidate| (distance(word, candidate, limit), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Letters to change, add, drop or swap, ignoring case; `limit + 1` if there are more.
fn distance(a: &str, b: &str, limit: usize) -> usize {
    if a.len() > MAX_NAME || b.len() > MAX_NAME || a.len().abs_diff(b.len()) > 2 * limit {
        return limit + 1;
    }
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut least = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0).min(limit + 1)
}

/// A document while it is read, and the problems found so far.
pub struct TomlReader<'t> {
    pub(super) lines: Lines<'t>,
    pub(super) problems: Problems,
    /// The document has syntax errors: a missing part may have been lost to them.
    pub(super) damaged: bool,
}

impl<'t> TomlReader<'t> {
    /// Parses a document as far as possible. Problems carry `file` as their name.
    pub fn open(file: &str, text: &'t str) -> (Self, Spanned<DeTable<'t>>) {
        let text = syntax::readable(text);
        let (document, errors) = DeTable::parse_recoverable(text);
        let (lines, damaged) = (Lines::new(file, text), !errors.is_empty());
        let mut reader = Self { lines, problems: Problems::default(), damaged };
        for offset in syntax::undecodable(text) {
            let place = reader.lines.place(offset);
            let hint = "save the file as UTF-8";
            let message = "there is a byte that is not UTF-8".to_owned();
            reader.problems.syntax_error(place, message, Some(hint.to_owned()));
        }
        // Errors beyond this limit add nothing.
        for error in errors.iter().take(syntax::MAX_ERRORS) {
            let offset = error.span().map_or(0, |span| span.start);
            let place = reader.lines.place(offset);
            let (message, hint) = syntax::explain(error.message());
            reader.problems.syntax_error(place, message, hint);
        }
        (reader, document)
    }

    /// Every problem, sorted by place.
    pub fn close(self, file: &str) -> Vec<Problem> {
        self.problems.finish(file)
    }
}

impl TomlReader<'_> {
    /// Reports an error at an offset, with a hint.
    pub fn error(&mut self, offset: usize, message: impl Into<String>, hint: impl Into<String>) {
        let place = self.lines.place(offset);
        self.problems.error(place, message.into(), Some(hint.into()));
    }

    pub(super) fn warn(&mut self, offset: usize, message: impl Into<String>, hint: Option<&str>) {
        let place = self.lines.place(offset);
        self.problems.warning(place, message.into(), hint.map(str::to_owned));
    }

    /// Reports that something is missing, unless a syntax error may have hidden it.
    pub fn absent(&mut self, offset: usize, message: impl Into<String>, hint: impl Into<String>) {
        if !self.damaged {
            self.error(offset, message, hint);
        }
    }

    /// The same, as a warning.
    pub fn warn_absent(&mut self, offset: usize, message: impl Into<String>, hint: Option<&str>) {
        if !self.damaged {
            self.warn(offset, message, hint);
        }
    }

    /// Reports unknown keys of a table.
    pub fn known_keys(&mut self, table: &DeTable<'_>, known: &[&str], what: &str) {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let hint = match nearest(name, known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known keys: {}", known.join(", ")),
            };
            self.error(key.span().start, format!("unknown key {} in {what}", quoted(name)), hint);
        }
    }

    /// Reports a value of the wrong type; `example` is a correct line.
    pub fn wrong_type(&mut self, key: &str, value: &Value<'_>, wanted: &str, example: &str) {
        // For a missing value, the parser inserts one with an empty span.
        if value.span().is_empty() {
            return;
        }
        let found = match value.get_ref() {
            DeValue::Integer(_) => "an integer",
            DeValue::Array(_) => "an array",
            DeValue::String(_) => "a string",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Table(_) => "a table",
        };
        let message = format!("{} must be {wanted}, not {found}", quoted(key));
        self.error(value.span().start, message, format!("write `{example}`"));
    }

    /// The table under a key, if it exists and is a table.
    pub fn table<'a, 'i>(&mut self, table: &'a DeTable<'i>, key: &str) -> Option<&'a DeTable<'i>> {
        self.as_table(key, table.get(key)?)
    }

    /// A value that must be a table.
    pub fn as_table<'a, 'i>(&mut self, key: &str, value: &'a Value<'i>) -> Option<&'a DeTable<'i>> {
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(key, value, "a table", &format!("[{}]", plain(key)));
            return None;
        };
        Some(table)
    }

    /// The string under a key and its offset, if it exists and is a string.
    pub fn string<'a>(
        &mut self,
        table: &'a DeTable<'_>,
        key: &str,
        example: &str,
    ) -> Option<(&'a str, usize)> {
        let value = table.get(key)?;
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(key, value, "a string", &format!("{key} = \"{example}\""));
            return None;
        };
        Some((text, value.span().start))
    }

    /// The list under a key; empty if the key is absent or not a list.
    pub fn items<'a, 'i>(&mut self, table: &'a DeTable<'i>, key: &str) -> &'a [Value<'i>] {
        let Some(value) = table.get(key) else { return &[] };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(key, value, "an array", &format!("{key} = […]"));
            return &[];
        };
        items
    }

    /// The strings of a list, or a single string, each with its offset. `None` if the key is absent or is
    /// neither.
    pub fn strings<'a>(
        &mut self,
        key: &str,
        value: &'a Value<'_>,
        example: &str,
    ) -> Option<Vec<(&'a str, usize)>> {
        let example = format!("{} = [\"{example}\"]", plain(key));
        if let Some(text) = value.get_ref().as_str() {
            return Some(vec![(text, value.span().start)]);
        }
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(key, value, "a string or a list of strings", &example);
            return None;
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item.get_ref().as_str() {
                Some(text) => texts.push((text, item.span().start)),
                None => self.wrong_type(key, item, "a list of strings", &example),
            }
        }
        Some(texts)
    }

    pub(super) fn mode(&mut self, table: &DeTable<'_>) -> Option<Mode> {
        let names = Mode::ALL.map(Mode::name);
        let at = self.choice(table, "mode", &names)?;
        Mode::ALL.get(at).copied()
    }

    pub(super) fn verdict(&mut self, table: &DeTable<'_>, key: &str) -> Option<DefaultVerdict> {
        let names = DefaultVerdict::ALL.map(DefaultVerdict::name);
        let at = self.choice(table, key, &names)?;
        DefaultVerdict::ALL.get(at).copied()
    }

    /// The index of the key's string in `names`.
    pub fn choice(&mut self, table: &DeTable<'_>, key: &str, names: &[&str]) -> Option<usize> {
        let (text, offset) = self.string(table, key, names.first().copied().unwrap_or_default())?;
        let found = names.iter().position(|name| *name == text);
        if found.is_none() {
            let hint = match nearest(text, names.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("one of: {}", names.join(", ")),
            };
            self.error(offset, format!("{} is not a value of `{key}`", quoted(text)), hint);
        }
        found
    }

    pub(super) fn vlan_id(&mut self, key: &str, value: &Value<'_>) -> Option<u16> {
        let DeValue::Integer(number) = value.get_ref() else {
            let example = if key == "vlan" { "vlan = 20" } else { "vlans = [20, 30]" };
            let wanted = if key == "vlan" { "an integer" } else { "a list of integers" };
            self.wrong_type(key, value, wanted, example);
            return None;
        };
        let id = u16::from_str_radix(number.as_str(), number.radix()).ok();
        let id = id.filter(|id| (1..=4094).contains(id));
        if id.is_none() && !value.span().is_empty() {
            let message = format!("{} is not a VLAN id", quoted(&number.to_string()));
            self.error(value.span().start, message, "VLAN ids are 1 to 4094");
        }
        id
    }

    /// Whether a name can be used in commands and other keys.
    pub(super) fn name(&mut self, what: &str, name: &str, offset: usize) -> bool {
        let fits = (1..=MAX_NAME).contains(&name.len());
        let plain =
            name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !fits {
            let message = format!("the name of a {what} has 1 to {MAX_NAME} characters");
            self.error(offset, message, "choose another name");
        } else if !plain {
            let message = format!("{} is not a name for a {what}", quoted(name));
            self.error(offset, message, "names are made of letters, digits, `-`, `_` and `.`");
        } else if name.starts_with('-') {
            let message = format!("{} is not a name for a {what}", quoted(name));
            self.error(offset, message, "commands would read the leading `-` as an option");
        } else {
            return true;
        }
        false
    }

    /// Whether the kernel accepts the name for an interface.
    pub(super) fn interface_name(&mut self, name: &str, offset: usize) -> bool {
        let fine = (1..=15).contains(&name.len())
            && name != "."
            && name != ".."
            && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':'));
        if !fine {
            let message = format!("{} is not a name of an interface", quoted(name));
            self.error(offset, message, "1 to 15 characters without spaces, `/` and `:`");
        }
        fine
    }

    /// Text that is shown in events: limited in length, without control characters.
    pub(super) fn remark(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        example: &str,
    ) -> Option<String> {
        let (text, offset) = self.string(table, key, example)?;
        if let Err(ParseError { message, hint }) = check_remark(key, text) {
            self.error(offset, message, hint.unwrap_or_default());
            return None;
        }
        Some(text.to_owned())
    }
}

/// A key as written in a line of TOML.
fn plain(key: &str) -> String {
    cut(key, 60)
}
