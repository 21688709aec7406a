//! The screens in `docs/top.md`: captured from `enforcer top` on a terminal of 80 columns and 24
//! lines, over a lab in which devices are refused. Run by `cargo xtask screens`.
use std::fs;

use tests::harness::{
    Daemon, Lab,
    programs::{self, Server},
    screen::Screen,
    topology::{CENTRAL, HOSTILE, HOSTILE_HL7, UPDATES},
};

const PAGE: &str = "docs/top.md";
const POLICY: &str = r#"schema = 1
[devices.bed-11]
mac = "00:1b:44:11:3a:b6"
[groups.monitors]
members = ["bed-11"]
allow = [{ to = "198.51.100.10", service = "tcp/80", reason = "CHG-4711" }]
deny = [{ to = "202.114.4.0/24", reason = "ICSMA-25-030-01" }]
[groups.pumps]
members = ["10.20.0.12"]
mode = "observe"
"#;

fn main() {
    let lab = Lab::gateway("screens");
    let _server = Server::start(&lab.internet, "x", &[80, 443, 515], &[]);
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let screen = Screen::start(&lab.gw, &daemon, "top");
    screen.wait_for("enforcing  revision 1");
    for port in [515, 516, 515] {
        assert!(!programs::connects(&lab.dev1, HOSTILE, port));
    }
    assert!(!programs::connects(&lab.dev1, HOSTILE_HL7, 511));
    assert!(!programs::connects(&lab.dev1, CENTRAL, 8000));
    assert!(programs::connects(&lab.dev1, UPDATES, 80));
    assert!(programs::connects(&lab.dev2, UPDATES, 443), "it is observed");
    let destination = format!("{CENTRAL} tcp/8000");
    let mut page = fs::read_to_string(PAGE).expect("the page is there");
    screen.wait_for("pumps");
    put(&mut page, "devices", &screen.wait_for(&destination));
    screen.press(&["Enter"]);
    put(&mut page, "detail", &screen.wait_for("default-drop"));
    screen.press(&["s", "s", "s", "a"]);
    screen.wait_for(&format!("allow bed-11 to reach {CENTRAL}"));
    screen.press(&["-l", "CHG-4712"]);
    screen.press(&["Enter"]);
    put(&mut page, "allow", &screen.wait_for("Press y to do it"));
    screen.press(&["y"]);
    screen.wait_for("in force: allow bed-11");
    screen.press(&["q"]);
    screen.press(&["2"]);
    put(&mut page, "rules", &screen.wait_for("CHG-4712"));
    screen.press(&["3"]);
    put(&mut page, "reasons", &screen.wait_for("IN WORDS"));
    screen.press(&["?"]);
    put(&mut page, "help", &screen.wait_for("select a line"));
    fs::write(PAGE, page).expect("the page can be written");
    println!("{PAGE}: six screens captured");
}

/// Replaces the block of text that follows the marker of a screen.
fn put(page: &mut String, name: &str, screen: &str) {
    let marker = format!("<!-- screen: {name} -->\n```text\n");
    let start = page.find(&marker).unwrap_or_else(|| panic!("{PAGE} has no {name}")) + marker.len();
    let length = page[start..].find("```").unwrap_or_else(|| panic!("{name} has no end"));
    page.replace_range(start..start + length, &format!("{}\n", screen.trim_end()));
}
