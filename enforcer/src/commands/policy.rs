//! `enforcer policy show`: the policy in force, or an earlier one, as one file that `apply`
//! accepts.

use std::io::{self, IsTerminal as _};

use enforcer::api::Exit;
use enforcer::control::client::Client;
use enforcer::shown::plain_lines;

use super::{Result, block_on, print};

pub(super) fn show(client: &Client, revision: Option<u64>) -> Result<Exit> {
    let document = block_on(async {
        Ok(match revision {
            Some(revision) => client.revision(revision).await?,
            None => client.policy().await?,
        })
    })?;
    // A comment may contain control sequences; they are escaped only for a terminal.
    match io::stdout().is_terminal() {
        true => print(&plain_lines(&document))?,
        false => print(&document)?,
    }
    Ok(Exit::Fine)
}
