//! Metrics for the recorder of the `metrics` facade: [`publish`].

use std::collections::HashMap;

use metrics::{Key, KeyName, Label, Level, Metadata, SharedString, Unit};

use super::{Metric, MetricKind, SampleValue};

/// The gauges that [`publish`] has told.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// With what each is once it is not told any more.
    gauges: HashMap<Key, f64>,
}

/// Sets counters and gauges of the program's own recorder to these values: call it as often as your exporter is read, with
/// the same `known`. A gauge that was told before and is not any more is set to 0 where the metric says so, as of the jobs of a
/// technology of which none waits, and else to no number, as of a limit that is gone.
///
/// The facade takes single values of histograms and no counts, so of a histogram it gets the number of values and their
/// sum, as `NAME_count` and `NAME_sum`.
///
/// ```
/// use sched_observe::metrics::{Metric, Published, publish};
///
/// let mut known = Published::default();
/// publish(&mut known, &[Metric::gauge("backup_sched_answer", "An example").with([], 42.0)]);
/// ```
pub fn publish(known: &mut Published, all: &[Metric]) {
    let before = std::mem::take(&mut known.gauges);
    let about = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
    metrics::with_recorder(|recorder| {
        for metric in all {
            let describe = |name: &str| (KeyName::from(name.to_owned()), SharedString::from(metric.help));
            let counter = |name: &str, labels: Vec<Label>, value: f64| {
                recorder
                    .register_counter(&Key::from_parts(name.to_owned(), labels), &about)
                    .absolute(value as u64);
            };
            let mut gauge = |name: &str, labels: Vec<Label>, value: f64| {
                let key = Key::from_parts(name.to_owned(), labels);
                recorder.register_gauge(&key, &about).set(value);
                known.gauges.insert(key, if metric.zero_if_absent { 0.0 } else { f64::NAN });
            };
            let (name, help) = describe(metric.name);
            match metric.kind {
                MetricKind::Counter => recorder.describe_counter(name, unit(metric.name), help),
                MetricKind::Gauge => recorder.describe_gauge(name, unit(metric.name), help),
                MetricKind::Histogram => {}
            }
            for sample in &metric.samples {
                let labels: Vec<_> =
                    sample.labels.iter().map(|(name, value)| Label::new(*name, value.clone())).collect();
                match (&sample.value, metric.kind) {
                    (SampleValue::Number(value), MetricKind::Counter) => counter(metric.name, labels, *value),
                    (SampleValue::Number(value), _) => gauge(metric.name, labels, *value),
                    (SampleValue::Histogram(histogram), _) => {
                        counter(&format!("{}_count", metric.name), labels.clone(), histogram.count() as f64);
                        gauge(&format!("{}_sum", metric.name), labels, histogram.sum());
                    }
                }
            }
        }
        for (gone, value) in before.iter().filter(|(key, _)| !known.gauges.contains_key(*key)) {
            recorder.register_gauge(gone, &about).set(*value);
        }
    });
}

fn unit(name: &str) -> Option<Unit> {
    let name = name.trim_end_matches("_total");
    match () {
        () if name.ends_with("_bytes_per_second") => None,
        () if name.ends_with("_seconds") => Some(Unit::Seconds),
        () if name.ends_with("_bytes") => Some(Unit::Bytes),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn the_programs_recorder_gets_every_value() {
        let mut histogram = Histogram::new(&[1.0]);
        histogram.record(2.5);
        let mut waits = Metric::histogram("backup_sched_wait_seconds", "Waits");
        waits.add([("technology", "etcd")], SampleValue::Histogram(histogram));
        let counted =
            |value| Metric::counter("backup_sched_things_total", "Things").with([("of", "a")], value);
        let rate = Metric::gauge("backup_sched_rate_bytes_per_second", "Rate").with([], 1.5);
        let recorder = DebuggingRecorder::new();
        let seen = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || {
            let mut known = Published::default();
            let waiting = |value| {
                Metric::gauge("backup_sched_jobs_waiting", "Jobs").zero_if_absent().with([("of", "a")], value)
            };
            publish(&mut known, &[counted(3.0), waits, rate, waiting(7.0)]);
            publish(&mut known, &[counted(5.0)]);
        });
        let seen: Vec<_> = seen
            .snapshot()
            .into_vec()
            .into_iter()
            .map(|(key, _, _, value)| (key.key().to_string(), value))
            .collect();
        let value = |name: &str| {
            &seen.iter().find(|(key, _)| key.contains(name)).unwrap_or_else(|| panic!("{seen:?}")).1
        };
        assert_eq!(value("things_total"), &DebugValue::Counter(5));
        assert_eq!(value("rate_bytes_per_second"), &DebugValue::Gauge(f64::NAN.into()), "unlimited by now");
        assert_eq!(value("jobs_waiting"), &DebugValue::Gauge(0.0.into()), "nobody waits any more");
        assert_eq!(value("wait_seconds_count"), &DebugValue::Counter(1));
        assert_eq!(value("wait_seconds_sum"), &DebugValue::Gauge(f64::NAN.into()));
    }
}
