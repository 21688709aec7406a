//! The programs under test, which the replay program calls.
use std::{fs, path::PathBuf, time::Duration};

use aya::{
    Ebpf, EbpfLoader,
    maps::{
        Array, HashMap, MapData, PerCpuArray, PerCpuHashMap, PerCpuValues, ProgramArray, lpm_trie,
    },
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
    util::nr_cpus,
};

use super::world::{DEVICES, FEW, FRAME, SEVERAL, SINGLE, World, has_several, mac};

/// Value of a prefix with several services in the plain program.
const SET: u32 = 1 << 24;

/// The programs of `enforcer-ebpf/src/bin/yardstick.rs`, with a table of frames.
pub(crate) struct Yardstick {
    ebpf: Ebpf,
    /// Number of frames in the table.
    frames: u32,
}

/// Whether a program supports frames in fragments, which selects the replay program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Fragments,
    Linear,
}

impl Yardstick {
    /// Loads them; the table has room for this many frames, the plain program uses this world.
    pub(crate) fn load(frames: u32, world: Option<&World>) -> Self {
        let file = std::env::var_os("ENFORCER_YARDSTICK").expect("cargo xtask bench says where");
        let prefixes = world.map_or(1, |world| world.groups.iter().map(Vec::len).sum()) as u32;
        let (v4, v6) =
            if world.is_some_and(|world| world.v6) { (1, prefixes) } else { (prefixes, 1) };
        let ebpf = EbpfLoader::new()
            .map_max_entries("FRAMES", frames)
            .map_max_entries("V4", v4)
            .map_max_entries("V6", v6)
            .load_file(file)
            .expect("the yardsticks load");
        let mut this = Self { ebpf, frames: 0 };
        for name in ["replay", "replay_linear", "empty", "empty_linear", "plain"] {
            this.program(name).load().expect(name);
        }
        if let Some(world) = world {
            this.fill(world);
        }
        this
    }

    /// Fills the table with a power of two of frames.
    pub(crate) fn lay(&mut self, frames: &[Vec<u8>]) {
        assert!(frames.len().is_power_of_two());
        let mut table: Array<_, [u64; FRAME / 8]> =
            self.ebpf.map_mut("FRAMES").unwrap().try_into().unwrap();
        for (number, frame) in frames.iter().enumerate() {
            let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
            let mut words = [0; FRAME / 8];
            words.iter_mut().zip(frame.chunks(8)).for_each(|(to, from)| *to = word(from));
            table.set(number as u32, words, 0).unwrap();
        }
        self.frames = frames.len() as u32;
        self.seek(0);
    }

    /// Makes a frame of the table the next one.
    pub(crate) fn seek(&mut self, number: u32) {
        let mut cursor: PerCpuArray<_, [u32; 2]> =
            self.ebpf.map_mut("CURSOR").unwrap().try_into().unwrap();
        let value = vec![[number, self.frames - 1]; nr_cpus().unwrap()];
        cursor.set(0, PerCpuValues::try_from(value).unwrap(), 0).unwrap();
    }

    /// One of the programs.
    pub(crate) fn program(&mut self, name: &str) -> &mut Xdp {
        self.ebpf.program_mut(name).unwrap().try_into().unwrap()
    }

    /// A descriptor of one of the programs.
    pub(crate) fn descriptor(&mut self, name: &str) -> ProgramFd {
        self.program(name).fd().unwrap().try_clone().unwrap()
    }

    fn fill(&mut self, world: &World) {
        let mut devices: HashMap<_, u64, u32> =
            self.ebpf.map_mut("DEVICES").unwrap().try_into().unwrap();
        for device in 0..DEVICES {
            let [a, b, c, d, e, f] = mac(device);
            let key = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
            devices.insert(key, world.group(device) as u32, 0).unwrap();
        }
        let mut services: HashMap<_, u64, u8> =
            self.ebpf.map_mut("SERVICES").unwrap().try_into().unwrap();
        for port in SEVERAL {
            services.insert(u64::from(SET) << 32 | u64::from(service(port)), 1, 0).unwrap();
        }
        let name = if world.v6 { "V6" } else { "V4" };
        let map = self.ebpf.map_mut(name).unwrap();
        if world.v6 {
            let mut trie: lpm_trie::LpmTrie<_, [u32; 5], u32> = map.try_into().unwrap();
            each(world, |group, (address, length), value| {
                let words = address.to_be_bytes();
                let word =
                    |n: usize| u32::from_ne_bytes(words[4 * n..4 * n + 4].try_into().unwrap());
                let key =
                    lpm_trie::Key::new(32 + length, [group, word(0), word(1), word(2), word(3)]);
                trie.insert(&key, value, 0).unwrap();
            });
        } else {
            let mut trie: lpm_trie::LpmTrie<_, [u32; 2], u32> = map.try_into().unwrap();
            each(world, |group, (address, length), value| {
                let key = lpm_trie::Key::new(32 + length, [group, (address as u32).to_be()]);
                trie.insert(&key, value, 0).unwrap();
            });
        }
    }

