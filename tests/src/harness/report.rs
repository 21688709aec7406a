//! The demo's steps on a terminal: expectations, results, and an exit code.
use std::{
    io::{self, IsTerminal as _, Write},
    process::ExitCode,
};

const WIDTH: usize = 80;

/// Prints steps and records failed expectations.
pub struct Report<W> {
    out: W,
    colour: bool,
    held: usize,
    broken: Vec<String>,
}

impl std::fmt::Debug for Report<io::Stdout> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report").field("held", &self.held).field("broken", &self.broken).finish()
    }
}

impl Report<io::Stdout> {
    /// To stdout, in colour on a terminal unless `NO_COLOR` is set.
    pub fn stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self::new(io::stdout(), wanted && io::stdout().is_terminal())
    }
}

impl<W: Write> Report<W> {
    /// To anything.
    pub fn new(out: W, colour: bool) -> Self {
        Self { out, colour, held: 0, broken: Vec::new() }
    }

    /// A heading: what the next lines are about.
    pub fn step(&mut self, title: &str) {
        let title = fit(title, WIDTH);
        let line =
            if self.colour { format!("\n\x1b[1m{title}\x1b[0m") } else { format!("\n{title}") };
        self.line(&line);
    }

    /// A line for the reader, such as a command or what it printed.
    pub fn note(&mut self, text: &str) {
        for line in text.lines() {
            self.line(format!("    {}", fit(line, WIDTH - 4)).trim_end());
        }
    }

    /// Prints an expectation and whether it holds; returns the latter.
    pub fn expect(&mut self, what: &str, holds: bool) -> bool {
        let (sign, code) = if holds { ('✓', 32) } else { ('✗', 31) };
        let what = fit(what, WIDTH - 4);
        let line = if self.colour {
            format!("  \x1b[{code}m{sign}\x1b[0m {what}")
        } else {
            format!("  {sign} {what}")
        };
        self.line(&line);
        if holds {
            self.held += 1;
        } else {
            self.broken.push(what);
        }
        holds
    }

    /// Prints the summary and returns the exit code: success if there was an expectation and all
    /// held.
    pub fn finish(mut self) -> ExitCode {
        let sum = format!("\n{} as expected, {} not", self.held, self.broken.len());
        self.line(&sum);
        for what in std::mem::take(&mut self.broken) {
            self.line(&format!("  ✗ {what}"));
            self.held = 0;
        }
        if self.held > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn line(&mut self, line: &str) {
        // A closed pipe means that the reader wants no more.
        let _ = writeln!(self.out, "{line}");
        let _ = self.out.flush();
    }
}

/// Shortens a line to a number of columns; every character that the demo prints takes one.
fn fit(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(columns - 1).collect();
    short.push('…');
    short
}
