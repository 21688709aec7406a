//! Counts instructions instead of time: the same on a busy machine, so that a change of one per cent
//! shows.
//!
//! Two programs are counted, together with the compiler version, and compared with a file in the
//! repository:
//!
//! - `enforcer/policy/examples/count.rs`, fixed work of the policy compiler and of the decision, as valgrind's
//!   callgrind counts it; without what it does in the C library, which another machine has another of
//! - the kernel program: instructions of each of its sections, as they stand in the object
//!
//! A different compiler makes a different program: figures from another compiler are skipped.
use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{
    ebpf,
    sh::{self, Paths},
    test::Outcome,
};

/// Where the figures are, in the repository.
const FILE: &str = "tests/data/instructions.txt";
const HEAD: &str =
    "# Instructions of fixed work; made by `cargo xtask bench count --write`, do not edit.\n";
/// Functions of the example: the one whose return dumps the counters, and the one that is counted.
const PART: &str = "count::part*";
const MEASURED: &str = "count::measured*";
/// Allowed difference: the surrounding code influences what the compiler inlines.
const TOLERANCE: f64 = 0.005;

/// Figures of one compiler, each with its name, in order.
#[derive(Debug, PartialEq, Eq)]
struct Section {
    compiler: String,
    figures: Vec<(String, u64)>,
}

/// Counts and compares, or records the figures; returns whether they are unchanged.
pub(crate) fn run(paths: &Paths, write: bool) -> Result<bool> {
    if !write {
        return Ok(compare(paths)?.failed == 0);
    }
    let mut text = HEAD.to_owned();
    for section in [host(paths)?, kernel(paths)?] {
        let section = section.map_err(anyhow::Error::msg)?;
        // A `String` takes everything.
        let _ = writeln!(text, "\n[{}]", section.compiler);
        for (name, count) in section.figures {
            let _ = writeln!(text, "{count:>9} {name}");
        }
    }
    fs::write(paths.root.join(FILE), text)?;
    println!("written: {FILE}");
    Ok(true)
}

/// Counts and compares: each figure is a test.
pub(crate) fn compare(paths: &Paths) -> Result<Outcome> {
    let text = fs::read_to_string(paths.root.join(FILE)).with_context(|| FILE)?;
    let recorded = parse(&text)?;
    let mut sum = Outcome::default();
    for (counted, recorded) in [host(paths)?, kernel(paths)?].into_iter().zip(&recorded) {
        sum += match counted {
            Ok(counted) => judge(recorded, &counted),
            Err(why) => skipped(recorded, &why),
        };
    }
    if sum.failed > 0 {
        println!("count: what is meant is recorded by `cargo xtask bench count --write`");
    }
    Ok(sum)
}

/// A section, or why it cannot be counted here.
type Counted = Result<Section, String>;

/// The example under valgrind.
fn host(paths: &Paths) -> Result<Counted> {
    let Some(valgrind) = sh::which("valgrind") else {
        return Ok(Err("no valgrind here: `cargo xtask setup --test`".to_owned()));
    };
    let build = ["build", "--quiet", "--release", "-p", "enforcer-policy", "--example", "count"];
    sh::run(sh::cargo(paths).args(build))?;
    let program = paths.target.join("release/examples/count");
    let directory = paths.target.join("count");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory)?;
    let out = directory.join("out");
    let mut command = Command::new(valgrind);
    command.args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no"]);
    command.arg(format!("--log-file={}", directory.join("log").display()));
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(format!("--dump-after={PART}")).arg(format!("--toggle-collect={MEASURED}"));
    let names = sh::output(command.arg(&program))?;
    let figures = names.lines().zip(1..).map(|(name, number)| {
        let file = directory.join(format!("out.{number}"));
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok((name.to_owned(), own(&text, &program)))
    });
    let figures: Vec<_> = figures.collect::<Result<_>>()?;
    let counted = !figures.is_empty() && figures.iter().all(|(_, count)| *count > 0);
    ensure!(
        counted,
        "valgrind has counted nothing of {}: see {}",
        program.display(),
        out.display()
    );
    fs::remove_dir_all(&directory)?;
    let mut rustc = Command::new("rustc");
    let version = sh::output(rustc.current_dir(&paths.root).arg("-vV"))?;
    Ok(Ok(Section { compiler: name(&version), figures }))
}

/// The kernel program's sections, with their sizes from llvm-objdump.
fn kernel(paths: &Paths) -> Result<Counted> {
    ebpf::build(paths)?;
    let Some(sections) = ebpf::instructions(&paths.object())? else {
        return Ok(Err("no llvm-objdump here: install the package llvm".to_owned()));
    };
    let figures =
        sections.into_iter().map(|(name, count)| (format!("instructions in {name}"), count));
    let figures = figures.collect();
    Ok(Ok(Section { compiler: format!("bpf: {}", ebpf::compiler()?), figures }))
}

