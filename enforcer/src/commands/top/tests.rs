//! State, keys and screens, without a daemon.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use enforcer::api::{DeviceRow, InterfaceStatus, PolicyStatus, ReasonCount, RuleRow, Status};
use enforcer::events::Event;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};

use super::keys::{Action, press};
use super::popup::Popup;
use super::state::{Snapshot, Sort, State, Tab};
use super::view::{Palette, draw};

const BED: &str = "00:1b:44:11:3a:b6";
const PUMP: &str = "00:1b:44:11:3a:b7";
const COLOURS: Palette = Palette { colour: true };

fn status(drops: u64) -> Status {
    let interface = InterfaceStatus {
        name: "lan0".into(),
        index: 2,
        mode: "native".into(),
        enforcing: true,
        backstop: "armed".into(),
        proof: "seen".into(),
        received: 1,
        runs: 1,
        transmit: None,
        note: None,
    };
    let reason = ReasonCount {
        reason: "deny".into(),
        verdict: "drop".into(),
        text: "a deny rule matches".into(),
        frames: drops,
        bytes: drops * 74,
        would_drop: 0,
        suppressed: 0,
        lost: 0,
    };
    let policy = PolicyStatus {
        file: "policy.toml".into(),
        revision: 7,
        generation: 9,
        digest: String::new(),
        since: String::new(),
        groups: 1,
        devices: 1,
        rules: 1,
        image_bytes: 4096,
    };
    Status {
        enforcing: true,
        version: "0.1.0".into(),
        pid: 1,
        started: String::new(),
        policy,
        interfaces: vec![interface],
        reasons: vec![reason],
        groups: Vec::new(),
        live: Vec::new(),
        confirm_until: None,
        warnings: Vec::new(),
    }
}

fn device(mac: &str, name: Option<&str>, dropped: u64) -> DeviceRow {
    DeviceRow {
        device: name.map(Into::into),
        mac: Some(mac.into()),
        ip: Some("10.20.0.11".into()),
        group: "beds".into(),
        mode: "enforce".into(),
        dropped,
        last_destination: Some("202.114.4.119 tcp/515".into()),
        ..DeviceRow::default()
    }
}

fn snapshot(bed: u64, pump: u64) -> Snapshot {
    let rule = RuleRow {
        id: "r-1a2b3c4d".into(),
        group: "beds".into(),
        action: "deny".into(),
        to: "202.114.4.0/24".into(),
        service: "any".into(),
        reason: Some("ICSMA-25-030-01".into()),
        owner: None,
        until: None,
        left: None,
        frames: bed,
        bytes: bed * 74,
        place: "policy.toml:9".into(),
        live: false,
    };
    let devices = vec![device(BED, Some("bed-11"), bed), device(PUMP, None, pump)];
    Snapshot { status: status(bed + pump), devices, rules: vec![rule] }
}

fn event(mac: &str, to: &str, port: u16, length: u32) -> Event {
    let ether =
        format!(r#"{{"src_mac": "{mac}", "dest_mac": "02:00:00:00:00:01", "ether_type": 2048}}"#);
    let detail = r#"{"verdict": "drop", "reason": "deny", "rule": "r-1a2b3c4d",
        "rule_reason": "ICSMA-25-030-01", "generation": 0, "revision": 0, "count": 1,
        "suppressed": 2}"#;
    let line = format!(
        r#"{{"timestamp": "2026-11-23T12:03:04.123456+01:00", "event_type": "drop",
        "in_iface": "lan0", "ether": {ether}, "src_ip": "10.20.0.11", "src_port": 40000,
        "dest_ip": "{to}", "dest_port": {port}, "proto": "TCP", "pkt_len": {length},
        "enforcer": {detail}}}"#
    );
    serde_json::from_str(&line).unwrap()
}

/// Two seconds with two devices; the second one grows faster.
fn state() -> State {
    let mut state = State::default();
    state.update(Duration::from_secs(1), snapshot(1000, 10));
    state.update(Duration::from_secs(3), snapshot(1004, 40));
    state.note(&event(BED, "202.114.4.119", 515, 100));
    state.note(&event(BED, "198.51.100.7", 443, 60));
    state.note(&event(PUMP, "198.51.100.7", 443, 1000));
    state
}

