//! `enforcer run`: the daemon in the foreground.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use enforcer::api::Exit;
use enforcer::config::{self, Settings, Xdp};
use enforcer::daemon;
use enforcer::memory;
use enforcer::policy::read::decode;
use enforcer::privilege;
use enforcer::shown::escaped;

use super::Result;

use crate::cli;

pub(super) fn run(args: &cli::Run, socket: Option<&Path>) -> Result<Exit> {
    let settings = with_flags(settings(args.config.as_deref())?, args, socket)?;
    log_to_stderr();
    memory::give_back();
    // Two threads: while one is busy with a policy, the other answers requests and reads events.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // Only this thread keeps the capabilities that opening the socket may need, until it is open.
    runtime.on_thread_start(|| {
        if let Err(e) = privilege::drop_unneeded() {
            log::warn!("cannot drop capabilities: {e}");
        }
    });
    let runtime = runtime.worker_threads(2).enable_all().build().context("cannot start")?;
    let ended = runtime.block_on(daemon::run(settings));
    // A hanging disk under a sink's file must not delay the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended?;
    Ok(Exit::Fine)
}

/// The settings of a file. The default file may be missing, a given one may not.
pub(super) fn settings(file: Option<&Path>) -> Result<Settings, config::Error> {
    let path = file.unwrap_or(Path::new(config::FILE));
    match std::fs::read(path).and_then(decode) {
        Ok(text) => config::read(&path.display().to_string(), &text),
        Err(e) if file.is_none() && e.kind() == std::io::ErrorKind::NotFound => {
            Ok(Settings::default())
        }
        Err(source) => Err(config::Error::Read { file: path.to_owned(), source }),
    }
}

/// Replaces the interfaces of the file by those of the flags, if there are any.
pub(super) fn name_interfaces(
    settings: &mut Settings,
    names: &[String],
) -> Result<(), config::Error> {
    if let Some(name) = names.iter().find(|name| !config::is_interface(name)) {
        return Err(config::Error::Interface(name.clone()));
    }
    if !names.is_empty() {
        settings.interfaces = names.to_vec();
        let mut seen = std::collections::BTreeSet::new();
        settings.interfaces.retain(|name| seen.insert(name.clone()));
    }
    Ok(())
}

fn with_flags(
    mut settings: Settings,
    args: &cli::Run,
    socket: Option<&Path>,
) -> Result<Settings, config::Error> {
    name_interfaces(&mut settings, &args.interface)?;
    if let Some(policy) = &args.policy {
        settings.policy.clone_from(policy);
    }
    if let Some(socket) = socket {
        settings.socket = socket.to_owned();
    }
    if let Some(xdp) = args.xdp {
        settings.xdp = match xdp {
            cli::Xdp::Auto => Xdp::Auto,
            cli::Xdp::Native => Xdp::Native,
            cli::Xdp::Generic => Xdp::Generic,
        };
    }
    Ok(settings)
}

/// Plain lines. Under systemd the level goes before the line as sd-daemon(3) says, and the time is the
/// journal's. A record is always one line: untrusted text in it must neither look like another line of the
/// daemon nor control a terminal.
fn log_to_stderr() {
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let environment = env_logger::Env::default().default_filter_or("info");
    env_logger::Builder::from_env(environment)
        .format(move |out, record| {
            writeln!(out, "{}", line(record.level(), &record.args().to_string(), journal))
        })
        .init();
}

/// One line of the log.
fn line(level: log::Level, text: &str, journal: bool) -> String {
    let text = escaped(text);
    if !journal {
        return format!("{level}: {text}");
    }
    let priority = match level {
        log::Level::Error => 3,
        log::Level::Warn => 4,
        log::Level::Info => 6,
        log::Level::Debug | log::Level::Trace => 7,
    };
    format!("<{priority}>{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line() {
        let forged = "apply a\nERROR: nothing is enforced\u{1b}[2J\u{202e}";
        let shown = "apply a\\nERROR: nothing is enforced\\u{1b}[2J\\u{202e}";
        assert_eq!(line(log::Level::Info, forged, false), format!("INFO: {shown}"));
        assert_eq!(line(log::Level::Info, forged, true), format!("<6>{shown}"));
    }

    #[test]
    fn flags_override_the_file() {
        let file = config::read("f", "interfaces = [\"lan0\"]\nxdp = \"native\"").unwrap();
        let mut args = cli::Run { config: None, interface: vec![], policy: None, xdp: None };
        let same = with_flags(file.clone(), &args, None).unwrap();
        assert_eq!(same, file);

        args.interface = vec!["lan1".into(), "lan2".into(), "lan1".into()];
        args.policy = Some("p.toml".into());
        args.xdp = Some(cli::Xdp::Generic);
        let settings = with_flags(file, &args, Some(Path::new("/s"))).unwrap();
        assert_eq!(settings.interfaces, ["lan1", "lan2"]);
        assert_eq!(settings.policy, Path::new("p.toml"));
        assert_eq!(settings.socket, Path::new("/s"));
        assert_eq!(settings.xdp, Xdp::Generic);

        args.interface = vec!["a/b".into()];
        let refused = with_flags(settings, &args, None);
        assert!(matches!(refused, Err(config::Error::Interface(_))));
    }

    #[test]
    fn a_file_that_was_asked_for_must_be_there() {
        let missing = settings(Some(Path::new("/nowhere/enforcer.toml")));
        assert!(matches!(missing, Err(config::Error::Read { .. })));
    }
}
