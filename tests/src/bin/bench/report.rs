//! Results of a run: tables, targets and curves, for the terminal and the documents.
use std::{error::Error, fmt::Write as _, fs, path::Path};

use ::tests::harness::table;

use crate::picture;

/// Heading of the document.
const HEAD: &str = "# Results\n\nMade by `cargo xtask bench --write`; do not edit.\n";

/// A figure with a target.
struct Target {
    what: String,
    bound: Bound,
    reached: String,
    met: String,
}

/// The bound of a target.
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

/// A line of a chart: its label and its points.
pub(crate) type Series = (String, Vec<(f64, f64)>);

/// A chart with a logarithmic abscissa.
pub(crate) struct Curve {
    /// Name of the file, without its ending.
    pub(crate) file: &'static str,
    /// Its title.
    pub(crate) title: String,
    /// Label of the abscissa.
    pub(crate) abscissa: &'static str,
    /// Label of the ordinate, with its unit.
    pub(crate) ordinate: &'static str,
    /// Its lines.
    pub(crate) series: Vec<Series>,
}

/// All results of one run.
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

    /// Keeps a figure with a bound; all of them are printed at the end.
    pub(crate) fn target(&mut self, what: &str, reached: f64, bound: Bound, unit: &'static str) {
        let met = if bound.holds(reached) { "yes" } else { "NO" }.to_owned();
        let reached = format!("{reached:.3}{unit}");
        self.targets.push(Target { what: what.to_owned(), bound, reached, met });
    }

    /// Keeps a bound that a test checks instead of this run.
    pub(crate) fn held(&mut self, what: &str, bound: Bound, test: &str) {
        let (reached, met) = ("not measured here".to_owned(), format!("test {test}"));
        self.targets.push(Target { what: what.to_owned(), bound, reached, met });
    }

    /// Keeps a picture.
    pub(crate) fn curve(&mut self, curve: Curve) {
        self.curves.push(curve);
    }

    /// Prints the figures with bounds.
    pub(crate) fn close(&mut self) {
        let row = |target: &Target| {
            let Target { what, bound, reached, met } = target;
            vec![what.clone(), bound.text(), reached.clone(), met.clone()]
        };
        let rows: Vec<_> = self.targets.iter().map(row).collect();
        if !rows.is_empty() {
            self.table("To be reached", &["what", "bound", "reached", "met"], &rows);
        }
    }

    /// Writes all of it into a directory: a document, and a picture for each curve.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), Box<dyn Error>> {
        fs::create_dir_all(directory)?;
        let mut text = format!("{HEAD}{}", self.markdown);
        for curve in &self.curves {
            let file = format!("{}.svg", curve.file);
            fs::write(directory.join(&file), picture::svg(curve)?)?;
            // A `String` takes everything.
            let _ = writeln!(text, "\n![{}]({file})", curve.title);
        }
        fs::write(directory.join("results.md"), text)?;
        println!("written: {}", directory.join("results.md").display());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_written_with_its_pictures() {
        let directory = tempfile::tempdir().unwrap();
        let mut report = Report::default();
        report.line("a machine");
        report.target("speed", 2.0, Bound::AtMost(1.0), " s");
        report.held("frames", Bound::AtMost(0.0), "a::b");
        report.curve(Curve {
            file: "sample",
            title: "sample".to_owned(),
            abscissa: "x",
            ordinate: "y",
            series: vec![("one".to_owned(), vec![(1.0, 1.0), (10.0, 2.0)])],
        });
        report.close();
        report.write(directory.path()).unwrap();
        let text = fs::read_to_string(directory.path().join("results.md")).unwrap();
        assert!(text.starts_with("# Results\n\nMade by `cargo xtask bench --write`"), "{text}");
        assert!(text.contains("\na machine\n") && text.contains("![sample](sample.svg)"), "{text}");
        assert!(text.contains("| speed | ≤ 1 | 2.000 s | NO |"), "{text}");
        assert!(text.contains("| frames | ≤ 0 | not measured here | test a::b |"), "{text}");
        assert!(directory.path().join("sample.svg").is_file());
    }
}
