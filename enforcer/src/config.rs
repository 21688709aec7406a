//! The daemon's settings: `/etc/enforcer/enforcer.toml`, overridden by the flags of `run`.

pub mod sinks;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

/// Where the settings are unless told otherwise.
pub const FILE: &str = "/etc/enforcer/enforcer.toml";
/// Where the policy is unless told otherwise.
pub const POLICY: &str = "/etc/enforcer/policy.toml";
/// Where the daemon listens unless told otherwise.
pub const SOCKET: &str = "/run/enforcer/enforcer.sock";
/// The group that may talk to the daemon, if it exists.
pub const SOCKET_GROUP: &str = "enforcer";

/// What the daemon needs to know before it reads a policy.
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
    /// What has to survive a reboot.
    pub state_dir: PathBuf,
    /// What has to survive a restart: a directory on a BPF file system.
    pub bpffs: PathBuf,
    /// How to attach.
    pub xdp: Xdp,
    /// The group whose members may only look; `None`: nobody is so limited.
    pub viewer_group: Option<String>,
    /// The group whose members may change things; `None`: whoever may connect.
    pub operator_group: Option<String>,
    /// Refuse changes while the audit trail cannot be written.
    pub audit_required: bool,
    /// Whether the packet filter drops what is forwarded from an unprotected interface.
    pub backstop: Backstop,
    /// Whether the kernel programs write what is rare and wrong into the log.
    pub kernel_log: bool,
    /// Whether the kernel programs remember flows that pass.
    pub flow_cache: bool,
    /// Where Prometheus may scrape; `None`: on the control socket alone.
    pub metrics: Option<SocketAddr>,
    /// Where events go, beside those who follow them.
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
            backstop: Backstop::Auto,
            kernel_log: false,
            flow_cache: true,
            metrics: None,
            sinks: Vec::new(),
        }
    }
}

/// How to attach to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Xdp {
    /// In the driver; where it cannot, generic, and say so.
    #[default]
    Auto,
    /// In the driver or not at all.
    Native,
    /// In the network stack, slower, on any interface.
    Generic,
}

/// What to do about the backstop's tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// The file says something that it cannot say.
    #[error("{file}:{line}:{column}: {message}")]
    Invalid {
        /// File as the operator named it.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// A name given with `--interface` cannot be one.
    #[error("`{0}` cannot be the name of an interface")]
    Interface(String),
    /// Neither the file nor a flag names an interface.
    #[error("no interface to protect")]
    NoInterface,
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoInterface => Some(
                "name the interfaces that devices are behind: `interfaces = [\"lan0\"]` in \
                 enforcer.toml, or --interface lan0",
            ),
            Self::Interface(_) => Some("`ip -brief link` lists the interfaces of this machine"),
            Self::Read { .. } | Self::Invalid { .. } => None,
        }
    }
}

/// The file; converted by hand, so that its shape and the daemon's can change apart.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    interfaces: Option<Vec<Spanned<String>>>,
    policy: Option<PathBuf>,
    socket: Option<PathBuf>,
    socket_group: Option<String>,
    state_dir: Option<PathBuf>,
    bpffs: Option<PathBuf>,
    xdp: Option<Xdp>,
    viewer_group: Option<String>,
    operator_group: Option<String>,
    audit_required: Option<bool>,
    kernel_log: Option<bool>,
    flow_cache: Option<bool>,
    backstop: Option<Backstop>,
    #[serde(default)]
    metrics: Metrics,
    #[serde(default)]
    sinks: sinks::Document,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metrics {
    listen: Option<Spanned<String>>,
}

