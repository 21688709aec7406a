use super::*;
use crate::fault::Fault as _;
use crate::setup::documents::SETTINGS as SHIPPED;

fn error(text: &str) -> String {
    read("enforcer.toml", text).unwrap_err().to_string()
}

#[test]
fn nothing_said_is_the_defaults() {
    assert_eq!(read("enforcer.toml", "").unwrap(), Settings::default());
}

#[test]
fn everything_said() {
    let text = r#"
        interfaces = ["lan0", "eth1.20"]
        policy = "/srv/policy.toml"
        socket = "/run/e.sock"
        socket_group = "biomed"
        state_dir = "/srv/state"
        bpffs = "/sys/fs/bpf/e"
        xdp = "generic"
        viewer_group = "ward"
        operator_group = "netops"
        audit_required = true
        audit_keep = "18mo"
        kernel_log = true
        flow_cache = false
        answers = 100_000
        backstop = "required"
        clock = "trusted"
        [metrics]
        listen = "[::1]:9750"
    "#;
    let settings = read("enforcer.toml", text).unwrap();
    let expected = Settings {
        interfaces: vec!["lan0".into(), "eth1.20".into()],
        policy: "/srv/policy.toml".into(),
        socket: "/run/e.sock".into(),
        socket_group: Some("biomed".into()),
        state_dir: "/srv/state".into(),
        bpffs: "/sys/fs/bpf/e".into(),
        xdp: Xdp::Generic,
        viewer_group: Some("ward".into()),
        operator_group: Some("netops".into()),
        audit_required: true,
        audit_keep: SignedDuration::from_hours(546 * 24),
        kernel_log: true,
        flow_cache: false,
        answers: Size::for_flows(1 << 17).unwrap(),
        clock: Clock::Trusted,
        backstop: Backstop::Required,
        metrics: Some("[::1]:9750".parse().unwrap()),
        sinks: Vec::new(),
    };
    assert_eq!(settings, expected);
}

#[test]
fn the_shipped_file_has_the_defaults_written_out() {
    assert!(SHIPPED.lines().all(|line| line.is_empty() || line.starts_with('#')));
    let defaults = SHIPPED.lines().filter_map(|line| {
        line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#']) && !rest.is_empty())
    });
    let text: String = defaults.flat_map(|line| [line, "\n"]).collect();
    assert_eq!(read("enforcer.toml", &text).unwrap(), Settings::default());
    // Every key with a default is in the shipped file with that default.
    for key in KEYS {
        let has_none = ["socket_group", "viewer_group", "operator_group", "metrics", "sinks"];
        let written = text.lines().any(|line| line.starts_with(&format!("{key} = ")));
        assert_eq!(written, !has_none.contains(&key), "{key}");
    }
}

#[test]
fn the_shipped_file_has_an_example_of_every_other_key() {
    let lines = SHIPPED.lines().filter_map(|line| line.strip_prefix("##"));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let settings = read("enforcer.toml", &text).unwrap();
    assert!(settings.socket_group.is_some() && settings.metrics.is_some());
    assert!(settings.viewer_group.is_some() && settings.operator_group.is_some());
    // Keys of sinks are shown with their defaults.
    let least = "[sinks.journald]\n[sinks.syslog]\nto = \"unix:/dev/log\"\n[sinks.file]\n\
                 path = \"/var/log/enforcer/events.json\"";
    assert_eq!(settings.sinks, read("enforcer.toml", least).unwrap().sinks);
    for keys in [&KEYS[..KEYS.len() - 2], &["listen"], &sinks::KEYS] {
        for key in keys {
            let line = |line: &str| line.trim_start_matches('#').starts_with(&format!("{key} ="));
            assert!(SHIPPED.lines().any(line), "{key}");
        }
    }
}

#[test]
fn problems_have_a_place() {
    for (text, expected) in [
        ("xdp = \"fast\"", "1:7: `fast` is not a value of `xdp`"),
        ("interfaces = [\n  \"lan0\", \"lan 1\"]", "2:11: `lan 1` cannot be the name"),
        ("interfaces = [\"a\", \"a\"]", "1:20: `a` is named twice"),
        ("interfaces = \"lan0\"", "1:14: `interfaces` must be an array, not a string"),
        ("policy = \"\"", "1:10: `policy` is empty"),
        ("socket = 1", "1:10: `socket` must be a string, not an integer"),
        ("kernel_log = \"yes\"", "1:14: `kernel_log` must be a boolean, not a string"),
        ("answers = true", "1:11: `answers` must be an integer, not a boolean"),
        ("answers = 1023", "1:11: `answers` is out of range"),
        ("answers = 1048577", "1:11: `answers` is out of range"),
        ("audit_keep = \"6h\"", "1:14: `6h` is not a time of a day or more"),
        ("audit_keep = \"long\"", "1:14: `long` is not a time of a day or more"),
        ("metrics = 9750", "1:11: `metrics` must be a table, not an integer"),
        ("[metrics]\nlisten = \"localhost:9750\"", "2:10: `localhost:9750` is not an address"),
        ("[metrics]\nlisten = \"127.0.0.1:0\"", "2:10: `127.0.0.1:0` is not an address with"),
        ("[metrics]\nport = 1", "2:1: unknown key `port` in `metrics`"),
    ] {
        let error = error(text);
        assert!(error.starts_with(&format!("enforcer.toml:{expected}")), "{error}");
    }
    assert!(error("policy = \n").starts_with("enforcer.toml:1:"));
}

#[test]
fn every_problem_is_found_at_once() {
    let text = "interfaces = [\"lan0\"]\nsockte = 1\nxdp = \"natvie\"\nbackstop = true\n";
    let (_, problems) = check("e.toml", text);
    let found: Vec<_> = problems.iter().map(|problem| problem.place.line).collect();
    assert_eq!(found, [2, 3, 4]);
    let hints: Vec<_> = problems.iter().filter_map(|problem| problem.hint.as_deref()).collect();
    assert_eq!(hints[..2], ["did you mean `socket`?", "did you mean `native`?"]);
    let error = read("e.toml", text).unwrap_err();
    let expected = "e.toml:2:1: unknown key `sockte` in the settings \
                    (2 more: `enforcer config check e.toml`)";
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.hint().as_deref(), Some("did you mean `socket`?"));
}

#[test]
fn settings_without_an_interface_are_settings_and_worth_a_word() {
    let (settings, problems) = check("e.toml", "");
    assert_eq!(settings, Settings::default());
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].severity, Severity::Warning);
}

#[test]
fn interface_names() {
    for name in ["lan0", "eth1.20", "enp3s0f1np1", "brücke"] {
        assert!(is_interface(name), "{name}");
    }
    for name in ["", ".", "..", "a/b", "a b", "a:b", "sixteen-bytes-xx"] {
        assert!(!is_interface(name), "{name}");
    }
}
