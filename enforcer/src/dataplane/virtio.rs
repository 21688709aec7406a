//! virtio-net, where native XDP depends on the features that host and guest negotiated.
//!
//! The bits are in include/uapi/linux/virtio_net.h, their effects in drivers/net/virtio_net.c.

use std::fs;
use std::path::{Path, PathBuf};

/// Feature bits, by number.
const GUEST_CSUM: usize = 1;
const CTRL_GUEST_OFFLOADS: usize = 2;
const GUEST_TSO4: usize = 7;
const GUEST_TSO6: usize = 8;
const GUEST_ECN: usize = 9;
const GUEST_UFO: usize = 10;
const MRG_RXBUF: usize = 15;
const GUEST_USO4: usize = 54;
const GUEST_USO6: usize = 55;
/// Those with which the driver gives frames large buffers (`virtnet_set_big_packets`).
const MERGES: [usize; 6] = [GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO, GUEST_USO4, GUEST_USO6];

/// Why native XDP must not be tried on the virtio-net device at this bus address.
pub(super) fn hindrance(bus: &str, mtu: u32) -> Option<String> {
    let device = device(Path::new("/sys/bus"), bus)?;
    judge(&fs::read_to_string(device.join("features")).ok()?, mtu)
}

/// The virtio device behind a bus address, as the driver names it: a PCI address, or `virtio0`.
///
/// By bus and not by interface, because /sys/class/net shows only one network namespace.
fn device(buses: &Path, place: &str) -> Option<PathBuf> {
    let direct = buses.join("virtio/devices").join(place);
    if direct.exists() {
        return Some(direct);
    }
    let bus = ["pci", "platform", "ccw"].map(|bus| buses.join(bus).join("devices").join(place));
    let entries = bus.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
    let is_virtio = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("virtio"))
    };
    entries.map(|entry| entry.path()).find(is_virtio)
}

/// `features` has one digit per bit, the lowest first, as in sysfs.
fn judge(features: &str, mtu: u32) -> Option<String> {
    let has = |bit: usize| features.as_bytes().get(bit) == Some(&b'1');
    let merges = MERGES.into_iter().any(has);
    // `virtnet_xdp_set` refuses it: the host would continue to merge frames, or to leave out
    // checksums.
    if !has(CTRL_GUEST_OFFLOADS) && (merges || has(GUEST_CSUM)) {
        return Some(
            "the host merges frames or leaves out checksums and offers no way to switch that off \
             (virtio feature ctrl_guest_offloads)"
                .into(),
        );
    }
    // `receive_buf` gives frames to `receive_big`, which runs no program; `virtnet_xdp_set` does not mind.
    if !has(MRG_RXBUF) && (merges || mtu > 1500) {
        return Some(
            "the driver takes a native program and never runs it without mergeable buffers \
             (virtio feature mrg_rxbuf)"
                .into(),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(on: &[usize]) -> String {
        (0..64).map(|bit| if on.contains(&bit) { '1' } else { '0' }).collect()
    }

    #[test]
    fn what_never_runs_native_is_known() {
        let all = [GUEST_CSUM, CTRL_GUEST_OFFLOADS, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO];
        let with = |more: &[usize]| features(&[&all[..], more].concat());
        // QEMU's defaults.
        assert_eq!(judge(&with(&[MRG_RXBUF]), 1500), None);
        assert_eq!(judge(&with(&[MRG_RXBUF]), 9000), None);
        assert!(judge(&with(&[]), 1500).unwrap().contains("mrg_rxbuf"));
        // Turned off by hand; a newer kind of merging stays on (Linux 6.2, QEMU 8.2).
        assert_eq!(judge(&features(&[CTRL_GUEST_OFFLOADS]), 1500), None);
        let uso = features(&[CTRL_GUEST_OFFLOADS, GUEST_USO4]);
        assert!(judge(&uso, 1500).unwrap().contains("never runs"));
        assert!(judge(&features(&[CTRL_GUEST_OFFLOADS]), 9000).unwrap().contains("never runs"));
        let fixed = features(&[GUEST_CSUM, MRG_RXBUF]);
        assert!(judge(&fixed, 1500).unwrap().contains("ctrl_guest_offloads"));
        assert_eq!(judge(&features(&[MRG_RXBUF]), 1500), None);
        assert_eq!(judge("", 1500), None);
    }

    #[test]
    fn a_device_is_found_by_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let pci = dir.path().join("pci/devices/0000:00:03.0/virtio0");
        let plain = dir.path().join("virtio/devices/virtio1");
        for made in [&pci, &plain] {
            fs::create_dir_all(made).unwrap();
        }
        assert_eq!(device(dir.path(), "0000:00:03.0"), Some(pci));
        assert_eq!(device(dir.path(), "virtio1"), Some(plain));
        assert_eq!(device(dir.path(), "0000:00:04.0"), None);
    }
}
