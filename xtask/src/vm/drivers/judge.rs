//! Judges each step: pure, from the frames that came out of the guest and the daemon's answers.
use std::collections::HashMap;

use serde_json::Value;

use super::{frames::KINDS, nics::Nic, steps::Step};

/// The daemon's answer about an interface.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) mode: String,
    pub(super) enforcing: bool,
    pub(super) backstop: String,
    /// Whether the driver is seen to run the program.
    pub(super) proof: String,
    pub(super) note: String,
}

/// The output of the guest's `look`.
#[derive(Default, Debug)]
pub(super) struct Look {
    /// Of `enforcer status`.
    pub(super) code: i32,
    /// By name.
    pub(super) interfaces: HashMap<String, Interface>,
    /// Frames that each NIC has received, according to its driver.
    received: HashMap<String, u64>,
}

impl Look {
    pub(super) fn read(text: &str) -> Self {
        let mut look = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["exit", code] => look.code = code.parse().unwrap_or(-1),
                ["rx", name, count] => {
                    look.received.insert((*name).to_owned(), count.parse().unwrap_or(0));
                }
                _ => look.interfaces.extend(interfaces(line)),
            }
        }
        look
    }

    /// Whether the NIC has received something since.
    fn grew(&self, before: &Self, nic: &str) -> bool {
        let of = |look: &Self| look.received.get(nic).copied().unwrap_or(0);
        of(self) > of(before)
    }
}

fn interfaces(status: &str) -> Vec<(String, Interface)> {
    let status: Value = serde_json::from_str(status).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let interface = |one: &Value| Interface {
        mode: text(&one["mode"]),
        enforcing: one["enforcing"] == true,
        backstop: text(&one["backstop"]),
        proof: text(&one["proof"]),
        note: text(&one["note"]),
    };
    let all = status["interfaces"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|one| (text(&one["name"]), interface(one))).collect()
}

/// Observations of a NIC in a step.
pub(super) struct Seen<'a> {
    pub(super) nic: Nic,
    /// Output of the event's command about the NIC.
    pub(super) said: &'a str,
    /// Frames that came out from the start of the event until its settling time was over.
    pub(super) meanwhile: [u64; KINDS.len()],
    /// The same in the time after that.
    pub(super) then: [u64; KINDS.len()],
    /// At the beginning and at the end of that time.
    pub(super) looks: [&'a Look; 2],
}

impl Seen<'_> {
    /// Whether a kind does not come out although the NIC supports it.
    fn lacks(&self, kind: usize) -> bool {
        self.then[kind] == 0 && !(self.nic.cuts && KINDS[kind].is_full())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

/// One NIC after one step.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) step: Step,
    pub(super) verdict: Verdict,
    /// Forbidden frames that came out during the settling time.
    pub(super) leaked: u64,
    /// The daemon's answer at the end.
    pub(super) interface: Option<Interface>,
    /// A remark for the log.
    pub(super) remark: String,
}

/// Judges a NIC after a step.
pub(super) fn judge(step: Step, seen: &Seen<'_>) -> Cell {
    let interface = seen.looks[1].interfaces.get(seen.nic.name).cloned();
    let fault = if step.is_open() { open(seen) } else { shut(seen, interface.as_ref()) };
    let skipped = seen.said.strip_prefix("skipped: ");
    let verdict = match (fault, skipped) {
        (Some(fault), _) => Verdict::Failed(fault),
        (None, Some(why)) => Verdict::Skipped(why.to_owned()),
        (None, None) => Verdict::Passed,
    };
    let leaked = if step.opens() { 0 } else { sum(&seen.meanwhile, false) };
    let mut remark = String::new();
    if leaked > 0 {
        remark = format!("{leaked} leaked meanwhile: {}", self::leaked(&seen.meanwhile));
    }
    if seen.said.starts_with("refused: ") {
        remark += if remark.is_empty() { "" } else { "; " };
        remark += seen.said;
    }
    Cell { step, verdict, leaked, interface, remark }
}

/// Without enforcement everything comes out.
fn open(seen: &Seen<'_>) -> Option<String> {
    if seen.nic.cuts && (0..KINDS.len()).any(|kind| KINDS[kind].is_full() && seen.then[kind] > 0) {
        return Some("tagged frames of full size pass: it is known to cut them".to_owned());
    }
    let missing = names(|kind| seen.lacks(kind));
    (!missing.is_empty()).then(|| format!("without enforcement these do not pass: {missing}"))
}

/// With it nothing forbidden comes out, and the daemon's answers are true.
fn shut(seen: &Seen<'_>, interface: Option<&Interface>) -> Option<String> {
    let [first, last] = seen.looks;
    let leaks = sum(&seen.then, false);
    let leaked = leaked(&seen.then);
    let Some(interface) = interface else {
        return Some(match leaks {
            0 => "the daemon does not say anything about it".to_owned(),
            _ => format!("the daemon does not say anything, and {leaks} frames leaked: {leaked}"),
        });
    };
    let Interface { mode, enforcing, backstop, .. } = interface;
    match (enforcing, leaks) {
        (true, 0) if backstop != "armed" => {
            Some(format!("`enforcing`, and the backstop is {backstop}"))
        }
        (true, 1..) => Some(format!("`enforcing {mode}`, and {leaks} frames leaked: {leaked}")),
        (false, 1..) => Some(format!("NOT ENFORCING, and {leaks} frames leaked: {leaked}")),
        (false, 0) if backstop != "shut" => {
            Some(format!("NOT ENFORCING, and the backstop is {backstop}"))
        }
        (false, 0) if last.code != 1 => {
            Some(format!("NOT ENFORCING, and the exit code is {}", last.code))
        }
        (_, 0) if !last.grew(first, seen.nic.name) => {
            Some("it receives nothing: nothing is proven".to_owned())
        }
        (true, 0) => {
            let missing = names(|kind| KINDS[kind].allowed && seen.lacks(kind));
            (!missing.is_empty()).then(|| format!("`enforcing`, and these do not pass: {missing}"))
        }
        (false, 0) => None,
    }
}

