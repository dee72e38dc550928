//! Metrics for a registry of prometheus-client: [`MetricsCollector`].

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use super::{Metric, MetricKind, SampleValue};

/// Reads the metrics at each scrape.
///
/// ```
/// use prometheus_client::{encoding::text::encode, registry::Registry};
/// use sched_observe::metrics::{Metric, MetricsCollector};
///
/// // Of a scheduler: move || scheduler.metrics().unwrap_or_default()
/// let read = || vec![Metric::gauge("backup_sched_answer", "An example").with([("of", "all")], 42.0)];
/// let mut registry = Registry::default();
/// registry.register_collector(Box::new(MetricsCollector::new(read)));
/// let mut text = String::new();
/// encode(&mut text, &registry)?;
/// assert!(text.contains(r#"backup_sched_answer{of="all"} 42"#));
/// # Ok::<(), std::fmt::Error>(())
/// ```
pub struct MetricsCollector<F> {
    read: F,
}

impl<F: Fn() -> Vec<Metric> + Send + Sync + 'static> MetricsCollector<F> {
    /// A collector of what `read` returns. It is called at each scrape.
    pub fn new(read: F) -> Self {
        Self { read }
    }
}

impl<F> fmt::Debug for MetricsCollector<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsCollector")
    }
}

impl<F: Fn() -> Vec<Metric> + Send + Sync + 'static> Collector for MetricsCollector<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in (self.read)() {
            let kind = match metric.kind {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::Histogram => MetricType::Histogram,
            };
            // The encoder adds what the conventions want at the end of a counter.
            let name = match metric.kind {
                MetricKind::Counter => metric.name.trim_end_matches("_total"),
                _ => metric.name,
            };
            let mut family = encoder.encode_descriptor(name, metric.help, None, kind)?;
            for sample in &metric.samples {
                if sample.labels.is_empty() {
                    value(&mut family, metric.kind, &sample.value)?;
                } else {
                    value(&mut family.encode_family(&sample.labels)?, metric.kind, &sample.value)?;
                }
            }
        }
        Ok(())
    }
}

type NoExemplar<'e> = Option<&'e Exemplar<Vec<(&'static str, String)>, f64>>;

fn value(encoder: &mut MetricEncoder<'_>, kind: MetricKind, value: &SampleValue) -> fmt::Result {
    match (value, kind) {
        (SampleValue::Number(number), MetricKind::Counter) => {
            encoder.encode_counter(number, NoExemplar::None)
        }
        (SampleValue::Number(number), _) => encoder.encode_gauge(number),
        (SampleValue::Histogram(histogram), _) => {
            let ranges: Vec<_> = histogram.ranges().collect();
            encoder.encode_histogram::<Vec<(&'static str, String)>>(
                histogram.sum(),
                histogram.count(),
                &ranges,
                None,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn a_scrape_reads_what_holds_then() {
        let mut histogram = Histogram::new(&[1.0, 60.0]);
        [0.5, 30.0, 90.0].into_iter().for_each(|value| histogram.record(value));
        let read = move || {
            let counter =
                Metric::counter("backup_sched_things_total", "Things").with([("of", "a\"b\nc")], 3.0);
            let mut waits = Metric::histogram("backup_sched_wait_seconds", "Waits");
            waits.add([("technology", "etcd")], SampleValue::Histogram(histogram.clone()));
            let all = Metric::counter("backup_sched_all_total", "All").with([], 2.0);
            vec![counter, waits, all]
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(MetricsCollector::new(read)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "# TYPE backup_sched_things counter",
            r#"backup_sched_things_total{of="a\"b\nc"} 3.0"#,
            r#"backup_sched_wait_seconds_sum{technology="etcd"} 120.5"#,
            r#"backup_sched_wait_seconds_bucket{le="1.0",technology="etcd"} 1"#,
            r#"backup_sched_wait_seconds_bucket{le="60.0",technology="etcd"} 2"#,
            r#"backup_sched_wait_seconds_bucket{le="+Inf",technology="etcd"} 3"#,
            "backup_sched_all_total 2.0",
        ] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
    }
}
