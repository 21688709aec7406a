//! Results from a guest's console, and a summary line for each kernel.
use super::{SECONDS, guest::MARK};
use crate::test::{self, Outcome};

/// Heading of the lines of [`Report::row`].
pub(super) const HEAD: &str = "kernel                      passed failed skipped seconds verified  \
                               evasions that came out, routed/bridged";
/// Prefix of the sums in the evasion test's output.
const REPLAY: &str = "leaks of ";
/// Prefix of the number in the verifier test's output.
const WALKED: &str = "verified instructions of judge, every part in use: ";

/// Results from the console.
#[derive(Default)]
pub(super) struct Report {
    began: bool,
    ended: Option<i32>,
    ran: Outcome,
    early: Vec<String>,
    /// Result of the table of evasions.
    replay: Option<String>,
    /// Instructions that the verifier walked.
    walked: Option<String>,
    /// Times that a test has reset the machine.
    pub(super) resets: u32,
}

impl Report {
    /// Takes a line; returns the part that the user should see.
    pub(super) fn read(&mut self, line: &str) -> Option<String> {
        if self.ended.is_some() {
            return None;
        }
        if let Some(said) = line.strip_prefix(MARK) {
            if said == "begin" {
                self.began = true;
                return None;
            } else if said == "reset" {
                // The machine repeats everything that it did not finish.
                *self = Self { resets: self.resets + 1, ..Self::default() };
                return Some("the machine is reset".to_owned());
            } else if let Some(code) = said.strip_prefix("end ") {
                self.ended = code.parse().ok();
                return None;
            }
            if said.starts_with("skipped ") {
                // It returned early, so it was counted among those that passed.
                self.ran.passed = self.ran.passed.saturating_sub(1);
                self.ran.skipped += 1;
            }
            return Some(said.to_owned());
        }
        if !self.began {
            self.early.push(line.to_owned());
            return None;
        }
        if let Some(replay) = line.strip_prefix(REPLAY).and_then(|rest| rest.split_once(": ")) {
            self.replay = Some(replay.1.to_owned());
        } else if let Some(walked) = line.strip_prefix(WALKED) {
            self.walked = Some(walked.to_owned());
        }
        self.ran += test::outcome(line).unwrap_or_default();
        Some(line.to_owned())
    }

    /// The result: a guest that did not finish counts as a failure.
    pub(super) fn sum(&self, name: &str) -> Outcome {
        let mut ran = self.ran;
        if !self.began {
            self.early.iter().for_each(|line| println!("{line}"));
        }
        match self.ended {
            None => {
                println!("error: kernel {name}: it did not get to its end within {SECONDS} s");
                ran.failed += 1;
            }
            Some(code) if code != 0 && ran.failed == 0 => {
                println!("error: kernel {name}: the tests ended with {code}");
                ran.failed += 1;
            }
            Some(_) => {}
        }
        ran
    }

    /// Whether the verifier has taken the program.
    pub(super) fn has_loaded(&self) -> bool {
        self.walked.is_some()
    }

    /// The kernel's line of the table below [`HEAD`].
    pub(super) fn row(&self, release: &str, ran: Outcome, seconds: u64) -> String {
        let Outcome { passed, failed, skipped } = ran;
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let (walked, replay) = (text(&self.walked), text(&self.replay));
        format!("{release:27} {passed:6} {failed:6} {skipped:7} {seconds:7} {walked:>8}  {replay}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Outcome {
        let mut report = Report::default();
        lines.iter().for_each(|line| drop(report.read(line)));
        report.sum("test")
    }

    #[test]
    fn a_console_is_added_up() {
        let result = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured";
        let skipped = format!("{}skipped a: no b", MARK);
        let begin = format!("{}begin", MARK);
        let end = format!("{}end 0", MARK);
        let ran = report(&["firmware", &begin, "test a ... ok", result, &skipped, &end]);
        assert_eq!(ran, Outcome { passed: 2, failed: 0, skipped: 2 });
        let hung = report(&[&begin, result]);
        assert_eq!(hung, Outcome { passed: 3, failed: 1, skipped: 1 });
        assert_eq!(report(&["Kernel panic"]).failed, 1);
    }

    #[test]
    fn a_reset_begins_anew() {
        let lines = ["begin", "reset", "begin", "end 0"].map(|line| format!("{MARK}{line}"));
        let [first, reset, again, end] = &lines;
        let result = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured";
        let mut report = Report::default();
        for line in [first, "test a ... ok", result, reset, "firmware", again, result, end] {
            let _ = report.read(line);
        }
        assert_eq!(report.resets, 1);
        assert_eq!(report.sum("test"), Outcome { passed: 3, failed: 0, skipped: 0 });
    }

    #[test]
    fn what_was_measured_is_in_the_row() {
        let mut report = Report::default();
        let lines = [
            &format!("{MARK}begin"),
            "leaks of 122 rows that must be dropped, routed/bridged: open 79/120, native 0/1; lost 2",
            "verified instructions of judge, every part in use: 27122",
        ];
        lines.iter().for_each(|line| drop(report.read(line)));
        let row = report.row("5.10", Outcome { passed: 9, failed: 1, skipped: 0 }, 31);
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[..6], ["5.10", "9", "1", "0", "31", "27122"]);
        assert_eq!(words[6..].join(" "), "open 79/120, native 0/1; lost 2");
    }
}
