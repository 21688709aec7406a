//! The links that attach the dispatcher to interfaces.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use enforcer_common::abi::program;
use log::{info, warn};

use super::{Dataplane, Error, native, object, offload, programs, verify_pins};
use crate::privilege::to_load;

/// `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE`, include/uapi/linux/if_link.h.
const SKB_MODE: u32 = 1 << 1;
const DRV_MODE: u32 = 1 << 2;

/// How to attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// In the driver; if that is impossible, generic, and say so.
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

/// An interface to protect.
#[derive(Clone, Copy, Debug)]
pub struct Interface<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its index.
    pub index: u32,
    /// The program that is attached to it, according to the kernel.
    pub attached: Attached,
    /// Its MTU, in bytes.
    pub mtu: u32,
}

/// How a start found an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// Its link was attached: it has been protected since an earlier start.
    Adopted,
    /// Its link was dead: nothing was enforced there for some time.
    Anew {
        /// The id of the link that was found dead.
        link: u32,
    },
    /// There was no link.
    First,
}

/// Result of [`Dataplane::protect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected {
    /// How.
    pub how: How,
    /// Why the program does not run in the driver, if that is so and the reason is known.
    pub note: Option<String>,
}

impl Dataplane {
    /// Protects an interface: adopts its pinned link, or attaches and pins before it returns. First
    /// turns off stripping of VLAN tags in hardware.
    pub fn protect(
        &mut self,
        interface: Interface<'_>,
        preference: Preference,
    ) -> Result<Protected, Error> {
        let Interface { name, index, attached, .. } = interface;
        let stripped = offload::keep_tags(name)?;
        if !stripped.is_empty() {
            info!("{name}: turned off {} so that XDP sees VLAN tags", stripped.join(" and "));
        }
        let pin = self.pins.link(index);
        if !pin.exists() {
            self.take_over(index, &pin)?;
        }
        let mut how = How::First;
        if pin.exists() {
            match self.adopt_link(&pin, attached) {
                Ok(None) => {
                    self.kept.refresh(&self.pins);
                    info!("adopted {name}: it was protected all the time");
                    return Ok(Protected { how: How::Adopted, note: None });
                }
                Ok(Some(link)) => {
                    info!("the pinned link {link} of {name} is dead, making a new one");
                    how = How::Anew { link };
                }
                Err(e) => return Err(e),
            }
            self.kept.forget(&pin);
            std::fs::remove_file(&pin).map_err(|e| Error::io("remove", &pin, e))?;
        } else if let Some(id) = attached.program {
            let native = attached.native;
            return Err(Error::Busy { interface: name.into(), id: Some(id), native });
        }
        let note = self.attach(interface, preference)?;
        Ok(Protected { how, note })
    }

    /// Whether the kernel says that our dispatcher runs on an interface.
    pub fn guards(&self, attached: Attached) -> bool {
        attached.program.is_some_and(|program| self.dispatchers.contains(&program))
    }

    /// Ids of our dispatchers, all of the same program.
    pub fn dispatchers(&self) -> BTreeSet<u32> {
        self.dispatchers.iter().copied().collect()
    }

    /// The id of an interface's link; it stays the same as long as the link is attached, even if
    /// the daemon restarts.
    pub fn link_id(&self, index: u32) -> Option<u32> {
        object::link(self.kept.get(&self.pins.link(index))?).ok().map(|link| link.id)
    }

    /// Gives the link of an interface a new object of the dispatcher, in one store.
    ///
    /// Some drivers lose their program when they set up their queues again (vmxnet3, Linux 6.12), and
    /// ignore an update with the same object.
    pub fn renew(&mut self, index: u32) -> Result<(), Error> {
        let name = self.kind.name(program::DISPATCH);
        let dispatcher = programs::xdp(&mut self.ebpf, &name)?;
        // The old object keeps running where it is attached.
        dispatcher.unload().map_err(Error::Program)?;
        to_load(|| dispatcher.load()).map_err(Error::Program)?;
        self.dispatchers.push(dispatcher.info().map_err(Error::Program)?.id());
        let link = PinnedLink::from_pin(self.pins.link(index)).map_err(Error::Link)?;
        self.update_link(FdLink::from(link))
    }

    /// Attaches to an interface in generic mode, because native mode never runs the program. For a
    /// moment nothing is attached, so the backstop has to be shut.
    pub fn fall_back(&mut self, interface: Interface<'_>) -> Result<(), Error> {
        self.release(interface.index)?;
        self.attach(interface, Preference::Generic).map(drop)
    }

    /// Pins the link that another version of this program left on an interface. That version's
    /// tables have a different layout and are not used; the link gets our dispatcher in one store,
    /// like any adopted link.
    fn take_over(&mut self, index: u32, pin: &Path) -> Result<(), Error> {
        for dir in self.pins.of_other_versions() {
            let Some(name) = pin.file_name() else { continue };
            let old = dir.join(name);
            if !old.exists() {
                continue;
            }
            verify_pins::check_link(&old, index, &BTreeSet::new())?;
            let link = FdLink::from(PinnedLink::from_pin(&old).map_err(Error::Link)?);
            link.pin(pin).map_err(Error::Pin)?;
            info!("{} is of another version: its link is taken over", dir.display());
            return Ok(());
        }
        Ok(())
    }

