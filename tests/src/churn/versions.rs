//! Upgrades and downgrades: daemons whose kernel programs differ, one after the other.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{VERSIONS, begin};
use crate::harness::daemon::binary;
use crate::harness::kernel::bpftool;
use crate::harness::{Daemon, Lab, number, skip};

/// `w0 = NUMBER; exit`, the end of a program or a function (Linux, Documentation/bpf/standardization).
const fn last(opcode: u8, verdict: u8) -> [u8; 16] {
    let mut code = [0; 16];
    (code[0], code[4], code[8]) = (opcode, verdict, 0x95);
    code
}

/// A 32-bit move of a constant, and a 64-bit one: for small numbers the same.
const NARROW: u8 = 0xb4;
const WIDE: u8 = 0xb7;
/// A 64-bit sum with a constant, a difference, and a 64-bit store.
const ADD: u8 = 0x07;
const SUBTRACT: u8 = 0x17;
const STORE: u8 = 0x7b;
/// The instruction `exit`.
const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

/// A daemon with different kernel programs that do the same.
#[track_caller]
fn other_build(daemon: &Daemon<'_>) -> PathBuf {
    let path = daemon.path("other-enforcer");
    patched(Path::new(&binary()), &path);
    path
}

/// Writes a program whose dispatcher and classifier end with a different instruction, and so have
/// different tags.
#[track_caller]
pub(super) fn patched(from: &Path, to: &Path) {
    let mut code = fs::read(from).expect("the binary can be read");
    // The dispatcher and both stages, each with the one for kernels without fragments; functions that they call. What the
    // last instructions are is the compiler's choice.
    let others = [(NARROW, WIDE), (WIDE, NARROW)];
    let ends = others.map(|(from, to)| [0, 1, 2].map(|verdict| (last(from, verdict), to)));
    let windows = code.windows(ends[0][0].0.len()).enumerate();
    let other = |window: &[u8]| ends.iter().flatten().find(|(end, _)| window == end);
    let found: Vec<(usize, u8)> =
        windows.filter_map(|(at, window)| Some((at, other(window)?.1))).collect();
    assert!(found.len() >= 4, "the ends of {} functions", found.len());
    // Or a counter is raised, and that is all: by subtraction then.
    let raises = |code: &[u8]| {
        code[0] == ADD && code[2..9] == [0, 0, 1, 0, 0, 0, STORE] && code[16..] == EXIT
    };
    let raised: Vec<usize> =
        code.windows(24).enumerate().filter(|(_, code)| raises(code)).map(|(at, _)| at).collect();
    for (at, opcode) in found {
        code[at] = opcode;
    }
    for at in raised {
        code[at] = SUBTRACT;
        code[at + 4..at + 8].copy_from_slice(&(-1i32).to_le_bytes());
    }
    fs::write(to, code).expect("the directory can be written");
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// Tags of the dispatcher and the classifier in force.
#[track_caller]
fn tags(daemon: &Daemon<'_>) -> [String; 2] {
    let generation = daemon.status()["policy"]["generation"].clone();
    let classifier = daemon.pin(&format!("gen-{generation}/program")).display().to_string();
    let dispatcher = daemon.attached("lan0").expect("it is attached").1.to_string();
    let tag = |by, which: &str| bpftool(&["prog", "show", by, which])["tag"].to_string();
    [tag("id", &dispatcher), tag("pinned", &classifier)]
}

/// An upgrade or, in every fifth round, a crash in the middle of one.
#[track_caller]
fn exchange(daemon: &mut Daemon<'_>, round: usize) {
    if round % 5 == 4 {
        daemon.kill9();
        daemon.run();
    } else {
        daemon.restart();
    }
}

#[test]
fn upgrades_and_downgrades_leave_no_gap() {
    let lab = Lab::gateway("versions");
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], "");
    let (mut daemon, _, timeline) = begin(&lab, daemon);
    let builds = [other_build(&daemon), PathBuf::from(binary())];
    let own = tags(&daemon);
    let mut seen = BTreeSet::from([own.clone()]);
    for round in 0..number("ENFORCER_CHURN_VERSIONS", VERSIONS) as usize {
        daemon.is_built_as(&builds[round % 2]);
        exchange(&mut daemon, round);
        let now = tags(&daemon);
        let differ = now.iter().zip(&own).filter(|(now, own)| now != own).count();
        assert_eq!(differ, if round % 2 == 0 { 2 } else { 0 }, "{now:?} {own:?}");
        assert_eq!(daemon.status()["policy"]["revision"], 1);
        seen.insert(now);
        timeline.stream().go_on();
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    println!("{:?}", timeline.judge());
}

/// A version with a different table layout leaves a directory with a different number.
#[test]
fn a_version_with_other_tables_is_taken_over_without_a_gap() {
    let lab = Lab::gateway("layouts");
    let daemon = Daemon::prepare(&lab.gw, &["lan0"], "");
    let (mut daemon, _, timeline) = begin(&lab, daemon);
    let link = format!("link-{}", lab.gw.index("lan0"));
    let own = daemon.pin(&link).parent().expect("it is in a directory").to_owned();
    for round in 0..number("ENFORCER_CHURN_VERSIONS", VERSIONS) / 5 {
        daemon.kill9();
        let other = own.with_file_name(if round % 2 == 0 { "v1" } else { "v999" });
        fs::rename(&own, &other).expect("bpffs renames");
        daemon.run();
        assert!(daemon.log().contains("is of another version"), "{}", daemon.log());
        assert!(own.join(&link).exists() && !other.exists());
        assert_eq!(daemon.status()["interfaces"][0]["enforcing"], true);
        timeline.stream().go_on();
    }
    println!("{:?}", timeline.judge());
    assert!(daemon.detach().success());
}

/// `ENFORCER_FORMER` names a binary of an earlier release.
#[test]
fn a_former_release_is_upgraded_and_comes_back() {
    const TEST: &str = "churn::versions::a_former_release_is_upgraded_and_comes_back";
    let Some(former) = std::env::var_os("ENFORCER_FORMER").map(PathBuf::from) else {
        return skip(TEST, "ENFORCER_FORMER names no binary of an earlier release");
    };
    let lab = Lab::gateway("former");
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], "");
    daemon.is_built_as(&former);
    let (mut daemon, _, timeline) = begin(&lab, daemon);
    let builds = [PathBuf::from(binary()), former];
    for round in 0..number("ENFORCER_CHURN_VERSIONS", VERSIONS) as usize {
        daemon.is_built_as(&builds[round % 2]);
        exchange(&mut daemon, round);
        assert_eq!(daemon.status()["interfaces"][0]["enforcing"], true);
        timeline.stream().go_on();
    }
    println!("{:?}", timeline.judge());
}