    /// Selects the program under test.
    pub(crate) fn aim(&mut self, kind: Kind, program: &ProgramFd) {
        let name = if kind == Kind::Linear { "TARGET_LINEAR" } else { "TARGET" };
        let mut target: ProgramArray<_> = self.ebpf.map_mut(name).unwrap().try_into().unwrap();
        target.set(0, program, 0).expect("programs of one kind");
    }

    /// Runs it `repeat` times; returns nanoseconds per frame according to the kernel, and the last
    /// action.
    pub(crate) fn run(&mut self, kind: Kind, repeat: u32) -> (Duration, u32) {
        let frame = [0; FRAME];
        let options = TestRunOptions { data_in: Some(&frame), repeat, ..TestRunOptions::new() };
        let name = if kind == Kind::Linear { "replay_linear" } else { "replay" };
        let result = self.program(name).test_run(options).expect("a test run");
        (result.duration, result.return_value)
    }
}

fn service(port: u16) -> u32 {
    6 << 16 | u32::from(port)
}

/// Visits each prefix with the value that the plain program has for it.
fn each(world: &World, mut visit: impl FnMut(u32, super::world::Prefix, u32)) {
    for (group, prefixes) in world.groups.iter().enumerate() {
        for (index, prefix) in prefixes.iter().enumerate() {
            let value = if has_several(index) { SET } else { service(SINGLE) };
            visit(group as u32, *prefix, value);
        }
    }
}

/// xdp-filter's own object, with entries for the devices whose frames it sees.
pub(crate) struct XdpFilter {
    ebpf: Ebpf,
    name: String,
    pins: PathBuf,
}

/// Bit of xdp-filter's entries: the entry applies to the source. The other bit is 2.
const SOURCE: u64 = 1;

impl XdpFilter {
    /// Loads one of Debian's, with entries for [`FEW`] devices from the `first` on; `None` if
    /// xdp-tools are not installed.
    pub(crate) fn load(name: &str, first: u32) -> Option<Self> {
        let file = glob(&format!("{name}.o"))?;
        let pins = PathBuf::from(format!("/sys/fs/bpf/enforcer-{name}-{}", std::process::id()));
        fs::create_dir(&pins).expect("a directory for pins");
        let ebpf = EbpfLoader::new().default_map_pin_directory(&pins).load_file(file);
        let mut this = Self { ebpf: ebpf.expect("xdp-filter loads"), name: name.to_owned(), pins };
        let cpus = nr_cpus().unwrap();
        let value = || PerCpuValues::try_from(vec![SOURCE; cpus]).unwrap();
        if let Some(map) = this.ebpf.map_mut("filter_ethernet") {
            let mut map: PerCpuHashMap<&mut MapData, [u8; 6], u64> = map.try_into().unwrap();
            (first..first + FEW).for_each(|device| map.insert(mac(device), value(), 0).unwrap());
        }
        if let Some(map) = this.ebpf.map_mut("filter_ipv4") {
            let mut map: PerCpuHashMap<&mut MapData, u32, u64> = map.try_into().unwrap();
            for device in first..first + FEW {
                map.insert((0x0a40_0000 + device).to_be(), value(), 0).unwrap();
            }
        }
        if let Some(map) = this.ebpf.map_mut("filter_ipv6") {
            let mut map: PerCpuHashMap<&mut MapData, [u8; 16], u64> = map.try_into().unwrap();
            for device in first..first + FEW {
                let address = 0xfd00 << 112 | u128::from(device);
                map.insert(address.to_be_bytes(), value(), 0).unwrap();
            }
        }
        this.program().load().expect("xdp-filter loads");
        Some(this)
    }

    fn program(&mut self) -> &mut Xdp {
        self.ebpf.program_mut(&self.name).unwrap().try_into().unwrap()
    }

    /// Its descriptor.
    pub(crate) fn descriptor(&mut self) -> ProgramFd {
        self.program().fd().unwrap().try_clone().unwrap()
    }
}

impl Drop for XdpFilter {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.pins);
    }
}

/// A distribution's directory of libxdp's objects, whose name contains the architecture.
fn glob(name: &str) -> Option<PathBuf> {
    let machines = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    machines
        .chain([PathBuf::from("/usr/lib")])
        .map(|dir| dir.join("bpf").join(name))
        .find(|f| f.is_file())
}
