//! A trail on a real file system: edited, cut, filled up.
// tidy: long because all that may happen to a trail is in one place.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::chain::{Fault, Tail};
use super::trail::{FILE, FILES_BEFORE, Limits, Opened, Trail};
use super::verify::{Report, verify};
use super::*;

/// The default of the settings.
const KEEP: SignedDuration = crate::config::AUDIT_KEEP;

fn entry(n: u64) -> Entry {
    let who = Who::Peer { uid: 0, gid: 0, pid: Some(7), user: Some("root".into()) };
    let entry = Entry::new(who, Action::Apply).about("/etc/enforcer/policy.toml");
    let difference = vec![format!("+ allow beds: tcp/{n} to any")];
    Entry { old_revision: Some(n), new_revision: Some(n + 1), difference, ..entry }
}

/// A directory with a trail of this many entries.
fn trail(entries: u64) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let mut audit = Audit::open(dir.path(), KEEP);
    (1..=entries).for_each(|n| audit.record(entry(n)));
    assert_eq!(audit.warnings(), Vec::<String>::new());
    let file = dir.path().join(FILE);
    (dir, file)
}

fn fine(path: &Path) -> Report {
    let report = verify(path, None).unwrap();
    assert_eq!(report.faults, []);
    report
}

fn lines(file: &Path) -> Vec<Line> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn entries_come_back_as_they_were_said() {
    let (dir, file) = trail(3);
    let report = fine(dir.path());
    assert_eq!((report.entries, report.first, report.tail.sequence), (3, Some(1), 3));
    assert_eq!(fine(&file), report);
    let lines = lines(&file);
    assert_eq!(lines[0].previous, Tail::default().hash);
    assert_eq!(lines[2].entry, entry(3));
    // As sha256sum prints it.
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(lines[1].previous, digest::sha256(text.lines().next().unwrap().as_bytes()));
    assert!(text.starts_with("{\"sequence\":1,\"time\":\"20"), "{text}");
    assert!(text.contains("\"who\":{\"peer\":{\"uid\":0,"), "{text}");

    // And go on after a restart.
    Audit::open(dir.path(), KEEP).record(Entry::new(Who::Daemon, Action::Start));
    assert_eq!(fine(dir.path()).tail.sequence, 4);
}

#[test]
fn every_flip_and_every_cut_is_found() {
    let (_dir, file) = trail(3);
    let good = fs::read(&file).unwrap();
    let whole = fine(&file);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&file, &bad).unwrap();
        assert_ne!(verify(&file, None).unwrap().faults, [], "flipped at {at}");
        fs::write(&file, &good[..at]).unwrap();
        let report = verify(&file, None).unwrap();
        let at_an_end = at == 0 || good[at - 1] == b'\n';
        assert_eq!(report.faults.is_empty(), at_an_end, "cut at {at}");
        let last = verify(&file, Some(&whole.tail.hash)).unwrap();
        assert_ne!(last.faults, [], "cut at {at}, with the last hash");
    }
    fs::write(&file, &good).unwrap();
    assert_eq!(verify(&file, Some(&whole.tail.hash)).unwrap().faults, []);
}

