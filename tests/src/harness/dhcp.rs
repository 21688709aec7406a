//! DHCP servers and clients: dnsmasq, udhcpc, dhclient.
use std::{fs, os::unix::fs::PermissionsExt as _};

use tempfile::TempDir;

use super::{Finished, Netns, Process, wait::DEADLINE, wait_until};

/// A running `dnsmasq`: DHCP, DHCPv6 and router advertisements on one interface, no DNS.
#[derive(Debug)]
pub struct Dnsmasq {
    process: Process,
    _dir: TempDir,
}

impl Dnsmasq {
    /// Starts it; `words` are its ranges and options.
    ///
    /// # Panics
    /// When it does not begin.
    #[track_caller]
    pub fn start(netns: &Netns, interface: &str, words: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let file = |name: &str| dir.path().join(name).display().to_string();
        let fixed = [
            "--keep-in-foreground".to_owned(),
            "--conf-file=/dev/null".to_owned(),
            "--user=root".to_owned(),
            "--port=0".to_owned(),
            "--no-ping".to_owned(),
            "--log-dhcp".to_owned(),
            "--log-facility=-".to_owned(),
            format!("--interface={interface}"),
            format!("--pid-file={}", file("pid")),
            format!("--dhcp-leasefile={}", file("leases")),
        ];
        let all: Vec<&str> =
            fixed.iter().map(String::as_str).chain(words.iter().copied()).collect();
        let mut process = netns.spawn("dnsmasq", &all);
        wait_until("dnsmasq starts", || {
            assert!(process.is_running(), "dnsmasq: {}", process.stderr());
            process.stderr().contains("started, version").then_some(())
        });
        Self { process, _dir: dir }
    }

    /// Its log: `DHCPDISCOVER(lan0) 00:1b:44:11:3a:c9` and the like.
    pub fn log(&self) -> String {
        self.process.stderr()
    }
}

/// A running `udhcpc`, which asks for an IPv4 address and puts it on the interface.
#[derive(Debug)]
pub struct Udhcpc {
    process: Process,
    dir: TempDir,
}

impl Udhcpc {
    /// Starts it with more words, such as `-n` to give up.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(netns: &Netns, interface: &str, words: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let (script, log) = (dir.path().join("script"), dir.path().join("log"));
        let text = format!(
            "#!/bin/sh\n[ \"$ip\" ] && ip address replace \"$ip/${{mask:-24}}\" dev $interface\n\
             echo \"$1 $ip\" >>{}\n",
            log.display()
        );
        fs::write(&script, text).expect("it can be written");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let script = script.display().to_string();
        let fixed = ["udhcpc", "-f", "-i", interface, "-s", &script, "-T", "1"];
        Self { process: netns.spawn("busybox", &[&fixed, words].concat()), dir }
    }

    /// Its events: `bound 10.20.0.100`, `renew 10.20.0.100`, `leasefail`.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Waits for an event of its log.
    ///
    /// # Panics
    /// When it does not come by the deadline.
    #[track_caller]
    pub fn wait_for(&self, event: &str) {
        wait_until(event, || self.log().contains(event).then_some(()));
    }

    /// Asks only the server that gave the lease to renew it.
    pub fn renew(&self) {
        self.process.signal(libc::SIGUSR1);
    }
}

/// Runs `dhclient -6` until it has a lease or gives up; returns its output and lease file.
#[track_caller]
pub fn dhclient_v6(netns: &Netns, interface: &str) -> (Finished, String) {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (leases, pid, none) = (file("leases"), file("pid"), file("none"));
    fs::write(&none, "").expect("it can be written");
    // Its default script would overwrite this machine's resolv.conf.
    let words = ["-6", "-1", "-d", "-v", "-sf", "/bin/true", "-cf", &none, "-lf", &leases];
    let words = [&words[..], &["-pf", &pid, interface]].concat();
    let mut process = netns.spawn("dhclient", &words);
    let bound = super::wait::wait_for(DEADLINE, || {
        let lease = fs::read_to_string(&leases).unwrap_or_default();
        (lease.contains("iaaddr") || !process.is_running()).then_some(lease)
    });
    (process.terminate(DEADLINE), bound.unwrap_or_default())
}
