//! Hardware features that change frames before XDP sees them, such as stripping VLAN tags.
//!
//! With `rxvlan` a driver strips the tag from the frame and passes it on separately. The frame then
//! looks untagged to XDP, native and generic alike, while the network stack still sees its VLAN.
//! The feature is therefore turned off on protected interfaces, and monitored.
//!
//! Features are read and set by name (`ETHTOOL_GFEATURES`, `ETHTOOL_SFEATURES`, include/uapi/linux/ethtool.h):
//! the older flags cover only 802.1Q, and 802.1ad tags have a second feature.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::Error;

/// Features that strip tags, by the kernel's names and those of `ethtool -K`.
pub const STRIP: [(&str, &str); 2] =
    [("rx-vlan-hw-parse", "rxvlan"), ("rx-vlan-stag-hw-parse", "rx-vlan-stag-hw-parse")];

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const GDRVINFO: u32 = 0x03;
const GSTRINGS: u32 = 0x1b;
const GSSET_INFO: u32 = 0x37;
const GFEATURES: u32 = 0x3a;
const SFEATURES: u32 = 0x3b;
/// `ETH_SS_FEATURES`: the set of strings with the names of features.
const NAMES: u32 = 4;
/// `ETH_GSTRING_LEN`.
const NAME: usize = 32;
/// Words of 32 features that are read: the kernel has 64 features (Linux 6.18).
const WORDS: usize = 8;

/// `struct ethtool_get_features_block`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    available: u32,
    requested: u32,
    active: u32,
    never_changed: u32,
}

/// `struct ethtool_gfeatures`.
#[repr(C)]
#[derive(Default)]
struct Get {
    command: u32,
    size: u32,
    words: [Word; WORDS],
}

/// `struct ethtool_sfeatures`.
#[repr(C)]
#[derive(Default)]
struct Set {
    command: u32,
    size: u32,
    /// Which features to set, and their new values.
    words: [(u32, u32); WORDS],
}

/// Turns off stripping of VLAN tags on an interface. Returns the features that were on, by
/// ethtool's names.
///
/// # Errors
///
/// A feature stays on: XDP would not see tags, and rules about VLANs would not match.
pub fn keep_tags(interface: &str) -> Result<Vec<&'static str>, Error> {
    let fail = |feature, source: io::Error| match source.raw_os_error() {
        Some(libc::ENODEV) => Error::NoInterface(interface.into()),
        _ => Error::Tags { interface: interface.into(), feature, source },
    };
    let device = match Device::open(interface) {
        Ok(device) => device,
        Err(e) => return Err(fail("rxvlan", e)),
    };
    let on = match device.stripping() {
        // An interface without hardware: nothing can strip a tag.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
        result => result.map_err(|e| fail("rxvlan", e))?,
    };
    for &(bit, feature) in &on {
        device.switch_off(bit).map_err(|e| fail(feature, e))?;
    }
    // Check the driver's actual state, not the requested one.
    match device.stripping().map_err(|e| fail("rxvlan", e))?.first() {
        Some(&(_, feature)) => Err(fail(feature, io::ErrorKind::Unsupported.into())),
        None => Ok(on.into_iter().map(|(_, feature)| feature).collect()),
    }
}

/// A feature of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feature {
    /// Whether it is on.
    pub on: bool,
    /// Whether it cannot be changed: `[fixed]` in `ethtool -k`.
    pub fixed: bool,
}

/// Every feature of an interface, by the kernel's name.
///
/// # Errors
///
/// `EOPNOTSUPP` if there is no hardware behind it.
pub fn features(interface: &str) -> io::Result<BTreeMap<String, Feature>> {
    let device = Device::open(interface)?;
    let words = device.words()?;
    let feature = |(bit, name): (usize, String)| {
        let word = words.get(bit / 32).copied().unwrap_or_default();
        let has = |set: u32| set >> (bit % 32) & 1 != 0;
        let fixed = has(word.never_changed) || !has(word.available);
        (name, Feature { on: has(word.active), fixed })
    };
    let names = device.names()?.into_iter().enumerate();
    // Numbers that the kernel no longer uses have no name.
    Ok(names.filter(|(_, name)| !name.is_empty()).map(feature).collect())
}

/// A driver's information about itself and its device, as in `ethtool -i`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverInfo {
    /// The driver's name.
    pub driver: String,
    /// The device's place on its bus, such as `0000:00:03.0`.
    pub bus: String,
}

/// The driver of an interface.
///
/// # Errors
///
/// `EOPNOTSUPP` if the driver provides no information.
pub fn driver_info(interface: &str) -> io::Result<DriverInfo> {
    /// `struct ethtool_drvinfo`.
    #[repr(C)]
    struct Info {
        command: u32,
        driver: [u8; 32],
        versions: [u8; 64],
        bus: [u8; 32],
        rest: [u8; 64],
    }
    let (driver, bus) = ([0; 32], [0; 32]);
    let mut info = Info { command: GDRVINFO, driver, versions: [0; 64], bus, rest: [0; 64] };
    let device = Device::open(interface)?;
    // SAFETY: the structure has the 196 bytes that the command writes.
    unsafe { device.request((&raw mut info).cast()) }?;
    Ok(DriverInfo { driver: text(&info.driver), bus: text(&info.bus) })
}