#[test]
fn lines_that_are_gone_moved_or_doubled_are_found_with_their_place() {
    let (_dir, file) = trail(4);
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let faults = |order: &[usize]| {
        fs::write(&file, order.iter().map(|n| lines[*n]).collect::<String>()).unwrap();
        let faults = verify(&file, None).unwrap().faults;
        faults.into_iter().map(|(_, line, fault)| (line, fault)).collect::<Vec<_>>()
    };
    assert_eq!(faults(&[0, 1, 2, 3]), []);
    assert_eq!(faults(&[0, 2, 3]), [(2, Fault::Sequence { expected: 2, found: 3 })]);
    assert_eq!(faults(&[0, 1, 1, 2, 3])[0], (3, Fault::Sequence { expected: 3, found: 2 }));
    assert_eq!(faults(&[1, 0, 2, 3])[0], (2, Fault::Sequence { expected: 3, found: 1 }));
    // A forged entry with a valid digest, from another trail: the next line reveals it.
    let (_other, other) = trail(4);
    let other = fs::read_to_string(other).unwrap();
    let forged = other.split_inclusive('\n').nth(1).unwrap();
    fs::write(&file, [lines[0], forged, lines[2], lines[3]].concat()).unwrap();
    let report = verify(&file, None).unwrap();
    let found: Vec<_> = report.faults.iter().map(|(_, line, fault)| (*line, fault)).collect();
    assert_eq!(found, [(2, &Fault::Previous), (3, &Fault::Previous)]);
}

#[test]
fn a_torn_line_is_set_aside_and_said() {
    let (dir, file) = trail(2);
    let good = fs::read(&file).unwrap();
    let second = good.iter().position(|b| *b == b'\n').unwrap() + 1;
    for cut in [second + 1, second + 40, good.len() - 1] {
        fs::write(&file, &good[..cut]).unwrap();
        let _ = fs::remove_file(dir.path().join("audit.torn"));
        let audit = Audit::open(dir.path(), KEEP);
        assert!(audit.warnings()[0].contains("audit.jsonl:2: this line is cut off"));
        let torn = fs::read(dir.path().join("audit.torn")).unwrap();
        assert_eq!(torn, [&good[second..cut], b"\n"].concat());
        assert_eq!(fine(&file).entries, 3);
        let lines = lines(&file);
        assert_eq!(lines[1].entry.action, Action::Recovered);
        assert!(lines[2].entry.subject.as_deref().unwrap().contains("audit.torn"));
        assert_eq!(Audit::open(dir.path(), KEEP).warnings(), Vec::<String>::new());
    }
}

#[test]
fn a_damaged_trail_goes_on_and_stays_damaged() {
    let (dir, file) = trail(3);
    let mut text = fs::read(&file).unwrap();
    text[30] ^= 1;
    fs::write(&file, &text).unwrap();
    let mut audit = Audit::open(dir.path(), KEEP);
    let warnings = audit.warnings();
    assert!(warnings[0].contains("audit.jsonl:1: this line was changed"), "{warnings:?}");
    audit.record(entry(9));
    let report = verify(dir.path(), None).unwrap();
    assert!(report.faults.iter().all(|(_, line, _)| *line < 3), "{report:?}");
    assert_ne!(report.faults, []);
    assert!(report.entries > 4, "{report:?}");
}

#[test]
fn a_trail_that_is_taken_away_while_it_is_written_is_said() {
    let (dir, file) = trail(2);
    let mut audit = Audit::open(dir.path(), KEEP);
    let hash = fine(&file).tail.hash;
    fs::remove_file(&file).unwrap();
    audit.record(entry(3));
    let written = lines(&file);
    assert_eq!(written[0].entry.action, Action::Tamper);
    assert_eq!((written[0].sequence, &written[0].previous), (3, &hash));
    assert_eq!(verify(dir.path(), None).unwrap().faults[0].2, Fault::Begins(3));
    // Also a line that another program wrote.
    let mut options = fs::File::options();
    let mut other = options.append(true).open(&file).unwrap();
    std::io::Write::write_all(&mut other, b"{}\n").unwrap();
    audit.record(entry(4));
    let faults = verify(&file, None).unwrap().faults;
    assert_eq!(faults, [(file, 3, Fault::Changed)]);
    assert!(audit.warnings().iter().any(|w| w.contains("another program")));
}

/// Files of the size of a few entries.
const SMALL: Limits = Limits { file: 2_000, keep: KEEP };