    /// Removes the pins of another version of this program, once every interface is protected.
    pub fn forget_other_versions(&self) -> Result<(), Error> {
        self.pins.forget_other_versions()
    }

    /// Makes a pinned link run our dispatcher; returns the id of a link that is dead.
    fn adopt_link(&mut self, pin: &Path, attached: Attached) -> Result<Option<u32>, Error> {
        let link = PinnedLink::from_pin(pin).map_err(Error::Link)?;
        let link = FdLink::from(link);
        let info = link.info().map_err(Error::Link)?;
        // A link that was detached, or whose interface is gone, still reports its program.
        if attached.program != Some(info.program_id()) {
            return Ok(Some(info.id()));
        }
        self.update_link(link).map(|()| None)
    }

    /// Makes a link run our dispatcher.
    fn update_link(&mut self, link: FdLink) -> Result<(), Error> {
        let link = XdpLink::try_from(link).map_err(Error::Link)?;
        let name = self.kind.name(program::DISPATCH);
        let dispatcher = programs::xdp(&mut self.ebpf, &name)?;
        // One store in the kernel: every frame meets the old dispatcher or the new one.
        let link = dispatcher.attach_to_link(link).map_err(Error::Program)?;
        // The pin keeps the link, so this descriptor can be closed.
        drop(dispatcher.take_link(link).map_err(Error::Program)?);
        Ok(())
    }

    /// Attaches in the first mode that works, and pins the link; returns why native mode failed, if
    /// it was tried.
    fn attach(
        &mut self,
        interface: Interface<'_>,
        preference: Preference,
    ) -> Result<Option<String>, Error> {
        let Interface { name, index, mtu, .. } = interface;
        let pin = self.pins.link(index);
        let mut note = None;
        if preference != Preference::Generic {
            let refused = match native::hindrance(name, mtu) {
                // Not tried: the driver would accept the program, and frames would pass unjudged.
                Some(why) => io::Error::new(io::ErrorKind::Unsupported, why),
                None => match self.create_link(name, index, DRV_MODE, &pin)? {
                    Ok(()) => return Ok(None),
                    Err(refused) => refused,
                },
            };
            if preference == Preference::Native {
                return Err(Error::Attach {
                    interface: name.into(),
                    mode: "native",
                    source: refused,
                });
            }
            warn!("{name}: no native XDP ({refused}), trying generic mode");
            note = Some(why_not_native(&refused));
        }
        match self.create_link(name, index, SKB_MODE, &pin)? {
            Ok(()) => Ok(note),
            Err(source) => Err(Error::Attach { interface: name.into(), mode: "generic", source }),
        }
    }

    /// Makes a link in one mode, and pins it. The inner error is the driver's refusal; the outer one would
    /// be the same in any other mode.
    fn create_link(
        &mut self,
        name: &str,
        index: u32,
        mode: u32,
        pin: &Path,
    ) -> Result<io::Result<()>, Error> {
        let program = self.kind.name(program::DISPATCH);
        let dispatcher = programs::xdp(&mut self.ebpf, &program)?;
        let dispatcher = dispatcher.fd().map_err(Error::Program)?;
        match object::attach(dispatcher.as_fd(), index, mode) {
            Ok(link) => {
                object::pin(link.as_fd(), pin).map_err(|e| Error::io("pin", pin, e))?;
                self.kept.refresh(&self.pins);
                Ok(Ok(()))
            }
            Err(e) => match e.raw_os_error() {
                Some(libc::EBUSY | libc::EEXIST) => {
                    let native = mode == DRV_MODE;
                    Err(Error::Busy { interface: name.into(), id: None, native })
                }
                Some(libc::EPERM) => Err(Error::NotPermitted("attach a program")),
                Some(libc::ENODEV) => Err(Error::NoInterface(name.into())),
                _ => Ok(Err(e)),
            },
        }
    }

    /// Removes the links of an interface that is gone.
    pub fn release(&mut self, index: u32) -> Result<(), Error> {
        self.release_transmit(index)?;
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

    /// Index of the interface that the link of interface `index` is on now; 0 if it was detached or
    /// the interface is gone, `None` if there is no such link.
    pub fn link_interface(&self, index: u32) -> Option<u32> {
        object::link(self.kept.get(&self.pins.link(index))?).ok().map(|link| link.interface)
    }

    /// Renames the pin of a link whose interface returned from another network namespace with a
    /// different index.
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

/// The reason for generic mode, in words.
fn why_not_native(refused: &io::Error) -> String {
    match refused.raw_os_error() {
        None => refused.to_string(),
        Some(libc::EOPNOTSUPP) => format!("the driver has no native XDP: {refused}"),
        // ERANGE and EINVAL: an MTU without room for it; too few queues, or offloads in the way.
        Some(_) => {
            format!(
                "the driver refuses native XDP with this MTU, these queues or offloads: {refused}"
            )
        }
    }
}
