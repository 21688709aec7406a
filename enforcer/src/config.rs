//! The daemon's settings: `/etc/enforcer/enforcer.toml`, overridden by the flags of `run`.

pub mod sinks;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use enforcer_common::decide::answers::Size;
use jiff::SignedDuration;
use toml::de::{DeTable, DeValue};

use crate::fault::Fault;
use crate::policy::address::quoted;
use crate::policy::read::TomlReader;
use crate::policy::{Problem, Severity};

/// Where the settings are unless told otherwise.
pub const FILE: &str = "/etc/enforcer/enforcer.toml";
/// Where the policy is unless told otherwise.
pub const POLICY: &str = "/etc/enforcer/policy.toml";
/// Where the daemon listens unless told otherwise.
pub const SOCKET: &str = "/run/enforcer/enforcer.sock";
/// The group that may talk to the daemon, if it exists.
pub const SOCKET_GROUP: &str = "enforcer";

/// How long the audit trail is kept unless told otherwise: the six years of 45 CFR
/// 164.316(b)(2)(i), one of them a leap year.
pub const AUDIT_KEEP: SignedDuration = SignedDuration::from_hours((6 * 365 + 1) * 24);

/// The settings that the daemon needs before it reads a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The protected interfaces.
    pub interfaces: Vec<String>,
    /// The policy that is applied at start.
    pub policy: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// The group of the control socket: `None` is [`SOCKET_GROUP`] if it exists, else root alone.
    pub socket_group: Option<String>,
    /// Directory for state that has to survive a reboot.
    pub state_dir: PathBuf,
    /// Directory on a BPF file system, for pins that have to survive a restart.
    pub bpffs: PathBuf,
    /// How to attach.
    pub xdp: Xdp,
    /// The group whose members may only look; `None`: no user is restricted.
    pub viewer_group: Option<String>,
    /// The group whose members may change things; `None`: every user who may connect.
    pub operator_group: Option<String>,
    /// Refuse changes while the audit trail cannot be written.
    pub audit_required: bool,
    /// How long the entries of the audit trail are kept.
    pub audit_keep: SignedDuration,
    /// Whether the wall clock is trusted without being synchronised.
    pub clock: Clock,
    /// Whether the packet filter drops traffic forwarded from an unprotected interface.
    pub backstop: Backstop,
    /// Whether the kernel programs report rare faults in the log.
    pub kernel_log: bool,
    /// Whether the kernel programs cache flows.
    pub flow_cache: bool,
    /// How many sessions towards devices they can note.
    pub answers: Size,
    /// Where Prometheus may scrape; `None`: only on the control socket.
    pub metrics: Option<SocketAddr>,
    /// Where events go besides followers.
    pub sinks: Vec<sinks::Sink>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            policy: POLICY.into(),
            socket: SOCKET.into(),
            socket_group: None,
            state_dir: "/var/lib/enforcer".into(),
            bpffs: "/sys/fs/bpf/enforcer".into(),
            xdp: Xdp::Auto,
            viewer_group: None,
            operator_group: None,
            audit_required: false,
            audit_keep: AUDIT_KEEP,
            clock: Clock::Auto,
            backstop: Backstop::Auto,
            kernel_log: false,
            flow_cache: true,
            answers: Size::USUAL,
            metrics: None,
            sinks: Vec::new(),
        }
    }
}

/// How to attach to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Xdp {
    /// In the driver; if that is impossible, generic, and say so.
    #[default]
    Auto,
    /// In the driver or not at all.
    Native,
    /// In the network stack, slower, on any interface.
    Generic,
}

/// When the wall clock is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// While the kernel reports it as synchronised.
    #[default]
    Auto,
    /// Always, unless it is behind a time that is known to be past.
    Trusted,
}

/// What to do about the backstop's tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backstop {
    /// Look after the tables if they are installed.
    #[default]
    Auto,
    /// Do not start without them.
    Required,
    /// Leave them alone, shut or not.
    Off,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the settings {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is invalid.
    #[error("{}", summary(.0))]
    Invalid(Vec<Problem>),
    /// A name given with `--interface` is not a valid interface name.
    #[error("`{0}` cannot be the name of an interface")]
    Interface(String),
    /// Neither the file nor a flag names an interface.
    #[error("no interface to protect")]
    NoInterface,
}

