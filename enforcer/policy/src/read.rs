//! Document to model, with every problem found.
//!
//! - `fields`: typed access to a table, and what is said about a value of the wrong type
//! - `problems`: the list of problems, which is bounded
//! - `syntax`: the errors of the TOML parser
//! - `sets`, `devices`, `groups`, `rules`: one part of the document each
//! - `claims`: which group a device belongs to must have one answer
//!
//! Everything is bounded, and nothing takes longer than its input is long: a policy may come
//! from a program.

mod claims;
mod devices;
mod fields;
mod groups;
mod problems;
mod rules;
mod sets;
mod syntax;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

pub use self::fields::TomlReader;
pub(super) use self::fields::{MAX_NAME, nearest};
use self::problems::Problems;
pub(super) use self::rules::content;
use super::address::quoted;
use super::place::Lines;
use super::{Interface, Policy, Problem, Rates, Set};

/// Largest document, in bytes.
pub const MAX_DOCUMENT: usize = 32 << 20;

/// Largest file of a set, in bytes.
pub const MAX_SET_FILE: usize = 256 << 20;

/// Most ranges in all sets together, several times a full routing table.
pub const MAX_RANGES: usize = 8 << 20;

/// Problems that are listed; the rest is counted.
pub const MAX_PROBLEMS: usize = 100;

const KEYS: [&str; 7] =
    ["schema", "sets", "devices", "groups", "interfaces", "unknown", "essential"];

/// The text of a file that should be UTF-8.
///
/// What is not becomes U+FFFD: in a comment it does not matter, and anywhere else [`read`] says in
/// which line and column it is.
///
/// # Errors
///
/// When it is UTF-16.
pub fn decode(bytes: Vec<u8>) -> std::io::Result<String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let why = "it is UTF-16; save it as UTF-8";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
    }
    let text = String::from_utf8(bytes);
    Ok(text.unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// Reads a policy document.
///
/// `file` is the name that places will carry; `load` returns the text of a set's file, named as
/// in the document. The policy is complete only if no problem is an error.
pub fn read(
    file: &str,
    text: &str,
    load: &mut dyn FnMut(&str) -> std::io::Result<String>,
) -> (Policy, Vec<Problem>) {
    if text.len() > MAX_DOCUMENT {
        let mut problems = Problems::default();
        problems.error(
            Lines::new(file, "").place(0),
            format!("the document is larger than {} MiB", MAX_DOCUMENT >> 20),
            Some("move long lists into files: `name = { file = \"list.txt\" }`".to_owned()),
        );
        return (Policy::default(), problems.finish(file));
    }
    let (reader, document) = TomlReader::open(file, text);
    let mut reader = Reader {
        reader,
        policy: Policy::default(),
        sets: HashMap::new(),
        ranges: 0,
        device_index: HashMap::new(),
    };
    reader.document(document.get_ref(), load);
    (reader.policy, reader.reader.close(file))
}

/// What is known while a document is read.
struct Reader<'t> {
    reader: TomlReader<'t>,
    policy: Policy,
    sets: HashMap<String, Arc<Set>>,
    /// Ranges in all sets so far.
    ranges: usize,
    /// Devices by name.
    device_index: HashMap<String, usize>,
}

