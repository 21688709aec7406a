//! Metrics in Prometheus' text format, version 0.0.4.

use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// Names and values of the labels of a sample.
pub type Labels<'a> = Vec<(&'static str, &'a str)>;

/// The content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The kind of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; restarts at 0 when the counting process restarts.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// Families in the order in which they were added.
#[derive(Debug, Default)]
pub struct Families(Vec<MetricFamily>);

impl Families {
    /// Adds a family; one without samples is left out.
    pub fn add<'a>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, u64)>,
    ) {
        let samples: Vec<Metric> =
            samples.into_iter().map(|(labels, value)| sample(kind, labels, value)).collect();
        if samples.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(match kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
        });
        family.set_metric(samples);
        self.0.push(family);
    }

    /// Adds a family of one sample without labels.
    pub fn one(&mut self, kind: Kind, name: &str, help: &str, value: u64) {
        self.add(kind, name, help, [(Labels::new(), value)]);
    }

    /// The text.
    pub fn text(&self) -> String {
        let text = TextEncoder::new().encode_to_string(&self.0);
        // It fails only for families without a name or samples, which do not exist.
        text.inspect_err(|e| log::error!("metrics: {e}")).unwrap_or_default()
    }
}

fn sample(kind: Kind, labels: Labels<'_>, value: u64) -> Metric {
    let pair = |(name, value): (&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    let mut metric = Metric::from_label(labels.into_iter().map(pair).collect());
    // Prometheus stores all values this way.
    let value = value as f64;
    match kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
    }
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_as_text() {
        let mut families = Families::default();
        let names = ["a\"b\\c\n", "x"];
        let samples = names.map(|name| (vec![("group", name)], 1 << 40));
        families.add(Kind::Counter, "e_frames_total", "Frames.", samples);
        families.add(Kind::Gauge, "e_none", "Nothing.", []);
        families.one(Kind::Gauge, "e_up", "Up.", 1);
        let expected = "\
# HELP e_frames_total Frames.
# TYPE e_frames_total counter
e_frames_total{group=\"a\\\"b\\\\c\\n\"} 1099511627776
e_frames_total{group=\"x\"} 1099511627776
# HELP e_up Up.
# TYPE e_up gauge
e_up 1
";
        assert_eq!(families.text(), expected);
    }
}
