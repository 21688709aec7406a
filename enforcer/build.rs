//! Finds the kernel program that `cargo xtask ebpf build` made, so that the library can include it.
//!
//! Nothing is built or downloaded here. Where there is none, an empty file takes its place:
//! `cargo build` and `cargo test` work without a BPF toolchain, and the daemon says at run time that
//! it was built without the kernel program.
use std::{
    env, fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=ENFORCER_BPF_OBJECT");
    let object = match env::var_os("ENFORCER_BPF_OBJECT").map(PathBuf::from) {
        Some(named) => {
            assert!(named.is_file(), "ENFORCER_BPF_OBJECT names no file: {}", named.display());
            named
        }
        None => known_place(),
    };
    // Cargo runs this script on every build while a file that it watches is absent.
    if !object.exists() {
        let dir = object.parent().expect("a file has a directory");
        fs::create_dir_all(dir).expect("the target directory can be written");
        let empty = fs::File::create(&object).expect("the target directory can be written");
        // Newer than this run of the script, it would make the next build run it once more.
        empty.set_modified(SystemTime::UNIX_EPOCH).expect("a new file's time can be set");
    }
    println!("cargo:rerun-if-changed={}", object.display());
    println!("cargo:rustc-env=ENFORCER_BPF_OBJECT_PATH={}", object.display());
}

/// `bpf/enforcer.bpf.o` in the target directory; `OUT_DIR` is
/// `<target>/[<triple>/]<profile>/build/<package>/out`.
fn known_place() -> PathBuf {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let triple = env::var("TARGET").expect("cargo sets TARGET");
    let mut target = out.ancestors().nth(4).map(Path::to_owned).expect("OUT_DIR is that deep");
    if target.ends_with(&triple) {
        target.pop();
    }
    target.join("bpf/enforcer.bpf.o")
}
