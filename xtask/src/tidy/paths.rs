//! Source files that a document names have to exist.
use std::path::Path;

/// Each missing one, with its line.
pub(super) fn missing(root: &Path, text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let gone = sources(line).filter(|path| !root.join(path).is_file());
        found.extend(gone.map(|path| (number, format!("there is no {path}"))));
    }
    found
}

/// Paths of source files in backticks.
fn sources(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|word| word.ends_with(".rs") && word.contains('/') && !word.contains(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_moved_is_noticed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = "see `src/tidy.rs` and `x.rs`\nor `src/gone.rs`\n";
        assert_eq!(missing(root, text), [(2, "there is no src/gone.rs".to_owned())]);
    }
}