#[test]
fn the_chain_goes_on_over_packed_files_and_nothing_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut audit = Audit::with(dir.path(), SMALL);
    (1..=60).for_each(|n| audit.record(entry(n)));
    audit.trail.as_mut().unwrap().settle();
    let files = verify::files(dir.path()).unwrap();
    assert!(files.len() > FILES_BEFORE + 2, "{files:?}");
    let (newest, old) = files.split_last().unwrap();
    assert!(newest.ends_with(FILE) && old.iter().all(|file| files::is_packed(file)), "{files:?}");
    let report = fine(dir.path());
    assert_eq!((report.entries, report.first, report.forgot), (60, Some(1), None));
    // Also a single one, and unpacked by `zcat`.
    assert_eq!(fine(&old[0]).first, Some(1));
    // Without the first one, or one in the middle, the chain is broken.
    for missing in [&old[0], &old[4]] {
        fs::rename(missing, dir.path().join("kept")).unwrap();
        assert_ne!(verify(dir.path(), None).unwrap().faults, []);
        fs::rename(dir.path().join("kept"), missing).unwrap();
    }
    // A crash between the two steps of a rotation.
    let rotated = dir.path().join("audit-000000000060.jsonl");
    fs::rename(dir.path().join(FILE), rotated).unwrap();
    let mut audit = Audit::with(dir.path(), SMALL);
    audit.record(entry(61));
    audit.trail.as_mut().unwrap().settle();
    assert_eq!((fine(dir.path()).tail.sequence, audit.warnings()), (61, Vec::new()));
    // All but the current file is packed now: the chain goes on from the last packed one.
    fs::remove_file(dir.path().join(FILE)).unwrap();
    Audit::with(dir.path(), SMALL).record(entry(61));
    assert_eq!(fine(dir.path()).tail.sequence, 61);
}

#[test]
fn a_packed_file_that_was_bent_or_cut_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut audit = Audit::with(dir.path(), SMALL);
    (1..=9).for_each(|n| audit.record(entry(n)));
    audit.trail.as_mut().unwrap().settle();
    let packed = verify::files(dir.path()).unwrap().remove(0);
    let (good, text) = (fs::read(&packed).unwrap(), files::read(&packed).unwrap().text);
    let mut harmless = 0;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        for bad in [&bad[..], &good[..at]] {
            fs::write(&packed, bad).unwrap();
            let faults = verify(dir.path(), None).unwrap().faults;
            // The gzip header has the time and system, and the last byte before the checksums may have
            // unused bits; no entry depends on them.
            let content = files::read(&packed).unwrap();
            let same = content.damage.is_none() && content.text == text;
            assert_eq!(faults.is_empty(), same, "at {at}");
            assert!(faults.iter().all(|(file, ..)| file.starts_with(dir.path())), "at {at}");
            let unused = (4..10).contains(&at) || at == good.len() - 9;
            harmless += usize::from(same && !unused);
        }
    }
    // A reference back may be bent to another place with the same text.
    assert!(harmless <= 4, "{harmless} of {}", good.len());
}

/// Entries at these times, written without packing.
fn at_times(dir: &Path, limits: Limits, times: impl IntoIterator<Item = Timestamp>) -> Trail {
    let Opened { mut trail, found, .. } = Trail::open(dir, limits, None).unwrap();
    assert_eq!(found, Vec::<String>::new());
    for (n, time) in (1..).zip(times) {
        trail.append(&format!("{time:.6}"), entry(n)).unwrap();
    }
    trail
}

fn day(number: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + number * 86_400).unwrap()
}

