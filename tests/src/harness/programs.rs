//! Programs of devices and servers: real programs, with the arguments that a person would type.
use std::{fs, path::PathBuf, time::Duration};

use tempfile::TempDir;

use super::{Finished, Netns, Process, wait, wait_until};

const SERVE: &str = include_str!("serve.py");
/// Time after which a program counts as blocked. In the lab, an answer takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(8);

/// A server on many ports at once, IPv4 and IPv6; it answers HTTP, echoes the rest, and logs the
/// callers.
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

    /// Whether a line of the log begins like this: `tcp 443 10.20.0.11`.
    pub fn heard(&self, call: &str) -> bool {
        self.calls().iter().any(|line| line.starts_with(call))
    }

    /// Waits until a line of the log begins like this.
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
    // Ignore a developer's ~/.curlrc and proxy.
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

/// The command of the CMS8000: `mount -o nolock -t nfs ADDRESS:/pm DIR`.
///
/// With `vers=3`, which the monitor's Linux 2.6.27 takes by itself: mount.nfs then asks portmapper,
/// NFS and mountd from user space, so the traffic is real although this kernel may have no NFS client
/// (with version 4 the kernel would have to send the first byte). It runs in a separate mount
/// namespace, and so never mounts anything here.
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

/// A real `rpcbind`, with a separate `/run`, so that it does not conflict with others.
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

/// The NFS server that a CMS8000 looks for: `rpcbind`, and servers on 2049 and 20048 that answer a
/// mount.
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

/// Gives everything in flight time to arrive.
pub fn settle() {
    wait::pause(Duration::from_millis(100));
}

/// Python's HTTP server with one file, which `curl` fetches.
#[derive(Debug)]
pub struct Files {
    _process: Process,
    dir: TempDir,
    content: Vec<u8>,
    port: u16,
}

impl Files {
    /// Starts it, on IPv4 and IPv6, with a file of this many megabytes.
    ///
    /// # Panics
    /// When it does not listen.
    #[track_caller]
    pub fn start(netns: &Netns, port: u16, megabytes: u32) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        // All pages differ, so that a lost, repeated or moved page changes the file.
        let content: Vec<u8> = (0..megabytes << 18)
            .flat_map(|word| word.wrapping_mul(0x9e37_79b1).to_le_bytes())
            .collect();
        fs::write(dir.path().join("file"), &content).expect("it can be written");
        let (root, number) = (dir.path().display().to_string(), port.to_string());
        let words = ["-c", include_str!("files.py"), &root, &number];
        let mut process = netns.spawn("python3", &words);
        process.wait_for_stdout("ready");
        Self { _process: process, dir, content, port }
    }

    /// Starts to fetch the file at 2 MiB a second.
    ///
    /// # Panics
    /// When curl cannot be started.
    #[track_caller]
    pub fn fetch_slowly(&self, netns: &Netns, address: &str) -> Fetch {
        self.fetch_slowly_by(netns, address, &[])
    }

    /// The same with more words for curl.
    ///
    /// # Panics
    /// When curl cannot be started.
    #[track_caller]
    pub fn fetch_slowly_by(&self, netns: &Netns, address: &str, words: &[&str]) -> Fetch {
        self.fetch(netns, address, "file?slow", words)
    }

    #[track_caller]
    fn fetch(&self, netns: &Netns, address: &str, path: &str, words: &[&str]) -> Fetch {
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let url = format!("http://{host}:{}/{path}", self.port);
        let file = self.dir.path().join(format!("from-{}-{address}", netns.name()));
        let _ = fs::remove_file(&file);
        let path = file.display().to_string();
        let fixed = ["-q", "--noproxy", "*", "-sS", "--connect-timeout", "1", "-o", &path, &url];
        Fetch { process: netns.spawn("curl", &[&fixed, words].concat()), file }
    }

    /// Whether a device can fetch the file: whole and unchanged, or no connection at all.
    ///
    /// # Panics
    /// When it gets something else.
    #[track_caller]
    pub fn reach(&self, netns: &Netns, address: &str) -> bool {
        self.reach_by(netns, address, &[])
    }

    /// The same with more words for curl, such as `--interface 10.20.0.99`.
    ///
    /// # Panics
    /// When it gets something else.
    #[track_caller]
    pub fn reach_by(&self, netns: &Netns, address: &str, words: &[&str]) -> bool {
        let fetch = self.fetch(netns, address, "file", words);
        let (ended, content) = fetch.finish();
        match ended.code {
            Some(0) => {
                assert!(content == self.content, "{address}: {} bytes", content.len());
                true
            }
            // Timed out while connecting: XDP drops without an answer.
            Some(28) if content.is_empty() => false,
            _ => panic!("curl {address}: {ended:?}, {} bytes", content.len()),
        }
    }

    /// What is in the file.
    pub fn content(&self) -> &[u8] {
        &self.content
    }
}

/// A running curl.
#[derive(Debug)]
pub struct Fetch {
    process: Process,
    file: PathBuf,
}

impl Fetch {
    /// Bytes that it has written.
    pub fn bytes(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |file| file.len())
    }

    /// Waits until it has written this many bytes.
    ///
    /// # Panics
    /// When it has not by the deadline.
    #[track_caller]
    pub fn wait_for(&self, bytes: u64) {
        wait_until("curl writes", || (self.bytes() >= bytes).then_some(()));
    }

    /// Waits for its end; what it wrote.
    pub fn finish(self) -> (Finished, Vec<u8>) {
        let ended = self.process.finish(Duration::from_secs(30));
        (ended, fs::read(&self.file).unwrap_or_default())
    }
}

const STREAM: &str = include_str!("stream.py");

/// Datagrams with numbers, one every few milliseconds, to several ports of an address.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
pub fn stream(netns: &Netns, address: &str, ports: &[u16]) -> Process {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let words =
        [&["-c", STREAM, address][..], &ports.iter().map(String::as_str).collect::<Vec<_>>()];
    netns.spawn("python3", &words.concat())
}
