//! XDP features of a driver: generic netlink's family `netdev` (Linux 6.3,
//! include/uapi/linux/netdev.h).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::super::facts::Native;
use super::checked;

/// The controller, which knows the numbers of families (include/uapi/linux/genetlink.h): `GENL_ID_CTRL`,
/// `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_NAME`, `CTRL_ATTR_FAMILY_ID`.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_NAME: u16 = 2;
const FAMILY_ID: u16 = 1;
/// `NETDEV_CMD_DEV_GET`, `NETDEV_A_DEV_IFINDEX`, `NETDEV_A_DEV_XDP_FEATURES`.
const DEVICE: u8 = 1;
const INDEX: u16 = 1;
const FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC` and `NETDEV_XDP_ACT_RX_SG`.
const BASIC: u64 = 1 << 0;
const FRAGMENTS: u64 = 1 << 5;
/// Headers: of netlink, of generic netlink, of an attribute.
const HEADER: usize = 16;
const GENERIC: usize = 4;
const ATTRIBUTE: usize = 4;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;

/// The XDP features that the driver of interface `index` reports.
///
/// # Errors
///
/// `ENOENT` if the kernel has no such family.
pub(super) fn native(index: u32) -> io::Result<Native> {
    let socket = open()?;
    let family = ask(&socket, CONTROLLER, GET_FAMILY, FAMILY_NAME, b"netdev\0", FAMILY_ID)?;
    let family = family.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
    let family = u16::from_ne_bytes(*family);
    let features = ask(&socket, family, DEVICE, INDEX, &index.to_ne_bytes(), FEATURES)?;
    let features = features.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
    let features = u64::from_ne_bytes(*features);
    Ok(Native { basic: features & BASIC != 0, fragments: features & FRAGMENTS != 0 })
}

fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: it takes numbers only.
    let fd = checked(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_GENERIC) })?;
    // SAFETY: the descriptor is new, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends one request with one attribute, and returns an attribute of the answer.
fn ask(
    socket: &OwnedFd,
    family: u16,
    command: u8,
    attribute: u16,
    value: &[u8],
    wanted: u16,
) -> io::Result<Vec<u8>> {
    let request = request(family, command, attribute, value);
    let (start, length) = (request.as_ptr().cast(), request.len());
    // SAFETY: the bytes live through the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), start, length, 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    // The kernel answers before `send` returns: there is nothing to wait for.
    let mut answer = vec![0u8; 32 << 10];
    let (start, length) = (answer.as_mut_ptr().cast(), answer.len());
    // SAFETY: the bytes are writable and live through the call.
    let got = unsafe { libc::recv(socket.as_raw_fd(), start, length, libc::MSG_DONTWAIT) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    attribute_of(answer.get(..got).unwrap_or_default(), wanted)
}

fn request(family: u16, command: u8, attribute: u16, value: &[u8]) -> Vec<u8> {
    let length = HEADER + GENERIC + (ATTRIBUTE + value.len()).next_multiple_of(4);
    let mut request = Vec::with_capacity(length);
    request.extend((length as u32).to_ne_bytes());
    request.extend(family.to_ne_bytes());
    request.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Sequence and port: there is one question at a time.
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend(((ATTRIBUTE + value.len()) as u16).to_ne_bytes());
    request.extend(attribute.to_ne_bytes());
    request.extend(value);
    request.resize(length, 0);
    request
}

/// An attribute of the first message in an answer.
fn attribute_of(answer: &[u8], wanted: u16) -> io::Result<Vec<u8>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let half = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 2)?.first_chunk()?;
        Some(u16::from_ne_bytes(*bytes))
    };
    if half(answer, 4).ok_or_else(invalid)? == ERROR {
        let code = answer.get(HEADER..).and_then(<[u8]>::first_chunk).ok_or_else(invalid)?;
        return Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(*code)));
    }
    let mut rest = answer.get(HEADER + GENERIC..).ok_or_else(invalid)?;
    while let (Some(length), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let length = usize::from(length);
        let value = rest.get(ATTRIBUTE..length).ok_or_else(invalid)?;
        if kind == wanted {
            return Ok(value.to_vec());
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Err(invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_no_native_xdp() {
        match native(1) {
            Ok(native) => assert_eq!(native, Native::default()),
            // Before Linux 6.3.
            Err(e) => assert_eq!(e.raw_os_error(), Some(libc::ENOENT), "{e}"),
        }
    }

    #[test]
    fn answers_are_read_with_care() {
        let mut answer = request(0x20, 1, 7, &[1, 2, 3, 4]);
        assert_eq!(attribute_of(&answer, 7).unwrap(), [1, 2, 3, 4]);
        assert!(attribute_of(&answer, 8).is_err());
        assert!(attribute_of(&answer[..18], 7).is_err());
        answer[HEADER + GENERIC] = 200;
        assert!(attribute_of(&answer, 7).is_err());
        answer[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        answer[16..20].copy_from_slice(&(-libc::ENODEV).to_ne_bytes());
        assert_eq!(attribute_of(&answer, 7).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
