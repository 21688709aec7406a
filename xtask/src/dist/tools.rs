//! Tools for building and testing packages, and their installation.
use std::path::Path;

use anyhow::Result;

use super::build;
use crate::sh::{self, Paths};

/// A program or a file, and the Debian package that provides it.
const PACKAGES: [(&str, &str); 8] = [
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ("/usr/aarch64-linux-gnu/lib/libc.a", "libc6-dev-arm64-cross"),
    ("dpkg-deb", "dpkg"),
    ("xz", "xz-utils"),
    ("readelf", "binutils"),
    ("lintian", "lintian"),
    ("debootstrap", "debootstrap"),
    ("qemu-aarch64-static", "qemu-user-static"),
];
/// The other machine's standard library for Debian's compiler.
const LIBRARY: (&str, &str) =
    ("/usr/lib/rustlib/aarch64-unknown-linux-gnu/lib", "libstd-rust-web-dev:arm64");
/// Programs from crates.io: one embeds the list of crates in a program, the other writes it to a
/// file.
const CRATES: [(&str, &str); 2] = [("cargo-auditable", "0.7.7"), ("cargo-cyclonedx", "0.5.9")];

/// Debian's packages that are missing.
pub(crate) fn packages() -> Vec<&'static str> {
    let absent = PACKAGES.iter().filter(|(file, _)| sh::which(file).is_none());
    let mut packages: Vec<&str> = absent.map(|(_, package)| *package).collect();
    if !Path::new(LIBRARY.0).is_dir() {
        packages.push(LIBRARY.1);
    }
    packages
}

/// Installs the missing programs; returns those that are still missing.
pub(crate) fn set_up(paths: &Paths, check: bool) -> Result<Vec<String>> {
    let lacking = || CRATES.into_iter().filter(|(name, _)| sh::cargo_installed(name).is_none());
    if !check {
        for (name, version) in lacking() {
            println!("installing {name} {version} (a few minutes on two cores)");
            let args = ["install", "--quiet", "--locked", name, "--version", version];
            sh::run(sh::cargo(paths).env_remove("CARGO_TARGET_DIR").args(args))?;
        }
    }
    let libraries = build::missing().into_iter().map(|machine| {
        format!("a standard library for {0} (or `rustup target add {0}`)", machine.target())
    });
    let missing: Vec<String> =
        lacking().map(|(name, _)| name.to_owned()).chain(libraries).collect();
    if missing.is_empty() {
        println!("packages: compilers for every machine, and {} programs found", CRATES.len());
    }
    Ok(missing)
}
