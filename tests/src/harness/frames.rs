//! Frames that no program sends, over AF_PACKET, and a sniffer that looks for a marker.
use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{Netns, wait::pause};

/// Sends a frame, byte by byte as given, out of an interface of a namespace.
///
/// # Panics
/// When the kernel does not take it.
#[track_caller]
pub fn send(netns: &Netns, interface: &str, frame: &[u8]) {
    send_all(netns, interface, &[frame]);
}

/// The same, for a frame that the gateway itself may refuse to send.
///
/// # Panics
/// When there is no such interface.
#[track_caller]
pub fn try_send(netns: &Netns, interface: &str, frame: &[u8]) -> io::Result<()> {
    let socket = open(netns, interface);
    // SAFETY: pointer and length describe the frame, which lives through the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends several frames in order.
///
/// # Panics
/// When the kernel does not take one of them.
#[track_caller]
pub fn send_all(netns: &Netns, interface: &str, frames: &[&[u8]]) {
    let socket = open(netns, interface);
    for frame in frames {
        // SAFETY: pointer and length describe the frame, which lives through the call.
        let sent = unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        let error = io::Error::last_os_error();
        assert_eq!(usize::try_from(sent).ok(), Some(frame.len()), "send {interface}: {error}");
    }
}

/// Sends many frames out of one interface, as fast as the receiver takes them.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
}

impl Sender {
    /// Opens it.
    ///
    /// # Panics
    /// When there is no such interface.
    #[track_caller]
    pub fn open(netns: &Netns, interface: &str) -> Self {
        Self { socket: open(netns, interface) }
    }

    /// Sends frames in order; waits while the kernel has no room for the next one.
    ///
    /// # Panics
    /// When the kernel does not take one of them.
    #[track_caller]
    pub fn send(&self, frames: &[Vec<u8>]) {
        let mut parts: Vec<libc::iovec> = frames
            .iter()
            .map(|frame| libc::iovec {
                iov_base: frame.as_ptr().cast_mut().cast(),
                iov_len: frame.len(),
            })
            .collect();
        // SAFETY: an mmsghdr is plain numbers and pointers, for which zero is valid.
        let none: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let mut messages = vec![none; frames.len()];
        for (message, part) in messages.iter_mut().zip(&mut parts) {
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
        }
        let mut left = messages.as_mut_slice();
        while !left.is_empty() {
            let count = u32::try_from(left.len()).expect("a batch is small");
            let socket = self.socket.as_raw_fd();
            // SAFETY: the messages, their parts and the frames live through the call, and the
            // kernel only reads the frames.
            let sent = unsafe { libc::sendmmsg(socket, left.as_mut_ptr(), count, 0) };
            match usize::try_from(sent) {
                Ok(sent) => left = &mut left[sent..],
                Err(_) => {
                    let error = io::Error::last_os_error();
                    assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS), "sendmmsg: {error}");
                    std::thread::yield_now();
                }
            }
        }
    }
}

/// Receives everything on an interface from its creation on.
///
/// The kernel strips the outer VLAN tag for AF_PACKET; a marker is found nevertheless.
#[derive(Debug)]
pub struct Sniffer {
    socket: OwnedFd,
}

impl Sniffer {
    /// Starts listening.
    ///
    /// # Panics
    /// When there is no such interface.
    #[track_caller]
    pub fn start(netns: &Netns, interface: &str) -> Self {
        Self { socket: open(netns, interface) }
    }

    /// Waits until a frame contains the marker, or the time is over.
    pub fn saw(&self, marker: &[u8], time: Duration) -> bool {
        self.find(time, |frame| contains(frame, marker)).is_some()
    }

    /// The first frame that satisfies the predicate, if it comes in time.
    pub fn find(&self, time: Duration, mut likes: impl FnMut(&[u8]) -> bool) -> Option<Vec<u8>> {
        let end = Instant::now() + time;
        while let Some(frame) = self.next(end) {
            if likes(&frame) {
                return Some(frame);
            }
        }
        None
    }

    /// All frames that have arrived, and those that arrive within the given time.
    pub fn frames(&self, time: Duration) -> Vec<Vec<u8>> {
        let end = Instant::now() + time;
        std::iter::from_fn(|| self.next(end)).collect()
    }

