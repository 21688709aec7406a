//! The table of docs/kernels.md.
use anyhow::{Context as _, Result};

use super::{
    judge::{Cell, Verdict},
    nics::Nic,
    steps::Step,
};

const BEGIN: &str = "<!-- drivers: written by cargo xtask test vm drivers -->";
const END: &str = "<!-- end -->";

/// The result of a NIC on a kernel.
pub(super) enum Tried {
    /// What QEMU lacks.
    Lacks(String),
    Cells(Vec<Cell>),
}

/// A kernel and the result of each NIC.
pub(super) struct Column {
    /// The version, and Debian's release of it.
    pub(super) name: &'static str,
    pub(super) release: String,
    pub(super) nics: Vec<(Nic, Tried)>,
}

/// The table, and notes that explain it.
pub(super) fn table(columns: &[Column], date: &str, qemu: &str) -> String {
    let releases: Vec<&str> = columns.iter().map(|column| column.release.as_str()).collect();
    let heads: String = columns.iter().map(|column| format!(" {} |", column.name)).collect();
    let lines: String = columns.iter().map(|_| "---|").collect();
    let mut out = format!(
        "{date}, QEMU {qemu}, Debian's kernels {}.\n\n| NIC |{heads}\n|---|{lines}\n",
        releases.join(", ")
    );
    let nics = columns.first().map(|column| column.nics.as_slice()).unwrap_or_default();
    for (row, (nic, _)) in nics.iter().enumerate() {
        let tried = |column: &Column| match &column.nics[row].1 {
            Tried::Lacks(why) => format!(" not tried: {why} |"),
            Tried::Cells(cells) => format!(" {} |", sum(cells)),
        };
        let cells: String = columns.iter().map(tried).collect();
        let cuts = if nic.cuts { "; cuts tagged frames of full size" } else { "" };
        out += &format!("| {}{cuts} |{cells}\n", nic.title);
    }
    let notes = notes(columns);
    if !notes.is_empty() {
        out += "\nWhat `status` says about them after the start:\n\n";
        out += &notes.iter().map(|note| wrapped(note)).collect::<String>();
    }
    out
}

/// A summary of a NIC on a kernel.
fn sum(cells: &[Cell]) -> String {
    if cells.len() < Step::ALL.len() {
        let last = cells.last().map_or("its start", |cell| cell.step.title());
        return format!("**the guest did not get past** {last}");
    }
    let modes = modes(cells);
    let failed: Vec<(&Cell, &str)> =
        cells.iter().filter_map(|cell| Some((cell, fault(cell)?))).collect();
    if let Some((first, why)) = failed.first() {
        let steps: Vec<&str> = failed.iter().map(|(cell, _)| cell.step.title()).collect();
        // Of many, the first one is enough.
        let where_to = match steps.as_slice() {
            [_, _, _, rest @ ..] if !rest.is_empty() => {
                format!("{} and {} more", first.step.title(), steps.len() - 1)
            }
            _ => steps.join(", "),
        };
        return format!("{modes}; **wrong** after {where_to}: {why}");
    }
    let events: Vec<&Cell> = cells.iter().filter(|cell| cell.step.is_event()).collect();
    let passed = events.iter().filter(|cell| cell.verdict == Verdict::Passed).count();
    let leaks: Vec<String> = cells
        .iter()
        .filter(|cell| cell.leaked > 0)
        .map(|cell| format!("{} during {}", cell.leaked, cell.step.title()))
        .collect();
    let leaks = match leaks.as_slice() {
        [] => "no leak".to_owned(),
        leaks => format!("leaked {}", leaks.join(", ")),
    };
    format!("{modes}, tags seen; {passed} events; {leaks}")
}

fn fault(cell: &Cell) -> Option<&str> {
    match &cell.verdict {
        Verdict::Failed(why) => Some(why),
        Verdict::Passed | Verdict::Skipped(_) => None,
    }
}

/// The initial mode, and the steps at which it changed.
fn modes(cells: &[Cell]) -> String {
    let mut modes = String::new();
    let mut before = String::new();
    for cell in cells.iter().filter(|cell| !cell.step.is_open()) {
        let now = match &cell.interface {
            Some(interface) if interface.enforcing => interface.mode.clone(),
            Some(_) => "shut".to_owned(),
            None => "unknown".to_owned(),
        };
        if modes.is_empty() {
            modes.clone_from(&now);
        } else if now != before {
            modes += &format!(", {now} after {}", cell.step.title());
        }
        before = now;
    }
    modes
}

