//! What a run has found: tables, targets and curves, on the terminal and for the documents.
use std::fmt::Write as _;

use tests::harness::table;

/// A figure that has to be reached.
struct Target {
    what: String,
    reached: f64,
    bound: Bound,
    unit: &'static str,
}

/// What is good enough.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Bound {
    fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtMost(bound) => figure <= bound,
            Self::AtLeast(bound) => figure >= bound,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(bound) => format!("≤ {bound}"),
            Self::AtLeast(bound) => format!("≥ {bound}"),
        }
    }
}

/// A line of a picture: what it shows, and its points.
pub(crate) type Series = (String, Vec<(f64, f64)>);

/// A picture with a logarithmic abscissa.
pub(crate) struct Curve {
    /// Name of the file, without its ending.
    pub(crate) file: &'static str,
    /// What is over it.
    pub(crate) title: String,
    /// What the abscissa counts.
    pub(crate) abscissa: &'static str,
    /// What the ordinate counts, with its unit.
    pub(crate) ordinate: &'static str,
    /// Its lines.
    pub(crate) series: Vec<Series>,
}

/// All that one run has found.
#[derive(Default)]
pub(crate) struct Report {
    markdown: String,
    targets: Vec<Target>,
    curves: Vec<Curve>,
}

impl Report {
    /// Prints a table and keeps it.
    pub(crate) fn table(&mut self, title: &str, header: &[&str], rows: &[Vec<String>]) {
        println!("\n{title}\n{}", table::plain(header, rows));
        // A `String` takes everything.
        let _ = writeln!(self.markdown, "\n### {title}\n\n{}", table::markdown(header, rows));
    }

    /// Prints a line and keeps it.
    pub(crate) fn line(&mut self, text: &str) {
        println!("{text}");
        let _ = writeln!(self.markdown, "\n{text}");
    }

    /// Keeps a figure that has a bound: all of them are printed at the end.
    pub(crate) fn target(&mut self, what: &str, reached: f64, bound: Bound, unit: &'static str) {
        self.targets.push(Target { what: what.to_owned(), reached, bound, unit });
    }

    /// Keeps a picture.
    pub(crate) fn curve(&mut self, curve: Curve) {
        self.curves.push(curve);
    }

    /// The pictures.
    pub(crate) fn curves(&self) -> &[Curve] {
        &self.curves
    }

    /// Prints the figures that have bounds.
    pub(crate) fn close(&mut self) {
        let row = |target: &Target| {
            let met = if target.bound.holds(target.reached) { "yes" } else { "NO" };
            let reached = format!("{:.3}{}", target.reached, target.unit);
            vec![target.what.clone(), target.bound.text(), reached, met.to_owned()]
        };
        let rows: Vec<_> = self.targets.iter().map(row).collect();
        if !rows.is_empty() {
            self.table("To be reached", &["what", "bound", "reached", "met"], &rows);
        }
    }

    /// All of it as a document.
    pub(crate) fn markdown(&self) -> &str {
        &self.markdown
    }
}
