//! The number of instructions that the verifier walks: printed, and bounded.

use std::process::Command;

use aya::programs::ProgramError;
use enforcer::dataplane::loader;
use enforcer::dataplane::programs::{self, Options};
use enforcer::image::Image;
use enforcer::policy::{compile, read};
use enforcer_common::abi::program;

use crate::kernel::{Bench, pins, since};
use enforcer_testkit::random;

/// Instructions that the verifier may walk for each program.
const LIMITS: [(&str, u32); 3] =
    [(program::CLASSIFY, 8_000), (program::JUDGE, 60_000), (program::SEND, 60_000)];

/// A policy that needs every part of the program: nothing is specialised away.
const EVERYTHING: &str = include_str!("everything.toml");

#[test]
fn instructions_walked_are_bounded() {
    let (policy, problems) = read("p.toml", EVERYTHING, &mut |_| unreachable!());
    assert_eq!(problems, []);
    let image = compile(&policy, &random::host()).unwrap().image;
    // Linux 5.16 counts them; before, the verifier's log has the number.
    if let Some(name) = std::env::var_os(ASIDE) {
        println!("{SAYS}{}", by_the_log(&image, &name.to_string_lossy()));
        return;
    }
    if !since(5, 16) {
        let counts = Bench::open("verifier", &image).get().verified_instructions().unwrap();
        assert!(counts.iter().all(|(_, walked)| *walked == 0), "{counts:?}");
        bounded("", &LIMITS.map(|(name, _)| (name, aside(name))));
        return;
    }
    let with =
        |options| Bench::with("verifier", &image, options).get().verified_instructions().unwrap();
    let talking = Options { kernel_log: true, ..Options::default() };
    bounded(", with what programs say", &with(talking));
    bounded("", &with(Options::default()));
}

fn bounded(how: &str, walked: &[(&str, u32)]) {
    assert_eq!(walked.len(), LIMITS.len(), "{walked:?}");
    for ((name, walked), (known, limit)) in walked.iter().zip(LIMITS) {
        println!("verified instructions of {name}, every part in use{how}: {walked}");
        assert_eq!(*name, known);
        assert!(*walked > 300, "the kernel does not count, or the program is gone");
        assert!(*walked <= limit, "{walked} of {limit}");
    }
}

/// Set for the process that limits its own descriptors.
const ASIDE: &str = "ENFORCER_VERIFIER_ASIDE";
const SAYS: &str = "by the log: ";

/// Runs only this test in a separate process, for one program, and reads its output.
fn aside(name: &str) -> u32 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "verifier::instructions_walked_are_bounded"]);
    let output = command.env(ASIDE, name).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let number = stdout.split_once(SAYS).and_then(|(_, rest)| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{output:?}"))
}

/// Aya discards the log of an accepted program. Therefore the kernel is left without a free
/// descriptor: it verifies the program, and then fails.
fn by_the_log(image: &Image, name: &str) -> u32 {
    let pins = pins("verifier-log");
    let root = pins.dir().parent().unwrap().to_owned();
    let mut ebpf = loader::load(&pins, image, Options::default()).unwrap();
    let kind = programs::load_dispatcher(&mut ebpf).unwrap();
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit lives through the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    let none = libc::rlimit { rlim_cur: 0, ..limit };
    // SAFETY: the limit lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none) }, 0);
    let refused = if name == program::SEND {
        programs::classifier(&mut ebpf, program::SEND).unwrap().load().unwrap_err()
    } else {
        programs::xdp(&mut ebpf, &kind.name(name)).unwrap().load().unwrap_err()
    };
    // SAFETY: the limit lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    std::fs::remove_dir_all(root).unwrap();
    let ProgramError::LoadError { io_error, verifier_log } = refused else { panic!("{refused}") };
    assert_eq!(io_error.raw_os_error(), Some(libc::EMFILE), "{io_error}");
    // processed 33954 insns (limit 1000000) max_states_per_insn 14 …
    let log = verifier_log.to_string();
    let (_, rest) = log.rsplit_once("processed ").expect("the log ends with a sum");
    rest.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
