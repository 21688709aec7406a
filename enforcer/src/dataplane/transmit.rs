//! The transmit side of interfaces, where a program notes what is asked of devices.
//!
//! It is attached as a tcx link, in front of other programs (Linux 6.6, e420bed02507), or by way of a clsact qdisc as a
//! filter with a priority and a handle of its own. It looks at frames and hands all of them on, so it takes no other
//! program's turn; and the qdisc is left alone, because other filters may hang on it.

use std::ffi::CStr;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::ptr::NonNull;

use aya::programs::TcAttachType;
use aya::programs::tc::{
    NlOptions, TcAttachOptions, TcHandle, qdisc_add_clsact, qdisc_detach_program,
};
use enforcer_common::abi::{ABI_VERSION, program};

use super::programs::classifier;
use super::{Dataplane, Error, object};
use crate::privilege::to_load;

/// Priority of our filter: behind those that people number by hand, in front of those that the kernel numbers.
const PRIORITY: u16 = 49_000;
/// Its handle: "en", and the version of the tables that it uses.
const HANDLE: u32 = 0x656e << 16 | ABI_VERSION;

/// A filter on the transmit side of an interface, as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Its priority.
    pub priority: u16,
    /// Its handle.
    pub handle: u32,
}

impl Filter {
    /// Whether it is ours.
    pub fn is_ours(self) -> bool {
        self == Self { priority: PRIORITY, handle: HANDLE }
    }
}

/// How the program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// By a link, which only who has its pin can remove.
    Link,
    /// By a filter, which anybody with CAP_NET_ADMIN can remove: the kernel's list says whether it is there.
    Filter,
}

impl Dataplane {
    /// How the program is attached to an interface; `None` if it never was. A link that somebody detached counts as never.
    pub fn transmits(&self, index: u32) -> Option<Hook> {
        let link = self.kept.get(&self.transmit_pin(index)).and_then(|fd| object::link(fd).ok());
        if link.is_some_and(|link| link.interface == index) {
            return Some(Hook::Link);
        }
        self.filters.contains(&index).then_some(Hook::Filter)
    }

    /// Attaches the program to the transmit side of an interface.
    ///
    /// # Errors
    ///
    /// The kernel refuses: nothing is noted there, and answers do not pass.
    pub fn transmit(&mut self, name: &str, index: u32) -> Result<(), Error> {
        let pin = self.transmit_pin(index);
        let dispatch = classifier(&mut self.ebpf, program::SEND_DISPATCH)?;
        if dispatch.fd().is_err() {
            to_load(|| dispatch.load()).map_err(Error::Program)?;
        }
        let fd = dispatch.fd().map_err(Error::Program)?;
        // An earlier process has left it: the same tables, and perhaps another program.
        if let Ok(link) = object::open(&pin) {
            let is_here = object::link(link.as_fd()).is_ok_and(|link| link.interface == index);
            if is_here && object::update_link(link.as_fd(), fd.as_fd()).is_ok() {
                self.kept.refresh(&self.pins);
                return Ok(());
            }
            self.release_transmit(index)?;
        }
        let dispatch = classifier(&mut self.ebpf, program::SEND_DISPATCH)?;
        let fd = dispatch.fd().map_err(Error::Program)?;
        match object::attach_tcx(fd.as_fd(), index) {
            Ok(link) => {
                object::pin(link.as_fd(), &pin).map_err(|e| Error::io("pin", &pin, e))?;
                self.kept.refresh(&self.pins);
                return Ok(());
            }
            // No such type of link, before Linux 6.6.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
            Err(e) => return Err(refused(name, e)),
        }
        // One of an earlier process may be of another version.
        let _ = remove_filter(name);
        // It is there already, or the next step says what is wrong.
        let _ = qdisc_add_clsact(name);
        let options = NlOptions {
            priority: PRIORITY,
            handle: TcHandle::from(HANDLE),
            ..NlOptions::default()
        };
        let options = TcAttachOptions::Netlink(options);
        let id = dispatch
            .attach_with_options(name, TcAttachType::Egress, options)
            .map_err(|e| refused(name, io::Error::other(e)))?;
        // It stays when this process ends.
        let _ = ManuallyDrop::new(dispatch.take_link(id).map_err(Error::Program)?);
        self.filters.insert(index);
        Ok(())
    }

    /// Takes the program from the transmit side of an interface.
    pub fn stop_transmitting(&mut self, index: u32) -> Result<(), Error> {
        self.release_transmit(index)
    }

    /// Removes what is attached to the transmit side of an interface.
    pub(super) fn release_transmit(&mut self, index: u32) -> Result<(), Error> {
        if self.filters.remove(&index)
            && let Some(name) = name_of(index)
        {
            remove_filter(&name).map_err(|e| refused(&name, e))?;
        }
        let pin = self.transmit_pin(index);
        self.kept.forget(&pin);
        match std::fs::remove_file(&pin) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &pin, e)),
            _ => Ok(()),
        }
    }

    /// Whether the kernel lists our filter on an interface.
    pub fn set_filter(&mut self, index: u32, there: bool) {
        if there {
            self.filters.insert(index);
        } else {
            self.filters.remove(&index);
        }
    }

    fn transmit_pin(&self, index: u32) -> PathBuf {
        self.pins.path(&format!("send-{index}"))
    }
}

/// Removes our filters from all interfaces of this network namespace; returns the interfaces.
pub(super) fn remove_filters() -> Vec<String> {
    // SAFETY: the list ends with an index of 0, and is freed below, once.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return Vec::new();
    }
    let mut names = Vec::new();
    let mut next = list;
    // SAFETY: `next` is in the list, whose last entry has no name.
    while let Some(name) = NonNull::new(unsafe { (*next).if_name }) {
        // SAFETY: a name of the list is a C string, which is copied.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        names.push(name);
        // SAFETY: this was not the last entry.
        next = unsafe { next.add(1) };
    }
    // SAFETY: the list is the kernel library's, and nothing refers to it any more.
    unsafe { libc::if_freenameindex(list) };
    names.into_iter().filter(|name| remove_filter(name).is_ok()).collect()
}

/// The present name of an interface.
fn name_of(index: u32) -> Option<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that the call asks for.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    let name = CStr::from_bytes_until_nul(&name).ok().filter(|_| !found.is_null())?;
    Some(name.to_string_lossy().into_owned())
}

/// Removes our filter from an interface; an error if there is none.
fn remove_filter(interface: &str) -> io::Result<()> {
    let name = program::SEND_DISPATCH;
    qdisc_detach_program(interface, TcAttachType::Egress, name).map_err(io::Error::other)
}

fn refused(interface: &str, source: io::Error) -> Error {
    Error::Attach { interface: interface.into(), mode: "transmit", source }
}
