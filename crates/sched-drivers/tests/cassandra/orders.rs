//! The clusters that are backed up, and what is in them.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use sched_core::{BackupKind, JobSpec};
use sched_drivers::cassandra::{CassandraBackup, CassandraNode, CqlConnection, SCHEMA};
use sched_drivers::destination::Destination;
use sched_testbed::{Cassandra, wait_until};

use super::rig::files;

/// Each node takes 700 MB and both cores to start: one test after the other.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn spec(kind: BackupKind) -> JobSpec {
    JobSpec::new("orders", "cassandra").kind(kind)
}

/// The node as the driver is told of it.
pub(crate) fn node(cluster: &Cassandra, number: usize) -> CassandraNode {
    let node = &cluster.nodes()[number];
    CassandraNode::new(format!("orders-{number}"), node.address().to_string())
        .port(node.port())
        .jmx("127.0.0.1", node.jmx_port())
        .nodetool(cluster.nodetool())
}

pub(crate) fn executor(
    nodes: Vec<CassandraNode>,
    destination: impl Destination + 'static,
) -> CassandraBackup {
    CassandraBackup::new(move |_| nodes.clone(), destination)
}

pub(crate) fn run(cql: &mut CqlConnection, statement: &str) {
    cql.query(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
}

pub(crate) const BODY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub(crate) fn create(cql: &mut CqlConnection) {
    run(cql, "CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    // Uncompressed, so that there is something to move.
    run(cql, "CREATE TABLE shop.entry (id int PRIMARY KEY, body text) WITH compression = {'enabled': false}");
    // A node that has not heard of the table yet refuses its rows.
    let mut versions = |of: &str| -> Vec<Option<String>> {
        let rows = cql.query(&format!("SELECT schema_version FROM system.{of}")).unwrap();
        rows.iter().map(|row| row.text("schema_version")).collect()
    };
    let agree = || {
        let own = versions("local");
        versions("peers_v2").iter().all(|of| *of == own[0]).then_some(())
    };
    wait_until("the nodes to agree on the schema", Duration::from_secs(60), agree).unwrap();
}

/// Again while a node takes the other for dead, as it does for a moment on a busy machine: an entry that is written twice is
/// the same.
pub(crate) fn add(cql: &mut CqlConnection, id: i64) {
    let statement = format!("INSERT INTO shop.entry (id, body) VALUES ({id}, '{id}-{BODY}{BODY}')");
    let mut said = None;
    let written = || cql.query(&statement).map_err(|error| said = Some(error)).ok();
    if wait_until("an entry to be written", Duration::from_secs(30), written).is_err() {
        panic!("{statement}: {said:?}");
    }
}

/// Writes one entry after the other until told to stop.
pub(crate) fn write(node: &CassandraNode, from: i64, committed: &AtomicI64, stop: &AtomicBool) {
    let mut cql = CqlConnection::open(node).unwrap();
    for id in from.. {
        if stop.load(Relaxed) {
            return;
        }
        add(&mut cql, id);
        committed.store(id, Relaxed);
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// The entries of a restored node: without a gap, each as it was written. Returns the last.
pub(crate) fn entries(cql: &mut CqlConnection) -> i64 {
    let rows = cql.query("SELECT id, body FROM shop.entry").unwrap();
    let mut ids: Vec<i64> = Vec::new();
    for row in rows.iter() {
        let id = row.number("id").unwrap() as i64;
        assert_eq!(row.text("body").unwrap(), format!("{id}-{BODY}{BODY}"));
        ids.push(id);
    }
    ids.sort_unstable();
    assert_eq!(ids, (1..=ids.len() as i64).collect::<Vec<_>>());
    ids.len() as i64
}

/// All that is left of snapshots of backups in the directories of a node.
pub(crate) fn snapshots(cluster: &Cassandra, number: usize) -> Vec<PathBuf> {
    let all = files(&cluster.nodes()[number].data_directory());
    all.into_iter().filter(|path| path.to_string_lossy().contains("/snapshots/backup-sched-")).collect()
}

/// Makes the schema of a backup on a fresh node, and gives it the table's files of every node in the backups.
pub(crate) fn restore(backups: &[PathBuf], fresh: &Cassandra) -> CqlConnection {
    let mut cql = CqlConnection::open(&node(fresh, 0)).unwrap();
    let schema = fs::read_to_string(backups[0].join(SCHEMA)).unwrap();
    for statement in schema.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        run(&mut cql, statement);
    }
    let mut given = 0;
    for backup in backups {
        let tables: Vec<PathBuf> = files(backup)
            .iter()
            .filter(|path| path.to_string_lossy().contains("/data/shop/entry-"))
            .map(|path| backup.join(path).parent().unwrap().to_owned())
            .collect();
        let mut tables = tables;
        tables.dedup();
        for table in tables {
            // It moves the files away.
            let copy = tempfile::tempdir().unwrap();
            let folder = copy.path().join("shop").join("entry");
            fs::create_dir_all(&folder).unwrap();
            for file in fs::read_dir(&table).unwrap() {
                let file = file.unwrap();
                if file.file_name().to_string_lossy().contains("-big-") {
                    fs::copy(file.path(), folder.join(file.file_name())).unwrap();
                }
            }
            fresh.ask(0, &["import", "shop", "entry", folder.to_str().unwrap()]).unwrap();
            given += 1;
        }
    }
    assert!(given > 0, "{backups:?}");
    cql
}