impl Fault for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoInterface => Some(NO_INTERFACE.to_owned()),
            Self::Interface(_) => {
                Some("`ip -brief link` lists the interfaces of this machine".to_owned())
            }
            Self::Invalid(problems) => first_error(problems)?.hint.clone(),
            Self::Read { .. } => None,
        }
    }
}

const NO_INTERFACE: &str = "name the interfaces that devices are behind: \
     `interfaces = [\"lan0\"]` in enforcer.toml, or --interface lan0; `enforcer init` finds them";

fn first_error(problems: &[Problem]) -> Option<&Problem> {
    problems.iter().find(|problem| problem.severity == Severity::Error)
}

/// The first error with its place, and how many more there are.
fn summary(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let Some(first) = first_error(problems) else { return String::new() };
    let more = match errors {
        0 | 1 => String::new(),
        _ => format!(" ({} more: `enforcer config check {}`)", errors - 1, first.place.file),
    };
    format!("{}: {}{more}", first.place, first.message)
}

const KEYS: [&str; 18] = [
    "interfaces",
    "policy",
    "socket",
    "socket_group",
    "state_dir",
    "bpffs",
    "xdp",
    "viewer_group",
    "operator_group",
    "audit_required",
    "audit_keep",
    "kernel_log",
    "flow_cache",
    "answers",
    "backstop",
    "clock",
    "metrics",
    "sinks",
];

/// Reads a settings document; `file` is the name that errors carry.
pub fn read(file: &str, text: &str) -> Result<Settings, Error> {
    let (settings, problems) = check(file, text);
    if first_error(&problems).is_some() { Err(Error::Invalid(problems)) } else { Ok(settings) }
}

/// Reads a settings document and finds every problem: the settings are valid only if none of them
/// is an error.
pub fn check(file: &str, text: &str) -> (Settings, Vec<Problem>) {
    let (mut reader, document) = TomlReader::open(file, text);
    let root = document.get_ref();
    reader.known_keys(root, &KEYS, "the settings");
    let mut settings =
        Settings { interfaces: interfaces(&mut reader, root), ..Settings::default() };
    for (key, path) in [
        ("policy", &mut settings.policy),
        ("socket", &mut settings.socket),
        ("state_dir", &mut settings.state_dir),
        ("bpffs", &mut settings.bpffs),
    ] {
        let usual = path.display().to_string();
        if let Some(other) = filled(&mut reader, root, key, &usual) {
            *path = other.into();
        }
    }
    for (key, group) in [
        ("socket_group", &mut settings.socket_group),
        ("viewer_group", &mut settings.viewer_group),
        ("operator_group", &mut settings.operator_group),
    ] {
        *group = filled(&mut reader, root, key, "netops").map(str::to_owned);
    }
    for (key, switch) in [
        ("audit_required", &mut settings.audit_required),
        ("kernel_log", &mut settings.kernel_log),
        ("flow_cache", &mut settings.flow_cache),
    ] {
        match root.get(key).map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Boolean(on))) => *switch = *on,
            Some((value, _)) => {
                reader.wrong_type(key, value, "a boolean", &format!("{key} = true"));
            }
            None => {}
        }
    }
    if let Some(at) = reader.choice(root, "xdp", &["auto", "native", "generic"]) {
        settings.xdp = [Xdp::Auto, Xdp::Native, Xdp::Generic][at];
    }
    if let Some(at) = reader.choice(root, "backstop", &["auto", "required", "off"]) {
        settings.backstop = [Backstop::Auto, Backstop::Required, Backstop::Off][at];
    }
    if let Some(size) = answers(&mut reader, root) {
        settings.answers = size;
    }
    if let Some((text, offset)) = reader.string(root, "audit_keep", "6y")
        && let Some(keep) = keep(&mut reader, text, offset)
    {
        settings.audit_keep = keep;
    }
    if let Some(at) = reader.choice(root, "clock", &["auto", "trusted"]) {
        settings.clock = [Clock::Auto, Clock::Trusted][at];
    }
    if let Some(metrics) = reader.table(root, "metrics") {
        reader.known_keys(metrics, &["listen"], "`metrics`");
        if let Some((text, offset)) = reader.string(metrics, "listen", "127.0.0.1:9750") {
            settings.metrics = address(&mut reader, text, offset);
        }
    }
    if let Some(sinks) = reader.table(root, "sinks") {
        settings.sinks = sinks::read(&mut reader, sinks);
    }
    (settings, reader.close(file))
}

