//! The part of the settings that says where events go, beside those who follow them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::address;

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// systemd's journal.
    Journald {
        /// Its socket: another one is that of a journal namespace.
        socket: PathBuf,
    },
    /// A receiver of syslog.
    Syslog {
        /// Where it listens.
        to: To,
        /// The facility's number (RFC 5424, section 6.2.1).
        facility: u8,
    },
    /// A file of JSON lines.
    File {
        /// Its path.
        path: PathBuf,
        /// Bytes from which on a new one is begun.
        max_bytes: u64,
        /// Old ones that are kept.
        keep: u32,
    },
}

/// Where a receiver of syslog listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// On a unix datagram socket.
    Unix(PathBuf),
    /// On a UDP port.
    Udp(SocketAddr),
    /// On a TCP port.
    Tcp(SocketAddr),
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Udp(address) => write!(f, "udp:{address}"),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// The table `[sinks]`; a table in it switches that sink on.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    journald: Option<Journald>,
    syslog: Option<Syslog>,
    file: Option<File>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Journald {
    socket: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Syslog {
    to: Spanned<String>,
    facility: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    path: Spanned<PathBuf>,
    max_bytes: Option<Spanned<u64>>,
    keep: Option<u32>,
}

/// Names of the facilities, by their numbers.
const FACILITIES: [&str; 12] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp",
];
/// The number of `local0`.
const LOCAL0: u8 = 16;
/// A file of one line is none.
const MIN_BYTES: u64 = 64 << 10;

/// The sinks that are asked for; else the place of the first mistake, in bytes, and what it is.
pub(super) fn read(document: Document) -> Result<Vec<Sink>, (usize, String)> {
    let mut sinks = Vec::new();
    if let Some(Journald { socket }) = document.journald {
        let socket = socket.unwrap_or_else(|| "/run/systemd/journal/socket".into());
        sinks.push(Sink::Journald { socket });
    }
    if let Some(Syslog { to, facility }) = document.syslog {
        let start = to.span().start;
        let to = receiver(to.get_ref()).map_err(|message| (start, message))?;
        let facility = facility.map_or(Ok(LOCAL0), |name| {
            let number = facility_number(name.get_ref());
            let message =
                || format!("`{}` is no facility, such as local0 or daemon", name.get_ref());
            number.ok_or_else(|| (name.span().start, message()))
        });
        sinks.push(Sink::Syslog { to, facility: facility? });
    }
    if let Some(File { path, max_bytes, keep }) = document.file {
        let start = path.span().start;
        let path = path.into_inner();
        if !path.is_absolute() {
            return Err((start, format!("`{}` does not begin with /", path.display())));
        }
        let max_bytes = max_bytes.map_or(Ok(16 << 20), |max| match *max.get_ref() {
            bytes @ MIN_BYTES.. => Ok(bytes),
            bytes => {
                Err((max.span().start, format!("{bytes} bytes are too few: {MIN_BYTES} or more")))
            }
        });
        sinks.push(Sink::File { path, max_bytes: max_bytes?, keep: keep.unwrap_or(8) });
    }
    Ok(sinks)
}

fn facility_number(name: &str) -> Option<u8> {
    let known = (0..).zip(FACILITIES).find(|(_, known)| *known == name);
    let local = || name.strip_prefix("local")?.parse().ok().filter(|n: &u8| *n < 8);
    known.map(|(number, _)| number).or_else(|| Some(LOCAL0 + local()?))
}

fn receiver(text: &str) -> Result<To, String> {
    match text.split_once(':') {
        Some(("unix", path)) if path.starts_with('/') => Ok(To::Unix(path.into())),
        Some(("udp", to)) => address(to).map(To::Udp),
        Some(("tcp", to)) => address(to).map(To::Tcp),
        _ => Err(format!(
            "`{text}` is none of unix:/dev/log, udp:192.0.2.7:514 and tcp:192.0.2.7:601"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sinks(text: &str) -> Result<Vec<Sink>, String> {
        let settings = super::super::read("e.toml", text);
        settings.map(|settings| settings.sinks).map_err(|e| e.to_string())
    }

    #[test]
    fn each_is_switched_on_by_its_table() {
        assert_eq!(sinks("").unwrap(), []);
        let text = r#"
            [sinks.journald]
            [sinks.syslog]
            to = "udp:[2001:db8::1]:514"
            facility = "local7"
            [sinks.file]
            path = "/var/log/enforcer/events.json"
        "#;
        let expected = [
            Sink::Journald { socket: "/run/systemd/journal/socket".into() },
            Sink::Syslog { to: To::Udp("[2001:db8::1]:514".parse().unwrap()), facility: 23 },
            Sink::File {
                path: "/var/log/enforcer/events.json".into(),
                max_bytes: 16 << 20,
                keep: 8,
            },
        ];
        assert_eq!(sinks(text).unwrap(), expected);
        let unix = sinks("[sinks.syslog]\nto = \"unix:/dev/log\"\nfacility = \"daemon\"").unwrap();
        assert_eq!(unix, [Sink::Syslog { to: To::Unix("/dev/log".into()), facility: 3 }]);
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, message) in [
            ("[sinks.syslog]\nto = \"loghost\"", "e.toml:2:6: `loghost` is none of unix:/dev/log"),
            (
                "[sinks.syslog]\nto = \"tcp:loghost:601\"",
                "e.toml:2:6: `loghost:601` is not an address with a port",
            ),
            (
                "[sinks.syslog]\nto = \"unix:/dev/log\"\nfacility = \"local8\"",
                "e.toml:3:12: `local8` is no facility",
            ),
            ("[sinks.file]\npath = \"events.json\"", "e.toml:2:8: `events.json` does not begin"),
            ("[sinks.file]\npath = \"/e\"\nmax_bytes = 100", "e.toml:3:13: 100 bytes are too few"),
            ("[sinks.file]\nkeep = 1", "e.toml:1:1: missing field `path`"),
            ("[sinks.kafka]\n", "e.toml:1:8: unknown field `kafka`"),
        ] {
            let error = sinks(text).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
