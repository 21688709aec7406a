//! What devices and servers run: real programs, with the words that a person would type.
use std::time::Duration;

use super::{Finished, Netns, Process, wait, wait_until};

const SERVE: &str = include_str!("serve.py");
/// How long a program may try before the lab calls it blocked. In the lab, an answer takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(8);

/// A server on many ports at once, IPv4 and IPv6; it answers HTTP, echoes the rest, and logs who called.
#[derive(Debug)]
pub struct Server {
    process: Process,
}

impl Server {
    /// Starts listening; the name is what an HTTP answer begins with.
    ///
    /// # Panics
    /// When a port cannot be taken.
    #[track_caller]
    pub fn start(netns: &Netns, name: &str, tcp: &[u16], udp: &[u16]) -> Self {
        let list = |ports: &[u16]| match ports {
            [] => "-".to_owned(),
            ports => ports.iter().map(u16::to_string).collect::<Vec<_>>().join(","),
        };
        let mut process = netns.spawn("python3", &["-c", SERVE, name, &list(tcp), &list(udp)]);
        process.wait_for_stdout("ready");
        Self { process }
    }

    /// Whether a line of the log begins so: `tcp 443 10.20.0.11`.
    pub fn heard(&self, call: &str) -> bool {
        self.calls().iter().any(|line| line.starts_with(call))
    }

    /// Waits until a line of the log begins so.
    ///
    /// # Panics
    /// When none does by the deadline.
    #[track_caller]
    pub fn wait_for(&self, call: &str) {
        wait_until(call, || self.heard(call).then_some(()));
    }

    /// Everything it has logged, a line a call.
    pub fn calls(&self) -> Vec<String> {
        self.process.stdout().lines().map(str::to_owned).collect()
    }
}

/// `curl URL`, for two seconds at most.
#[track_caller]
pub fn curl(netns: &Netns, url: &str) -> Finished {
    // A developer's ~/.curlrc or proxy has no place in the lab.
    let args = ["-q", "--noproxy", "*", "--silent", "--show-error", "--max-time", "2", url];
    netns.run("curl", &args, PATIENCE)
}

/// `ping`, one packet: whether an answer came within a second.
#[track_caller]
pub fn ping(netns: &Netns, address: &str) -> bool {
    netns.run("ping", &["-n", "-c", "1", "-W", "1", address], PATIENCE).success()
}

/// `nc -z`: whether a TCP connection opens within a second.
#[track_caller]
pub fn connects(netns: &Netns, address: &str, port: u16) -> bool {
    netns.run("nc", &["-n", "-z", "-w", "1", address, &port.to_string()], PATIENCE).success()
}

/// Sends a text over TCP with `nc`, and returns what comes back within a second.
#[track_caller]
pub fn say(netns: &Netns, address: &str, port: u16, text: &str) -> Finished {
    let script = format!("printf %s '{text}' | nc -n -N -w 1 {address} {port}");
    netns.run("sh", &["-c", &script], PATIENCE)
}

/// Sends a datagram with `nc`, and returns what comes back within a second.
#[track_caller]
pub fn say_udp(netns: &Netns, address: &str, port: u16, text: &str) -> Finished {
    let script = format!("printf %s '{text}' | nc -n -u -w 1 {address} {port}");
    netns.run("sh", &["-c", &script], PATIENCE)
}

/// The very command of the CMS8000: `mount -o nolock -t nfs ADDRESS:/pm DIR`.
///
/// With `vers=3`, which the monitor's Linux 2.6.27 takes by itself: mount.nfs then asks portmapper,
/// NFS and mountd from user space, so the traffic is real although this kernel may have no NFS client
/// (with version 4 the kernel would have to send the first byte). It runs in a mount namespace of its
/// own, and so never mounts anything here.
#[track_caller]
pub fn mount_nfs(netns: &Netns, address: &str, time: Duration) -> Finished {
    let script = format!(
        "mount -t tmpfs tmpfs /mnt && exec mount -o nolock,vers=3,retry=0 -t nfs {address}:/pm /mnt"
    );
    netns.run("unshare", &["--mount", "sh", "-c", &script], time)
}

/// `rpcinfo -p ADDRESS`: the list of the portmapper.
#[track_caller]
pub fn rpcinfo(netns: &Netns, address: &str) -> Finished {
    netns.run("rpcinfo", &["-p", address], Duration::from_secs(3))
}

/// `showmount -e ADDRESS`: what an NFS server exports.
#[track_caller]
pub fn showmount(netns: &Netns, address: &str) -> Finished {
    netns.run("showmount", &["-e", address], Duration::from_secs(3))
}

/// A real `rpcbind`, with a `/run` of its own: two of them, or the machine's, do not meet.
///
/// # Panics
/// When it does not answer.
#[track_caller]
pub fn portmapper(netns: &Netns) -> Process {
    let script = "mount -t tmpfs tmpfs /run && mkdir /run/rpcbind && exec rpcbind -f";
    let mut process = netns.spawn("unshare", &["--mount", "sh", "-c", script]);
    wait_until("rpcbind answers", || {
        assert!(process.is_running(), "rpcbind: {}", process.stderr());
        rpcinfo(netns, "127.0.0.1").success().then_some(())
    });
    process
}

/// The NFS server that a CMS8000 looks for: `rpcbind`, and on 2049 and 20048 what answers a mount.
#[derive(Debug)]
pub struct NfsServer {
    answers: Process,
    _portmapper: Process,
}

impl NfsServer {
    /// Starts both.
    ///
    /// # Panics
    /// When one does not answer.
    #[track_caller]
    pub fn start(netns: &Netns) -> Self {
        let portmapper = portmapper(netns);
        let mut answers = netns.spawn("python3", &["-c", include_str!("nfs.py")]);
        answers.wait_for_stdout("ready");
        Self { answers, _portmapper: portmapper }
    }

    /// Everything it has logged, a line a call.
    pub fn calls(&self) -> Vec<String> {
        self.answers.stdout().lines().map(str::to_owned).collect()
    }

    /// Whether this address called NFS (program 100003) itself.
    pub fn called_by(&self, address: &str) -> bool {
        let call = format!("rpc 100003 proc 0 {address}");
        self.answers.stdout().lines().any(|line| line == call)
    }
}

/// A DICOM storage server (dcmtk's `storescp`).
///
/// # Panics
/// When it does not listen.
#[track_caller]
pub fn dicom_server(netns: &Netns, port: u16) -> Process {
    let dir = std::env::temp_dir();
    let args = ["--disable-host-lookup", "-od", &dir.to_string_lossy(), &port.to_string()];
    let mut process = netns.spawn("storescp", &args);
    wait_until("storescp listens", || {
        assert!(process.is_running(), "storescp: {}", process.stderr());
        netns.run("echoscu", &["127.0.0.1", &port.to_string()], PATIENCE).success().then_some(())
    });
    process
}

/// `echoscu`: whether a DICOM server answers a C-ECHO.
#[track_caller]
pub fn dicom_echo(netns: &Netns, address: &str, port: u16) -> bool {
    let port = port.to_string();
    netns.run("echoscu", &["--timeout", "1", address, &port], PATIENCE).success()
}

/// Gives everything that is in flight the time to arrive.
pub fn settle() {
    wait::pause(Duration::from_millis(100));
}
