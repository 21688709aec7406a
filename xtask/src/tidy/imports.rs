//! Code of a file without its tests, and the paths that it uses.

/// Lines without comments, with their numbers, up to a module of tests at the end of the file.
pub(super) fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut lines = (1..).zip(text.lines()).peekable();
    std::iter::from_fn(move || {
        let (number, line) = lines.next()?;
        let next = lines.peek().map_or("", |(_, next)| next.trim());
        let tests = next.starts_with("mod ") && next.ends_with('{');
        let is_end = line.trim() == "#[cfg(test)]" && tests;
        (!is_end).then(|| (number, line.split("//").next().unwrap_or_default()))
    })
}

/// Paths that a file uses, with their lines: imported ones, and those written out.
pub(super) fn used(text: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    let mut statement: Option<(usize, String)> = None;
    for (number, line) in code(text) {
        let start = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        if statement.is_none() && start.starts_with("use ") {
            statement = Some((number, String::new()));
        }
        match &mut statement {
            Some((from, so_far)) => {
                so_far.push_str(start.trim());
                if line.contains(';') {
                    let body = so_far.trim_start_matches("use ").trim_end_matches(';').to_owned();
                    let from = *from;
                    statement = None;
                    used.extend(expand(&body).into_iter().map(|path| (from, path)));
                }
            }
            None => used.extend(inline(line).into_iter().map(|path| (number, path.to_owned()))),
        }
    }
    used
}

/// `std::{fs, time::{Duration, Instant}}` to its single paths.
fn expand(body: &str) -> Vec<String> {
    let body = body.trim();
    let Some((prefix, rest)) = body.split_once('{') else {
        return vec![body.split(" as ").next().unwrap_or(body).trim().to_owned()];
    };
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in inner.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts.flat_map(expand).map(|path| format!("{}{path}", prefix.trim())).collect()
}

/// Paths written out in a line of code, such as `std::fs::read`.
fn inline(line: &str) -> Vec<&str> {
    let path = |c: char| !c.is_alphanumeric() && c != '_' && c != ':';
    line.split(path).filter(|word| word.contains("::")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_nested_use() {
        let paths = expand("std::{fs, time::{Duration, Instant}, net::IpAddr as Ip}");
        assert_eq!(
            paths,
            ["std::fs", "std::time::Duration", "std::time::Instant", "std::net::IpAddr"]
        );
    }
}
