//! The frames that are sent to each NIC, built byte by byte; [`policy`] forbids half of them.
use super::nics::{self, Nic};

/// Prefix of the payload; two bytes follow, the NIC and the kind.
pub(super) const MARK: &str = "enforcer drivers";
/// Destination of all frames: behind the guest.
const TARGET: [u8; 4] = [198, 51, 100, 10];
/// Sizes of payloads: of most kinds; of UDP that fills an MTU of 1500; of TCP that is to be
/// segmented, as a host sends it to a tap.
const SMALL: usize = 64;
const FULL: usize = 1472;
const LARGE: usize = 4000;
const SEGMENT: u16 = 1400;

const CUSTOMER: u16 = 0x8100;
const SERVICE: u16 = 0x88a8;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// A kind of frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Whether the policy lets it pass.
    pub(super) allowed: bool,
    /// Tags in front of the packet: their types and ids.
    tags: &'static [(u16, u16)],
    source: Source,
    protocol: u8,
    port: u16,
    payload: usize,
}

impl Kind {
    /// Whether it has the maximum length and a tag in addition.
    pub(super) fn is_full(&self) -> bool {
        self.payload == FULL
    }
}

/// The sender of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// A device that the policy knows by its MAC address.
    Known,
    /// One in no group, unless a tag puts it into one.
    Unknown,
}

const fn udp(
    name: &'static str,
    allowed: bool,
    tags: &'static [(u16, u16)],
    source: Source,
    port: u16,
) -> Kind {
    Kind { name, allowed, tags, source, protocol: UDP, port, payload: SMALL }
}

const fn tcp(allowed: bool, port: u16) -> Kind {
    let (name, source) = ("large TCP", Source::Known);
    Kind { name, allowed, tags: &[], source, protocol: TCP, port, payload: LARGE }
}

/// All kinds. Port 7000 is allowed for the known device, 7020 in VLAN 20, 7030 in VLAN 30, so that a
/// hidden tag changes a verdict.
pub(super) const KINDS: [Kind; 14] = [
    udp("untagged", true, &[], Source::Known, 7000),
    udp("untagged", false, &[], Source::Known, 7001),
    udp("VLAN 20", true, &[(CUSTOMER, 20)], Source::Unknown, 7020),
    udp("VLAN 20", false, &[(CUSTOMER, 20)], Source::Unknown, 7030),
    udp("VLAN 30", true, &[(CUSTOMER, 30)], Source::Unknown, 7030),
    udp("VLAN 30", false, &[(CUSTOMER, 30)], Source::Unknown, 7020),
    udp("priority tag", true, &[(CUSTOMER, 0)], Source::Known, 7000),
    udp("priority tag", false, &[(CUSTOMER, 0)], Source::Known, 7001),
    udp("802.1ad", false, &[(SERVICE, 20)], Source::Unknown, 7020),
    udp("QinQ", false, &[(SERVICE, 20), (CUSTOMER, 30)], Source::Unknown, 7030),
    udp("unknown MAC", false, &[], Source::Unknown, 7000),
    tcp(true, 7000),
    tcp(false, 7001),
    Kind { payload: FULL, ..udp("full VLAN 20", true, &[(CUSTOMER, 20)], Source::Unknown, 7020) },
];

/// The policy that decides which of [`KINDS`] are allowed.
pub(super) fn policy(nics: &[(usize, Nic)]) -> String {
    let declared: String = nics
        .iter()
        .map(|(_, nic)| format!("[interfaces.{}]\nvlans = [20, 30]\n", nic.name))
        .collect();
    format!(
        "schema = 1\n[unknown]\ndefault = \"drop\"\n{declared}\
         [groups.known]\nmembers = [\"02:00:20:00/32\"]\n\
         allow = [{{ to = \"198.51.100.10\", service = [\"udp/7000\", \"tcp/7000\"] }}]\n\
         [groups.twenty]\nmembers = [\"vlan:20\"]\n\
         allow = [{{ to = \"198.51.100.10\", service = \"udp/7020\" }}]\n\
         [groups.thirty]\nmembers = [\"vlan:30\"]\n\
         allow = [{{ to = \"198.51.100.10\", service = \"udp/7030\" }}]\n"
    )
}

