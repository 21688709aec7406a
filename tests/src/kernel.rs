//! The program in the kernel, alone: no interface, no daemon.

use std::path::PathBuf;

use enforcer::dataplane::Dataplane;
use enforcer::dataplane::pins::Pins;
use enforcer::image::Image;

/// A data plane with pins of its own, removed on drop.
pub(crate) struct Bench {
    /// What is in the kernel.
    pub(crate) dataplane: Option<Dataplane>,
    root: PathBuf,
}

impl Bench {
    /// Puts an image in force under a directory named after the test.
    #[track_caller]
    pub(crate) fn open(test: &str, image: &Image) -> Self {
        crate::harness::mount_bpffs();
        let root = PathBuf::from(format!("/sys/fs/bpf/enforcer-{test}-{}", std::process::id()));
        let pins = Pins::open(&root).unwrap();
        let dataplane = Dataplane::open(pins, image).unwrap_or_else(|e| panic!("{e:#?}"));
        Self { dataplane: Some(dataplane), root }
    }

    /// What is in the kernel.
    pub(crate) fn get(&mut self) -> &mut Dataplane {
        self.dataplane.as_mut().unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.dataplane.take();
        let _ = std::fs::remove_dir_all(&self.root);
    }
}
