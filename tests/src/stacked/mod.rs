//! Real VLAN devices, VLAN-aware bridges and bonds on the gateway: which of them a frame reaches.
//!
//! - `vlan`: 8021q devices on top of the protected interface, and as the protected one
//! - `bridge`: a bridge that filters VLANs, over the protected interface
//! - `bond`: the ports of a bond, and the bond itself
//!
//! Every frame is also sent with nothing enforced: a lab that lets nothing through proves nothing.
mod bond;
mod bridge;
mod vlan;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::harness::{Daemon, Netns, Sniffer, frames, kernel, skip, wait};
use crate::replay::lab::Lab;
use enforcer_testkit::corpus::{A4, D4, DEVICE};
use enforcer_testkit::frames::{Ethernet, Tcp, V4, ether_type};

/// The device is in VLAN 20 and may use TCP port 443; `interfaces` have that VLAN.
fn policy(interfaces: &[&str]) -> String {
    let vlans = |name: &&str| format!("[interfaces.\"{name}\"]\nvlans = [20]\n");
    let vlans: String = interfaces.iter().map(vlans).collect();
    format!(
        "schema = 1\n[unknown]\ndefault = \"drop\"\n\
         [devices.pump]\nmac = \"02:00:00:00:00:02\"\nip = [\"10.77.0.2\"]\nvlan = 20\n\
         [groups.pumps]\nmembers = [\"pump\"]\nallow = [{{ to = \"any\", service = \"tcp/443\" }}]\n\
         {vlans}"
    )
}

/// A frame with these tags, and its expected reason.
struct FrameContext {
    /// Also its marker.
    name: &'static str,
    tags: &'static [(u16, u16)],
    port: u16,
    reason: &'static str,
}

const fn case(
    name: &'static str,
    tags: &'static [(u16, u16)],
    port: u16,
    reason: &'static str,
) -> FrameContext {
    FrameContext { name, tags, port, reason }
}

/// In VLAN 20 and with the allowed port; sent last, so that all others have arrived before it.
const ALLOWED: FrameContext = case("=declared=", &[(0x8100, 20)], 443, "allow");

/// Everything but [`ALLOWED`] has to be dropped.
const CASES: [FrameContext; 11] = [
    case("=port=", &[(0x8100, 20)], 25, "default-drop"),
    case("=untagged=", &[], 443, "vlan-binding"),
    case("=priority=", &[(0x8100, 0xe000)], 443, "vlan-binding"),
    case("=undeclared=", &[(0x8100, 30)], 443, "vlan-undeclared"),
    case("=service=", &[(0x88a8, 20)], 443, "vlan-undeclared"),
    case("=qinq=", &[(0x88a8, 20), (0x8100, 30)], 443, "vlan-undeclared"),
    case("=double=", &[(0x8100, 20), (0x8100, 30)], 443, "vlan-undeclared"),
    case("=turned=", &[(0x8100, 30), (0x8100, 20)], 443, "vlan-undeclared"),
    case("=hop=", &[(0x8100, 0), (0x8100, 20)], 443, "vlan-undeclared"),
    case("=service-hop=", &[(0x88a8, 0), (0x8100, 20)], 443, "vlan-undeclared"),
    ALLOWED,
];

impl FrameContext {
    fn frame(&self, to: [u8; 6]) -> Vec<u8> {
        let segment = Tcp::new(self.port).segment(self.name.as_bytes());
        let packet = V4::new(A4, D4, 6).packet(&segment);
        let ethernet = Ethernet { tags: self.tags.to_vec(), ..Ethernet::new(DEVICE).to(to) };
        ethernet.frame(ether_type::IPV4, &packet)
    }
}

/// Where each frame of [`CASES`] was seen, by name.
type Seen = BTreeMap<&'static str, BTreeSet<&'static str>>;

/// Sends every case out of the device's `from` and listens on interfaces of the gateway and on
/// `x0` behind it.
#[track_caller]
fn send(lab: &Lab, from: &str, to: [u8; 6], places: &[&'static str]) -> Seen {
    let places = places.iter().map(|place| (&lab.gateway, *place)).chain([(&lab.behind, "x0")]);
    let sniffers: Vec<(&str, Sniffer)> =
        places.map(|(netns, place)| (place, Sniffer::start(netns, place))).collect();
    let frames: Vec<Vec<u8>> = CASES.iter().map(|case| case.frame(to)).collect();
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    frames::send_all(&lab.device, from, &frames);
    let mut seen: Seen = CASES.iter().map(|case| (case.name, BTreeSet::new())).collect();
    let mut look = || {
        for (place, sniffer) in &sniffers {
            for frame in sniffer.frames(Duration::ZERO) {
                for case in &CASES {
                    if frames::contains(&frame, case.name.as_bytes()) {
                        seen.get_mut(case.name).expect("all are in it").insert(*place);
                    }
                }
            }
        }
        seen[ALLOWED.name].contains("x0").then_some(())
    };
    wait::wait_until("what is allowed comes out", &mut look);
    wait::pause(Duration::from_millis(200));
    look();
    seen
}

/// Forbidden frames that came out.
fn leaks(seen: &Seen) -> Vec<String> {
    let seen = seen.iter().filter(|(name, places)| **name != ALLOWED.name && !places.is_empty());
    seen.map(|(name, places)| format!("{name} came to {places:?}")).collect()
}

/// Which frames came to an interface.
fn came<'s>(seen: &'s Seen, place: &str) -> Vec<&'s str> {
    let came = seen.iter().filter(|(_, places)| places.contains(place));
    came.map(|(name, _)| *name).collect()
}

/// Each reason must be counted as expected for [`CASES`], sent `times` times.
#[track_caller]
fn assert_counted(daemon: &Daemon<'_>, times: u64) {
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for case in &CASES {
        *expected.entry(case.reason).or_default() += times;
    }
    for (reason, frames) in expected {
        assert_eq!(daemon.reason(reason, "frames"), frames, "{reason}");
    }
}

/// A daemon on interfaces of the gateway.
#[track_caller]
fn daemon<'l>(lab: &'l Lab, interfaces: &[&str], xdp: &str) -> Daemon<'l> {
    let mut daemon = Daemon::prepare(&lab.gateway, interfaces, &policy(interfaces));
    daemon.setting(&format!("xdp = {xdp:?}"));
    daemon.run();
    for interface in interfaces {
        assert_eq!(daemon.attached(interface).map(|(mode, _)| mode), Some(xdp), "{interface}");
    }
    daemon
}

/// Whether this kernel cannot make such an interface, which skips the test.
#[track_caller]
fn lacks(test: &str, netns: &Netns, kind: &str) -> bool {
    match kernel::lacks(netns, kind) {
        Some(why) => {
            skip(test, &format!("this kernel has no `{kind}`: {why}"));
            true
        }
        None => false,
    }
}

/// The daemon must not start on an interface that hides frames, and has to say what to protect.
#[track_caller]
fn assert_refused(daemon: &Daemon<'_>, interface: &str, kind: &str, below: &[&str]) {
    let ended = daemon.run_to_end();
    assert_eq!(ended.code, Some(4), "{ended:?}");
    let error = format!("cannot enforce on {interface}: a {kind} ");
    assert!(ended.stderr.contains(&error), "{ended:?}");
    assert!(ended.stderr.contains(&format!("interfaces = {below:?}")), "{ended:?}");
    for name in below.iter().chain([&interface]) {
        assert_eq!(daemon.attached(name), None);
    }
}
