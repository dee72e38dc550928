//! What node_exporter tells of a host, under its own names (version 1.0 and later).

use std::time::Duration;

use sched_core::{HostName, Scope};

use super::query::Query;
use crate::signal::{
    BYTES, BYTES_PER_SEC, CPU, CPU_STEAL, DISK, DISK_IOPS, DISK_QUEUE, MEMORY, NETWORK, OPS_PER_SEC, PSI_CPU,
    PSI_IO, PSI_MEMORY, SHARE,
};

/// What is made of other disks, or of memory.
const NO_DISKS: &str = r#"device!~"(dm-|md|loop|ram|zram|sr|fd).*""#;
const NO_LINKS: &str = r#"device!~"lo|(veth|docker|br-|virbr|ifb|tun|tap|cali|flannel|cni).*""#;

/// How fast the parts of a host are, in bytes a second, where somebody knows.
#[derive(Clone, Copy)]
pub(super) struct Speeds {
    pub(super) disk: Option<f64>,
    pub(super) network: Option<f64>,
}

/// The queries for the host whose series `selector` matches.
///
/// Rates are those between the newest two samples: an average over minutes would hide what happens now. Their window is
/// four scrapes, so that a lost one does not matter.
pub(super) fn queries(host: &HostName, selector: &str, scrape: Duration, speeds: Speeds) -> Vec<Query> {
    let window = format!("{}ms", scrape.saturating_mul(4).as_millis().max(1));
    let series = |metric: &str, labels: &str| {
        let labels: Vec<_> = [labels, selector].into_iter().filter(|l| !l.is_empty()).collect();
        format!("{metric}{{{}}}", labels.join(","))
    };
    let rate = |metric: &str, labels: &str| format!("irate({}[{window}])", series(metric, labels));
    let sum = |metric: &str, labels: &str| format!("sum({})", rate(metric, labels));
    let cpu = "node_cpu_seconds_total";
    let total = sum(cpu, "");
    let psi = |of: &str| {
        format!("clamp_max(max({}), 1)", rate(&format!("node_pressure_{of}_waiting_seconds_total"), ""))
    };
    let disk = |a: &str, b: &str| format!("{} + {}", sum(a, NO_DISKS), sum(b, NO_DISKS));
    let received = format!("max by (device) ({})", rate("node_network_receive_bytes_total", NO_LINKS));
    let sent = format!("max by (device) ({})", rate("node_network_transmit_bytes_total", NO_LINKS));
    let memory = |name: &str| format!("max({})", series(&format!("node_memory_{name}_bytes"), ""));

    let idle = sum(cpu, r#"mode=~"idle|iowait""#);
    let busy = Query::new(CPU, format!("clamp_min(1 - {idle} / {total}, 0)"), SHARE).of(1.0);
    let steal = format!("{} / {total}", sum(cpu, r#"mode="steal""#));
    let used = format!("{} - {}", memory("MemTotal"), memory("MemAvailable"));
    let bytes = disk("node_disk_read_bytes_total", "node_disk_written_bytes_total");
    let ios = disk("node_disk_reads_completed_total", "node_disk_writes_completed_total");
    let busier = format!("({received} >= {sent}) or {sent}");
    // A link that does not know its speed tells a negative one.
    let speed = format!("max by (device) ({}) > 0", series("node_network_speed_bytes", NO_LINKS));

    let mut disk = Query::new(DISK, bytes, BYTES_PER_SEC);
    if let Some(speed) = speeds.disk {
        disk = disk.of(speed);
    }
    let network = Query::new(NETWORK, busier, BYTES_PER_SEC).per("device").optional();
    let network = match speeds.network {
        Some(known) => network.of_query(format!("({speed}) or max by (device) ({received} * 0 + {known})")),
        None => network.of_query(speed),
    };
    let all = [
        busy,
        Query::new(CPU_STEAL, steal, SHARE).of(1.0).optional(),
        Query::new(MEMORY, used, BYTES).of_query(memory("MemTotal")),
        Query::new(PSI_CPU, psi("cpu"), SHARE).of(1.0).optional(),
        Query::new(PSI_MEMORY, psi("memory"), SHARE).of(1.0).optional(),
        Query::new(PSI_IO, psi("io"), SHARE).of(1.0).optional(),
        disk,
        Query::new(DISK_IOPS, ios, OPS_PER_SEC),
        Query::new(DISK_QUEUE, sum("node_disk_io_time_weighted_seconds_total", NO_DISKS), "ios"),
        network,
    ];
    let stamp = format!("timestamp({})", series("node_memory_MemTotal_bytes", ""));
    let finish = |query: Query| query.scope(Scope::Host(host.clone())).stamped_by(stamp.clone());
    all.into_iter().map(finish).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_the_hosts_own() {
        let speeds = Speeds { disk: Some(1.0), network: Some(2.5e8) };
        let all = queries(&"db-7".into(), r#"instance="db-7:9100""#, Duration::from_secs(15), speeds);
        for query in &all {
            let metrics = query.promql.matches("node_").count();
            assert!(
                metrics > 0 && query.promql.matches(r#"instance="db-7:9100"}"#).count() == metrics,
                "{query:?}"
            );
            assert_eq!(query.scope, Scope::Host("db-7".into()));
            assert_eq!(
                query.stamped_by.as_deref(),
                Some(r#"timestamp(node_memory_MemTotal_bytes{instance="db-7:9100"})"#)
            );
        }
        assert!(all[0].promql.contains("[60000ms]"), "{}", all[0].promql);
        let names: Vec<_> = all.iter().map(|query| query.signal.as_str()).collect();
        assert_eq!(names.len(), 10);
        assert!(all.iter().all(|query| crate::signal::unit(&query.signal) == Some(&*query.unit)));
    }
}
