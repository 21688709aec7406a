//! The files of packages, as far as they can be tested on their own: scripts, units, the recipe for
//! OpenWrt. `cargo xtask test dist` tests whole packages.
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{daemon::binary, lacking, run, skip};

fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("dist")
}

#[track_caller]
fn paths(names: &[&str]) -> Vec<String> {
    let paths = names.iter().map(|name| dist().join(name));
    paths.map(|path| path.to_str().expect("plain").to_owned()).collect()
}

#[test]
fn scripts_are_sound() {
    if !lacking(&["shellcheck"]).is_empty() {
        skip("scripts", "shellcheck is not installed");
        return;
    }
    let mut scripts = Vec::new();
    for place in ["dist", "contrib"] {
        find_scripts(&dist().with_file_name(place), &mut scripts);
    }
    assert!(scripts.len() >= 6, "{scripts:?}");
    let mut words = vec!["--shell=sh"];
    words.extend(scripts.iter().map(String::as_str));
    run("shellcheck", &words);
}

/// Every shell script, whatever its name.
fn find_scripts(dir: &Path, scripts: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("it is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            find_scripts(&path, scripts);
        } else if fs::read(&path).expect("it can be read").starts_with(b"#!/bin/sh") {
            scripts.push(path.to_str().expect("plain").to_owned());
        }
    }
}

#[test]
fn units_are_sound_and_confined() {
    if !lacking(&["systemd-analyze"]).is_empty() {
        skip("units", "systemd-analyze is not installed");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory can be made");
    let units = ["enforcer.service", "enforcer-backstop.service"].map(|name| {
        let text = fs::read_to_string(dist().join("systemd").join(name)).expect("it is there");
        let path = dir.path().join(name);
        fs::write(&path, text.replace("/usr/sbin/enforcer", &binary())).expect("it is ours");
        path.display().to_string()
    });
    let [daemon, backstop] = &units;
    let verify = std::process::Command::new("systemd-analyze")
        .args(["verify", "--man=no", daemon, backstop])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&verify.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("enforcer")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
    for unit in &units {
        // 22 means 2.2: above that it fails. It includes 0.3 for adjtimex(2), which the daemon uses to ask
        // whether the clock is synchronised; setting the clock takes CAP_SYS_TIME, which the unit does not
        // have.
        let words = ["security", "--no-pager", "--offline=true", "--threshold=22", unit];
        let said = run("systemd-analyze", &words);
        println!("{}", said.lines().last().unwrap_or_default());
    }
}

/// As much of OpenWrt's build system as the recipe uses.
const RULES: &str = "INCLUDE_DIR := $(TOPDIR)\nINSTALL_DIR := install -d -m 755\n\
    INSTALL_BIN := install -m 755\nINSTALL_CONF := install -m 600\n";
const PACKAGE: &str = "define BuildPackage\nall:\n\t$(call Package/$(1)/install,$(OUT))\nendef\n";
/// The same for procd: prints a service's requests.
const PROCD: &str = r#"
procd_open_instance() { :; }
procd_close_instance() { :; }
procd_set_param() { echo "$@"; }
procd_send_signal() { echo signal "$@"; }
mount() { echo mount "$@"; }
. "$1"
start_service
reload_service
"#;

/// Tested against stand-ins, not on OpenWrt itself.
#[test]
fn the_recipe_for_openwrt_installs_a_service() {
    if !lacking(&["make"]).is_empty() {
        skip("openwrt", "make is not installed");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory can be made");
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    for (name, content) in [("rules.mk", RULES), ("package.mk", PACKAGE)] {
        fs::write(at(name), content).expect("it is ours");
    }
    let recipe = dist().join("openwrt/enforcer");
    run("cp", &["-r", &recipe.display().to_string(), &text("recipe")]);
    fs::create_dir(at("recipe/files/x86_64")).expect("it is ours");
    fs::copy(binary(), at("recipe/files/x86_64/enforcer")).expect("it was built");
    let [settings] = &paths(&["etc/enforcer.toml"])[..] else { unreachable!("one name") };
    fs::copy(settings, at("recipe/files/enforcer.toml")).expect("it is there");
    let variables = [format!("TOPDIR={}", text("")), format!("OUT={}", text("out"))];
    let words = ["-C", &text("recipe"), &variables[0], &variables[1], "ARCH=x86_64"];
    run("make", &words);
    for name in ["usr/sbin/enforcer", "etc/init.d/enforcer", "etc/enforcer/enforcer.toml"] {
        assert!(at("out").join(name).is_file(), "{name}");
    }
    let said = run("sh", &["-c", PROCD, "sh", &text("out/etc/init.d/enforcer")]);
    for line in ["command /usr/sbin/enforcer run", "respawn 0 5 0", "signal enforcer * HUP"] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
}
