//! One policy for all receivers: a number of MACs may reach a number of prefixes on tcp/443.
use std::{fmt::Write as _, fs, time::Duration};

use enforcer_testkit::{
    frames::{Ethernet, Tcp, V4, ether_type},
    random::Random,
};
use tests::harness::{Daemon, Netns, Process, frames::mac, live, topology::LAN0_MAC, wait_until};

use crate::feed;

/// MACs of devices.
const MACS: u32 = 1_000;
/// Prefixes that they may reach.
const PREFIXES: usize = 100_000;
/// Frames of a load, each another flow.
pub(super) const FLOWS: usize = 4_096;

/// The policy.
pub(super) struct Policy {
    macs: Vec<String>,
    prefixes: Vec<(u32, u32)>,
}

/// The kind of a frame.
#[derive(Clone, Copy)]
pub(super) enum Frame {
    /// Listed device, listed prefix.
    Allowed,
    /// Listed device, an address that no prefix holds.
    Elsewhere,
    /// A device that is not listed, listed prefix.
    Stranger,
}

impl Policy {
    /// The usual MACs and prefixes, and one more of each.
    pub(super) fn with(device: &str, address: u32) -> Self {
        let macs = (1..MACS).map(|number| text(number, 0x64));
        let mut prefixes = feed::prefixes(PREFIXES - 1, 1);
        prefixes.push((address, 32));
        Self { macs: macs.chain([device.to_owned()]).collect(), prefixes }
    }

    /// Frames of these kinds in turn, drawn with a fixed seed.
    pub(super) fn frames(&self, kinds: &[Frame]) -> Vec<Vec<u8>> {
        let mut random = Random::new(2);
        // Addresses that are not unicast internet addresses have rules of their own.
        let usual = |&(address, _): &(u32, u32)| (11..224).contains(&(address >> 24));
        let usual: Vec<_> =
            self.prefixes.iter().copied().filter(usual).filter(|p| p.0 >> 24 != 127).collect();
        let kinds = kinds.iter().cycle().take(FLOWS);
        let make = |(number, kind): (usize, &Frame)| {
            let listed = &self.macs[number % self.macs.len()];
            let (address, length) = random.pick(&usual);
            let inside = address | (random.next() & ((1 << (32 - length)) - 1)) as u32;
            match kind {
                Frame::Allowed => syn(listed, inside),
                // Prefixes have an odd first byte.
                Frame::Elsewhere => syn(listed, (inside & 0x00ff_ffff) | 0x0e00_0000),
                Frame::Stranger => syn(&text(number as u32 % MACS, 0x65), inside),
            }
        };
        kinds.enumerate().map(make).collect()
    }

    /// Starts enforcer with it.
    pub(super) fn enforcer<'a>(&self, netns: &'a Netns) -> Daemon<'a> {
        let text = format!(
            "schema = 1\n[sets]\nfeed = {{ file = \"feed.txt\" }}\n[groups.beds]\n\
             members = {:?}\nallow = [{{ to = \"@feed\", service = \"tcp/443\" }}]\n\
             [unknown]\ndefault = \"drop\"\n",
            self.macs
        );
        let mut daemon = Daemon::prepare(netns, &["lan0"], &text);
        daemon.write("feed.txt", &feed::file(&self.prefixes));
        daemon.run();
        daemon
    }

    /// Loads it into nftables, in netdev ingress.
    pub(super) fn nftables(&self, netns: &Netns) {
        let prefixes = feed::file(&self.prefixes).trim_end().replace('\n', ", ");
        nft(
            netns,
            &format!(
                "table netdev bench {{\n\
                 set members {{ type ether_addr; elements = {{ {} }}; }}\n\
                 set feed {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {prefixes} }}; }}\n\
                 chain ingress {{ type filter hook ingress device \"lan0\" priority 0; policy drop;\n\
                 ether type arp accept\n\
                 ether saddr @members ip daddr @feed tcp dport 443 accept\n}}\n}}\n",
                self.macs.join(", ")
            ),
        );
    }

    /// Loads its MACs into xdp-filter, which supports nothing else; it enforces until the process ends.
    pub(super) fn xdp_filter(&self, netns: &Netns) -> Process {
        // Its programs live by pins, so mount a separate bpffs for it.
        let mut script = "set -e; mount -t bpf bpf /sys/fs/bpf\n\
                          xdp-filter load -m native -p deny -f ethernet lan0\n"
            .to_owned();
        for mac in &self.macs {
            // A `String` takes everything.
            let _ = writeln!(script, "xdp-filter ether -m src {mac}");
        }
        script.push_str("echo ready; exec sleep 100000\n");
        let mut process = netns.spawn("unshare", &["--mount", "sh", "-c", &script]);
        wait_until("xdp-filter has the MACs", || {
            assert!(process.is_running(), "xdp-filter: {}", process.stderr());
            process.stdout().contains("ready").then_some(())
        });
        process
    }
}

/// Runs nft on a text.
pub(super) fn nft(netns: &Netns, rules: &str) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    fs::write(&file, rules).expect("it can be written");
    let path = file.path().display().to_string();
    let ended = netns.run("nft", &["-f", &path], Duration::from_secs(60));
    let said: String = ended.stderr.chars().take(300).collect();
    assert!(ended.success(), "nft: {said}");
}

/// A MAC of a number.
fn text(number: u32, family: u8) -> String {
    let [_, _, high, low] = number.to_be_bytes();
    format!("02:{family:02x}:00:00:{high:02x}:{low:02x}")
}

/// The first segment of a connection, with the padding of Ethernet.
fn syn(from: &str, to: u32) -> Vec<u8> {
    let packet = V4::new(0x0a14_0064, to, 6).packet(&Tcp::new(443).segment(&[]));
    let mut frame = Ethernet::new(mac(from)).to(mac(LAN0_MAC)).frame(ether_type::IPV4, &packet);
    frame.resize(live::LENGTH, 0);
    frame
}
