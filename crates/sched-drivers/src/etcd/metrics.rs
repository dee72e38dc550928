//! What is read of a member's metrics: [`Metrics`].

use std::collections::BTreeMap;

/// The families that are read; the rest of some thousand lines is passed over.
const SUMS: [&str; 10] = [
    "etcd_server_has_leader",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_proposals_pending",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_applied_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "etcd_network_client_grpc_received_bytes_total",
    "process_start_time_seconds",
    STARTED,
    HANDLED,
];
const STARTED: &str = "grpc_server_started_total";
const HANDLED: &str = "grpc_server_handled_total";
pub(super) const WAL_FSYNC: &str = "etcd_disk_wal_fsync_duration_seconds";
pub(super) const BACKEND_COMMIT: &str = "etcd_disk_backend_commit_duration_seconds";

/// The metrics of one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    values: BTreeMap<&'static str, f64>,
    /// By method: calls that began, and calls that ended.
    calls: BTreeMap<String, Calls>,
    histograms: BTreeMap<&'static str, Histogram>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calls {
    pub(super) started: f64,
    pub(super) handled: f64,
    /// One answer to one request, not a stream of them.
    pub(super) unary: bool,
}

/// Observations by their upper bounds, each with those of all smaller ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram(Vec<(f64, f64)>);

impl Metrics {
    /// Reads the text format of Prometheus.
    ///
    /// # Errors
    /// When the values that every etcd has are not there.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut metrics = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            metrics.line(line);
        }
        let needed = ["etcd_server_proposals_pending", "process_start_time_seconds"];
        match needed.into_iter().find(|name| !metrics.values.contains_key(name)) {
            Some(missing) => Err(format!("{missing} is not among its metrics")),
            None => Ok(metrics),
        }
    }

    fn line(&mut self, line: &str) {
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let (labels, value) = match rest.rsplit_once('}') {
            Some((labels, value)) => (labels.trim_start_matches('{'), value),
            None => ("", rest),
        };
        let histogram = [WAL_FSYNC, BACKEND_COMMIT]
            .into_iter()
            .find(|family| name.strip_prefix(family).is_some_and(|suffix| suffix == "_bucket"));
        let sum = SUMS.into_iter().find(|family| *family == name);
        let Ok(value) = value.trim().parse::<f64>() else { return };
        if let Some(family) = histogram {
            let bound = label(labels, "le").and_then(|bound| bound.parse().ok());
            if let Some(bound) = bound {
                self.histograms.entry(family).or_default().0.push((bound, value));
            }
        } else if let (Some(STARTED | HANDLED), Some(method)) = (sum, label(labels, "grpc_method")) {
            let calls = self.calls.entry(method.to_owned()).or_default();
            calls.unary |= label(labels, "grpc_type") == Some("unary");
            *if name == STARTED { &mut calls.started } else { &mut calls.handled } += value;
        } else if let Some(family) = sum {
            *self.values.entry(family).or_default() += value;
        }
    }

    /// The value of a family, over all its series; 0 where there are none.
    pub(super) fn value(&self, family: &str) -> f64 {
        self.values.get(family).copied().unwrap_or(0.0)
    }

    pub(super) fn calls(&self, method: &str) -> Calls {
        self.calls.get(method).copied().unwrap_or_default()
    }

    /// Requests that began and have not ended; streams, such as watches, left out.
    pub(super) fn in_flight(&self) -> f64 {
        let open = |calls: &Calls| (calls.started - calls.handled).max(0.0);
        self.calls.values().filter(|calls| calls.unary).map(open).sum()
    }

    /// The 99th percentile in ms of what was observed since `before`; `None` when nothing was.
    pub(super) fn p99_ms_since(&self, before: &Self, family: &str) -> Option<f64> {
        let now = self.histograms.get(family)?;
        now.since(before.histograms.get(family)?).quantile(0.99).map(|seconds| seconds * 1000.0)
    }
}

impl Histogram {
    fn since(&self, before: &Self) -> Self {
        let earlier = |bound: f64| before.0.iter().find(|(b, _)| *b == bound).map_or(0.0, |(_, n)| *n);
        Self(self.0.iter().map(|&(bound, count)| (bound, count - earlier(bound))).collect())
    }

    /// As Prometheus reckons it: evenly spread inside a bucket; beyond the last bound that bound.
    fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.0.last()?.1;
        if !(total.is_finite() && total > 0.0) {
            return None;
        }
        let rank = share * total;
        let (mut low, mut below) = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            if count >= rank {
                let inside = count - below;
                let width = if bound.is_finite() { bound - low } else { 0.0 };
                return Some(if inside > 0.0 { low + width * (rank - below) / inside } else { bound });
            }
            (low, below) = (bound, count);
        }
        None
    }
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split(',').find_map(|pair| {
        let value = pair.trim().strip_prefix(name)?.strip_prefix("=\"")?;
        value.strip_suffix('"')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(fsyncs: [u32; 3], ranges: u32) -> Metrics {
        let [one, two, all] = fsyncs;
        let text = format!(
            "# HELP etcd_server_proposals_pending The current number of pending proposals to commit.\n\
             etcd_server_proposals_pending 2\n\
             process_start_time_seconds 1.7e+09\n\
             etcd_disk_wal_fsync_duration_seconds_bucket{{le=\"0.001\"}} {one}\n\
             etcd_disk_wal_fsync_duration_seconds_bucket{{le=\"0.002\"}} {two}\n\
             etcd_disk_wal_fsync_duration_seconds_bucket{{le=\"+Inf\"}} {all}\n\
             etcd_disk_wal_fsync_duration_seconds_sum 1\n\
             grpc_server_started_total{{grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}} 9\n\
             grpc_server_started_total{{grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"}} 4\n\
             grpc_server_handled_total{{grpc_code=\"OK\",grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}} {ranges}\n\
             grpc_server_handled_total{{grpc_code=\"Unknown\",grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}} 1\n"
        );
        Metrics::parse(&text).unwrap()
    }

    #[test]
    fn calls_are_summed_over_their_codes_and_streams_are_not_in_flight() {
        let metrics = scrape([0, 0, 0], 5);
        assert_eq!(metrics.calls("Range").handled, 6.0);
        assert_eq!(metrics.in_flight(), 3.0);
        assert_eq!(metrics.value("etcd_server_proposals_pending"), 2.0);
    }

    #[test]
    fn a_percentile_is_that_of_the_last_interval() {
        let p99 = |before, now| scrape(now, 0).p99_ms_since(&scrape(before, 0), WAL_FSYNC);
        assert_eq!(p99([100, 100, 100], [100, 100, 100]), None);
        // A hundred quick ones long ago hide nothing of two slow ones now.
        assert!((p99([100, 100, 100], [100, 102, 102]).unwrap() - 1.99).abs() < 1e-9);
        assert!((p99([0, 0, 0], [100, 100, 100]).unwrap() - 0.99).abs() < 1e-9);
        assert_eq!(p99([0, 0, 0], [0, 0, 7]), Some(2.0), "slower than the last bound: at least that");
    }

    #[test]
    fn a_page_of_something_else_is_refused() {
        let error = Metrics::parse("node_load1 0.5\n").unwrap_err();
        assert!(error.contains("etcd_server_proposals_pending"), "{error}");
    }
}