/// Version and machine of `rustc -vV`.
fn name(version: &str) -> String {
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    format!("{}, {host}", version.lines().next().unwrap_or_default())
}

/// Instructions of a program's own code in a file of callgrind's, without those of its libraries.
fn own(text: &str, program: &Path) -> u64 {
    let (mut ours, mut called, mut sum) = (false, false, 0);
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            ours = Path::new(object) == program;
        } else if line.starts_with("calls=") {
            // The next line has the callee's cost.
            called = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            let count = line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
            if ours && !called {
                sum += count.unwrap_or(0);
            }
            called = false;
        }
    }
    sum
}

/// Compilers in brackets, each above its figures: a number and a name.
fn parse(text: &str) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    let lines =
        text.lines().zip(1..).filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    for (line, number) in lines {
        if let Some(compiler) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            sections.push(Section { compiler: compiler.to_owned(), figures: Vec::new() });
            continue;
        }
        let figure = line.trim_start().split_once(' ').and_then(|(count, name)| {
            sections.last_mut()?.figures.push((name.to_owned(), count.parse().ok()?));
            Some(())
        });
        figure.with_context(|| {
            format!("{FILE}:{number}: no figure: run `cargo xtask bench count --write`")
        })?;
    }
    ensure!(
        sections.len() == 2,
        "{FILE} has not both parts: run `cargo xtask bench count --write`"
    );
    Ok(sections)
}

/// Each figure is a test: it passes if it is within the tolerance of the recorded one.
fn judge(recorded: &Section, counted: &Section) -> Outcome {
    if recorded.compiler != counted.compiler {
        return skipped(recorded, &format!("this is {}", counted.compiler));
    }
    let mut outcome = Outcome::default();
    let mut before: BTreeMap<&str, u64> =
        recorded.figures.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    for (name, count) in &counted.figures {
        let was = before.remove(name.as_str());
        let change = was.map(|was| *count as f64 / was as f64 - 1.0);
        let holds = change.is_some_and(|change| change.abs() <= TOLERANCE);
        let said = match (was, change) {
            (Some(was), _) if was == *count => "the same".to_owned(),
            (Some(was), Some(change)) => format!("{:+.2} %, it was {was}", change * 100.0),
            _ => "not recorded".to_owned(),
        };
        println!("count {name}: {} ({count}, {said})", if holds { "ok" } else { "FAILED" });
        outcome += Outcome { passed: holds.into(), failed: (!holds).into(), skipped: 0 };
    }
    for name in before.keys() {
        println!("count {name}: FAILED (recorded, but no longer counted)");
        outcome.failed += 1;
    }
    outcome
}

/// Skips everything in a section for one reason.
fn skipped(recorded: &Section, why: &str) -> Outcome {
    println!("count: {} figures of {} skipped: {why}", recorded.figures.len(), recorded.compiler);
    Outcome { skipped: recorded.figures.len(), ..Outcome::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(compiler: &str, figures: &[(&str, u64)]) -> Section {
        let figures = figures.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Section { compiler: compiler.to_owned(), figures }
    }

    #[test]
    fn own_code_is_told_from_libraries_and_from_what_it_calls() {
        let text = "events: Ir\nsummary: 99\n\nob=/p\nfn=a\n10 5\ncob=/lib\ncfn=b\ncalls=3 0\n11 70\n\
                    12 6\nob=/lib\nfn=b\n1 70\n";
        assert_eq!((own(text, Path::new("/p")), own(text, Path::new("/lib"))), (11, 70));
    }

    #[test]
    fn what_was_recorded_is_read() {
        let text =
            format!("{HEAD}\n[rustc 1, x86]\n       12 decide, all\n\n[bpf: rustc 2]\n  3 xdp\n");
        let expected = [
            section("rustc 1, x86", &[("decide, all", 12)]),
            section("bpf: rustc 2", &[("xdp", 3)]),
        ];
        assert_eq!(parse(&text).unwrap(), expected);
        let broken = parse("[a]\n x y\n").unwrap_err().to_string();
        assert!(broken.contains("instructions.txt:2"), "{broken}");
        assert!(parse("").is_err());
    }

    #[test]
    fn a_figure_fails_that_is_other_in_either_direction_or_gone() {
        let before = section("rustc", &[("a", 10_000), ("b", 10_000), ("c", 10_000), ("d", 1)]);
        let after = section("rustc", &[("a", 10_050), ("b", 10_051), ("c", 9_949), ("e", 1)]);
        assert_eq!(judge(&before, &after), Outcome { passed: 1, failed: 4, skipped: 0 });
    }

    #[test]
    fn another_compiler_is_skipped_and_not_passed() {
        let figures = [("a", 1), ("b", 2)];
        let other = judge(&section("rustc 1", &figures), &section("rustc 2", &figures));
        assert_eq!(other, Outcome { passed: 0, failed: 0, skipped: 2 });
    }
}