#[test]
fn what_is_older_than_the_settings_ask_for_goes_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    // An entry each five days, for eight years.
    let limits = Limits { file: 5_000, ..SMALL };
    drop(at_times(dir.path(), limits, (0..8 * 73).map(|n| day(n * 5))));
    let report = fine(dir.path());
    let forgot = report.forgot.clone().expect("it says what went");
    assert_eq!((forgot.first > 1, Some(forgot.last + 1)), (true, report.first), "{forgot:?}");
    let files = verify::files(dir.path()).unwrap();
    let mut entries = Vec::new();
    verify::lines(&files, &mut |_, _, line, _| {
        entries.push(serde_json::from_slice::<Line>(line).unwrap());
    })
    .unwrap();
    // All of six years is kept, and beyond that less than the span of two files.
    let first: Timestamp = entries[0].time.parse().unwrap();
    let six_years = day(8 * 365).checked_sub(KEEP).unwrap();
    assert!(first < six_years, "{first}");
    assert!(first > six_years - SignedDuration::from_hours(24 * 5 * 50), "{first}");
    let told: Vec<&Line> =
        entries.iter().filter(|line| line.entry.action == Action::Forgot).collect();
    assert!(told.len() > 1, "{told:?}");
    // Removed ranges follow each other without a gap.
    let ranges: Vec<_> = told.iter().filter_map(|line| line.entry.forgot.clone()).collect();
    assert!(ranges.windows(2).all(|pair| pair[0].last + 1 == pair[1].first), "{ranges:?}");
    // Removing one more file breaks the chain.
    fs::remove_file(&files[0]).unwrap();
    let faults = verify(dir.path(), None).unwrap().faults;
    assert!(matches!(faults[..], [(_, 1, Fault::Begins(_))]), "{faults:?}");
}

#[test]
fn a_clock_that_is_wrong_removes_nothing() {
    let now = |n: i64| day(n / 20);
    for wrong in [-20_000, 40_000] {
        let dir = tempfile::tempdir().unwrap();
        // For a while, across a rotation.
        let times = (0..60).map(|n| if (10..14).contains(&n) { day(wrong) } else { now(n) });
        drop(at_times(dir.path(), SMALL, times));
        let report = fine(dir.path());
        assert_eq!((report.first, report.entries), (Some(1), 60), "{wrong}");
    }
}

/// Lines as the version before `audit_keep` wrote them.
const BEFORE: &str = include_str!("../../tests/data/audit/before-audit-keep.jsonl");

#[test]
fn trails_of_the_version_before_verify_after_the_upgrade() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), BEFORE).unwrap();
    assert_eq!(fine(dir.path()).entries, 3);
    let mut audit = Audit::with(dir.path(), SMALL);
    assert_eq!(audit.warnings(), Vec::<String>::new());
    (4..=9).for_each(|n| audit.record(entry(n)));
    audit.trail.as_mut().unwrap().settle();
    assert_eq!(fine(dir.path()).entries, 9);
}

#[test]
fn what_the_version_before_removed_is_said_once_and_then_nothing_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    drop(at_times(dir.path(), SMALL, (0..60).map(day)));
    let files = verify::files(dir.path()).unwrap();
    // As that version left it: eight files besides the current one, older ones removed silently.
    let gone = files.len() - 1 - FILES_BEFORE;
    assert!(gone > 0, "{files:?}");
    files[..gone].iter().for_each(|file| fs::remove_file(file).unwrap());
    let before = fine(dir.path());
    assert!(before.first > Some(1));

    let mut audit = Audit::with(dir.path(), SMALL);
    audit.record(entry(61));
    audit.trail.as_mut().unwrap().settle();
    let report = fine(dir.path());
    let forgot = report.forgot.expect("the upgrade says what is missing");
    assert_eq!((forgot.first, Some(forgot.last + 1)), (1, before.first));
    assert_eq!(report.entries, before.entries + 2);
    // A later start has nothing to add.
    Audit::with(dir.path(), SMALL).record(entry(62));
    assert_eq!(fine(dir.path()).entries, before.entries + 3);
    fs::remove_file(verify::files(dir.path()).unwrap().remove(0)).unwrap();
    let faults = verify(dir.path(), None).unwrap().faults;
    assert!(matches!(faults[..], [(_, 1, Fault::Begins(_))]), "{faults:?}");
}

