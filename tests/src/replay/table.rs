//! The results of every row, for a terminal and for the manual.

use std::fmt::{self, Write as _};

use super::{Kind, Replay, Run, Seen, WAYS};
use enforcer_testkit::corpus::{Due, Row};

const HEAD: [&str; 2] = [
    "                                                     open   native   generic",
    "row  technique                                        R B    R B      R B     reason",
];

const KINDS: [Kind; 2] = [Kind::Routed, Kind::Bridged];

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", HEAD[0], HEAD[1])?;
        for (at, row) in self.rows.iter().enumerate() {
            let [open, native, generic] = WAYS.map(|xdp| {
                let letter = |kind| letter(row, self.get(kind, xdp), at);
                format!("{} {}", letter(Kind::Routed), letter(Kind::Bridged))
            });
            let (number, name) = (row.number, row.name);
            let mut reasons: Vec<&str> = Vec::new();
            for reason in row.frames.iter().map(|frame| frame.reason.name()) {
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
            let reasons = reasons.join(", ");
            writeln!(f, "{number:3}  {name:47} {open}    {native}      {generic}     {reasons}")?;
        }
        writeln!(f, "\n{}", self.differences())?;
        for problem in self.problems() {
            writeln!(f, "problem: {problem}")?;
        }
        write!(f, "{}", self.sums())
    }
}

impl Replay {
    /// The sums, in one line.
    pub fn sums(&self) -> String {
        let dropped = self.rows.iter().filter(|row| row.due == Due::Drop).count();
        let mut line = format!("leaks of {dropped} rows that must be dropped, routed/bridged: ");
        for (at, xdp) in WAYS.into_iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let [routed, bridged] = KINDS.map(|kind| self.leaks(kind, xdp));
            // Writing to a string cannot fail.
            let _ = write!(line, "{comma}{xdp} {routed}/{bridged}");
        }
        let ways = WAYS.into_iter().filter(|xdp| *xdp != "open");
        let lost = |xdp| KINDS.map(|kind| self.lost(kind, xdp)).iter().sum::<usize>();
        let _ = write!(line, "; lost {}", ways.map(lost).sum::<usize>());
        let problems = self.problems().len();
        if problems > 0 {
            let _ = write!(line, "; {problems} problems");
        }
        line
    }

    /// Rows that an open gateway now treats differently than when the table was first measured.
    fn differences(&self) -> String {
        let mut text = String::new();
        for (at, row) in self.rows.iter().enumerate() {
            let found = KINDS.map(|kind| {
                let seen = self.get(kind, "open").seen[at];
                if seen.behind { 'F' } else { '-' }
            });
            let found: String = found.into_iter().collect();
            let before = row.open.replace('?', "-");
            if found != before {
                let _ = write!(text, " {} {}→{found}", row.number, row.open);
            }
        }
        if text.is_empty() {
            text.push_str(" none");
        }
        format!("open, other than when the table was first measured:{text}")
    }
}

/// `F`: it came out and must not; `P`: it came out and may; `s`: it only reached the gateway's
/// stack; `-`: it was not seen; `?`: it was not seen, and it has no marker.
fn letter(row: &Row, run: &Run, at: usize) -> char {
    let open = run.xdp == "open";
    match run.seen[at] {
        Seen { behind: true, .. } if open || row.due == Due::Drop => 'F',
        Seen { behind: true, .. } => 'P',
        Seen { gateway: true, .. } if !open => 's',
        _ if row.marker.is_none() => '?',
        _ => '-',
    }
}
