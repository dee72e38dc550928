//! Load and health of one member: [`EtcdStatus`].

use std::collections::VecDeque;
use std::time::Duration;

use sched_core::{MonoTime, Now};
use sched_limits::Reading;

use super::cluster::{EtcdCluster, trimmed};
use super::metrics::{BACKEND_COMMIT, Metrics, WAL_FSYNC};
use crate::DriverError;
use crate::server::{ServerStatus, StatusSource, Workload};

/// Over how long changes of the leader are counted.
const LEADER_WINDOW: Duration = Duration::from_secs(600);
/// Calls that change something.
const WRITES: [&str; 7] =
    ["Put", "Txn", "DeleteRange", "Compact", "LeaseGrant", "LeaseRevoke", "LeaseKeepAlive"];
/// etcd does not count keys that it sends. A key with its value is reckoned as so many bytes on the connection: what
/// most objects of Kubernetes exceed and most locks and settings do not.
const ENTRY_BYTES: f64 = 256.0;
/// Metrics of a member with hundreds of watchers are far shorter than this.
const LONGEST_ANSWER: u64 = 16 << 20;

/// Reads one member's `/metrics`. No login is needed for it, but a certificate is where clients need one.
///
/// - Requests at work: calls that began and have not ended, without watches and other streams.
/// - Work done: `Range` reads; `Put`, `Txn`, `DeleteRange` and leases write. What they touch is reckoned from the bytes
///   that went to and from clients, 256 bytes an entry, except while a snapshot is under way: its bytes are no work.
/// - Health, each over the time since the last reading unless said otherwise:
///
/// | reading | what it says |
/// |---|---|
/// | `wal_fsync_p99_ms` | 99th percentile of the fsyncs of the log; 0 when nothing was to be written; left out when proposals wait and no fsync ended |
/// | `backend_commit_p99_ms` | the same of commits of the database |
/// | `leader_changes` | changes of the leader within 10 minutes |
/// | `proposals_pending` | proposals that wait now |
/// | `apply_lag` | entries that are committed and not applied now |
/// | `leader_missing` | 1 when the member has no leader |
#[derive(Debug)]
pub struct EtcdStatus {
    cluster: EtcdCluster,
    url: String,
    agent: Option<ureq::Agent>,
    last: Option<(MonoTime, Metrics)>,
    /// How many changes of the leader had been seen when, for as long as they count.
    leaders: VecDeque<(MonoTime, f64)>,
}

impl EtcdStatus {
    /// The member of `cluster` whose metrics are at `url`: its address for clients, or that of
    /// `--listen-metrics-urls`.
    pub fn new(cluster: EtcdCluster, url: impl Into<String>) -> Self {
        Self { cluster, url: trimmed(&url.into()), agent: None, last: None, leaders: VecDeque::new() }
    }

    fn scrape(&mut self) -> Result<Metrics, DriverError> {
        let agent = match &self.agent {
            Some(agent) => agent,
            None => self.agent.insert(self.cluster.agent()?),
        };
        let server = || self.url.clone();
        let unreachable =
            |error: ureq::Error| DriverError::Unreachable { server: server(), error: error.to_string() };
        let mut response = agent.get(format!("{}/metrics", self.url)).call().map_err(unreachable)?;
        let answer = |problem: String| DriverError::Answer { server: server(), problem };
        if response.status() != 200 {
            return Err(answer(format!("/metrics: HTTP status {}", response.status())));
        }
        let text = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string();
        Metrics::parse(&text.map_err(unreachable)?).map_err(answer)
    }

    /// Changes of the leader within the window.
    fn leader_changes(&mut self, now: MonoTime, seen: f64) -> f64 {
        self.leaders.push_back((now, seen));
        while self.leaders.get(1).is_some_and(|(at, _)| now.since(*at) >= LEADER_WINDOW) {
            self.leaders.pop_front();
        }
        self.leaders.front().map_or(0.0, |(_, earlier)| seen - earlier)
    }
}