/// A frame of a kind for a NIC, and its segment size if it is a large one.
pub(super) fn frame(nic: usize, kind: usize) -> (Vec<u8>, u16) {
    let Kind { tags, source, protocol, port, payload: size, .. } = KINDS[kind];
    let [nic_byte, kind_byte] = [nic, kind].map(|number| u8::try_from(number).unwrap_or(u8::MAX));
    let first = if source == Source::Known { [0x02, 0, 0x20, 0] } else { [0x02, 0, 0x40, 0] };
    let mut frame = nics::mac(nic).to_vec();
    frame.extend(first);
    frame.extend([nic_byte, kind_byte]);
    for (kind, id) in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend(id.to_be_bytes());
    }
    frame.extend(0x0800_u16.to_be_bytes());
    let mut payload = MARK.as_bytes().to_vec();
    payload.extend([nic_byte, kind_byte]);
    payload.resize(size, b'.');
    let segment = if protocol == TCP { SEGMENT } else { 0 };
    frame.extend(packet([10, nic_byte, 0, 2], protocol, port, &payload));
    (frame, segment)
}

/// An IPv4 packet. TCP's checksum has only the sum of the pseudo header, as when a host leaves it
/// to its NIC. UDP's checksum is absent.
fn packet(source: [u8; 4], protocol: u8, port: u16, payload: &[u8]) -> Vec<u8> {
    let transport = transport(source, protocol, port, payload);
    let length = u16::try_from(20 + transport.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(source);
    packet.extend(TARGET);
    let sum = !sum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(transport);
    packet
}

fn transport(source: [u8; 4], protocol: u8, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = 40_000_u16.to_be_bytes().to_vec();
    bytes.extend(port.to_be_bytes());
    if protocol == UDP {
        let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, 0]);
    } else {
        let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
        let mut pseudo = [source, TARGET].concat();
        pseudo.extend([0, protocol]);
        pseudo.extend(length.to_be_bytes());
        // Sequence, acknowledgment, length of the header, ACK and PSH, window, checksum, urgent.
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff]);
        bytes.extend(sum(&pseudo).to_be_bytes());
        bytes.extend([0, 0]);
    }
    bytes.extend(payload);
    bytes
}

/// RFC 1071, without the final complement.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_say_where_they_come_from() {
        let (frame, segment) = frame(3, 9);
        assert_eq!(frame[..12], [0x52, 0x54, 0, 0xe0, 0, 3, 2, 0, 0x40, 0, 3, 9]);
        assert_eq!(frame[12..22], [0x88, 0xa8, 0, 20, 0x81, 0, 0, 30, 8, 0]);
        assert_eq!(sum(&frame[22..42]), 0xffff, "the header's checksum is right");
        let at = frame.windows(MARK.len()).position(|window| window == MARK.as_bytes()).unwrap();
        assert_eq!((frame[at + MARK.len()], frame[at + MARK.len() + 1], segment), (3, 9, 0));
    }

    #[test]
    fn large_frames_are_for_segments() {
        let (frame, segment) = frame(0, 11);
        assert_eq!((frame.len(), segment), (14 + 40 + LARGE, SEGMENT));
    }

    #[test]
    fn a_full_frame_has_its_tag_on_top() {
        let full = KINDS.iter().position(Kind::is_full).unwrap();
        assert_eq!(frame(0, full).0.len(), 14 + 4 + 1500);
    }

    #[test]
    fn each_tag_decides_something() {
        let nics = [(0, nics::NICS[0])];
        let policy = policy(&nics);
        for kind in KINDS.iter().filter(|kind| kind.allowed) {
            assert!(policy.contains(&format!("/{}\"", kind.port)), "{kind:?}");
        }
        assert!(policy.contains("[interfaces.virtio]\nvlans = [20, 30]\n"));
    }
}
