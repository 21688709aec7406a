//! Raw sockets: send frames on one interface and receive them on another.

use std::collections::BTreeSet;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::frames::number;

/// `ETH_P_ALL` in include/uapi/linux/if_ether.h, in network order.
const EVERYTHING: u16 = (libc::ETH_P_ALL as u16).to_be();

/// A socket on one interface.
pub(super) struct Socket(OwnedFd);

impl Socket {
    /// Opens one on interface `index` of this thread's network namespace.
    pub(super) fn open(index: u32) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // Nothing is received before it is bound: protocol 0.
        // SAFETY: it takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else owns it.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: all zero is a value of it: numbers only.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = EVERYTHING;
        address.sll_ifindex = index as i32;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address lives through the call and has that length.
        if unsafe { libc::bind(fd, (&raw const address).cast(), length) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(socket)
    }

    /// Sends a frame.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        let (fd, start, length) = (self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len());
        // SAFETY: the frame lives through the call.
        match unsafe { libc::send(fd, start, length, 0) } {
            sent if sent < 0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Numbers of the marked frames that arrive, until `all` have arrived and `is_done` is true and a
    /// short while longer, or until `patience` is over.
    pub(super) fn arrivals(
        &self,
        all: &BTreeSet<usize>,
        is_done: impl Fn() -> bool,
        patience: Duration,
        more: Duration,
    ) -> io::Result<BTreeSet<usize>> {
        let mut seen = BTreeSet::new();
        let mut end = Instant::now() + patience;
        let mut is_over = false;
        loop {
            if !is_over && all.is_subset(&seen) && is_done() {
                is_over = true;
                end = Instant::now() + more;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(seen);
            }
            seen.extend(self.receive(left)?.as_deref().and_then(number));
        }
    }

    fn receive(&self, time: Duration) -> io::Result<Option<Vec<u8>>> {
        let fd = self.0.as_raw_fd();
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // No longer, because the caller has other work.
        let milliseconds = time.as_millis().clamp(1, 20) as i32;
        // SAFETY: one descriptor, which lives through the call.
        if unsafe { libc::poll(&raw mut poll, 1, milliseconds) } <= 0 {
            return Ok(None);
        }
        let mut frame = vec![0u8; 2048];
        // SAFETY: the buffer is writable and has that length.
        let got = unsafe { libc::recv(fd, frame.as_mut_ptr().cast(), frame.len(), 0) };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        frame.truncate(got);
        Ok(Some(frame))
    }
}
