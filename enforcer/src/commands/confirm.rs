//! `enforcer confirm` and `enforcer rollback`: keep or withdraw the policy that waits to be
//! confirmed.

use enforcer::api::Decided;
use enforcer::api::Exit;
use enforcer::control::client::Client;

use super::text::clean;
use super::{Result, block_on, print, print_json, session};

pub(super) fn confirm(client: &Client, json: bool) -> Result<Exit> {
    show(&block_on(async { Ok(client.confirm().await?) })?, json)
}

pub(super) fn rollback(
    client: &Client,
    revision: Option<u64>,
    force: bool,
    json: bool,
) -> Result<Exit> {
    let guard = session::guard(force);
    show(&block_on(async { Ok(client.rollback(revision, &guard).await?) })?, json)
}

fn show(decided: &Decided, json: bool) -> Result<Exit> {
    if json {
        print_json(std::slice::from_ref(decided))?;
    } else {
        print(&format!("{}\n", clean(&decided.text)))?;
    }
    Ok(Exit::Fine)
}
