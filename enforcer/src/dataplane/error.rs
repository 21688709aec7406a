//! Errors of the data plane.

use std::io;
use std::path::{Path, PathBuf};

use aya::EbpfError;
use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::ProgramError;
use aya::programs::links::LinkError;

use crate::fault::Fault;

/// Why the kernel does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The binary holds no kernel program.
    #[error("this binary was built without the kernel program")]
    NoObject,
    /// There is no BPF file system.
    #[error("{} is not on a BPF file system", .0.display())]
    NoBpfFs(PathBuf),
    /// Another process has the pin directory.
    #[error("{} is held by {}", dir.display(), pid.map_or("another enforcer".into(), |pid| format!("pid {pid}")))]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The process, if the kernel provides it.
        pid: Option<u32>,
    },
    /// A pin that is not ours.
    #[error("{} {what}", path.display())]
    Foreign {
        /// The pin.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A pin or its directory that others could use or change.
    #[error("{} {what}", path.display())]
    Exposed {
        /// The pin or the directory.
        path: PathBuf,
        /// Which users may use it.
        what: String,
        /// The command that ends it.
        remedy: String,
    },
    /// Not permitted.
    #[error("the kernel does not permit it ({0})")]
    NotPermitted(&'static str),
    /// Another program is attached.
    #[error("another XDP program{} is attached to {interface}", id.map_or(String::new(), |id| format!(" (id {id})")))]
    Busy {
        /// The interface.
        interface: String,
        /// The program's id.
        id: Option<u32>,
        /// Whether it runs in the driver.
        native: bool,
    },
    /// No such interface.
    #[error("no interface `{0}`")]
    NoInterface(String),
    /// The program would not see every frame of the interface as it arrives.
    #[error(
        "cannot enforce on {interface}: a {kind} hands frames to XDP without their VLAN tags, as \
         another interface's, or not at all"
    )]
    Hidden {
        /// The interface.
        interface: String,
        /// Its kind, as in `ip link`.
        kind: String,
        /// The interfaces below it.
        below: Vec<String>,
    },
    /// Its frames have no Ethernet header, which the program needs.
    #[error("cannot enforce on {interface}: its frames are not Ethernet (link type {kind})")]
    NoEthernet {
        /// The interface.
        interface: String,
        /// Its link type, by the kernel's name.
        kind: String,
    },
    /// The driver does not support the requested mode.
    #[error("cannot attach to {interface} in {mode} mode")]
    Attach {
        /// The interface.
        interface: String,
        /// `native` or `generic`.
        mode: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Hardware strips VLAN tags, and this cannot be turned off.
    #[error("{interface} hides VLAN tags from XDP, and it cannot be switched off ({feature})")]
    Tags {
        /// The interface.
        interface: String,
        /// The feature, by the name of `ethtool -K`.
        feature: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The active program cannot be run for a test.
    #[error("cannot run the program on a frame")]
    Probe(#[source] ProgramError),
    /// A test run takes a frame of one page.
    #[error("a test run does not support frames of {0} bytes")]
    ProbeTooLong(usize),
    /// The active program ran and did not answer.
    #[error("the program in force did not answer")]
    ProbeAnswer,
    /// More lines than a map can have.
    #[error("the policy image is too large")]
    TooLarge,
    /// The object lacks something.
    #[error("the kernel program lacks `{0}`")]
    Object(&'static str),
    /// A lasting table was replaced since a generation was loaded.
    #[error("the pin of {0} was removed or replaced while a policy was loaded")]
    Replaced(&'static str),
    /// The object could not be loaded.
    #[error("cannot load the kernel program")]
    Load(#[source] Box<EbpfError>),
    /// A program was refused; the error contains the verifier's log.
    #[error("the kernel refused the program")]
    Program(#[source] ProgramError),
    /// A map operation failed.
    #[error("cannot use a map")]
    Map(#[source] MapError),
    /// A pin could not be made.
    #[error("cannot pin")]
    Pin(#[source] PinError),
    /// A link could not be used.
    #[error("cannot use the link of an interface")]
    Link(#[source] LinkError),
    /// A file operation failed.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { verb, path: path.into(), source }
    }

    pub(super) fn load(error: EbpfError) -> Self {
        let denied = |e: &io::Error| e.raw_os_error() == Some(libc::EPERM);
        if let EbpfError::MapError(MapError::CreateError { io_error, .. }) = &error
            && denied(io_error)
        {
            return Self::NotPermitted("create a map");
        }
        Self::Load(Box::new(error))
    }
}

impl Fault for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoObject => "build it with `cargo xtask build`".into(),
            Self::NoBpfFs(_) => "mount one: mount -t bpf bpf /sys/fs/bpf".into(),
            Self::Held { pid: Some(pid), .. } => {
                format!("one daemon guards all interfaces: stop its service, or end process {pid}")
            }
            Self::Held { pid: None, .. } => "one daemon guards all interfaces".into(),
            Self::Foreign { path, .. } => {
                format!("if nothing else uses it, remove it: rm -r {}", path.display())
            }
            Self::Exposed { remedy, .. } => {
                format!("another user may have changed it: check it, and if it is intact: {remedy}")
            }
            Self::Program(ProgramError::LoadError { io_error, .. })
                if matches!(io_error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) =>
            {
                "the verifier is stricter without CAP_PERFMON: run as root, or with \
                 CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
                    .into()
            }
            Self::NotPermitted(_) => {
                "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON".into()
            }
            // `xdp off` alone does not remove a generic program from a driver that has native XDP.
            Self::Busy { interface, native, .. } => format!(
                "enforcer shares an interface with no other XDP program (`bpftool prog` lists \
                 them); remove that one, if it may go: ip link set dev {interface} {} off",
                if *native { "xdp" } else { "xdpgeneric" }
            ),
            Self::NoInterface(_) => "`ip -brief link` lists the interfaces of this machine".into(),
            Self::Hidden { below, .. } if below.is_empty() => {
                "protect the interfaces below it; there are none yet".into()
            }
            Self::Hidden { below, .. } => {
                format!("protect the interfaces below it: interfaces = {below:?} in enforcer.toml")
            }
            Self::NoEthernet { interface, .. } => format!(
                "protect the Ethernet interface that devices are behind, not {interface}; tunnels and \
                 modems carry what has passed there already"
            ),
            Self::Attach { mode: "native", .. } => {
                "allow the slower generic mode: xdp = \"auto\" in enforcer.toml".into()
            }
            Self::Tags { interface, feature, .. } => format!(
                "switch it off: ethtool -K {interface} {feature} off; where the driver says \
                 `[fixed]`, protect another interface: rules about VLANs would not work on this one"
            ),
            Self::TooLarge
            | Self::Probe(_)
            | Self::ProbeAnswer
            | Self::ProbeTooLong(_)
            | Self::Attach { .. }
            | Self::Object(_)
            | Self::Replaced(_)
            | Self::Load(_)
            | Self::Program(_)
            | Self::Map(_)
            | Self::Pin(_)
            | Self::Link(_)
            | Self::Io { .. } => return None,
        })
    }
}
