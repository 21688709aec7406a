//! A trail on a real file system: bent, cut, filled up.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::chain::{Fault, Tail};
use super::trail::{FILE, Limits};
use super::verify::{Report, verify};
use super::*;

fn entry(n: u64) -> Entry {
    let who = Who::Peer { uid: 0, gid: 0, pid: Some(7), user: Some("root".into()) };
    let entry = Entry::new(who, Action::Apply).about("/etc/enforcer/policy.toml");
    let difference = vec![format!("+ allow beds: tcp/{n} to any")];
    Entry { old_revision: Some(n), new_revision: Some(n + 1), difference, ..entry }
}

/// A directory with a trail of this many entries.
fn trail(entries: u64) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let mut audit = Audit::open(dir.path());
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
    // As sha256sum would say it.
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(lines[1].previous, seal::sha256(text.lines().next().unwrap().as_bytes()));
    assert!(text.starts_with("{\"sequence\":1,\"time\":\"20"), "{text}");
    assert!(text.contains("\"who\":{\"peer\":{\"uid\":0,"), "{text}");

    // And go on after a restart.
    Audit::open(dir.path()).record(Entry::new(Who::Daemon, Action::Start));
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
    // An entry of another trail, made by somebody who knows how: the next line tells.
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
        let audit = Audit::open(dir.path());
        assert!(audit.warnings()[0].contains("audit.jsonl:2: this line is cut off"));
        let torn = fs::read(dir.path().join("audit.torn")).unwrap();
        assert_eq!(torn, [&good[second..cut], b"\n"].concat());
        assert_eq!(fine(&file).entries, 3);
        let lines = lines(&file);
        assert_eq!(lines[1].entry.action, Action::Recovered);
        assert!(lines[2].entry.subject.as_deref().unwrap().contains("audit.torn"));
        assert_eq!(Audit::open(dir.path()).warnings(), Vec::<String>::new());
    }
}

#[test]
fn a_damaged_trail_goes_on_and_stays_damaged() {
    let (dir, file) = trail(3);
    let mut text = fs::read(&file).unwrap();
    text[30] ^= 1;
    fs::write(&file, &text).unwrap();
    let mut audit = Audit::open(dir.path());
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
    let mut audit = Audit::open(dir.path());
    let hash = fine(&file).tail.hash;
    fs::remove_file(&file).unwrap();
    audit.record(entry(3));
    let written = lines(&file);
    assert_eq!(written[0].entry.action, Action::Tamper);
    assert_eq!((written[0].sequence, &written[0].previous), (3, &hash));
    assert_eq!(verify(dir.path(), None).unwrap().faults[0].2, Fault::Begins(3));
    // A line that somebody else wrote, too.
    let mut options = fs::File::options();
    let mut other = options.append(true).open(&file).unwrap();
    std::io::Write::write_all(&mut other, b"{}\n").unwrap();
    audit.record(entry(4));
    let faults = verify(&file, None).unwrap().faults;
    assert_eq!(faults, [(file, 3, Fault::Changed)]);
    assert!(audit.warnings().iter().any(|w| w.contains("somebody else")));
}

#[test]
fn the_chain_goes_on_over_files_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { file: 2_000, files: 3 };
    let mut audit = Audit::with(dir.path(), limits);
    for n in 1..=6 {
        audit.record(entry(n));
    }
    let files = verify::files(dir.path()).unwrap();
    assert!((2..=3).contains(&files.len()), "{files:?}");
    assert_eq!(fine(dir.path()).entries, 6);
    // Without one in the middle it is no chain.
    fs::rename(&files[0], dir.path().join("kept")).unwrap();
    assert_ne!(verify(dir.path(), None).unwrap().faults, []);
    fs::rename(dir.path().join("kept"), &files[0]).unwrap();
    for n in 7..=60 {
        audit.record(entry(n));
    }
    let files = verify::files(dir.path()).unwrap();
    assert_eq!(files.len(), 4);
    assert!(files.iter().all(|file| fs::metadata(file).unwrap().len() <= 2_000));
    let report = verify(dir.path(), None).unwrap();
    assert_eq!(report.tail.sequence, 60);
    assert!(matches!(report.faults[..], [(_, 1, Fault::Begins(_))]), "{report:?}");
    // A crash between the two steps of a rotation.
    let rotated = dir.path().join("audit-000000000060.jsonl");
    fs::rename(dir.path().join(FILE), rotated).unwrap();
    let mut audit = Audit::with(dir.path(), limits);
    audit.record(entry(61));
    assert_eq!(verify(dir.path(), None).unwrap().tail.sequence, 61);
    assert_eq!(audit.warnings(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_written_waits_and_what_does_not_fit_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    // A directory where the file should be: works for root too.
    let file = dir.path().join(FILE);
    fs::create_dir(&file).unwrap();
    let mut audit = Audit::open(dir.path());
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
    let mut audit = Audit::open(dir.path());
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

    /// Bytes of any kind, put anywhere into a trail, taken out of it or put in place of others.
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
        // Opening it never fails, and what is written then is read again.
        let mut audit = Audit::open(file.parent().unwrap());
        audit.record(entry(9));
        let text = fs::read_to_string(&file).map_err(|_| ()).unwrap_or_default();
        if let Some(last) = text.lines().last() {
            let line: Line = serde_json::from_str(last).unwrap();
            prop_assert_eq!(line.entry, entry(9));
        }
    }
}
