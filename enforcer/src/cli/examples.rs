//! Command lines in the documents, the help texts and the program's messages must parse.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Names and texts of all documents.
fn documents() -> Vec<(String, String)> {
    let in_docs = fs::read_dir(root().join("docs")).expect("docs").flatten();
    let mut paths: Vec<PathBuf> = in_docs.map(|entry| entry.path()).collect();
    let others = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];
    paths.extend(others.map(|name| root().join(name)));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let name = |path: &Path| path.file_name().expect("name").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).expect("document"))).collect()
}

/// The blocks of a document, each with its language.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let fenced = text.split("\n```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).collect()
}

/// The words of each program that a line of shell runs: quotes, comments, pipes and redirections
/// as far as the documents use them.
fn programs(line: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    let mut characters = line.chars().chain([' ']).peekable();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ' | '|' | '&' | ';' | '>' | '<') => {
                words.extend(word.take());
                if matches!(c, '|' | '&' | ';') {
                    all.push(std::mem::take(&mut words));
                } else if matches!(c, '>' | '<') {
                    // A redirection, up to the end of its file's name.
                    while characters.next_if(|next| matches!(next, '>' | ' ')).is_some() {}
                    while characters.next_if(|next| !" |&;".contains(*next)).is_some() {}
                }
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    all.push(words);
    all.retain(|words| !words.is_empty());
    all
}

/// The arguments of each run of enforcer.
fn runs(line: &str) -> Vec<Vec<String>> {
    let arguments = |words: Vec<String>| {
        let mut words = words.into_iter().peekable();
        let before = |word: &String| {
            word == "sudo"
                || word == "nsenter"
                || word.starts_with("--net=")
                || word.split_once('=').is_some_and(|(name, _)| {
                    name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
                })
        };
        while words.next_if(before).is_some() {}
        let program = words.next()?;
        (program == "enforcer").then(|| words.collect())
    };
    programs(line).into_iter().filter_map(arguments).collect()
}

/// Lines of shell in a document: all lines of a shell block, and the commands of a session.
fn typed(text: &str) -> Vec<&str> {
    let lines = blocks(text).into_iter().flat_map(|(language, block)| {
        block.lines().filter_map(move |line| match language {
            "sh" => Some(line),
            "console" => line.strip_prefix("$ "),
            _ => None,
        })
    });
    lines.collect()
}

/// `enforcer …` between backticks, outside of blocks.
fn spans(text: &str) -> Vec<&str> {
    let outside = text.split("\n```").step_by(2);
    let spans = outside.flat_map(|prose| prose.split('`').skip(1).step_by(2));
    spans.filter(|span| span.starts_with("enforcer ")).collect()
}

/// The parser's error for a command line, if any.
fn refusal(words: &[String]) -> Option<String> {
    let refused = Cli::try_parse_from([&["enforcer".to_owned()], words].concat()).err();
    refused.map(|refused| refused.to_string())
}

/// The same for a command that is only mentioned: it may lack required arguments, and the value of
/// its last flag.
fn refused_mention(words: &[String]) -> Option<String> {
    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
    let with = |value: &[&str]| {
        let told =
            value.iter().chain(&["--help"]).map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let refused = Cli::try_parse_from([&["enforcer".to_owned()], words, &told].concat()).err();
        refused.filter(|why| !matches!(why.kind(), DisplayHelp | DisplayVersion))
    };
    let refused = with(&[])?;
    let ends = [&["1"], &["90s"]].iter().all(|value| with(*value).is_some());
    ends.then(|| refused.to_string())
}

