//! The hospital, its servers, and the traffic of its devices. The expectations are in `acts`.
use std::time::Duration;

use tests::harness::{
    Lab, Netns, Process, Sniffer,
    programs::{self, NfsServer, Server},
    topology::{CENTRAL, DEV1, HOSTILE, HOSTILE_HL7, MONITOR, UPDATES},
};

/// An explanation of the lab for the viewer.
pub(crate) const MAP: &str = "\
patient monitor     ─┐                 ┌─ central station 10.30.0.10
(a CMS8000)          │                 │
bedside  10.20.0.11 ─┼─ lan0 GATEWAY ──┤
pump     10.20.0.12 ─┘                 └─ internet: 198.51.100.10 (updates),
                                          202.114.4.119, 202.114.4.120
The monitor's firmware calls 202.114.4.119 and .120 on its own: a mount of
code, and patient data (CISA advisory ICSMA-25-030-01). Everything below is
real: mount, showmount, nc, curl, DICOM and NFS servers, and the daemon.";

/// The source address of the monitor, as it stands in its packets.
const SOURCE: [u8; 4] = [202, 114, 4, 20];

/// The lab with all devices and servers running.
pub(crate) struct Scene {
    pub(crate) monitor: Netns,
    pub(crate) lab: Lab,
    internet: Server,
    central: Server,
    nfs: NfsServer,
    _dicom: Process,
}

impl Scene {
    pub(crate) fn set() -> Self {
        let lab = Lab::gateway("demo");
        let monitor = lab.monitor();
        // As configured by the host's technicians, so that the monitor finds the central station.
        monitor.ip(&format!("route add {CENTRAL} dev eth0"));
        let vendor = [80, 443, 511, 515, 516, 517, 518, 519, 520];
        let internet = Server::start(&lab.internet, "internet", &vendor, &[53]);
        let central = Server::start(&lab.central, "central", &[515, 8000], &[]);
        let nfs = NfsServer::start(&lab.internet);
        let dicom = programs::dicom_server(&lab.central, 11112);
        Self { monitor, lab, internet, central, nfs, _dicom: dicom }
    }

    /// Traffic that patient care needs, which must work under any policy.
    pub(crate) fn good(&self) -> [(&'static str, bool); 5] {
        let before = self.vitals_logged();
        let (dev1, dev2) = (&self.lab.dev1, &self.lab.dev2);
        let vitals = |device: &Netns| {
            programs::say(device, CENTRAL, 515, "heart rate 72").stdout == "heart rate 72"
        };
        let echo = programs::dicom_echo(dev1, CENTRAL, 11112);
        let update = programs::curl(dev2, &format!("http://{UPDATES}:443/"));
        [
            ("bedside device: vital signs reach the central station (tcp/515)", vitals(dev1)),
            ("bedside device: the image archive answers (DICOM C-ECHO)", echo),
            ("pump: the vendor's update server answers (curl, tcp/443)", update.success()),
            ("patient monitor: vital signs reach the central station (tcp/515)", {
                vitals(&self.monitor)
            }),
            ("the central station logged both by their own addresses", {
                let after = self.vitals_logged();
                before.iter().zip(after).all(|(before, after)| after > *before)
            }),
        ]
    }

    /// The monitor's unwanted traffic; for each attempt, whether it got out.
    pub(crate) fn bad(&self) -> Bad {
        let monitor = &self.monitor;
        let before = (self.nfs.calls().len(), self.calls_of_the_monitor());
        let wire = Sniffer::start(&self.lab.internet, "eth0");
        // Without an NFS client in the kernel it fails after the server's answers; only the call
        // matters.
        programs::mount_nfs(monitor, HOSTILE, Duration::from_secs(4));
        let mounts = self.nfs.calls().len() - before.0;
        let exports = programs::showmount(monitor, HOSTILE).stdout.contains("/pm");
        let patient = programs::say(monitor, HOSTILE, 515, "name, birth date, doctor");
        let hl7 = programs::connects(monitor, HOSTILE_HL7, 511);
        programs::settle();
        let frames = wire.frames(Duration::ZERO);
        Bad {
            ways: [
                ("mount -o nolock -t nfs 202.114.4.119:/pm", mounts > 0),
                ("showmount -e 202.114.4.119", exports),
                ("patient data to 202.114.4.119 (tcp/515)", !patient.stdout.is_empty()),
                ("HL7 to 202.114.4.120 (tcp/511)", hl7),
            ],
            logged: self.nfs.calls().len() - before.0 + self.calls_of_the_monitor() - before.1,
            frames: frames.iter().filter(|frame| from_the_monitor(frame)).count(),
        }
    }

    /// The monitor sends patient data; returns whether the outside server answered.
    pub(crate) fn patient_data_leaves(&self) -> bool {
        !programs::say(&self.monitor, HOSTILE, 515, "name, birth date").stdout.is_empty()
    }

    /// Somebody outside sends a crafted datagram to the monitor; returns whether it arrived.
    pub(crate) fn crafted_arrives(&self) -> bool {
        let server = Server::start(&self.monitor, "monitor", &[], &[2000]);
        programs::say_udp(&self.lab.internet, MONITOR, 2000, "crafted");
        server.heard("udp 2000")
    }

    /// Whether the pump reaches the vendor's new service, which the first policy does not know.
    pub(crate) fn new_service(&self) -> bool {
        programs::connects(&self.lab.dev2, UPDATES, 80)
    }

    /// Calls at the central station from the bedside device and from the monitor.
    fn vitals_logged(&self) -> [usize; 2] {
        let calls = self.central.calls();
        [DEV1, MONITOR].map(|address| {
            let call = format!("tcp 515 {address}");
            calls.iter().filter(|line| **line == call).count()
        })
    }

    fn calls_of_the_monitor(&self) -> usize {
        let calls = self.internet.calls();
        calls.iter().filter(|call| call.ends_with(&format!(" {MONITOR}"))).count()
    }
}

/// Results of the monitor's attempts to reach its hard-coded addresses.
pub(crate) struct Bad {
    /// Each attempt, and whether it got out.
    pub(crate) ways: [(&'static str, bool); 4],
    /// Calls from the monitor in the logs of the servers outside.
    pub(crate) logged: usize,
    /// Frames from the monitor on the cable of the servers outside.
    pub(crate) frames: usize,
}

/// Whether a frame holds an IPv4 packet with the monitor's source address.
fn from_the_monitor(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 0]) && frame.get(26..30) == Some(&SOURCE)
}
