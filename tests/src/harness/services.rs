//! Services of devices: OpenSSH and Net-SNMP, with settings of their own.
use std::{fs, time::Duration};

use tempfile::TempDir;

use super::{Finished, Netns, Process, run, wait_until};

/// Time after which a program counts as blocked.
const PATIENCE: Duration = Duration::from_secs(8);

/// OpenSSH's server, with keys of its own.
#[derive(Debug)]
pub struct Sshd {
    process: Process,
    dir: TempDir,
}

impl Sshd {
    /// Starts it on port 22. Its `/run` and root's home are its own.
    ///
    /// # Panics
    /// When it does not listen.
    #[track_caller]
    pub fn start(netns: &Netns) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let path = |name: &str| dir.path().join(name).display().to_string();
        for name in ["host", "user"] {
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &path(name)]);
        }
        fs::copy(path("user.pub"), path("authorized")).expect("it can be copied");
        // Sessions end with the server, and nothing of this machine's settings counts.
        let options = [
            format!("HostKey={}", path("host")),
            format!("AuthorizedKeysFile={}", path("authorized")),
            "StrictModes=no".to_owned(),
            "UsePAM=no".to_owned(),
            "PermitRootLogin=prohibit-password".to_owned(),
            "PidFile=none".to_owned(),
        ];
        let options = options.map(|option| format!("-o {option}")).join(" ");
        let script = format!(
            "mount -t tmpfs tmpfs /run && mkdir /run/sshd && \
             exec /usr/sbin/sshd -D -e -f /dev/null {options}"
        );
        let process = netns.spawn("unshare", &["--mount", "sh", "-c", &script]);
        wait_until("sshd listens", || process.stderr().contains("listening on").then_some(()));
        Self { process, dir }
    }

    /// Runs a command on it by OpenSSH's client.
    #[track_caller]
    pub fn run(&self, from: &Netns, address: &str, command: &str) -> Finished {
        let key = self.dir.path().join("user").display().to_string();
        let host = format!("root@{address}");
        let words = [
            "-F",
            "/dev/null",
            "-i",
            &key,
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=3",
            &host,
            command,
        ];
        from.run("ssh", &words, PATIENCE)
    }

    /// What it said.
    pub fn log(&self) -> String {
        self.process.stderr()
    }
}

/// Net-SNMP's agent on udp/161.
#[derive(Debug)]
pub struct Snmp {
    process: Process,
    _dir: TempDir,
}

impl Snmp {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn start(netns: &Netns) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let file = dir.path().join("snmpd.conf").display().to_string();
        fs::write(&file, "rocommunity public\n").expect("it can be written");
        let script = format!(
            "SNMP_PERSISTENT_DIR={} exec /usr/sbin/snmpd -f -Lo -C -c {file} udp:161",
            dir.path().display()
        );
        let process = netns.spawn("sh", &["-c", &script]);
        let agent = Self { process, _dir: dir };
        wait_until("snmpd answers", || agent.answers(netns, "127.0.0.1").then_some(()));
        agent
    }

    /// `snmpget`: whether it tells a host what it is.
    #[track_caller]
    pub fn answers(&self, from: &Netns, address: &str) -> bool {
        let words =
            ["-v2c", "-c", "public", "-t", "1", "-r", "0", "-On", address, ".1.3.6.1.2.1.1.1.0"];
        from.run("snmpget", &words, PATIENCE).success()
    }

    /// What it said.
    pub fn log(&self) -> String {
        self.process.stdout()
    }
}