/// The text before the first zero.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// An interface, as ethtool's requests see it.
struct Device {
    socket: OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl Device {
    fn open(interface: &str) -> io::Result<Self> {
        let mut name = [0; libc::IFNAMSIZ];
        if interface.len() >= name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in name.iter_mut().zip(interface.bytes()) {
            *to = from as libc::c_char;
        }
        // Any family supports SIOCETHTOOL; this one is also available to a daemon without network
        // sockets. SAFETY: it takes numbers only.
        let socket =
            unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else owns it.
        Ok(Self { socket: unsafe { OwnedFd::from_raw_fd(socket) }, name })
    }

    /// One request.
    ///
    /// # Safety
    ///
    /// `request` points to what the command in its first four bytes reads and writes.
    unsafe fn request(&self, request: *mut libc::c_void) -> io::Result<()> {
        // SAFETY: an ifreq is plain numbers and pointers, for which zero is valid.
        let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
        ifreq.ifr_name = self.name;
        ifreq.ifr_ifru.ifru_data = request.cast();
        // SAFETY: the name ends in zero; the caller guarantees the request.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut ifreq) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// All features, 32 in each word.
    fn words(&self) -> io::Result<[Word; WORDS]> {
        let mut get = Get { command: GFEATURES, size: WORDS as u32, ..Get::default() };
        // SAFETY: the request has room for as many words as it says.
        unsafe { self.request((&raw mut get).cast()) }?;
        Ok(get.words)
    }

    /// The features that remove tags now: their numbers, and ethtool's names.
    fn stripping(&self) -> io::Result<Vec<(usize, &'static str)>> {
        let words = self.words()?;
        let is_on = |bit: usize| {
            let word = words.get(bit / 32).copied().unwrap_or_default();
            word.active >> (bit % 32) & 1 != 0
        };
        let names = self.names()?;
        let strips = |(bit, name): (usize, &String)| {
            let (_, feature) = STRIP.into_iter().find(|(kernel, _)| kernel == name)?;
            is_on(bit).then_some((bit, feature))
        };
        Ok(names.iter().enumerate().filter_map(strips).collect())
    }

    fn switch_off(&self, bit: usize) -> io::Result<()> {
        let mut set = Set { command: SFEATURES, ..Set::default() };
        // The kernel accepts only exactly as many words as its features need.
        set.size = (self.count()?.div_ceil(32)) as u32;
        let word = set.words.get_mut(bit / 32).ok_or(io::ErrorKind::InvalidData)?;
        word.0 = 1 << (bit % 32);
        // SAFETY: the request holds at least as many words as it says: `bit` is below the count.
        unsafe { self.request((&raw mut set).cast()) }
    }

    /// How many features the kernel knows.
    fn count(&self) -> io::Result<usize> {
        // `struct ethtool_sset_info`: command, reserved, mask (64 bits), one length a set asked for.
        #[repr(C)]
        struct Sets {
            command: u32,
            reserved: u32,
            mask: u64,
            length: u32,
        }
        let mut sets = Sets { command: GSSET_INFO, reserved: 0, mask: 1 << NAMES, length: 0 };
        // SAFETY: one set is asked for, and there is room for its length.
        unsafe { self.request((&raw mut sets).cast()) }?;
        let count = sets.length as usize;
        if count > WORDS * 32 {
            return Err(io::Error::other(format!("{count} features")));
        }
        Ok(count)
    }

    /// The names of all features, by number.
    fn names(&self) -> io::Result<Vec<String>> {
        /// `struct ethtool_gstrings`.
        #[repr(C)]
        struct Strings {
            command: u32,
            set: u32,
            length: u32,
            names: [[u8; NAME]; WORDS * 32],
        }
        let count = self.count()?;
        let mut strings = Strings {
            command: GSTRINGS,
            set: NAMES,
            length: count as u32,
            names: [[0; NAME]; WORDS * 32],
        };
        // SAFETY: the kernel writes as many names as it has counted, for which there is room.
        unsafe { self.request((&raw mut strings).cast()) }?;
        Ok(strings.names.iter().take(count).map(|name| text(name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_its_features() {
        let names = Device::open("lo").unwrap().names().unwrap();
        for (name, _) in STRIP {
            assert!(names.iter().any(|other| other == name), "{name}: {names:?}");
        }
        assert_eq!(keep_tags("lo").unwrap(), Vec::<&str>::new());
        let features = features("lo").unwrap();
        assert!(names.iter().all(|name| name.is_empty() || features.contains_key(name)));
        // The loopback interface always has it (drivers/net/loopback.c).
        assert_eq!(features["loopback"], Feature { on: true, fixed: true });
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert!(keep_tags("no-such-one").is_err());
        assert!(keep_tags("a-name-longer-than-it-can-be").is_err());
    }
}