/// The daemon's notes after the start, with the NICs and kernels that they are about.
fn notes(columns: &[Column]) -> Vec<String> {
    let mut notes: Vec<(String, Vec<String>)> = Vec::new();
    for column in columns {
        for (nic, tried) in &column.nics {
            let Tried::Cells(cells) = tried else { continue };
            let start = cells.iter().find(|cell| cell.step == Step::Start);
            let note = start.and_then(|cell| cell.interface.as_ref()).map(|it| &it.note);
            let Some(note) = note.filter(|note| !note.is_empty()) else { continue };
            // Some notes contain the name.
            let note = note.replace(nic.name, "NIC");
            let at = format!("{} ({})", nic.title, column.name);
            match notes.iter_mut().find(|(known, _)| *known == note) {
                Some((_, places)) => places.push(at),
                None => notes.push((note, vec![at])),
            }
        }
    }
    notes.into_iter().map(|(note, places)| format!("\"{note}\": {}", places.join(", "))).collect()
}

/// An item of a list, a screen wide.
fn wrapped(note: &str) -> String {
    const WIDTH: usize = 100;
    let (mut text, mut line) = (String::new(), "-".to_owned());
    for word in note.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text += &line;
            text.push('\n');
            line = " ".to_owned();
        }
        line.push(' ');
        line += word;
    }
    text + &line + "\n"
}

/// The document with its table replaced by this one.
pub(super) fn replaced(document: &str, table: &str) -> Result<String> {
    let (before, rest) = document.split_once(BEGIN).context("no place for the table of drivers")?;
    let (_, after) = rest.split_once(END).context("the table of drivers has no end")?;
    Ok(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::super::{judge::Interface, nics::NICS};
    use super::*;

    fn cell(step: Step, mode: &str, verdict: Verdict, leaked: u64) -> Cell {
        let interface = Interface {
            mode: mode.to_owned(),
            enforcing: true,
            note: format!("{} of virtio", mode),
            ..Interface::default()
        };
        Cell { step, verdict, leaked, interface: Some(interface), remark: String::new() }
    }

    fn all(cell: impl Fn(Step) -> Cell) -> Vec<Cell> {
        Step::ALL.into_iter().map(cell).collect()
    }

    fn column(cells: Vec<Cell>) -> Column {
        let nics = vec![
            (NICS[0], Tried::Cells(cells)),
            (NICS[10], Tried::Lacks("this QEMU has no igb".to_owned())),
        ];
        Column { name: "6.12", release: "6.12.118".to_owned(), nics }
    }

    #[test]
    fn a_row_says_what_runs_and_what_leaked() {
        let mut good = all(|step| cell(step, "generic", Verdict::Passed, 0));
        good[1] = cell(Step::Start, "native", Verdict::Passed, 0);
        good[2].leaked = 7;
        good[4].verdict = Verdict::Skipped("one".to_owned());
        let text = table(&[column(good)], "2026-11-30", "7.2.22");
        let row = "| virtio-net | native, generic after down and up, tags seen; 9 events; \
                   leaked 7 during down and up |\n";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| igb | not tried: this QEMU has no igb |\n"), "{text}");
        assert!(text.contains("- \"native of NIC\": virtio-net (6.12)\n"), "{text}");
        assert!(
            text.starts_with("2026-11-30, QEMU 7.2.22, Debian's kernels 6.12.118.\n"),
            "{text}"
        );
    }

    #[test]
    fn a_fault_names_its_steps() {
        let failed = Verdict::Failed("`enforcing native`, and 9 frames leaked".to_owned());
        let mut bad = all(|step| cell(step, "native", Verdict::Passed, 0));
        bad[2].verdict = failed.clone();
        bad[3].verdict = failed.clone();
        let text = table(&[column(bad)], "", "");
        let row = "| native; **wrong** after down and up, rings: `enforcing native`, and 9 frames leaked |";
        assert!(text.contains(row), "{text}");
        let text = table(&[column(all(|step| cell(step, "native", failed.clone(), 0)))], "", "");
        assert!(
            text.contains("| native; **wrong** after without enforcement and 14 more: "),
            "{text}"
        );
    }

    #[test]
    fn a_guest_that_hangs_is_no_success() {
        let cells = vec![cell(Step::Start, "native", Verdict::Passed, 0)];
        let text = table(&[column(cells)], "", "");
        assert!(text.contains("| **the guest did not get past** start |"), "{text}");
        assert!(table(&[column(Vec::new())], "", "").contains("past** its start |"));
    }

    #[test]
    fn a_document_keeps_what_is_around_the_table() {
        let document = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = replaced(&document, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(replaced(&new, "new\n").unwrap(), new);
        assert!(replaced("a", "new").is_err());
    }
}