/// Sum of the frames of all allowed kinds, or of all forbidden ones.
fn sum(counts: &[u64; KINDS.len()], allowed: bool) -> u64 {
    let ours = KINDS.iter().zip(counts).filter(|(kind, _)| kind.allowed == allowed);
    ours.map(|(_, count)| count).sum()
}

/// The forbidden kinds among them.
fn leaked(counts: &[u64; KINDS.len()]) -> String {
    let leaks = |kind: usize| !KINDS[kind].allowed && counts[kind] > 0;
    if (0..KINDS.len()).all(|kind| KINDS[kind].allowed || leaks(kind)) {
        return "everything".to_owned();
    }
    names(leaks)
}

fn names(is_meant: impl Fn(usize) -> bool) -> String {
    let mut names: Vec<&str> =
        (0..KINDS.len()).filter(|kind| is_meant(*kind)).map(|kind| KINDS[kind].name).collect();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{super::nics::NICS, *};

    const STATUS: &str = r#"{"enforcing":true,"interfaces":[{"name":"e1000","index":4,"mode":"generic","enforcing":true,"backstop":"armed","note":"no native"}]}"#;

    fn look(status: &str, code: i32, received: u64) -> Look {
        Look::read(&format!("{status}\nexit {code}\nrx e1000 {received}\n"))
    }

    fn verdict(
        step: Step,
        said: &str,
        status: &str,
        code: i32,
        counts: impl Fn(usize) -> u64,
    ) -> Verdict {
        let looks = [look(status, code, 10), look(status, code, 20)];
        let then = std::array::from_fn(counts);
        let seen = Seen {
            nic: NICS[8],
            said,
            meanwhile: [0; KINDS.len()],
            then,
            looks: [&looks[0], &looks[1]],
        };
        judge(step, &seen).verdict
    }

    fn right(kind: usize) -> u64 {
        if KINDS[kind].allowed { 9 } else { 0 }
    }

    #[test]
    fn a_status_is_read() {
        let look = look(STATUS, 1, 7);
        let interface = &look.interfaces["e1000"];
        assert_eq!((look.code, look.received["e1000"]), (1, 7));
        assert_eq!((interface.mode.as_str(), interface.enforcing), ("generic", true));
        assert_eq!((interface.backstop.as_str(), interface.note.as_str()), ("armed", "no native"));
        assert_eq!(Look::read("exit 5\nrx gone \n").code, 5);
    }

    #[test]
    fn enforcing_is_true_or_a_failure() {
        assert_eq!(verdict(Step::Mtu9000, "did", STATUS, 0, right), Verdict::Passed);
        let leak = |kind| if kind == 9 { 3 } else { right(kind) };
        let Verdict::Failed(why) = verdict(Step::Mtu9000, "did", STATUS, 0, leak) else { panic!() };
        assert_eq!(why, "`enforcing generic`, and 3 frames leaked: QinQ");
        let Verdict::Failed(why) = verdict(Step::Mtu9000, "did", STATUS, 0, |_| 1) else {
            panic!()
        };
        assert_eq!(why, "`enforcing generic`, and 8 frames leaked: everything");
        let Verdict::Failed(why) = verdict(Step::Mtu9000, "did", STATUS, 0, |_| 0) else {
            panic!()
        };
        assert!(why.starts_with("`enforcing`, and these do not pass: untagged, VLAN 20"), "{why}");
    }

    #[test]
    fn not_enforcing_is_shut_and_says_so() {
        let shut = STATUS.replace(r#"g":true,"backstop":"armed""#, r#"g":false,"backstop":"shut""#);
        assert_eq!(verdict(Step::DownUp, "did", &shut, 1, |_| 0), Verdict::Passed);
        assert!(matches!(verdict(Step::DownUp, "did", &shut, 0, |_| 0), Verdict::Failed(_)));
        assert!(matches!(verdict(Step::DownUp, "did", &shut, 1, |_| 1), Verdict::Failed(_)));
        let unarmed = STATUS.replace("armed", "shut");
        assert!(matches!(verdict(Step::DownUp, "did", &unarmed, 0, right), Verdict::Failed(_)));
        let open = shut.replace("shut", "armed");
        assert!(matches!(verdict(Step::DownUp, "did", &open, 1, |_| 0), Verdict::Failed(_)));
        assert!(matches!(verdict(Step::DownUp, "did", "", 5, |_| 0), Verdict::Failed(_)));
    }

    #[test]
    fn what_did_not_happen_is_skipped_and_judged_all_the_same() {
        let said = "skipped: it has one queue";
        let skipped = Verdict::Skipped("it has one queue".to_owned());
        assert_eq!(verdict(Step::Queues, said, STATUS, 0, right), skipped);
        assert!(matches!(verdict(Step::Queues, said, STATUS, 0, |_| 9), Verdict::Failed(_)));
    }

    #[test]
    fn without_enforcement_all_kinds_pass() {
        assert_eq!(verdict(Step::Baseline, "", "", 5, |_| 9), Verdict::Passed);
        let Verdict::Failed(why) = verdict(Step::Detach, "", "", 5, right) else { panic!() };
        assert!(why.contains("802.1ad, QinQ, unknown MAC"), "{why}");
    }
}
