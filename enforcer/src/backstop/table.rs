//! The tables in nftables' JSON (libnftables-json(5)).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Name of both tables.
pub const TABLE: &str = "enforcer";
/// Before all other hooks: raw is -300, and so is a bridge's dstnat.
const PRIORITY: i32 = -310;

/// The families of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Routed traffic.
    Inet,
    /// Traffic that a bridge port receives for another port, or for the bridge itself, which could
    /// route it.
    Bridge,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Inet, Self::Bridge];

    /// nft's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Bridge => "bridge",
        }
    }

    fn hook(self) -> &'static str {
        match self {
            Self::Inet => "forward",
            Self::Bridge => "prerouting",
        }
    }
}

/// The contents of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// Names of interfaces from which nothing is forwarded …
    pub protected: BTreeSet<String>,
    /// … unless their index is here.
    pub armed: BTreeSet<u32>,
}

/// A table as the kernel has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Names in the set `protected`.
    pub protected: BTreeSet<String>,
    /// The set `armed`: nft prints the name of an existing interface, and the index of a missing
    /// one.
    pub armed: BTreeSet<String>,
    /// Frames that it dropped.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Everything else, compared to detect changes.
    shape: Value,
}

impl Table {
    /// Whether chains, rules and sets equal those of `other`, apart from the sets' contents.
    pub fn has_shape_of(&self, other: &Self) -> bool {
        self.shape == other.shape
    }

    /// Reads the answer to `list table`.
    pub fn read(listing: &Value) -> Option<Self> {
        let mut table = Self {
            protected: BTreeSet::new(),
            armed: BTreeSet::new(),
            frames: 0,
            bytes: 0,
            shape: Value::Null,
        };
        let mut shape = Vec::new();
        for object in listing.get("nftables")?.as_array()? {
            let Some((kind, body)) = object.as_object().and_then(|object| object.iter().next())
            else {
                continue;
            };
            let mut body = body.clone();
            let Some(fields) = body.as_object_mut() else { continue };
            fields.remove("handle");
            let name = fields.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            match (kind.as_str(), name.as_str()) {
                ("metainfo", _) => continue,
                ("set", "protected") => table.protected = elements(fields.remove("elem")),
                ("set", "armed") => table.armed = elements(fields.remove("elem")),
                ("counter", "dropped") => {
                    let number = |value: Option<Value>| value.and_then(|value| value.as_u64());
                    table.frames = number(fields.remove("packets")).unwrap_or(0);
                    table.bytes = number(fields.remove("bytes")).unwrap_or(0);
                }
                _ => {}
            }
            shape.push(json!({ kind: body }));
        }
        table.shape = Value::Array(shape);
        Some(table)
    }
}

/// Elements by name, given as text or as numbers.
fn elements(value: Option<Value>) -> BTreeSet<String> {
    let list = match value {
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
        None => Vec::new(),
    };
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    list.into_iter().filter_map(text).collect()
}

/// Commands that create or repair the tables in one transaction. With `keep`, armed indices stay
/// armed; otherwise only `sets.armed` are.
pub fn install(sets: &Sets, keep: bool) -> Vec<Value> {
    let mut commands = Vec::new();
    for family in Family::ALL {
        let place = |name: &str, more: Value| {
            let mut object = json!({ "family": family.name(), "table": TABLE, "name": name });
            if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
                object.extend(more);
            }
            object
        };
        let chain = json!({
            "type": "filter", "hook": family.hook(), "prio": PRIORITY, "policy": "accept",
        });
        let set = |kind| json!({ "type": kind });
        let is = |op, key, set| json!({ "match": { "op": op, "left": { "meta": { "key": key } }, "right": set } });
        let rule = json!({
            "family": family.name(), "table": TABLE, "chain": "shut",
            "expr": [
                is("==", "iifname", "@protected"), is("!=", "iif", "@armed"),
                { "counter": "dropped" }, { "drop": null },
            ],
        });
        commands.extend([
            json!({ "add": { "table": { "family": family.name(), "name": TABLE } } }),
            json!({ "add": { "set": place("protected", set("ifname")) } }),
            json!({ "add": { "set": place("armed", set("iface_index")) } }),
            json!({ "add": { "counter": place("dropped", json!({})) } }),
            json!({ "add": { "chain": place("shut", chain) } }),
            json!({ "flush": { "chain": place("shut", json!({})) } }),
            json!({ "add": { "rule": rule } }),
        ]);
    }
    commands.extend(fill(sets, keep));
    commands
}

/// Commands that set the contents of both tables' sets, in one transaction.
pub fn fill(sets: &Sets, keep: bool) -> Vec<Value> {
    let armed: Vec<Value> = sets.armed.iter().map(|index| json!(index)).collect();
    let protected: Vec<Value> = sets.protected.iter().map(|name| json!(name)).collect();
    let contents: BTreeMap<&str, Vec<Value>> = [("armed", armed), ("protected", protected)].into();
    let mut commands = Vec::new();
    for family in Family::ALL {
        for (name, elements) in &contents {
            let set = json!({ "family": family.name(), "table": TABLE, "name": name });
            if !(keep && *name == "armed") {
                commands.push(json!({ "flush": { "set": set } }));
            }
            if !elements.is_empty() {
                let mut set = set;
                set["elem"] = Value::Array(elements.clone());
                commands.push(json!({ "add": { "element": set } }));
            }
        }
    }
    commands
}

/// Commands that remove the tables of these families.
pub fn remove(families: &[Family]) -> Vec<Value> {
    let table = |family: &Family| json!({ "family": family.name(), "name": TABLE });
    families.iter().map(|family| json!({ "delete": { "table": table(family) } })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_nft_writes() {
        // Output of nft 1.0.6 for a table with one existing interface and one missing.
        let listing: Value = serde_json::from_str(
            r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "enforcer", "handle": 1}},
            {"counter": {"family": "inet", "name": "dropped", "table": "enforcer", "handle": 3, "packets": 7, "bytes": 420}},
            {"set": {"family": "inet", "name": "protected", "table": "enforcer", "type": "ifname", "handle": 1, "elem": ["lan0"]}},
            {"set": {"family": "inet", "name": "armed", "table": "enforcer", "type": "iface_index", "handle": 2, "elem": ["lan0", "77"]}}]}"#,
        )
        .unwrap();
        let table = Table::read(&listing).unwrap();
        assert_eq!(table.protected, ["lan0".to_owned()].into());
        assert_eq!(table.armed, ["lan0".to_owned(), "77".to_owned()].into());
        assert_eq!((table.frames, table.bytes), (7, 420));
        let mut other = listing.clone();
        other["nftables"][2]["counter"]["packets"] = json!(8);
        other["nftables"][4]["set"]["elem"] = json!([]);
        assert!(Table::read(&other).unwrap().has_shape_of(&table));
        other["nftables"][3]["set"]["flags"] = json!(["timeout"]);
        assert!(!Table::read(&other).unwrap().has_shape_of(&table));
    }

    #[test]
    fn what_is_kept_is_not_flushed() {
        let sets = Sets { protected: ["lan0".to_owned()].into(), armed: BTreeSet::new() };
        let flushes = |keep| {
            let text = Value::Array(install(&sets, keep)).to_string();
            (text.matches(r#"{"flush":{"set":{"family":"inet","name":"armed""#).count(), text)
        };
        assert_eq!(flushes(true).0, 0);
        assert_eq!(flushes(false).0, 1, "{}", flushes(false).1);
    }
}
