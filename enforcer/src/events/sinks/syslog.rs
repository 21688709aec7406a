//! Syslog: RFC 5424 with structured data, over a unix datagram socket, UDP (RFC 5426) or TCP with octet
//! counting (RFC 6587, section 3.4.1).

use std::io;

use enforcer_common::reason::Verdict;
use rustix::system::uname;
use syslog_fmt::v5424::{Config, Formatter, Msg};
use syslog_fmt::{Facility, Severity};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};

use super::{Out, in_time};
use crate::config::sinks::To;
use crate::events::Event;
use crate::events::text::{fields, line};

/// The structured data's name. 32473 is the number for examples (RFC 5612): this project has none of
/// its own.
const ID: &str = "enforcer@32473";

/// A receiver of syslog.
pub(super) struct Syslog {
    to: To,
    formatter: Formatter,
    connection: Option<Connection>,
}

enum Connection {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Syslog {
    pub(super) fn new(to: To, facility: u8) -> Self {
        let host: String = uname().nodename().to_string_lossy().into_owned();
        let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
        let pid = std::process::id().to_string();
        let config = Config {
            facility: Facility::try_from(facility).unwrap_or_default(),
            hostname: (!host.is_empty()).then_some(&*host),
            app_name: Some("enforcer"),
            proc_id: Some(&pid),
        };
        Self { to, formatter: config.into_formatter(), connection: None }
    }

    fn message(&self, event: &Event) -> io::Result<Vec<u8>> {
        let (fields, line) = (fields(event), line(event));
        let data = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // Non-ASCII text requires a byte order mark (section 6.4), which many receivers display.
        let text = match line.is_ascii() {
            true => Msg::NonUnicodeBytes(line.as_bytes()),
            false => Msg::Utf8Str(&line),
        };
        let mut message = Vec::new();
        let time = event.head().time.to_string();
        self.formatter.write_with_data(
            &mut message,
            severity(event),
            time.as_str(),
            text,
            Some(event.kind()),
            [(ID, data)],
        )?;
        Ok(message)
    }
}

/// The severity of an event; journald uses the same numbers.
pub(super) fn severity(event: &Event) -> Severity {
    match event {
        Event::Tamper(_) => Severity::Crit,
        Event::Lost(_) => Severity::Warning,
        Event::Drop(refusal) if refusal.verdict == Verdict::Drop => Severity::Notice,
        Event::Drop(_) | Event::Suppressed(_) | Event::Other(..) => Severity::Info,
    }
}

impl Out for Syslog {
    async fn write(&mut self, event: &Event) -> io::Result<()> {
        let message = self.message(event)?;
        let connection = match self.connection.take().filter(Connection::is_open) {
            Some(connection) => connection,
            None => in_time(&format!("connect to {}", self.to), connect(&self.to)).await?,
        };
        let what = format!("write to {}", self.to);
        self.connection = Some(in_time(&what, connection.send(&message)).await?);
        Ok(())
    }
}

async fn connect(to: &To) -> io::Result<Connection> {
    Ok(match to {
        To::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            Connection::Unix(socket)
        }
        To::Udp(address) => {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(address).await?;
            Connection::Udp(socket)
        }
        To::Tcp(address) => Connection::Tcp(TcpStream::connect(address).await?),
    })
}

impl Connection {
    /// Whether the other end has not closed it: otherwise data would be lost without an error.
    fn is_open(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Udp(_) => true,
            Self::Tcp(stream) => match stream.try_read(&mut [0; 64]) {
                Ok(0) => false,
                Ok(_) => true,
                Err(e) => e.kind() == io::ErrorKind::WouldBlock,
            },
        }
    }

    /// Sends a whole message; otherwise the connection is unusable.
    async fn send(mut self, message: &[u8]) -> io::Result<Self> {
        match &mut self {
            Self::Unix(socket) => drop(socket.send(message).await?),
            Self::Udp(socket) => drop(socket.send(message).await?),
            Self::Tcp(stream) => {
                let mut frame = format!("{} ", message.len()).into_bytes();
                frame.extend_from_slice(message);
                stream.write_all(&frame).await?;
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::event::tests::refusal;
    use crate::events::event::{ReasonName, Rule, Tamper};

    fn text(event: &Event) -> String {
        let to = To::Udp("127.0.0.1:514".parse().unwrap());
        String::from_utf8(Syslog::new(to, 16).message(event).unwrap()).unwrap()
    }

    #[test]
    fn a_message() {
        let mut refusal = refusal();
        refusal.rule =
            Some(Rule { id: "r-1a2b3c4d".into(), reason: Some("say \"no\" ]\\".into()) });
        let event = Event::Drop(refusal.clone().into());
        let message = text(&event);
        // local0.notice: 16 * 8 + 5.
        let head = format!("<133>1 {} ", refusal.head.time);
        assert!(message.starts_with(&head), "{message}");
        let middle = format!(" enforcer {} drop [{ID} event_type=\"drop\"", std::process::id());
        assert!(message.contains(&middle), "{message}");
        assert!(message.contains(r#"rule_reason="say \"no\" \]\\""#), "{message}");
        assert!(message.ends_with(&format!("] {}", line(&event))), "{message}");
        refusal.device = Some("brücke".into());
        let event = Event::Drop(refusal.clone().into());
        assert!(text(&event).contains("] \u{feff}DROP brücke"), "{}", text(&event));
        let (reason, message) = (ReasonName::of("unpinned"), String::new());
        let event = Event::Tamper(Tamper { head: refusal.head, reason, message });
        assert!(text(&event).starts_with("<130>1 "));
    }
}
