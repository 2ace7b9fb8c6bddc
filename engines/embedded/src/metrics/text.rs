//! The text that Prometheus reads.

use std::{
    fmt::{Display, Write as _},
    sync::atomic::Ordering,
};

use super::Histogram;

/// A label's name and value.
pub(crate) type Label<'a> = (&'a str, &'a str);

/// Families of samples, one after another.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// Begins a family: its samples follow.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(crate) fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        self.0.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.0, " {value}");
    }

    /// A family of one sample.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// The samples of a histogram that counts in a unit of which `scale` make one of the text's.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        labels: &[Label<'_>],
        histogram: &Histogram,
        scale: f64,
    ) {
        let mut so_far = 0;
        for (place, count) in histogram.counts.iter().enumerate() {
            so_far += count.load(Ordering::Relaxed);
            let bound = match histogram.bounds.get(place) {
                Some(bound) => scaled(*bound, scale).to_string(),
                None => "+Inf".to_owned(),
            };
            let _ = write!(self.0, "{name}_bucket");
            self.labels(labels, Some(&bound));
            let _ = writeln!(self.0, " {so_far}");
        }
        let sum = scaled(histogram.sum.load(Ordering::Relaxed), scale);
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, so_far);
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }

    fn labels(&mut self, labels: &[Label<'_>], bound: Option<&str>) {
        let mut before = '{';
        for (name, value) in labels
            .iter()
            .copied()
            .chain(bound.map(|bound| ("le", bound)))
        {
            let _ = write!(self.0, "{before}{name}=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
            before = ',';
        }
        if before == ',' {
            self.0.push('}');
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what is shown has no more digits than that"
)]
fn scaled(value: u64, scale: f64) -> f64 {
    value as f64 / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_buckets_add_up() {
        let histogram = Histogram::new(&[500, 1_500_000]);
        histogram.observe(500);
        histogram.observe(2_000_000);
        let mut text = Text::default();
        text.family("a_seconds", "histogram", "Of a.");
        text.histogram("a_seconds", &[("of", "x\"\\\ny")], &histogram, 1e6);
        text.gauge("b", "Of b.", 7);
        let expected = r#"# HELP a_seconds Of a.
# TYPE a_seconds histogram
a_seconds_bucket{of="x\"\\\ny",le="0.0005"} 1
a_seconds_bucket{of="x\"\\\ny",le="1.5"} 1
a_seconds_bucket{of="x\"\\\ny",le="+Inf"} 2
a_seconds_sum{of="x\"\\\ny"} 2.0005
a_seconds_count{of="x\"\\\ny"} 2
# HELP b Of b.
# TYPE b gauge
b 7
"#;
        assert_eq!(text.into_string(), expected);
    }
}
