//! The built-in technologies. Each value names the fact it rests on; where none is named it is the general default.

use std::time::Duration;

use sched_core::{BackupKind, Priority};

use crate::profile::Profile;

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

pub(crate) fn technologies() -> [(&'static str, Profile); 10] {
    [
        ("cassandra", cassandra()),
        ("clickhouse", clickhouse()),
        ("etcd", etcd()),
        ("generic", Profile::new()),
        ("mariadb", mysql()),
        ("mongodb", mongodb()),
        ("mysql", mysql()),
        ("postgresql", postgresql()),
        ("redis", redis()),
        ("sqlite", sqlite()),
    ]
}

/// Other names in use, and what they mean.
pub(crate) const ALIASES: [(&str, &str); 6] = [
    ("etcd3", "etcd"),
    ("mongo", "mongodb"),
    ("pg", "postgresql"),
    ("postgres", "postgresql"),
    ("sqlite3", "sqlite"),
    ("valkey", "redis"),
];

/// A log segment must leave before the disk that it fills is full: it goes first, and soon.
fn log_segments() -> Profile {
    Profile::new().priority(Priority::Critical).rpo(secs(15 * MINUTE)).expected_duration(secs(MINUTE))
}

/// XtraBackup and mariadb-backup copy the redo log as it is written, and fail with "log block numbers mismatch" when
/// they are too slow and it wraps round: hence a floor, and no pause. `mysqldump --single-transaction` must not stand
/// still either: its open snapshot keeps purge from running and the history list grows.
fn mysql() -> Profile {
    Profile::new().floor_bytes_per_sec(4_000_000).kind(BackupKind::Log, log_segments())
}

/// `pg_basebackup` may be slowed to 32 kB/s by its own `--max-rate`, but holds back WAL while it runs; `pg_dump`
/// holds back vacuum. Both run slowly rather than stand still. Archived WAL fills `pg_wal` when it is late.
fn postgresql() -> Profile {
    Profile::new().floor_bytes_per_sec(1_000_000).kind(BackupKind::Log, log_segments())
}

/// Snapshots are hard links, made at once; what takes long is the upload, which may pause although it pins
/// compacted SSTables. 50 MB/s is Medusa's default `transfer_max_bandwidth`.
fn cassandra() -> Profile {
    let upload = Profile::new().expected_bytes_per_sec(50_000_000).pausable(true);
    let snapshot = Profile::new().expected_duration(secs(MINUTE)).timeout(secs(15 * MINUTE));
    upload.clone().kind(BackupKind::Upload, upload).kind(BackupKind::Snapshot, snapshot)
}

/// A snapshot is small, reads from one member's disk whose fsyncs carry the heartbeats, and cannot be paused: it is
/// only ever delayed. Every 12 h is common practice.
fn etcd() -> Profile {
    Profile::new()
        .priority(Priority::High)
        .rpo(secs(12 * HOUR))
        .expected_duration(secs(MINUTE))
        .timeout(secs(15 * MINUTE))
}

/// `BGSAVE` forks: the stall is 10 to 20 ms a GB, copy-on-write may need as much memory again, and nothing can be
/// paced or paused. Retried seldom, because each try forks.
fn redis() -> Profile {
    let retry = sched_core::RetryPolicy::new(3, secs(5 * MINUTE), secs(30 * MINUTE));
    Profile::new().rpo(secs(6 * HOUR)).expected_duration(secs(10 * MINUTE)).retry(retry)
}

/// A physical backup keeps a cursor open that blocks the deletion of checkpoints, so that files grow: it must not
/// stand still. Oplog slices are cut every 10 min by Percona Backup for MongoDB.
fn mongodb() -> Profile {
    Profile::new().floor_bytes_per_sec(4_000_000).kind(BackupKind::Log, log_segments().rpo(secs(10 * MINUTE)))
}

/// `BACKUP` pins parts and can stand still only between tables.
fn clickhouse() -> Profile {
    Profile::new().floor_bytes_per_sec(4_000_000)
}

/// The online backup API copies in steps; a read transaction must be held on the source, or any write by another
/// connection starts the copy again. While it is held the WAL grows, so the copy should neither crawl nor pause.
fn sqlite() -> Profile {
    Profile::new().floor_bytes_per_sec(1_000_000).expected_duration(secs(10 * MINUTE))
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
