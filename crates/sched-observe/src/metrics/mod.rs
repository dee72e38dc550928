//! Numbers for a monitoring system, independent of which: [`Metric`].

mod counts;
mod histogram;
#[cfg(feature = "prometheus-client")]
mod prometheus;
#[cfg(feature = "metrics")]
mod publish;

pub use counts::Counts;
pub use histogram::Histogram;
#[cfg(feature = "prometheus-client")]
pub use prometheus::MetricsCollector;
#[cfg(feature = "metrics")]
pub use publish::{Published, publish};

/// One metric at one moment, with a sample for each combination of its labels.
///
/// Names follow the [conventions of Prometheus](https://prometheus.io/docs/practices/naming/): a prefix, base units,
/// `_total` at the end of what is counted.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Metric {
    /// What it is called, with unit, and `_total` for counts.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// What kind of number it is.
    pub kind: MetricKind,
    /// Whether a sample that is not there any more is 0, as where things are counted, and not unknown.
    pub zero_if_absent: bool,
    /// Its values.
    pub samples: Vec<Sample>,
}

/// What kind of number a [`Metric`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MetricKind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many values lay in which range.
    Histogram,
}

/// One value of a [`Metric`].
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Sample {
    /// Names and values of its labels.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: SampleValue,
}

/// The value of a [`Sample`].
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum SampleValue {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram.
    Histogram(Histogram),
}

impl Metric {
    /// A counter without samples.
    pub fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricKind::Counter, zero_if_absent: false, samples: Vec::new() }
    }

    /// A gauge without samples.
    pub fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricKind::Gauge, zero_if_absent: false, samples: Vec::new() }
    }

    /// A histogram without samples.
    pub fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricKind::Histogram, zero_if_absent: false, samples: Vec::new() }
    }

    /// Says that a sample that is not there any more is 0.
    #[must_use]
    pub fn zero_if_absent(mut self) -> Self {
        self.zero_if_absent = true;
        self
    }

    /// Adds a number with these labels.
    #[must_use]
    pub fn with<const N: usize>(mut self, labels: [(&'static str, &str); N], value: f64) -> Self {
        self.add(labels, SampleValue::Number(value));
        self
    }

    /// Adds a histogram with these labels.
    #[must_use]
    pub fn with_ranges<const N: usize>(
        mut self,
        labels: [(&'static str, &str); N],
        value: Histogram,
    ) -> Self {
        self.add(labels, SampleValue::Histogram(value));
        self
    }

    fn add<const N: usize>(&mut self, labels: [(&'static str, &str); N], value: SampleValue) {
        let labels = labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        self.samples.push(Sample { labels, value });
    }
}
