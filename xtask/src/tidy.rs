//! Rules of the style guide that a program can check: lengths, module edges, and forbidden contents.
mod circles;
mod imports;
mod paths;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};

use crate::sh::Paths;

/// A file that exceeds the limit explains why, with this prefix.
const LONG: &str = "// tidy: long because ";
const TEXT: [&str; 10] = ["rs", "toml", "md", "py", "sh", "yml", "service", "nft", "txt", "conf"];

/// Forbidden uses: prefix of the path in the repository, and prefixes of the paths in the code.
const EDGES: [(&str, &[&str], &str); 10] = [
    ("enforcer-common/src/", &["std", "alloc", "aya_ebpf", "libc"], "it is `core` only"),
    ("enforcer-ebpf/src/", &["std", "aya"], "it is aya-ebpf and enforcer-common only"),
    ("enforcer/policy/src/", PURE, "no clock, no files, no kernel: pass it in"),
    (
        "enforcer/api/src/",
        &["std::fs", "std::env", "std::thread", "std::time"],
        "it is what travels: values, and nothing that is done with them",
    ),
    (
        "enforcer/src/doctor/judge/",
        &[
            "aya",
            "tokio",
            "libc",
            "std::fs",
            "std::time",
            "std::env",
            "std::process",
            "std::thread",
        ],
        "facts to findings: no clock, no files, no kernel",
    ),
    (
        "enforcer/src/dataplane/",
        &["crate::policy", "enforcer_policy", "crate::config", "crate::cli"],
        "policy and dataplane meet in `Image` alone",
    ),
    (
        "enforcer/src/events/",
        &["crate::api", "enforcer_api", "crate::control", "crate::daemon", "crate::dataplane"],
        "an event knows neither who made it nor how it travels",
    ),
    (
        "enforcer/src/guard/",
        &["tokio", "std::fs", "crate::daemon", "crate::control", "crate::backstop"],
        "what was seen to what is to be done: the daemon looks and acts",
    ),
    (
        "enforcer/src/request.rs",
        &["tokio", "crate::control", "crate::daemon"],
        "a request has no way back in it",
    ),
    ("enforcer/src/", &["clap"], "`cli` alone knows clap"),
];
/// What Cargo does not hold: neither crate depends on aya, tokio or another of ours.
const PURE: &[&str] = &[
    "std::fs",
    "std::time",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "Timestamp::now",
    "jiff::Timestamp::now",
];
const PRINTS: [&str; 4] = ["println!", "eprintln!", "print!", "eprint!"];

/// Prints each problem with its place; fails when there is one.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    let mut files = Vec::new();
    walk(&paths.root, &paths.root, &mut files)?;
    files.sort();
    let mut problems = 0;
    for file in &files {
        let Ok(text) = fs::read_to_string(paths.root.join(file)) else { continue };
        let mut found = check(&file.to_string_lossy(), &text);
        if file.extension().is_some_and(|extension| extension == "md") {
            found.extend(paths::missing(&paths.root, &text));
        }
        for (line, what) in found {
            println!("{}:{line}: {what}", file.display());
            problems += usize::from(!what.starts_with("warning"));
        }
    }
    for circle in circles::found(&paths.root)? {
        println!("imports in a circle: {circle}");
        problems += 1;
    }
    ensure!(problems == 0, "{problems} problems");
    Ok(())
}

