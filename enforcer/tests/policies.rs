//! The shipped policies and the manual's examples have no problems.

use std::fs;
use std::path::{Path, PathBuf};

use enforcer::policy::{Policy, Problem, Severity, read, report};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read_file(path: &Path) -> (Policy, Vec<Problem>) {
    let text = fs::read_to_string(path).expect("policy");
    let directory = path.parent().expect("directory");
    let (policy, problems) =
        read(&path.to_string_lossy(), &text, &mut |name| fs::read_to_string(directory.join(name)));
    assert_eq!(problems, [], "{}", report::render(&problems, &|_| Some(&text), false));
    (policy, problems)
}

#[test]
fn shipped_policies_have_no_problem() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("policies")).expect("policies") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            read_file(&path);
            count += 1;
        }
    }
    assert!(count >= 3, "{count} policies");
}

#[test]
fn contec_policies_name_the_advisory() {
    for name in ["contec-cms8000-local-only.toml", "contec-cms8000-onprem-cms.toml"] {
        let (policy, _) = read_file(&root().join("policies").join(name));
        let denies: Vec<_> = policy.groups.iter().flat_map(|group| &group.deny).collect();
        assert!(!denies.is_empty());
        for rule in denies {
            assert_eq!(rule.reason.as_deref(), Some("ICSMA-25-030-01"), "{name}");
        }
    }
}

/// The rules offered in a comment must be valid too.
#[test]
fn contec_alternative_in_the_comment() {
    let path = root().join("policies/contec-cms8000-onprem-cms.toml");
    let text = fs::read_to_string(path).expect("policy");
    let (before, after) = text.split_once("\ndeny = [").expect("deny");
    let (_, comment) = after.split_once("# deny = [").expect("alternative");
    let rules: String = comment.lines().map(|line| line.trim_start_matches('#')).collect();
    let text = format!("{before}\ndeny = [{rules}\n");
    let (policy, problems) = read("p.toml", &text, &mut |_| unreachable!("no files"));
    assert_eq!(problems, [], "{}", report::render(&problems, &|_| Some(&text), false));
    assert_eq!(policy.groups[0].deny.len(), 3);
}

/// Names and texts of the documents that show policies.
fn documents() -> Vec<(String, String)> {
    let mut paths: Vec<_> = fs::read_dir(root().join("docs"))
        .expect("docs")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.push(root().join("README.md"));
    let name = |path: &Path| path.file_name().expect("name").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).expect("document"))).collect()
}

/// The texts between `from` and `to`.
fn blocks<'a>(text: &'a str, from: &'a str, to: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(from).skip(1).map(move |rest| rest.split(to).next().expect("block"))
}

fn assert_accepted(name: &str, example: &str) {
    let (_, problems) = read(name, example, &mut |_| Ok("192.0.2.0/24\n".to_owned()));
    let errors: Vec<_> =
        problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{}", report::render(&problems, &|_| Some(example), false));
}

#[test]
fn examples_of_the_manual_are_policies() {
    let text = fs::read_to_string(root().join("docs/policy.md")).expect("manual");
    let mut count = 0;
    for example in blocks(&text, "\n```toml\n", "\n```") {
        count += 1;
        // A fragment shows its table alone.
        let schema = if example.contains("schema") { "" } else { "schema = 1\n" };
        assert_accepted("docs/policy.md", &format!("{schema}{example}"));
    }
    assert!(count >= 8, "{count} examples");
}

/// Policies that a shell writes to a file.
#[test]
fn policies_in_shell_are_policies() {
    let mut count = 0;
    for (name, text) in documents() {
        for example in blocks(&text, "policy.toml <<'END'\n", "\nEND\n") {
            assert_accepted(&name, example);
            count += 1;
        }
    }
    assert!(count >= 1, "{count} policies");
}

