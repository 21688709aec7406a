//! The record of kernels that have loaded the present object.
//!
//! Old verifiers have refused programs that newer ones accept, without any test failing. `cargo xtask test
//! vm` with the verifier's test records which kernel loaded which code; the local tests compare the record
//! with the present object. An object built by another compiler is skipped, because its code differs.
use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result};
use object::{File, Object as _, ObjectSection as _};
use sha2::{Digest as _, Sha256};

use crate::{sh::Paths, test::Outcome};

/// The record's path in the repository.
const FILE: &str = "tests/data/loads.txt";
const HEAD: &str = "# Kernels that have loaded the object's code: kernel, release, SHA-256 of the code.\n\
                    # Made by `cargo xtask test vm 5.10 6.1 verifier::`, do not edit.\n";
/// Kernels that must have loaded it: their verifiers are the strictest of the supported ones.
const KERNELS: [&str; 2] = ["5.10", "6.1"];

/// Contents of the record.
#[derive(Debug, Default, PartialEq, Eq)]
struct Record {
    compiler: String,
    /// Kernel, release and digest.
    rows: Vec<[String; 3]>,
}

impl Record {
    fn parse(text: &str) -> Result<Self> {
        let mut record = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(compiler) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                record.compiler = compiler.to_owned();
                continue;
            }
            let mut words = line.split_whitespace().map(str::to_owned);
            let row = [(); 3].map(|()| words.next().unwrap_or_default());
            anyhow::ensure!(!row[2].is_empty(), "{FILE}: `{line}` is not a row");
            record.rows.push(row);
        }
        Ok(record)
    }

    fn text(&self) -> String {
        let mut text = format!("{HEAD}\n[{}]\n", self.compiler);
        for [kernel, release, digest] in &self.rows {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{kernel:4} {release} {digest}");
        }
        text
    }

    /// Whether a kernel has loaded code with this digest.
    fn has(&self, kernel: &str, digest: &str) -> bool {
        self.rows.iter().any(|[name, _, loaded]| name == kernel && loaded == digest)
    }
}

/// SHA-256 of the sections that the kernel verifies, and of the map definitions. Debug information is left
/// out: it contains paths and line numbers, and does not affect loading.
fn digest(object: &[u8]) -> Result<String> {
    let file = File::parse(object)?;
    let mut digest = Sha256::new();
    for section in file.sections() {
        let name = section.name()?;
        if name.is_empty()
            || [".debug", ".BTF", ".symtab", ".strtab", ".rel", ".llvm"]
                .iter()
                .any(|not| name.starts_with(not))
        {
            continue;
        }
        digest.update(name);
        digest.update([0]);
        digest.update(section.data()?);
    }
    Ok(digest.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

fn present(paths: &Paths) -> Result<(String, String)> {
    let object = fs::read(paths.object()).context("the kernel object")?;
    Ok((super::compiler()?, digest(&object)?))
}

/// Records that a kernel has loaded the present object.
pub(crate) fn record(paths: &Paths, kernel: &str, release: &str) -> Result<()> {
    let (compiler, digest) = present(paths)?;
    let path = paths.root.join(FILE);
    let mut record = match fs::read_to_string(&path) {
        Ok(text) => Record::parse(&text)?,
        Err(_) => Record::default(),
    };
    if record.compiler != compiler {
        record = Record { compiler, rows: Vec::new() };
    }
    record.rows.retain(|[name, ..]| name != kernel);
    record.rows.push([kernel.to_owned(), release.to_owned(), digest]);
    record.rows.sort();
    Ok(fs::write(path, record.text())?)
}

/// Whether the old kernels have loaded the present object: one test for each.
pub(crate) fn compare(paths: &Paths) -> Result<Outcome> {
    let record = Record::parse(&fs::read_to_string(paths.root.join(FILE)).context(FILE)?)?;
    let (compiler, digest) = present(paths)?;
    Ok(judge(&record, &compiler, &digest))
}

fn judge(record: &Record, compiler: &str, digest: &str) -> Outcome {
    if record.compiler != compiler {
        println!("loads: {} kernels skipped: the record is of {}", KERNELS.len(), record.compiler);
        return Outcome { skipped: KERNELS.len(), ..Outcome::default() };
    }
    let mut outcome = Outcome::default();
    for kernel in KERNELS {
        if record.has(kernel, digest) {
            println!("loads: kernel {kernel} has loaded this object");
            outcome.passed += 1;
        } else {
            println!(
                "loads: kernel {kernel} has NOT loaded this object: `cargo xtask test vm {kernel} verifier::`"
            );
            outcome.failed += 1;
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(rows: &[[&str; 3]]) -> Record {
        let rows = rows.iter().map(|row| row.map(str::to_owned)).collect();
        Record { compiler: "rustc 1".into(), rows }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = record(&[["5.10", "5.10.0-39", "aa"], ["6.1", "6.1.0-41", "bb"]]);
        assert_eq!(Record::parse(&record.text()).unwrap(), record);
        assert!(Record::parse("[a]\n5.10 aa\n").is_err());
    }

    #[test]
    fn an_object_that_an_old_kernel_has_not_loaded_fails() {
        let record = record(&[["5.10", "5.10.0-39", "aa"], ["6.1", "6.1.0-41", "bb"]]);
        let outcome = |passed, failed, skipped| Outcome { passed, failed, skipped };
        assert_eq!(judge(&record, "rustc 1", "aa"), outcome(1, 1, 0));
        assert_eq!(judge(&record, "rustc 1", "cc"), outcome(0, 2, 0));
        assert_eq!(judge(&record, "rustc 2", "aa"), outcome(0, 0, 2));
    }
}