    fn next(&self, end: Instant) -> Option<Vec<u8>> {
        let socket = self.socket.as_raw_fd();
        // Memory that is neither cleared nor kept for each frame: of a flood, most would be that.
        let mut room = [const { MaybeUninit::<u8>::uninit() }; 65536];
        loop {
            let (start, flags) = (room.as_mut_ptr().cast::<libc::c_void>(), libc::MSG_DONTWAIT);
            // SAFETY: pointer and length describe the buffer, which lives through the call.
            let read = unsafe { libc::recv(socket, start, room.len(), flags) };
            if let Ok(length) = usize::try_from(read) {
                // SAFETY: the kernel has written so many bytes of the buffer.
                return Some(unsafe { slice::from_raw_parts(start.cast(), length) }.to_vec());
            }
            if io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock {
                return None;
            }
            let left = end.saturating_duration_since(Instant::now()).as_millis();
            let left = i32::try_from(left).unwrap_or(i32::MAX);
            let mut poll = libc::pollfd { fd: socket, events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry, which lives through the call.
            if unsafe { libc::poll(&raw mut poll, 1, left) } <= 0 {
                return None;
            }
        }
    }
}

/// Repeats the same frames, some ten thousand a second, until this value is dropped.
#[derive(Debug)]
pub struct Flood {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Starts sending.
    ///
    /// # Panics
    /// When there is no such interface.
    #[track_caller]
    pub fn start(netns: &Netns, interface: &str, frames: Vec<Vec<u8>>) -> Self {
        let socket = open(netns, interface);
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ends) = (Arc::clone(&sent), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                for frame in frames.iter().cycle().take(32) {
                    let (start, length) = (frame.as_ptr().cast(), frame.len());
                    // A flood ignores full queues.
                    let flags = libc::MSG_DONTWAIT;
                    // SAFETY: pointer and length describe the frame, which lives through the call.
                    if unsafe { libc::send(socket.as_raw_fd(), start, length, flags) } > 0 {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                pause(Duration::from_millis(1));
            }
        });
        Self { sent, stop, thread: Some(thread) }
    }

    /// Frames that were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until this many more were sent.
    ///
    /// # Panics
    /// When they were not by the deadline.
    #[track_caller]
    pub fn wait_for(&self, more: u64) {
        let until = self.sent() + more;
        super::wait_until("the flood goes on", || (self.sent() >= until).then_some(()));
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The thread does not panic by itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Whether a marker is anywhere in a frame.
pub fn contains(frame: &[u8], marker: &[u8]) -> bool {
    frame.windows(marker.len().max(1)).any(|window| window == marker)
}

/// An Ethernet II frame.
pub fn ethernet(to: [u8; 6], from: [u8; 6], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&to, &from, &ether_type.to_be_bytes()[..], payload].concat()
}

/// An IPv4 packet without options and with a right header checksum, TTL 64.
pub fn ipv4(from: [u8; 4], to: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("an IPv4 packet is shorter");
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[8] = 64;
    header[9] = protocol;
    header[12..16].copy_from_slice(&from);
    header[16..20].copy_from_slice(&to);
    let checksum = checksum(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [&header[..], payload].concat()
}

/// A UDP datagram without a checksum, which IPv4 allows (RFC 768).
pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("a datagram is shorter");
    let header = [from, to, length, 0].map(u16::to_be_bytes).concat();
    [&header[..], payload].concat()
}

/// A MAC address from its usual notation.
///
/// # Panics
/// When it is none.
#[track_caller]
pub fn mac(text: &str) -> [u8; 6] {
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a MAC")).collect();
    bytes.try_into().expect("a MAC has six bytes")
}

/// The internet checksum (RFC 1071) of a header whose own field is zero.
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

/// A packet socket bound to one interface; it stays in its namespace after the thread has left.
#[track_caller]
fn open(netns: &Netns, interface: &str) -> OwnedFd {
    let index = i32::try_from(netns.index(interface)).expect("an index fits");
    let all = u16::try_from(libc::ETH_P_ALL).expect("it is 3").to_be();
    let opened = netns.enter(|| {
        // SAFETY: it takes numbers only.
        let socket =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // SAFETY: a sockaddr_ll is plain numbers, for which zero is valid.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).expect("it is 17");
        address.sll_protocol = all;
        address.sll_ifindex = index;
        let length = u32::try_from(size_of::<libc::sockaddr_ll>()).expect("it is 20");
        // SAFETY: pointer and length describe the address, which lives through the call.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
        if bound != 0 {
            return Err(io::Error::last_os_error());
        }
        // A burst waits here until it is read; the default 208 KiB hold a hundred frames.
        let room: libc::c_int = 8 << 20;
        let length = u32::try_from(size_of_val(&room)).expect("it is 4");
        let (level, option) = (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE);
        let value = (&raw const room).cast();
        // SAFETY: pointer and length describe the number, which lives through the call.
        let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, length) };
        if set == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
    });
    opened.unwrap_or_else(|error| panic!("packet socket on {interface}: {error}"))
}
