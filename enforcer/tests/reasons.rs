//! The manual has a line for every reason, in the words of the code.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use enforcer_common::reason::Reason;

#[test]
fn the_manual_has_every_reason() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons.md");
    let text = fs::read_to_string(path).expect("manual");
    let mut lines = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, verdict, words, what] = cells.as_slice() else { panic!("{line}") };
        assert!(what.ends_with('.'), "{line}");
        let name = name.trim_matches('`').to_owned();
        assert_eq!(
            lines.insert(name, ((*verdict).to_owned(), (*words).to_owned())),
            None,
            "{line}"
        );
    }
    for reason in Reason::ALL {
        let verdict = if reason.passes() { "pass" } else { "drop" };
        let expected = (verdict.to_owned(), reason.words().to_owned());
        assert_eq!(lines.remove(reason.name()), Some(expected), "{}", reason.name());
    }
    assert!(lines.is_empty(), "not reasons: {:?}", lines.keys());
}