fn walk(root: &Path, dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let relative = path.strip_prefix(root)?.to_owned();
        if path.is_symlink() {
            continue;
        } else if path.is_dir() {
            let skip = [".git", "target"].contains(&name.as_str());
            let data = ["tests/data", "fuzz/corpus"].iter().any(|data| relative == Path::new(data));
            if !skip && !data {
                walk(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|ext| TEXT.iter().any(|text| ext == *text)) {
            files.push(relative);
        }
    }
    Ok(())
}

/// All problems of one file, with their lines.
fn check(file: &str, text: &str) -> Vec<(usize, String)> {
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.ends_with([' ', '\t', '\r']) {
            problems.push((number, "trailing white space".to_owned()));
        }
        if file.ends_with(".md")
            && let Some(path) = machine_path(line)
        {
            problems.push((number, format!("{path} exists on one machine only")));
        }
    }
    if file.ends_with(".md") {
        problems.extend(wide(file, text));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        problems.push((text.lines().count(), "no newline at the end".to_owned()));
    }
    if file.ends_with(".rs") {
        problems.extend(length(file, text));
        if (file.ends_with("/lib.rs") || file == "lib.rs") && !text.starts_with("//!") {
            problems.push((1, "begins without `//!`: the layout of the crate".to_owned()));
        }
        problems.extend(code(file, text));
    }
    problems
}

/// Lines of a document that are wider than a screen. Tables, examples and headings cannot be wrapped, nor can a
/// line without a space after its first word. Generated files are exempt.
fn wide(file: &str, text: &str) -> Vec<(usize, String)> {
    const WIDTH: usize = 100;
    if file.starts_with("docs/performance/") {
        return Vec::new();
    }
    let mut is_example = false;
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let plain = line.trim_start();
        if plain.starts_with("```") {
            is_example = !is_example;
        }
        let can_wrap = !plain.starts_with(['|', '#', '`', '[']) && plain.contains(' ');
        if !is_example && can_wrap && line.chars().count() > WIDTH {
            found.push((number, format!("wider than {WIDTH} columns")));
        }
    }
    found
}

fn length(file: &str, text: &str) -> Option<(usize, String)> {
    let lines = text.lines().count();
    let kernel = file.starts_with("enforcer-ebpf/");
    let (limit, end) = if kernel { (150, 200) } else { (400, 600) };
    let explained = text.lines().any(|line| line.trim_start().starts_with(LONG));
    let what = if lines > end && !(kernel && explained) {
        format!("{lines} lines; {end} is the end: split it")
    } else if lines > limit && kernel && !explained {
        format!("warning: {lines} lines; kernel-side files stay under {limit}")
    } else if lines > limit && !explained {
        format!("{lines} lines; over {limit} it says `{LONG}…`")
    } else {
        return None;
    };
    Some((lines, what))
}

/// A path that exists only on the author's machine.
fn machine_path(line: &str) -> Option<&'static str> {
    let names = ["/tmp/", "/root/", "/home/"];
    names.into_iter().find(|name| {
        line.match_indices(name).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && !"._-/~".contains(c))
        })
    })
}

