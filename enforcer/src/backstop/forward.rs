//! Base chains of other tools (Docker, firewalld, ufw, OpenWrt) that drop forwarded traffic after
//! enforcer: native nftables chains, and those of iptables-nft, which are nftables chains too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::table::TABLE;
use super::{Error, nft};

/// Depth to which jumps between chains are followed; the kernel allows 16.
const DEEPEST: usize = 16;

/// A base chain at hook forward that drops everything that its rules do not accept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// `ip`, `ip6`, `inet` or `bridge`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Why it drops.
    pub why: Why,
    /// Interfaces whose traffic it accepts entirely.
    pub accepts: BTreeSet<String>,
}

/// Why a chain drops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// Its policy is drop.
    #[default]
    Policy,
    /// Its last rule, or that of a chain that it jumps to, drops everything.
    LastRule,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, name, why, .. } = self;
        let why = match why {
            Why::Policy => "policy drop",
            Why::LastRule => "its rules end in drop",
        };
        write!(f, "chain {name} of table {family} {table} ({why})")
    }
}

/// Reads the kernel's chains. Elements of sets are not read, because there may be millions.
///
/// # Errors
///
/// nft is missing, or lacks the permission.
pub async fn look() -> Result<Vec<Chain>, Error> {
    let mut found = Vec::new();
    for (family, table) in tables(&nft::ask(&["list", "chains"]).await?) {
        let listing = nft::ask(&["-t", "list", "table", &family, &table]).await;
        match listing {
            Ok(listing) => found.extend(read(&listing)),
            // Removed meanwhile.
            Err(Error::Refused(why)) if why.contains("No such file") => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

fn objects<'v>(listing: &'v Value, kind: &'static str) -> impl Iterator<Item = &'v Value> {
    let list = listing.get("nftables").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(move |object| object.get(kind))
}

fn text(object: &Value, field: &str) -> String {
    object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn is_forward(chain: &Value) -> bool {
    text(chain, "hook") == "forward" && text(chain, "table") != TABLE
}

/// Tables that have such a chain, according to `nft -j list chains`.
fn tables(listing: &Value) -> BTreeSet<(String, String)> {
    let chains = objects(listing, "chain").filter(|chain| is_forward(chain));
    chains.map(|chain| (text(chain, "family"), text(chain, "table"))).collect()
}

/// The chains of one table that drop (libnftables-json(5)).
fn read(listing: &Value) -> Vec<Chain> {
    let mut rules: BTreeMap<String, Vec<&Vec<Value>>> = BTreeMap::new();
    for rule in objects(listing, "rule") {
        let parts = rule.get("expr").and_then(Value::as_array);
        rules.entry(text(rule, "chain")).or_default().extend(parts);
    }
    let chains = objects(listing, "chain").filter(|chain| is_forward(chain));
    let drops = chains.filter_map(|chain| {
        let name = text(chain, "name");
        let why = if text(chain, "policy") == "drop" {
            Why::Policy
        } else if ends_in_drop(&rules, &name, 0) {
            Why::LastRule
        } else {
            return None;
        };
        let own = rules.get(&name);
        let accepts = own.into_iter().flatten().filter_map(|rule| accepted(rule)).collect();
        let (family, table) = (text(chain, "family"), text(chain, "table"));
        Some(Chain { family, table, name, why, accepts })
    });
    drops.collect()
}

fn ends_in_drop(rules: &BTreeMap<String, Vec<&Vec<Value>>>, chain: &str, depth: usize) -> bool {
    let Some(last) = rules.get(chain).and_then(|rules| rules.last()) else { return false };
    let Some((verdict, before)) = last.split_last() else { return false };
    if depth > DEEPEST || !before.iter().all(takes_all) {
        return false;
    }
    if verdict.get("drop").is_some() || verdict.get("reject").is_some() {
        return true;
    }
    if let Some(target) = verdict.get("jump").or(verdict.get("goto")) {
        return ends_in_drop(rules, &text(target, "target"), depth + 1);
    }
    // An iptables target that nft cannot express.
    let target = verdict.get("xt").map(|target| text(target, "name"));
    target.is_some_and(|name| matches!(name.as_str(), "DROP" | "REJECT"))
}

/// Whether a part of a rule is not a condition.
fn takes_all(part: &Value) -> bool {
    let is_comment = part.get("xt").is_some_and(|part| text(part, "name") == "comment");
    part.get("counter").is_some() || part.get("log").is_some() || is_comment
}

/// The interface whose traffic a rule accepts entirely.
fn accepted(rule: &[Value]) -> Option<String> {
    let (verdict, before) = rule.split_last()?;
    verdict.get("accept")?;
    let mut conditions = before.iter().filter(|part| !takes_all(part));
    let matched = conditions.next()?.get("match")?;
    let key = matched.get("left")?.get("meta")?.get("key")?.as_str()?;
    let is_it = key == "iifname" && text(matched, "op") == "==" && conditions.next().is_none();
    is_it.then(|| text(matched, "right"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base(family: &str, name: &str, policy: &str) -> Value {
        json!({ "chain": { "family": family, "table": "filter", "name": name, "handle": 1,
            "type": "filter", "hook": "forward", "prio": 0, "policy": policy } })
    }

    fn rule(chain: &str, parts: Value) -> Value {
        json!({ "rule": { "family": "ip", "table": "filter", "chain": chain, "handle": 2,
            "expr": parts } })
    }

    fn whys(objects: Vec<Value>) -> Vec<Why> {
        read(&json!({ "nftables": objects })).into_iter().map(|chain| chain.why).collect()
    }

    #[test]
    fn chains_that_drop_are_named() {
        let chains = read(&json!({ "nftables": [
            base("ip", "FORWARD", "drop"),
            rule("FORWARD", json!([
                { "match": { "op": "==", "left": { "meta": { "key": "iifname" } }, "right": "lan0" } },
                { "counter": { "packets": 0, "bytes": 0 } }, { "accept": null }])),
            rule("FORWARD", json!([
                { "match": { "op": "==", "left": { "meta": { "key": "oifname" } }, "right": "x" } },
                { "accept": null }])),
        ] }));
        let [chain] = &chains[..] else { panic!("{chains:?}") };
        assert_eq!(chain.to_string(), "chain FORWARD of table ip filter (policy drop)");
        assert_eq!(chain.accepts, ["lan0".to_owned()].into());
        let ours = json!({ "chain": { "family": "inet", "table": TABLE, "name": "forward",
            "hook": "forward", "policy": "drop" } });
        let input = json!({ "chain": { "family": "ip", "table": "filter", "name": "INPUT",
            "hook": "input", "policy": "drop" } });
        assert_eq!(whys(vec![ours, input]), []);
    }

    #[test]
    fn rules_that_end_in_drop() {
        let counter = json!({ "counter": { "packets": 0, "bytes": 0 } });
        let drop = json!({ "drop": null });
        let some = json!({ "match": { "op": "==", "left": { "meta": { "key": "iifname" } },
            "right": "lan1" } });
        let jump = |to: &str| json!({ "jump": { "target": to } });
        for (rules, expected) in [
            (vec![], vec![]),
            (vec![rule("f", json!([counter, drop]))], vec![Why::LastRule]),
            (vec![rule("f", json!([{ "reject": { "type": "icmpx" } }]))], vec![Why::LastRule]),
            (
                vec![rule("f", json!([{ "xt": { "type": "target", "name": "REJECT" } }]))],
                vec![Why::LastRule],
            ),
            (vec![rule("f", json!([some, drop]))], vec![]),
            (vec![rule("f", json!([drop])), rule("f", json!([some, { "accept": null }]))], vec![]),
            (
                vec![rule("f", json!([jump("a")])), rule("a", json!([{ "log": null }, drop]))],
                vec![Why::LastRule],
            ),
            (vec![rule("f", json!([some, jump("a")])), rule("a", json!([drop]))], vec![]),
            (vec![rule("f", json!([jump("f")]))], vec![]),
        ] {
            let objects = [vec![base("ip", "f", "accept")], rules.clone()].concat();
            assert_eq!(whys(objects), expected, "{rules:?}");
        }
    }
}
