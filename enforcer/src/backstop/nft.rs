//! The `nft` program: JSON in, JSON out, in bounded time.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::Error;
use super::table::{Family, TABLE, Table};

/// Longest that nft may take. It has to wait while another program changes the ruleset.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs commands as one transaction: all of them or none.
pub(super) async fn run(commands: Vec<Value>) -> Result<(), Error> {
    let input = json!({ "nftables": commands }).to_string();
    let output = nft(&["-j", "-f", "-"], input.as_bytes()).await?;
    if output.status.success() { Ok(()) } else { Err(Error::Refused(reason(&output))) }
}

/// A table as the kernel has it; `None` if there is none.
pub(super) async fn list(family: Family) -> Result<Option<Table>, Error> {
    let output = nft(&["-j", "list", "table", family.name(), TABLE], &[]).await?;
    if output.status.success() {
        let listing = serde_json::from_slice(&output.stdout).map_err(Error::Answer)?;
        return Ok(Table::read(&listing));
    }
    let why = reason(&output);
    if why.contains("No such file or directory") { Ok(None) } else { Err(Error::Refused(why)) }
}

/// The output of `nft -j WORDS`.
pub(super) async fn ask(words: &[&str]) -> Result<Value, Error> {
    let output = nft(&[&["-j"], words].concat(), &[]).await?;
    if output.status.success() {
        return serde_json::from_slice(&output.stdout).map_err(Error::Answer);
    }
    Err(Error::Refused(reason(&output)))
}

async fn nft(words: &[&str], input: &[u8]) -> Result<Output, Error> {
    // The sbin directories are not in every user's PATH.
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("nft");
    command.args(words).env_clear().env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound { Error::NoNft } else { Error::Start(source) }
    })?;
    let stdin = child.stdin.take();
    let work = async {
        if let Some(mut stdin) = stdin {
            // If it exits without reading, stderr says why.
            let _ = stdin.write_all(input).await;
        }
        child.wait_with_output().await.map_err(Error::Start)
    };
    timeout(PATIENCE, work).await.map_err(|_| Error::Slow)?
}

/// The first line of nft's error message.
fn reason(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    line.trim_start_matches("Error: ").trim().to_owned()
}