/// Edges between modules, prints and unfinished code; tests, at the end of a file, are free.
fn code(file: &str, text: &str) -> Vec<(usize, String)> {
    if file.ends_with("/tests.rs") || file.contains("/tests/") {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (number, line) in imports::code(text) {
        if file != "xtask/src/tidy.rs" {
            for unfinished in ["todo!(", "unimplemented!("] {
                if line.contains(unfinished) {
                    problems.push((number, format!("{unfinished}…) is not finished")));
                }
            }
        }
        let prints = PRINTS.iter().find(|print| line.trim_start().starts_with(**print));
        if let (Some(print), false) = (prints, may_print(file)) {
            problems.push((number, format!("{print}: `commands` and `main` alone print")));
        }
    }
    let used = imports::used(text);
    problems.extend(used.iter().filter_map(|(number, path)| edge(file, *number, path)));
    problems.sort_by_key(|(number, _)| *number);
    problems.dedup();
    problems
}

fn may_print(file: &str) -> bool {
    !file.starts_with("enforcer/src/")
        || file == "enforcer/src/main.rs"
        || file.starts_with("enforcer/src/commands/")
}

fn edge(file: &str, number: usize, path: &str) -> Option<(usize, String)> {
    let begins = |name: &str| {
        path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    for (place, names, why) in EDGES {
        let cli = file.starts_with("enforcer/src/cli") && names.contains(&"clap");
        if !file.starts_with(place) || cli {
            continue;
        }
        if names.iter().any(|name| begins(name)) {
            return Some((number, format!("uses {path}: {why}")));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(file: &str, text: &str) -> Vec<String> {
        check(file, text).into_iter().map(|(line, what)| format!("{line} {what}")).collect()
    }

    #[test]
    fn policy_reads_no_clock() {
        let text = "use std::{\n    collections::BTreeMap,\n    time::Duration,\n};\n";
        let found = whats("enforcer/policy/src/words.rs", text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("1 uses std::time::Duration"), "{found:?}");
        assert!(whats("enforcer/src/daemon.rs", text).is_empty());
    }

    #[test]
    fn inline_paths_count_and_comments_do_not() {
        let text = "fn f() { std::fs::read(x) } // std::env::var\n";
        assert_eq!(whats("enforcer/policy/src/read.rs", text).len(), 1);
        assert!(whats("enforcer/src/config.rs", text).is_empty());
    }

    #[test]
    fn dataplane_sees_no_policy_and_common_no_std() {
        assert_eq!(whats("enforcer/src/dataplane/mod.rs", "use crate::policy::Image;\n").len(), 1);
        assert_eq!(whats("enforcer-common/src/parse.rs", "use std::vec::Vec;\n").len(), 1);
        let test = "use core::mem;\n#[cfg(test)]\nmod tests {\n    use std::vec::Vec;\n}\n";
        assert!(whats("enforcer-common/src/parse.rs", test).is_empty());
        let later = "#[cfg(test)]\nmod tests;\nuse std::vec::Vec;\n";
        assert_eq!(whats("enforcer-common/src/lib.rs", &format!("//! x\n{later}")).len(), 1);
    }

    #[test]
    fn clap_and_printing_have_one_place() {
        assert_eq!(whats("enforcer/src/config.rs", "use clap::Parser;\n").len(), 1);
        assert!(whats("enforcer/src/cli.rs", "use clap::Parser;\n").is_empty());
        assert!(whats("enforcer/src/cli/tail.rs", "use clap::Args;\n").is_empty());
        assert_eq!(whats("enforcer/src/daemon.rs", "    println!(\"x\");\n").len(), 1);
        assert!(whats("enforcer/src/commands/tail.rs", "    println!(\"x\");\n").is_empty());
    }

    #[test]
    fn documents_are_a_screen_wide() {
        let word = "word ".repeat(20);
        assert!(whats("docs/a.md", &format!("{word}\n").replace(" \n", "\n")).is_empty());
        let wide = format!("{word}more\n");
        assert_eq!(whats("docs/a.md", &wide), ["1 wider than 100 columns"]);
        for kept in [format!("| {wide}"), format!("```\n{wide}```\n"), format!("# {wide}")] {
            assert!(whats("docs/a.md", &kept).is_empty(), "{kept}");
        }
        assert!(whats("docs/performance/results.md", &wide).is_empty());
    }

    #[test]
    fn lengths_have_limits() {
        assert!(whats("xtask/src/a.rs", &"x\n".repeat(400)).is_empty());
        assert_eq!(whats("xtask/src/a.rs", &"x\n".repeat(401)).len(), 1);
        let explained = format!("{LONG}it is a table\n{}", "x\n".repeat(450));
        assert!(whats("xtask/src/a.rs", &explained).is_empty());
        assert_eq!(whats("xtask/src/a.rs", &format!("{explained}{}", "x\n".repeat(200))).len(), 1);
        let kernel = whats("enforcer-ebpf/src/maps.rs", &"x\n".repeat(160));
        assert!(kernel[0].contains("warning"), "{kernel:?}");
    }

    #[test]
    fn text_rules() {
        assert_eq!(whats("README.md", "see /home/me/notes.md\n").len(), 1);
        assert_eq!(whats("README.md", "a path /homes or net/home/\n"), Vec::<String>::new());
        assert_eq!(whats("README.md", "trailing \n").len(), 1);
        assert_eq!(whats("a/src/lib.rs", "pub mod a;\n").len(), 1);
        assert_eq!(whats("a/src/b.rs", "fn f() { todo!() }\n").len(), 1);
    }
}