impl StatusSource for EtcdStatus {
    fn read(&mut self, now: Now) -> Result<ServerStatus, DriverError> {
        let metrics = self.scrape().inspect_err(|_| self.agent = None)?;
        let born = |metrics: &Metrics| metrics.value("process_start_time_seconds");
        // All its counters begin anew with its process.
        if self.last.as_ref().is_some_and(|(_, last)| born(last) != born(&metrics)) {
            self.last = None;
            self.leaders.clear();
        }
        let changes = self.leader_changes(now.mono, metrics.value("etcd_server_leader_changes_seen_total"));
        let mut status = ServerStatus::new(metrics.in_flight());
        let (pending, lag) = (metrics.value("etcd_server_proposals_pending"), apply_lag(&metrics));
        status = status
            .health(Reading::new("leader_changes", changes, "changes"))
            .health(Reading::new("proposals_pending", pending, "proposals"))
            .health(Reading::new("apply_lag", lag, "entries"))
            .health(Reading::new(
                "leader_missing",
                1.0 - metrics.value("etcd_server_has_leader").min(1.0),
                "leaders",
            ));
        if let Some((at, last)) = &self.last {
            if let Some(workload) = workload(last, &metrics, now.mono.since(*at)) {
                status = status.workload(workload);
            }
            let waits = pending > 0.0 || lag > 0.0;
            for (signal, family) in
                [("wal_fsync_p99_ms", WAL_FSYNC), ("backend_commit_p99_ms", BACKEND_COMMIT)]
            {
                let p99 = metrics.p99_ms_since(last, family);
                // Nothing to write is no sign of a slow disk; something to write and no end of it may be one.
                if let Some(p99) = p99.or((!waits).then_some(0.0)) {
                    status = status.health(Reading::new(signal, p99, "ms"));
                }
            }
        }
        self.last = Some((now.mono, metrics));
        Ok(status)
    }
}

fn apply_lag(metrics: &Metrics) -> f64 {
    let committed = metrics.value("etcd_server_proposals_committed_total");
    (committed - metrics.value("etcd_server_proposals_applied_total")).max(0.0)
}

/// What was done between two readings; `None` when no time passed.
fn workload(last: &Metrics, metrics: &Metrics, passed: Duration) -> Option<Workload> {
    let seconds = passed.as_secs_f64();
    if seconds <= 0.0 {
        return None;
    }
    let handled = |method: &str| (metrics.calls(method).handled - last.calls(method).handled).max(0.0);
    let reads = handled("Range");
    let writes: f64 = WRITES.iter().map(|method| handled(method)).sum();
    let moved = |family| (metrics.value(family) - last.value(family)).max(0.0);
    let bytes = moved("etcd_network_client_grpc_sent_bytes_total")
        + moved("etcd_network_client_grpc_received_bytes_total");
    let snapshot = metrics.calls("Snapshot");
    let backing_up = snapshot.started > last.calls("Snapshot").handled;
    let touched = if backing_up { reads + writes } else { (bytes / ENTRY_BYTES).max(reads + writes) };
    Some(Workload::new(reads / seconds, writes / seconds, touched / seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(ranges: u32, sent: u32, snapshots: (u32, u32)) -> Metrics {
        let labels = |method| format!("{{grpc_method=\"{method}\",grpc_type=\"unary\"}}");
        let (started, ended) = snapshots;
        let text = format!(
            "etcd_server_proposals_pending 0\nprocess_start_time_seconds 1\n\
             grpc_server_handled_total{range} {ranges}\n\
             grpc_server_started_total{snapshot} {started}\ngrpc_server_handled_total{snapshot} {ended}\n\
             etcd_network_client_grpc_sent_bytes_total {sent}\n",
            range = labels("Range"),
            snapshot = labels("Snapshot"),
        );
        Metrics::parse(&text).unwrap()
    }

    #[test]
    fn the_bytes_of_a_snapshot_are_no_work() {
        let touched = |sent, snapshots| {
            let (before, now) = (metrics(0, 0, (3, 3)), metrics(10, sent, snapshots));
            workload(&before, &now, Duration::from_secs(2)).unwrap().touched_per_s
        };
        assert_eq!(touched(256_000, (3, 3)), 500.0);
        assert_eq!(touched(1_000_000_000, (4, 3)), 5.0, "one is under way");
        assert_eq!(touched(1_000_000_000, (4, 4)), 5.0, "one began and ended");
    }

    #[test]
    fn changes_of_the_leader_are_forgotten_after_a_while() {
        let mut status = EtcdStatus::new(EtcdCluster::new("http://x"), "http://x");
        let mut at =
            |seconds, seen| status.leader_changes(MonoTime::ZERO + Duration::from_secs(seconds), seen);
        assert_eq!([at(0, 7.0), at(5, 9.0), at(300, 9.0), at(604, 9.0)], [0.0, 2.0, 2.0, 2.0]);
        assert_eq!(at(606, 9.0), 0.0);
    }
}