/// The size of the table of sessions towards devices.
fn answers(reader: &mut TomlReader<'_>, root: &DeTable<'_>) -> Option<Size> {
    let (least, most) = (*Size::FLOWS.start(), *Size::FLOWS.end());
    let usual = Size::USUAL.flows();
    let flows = sinks::number(reader, root, "answers", usual.into(), least.into(), most.into())?;
    u32::try_from(flows).ok().and_then(Size::for_flows)
}

fn interfaces(reader: &mut TomlReader<'_>, root: &DeTable<'_>) -> Vec<String> {
    let mut interfaces: Vec<String> = Vec::new();
    let items = reader.items(root, "interfaces");
    if items.is_empty() {
        let offset = root.get("interfaces").map_or(0, |value| value.span().start);
        reader.warn_absent(offset, "no interface is named", Some(NO_INTERFACE));
    }
    for item in items {
        let offset = item.span().start;
        let DeValue::String(name) = item.get_ref() else {
            reader.wrong_type("interfaces", item, "a list of strings", "interfaces = [\"lan0\"]");
            continue;
        };
        if !is_interface(name) {
            let message = format!("{} cannot be the name of an interface", quoted(name));
            reader.error(offset, message, "`ip -brief link` lists the interfaces of this machine");
        } else if interfaces.iter().any(|other| other == name) {
            reader.error(offset, format!("`{name}` is named twice"), "keep one");
        } else {
            interfaces.push(name.to_string());
        }
    }
    interfaces
}

/// A text that is not empty.
fn filled<'a>(
    reader: &mut TomlReader<'_>,
    table: &'a DeTable<'_>,
    key: &str,
    example: &str,
) -> Option<&'a str> {
    let (text, offset) = reader.string(table, key, example)?;
    if text.is_empty() {
        let hint = format!("write `{key} = \"{example}\"`, or leave the line out");
        reader.error(offset, format!("`{key}` is empty"), hint);
    }
    Some(text).filter(|text| !text.is_empty())
}

/// A time of days to years.
fn keep(reader: &mut TomlReader<'_>, text: &str, offset: usize) -> Option<SignedDuration> {
    // Years and months are counted from a fixed date.
    let from = jiff::civil::date(2001, 1, 1);
    let span = text.parse::<jiff::Span>().ok().and_then(|span| span.to_duration(from).ok());
    let keep = span.filter(|keep| *keep >= SignedDuration::from_hours(24));
    if keep.is_none() {
        let message = format!("{} is not a time of a day or more", quoted(text));
        reader.error(offset, message, "such as 90d, 18mo or 6y");
    }
    keep
}

/// An address and a port. Names are not looked up: that could hang, and fail at boot.
fn address(reader: &mut TomlReader<'_>, text: &str, offset: usize) -> Option<SocketAddr> {
    let address = text.parse().ok().filter(|to: &SocketAddr| to.port() != 0);
    if address.is_none() {
        let hint = "such as 127.0.0.1:9750 or [::1]:9750; names are not looked up";
        reader.error(offset, format!("{} is not an address with a port", quoted(text)), hint);
    }
    address
}
/// Whether the kernel would accept this name (`dev_valid_name` in net/core/dev.c).
pub fn is_interface(name: &str) -> bool {
    !name.is_empty()
        && name.len() < libc::IFNAMSIZ
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0')
}
