//! `enforcer policy show`: what is in force, or was, as one file that `apply` accepts.

use anyhow::Result;
use enforcer::control::client::Client;
use enforcer::exit::Exit;

use super::{block_on, print};

pub(super) fn show(client: &Client, revision: Option<u64>) -> Result<Exit> {
    let document = block_on(async {
        Ok(match revision {
            Some(revision) => client.revision(revision).await?,
            None => client.policy().await?,
        })
    })?;
    print(&document)?;
    Ok(Exit::Fine)
}
