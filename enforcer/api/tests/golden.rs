//! The API that scripts depend on: a golden value of each type, with every field.
#![allow(missing_docs, reason = "a test binary")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use enforcer_api::{
    ApplyReport, CapturedFrame, Change, Decided, Detached, DeviceRow, Endpoint, ExplainFrames,
    ExplainRequest, Explanation, Failure, FlowList, FlowRow, GroupStatus, Guard, HistoryRow,
    InterfaceStatus, LiveChange, LiveReport, LiveRequest, NearMiss, PolicyBundle, PolicyStatus,
    ProblemReport, ReasonCount, RuleRow, Session, Status,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const GOLDEN: &str = include_str!("data/types.jsonl");

/// Parses a value into its type and serialises it again.
fn again<T: DeserializeOwned + Serialize>(value: Value) -> Value {
    let typed: T = serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}"));
    serde_json::to_value(typed).expect("it is written")
}

type Again = fn(Value) -> Value;

macro_rules! types {
    ($($name:ident),* $(,)?) => { [$((stringify!($name), again::<$name> as Again)),*] };
}

#[test]
fn golden_values() {
    let known: BTreeMap<&str, Again> = types![
        ApplyReport,
        CapturedFrame,
        Change,
        Decided,
        Detached,
        DeviceRow,
        Endpoint,
        ExplainFrames,
        ExplainRequest,
        Explanation,
        Failure,
        FlowList,
        FlowRow,
        GroupStatus,
        Guard,
        HistoryRow,
        InterfaceStatus,
        LiveChange,
        LiveReport,
        LiveRequest,
        NearMiss,
        PolicyBundle,
        PolicyStatus,
        ProblemReport,
        ReasonCount,
        RuleRow,
        Session,
        Status,
    ]
    .into();
    let mut seen = Vec::new();
    for line in GOLDEN.lines() {
        let line: BTreeMap<String, Value> = serde_json::from_str(line).expect("a line");
        for (name, value) in line {
            let again = known.get(name.as_str()).unwrap_or_else(|| panic!("no type {name}"));
            assert_eq!(again(value.clone()), value, "{name}");
            seen.push(name);
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen, known.into_keys().collect::<Vec<_>>());
}

/// Every type and field must have a golden value, because nothing else checks it.
#[test]
fn every_type_and_field_has_one() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut of = None;
    let mut missing = Vec::new();
    for file in fs::read_dir(sources).expect("sources") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("text");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("pub struct ") {
                let name = rest.split([' ', '<']).next().unwrap_or_default();
                of = GOLDEN.lines().find(|line| line.starts_with(&format!("{{\"{name}\":")));
                missing.extend(of.is_none().then(|| name.to_owned()));
            }
            let field = line.strip_prefix("    pub ").and_then(|rest| rest.split_once(": "));
            // Flattened types have values of their own; `lasts` is serialised as `for`.
            if let (Some((field, _)), Some(golden)) = (field, of)
                && !field.contains(' ')
                && !["action", "change", "guard", "lasts"].contains(&field)
                && !golden.contains(&format!("\"{field}\":"))
            {
                missing.push(format!("{field} of {}", &golden[..30]));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}
