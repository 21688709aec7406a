//! The programs of the object, and how they are loaded.

use aya::Ebpf;
use aya::programs::{ProgramError, SchedClassifier, Xdp};
use enforcer_common::abi::program;
use enforcer_common::decide::answers::Size;
use log::debug;

use super::Error;
use crate::privilege::to_load;

/// Whether programs see frames that are spread over fragments. A program array holds only one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Linux 5.18 and later.
    Fragments,
    /// Before 5.18; attaching fails on interfaces with a large MTU.
    Linear,
}

impl Kind {
    /// Name of a program of this kind.
    pub fn name(self, name: &str) -> String {
        match self {
            Self::Fragments => name.into(),
            Self::Linear => format!("{name}_linear"),
        }
    }
}

/// How the programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// Whether they report rare faults in the log.
    pub kernel_log: bool,
    /// Whether they cache flows, see [`enforcer_common::decide::flow_cache`].
    pub flow_cache: bool,
    /// How many sessions towards devices they can note.
    pub answers: Size,
}

impl Default for Options {
    fn default() -> Self {
        Self { kernel_log: false, flow_cache: true, answers: Size::USUAL }
    }
}

/// Loads the dispatcher as the kind that this kernel supports.
///
/// # Errors
///
/// The error of the simpler kind, which every supported kernel accepts.
pub fn load_dispatcher(ebpf: &mut Ebpf) -> Result<Kind, Error> {
    for kind in [Kind::Fragments, Kind::Linear] {
        let dispatch = xdp(ebpf, &kind.name(program::DISPATCH))?;
        match to_load(|| dispatch.load()) {
            Ok(()) => return Ok(kind),
            Err(ProgramError::LoadError { io_error, .. })
                if kind == Kind::Fragments && io_error.raw_os_error() == Some(libc::EINVAL) =>
            {
                debug!("this kernel has no XDP fragments (Linux 5.18): {io_error}");
            }
            Err(e) => return Err(Error::Program(e)),
        }
    }
    Err(Error::Object(program::DISPATCH))
}

/// A program of the receiving side of the object.
pub fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(Error::Object(program::DISPATCH))
}

/// A program of the transmit side of the object.
pub fn classifier<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, Error> {
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(Error::Object(name))
}
