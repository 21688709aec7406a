//! The active policy: its documents, its image, and the meaning of the image's numbers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use enforcer_common::flow::{Address, FAMILY_V4, FAMILY_V6};
use sha2::{Digest as _, Sha256};

use crate::api::PolicyBundle;
use crate::audit::digest::hex;
use crate::image::Time;
use crate::policy::live::{LiveChange, with_live};
use crate::policy::{
    Compiled, Group, Host, Mode, Place, Policy, Problem, Severity, Symbols, compile, read,
};

/// A policy that is in force, or about to be. Clones share the large parts.
#[derive(Clone, Debug)]
pub(super) struct Active {
    /// The documents that the policy was read from.
    pub(super) bundle: Arc<PolicyBundle>,
    /// The policy in the documents.
    pub(super) written: Arc<Policy>,
    /// Live changes on top of it.
    pub(super) live: Vec<LiveChange>,
    /// The policy including the live changes.
    pub(super) policy: Policy,
    /// The machine that the policy was compiled for.
    pub(super) host: Host,
    /// The compiled policy, as loaded into the kernel.
    pub(super) compiled: Compiled,
    /// Counts applied policies.
    pub(super) revision: u64,
    /// Number of the generation in the kernel.
    pub(super) generation: u32,
    /// When the policy came into force, RFC 3339.
    pub(super) since: String,
    /// SHA-256 of the documents, hexadecimal.
    pub(super) digest: String,
    /// Digest of a policy file that was rolled back or not confirmed, and that the next start must not
    /// apply.
    pub(super) aside: Option<String>,
    /// Warnings of the reader and the compiler.
    pub(super) warnings: Vec<Problem>,
    /// Warnings of the reader alone: those of the compiler depend on the machine.
    pub(super) read: Vec<Problem>,
}

/// Reads a bundle. Set files are read only from the bundle.
pub(super) fn read_bundle(bundle: &PolicyBundle) -> (Policy, Vec<Problem>) {
    read(&bundle.file, &bundle.text, &mut |name| {
        bundle.files.get(name).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    })
}

/// SHA-256 of a bundle's documents, each with its name and length.
pub(super) fn digest(bundle: &PolicyBundle) -> String {
    let mut hash = Sha256::new();
    let unnamed = String::new();
    let documents = std::iter::once((&unnamed, &bundle.text)).chain(&bundle.files);
    for (name, text) in documents {
        for part in [name, text] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hex(&hash.finalize())
}

/// The policy with the live changes that still fit it. Logs a warning for the others.
fn overlaid(
    written: &Policy,
    live: &[LiveChange],
    host: &Host,
    warnings: &mut Vec<Problem>,
) -> (Policy, Vec<LiveChange>) {
    // Ends on the boot clock are checked once a second.
    let now = Time::wall(host.now);
    let mut live: Vec<LiveChange> =
        live.iter().filter(|change| !change.has_ended(now)).cloned().collect();
    loop {
        match with_live(written, &live) {
            Ok(policy) => return (policy, live),
            Err((at, error)) => {
                let change = live.remove(at);
                let file = format!("live change by {}", change.by);
                warnings.push(Problem {
                    severity: Severity::Warning,
                    place: Place { file: file.into(), line: 0, column: 0 },
                    message: format!("`{change}` ends: {}", error.message),
                    hint: error.hint,
                });
            }
        }
    }
}

impl Active {
    /// Compiles a policy that was read without errors.
    ///
    /// # Errors
    ///
    /// The image cannot hold the policy.
    pub(super) fn compile(
        bundle: Arc<PolicyBundle>,
        written: Arc<Policy>,
        live: &[LiveChange],
        host: Host,
        mut warnings: Vec<Problem>,
    ) -> Result<Self, Vec<Problem>> {
        let (policy, live) = overlaid(&written, live, &host, &mut warnings);
        let mut compiled = compile(&policy, &host)?;
        let read = warnings.clone();
        warnings.append(&mut compiled.warnings);
        let digest = digest(&bundle);
        Ok(Self {
            bundle,
            written,
            live,
            policy,
            host,
            compiled,
            revision: 0,
            generation: 0,
            since: String::new(),
            digest,
            aside: None,
            warnings,
            read,
        })
    }

    /// The group with this number; `None` for unknown devices.
    pub(super) fn group(&self, number: u32) -> Option<&Group> {
        self.policy.groups.get((number as usize).checked_sub(1)?)
    }

    /// Name and mode of the group with this number.
    pub(super) fn group_name(&self, number: u32) -> (&str, Mode) {
        self.group(number)
            .map_or(("unknown", self.policy.unknown.mode), |group| (&group.name, group.mode))
    }

    /// The names behind the image's numbers.
    pub(super) fn symbols(&self) -> Symbols {
        let mut symbols = Symbols::new(&self.policy, &self.compiled, &self.host);
        (symbols.generation, symbols.revision) = (self.generation, self.revision);
        symbols
    }

    /// The name of the interface with this index.
    pub(super) fn interface(&self, index: u32) -> Option<&str> {
        let known = self.host.interfaces.iter().find(|interface| interface.index == index);
        known.map(|interface| &*interface.name)
    }
}

/// An address of this family; `None` if the family is none.
pub(super) fn ip(family: u8, address: Address) -> Option<IpAddr> {
    match family {
        FAMILY_V4 => Some(Ipv4Addr::from(address.to_v4()).into()),
        FAMILY_V6 => Some(Ipv6Addr::from(address.to_v6()).into()),
        _ => None,
    }
}
