//! What a member sends, damaged: read or refused.

use std::io::Read;

use sched_fuzz::Target;

use super::gateway::{Listed, MemberStatus, Problem};
use super::metrics::{BACKEND_COMMIT, Metrics, WAL_FSYNC};
use super::stream::SnapshotStream;

fn target(name: &str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

#[test]
fn answers_of_the_gateway_are_read_or_refused() {
    let read = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        // What serde says of what does not fit is told to people.
        let _ = serde_json::from_str::<MemberStatus>(&text);
        let _ = serde_json::from_str::<Vec<Listed>>(&text);
        Problem::parse(500, &text);
    };
    target("etcd-json").run(read);
}

#[test]
fn snapshots_are_whole_or_refused() {
    let whole = include_bytes!("../../tests/corpus/etcd-snapshot/whole");
    let read_all = |bytes: &[u8]| {
        let mut stream = SnapshotStream::begin(bytes).ok()?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).ok()?;
        let total = stream.total_bytes();
        stream.verify("snapshot").ok()?;
        assert_eq!(all.len() as u64, total);
        Some(all)
    };
    let right = read_all(whole).expect("the whole one is whole");
    // What is damaged may still hold the same bytes, as with a blank more.
    let read = |bytes: &[u8]| assert!(read_all(bytes).is_none_or(|all| all == right), "a damaged one passes");
    target("etcd-snapshot").run(read);
}

#[test]
fn metrics_are_read_or_refused() {
    let read = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let Ok(metrics) = Metrics::parse(&text) else { return };
        metrics.in_flight();
        metrics.calls("Range");
        for family in [WAL_FSYNC, BACKEND_COMMIT] {
            metrics.p99_ms_since(&metrics, family);
            metrics.p99_ms_since(&Metrics::default(), family);
        }
    };
    target("etcd-metrics").run(read);
}
