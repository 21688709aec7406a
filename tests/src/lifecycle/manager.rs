//! The daemon's notifications to systemd: READY=1 when the kernel has confirmed every interface,
//! and WATCHDOG=1 as long as the loop runs.
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::POLICY;
use crate::harness::{Daemon, Lab, wait::DEADLINE, wait_until};

/// The manager's end of the notify socket.
struct Manager {
    socket: UnixDatagram,
    words: Vec<String>,
}

impl Manager {
    #[track_caller]
    fn of(daemon: &Daemon<'_>) -> Self {
        let path = daemon.path("notify.sock");
        let socket = UnixDatagram::bind(&path).expect("the directory is ours");
        let socket_of = format!("NOTIFY_SOCKET={}", path.display());
        // A third of it is 0.1 s.
        let words = ["env".to_owned(), socket_of, "WATCHDOG_USEC=300000".to_owned()].into();
        Self { socket, words }
    }

    fn words(&self) -> Vec<&str> {
        self.words.iter().map(String::as_str).collect()
    }

    /// The next message, if one comes in time.
    fn hear(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).expect("it is not zero");
        let mut message = [0; 512];
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    /// Waits for a message with this prefix.
    #[track_caller]
    fn wait_for(&self, begin: &str) -> String {
        wait_until(begin, || {
            self.hear(Duration::from_millis(100)).filter(|message| message.starts_with(begin))
        })
    }

    /// Drains messages until none comes for this long.
    fn falls_silent(&self, time: Duration) -> bool {
        let begun = std::time::Instant::now();
        while begun.elapsed() < DEADLINE {
            if self.hear(time).is_none() {
                return true;
            }
        }
        false
    }
}

#[test]
fn a_loop_that_hangs_gives_no_sign_of_life() {
    let lab = Lab::gateway("watchdog");
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], POLICY);
    let manager = Manager::of(&daemon);
    daemon.begin_by(&manager.words());
    let ready = manager.wait_for("READY=1");
    assert!(daemon.attached("lan0").is_some(), "ready, and the kernel has no program");
    assert!(ready.contains("STATUS=revision 1 was put in force on lan0"), "{ready}");
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("WATCHDOG=1");

    // An endless policy file: it is read on a separate thread, but no order is carried out meanwhile.
    let policy = daemon.path("policy.toml");
    fs::remove_file(&policy).expect("it was written");
    let fifo = std::process::Command::new("mkfifo").arg(&policy).status();
    assert!(fifo.is_ok_and(|status| status.success()));
    daemon.process().signal(libc::SIGHUP);
    assert!(manager.falls_silent(Duration::from_secs(1)), "alive without its loop");

    fs::write(&policy, POLICY.replace("5000", "five thousand")).expect("it reads");
    let refused = manager.wait_for("STATUS=");
    assert!(refused.contains("has errors: revision 1 stays"), "{refused}");
    manager.wait_for("WATCHDOG=1");
}

#[test]
fn a_daemon_that_cannot_protect_one_interface_is_ready_and_names_it() {
    let lab = Lab::gateway("notready");
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0", "no-such"], POLICY);
    let manager = Manager::of(&daemon);
    daemon.begin_by(&manager.words());
    let heard = manager.hear(DEADLINE).expect("it is ready");
    assert!(heard.contains("READY=1"), "{heard}");
    assert!(heard.contains("was put in force on lan0; NOT on no-such"), "{heard}");
    assert!(daemon.attached("lan0").is_some());
    assert_eq!(daemon.cli(&["status"]).code, Some(1));
}
