//! The commands that the documents show are commands of the program.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Lines of shell examples that run the program, with the document's name.
fn command_lines() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = fs::read_dir(root.join("docs")).expect("docs");
    let mut paths: Vec<_> = docs.map(|entry| entry.expect("entry").path()).collect();
    paths.push(root.join("README.md"));
    let mut lines = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(path).expect("document");
        let name = path.file_name().expect("name").to_string_lossy();
        let mut shell = None;
        for line in text.lines() {
            if let Some(language) = line.strip_prefix("```") {
                shell = if shell.is_some() { None } else { Some(language) };
                continue;
            }
            let typed = match shell {
                Some("sh") => Some(line),
                Some("console") => line.strip_prefix("$ "),
                _ => None,
            };
            if let Some(at) = typed.and_then(|typed| runs_at(typed)) {
                lines.push((name.to_string(), at.to_owned()));
            }
        }
    }
    lines
}

/// What follows the program's name in a line that runs it, as far as the shell gives it to it.
fn runs_at(line: &str) -> Option<&str> {
    let line = line.strip_prefix("nsenter --net=/run/netns/gw ").unwrap_or(line);
    let rest = line.strip_prefix("enforcer ")?;
    Some(rest.split(['|', '>', '&', '#']).next().unwrap_or(rest).trim())
}

/// The words of a command line; what is between quotes is one.
fn words(line: &str) -> Vec<&str> {
    let quoted = line.split('\'').enumerate();
    let words =
        quoted.flat_map(
            |(at, part)| {
                if at % 2 == 1 { vec![part] } else { part.split_whitespace().collect() }
            },
        );
    words.collect()
}

/// `--help` parses everything in front of it, and does nothing else.
#[test]
fn command_lines_of_the_documents_parse() {
    let lines = command_lines();
    for (name, line) in &lines {
        let words = words(line);
        let output = Command::new(env!("CARGO_BIN_EXE_enforcer"))
            .args(words)
            .arg("--help")
            .stdin(Stdio::null())
            .output()
            .expect("enforcer runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: enforcer {line}\n{said}");
        let help = String::from_utf8_lossy(&output.stdout);
        assert!(help.contains("Usage: enforcer "), "{name}: enforcer {line}\n{help}");
    }
    assert!(lines.len() >= 20, "{} command lines", lines.len());
}