fn screen(state: &State, palette: Palette) -> (Vec<String>, TestBackend) {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| draw(frame, state, palette)).unwrap();
    let backend = terminal.backend().clone();
    let cells = backend.buffer().content();
    let row =
        |row: &[ratatui::buffer::Cell]| row.iter().map(|cell| cell.symbol()).collect::<String>();
    (cells.chunks(80).map(|cells| row(cells).trim_end().to_owned()).collect(), backend)
}

fn lines(state: &State) -> Vec<String> {
    screen(state, COLOURS).0
}

fn keys(state: &mut State, keys: &str) -> Action {
    let mut last = Action::Draw;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            '\u{8}' => KeyCode::Backspace,
            '\u{1b}' => KeyCode::Esc,
            key => KeyCode::Char(key),
        };
        last = press(state, KeyEvent::new(code, KeyModifiers::NONE));
    }
    last
}

#[test]
fn rates_come_from_what_was_before_and_the_time_between() {
    let state = state();
    assert_eq!(state.devices[BED].drops.rate, 2.0);
    assert_eq!(state.devices[PUMP].drops.rate, 15.0);
    assert_eq!(state.dropped.rate, 17.0);
    assert_eq!(state.bytes(BED), 3 * (100 + 60));
    // A reset counter must not give a negative rate.
    let mut state = state;
    state.update(Duration::from_secs(4), snapshot(6, 40));
    assert_eq!(state.devices[BED].drops.rate, 6.0);
}

#[test]
fn sorts_filters_and_keeps_the_selected_line() {
    let mut state = state();
    assert_eq!(state.keys(), [BED, PUMP]);
    keys(&mut state, "j");
    assert_eq!(state.cursor.as_deref(), Some(PUMP));
    for (sort, first) in [(Sort::Rate, PUMP), (Sort::Bytes, PUMP), (Sort::Name, PUMP)] {
        keys(&mut state, "s");
        assert_eq!((state.sort, state.keys()[0].as_str()), (sort, first));
        assert_eq!(state.keys()[state.position()], PUMP, "it moves with its device");
    }
    keys(&mut state, "/BED-\n");
    assert_eq!(state.keys(), [BED]);
    assert!(lines(&state)[2].contains("filter: BED-"));
    keys(&mut state, "/\u{1b}");
    assert_eq!(state.keys().len(), 2);
}

#[test]
fn pause_holds_everything() {
    let mut state = state();
    keys(&mut state, "p");
    state.update(Duration::from_secs(4), snapshot(5000, 40));
    state.note(&event(BED, "202.114.4.119", 515, 100));
    assert_eq!((state.devices[BED].refused(), state.bytes(BED)), (1004, 480));
    assert!(lines(&state)[0].contains("PAUSED"));
    keys(&mut state, "p");
    state.update(Duration::from_secs(5), snapshot(1008, 40));
    assert_eq!(state.devices[BED].drops.rate, 2.0, "over the two seconds since");
}

#[test]
fn devices_fit_80_columns() {
    let lines = lines(&state());
    assert_eq!(lines[0], "enforcer top  enforcing  revision 7  lan0  0 live");
    assert!(lines[1].starts_with("dropped 17.0/s  passed 0.0/s"), "{lines:#?}");
    assert!(
        lines[3]
            .starts_with("DEVICE            GROUP       DROPS    /S     BYTES TREND  LAST DEST")
    );
    let bed = "bed-11            beds        1,004   2.0      480B      █ 202.114.4.119 tcp/515";
    assert!(lines[4].starts_with(bed), "{lines:#?}");
    assert!(lines[5].starts_with(PUMP), "{lines:#?}");
    assert!(lines[23].starts_with("↑↓ select  enter detail  a allow"), "{lines:#?}");
}

