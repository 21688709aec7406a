//! `enforcer policy show`: what is in force, or was, as one file that `apply` accepts.

use std::io::{self, IsTerminal as _};

use anyhow::Result;
use enforcer::control::client::Client;
use enforcer::exit::Exit;

use super::text::clean;
use super::{block_on, print};

pub(super) fn show(client: &Client, revision: Option<u64>) -> Result<Exit> {
    let document = block_on(async {
        Ok(match revision {
            Some(revision) => client.revision(revision).await?,
            None => client.policy().await?,
        })
    })?;
    // A comment of it may hold what a terminal would obey; a file gets it as it is.
    match io::stdout().is_terminal() {
        true => print(&line(&document))?,
        false => print(&document)?,
    }
    Ok(Exit::Fine)
}

/// A line for a terminal; tabs stay.
fn line(text: &str) -> String {
    text.split_inclusive(['\t', '\n'])
        .flat_map(|part| {
            let end = part.ends_with(['\t', '\n']).then(|| part.chars().next_back()).flatten();
            let body = part.strip_suffix(['\t', '\n']).unwrap_or(part);
            [clean(body), end.map(String::from).unwrap_or_default()]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_terminal_gets_nothing_to_obey() {
        assert_eq!(super::line("\ta # \u{1b}[2J\u{202e}b\n"), "\ta # \u{fffd}[2J\u{fffd}b\n");
    }
}
