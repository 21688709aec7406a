//! `enforcer detach`: through the daemon, or without one.

use std::path::Path;

use enforcer::api::Detached;
use enforcer::api::Exit;
use enforcer::control::client::{Client, Error};
use enforcer::daemon;

use super::run::settings;
use super::text::clean;
use super::{Result, block_on, print, print_json};

pub(super) fn run(socket: Option<&Path>, config: Option<&Path>, json: bool) -> Result<Exit> {
    let mut settings = settings(config)?;
    if let Some(socket) = socket {
        settings.socket = socket.to_owned();
    }
    let detached = block_on(async {
        match Client::new(&settings.socket).detach().await {
            Err(Error::NotRunning { .. }) => Ok(daemon::detach(&settings).await?),
            answer => Ok(answer?),
        }
    })?;
    if json {
        print_json(std::slice::from_ref(&detached))?;
    } else {
        print(&render(&detached))?;
    }
    Ok(Exit::Fine)
}

fn render(detached: &Detached) -> String {
    if detached.removed.is_empty() {
        return "nothing was attached\n".to_owned();
    }
    let mut out = String::new();
    for what in &detached.removed {
        out.push_str(&format!("removed: {}\n", clean(what)));
    }
    out.push_str("nothing is enforced any more\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_gone() {
        assert_eq!(render(&Detached::default()), "nothing was attached\n");
        let detached = Detached { removed: vec!["program on lan0".into()] };
        let expected = "removed: program on lan0\nnothing is enforced any more\n";
        assert_eq!(render(&detached), expected);
    }
}