/// Reports all of them at once, so that one run finds every bad line.
fn none_of(refused: Vec<String>) {
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn lines_of_shell_are_taken_apart() {
    let all =
        runs("nsenter --net=/run/netns/gw enforcer run --config 'a b' & sleep 2 # enforcer x");
    assert_eq!(all, [["run", "--config", "a b"]]);
    let all = runs("NO_COLOR=1 enforcer rules --json >> x | jq -r '.a | .b' && enforcer confirm");
    assert_eq!(all, [vec!["rules", "--json"], vec!["confirm"]]);
    assert!(runs("install -m 755 enforcer /usr/local/sbin/enforcer").is_empty());
}

#[test]
fn what_documents_type_is_accepted() {
    let (mut count, mut refused) = (0, Vec::new());
    for (name, text) in documents() {
        for line in typed(&text) {
            for words in runs(line) {
                refused.extend(refusal(&words).map(|why| format!("{name}: {line}\n{why}")));
                count += 1;
            }
        }
    }
    none_of(refused);
    assert!(count >= 45, "{count} command lines");
}

#[test]
fn what_documents_mention_is_there() {
    let (mut count, mut refused) = (0, Vec::new());
    for (name, text) in documents() {
        for span in spans(&text) {
            // `a|b`, `[…]` and `A | B` mark a synopsis.
            if span.contains(['[', '|', '…']) && !span.contains('\'') {
                continue;
            }
            // Placeholders for a command and for a number.
            let span = span.replace("COMMAND", "status").replace('\n', " ");
            for mut words in runs(&span) {
                words.iter_mut().filter(|w| matches!(w.as_str(), "N" | "REV")).for_each(|w| {
                    *w = "1".to_owned();
                });
                refused.extend(refused_mention(&words).map(|why| format!("{name}: {span}\n{why}")));
                count += 1;
            }
        }
    }
    none_of(refused);
    assert!(count >= 60, "{count} mentions");
}

/// Examples below a help text, and thereby on its manual page.
#[test]
fn examples_of_help_texts_are_accepted() {
    fn walk(command: &clap::Command, count: &mut usize, refused: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        if !command.is_hide_set() && !command.has_subcommands() && !help.contains("Examples:\n") {
            refused.push(format!("{} has no example", command.get_name()));
        }
        for line in help.lines().filter_map(|line| line.strip_prefix("  ")) {
            let runs = runs(line);
            if runs.is_empty() {
                refused.push(format!("no command of ours: {line}"));
            }
            *count += runs.len();
            refused.extend(runs.iter().filter_map(|words| refusal(words)));
        }
        command.get_subcommands().for_each(|below| walk(below, count, refused));
    }
    let (mut count, mut refused) = (0, Vec::new());
    walk(&Cli::command(), &mut count, &mut refused);
    none_of(refused);
    assert!(count >= 40, "{count} examples");
}

/// What hints and messages tell people to type.
#[test]
fn what_the_program_says_to_type_is_there() {
    let mut directories = vec![root().join("enforcer/src"), root().join("dist")];
    let (mut count, mut refused) = (0, Vec::new());
    while let Some(directory) = directories.pop() {
        for path in fs::read_dir(directory).expect("source").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            // Unreadable files are skipped, and so is this file, whose tests have spans of their
            // own. A shell wants a backslash before a backtick.
            let text = fs::read_to_string(&path).unwrap_or_default().replace("\\`", "`");
            if path.ends_with("cli/examples.rs") {
                continue;
            }
            for line in text.lines() {
                for span in spans(line).into_iter().filter(|span| !span.contains(['{', '…', '[']))
                {
                    for words in runs(span) {
                        let place = path.display();
                        let why = refused_mention(&words);
                        refused.extend(why.map(|why| format!("{place}: {span}\n{why}")));
                        count += 1;
                    }
                }
            }
        }
    }
    none_of(refused);
    assert!(count >= 40, "{count} mentions");
}

#[test]
fn blocks_of_shell_are_shell() {
    let mut count = 0;
    for (name, text) in documents() {
        for (_, block) in blocks(&text).into_iter().filter(|(language, _)| *language == "sh") {
            let mut shell = Command::new("bash");
            shell.arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped());
            let mut shell = shell.spawn().expect("bash runs");
            let mut stdin = shell.stdin.take().expect("piped");
            stdin.write_all(block.as_bytes()).expect("bash reads");
            drop(stdin);
            let ended = shell.wait_with_output().expect("bash ends");
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(ended.status.success() && said.is_empty(), "{name}: {said}\n{block}");
            count += 1;
        }
    }
    assert!(count >= 15, "{count} blocks");
}
