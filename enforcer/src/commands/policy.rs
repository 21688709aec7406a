//! `enforcer policy show`: what is in force, as one file that `apply` accepts.

use anyhow::Result;
use enforcer::control::client::Client;
use enforcer::exit::Exit;

use super::{block_on, print};

pub(super) fn show(client: &Client) -> Result<Exit> {
    let document = block_on(async { Ok(client.policy().await?) })?;
    print(&document)?;
    Ok(Exit::Fine)
}