/// Every block of TOML is a policy, a part of one, or settings.
#[test]
fn every_block_of_toml_is_accepted() {
    let (mut policies, mut settings) = (0, 0);
    for (name, text) in documents() {
        for example in blocks(&text, "\n```toml\n", "\n```") {
            let (_, problems) = enforcer::config::check(&name, example);
            if !report::has_errors(&problems) {
                settings += 1;
                continue;
            }
            let schema = if example.contains("schema") { "" } else { "schema = 1\n" };
            assert_accepted(&name, &format!("{schema}{example}"));
            policies += 1;
        }
    }
    assert!(policies >= 11 && settings >= 4, "{policies} policies, {settings} settings");
}

/// The keys that the reader suggests for an unknown one.
fn known_keys(problems: &[Problem]) -> Vec<String> {
    let hints = problems.iter().filter_map(|problem| problem.hint.as_deref());
    let lists = hints.filter_map(|hint| hint.strip_prefix("known keys: "));
    lists.flat_map(|list| list.split(", ").map(str::to_owned)).collect()
}

#[test]
fn the_manual_and_the_template_have_every_key() {
    let text = "schema = 1\nnobody-has-this = 1\n\
                [sets]\na = { nobody-has-this = 1 }\n\
                [devices.b]\nnobody-has-this = 1\n\
                [groups.c]\nnobody-has-this = 1\nallow = [{ nobody-has-this = 1 }]\n\
                [interfaces.lan0]\nnobody-has-this = 1\n\
                [unknown]\nnobody-has-this = 1\n[essential]\nnobody-has-this = 1\n";
    let (_, problems) = read("p.toml", text, &mut |_| unreachable!("no files"));
    let keys = known_keys(&problems);
    let count = keys.len();
    assert!(count >= 29, "{count} keys: {keys:?}");
    let manual = fs::read_to_string(root().join("docs/policy.md")).expect("manual");
    let template = fs::read_to_string(root().join("policies/template.toml")).expect("template");
    for key in keys {
        let row = [format!("| `{key}` |"), format!("### `{key}`"), format!("### `[{key}")];
        let said = row.iter().any(|row| manual.contains(row)) || (key == "file");
        assert!(said, "docs/policy.md has no row for `{key}`");
        assert!(template.contains(&key), "policies/template.toml has no `{key}`");
    }
}

#[test]
fn the_manual_has_every_setting() {
    let text = "nobody-has-this = 1\n[metrics]\nnobody-has-this = 1\n[sinks]\nnobody-has-this = 1\n\
                [sinks.syslog]\nnobody-has-this = 1\n[sinks.file]\nnobody-has-this = 1\n\
                [sinks.journald]\nnobody-has-this = 1\n";
    let (_, problems) = enforcer::config::check("e.toml", text);
    let keys = known_keys(&problems);
    assert!(keys.len() >= 20, "{keys:?}");
    let texts: String = ["docs/cli.md", "docs/sinks.md", "docs/metrics.md"]
        .map(|name| fs::read_to_string(root().join(name)).expect("document"))
        .concat();
    for key in keys {
        let written = texts.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            let line = line.strip_prefix(&key).map(str::trim_start);
            line.is_some_and(|line| line.starts_with('='))
        });
        assert!(
            written
                || texts.contains(&format!("[{key}]"))
                || texts.contains(&format!("[sinks.{key}]"))
                || key == "sinks",
            "no document has `{key}`"
        );
    }
}

#[test]
fn the_problem_in_the_manual_is_printed_so() {
    let manual = fs::read_to_string(root().join("docs/policy.md")).expect("manual");
    let (_, block) = manual.split_once("```text\n").expect("block");
    let (block, _) = block.split_once("```").expect("end of block");
    let text = "schema = 1\n\n[sets]\ncentral-station = [\"10.20.0.5/24\"]\n";
    let (_, problems) = read("policy.toml", text, &mut |_| unreachable!("no files"));
    let shown = report::render(&problems, &|_| Some(text), false);
    assert!(shown.contains(block), "{shown}");
}
