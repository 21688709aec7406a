//! The settings of sinks: where events go besides followers.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::{TomlReader, address, filled, quoted};

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// systemd's journal.
    Journald {
        /// Its socket; a journal namespace has its own.
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
        /// Size in bytes at which a new file is started.
        max_bytes: u64,
        /// Old files to keep.
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

/// Names of the facilities, by their numbers.
const FACILITIES: [&str; 12] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp",
];
/// The number of `local0`.
const LOCAL0: u8 = 16;
/// Keys of the tables of the sinks.
const JOURNALD: [&str; 1] = ["socket"];
const SYSLOG: [&str; 2] = ["to", "facility"];
const FILE: [&str; 3] = ["path", "max_bytes", "keep"];
/// All of them.
#[cfg(test)]
pub(super) const KEYS: [&str; 6] = [JOURNALD[0], SYSLOG[0], SYSLOG[1], FILE[0], FILE[1], FILE[2]];
/// Least size: a file for a single line is useless.
const MIN_BYTES: u64 = 64 << 10;

/// The enabled sinks: a table in `[sinks]` enables a sink.
pub(super) fn read(reader: &mut TomlReader<'_>, table: &DeTable<'_>) -> Vec<Sink> {
    reader.known_keys(table, &["journald", "syslog", "file"], "`sinks`");
    let journald = reader.table(table, "journald").and_then(|table| journald(reader, table));
    let place = |name| table.get_key_value(name).map_or(0, |(key, _)| key.span().start);
    let syslog = reader.table(table, "syslog").and_then(|t| syslog(reader, t, place("syslog")));
    let file = reader.table(table, "file").and_then(|t| file(reader, t, place("file")));
    [journald, syslog, file].into_iter().flatten().collect()
}

fn journald(reader: &mut TomlReader<'_>, table: &DeTable<'_>) -> Option<Sink> {
    const USUAL: &str = "/run/systemd/journal/socket";
    reader.known_keys(table, &JOURNALD, "`sinks.journald`");
    let socket = filled(reader, table, "socket", USUAL);
    Some(Sink::Journald { socket: socket.unwrap_or(USUAL).into() })
}

fn syslog(reader: &mut TomlReader<'_>, table: &DeTable<'_>, start: usize) -> Option<Sink> {
    reader.known_keys(table, &SYSLOG, "`sinks.syslog`");
    let facility = reader.string(table, "facility", "local0").map_or(Some(LOCAL0), |(name, at)| {
        let number = facility_number(name);
        if number.is_none() {
            let message = format!("{} is no facility", quoted(name));
            reader.error(at, message, "one of local0 to local7, daemon, user and so on");
        }
        number
    });
    let to = needed(reader, table, start, "to", "unix:/dev/log").and_then(|(text, at)| match text
        .split_once(':')
    {
        Some(("unix", path)) if path.starts_with('/') => Some(To::Unix(path.into())),
        Some(("udp", to)) => address(reader, to, at).map(To::Udp),
        Some(("tcp", to)) => address(reader, to, at).map(To::Tcp),
        _ => {
            let hint = "one of unix:/dev/log, udp:192.0.2.7:514 and tcp:192.0.2.7:601";
            reader.error(at, format!("{} is not a syslog receiver", quoted(text)), hint);
            None
        }
    });
    Some(Sink::Syslog { to: to?, facility: facility? })
}

fn file(reader: &mut TomlReader<'_>, table: &DeTable<'_>, start: usize) -> Option<Sink> {
    reader.known_keys(table, &FILE, "`sinks.file`");
    let max_bytes = number(reader, table, "max_bytes", 16 << 20, MIN_BYTES, u64::MAX);
    let keep = number(reader, table, "keep", 8, 0, u32::MAX.into());
    let (path, at) = needed(reader, table, start, "path", "/var/log/enforcer/events.json")?;
    if !path.starts_with('/') {
        let hint = "the daemon's directory may be any: write the whole path";
        reader.error(at, format!("{} does not begin with /", quoted(path)), hint);
        return None;
    }
    let keep = u32::try_from(keep?).ok()?;
    Some(Sink::File { path: path.into(), max_bytes: max_bytes?, keep })
}

/// A text that the sink requires.
fn needed<'a>(
    reader: &mut TomlReader<'_>,
    table: &'a DeTable<'_>,
    start: usize,
    key: &str,
    example: &str,
) -> Option<(&'a str, usize)> {
    if table.get(key).is_none() {
        let message = format!("this sink has no `{key}`");
        reader.absent(start, message, format!("write `{key} = \"{example}\"`"));
    }
    reader.string(table, key, example)
}

/// A number between two others, both included; `None` if it is not.
pub(super) fn number(
    reader: &mut TomlReader<'_>,
    table: &DeTable<'_>,
    key: &str,
    usual: u64,
    least: u64,
    most: u64,
) -> Option<u64> {
    let Some(value) = table.get(key) else { return Some(usual) };
    let DeValue::Integer(number) = value.get_ref() else {
        reader.wrong_type(key, value, "an integer", &format!("{key} = {usual}"));
        return None;
    };
    let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
    let number = number.filter(|number| (least..=most).contains(number));
    if number.is_none() {
        let bounds = if most == u64::MAX {
            format!("{least} or more")
        } else {
            format!("{least} to {most}")
        };
        let hint = format!("{bounds}; {usual} unless it is written");
        reader.error(value.span().start, format!("`{key}` is out of range"), hint);
    }
    number
}

fn facility_number(name: &str) -> Option<u8> {
    let known = (0..).zip(FACILITIES).find(|(_, known)| *known == name);
    let local = || name.strip_prefix("local")?.parse().ok().filter(|n: &u8| *n < 8);
    known.map(|(number, _)| number).or_else(|| Some(LOCAL0 + local()?))
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
            ("[sinks.syslog]\nto = \"loghost\"", "e.toml:2:6: `loghost` is not a syslog receiver"),
            (
                "[sinks.syslog]\nto = \"tcp:loghost:601\"",
                "e.toml:2:6: `loghost:601` is not an address with a port",
            ),
            (
                "[sinks.syslog]\nto = \"unix:/dev/log\"\nfacility = \"local8\"",
                "e.toml:3:12: `local8` is no facility",
            ),
            ("[sinks.file]\npath = \"events.json\"", "e.toml:2:8: `events.json` does not begin"),
            (
                "[sinks.file]\npath = \"/e\"\nmax_bytes = 100",
                "e.toml:3:13: `max_bytes` is out of range",
            ),
            ("[sinks.file]\nkeep = 1", "e.toml:1:8: this sink has no `path`"),
            ("[sinks.kafka]\n", "e.toml:1:8: unknown key `kafka` in `sinks`"),
        ] {
            let error = sinks(text).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
