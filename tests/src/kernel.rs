//! Only the program in the kernel: no interface, no daemon.

use std::path::PathBuf;

use aya::maps::{Array, Map, MapData};
use aya::programs::{TestRun as _, TestRunOptions};
use aya::util::KernelVersion;
use enforcer::dataplane::Dataplane;
use enforcer::dataplane::pins::Pins;
use enforcer::dataplane::programs::Options;
use enforcer::image::Image;
use enforcer_common::abi::{ReasonCounter, map};
use enforcer_common::decide::Decision;
use enforcer_common::reason::{Reason, Verdict};

/// The loopback: it exists in every namespace, and test runs use it by default.
pub(crate) const INTERFACE: u32 = 1;

/// Whether this kernel is that version or a later one.
pub(crate) fn since(major: u8, minor: u8) -> bool {
    KernelVersion::current().unwrap() >= KernelVersion::new(major, minor, 0)
}

/// Whether test runs support metadata, which marks probes (Linux 5.14).
pub(crate) fn probes() -> bool {
    since(5, 14)
}

/// The kernel program's answer about a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// The verdict.
    pub(crate) verdict: Verdict,
    /// The reason.
    pub(crate) reason: Reason,
    /// The whole decision, if the kernel supports probes.
    pub(crate) decision: Option<Decision>,
}

impl Answer {
    /// Whether it equals this decision, as far as known.
    pub(crate) fn is(&self, expected: &Decision) -> bool {
        match &self.decision {
            Some(decision) => decision == expected,
            None => (self.verdict, self.reason) == (expected.verdict, expected.reason),
        }
    }
}

/// A data plane with its own pins, removed on drop.
pub(crate) struct Bench {
    /// What is in the kernel.
    pub(crate) dataplane: Option<Dataplane>,
    root: PathBuf,
}

impl Bench {
    /// Puts an image in force under a directory named after the test.
    #[track_caller]
    pub(crate) fn open(test: &str, image: &Image) -> Self {
        Self::with(test, image, Options::default())
    }

    /// [`Bench::open`] with programs of these options.
    #[track_caller]
    pub(crate) fn with(test: &str, image: &Image, options: Options) -> Self {
        let pins = pins(test);
        let root = pins.dir().parent().unwrap().to_owned();
        // First the value that cleans up, then code that may panic.
        let mut bench = Self { dataplane: None, root };
        bench.dataplane =
            Some(Dataplane::open(pins, image, options).unwrap_or_else(|e| panic!("{e:#?}")));
        bench
    }

    /// What is in the kernel.
    pub(crate) fn get(&mut self) -> &mut Dataplane {
        self.dataplane.as_mut().unwrap()
    }

    /// Asks about a frame that the loopback received: by a probe, or by running the frame and
    /// reading the counters. `None` for a frame that this kernel cannot run: without probes (before
    /// 5.14) a test run needs at least 14 bytes.
    #[track_caller]
    pub(crate) fn ask(&mut self, frame: &[u8]) -> Option<Answer> {
        if probes() {
            let decision = self.get().probe(frame, INTERFACE).unwrap();
            let Decision { verdict, reason, .. } = decision;
            return Some(Answer { verdict, reason, decision: Some(decision) });
        }
        if frame.len() < 14 {
            return None;
        }
        let before = self.get().reasons();
        let passed = self.run(frame, 1);
        let after = self.get().reasons();
        let rose = |pair: &(&(Reason, ReasonCounter), &(Reason, ReasonCounter))| {
            pair.1.1.frames != pair.0.1.frames
        };
        let mut rose = before.iter().zip(&after).filter(rose);
        let (old, new) = rose.next().expect("a frame is counted");
        assert!(rose.next().is_none(), "a frame is counted once");
        assert_eq!(new.1.frames, old.1.frames + 1);
        let verdict = match (passed, new.1.would_drop - old.1.would_drop) {
            (false, 0) => Verdict::Drop,
            (true, 0) => Verdict::Pass,
            (true, 1) => Verdict::WouldDrop,
            other => panic!("dropped and counted do not fit: {other:?}"),
        };
        Some(Answer { verdict, reason: new.0, decision: None })
    }

    /// Forgets the first fragments that passed.
    #[track_caller]
    pub(crate) fn forget_fragments(&mut self) {
        let pin = self.get().pins().path(map::FRAGMENTS);
        let map = Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap();
        let mut map: Array<_, [u64; 4]> = Array::try_from(map).unwrap();
        for entry in 0..map.len() {
            if map.get(&entry, 0).unwrap() != [0; 4] {
                map.set(entry, [0; 4], 0).unwrap();
            }
        }
    }

    /// Runs the dispatcher on a frame `repeat` times; returns whether it passed the last time.
    #[track_caller]
    pub(crate) fn run(&mut self, frame: &[u8], repeat: u32) -> bool {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let dispatcher = self.get().dispatcher().unwrap();
        let outcome = undisturbed(|| dispatcher.test_run(options)).unwrap();
        match outcome.return_value {
            1 => false,
            2 => true,
            other => panic!("XDP action {other}"),
        }
    }
}

/// Blocks signals during some work: a pending signal makes the kernel abort a test run of many
/// rounds after some are already counted.
fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: all zero is a value of a signal set, which the calls fill; both sets live through
    // them.
    let (result, restored) = unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before), 0);
        let result = work();
        (result, libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()))
    };
    assert_eq!(restored, 0);
    result
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.dataplane.take();
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// A directory of pins named after the test; [`Bench`] removes it.
#[track_caller]
pub(crate) fn pins(test: &str) -> Pins {
    crate::harness::mount_bpffs();
    let root = PathBuf::from(format!("/sys/fs/bpf/enforcer-{test}-{}", std::process::id()));
    Pins::open(&root).unwrap()
}
