//! The links that attach the dispatcher to interfaces.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, XdpMode};
use enforcer_common::abi::program;
use log::{info, warn};

use super::{Dataplane, Error, foreign, generation, object, offload};

/// How to attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// In the driver; where it cannot, generic, and say so.
    #[default]
    Auto,
    /// In the driver or not at all.
    Native,
    /// In the network stack, slower, on any interface.
    Generic,
}

/// What the kernel says about an interface (IFLA_XDP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// Id of the attached program.
    pub program: Option<u32>,
    /// Whether it runs in the driver.
    pub native: bool,
}

impl Dataplane {
    /// Protects an interface: adopts its pinned link, or attaches and pins before it returns.
    /// Hardware that removes VLAN tags is told not to, first.
    ///
    /// `attached` is what the kernel says of the interface now. Returns whether the program
    /// runs in the driver, and why not if it does not.
    pub fn protect(
        &mut self,
        name: &str,
        index: u32,
        attached: Attached,
        preference: Preference,
    ) -> Result<Option<String>, Error> {
        let stripped = offload::keep_tags(name)?;
        if !stripped.is_empty() {
            info!("{name}: {} is off now, so that XDP sees VLAN tags", stripped.join(", "));
        }
        let pin = self.pins.link(index);
        if !pin.exists() {
            self.take_over(index, &pin)?;
        }
        if pin.exists() {
            match self.adopt_link(&pin, attached) {
                Ok(true) => {
                    self.kept.refresh(&self.pins);
                    info!("adopted {name}: it was protected all the time");
                    return Ok(None);
                }
                Ok(false) => info!("the pinned link of {name} is dead, making a new one"),
                Err(e) => return Err(e),
            }
            self.kept.forget(&pin);
            std::fs::remove_file(&pin).map_err(|e| Error::io("remove", &pin, e))?;
        } else if let Some(id) = attached.program {
            let native = attached.native;
            return Err(Error::Busy { interface: name.into(), id: Some(id), native });
        }
        self.attach(name, index, preference)
    }

    /// Pins the link that another version of this program has left on an interface. Its tables
    /// have another layout and stay its own; the link gets our dispatcher in one store, like any
    /// that is adopted.
    fn take_over(&mut self, index: u32, pin: &Path) -> Result<(), Error> {
        for dir in self.pins.of_other_versions() {
            let Some(name) = pin.file_name() else { continue };
            let old = dir.join(name);
            if !old.exists() {
                continue;
            }
            foreign::check_link(&old, index, &BTreeSet::new())?;
            let link = FdLink::from(PinnedLink::from_pin(&old).map_err(Error::Link)?);
            link.pin(pin).map_err(Error::Pin)?;
            info!("{} is of another version: its link is taken over", dir.display());
            return Ok(());
        }
        Ok(())
    }

    /// Removes what another version of this program left, once every interface is protected.
    pub fn forget_other_versions(&self) -> Result<(), Error> {
        self.pins.forget_other_versions()
    }

    /// Makes a pinned link run our dispatcher; `false` when the link is dead.
    fn adopt_link(&mut self, pin: &Path, attached: Attached) -> Result<bool, Error> {
        let link = PinnedLink::from_pin(pin).map_err(Error::Link)?;
        let link = FdLink::from(link);
        let program = link.info().map_err(Error::Link)?.program_id();
        // A link whose interface is gone, or that was detached, keeps its program.
        if attached.program != Some(program) {
            return Ok(false);
        }
        let link = XdpLink::try_from(link).map_err(Error::Link)?;
        let name = self.kind.name(program::DISPATCH);
        let dispatcher = generation::program(&mut self.ebpf, &name)?;
        // One store in the kernel: every frame meets the old dispatcher or the new one.
        let link = dispatcher.attach_to_link(link).map_err(Error::Program)?;
        // The pin keeps the link; this descriptor may go.
        drop(dispatcher.take_link(link).map_err(Error::Program)?);
        Ok(true)
    }

    fn attach(
        &mut self,
        name: &str,
        index: u32,
        preference: Preference,
    ) -> Result<Option<String>, Error> {
        let pin = self.pins.link(index);
        let modes: &[(XdpMode, &'static str)] = match preference {
            Preference::Auto => &[(XdpMode::Driver, "native"), (XdpMode::Skb, "generic")],
            Preference::Native => &[(XdpMode::Driver, "native")],
            Preference::Generic => &[(XdpMode::Skb, "generic")],
        };
        let mut why_not = None;
        for (at, &(mode, mode_name)) in modes.iter().enumerate() {
            let program = self.kind.name(program::DISPATCH);
            let dispatcher = generation::program(&mut self.ebpf, &program)?;
            match dispatcher.attach_to_if_index(index, mode) {
                Ok(id) => {
                    let link = dispatcher.take_link(id).map_err(Error::Program)?;
                    // Aya falls back to netlink on EINVAL; such an attachment cannot be pinned
                    // and anybody's `ip link set … xdp off` removes it.
                    let link = FdLink::try_from(link).map_err(Error::Link)?;
                    link.pin(&pin).map_err(Error::Pin)?;
                    self.kept.refresh(&self.pins);
                    return Ok(why_not);
                }
                Err(ProgramError::SyscallError(e)) => {
                    let error = e.io_error;
                    if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) {
                        let native = mode == XdpMode::Driver;
                        return Err(Error::Busy { interface: name.into(), id: None, native });
                    }
                    if error.raw_os_error() == Some(libc::EPERM) {
                        return Err(Error::NotPermitted("attach a program"));
                    }
                    if error.raw_os_error() == Some(libc::ENODEV) {
                        return Err(Error::NoInterface(name.into()));
                    }
                    if at + 1 == modes.len() {
                        let interface = name.into();
                        return Err(Error::Attach { interface, mode: mode_name, source: error });
                    }
                    warn!("{name}: no {mode_name} XDP ({error}), trying generic");
                    why_not = Some(format!("the driver has no native XDP for it: {error}"));
                }
                Err(e) => return Err(Error::Program(e)),
            }
        }
        Ok(why_not)
    }

    /// Removes the link of an interface that is gone.
    pub fn release(&mut self, index: u32) -> Result<(), Error> {
        let pin = self.pins.link(index);
        self.kept.forget(&pin);
        match std::fs::remove_file(&pin) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &pin, e)),
            _ => Ok(()),
        }
    }

    /// Removes the links of interfaces that are no longer protected; returns their indices.
    pub fn release_others(&mut self, protected: &[u32]) -> Result<Vec<u32>, Error> {
        let mut released = Vec::new();
        for index in self.pins.links() {
            if !protected.contains(&index) {
                self.release(index)?;
                released.push(index);
            }
        }
        Ok(released)
    }

    /// Index of the interface that the link of interface `index` is on now; 0 when somebody detached
    /// it or the interface is gone, `None` when there is no such link.
    pub fn link_interface(&self, index: u32) -> Option<u32> {
        object::link(self.kept.get(&self.pins.link(index))?).ok().map(|link| link.interface)
    }

    /// Renames the pin of a link whose interface has another index since it came back from another
    /// network namespace.
    pub fn renumber(&mut self, index: u32) -> Result<(), Error> {
        let to = self.pins.link(index);
        let is_it = |number: &u32| self.link_interface(*number) == Some(index);
        let Some(number) = self.pins.links().into_iter().find(is_it) else { return Ok(()) };
        let from = self.pins.link(number);
        if from != to {
            std::fs::rename(&from, &to).map_err(|e| Error::io("rename", &from, e))?;
            self.kept.rename(&from, to);
        }
        Ok(())
    }
}