impl Reader<'_> {
    fn document(
        &mut self,
        root: &DeTable<'_>,
        load: &mut dyn FnMut(&str) -> std::io::Result<String>,
    ) {
        self.reader.known_keys(root, &KEYS, "a policy");
        self.schema(root);
        // What is referred to comes first, wherever it stands in the document.
        if let Some(sets) = self.reader.table(root, "sets") {
            self.read_sets(sets, load);
        }
        if let Some(devices) = self.reader.table(root, "devices") {
            self.read_devices(devices);
        }
        if let Some(interfaces) = self.reader.table(root, "interfaces") {
            self.read_interfaces(interfaces);
        }
        if let Some(unknown) = self.reader.table(root, "unknown") {
            self.reader.known_keys(unknown, &["default", "mode"], "`unknown`");
            if let Some(verdict) = self.reader.default_verdict(unknown) {
                self.policy.unknown.default = verdict;
            }
            if let Some(mode) = self.reader.mode(unknown) {
                self.policy.unknown.mode = mode;
            }
        }
        if let Some(essential) = self.reader.table(root, "essential") {
            self.read_essential(essential);
        }
        match self.reader.table(root, "groups") {
            Some(groups) => self.read_groups(groups),
            None => self.reader.warn_absent(0, "the policy has no group, so no rule applies", None),
        }
        claims::check(&self.policy, &mut self.reader.problems);
        if !self.reader.damaged {
            claims::check_devices(&self.policy, &mut self.reader.problems);
        }
    }

    fn schema(&mut self, root: &DeTable<'_>) {
        let Some(value) = root.get("schema") else {
            let hint = "begin the document with `schema = 1`";
            self.reader.absent(0, "`schema` is missing", hint);
            return;
        };
        let DeValue::Integer(number) = value.get_ref() else {
            self.reader.wrong_type("schema", value, "an integer", "schema = 1");
            return;
        };
        if number.radix() != 10 || number.as_str() != "1" {
            let message = format!("schema {} is not known", quoted(&number.to_string()));
            self.reader.error(value.span().start, message, "this version reads `schema = 1`");
        }
    }

    fn read_interfaces(&mut self, interfaces: &DeTable<'_>) {
        for (key, value) in fields::entries(interfaces) {
            let place = self.reader.lines.place(key.span().start);
            if !self.reader.interface_name(key.get_ref(), key.span().start) {
                continue;
            }
            let Some(table) = self.reader.as_table(key.get_ref(), value) else { continue };
            self.reader.known_keys(table, &["vlans", "next-hop"], "an interface");
            let mut vlans = Vec::new();
            for value in self.reader.items(table, "vlans") {
                let Some(id) = self.reader.vlan_id("vlans", value) else { continue };
                if vlans.contains(&id) {
                    self.reader.warn(
                        value.span().start,
                        format!("VLAN {id} is listed twice"),
                        None,
                    );
                } else {
                    vlans.push(id);
                }
            }
            let binds_next_hops =
                self.reader.choice(table, "next-hop", &["any", "bound"]) == Some(1);
            let name = key.get_ref().to_string();
            self.policy.interfaces.push(Interface { name, vlans, binds_next_hops, place });
        }
    }

    fn read_essential(&mut self, table: &DeTable<'_>) {
        const NAMES: [&str; 6] = ["arp", "neighbour-discovery", "dhcp", "eapol", "lldp", "stp"];
        self.reader.known_keys(table, &[NAMES.as_slice(), &["rate"]].concat(), "`essential`");
        if let Some(rates) = self.reader.table(table, "rate") {
            self.read_rates(rates);
        }
        for name in NAMES {
            let Some(value) = table.get(name) else { continue };
            let DeValue::Boolean(on) = *value.get_ref() else {
                self.reader.wrong_type(name, value, "a boolean", &format!("{name} = true"));
                continue;
            };
            let essential = &mut self.policy.essential;
            let field = match name {
                "arp" => &mut essential.arp,
                "neighbour-discovery" => &mut essential.neighbour_discovery,
                "dhcp" => &mut essential.dhcp,
                "eapol" => &mut essential.eapol,
                "lldp" => &mut essential.lldp,
                _ => &mut essential.stp,
            };
            *field = on;
        }
    }

    fn read_rates(&mut self, table: &DeTable<'_>) {
        let names = Rates::default().named().map(|(name, _)| name);
        self.reader.known_keys(table, &names, "`rate`");
        for (name, rate) in self.policy.essential.rates.named_mut() {
            let Some(value) = table.get(name) else { continue };
            let DeValue::Integer(number) = value.get_ref() else {
                self.reader.wrong_type(name, value, "an integer", &format!("{name} = {rate}"));
                continue;
            };
            let parsed = u32::from_str_radix(number.as_str(), number.radix()).ok();
            match parsed.filter(|number| Rates::RANGE.contains(number)) {
                Some(parsed) => *rate = parsed,
                None => {
                    let message = format!("`{name}` is {} a second", quoted(&number.to_string()));
                    let hint = format!(
                        "{} to {} a second; {rate} unless it is set",
                        Rates::RANGE.start(),
                        Rates::RANGE.end()
                    );
                    self.reader.error(value.span().start, message, hint);
                }
            }
        }
    }
}
