//! Nothing stays behind, not even after Ctrl-C.
//!
//! A demo that ends normally cleans up when its values are dropped. A signal ends it in the middle
//! of some wait; then a separate thread removes everything with this process's id in its name.
use std::{fs, path::PathBuf, process::Command};

/// The demo's pin directory, different from that of an installed enforcer.
pub(crate) fn pins() -> PathBuf {
    PathBuf::from(format!("/sys/fs/bpf/enforcer-demo-{}", std::process::id()))
}

/// Files of the demo: settings, policies, state.
pub(crate) fn directory() -> PathBuf {
    std::env::temp_dir().join(format!("enforcer-demo-{}", std::process::id()))
}

/// From here on Ctrl-C and SIGTERM clean up; call before any thread or program is started.
pub(crate) fn on_signals() {
    // SAFETY: a sigset_t is plain memory, for which zero is valid; both calls only write to it.
    let set = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        // Programs that are started later still begin with an empty mask.
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        set
    };
    std::thread::spawn(move || {
        let mut signal = 0;
        // SAFETY: both pointers are to values that live through the call.
        unsafe { libc::sigwait(&raw const set, &raw mut signal) };
        eprintln!("\ninterrupted: cleaning up");
        sweep();
        // The kernel ends the lab's programs with this process.
        #[expect(
            clippy::disallowed_methods,
            reason = "the main thread is in the middle of a wait"
        )]
        std::process::exit(128 + signal);
    });
}

/// Removes pins, files and namespaces of this process. All of it may be gone already.
pub(crate) fn sweep() {
    let _ = fs::remove_dir_all(pins());
    let _ = fs::remove_dir_all(directory());
    let ours = format!("enf-{}-", std::process::id());
    for name in names("/run/netns".into()).filter(|name| name.starts_with(&ours)) {
        let _ = Command::new("ip").args(["netns", "delete", &name]).output();
    }
    let ours = format!("enforcer-lab-{}-", std::process::id());
    for name in names(std::env::temp_dir()).filter(|name| name.starts_with(&ours)) {
        let _ = fs::remove_file(std::env::temp_dir().join(name));
    }
}

fn names(directory: PathBuf) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}