/// Reads a settings document; `file` is the name that errors carry.
pub fn read(file: &str, text: &str) -> Result<Settings, Error> {
    let invalid = |offset: usize, message: String| {
        let (line, column) = place(text, offset);
        Error::Invalid { file: file.to_owned(), line, column, message }
    };
    let document: Document = toml::from_str(text)
        .map_err(|e| invalid(e.span().map_or(0, |span| span.start), e.message().to_owned()))?;
    let defaults = Settings::default();
    let mut interfaces: Vec<String> = Vec::new();
    for name in document.interfaces.unwrap_or_default() {
        let start = name.span().start;
        let name = name.into_inner();
        if !is_interface(&name) {
            return Err(invalid(start, format!("`{name}` cannot be the name of an interface")));
        }
        if interfaces.contains(&name) {
            return Err(invalid(start, format!("`{name}` is named twice")));
        }
        interfaces.push(name);
    }
    let metrics = document.metrics.listen.map(|listen| {
        let start = listen.span().start;
        address(listen.get_ref()).map_err(|message| invalid(start, message))
    });
    let sinks = sinks::read(document.sinks).map_err(|(start, what)| invalid(start, what))?;
    Ok(Settings {
        sinks,
        interfaces,
        policy: document.policy.unwrap_or(defaults.policy),
        socket: document.socket.unwrap_or(defaults.socket),
        socket_group: document.socket_group,
        state_dir: document.state_dir.unwrap_or(defaults.state_dir),
        bpffs: document.bpffs.unwrap_or(defaults.bpffs),
        xdp: document.xdp.unwrap_or_default(),
        viewer_group: document.viewer_group,
        operator_group: document.operator_group,
        audit_required: document.audit_required.unwrap_or_default(),
        kernel_log: document.kernel_log.unwrap_or_default(),
        flow_cache: document.flow_cache.unwrap_or(defaults.flow_cache),
        backstop: document.backstop.unwrap_or_default(),
        metrics: metrics.transpose()?,
    })
}

/// An address and a port. Names are not looked up: that could hang, and fail at boot.
fn address(text: &str) -> Result<SocketAddr, String> {
    let address: Option<SocketAddr> = text.parse().ok().filter(|to: &SocketAddr| to.port() != 0);
    address.ok_or_else(|| {
        format!("`{text}` is not an address with a port, such as 127.0.0.1:9750 or [::1]:9750")
    })
}

/// Whether the kernel would accept this name (`dev_valid_name` in net/core/dev.c).
pub fn is_interface(name: &str) -> bool {
    !name.is_empty()
        && name.len() < libc::IFNAMSIZ
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0')
}

fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        read("enforcer.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn nothing_said_is_the_defaults() {
        assert_eq!(read("enforcer.toml", "").unwrap(), Settings::default());
    }

    #[test]
    fn everything_said() {
        let text = r#"
            interfaces = ["lan0", "eth1.20"]
            policy = "/srv/policy.toml"
            socket = "/run/e.sock"
            socket_group = "biomed"
            state_dir = "/srv/state"
            bpffs = "/sys/fs/bpf/e"
            xdp = "generic"
            viewer_group = "ward"
            operator_group = "netops"
            audit_required = true
            kernel_log = true
            flow_cache = false
            backstop = "required"
            [metrics]
            listen = "[::1]:9750"
        "#;
        let settings = read("enforcer.toml", text).unwrap();
        let expected = Settings {
            interfaces: vec!["lan0".into(), "eth1.20".into()],
            policy: "/srv/policy.toml".into(),
            socket: "/run/e.sock".into(),
            socket_group: Some("biomed".into()),
            state_dir: "/srv/state".into(),
            bpffs: "/sys/fs/bpf/e".into(),
            xdp: Xdp::Generic,
            viewer_group: Some("ward".into()),
            operator_group: Some("netops".into()),
            audit_required: true,
            kernel_log: true,
            flow_cache: false,
            backstop: Backstop::Required,
            metrics: Some("[::1]:9750".parse().unwrap()),
            sinks: Vec::new(),
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn problems_have_a_place() {
        assert!(error("interfaces = [\"lan0\"]\nsockte = 1\n").starts_with(
            "enforcer.toml:2:1: unknown field `sockte`, expected one of `interfaces`, `policy`"
        ));
        assert!(error("xdp = \"fast\"").starts_with("enforcer.toml:1:7: unknown variant `fast`"));
        assert!(error("policy = \n").starts_with("enforcer.toml:1:"));
        assert_eq!(
            error("interfaces = [\n  \"lan0\", \"lan 1\"]"),
            "enforcer.toml:2:11: `lan 1` cannot be the name of an interface"
        );
        assert_eq!(
            error("[metrics]\nlisten = \"localhost:9750\""),
            "enforcer.toml:2:10: `localhost:9750` is not an address with a port, such as \
             127.0.0.1:9750 or [::1]:9750"
        );
        assert!(error("[metrics]\nlisten = \"127.0.0.1:0\"").contains("not an address with"));
        assert_eq!(error("interfaces = [\"a\", \"a\"]"), "enforcer.toml:1:20: `a` is named twice");
    }

    #[test]
    fn interface_names() {
        for name in ["lan0", "eth1.20", "enp3s0f1np1", "brücke"] {
            assert!(is_interface(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a b", "a:b", "sixteen-bytes-xx"] {
            assert!(!is_interface(name), "{name}");
        }
    }
}