#[test]
fn refusals_of_a_day_are_recorded_when_the_daemon_ends() {
    let (dir, file) = trail(0);
    let mut audit = Audit::open(dir.path(), KEEP);
    let who = Who::Peer { uid: 7, gid: 7, pid: None, user: None };
    let refused = Entry::new(who, Action::Refused).about("PUT /v1/policy");
    (0..500).for_each(|_| audit.refused(refused.clone(), 1));
    assert_eq!(fine(&file).entries, 10);
    audit.record(Entry::new(Who::Daemon, Action::Stop));
    let written = lines(&file);
    assert_eq!(written.len(), 12);
    assert!(written[10].entry.result.starts_with("refused, 490 more"), "{:?}", written[10]);
}

#[test]
fn what_cannot_be_written_waits_and_what_does_not_fit_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    // A directory where the file should be: works for root too.
    let file = dir.path().join(FILE);
    fs::create_dir(&file).unwrap();
    let mut audit = Audit::open(dir.path(), KEEP);
    let total = MAX_WAITING as u64 + 5;
    (1..=total).for_each(|n| audit.record(entry(n)));
    assert_eq!((audit.waiting(), audit.lost()), (MAX_WAITING, 5));
    let warning = &audit.warnings()[0];
    assert!(warning.contains("audit.jsonl") && warning.contains("5 are lost"), "{warning}");
    assert!(audit.announce(entry(0)).unwrap_err().contains("cannot open"));
    assert_eq!(audit.waiting(), MAX_WAITING, "what was refused does not wait");

    fs::remove_dir(&file).unwrap();
    audit.retry();
    assert_eq!((audit.waiting(), audit.lost()), (0, 5));
    assert_eq!(fine(dir.path()).entries, MAX_WAITING as u64 + 1);
    let lines = lines(&file);
    assert_eq!(lines[0].entry.action, Action::Lost);
    assert!(lines[0].entry.subject.as_deref().unwrap().starts_with("5 entries"));
    assert_eq!(lines[1].entry.new_revision, Some(7), "the oldest went");
    assert!(audit.announce(entry(0)).is_ok());
}

#[test]
fn an_entry_has_a_size() {
    let (dir, file) = trail(0);
    let mut audit = Audit::open(dir.path(), KEEP);
    let huge = "ü".repeat(100_000);
    let difference = vec![huge.clone(); 10_000];
    audit.record(Entry { difference, reason: Some(huge.clone()), result: huge, ..entry(1) });
    assert!(fs::metadata(&file).unwrap().len() < 100_000);
    let written = &lines(&file)[0].entry;
    assert_eq!(written.difference.last().unwrap(), "… and 9936 more");
    fine(dir.path());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 32, ..ProptestConfig::default() })]

    /// Arbitrary bytes inserted into a trail, removed from it or replaced.
    #[test]
    fn no_edit_goes_unseen(at in any::<prop::sample::Index>(), gone in 0usize..300,
                           put in prop::collection::vec(any::<u8>(), 0..300)) {
        let (_dir, file) = trail(3);
        let good = fs::read(&file).unwrap();
        let hash = fine(&file).tail.hash;
        let at = at.index(good.len());
        let rest = good.get(at + gone..).unwrap_or_default();
        let bad = [&good[..at], &put, rest].concat();
        prop_assume!(bad != good);
        fs::write(&file, &bad).unwrap();
        prop_assert!(!verify(&file, Some(&hash)).unwrap().faults.is_empty());
        // Opening it never fails, and new entries can be read back.
        let mut audit = Audit::open(file.parent().unwrap(), KEEP);
        audit.record(entry(9));
        let text = fs::read_to_string(&file).map_err(|_| ()).unwrap_or_default();
        if let Some(last) = text.lines().last() {
            let line: Line = serde_json::from_str(last).unwrap();
            prop_assert_eq!(line.entry, entry(9));
        }
    }
}
