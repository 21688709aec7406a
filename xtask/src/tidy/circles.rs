//! Circles of imports between the modules of a directory: none may depend on itself through others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Result;

use super::imports::used;

/// Directories whose modules must not import in a circle, and the beginning of their paths there.
const ROOTS: [(&str, &str); 3] = [
    ("enforcer/src", "crate::"),
    ("enforcer/src/daemon", "super::"),
    ("enforcer/src/dataplane", "super::"),
];

/// Modules, and what each of them imports.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// One line for each directory that has a circle.
pub(super) fn found(root: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (directory, prefix) in ROOTS {
        let mut edges = Edges::new();
        // The binary's modules use the library from outside.
        let skipped = ["main", "lib", "mod", "cli", "commands"];
        let is_module = |name: &str| !skipped.contains(&name);
        let mut texts = Vec::new();
        for entry in fs::read_dir(root.join(directory))? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if is_module(&name) {
                edges.entry(name.clone()).or_default();
                read(&path, prefix == "crate::", &mut |text| texts.push((name.clone(), text)))?;
            }
        }
        let names: BTreeSet<String> = edges.keys().cloned().collect();
        for (module, text) in texts {
            let imported = imports(&text, prefix).into_iter();
            let imported = imported.filter(|name| *name != module && names.contains(name));
            edges.entry(module.clone()).or_default().extend(imported);
        }
        lines.extend(circle(&edges).map(|circle| format!("{directory}: {}", circle.join(" → "))));
    }
    Ok(lines)
}

/// Texts of a file, or of all files below a directory if `deep`; tests are left out.
fn read(path: &Path, deep: bool, take: &mut dyn FnMut(String)) -> Result<()> {
    let is_test = path.file_stem().is_some_and(|name| name == "tests");
    if is_test || path.is_dir() && !deep {
        return Ok(());
    }
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            read(&entry?.path(), deep, take)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        take(fs::read_to_string(path)?);
    }
    Ok(())
}

/// Modules behind a prefix.
fn imports(text: &str, prefix: &str) -> BTreeSet<String> {
    let module = |path: &str| path.strip_prefix(prefix)?.split("::").next().map(str::to_owned);
    used(text).iter().filter_map(|(_, path)| module(path)).collect()
}

/// A circle, its first module again at its end.
fn circle(edges: &Edges) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    edges.keys().find_map(|module| walk(edges, module, &mut Vec::new(), &mut done))
}

fn walk(
    edges: &Edges,
    module: &str,
    path: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(at) = path.iter().position(|known| known == module) {
        let mut circle = path.split_off(at);
        circle.push(module.to_owned());
        return Some(circle);
    }
    if done.contains(module) {
        return None;
    }
    path.push(module.to_owned());
    for next in edges.get(module).into_iter().flatten() {
        if let Some(circle) = walk(edges, next, path, done) {
            return Some(circle);
        }
    }
    path.pop();
    done.insert(module.to_owned());
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(edges: &[(&str, &[&str])]) -> Edges {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        edges.iter().map(|(module, imported)| ((*module).to_owned(), names(imported))).collect()
    }

    #[test]
    fn a_circle_is_found_however_long_it_is() {
        assert_eq!(circle(&edges(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])), None);
        let found = circle(&edges(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])])).unwrap();
        assert_eq!(found, ["b", "c", "b"]);
    }

    #[test]
    fn imports_are_read_in_all_their_forms() {
        let text =
            "use super::core::{Core, now};\nuse super::{Error, live};\nlet x = super::time::now();";
        let found = imports(text, "super::").into_iter().collect::<Vec<_>>();
        assert_eq!(found, ["Error", "core", "live", "time"]);
    }
}