#[test]
fn the_detail_shows_destinations_and_why() {
    let mut state = state();
    keys(&mut state, "\n");
    let text = lines(&state).join("\n");
    assert!(text.contains("bed-11  00:1b:44:11:3a:b6  10.20.0.11"), "{text}");
    assert!(
        text.contains("202.114.4.119 tcp/515              3      300B deny r-1a2b3c4d"),
        "{text}"
    );
    keys(&mut state, "\u{1b}");
    assert_eq!((state.detail.clone(), state.cursor.as_deref()), (None, Some(BED)));
    keys(&mut state, "2");
    let text = lines(&state).join("\n");
    assert!(text.contains("beds         deny       1,004     2.0"), "{text}");
    keys(&mut state, "3");
    assert!(lines(&state).join("\n").contains("drop  deny                     1,044    17.0"));
    assert_eq!(state.tab, Tab::Reasons);
    keys(&mut state, "?");
    assert!(lines(&state).join("\n").contains("asks for a reason, and for a yes"));
}

#[test]
fn a_destination_is_allowed_after_a_reason_and_a_yes_and_not_before() {
    let mut state = state();
    keys(&mut state, "\nja");
    assert!(lines(&state).join("\n").contains("allow bed-11 to reach 198.51.100.7, tcp/443"));
    assert_eq!(keys(&mut state, "\n"), Action::Draw, "no reason");
    assert!(lines(&state).join("\n").contains("write the reason first"));
    keys(&mut state, "CHG-1\t\u{8}\u{8}2x\n");
    assert!(lines(&state).join("\n").contains("`2x` is not a time"));
    keys(&mut state, "\u{8}h\n");
    let text = lines(&state).join("\n");
    assert!(text.contains("for 2h") && text.contains("reason: CHG-1"), "{text}");
    let mut other = state.clone();
    assert_eq!(keys(&mut other, "n"), Action::Draw, "anything else is a no");
    assert_eq!(other.popup, Popup::None);
    let Action::Allow(form, seconds) = keys(&mut state, "y") else { panic!("nothing is asked") };
    assert_eq!((form.target.as_str(), form.to.as_str()), ("bed-11", "198.51.100.7"));
    assert_eq!((form.service.as_str(), form.reason.as_str(), seconds), ("tcp/443", "CHG-1", 7200));
}

#[test]
fn trouble_is_said_and_nothing_drives_the_terminal() {
    let mut state = state();
    state.lose("the daemon is not running: no answer on /run/e.sock".into());
    assert!(lines(&state)[0].contains("NO ANSWER  the daemon is not running"));
    let mut evil = snapshot(1, 1);
    evil.devices[0].device = Some("a\x1b[2J".into());
    state.update(Duration::from_secs(9), evil);
    let text = lines(&state).join("\n");
    assert!(!text.contains('\x1b') && !text.contains("NO ANSWER"), "{text}");
}

#[test]
fn without_colour_there_is_none_and_with_it_only_sixteen() {
    let all = |palette| {
        let (_, backend) = screen(&state(), palette);
        let colours = backend.buffer().content().iter().flat_map(|cell| [cell.fg, cell.bg]);
        colours.collect::<std::collections::HashSet<Color>>()
    };
    assert_eq!(all(Palette { colour: false }), [Color::Reset].into());
    let colours = all(COLOURS);
    assert!(colours.contains(&Color::Red) && colours.contains(&Color::Green), "{colours:?}");
    assert!(
        colours.iter().all(|c| !matches!(c, Color::Rgb(..) | Color::Indexed(_))),
        "{colours:?}"
    );
    let (_, backend) = screen(&state(), Palette { colour: false });
    let selected = &backend.buffer()[(0, 4)];
    assert!(selected.modifier.contains(Modifier::REVERSED), "the selected line is seen");
}

#[test]
fn a_small_terminal_is_no_reason_to_fail() {
    let mut state = state();
    for (width, height) in [(1, 1), (20, 5), (40, 12), (200, 60)] {
        for open in ["", "\n", "a", "?", "2", "3"] {
            state.popup = Popup::None;
            keys(&mut state, open);
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &state, COLOURS)).unwrap();
        }
    }
}
