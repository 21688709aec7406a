use super::*;

fn saved() -> Saved {
    let bundle = PolicyBundle {
        file: "p.toml".into(),
        text: "schema = 1\n".into(),
        files: BTreeMap::from([("a".into(), "10.0.0.0/8\n".into())]),
        ..PolicyBundle::default()
    };
    let digest = crate::daemon::active::digest(&bundle);
    Saved { bundle, revision: 3, since: "2026-11-23T00:00:00Z".into(), digest, aside: None }
}

#[test]
fn a_policy_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path()).0;
    assert_eq!(state.policy(), None);
    state.prepare(&saved()).unwrap().commit().unwrap();
    assert_eq!(state.policy(), Some(saved()));
    state.prepare(&Saved { revision: 9, ..saved() }).unwrap().discard();
    assert_eq!(state.policy().unwrap().revision, 3);
}

#[test]
fn damaged_live_changes_are_those_before() {
    use crate::policy::Mode;
    use crate::policy::live::{LiveAction, LiveChange};
    let change = |target: &str| LiveChange {
        id: format!("m-{target}"),
        target: target.into(),
        action: LiveAction::Mode { mode: Mode::Quarantine },
        reason: None,
        owner: None,
        until: None,
        lasts: None,
        deadline: Some(77),
        left: None,
        since: 1,
        by: "root".into(),
    };
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path()).0;
    let stamp = Stamp { boot: "5e1f".into(), at: 70 };
    let kept =
        |changes: &Vec<LiveChange>| Live { changes: changes.clone(), stamp: Some(stamp.clone()) };
    assert_eq!(state.live(), (Live::default(), None));
    let (one, two) = (vec![change("a")], vec![change("a"), change("b")]);
    for changes in [&one, &two] {
        state.prepare_live(changes, &stamp).unwrap().commit().unwrap();
        assert_eq!(state.live(), (kept(changes), None));
    }
    let path = dir.path().join(LIVE);
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        for bytes in [&bad, &good[..at].to_vec()] {
            fs::write(&path, bytes).unwrap();
            let (live, problem) = state.live();
            if live != kept(&two) {
                assert_eq!(live, kept(&one), "at {at}");
                assert!(problem.unwrap().contains("live.json is damaged"));
            }
        }
    }
    fs::write(dir.path().join(LIVE_BEFORE), "").unwrap();
    fs::write(&path, "").unwrap();
    assert!(state.live().1.unwrap().contains("all live changes are lost"));
}

#[test]
fn a_file_that_was_cut_or_flipped_is_no_policy() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path()).0;
    state.prepare(&saved()).unwrap().commit().unwrap();
    let path = dir.path().join("policy.json");
    let good = fs::read(&path).unwrap();
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        assert_eq!(state.policy(), None, "cut at {length}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        // If it can still be read, its documents must be identical.
        if let Some(read) = state.policy() {
            assert_eq!(read.bundle.text, saved().bundle.text, "flipped at {at}");
            assert_eq!(read.bundle.files, saved().bundle.files, "flipped at {at}");
        }
    }
}
