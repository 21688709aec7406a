//! The emulated NICs under test.

/// A NIC of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nic {
    /// Name of its interface in the guest: 15 bytes at most.
    pub(super) name: &'static str,
    /// Name in the table of docs/kernels.md.
    pub(super) title: &'static str,
    /// QEMU's device, and a property that not every version of it has.
    pub(super) device: &'static str,
    needs: Option<&'static str>,
    /// Properties, `,` in front of each.
    properties: &'static str,
    /// Queues of the tap.
    queues: u32,
    /// Whether its driver hangs when it is unbound with a program on it.
    pub(super) hangs: bool,
    /// Whether it truncates a full-sized tagged frame, regardless of the receiver.
    pub(super) cuts: bool,
}

/// It is attached to the USB of [`CONTROLLER`], and has no ROM.
const USB: &str = "usb-net";

const VIRTIO: Nic = Nic {
    name: "virtio",
    title: "virtio-net",
    device: "virtio-net-pci",
    needs: None,
    properties: "",
    queues: 1,
    hangs: false,
    cuts: false,
};

/// Receives into pages of one buffer each, which must hold frames merged by the host: "big packets"
/// in the driver. XDP is attached there, but not run.
macro_rules! bare {
    () => {
        ",mrg_rxbuf=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,guest_csum=off"
    };
}

/// All NICs. Drivers that are not in [`MODULES`] are built into the kernel.
pub(super) const NICS: [Nic; 12] = [
    VIRTIO,
    Nic {
        name: "virtio-4q",
        title: "virtio-net, 4 queues",
        properties: ",mq=on,vectors=10",
        queues: 4,
        // `unregister_netdevice: waiting for virtio-4q to become free`, 6.1 to 7.2: the program is removed
        // after the queues that were added for it are released, and two of them stay.
        hangs: true,
        ..VIRTIO
    },
    Nic {
        name: "virtio-noctl",
        title: "virtio-net, `ctrl_guest_offloads=off`",
        properties: ",ctrl_guest_offloads=off",
        ..VIRTIO
    },
    Nic {
        name: "virtio-nomrg",
        title: "virtio-net, `mrg_rxbuf=off`",
        properties: ",mrg_rxbuf=off",
        ..VIRTIO
    },
    Nic {
        name: "virtio-uso",
        title: "virtio-net, `mrg_rxbuf=off`, of guest offloads USO alone",
        needs: Some("guest_uso4"),
        properties: bare!(),
        ..VIRTIO
    },
    Nic {
        name: "virtio-bare",
        title: "virtio-net, `mrg_rxbuf=off`, no guest offloads",
        properties: bare!(),
        ..VIRTIO
    },
    Nic { name: "vmxnet3", title: "vmxnet3", device: "vmxnet3", ..VIRTIO },
    Nic { name: "e1000e", title: "e1000e", device: "e1000e", ..VIRTIO },
    Nic { name: "e1000", title: "e1000", device: "e1000", ..VIRTIO },
    Nic { name: "rtl8139", title: "8139cp", device: "rtl8139", ..VIRTIO },
    Nic { name: "igb", title: "igb", device: "igb", ..VIRTIO },
    Nic { name: "usb", title: USB, device: USB, cuts: true, ..VIRTIO },
];

/// The drivers, preceded by the modules that nf_tables requests from the crypto API without naming
/// them.
pub(super) const MODULES: [&str; 11] = [
    "crc32c_generic",
    "virtio_pci",
    "virtio_net",
    "vmxnet3",
    "e1000e",
    "e1000",
    "8139cp",
    "igb",
    "xhci_pci",
    "cdc_ether",
    "rndis_host",
];

/// The NIC for forwarded frames. The daemon does not protect it.
const WAN: usize = NICS.len();
pub(super) const WAN_TAP: &str = "wan";

impl Nic {
    /// What this QEMU lacks for it, if anything. `help` is what `qemu -device DEVICE,help` prints,
    /// if it knows the device.
    pub(super) fn lack(&self, help: Option<&str>) -> Option<String> {
        let Some(help) = help else { return Some(format!("this QEMU has no {}", self.device)) };
        let needs = self.needs.filter(|needs| !help.contains(needs))?;
        Some(format!("this QEMU knows no {needs}"))
    }

    /// QEMU's arguments for it: a tap of the host, and the device. `help` as in [`Nic::lack`].
    pub(super) fn arguments(&self, index: usize, help: &str) -> Vec<String> {
        let mut properties = self.properties.to_owned();
        if self.name == "virtio-bare" && help.contains("guest_uso4") {
            properties += ",guest_uso4=off,guest_uso6=off";
        }
        let queues = self.queues;
        let queues = if queues > 1 { format!(",queues={queues}") } else { String::new() };
        device(index, &tap(index), &queues, self.device, &properties)
    }
}

/// Arguments for a NIC on USB.
pub(super) const CONTROLLER: [&str; 2] = ["-device", "qemu-xhci"];

/// Arguments for the unprotected NIC.
pub(super) fn wan() -> Vec<String> {
    device(WAN, WAN_TAP, "", VIRTIO.device, "")
}

/// The host's end of a NIC.
pub(super) fn tap(index: usize) -> String {
    format!("nic{index}")
}

/// The MAC address of a NIC in the guest.
pub(super) fn mac(index: usize) -> [u8; 6] {
    [0x52, 0x54, 0x00, 0xe0, 0x00, u8::try_from(index).unwrap_or(u8::MAX)]
}

/// The same for the unprotected NIC.
pub(super) fn wan_mac() -> [u8; 6] {
    mac(WAN)
}

/// A MAC address as text.
pub(super) fn written(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// A tap, and a device at its other end. No ROM: those are for booting from a network.
fn device(index: usize, tap: &str, queues: &str, device: &str, properties: &str) -> Vec<String> {
    let mac = written(mac(index));
    let rom = if device == USB { "" } else { ",romfile=" };
    vec![
        "-netdev".to_owned(),
        format!("tap,id=net{index},ifname={tap},script=no,downscript=no{queues}"),
        "-device".to_owned(),
        format!("{device},netdev=net{index},mac={mac}{rom}{properties}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_an_interface() {
        for (index, nic) in NICS.iter().enumerate() {
            assert!(nic.name.len() <= 15 && tap(index).len() <= 15, "{}", nic.name);
        }
    }

    #[test]
    fn what_qemu_cannot_make_is_named() {
        let igb = NICS[10];
        assert_eq!(igb.lack(None).unwrap(), "this QEMU has no igb");
        assert_eq!(igb.lack(Some("igb options:")), None);
        let uso = NICS.iter().find(|nic| nic.name == "virtio-uso").unwrap();
        assert_eq!(uso.lack(Some("  mq=<bool>")).unwrap(), "this QEMU knows no guest_uso4");
        assert_eq!(uso.lack(Some("  guest_uso4=<bool>")), None);
    }

    #[test]
    fn what_a_qemu_does_not_know_is_not_switched_off() {
        let bare = NICS[5];
        assert!(!bare.arguments(5, "").join(" ").contains("uso"));
        assert!(bare.arguments(5, "guest_uso4=<bool>").join(" ").contains(",guest_uso4=off"));
        let queues = NICS[1].arguments(1, "");
        assert_eq!(queues[1], "tap,id=net1,ifname=nic1,script=no,downscript=no,queues=4");
        assert!(!NICS[11].arguments(11, "")[3].contains("rom"));
        assert!(
            queues[3].starts_with("virtio-net-pci,netdev=net1,mac=52:54:00:e0:00:01,romfile=,mq=")
        );
    }
}
