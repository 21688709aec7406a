//! One network namespace: interfaces, addresses, sysctls, programs inside it.
use std::{
    fs::{self, File},
    os::fd::AsRawFd as _,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use super::{Finished, Process, run};

/// A named network namespace; deleted, with its interfaces, when this value is dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes one, with loopback up, no duplicate address detection and no reverse path filter.
    ///
    /// # Panics
    /// When the kernel or `ip` refuses.
    #[track_caller]
    pub fn create(name: &str) -> Self {
        run("ip", &["netns", "add", name]);
        let netns = Self { name: name.to_owned() };
        netns.ip("link set lo up");
        for scope in ["all", "default"] {
            // DAD keeps a new address tentative for a second; the filter would hide leaks.
            netns.sysctl(&format!("ipv6/conf/{scope}/accept_dad"), "0");
            netns.sysctl(&format!("ipv6/conf/{scope}/accept_ra"), "0");
            netns.sysctl(&format!("ipv6/conf/{scope}/router_solicitations"), "0");
            netns.sysctl(&format!("ipv4/conf/{scope}/rp_filter"), "0");
        }
        netns
    }

    /// Its name under `/run/netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file, for `nsenter` and setns.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Runs `ip` on it, with words split at spaces.
    ///
    /// # Panics
    /// When `ip` fails.
    #[track_caller]
    pub fn ip(&self, words: &str) -> String {
        let mut args = vec!["-n", &self.name];
        args.extend(words.split_whitespace());
        run("ip", &args)
    }

    /// Gives an interface an address with its prefix length, IPv4 or IPv6.
    ///
    /// # Panics
    /// When `ip` fails.
    #[track_caller]
    pub fn address(&self, interface: &str, address: &str) {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.ip(&format!("address add {address} dev {interface} {nodad}"));
    }

    /// Makes a veth pair between this namespace and another one, both ends up, with the given MACs.
    ///
    /// Transmit checksums are computed, not offloaded, so that XDP sees the frame as on a wire.
    ///
    /// # Panics
    /// When `ip` or `ethtool` fails.
    #[track_caller]
    pub fn veth(&self, here: (&str, &str), peer: &Self, there: (&str, &str)) {
        self.ip(&format!(
            "link add {} address {} type veth peer name {} address {} netns {}",
            here.0, here.1, there.0, there.1, peer.name
        ));
        for (netns, interface) in [(self, here.0), (peer, there.0)] {
            let off = ["-K", interface, "tx", "off", "rxvlan", "off", "txvlan", "off"];
            // Also the outer tag of two: otherwise it is not in the frame's data.
            let outer = ["tx-vlan-stag-hw-insert", "off"];
            netns.run_ok("ethtool", &[&off[..], &outer[..]].concat());
            netns.ip(&format!("link set {interface} up"));
        }
    }

    /// Sets a sysctl below `net/`, such as `ipv4/ip_forward`.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[track_caller]
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/net/{name}");
        let written = self.enter(|| fs::write(&path, value));
        written.unwrap_or_else(|error| panic!("{}: {path} = {value}: {error}", self.name));
    }

    /// The index of an interface.
    ///
    /// # Panics
    /// When there is none of that name.
    #[track_caller]
    pub fn index(&self, interface: &str) -> u32 {
        let name = std::ffi::CString::new(interface).expect("a name has no zero byte");
        // SAFETY: the pointer is to a string that ends in zero and lives through the call.
        let index = self.enter(|| unsafe { libc::if_nametoindex(name.as_ptr()) });
        assert_ne!(index, 0, "{} has no interface {interface}", self.name);
        index
    }

    /// Calls a closure on a separate thread inside the namespace: a socket that it opens stays there.
    ///
    /// # Panics
    /// When the namespace cannot be entered, or the closure panics.
    #[track_caller]
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let file = File::open(self.path());
        let file = file.unwrap_or_else(|error| panic!("namespace {}: {error}", self.name));
        let work = || {
            // SAFETY: the descriptor is open, and this thread has shared nothing that setns forbids.
            let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "setns: {}", std::io::Error::last_os_error());
            inside()
        };
        std::thread::scope(|scope| match scope.spawn(work).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// A command that runs inside, not yet started.
    ///
    /// Not `ip netns exec`: that remounts /sys, which hides the pins in bpffs.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program).args(args);
        command
    }

    /// Starts a program inside.
    ///
    /// # Panics
    /// When `nsenter` cannot be started.
    #[track_caller]
    pub fn spawn(&self, program: &str, args: &[&str]) -> Process {
        Process::spawn(self.command(program, args))
    }

    /// Runs a program inside to its end, at most for the given time.
    ///
    /// # Panics
    /// When `nsenter` cannot be started.
    #[track_caller]
    pub fn run(&self, program: &str, args: &[&str], time: Duration) -> Finished {
        self.spawn(program, args).finish(time)
    }

    /// Runs a program inside that has to succeed; returns its stdout.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn run_ok(&self, program: &str, args: &[&str]) -> String {
        let ended = self.run(program, args, super::wait::DEADLINE);
        let line = format!("{program} {}", args.join(" "));
        assert!(ended.success(), "{}: {line}: {} {}", self.name, ended.stdout, ended.stderr);
        ended.stdout
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // It is already gone only if something else deleted it.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}
