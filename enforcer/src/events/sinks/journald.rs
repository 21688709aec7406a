//! systemd's journal, through its native protocol: one datagram per entry.
//!
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL>. A field is its name, a newline, the length of the value
//! in 8 bytes, little-endian, the value, and a newline. Our entries fit into a datagram, so no file
//! descriptor is ever passed. The existing crates write to a fixed socket, so they cannot use a journal
//! namespace, and either accept only records of `log` or depend on `nix`, `nom` and a second `sha2`.

use std::io;
use std::path::PathBuf;

use tokio::net::UnixDatagram;

use super::syslog::severity;
use super::{Out, in_time};
use crate::events::Event;
use crate::events::text::{fields, line};

/// The journal behind a socket.
#[derive(Debug)]
pub(super) struct Journald {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Journald {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, socket: None }
    }
}

impl Out for Journald {
    async fn write(&mut self, event: &Event) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => UnixDatagram::unbound()?,
        };
        let what = format!("write to {}", self.path.display());
        in_time(&what, socket.send_to(&entry(event), &self.path)).await?;
        self.socket = Some(socket);
        Ok(())
    }
}

fn entry(event: &Event) -> Vec<u8> {
    let mut entry = Vec::new();
    put(&mut entry, "MESSAGE", &line(event));
    put(&mut entry, "PRIORITY", &(severity(event) as u8).to_string());
    put(&mut entry, "SYSLOG_IDENTIFIER", "enforcer");
    put(&mut entry, "ENFORCER_TIMESTAMP", &event.head().time.to_string());
    for (name, value) in fields(event) {
        put(&mut entry, &format!("ENFORCER_{}", name.to_uppercase()), &value);
    }
    entry
}

fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'\n');
    entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_on_the_wire() {
        let mut entry = Vec::new();
        put(&mut entry, "MESSAGE", "a\nb");
        assert_eq!(entry, b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n");
    }
}
