//! Completions in the shells themselves: each loads its script from the packages' location, and
//! completes a command and a flag.
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{Finished, Process, daemon::binary, lacking, run, skip};

/// Typed text, and its completion.
const TYPED: [(&str, &str); 3] = [
    ("enforcer poli", "policy"),
    ("enforcer policy sh", "show"),
    ("enforcer mode beds --forc", "--force"),
];
/// Looks up the completion function and calls it as bash does: `$1` is the script.
const BASH: &str = r#"
source "./$1"
read -ra COMP_WORDS <<< "$2"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
[[ $(complete -p enforcer) =~ -F\ ([^ ]+) ]] && "${BASH_REMATCH[1]}" enforcer "${COMP_WORDS[COMP_CWORD]}" ''
echo "${COMPREPLY[@]}"
"#;
/// Types into a terminal, because zsh completes only there. `$1` is the directory of the script,
/// `$3` the text that has to appear.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty shell "env TERM=dumb zsh -f -i"
zpty -w shell "PS1=; fpath=($1 \$fpath); autoload -U compinit; compinit -u -D; echo rea''dy"
zpty -r -m shell out '*ready*'
zpty -w -n shell "$2"$'\t'
zpty -r -m shell out "*$3*"
"#;

/// A script in its location, and an `enforcer` in the path: fish loads nothing for a missing program.
fn place(shell: &str, name: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let file = dir.path().join(name);
    fs::create_dir_all(file.parent().expect("it has one")).expect("it is ours");
    fs::write(&file, run(&binary(), &["completions", shell])).expect("it is ours");
    fs::create_dir_all(dir.path().join("bin")).expect("it is ours");
    symlink(binary(), dir.path().join("bin/enforcer")).expect("it is ours");
    dir
}

/// Runs a shell there, without the settings of this machine and user.
fn ask(shell: &str, dir: &Path, words: &[&str]) -> Finished {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(shell);
    command.env_clear().env("PATH", format!("{}/bin:{path}", dir.display()));
    command.env("HOME", dir).env("XDG_DATA_DIRS", dir).current_dir(dir).args(words);
    Process::spawn(command).finish(Duration::from_secs(20))
}

/// Whether the shell is installed; says so if it is not.
fn is_here(shell: &str) -> bool {
    let here = lacking(&[shell]).is_empty();
    if !here {
        skip(&format!("completions::{shell}_completes"), &format!("{shell} is not installed"));
    }
    here
}

#[test]
fn bash_completes() {
    if !is_here("bash") {
        return;
    }
    let dir = place("bash", "enforcer");
    for (typed, whole) in TYPED {
        let words = ["--norc", "--noprofile", "-c", BASH, "bash", "enforcer", typed];
        let said = ask("bash", dir.path(), &words);
        assert!(said.success() && said.stdout.trim() == whole, "{typed}: {said:?}");
    }
}

#[test]
fn zsh_completes() {
    if !is_here("zsh") {
        return;
    }
    let dir = place("zsh", "site/_enforcer");
    let host = dir.path().join("site").display().to_string();
    for (typed, whole) in TYPED {
        let begun = typed.rsplit_once(' ').expect("two words").0;
        let whole = format!("{begun} {whole}");
        let said = ask("zsh", dir.path(), &["-f", "-c", ZSH, "zsh", &host, typed, &whole]);
        assert!(said.success(), "{typed}: {said:?}");
    }
}

#[test]
fn fish_completes() {
    if !is_here("fish") {
        return;
    }
    let dir = place("fish", "fish/vendor_completions.d/enforcer.fish");
    for (typed, whole) in TYPED {
        let said = ask("fish", dir.path(), &["-c", "complete -C $argv[1]", typed]);
        let first = said.stdout.split_whitespace().next().unwrap_or_default().to_owned();
        assert!(said.success() && first == whole, "{typed}: {said:?}");
    }
}
