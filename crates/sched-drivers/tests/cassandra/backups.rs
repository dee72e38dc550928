//! Backups that restore.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use sched_core::Executor;
use sched_core::{BackupKind, Clock, JobSpec, ManualClock, RunControl, RunError};
use sched_drivers::DriverError;
use sched_drivers::cassandra::{CassandraBackup, CassandraMembers, CassandraStatus, CqlConnection};
use sched_drivers::destination::LocalDirectory;
use sched_drivers::server::{MemberSource, StatusSource};
use sched_testbed::{Cassandra, CassandraOptions, wait_until};

use super::orders::{add, alone, create, entries, executor, node, restore, snapshots, spec, write};
use super::rig::{Attempt, full_after};

#[test]
#[ignore = "needs java and Maven"]
fn a_backup_beside_a_writer_restores_to_what_was_committed() {
    let _alone = alone();
    let cluster = Cassandra::start().unwrap();
    let root = tempfile::tempdir().unwrap();
    let node0 = node(&cluster, 0);
    let mut cql = CqlConnection::open(&node0).unwrap();
    create(&mut cql);
    for id in 1..=2000 {
        add(&mut cql, id);
    }
    let (committed, stop) = (Arc::new(AtomicI64::new(2000)), AtomicBool::new(false));
    // What was committed when the snapshot was over.
    let (seen, after) = (Arc::clone(&committed), Arc::new(AtomicI64::new(0)));
    let noted = Arc::clone(&after);
    let control = RunControl::new(|_| {}).on_phase(move |phase| {
        if phase.name == "upload" {
            noted.store(seen.load(Relaxed), Relaxed);
        }
    });
    let attempt = Attempt::with_control(spec(BackupKind::Full), u64::MAX, control);
    let before = AtomicI64::new(0);
    let done = thread::scope(|scope| {
        scope.spawn(|| write(&node0, 2001, &committed, &stop));
        super::rig::until("a hundred more entries", || committed.load(Relaxed) > 2100);
        before.store(committed.load(Relaxed), Relaxed);
        let done = executor(vec![node0.clone()], LocalDirectory::new(root.path())).full(&attempt.ctx);
        stop.store(true, Relaxed);
        done
    })
    .unwrap();
    let (before, after) = (before.into_inner(), after.load(Relaxed));
    let facts = &done.manifest.facts;
    assert_eq!(facts["cluster"], "testbed");
    assert_eq!(facts["orders-0.tokens"].split(',').count(), 4, "{facts:?}");
    assert!(done.manifest.tool.contains("Cassandra 5."), "{}", done.manifest.tool);
    let names: Vec<&str> = done.manifest.files.iter().map(|file| file.name.as_str()).collect();
    assert!(
        names
            .iter()
            .any(|name| name.starts_with("orders-0/data/shop/entry-") && name.ends_with("/schema.cql"))
    );
    assert!(names.iter().any(|name| name.starts_with("orders-0/data/system_schema/")), "{names:?}");
    assert_eq!(snapshots(&cluster, 0), Vec::<PathBuf>::new());
    drop((cql, cluster));

    let fresh = Cassandra::start().unwrap();
    let restored = entries(&mut restore(&[PathBuf::from(&done.location)], &fresh));
    // The one that was being written when the snapshot was over may be in it.
    assert!((before..=after + 1).contains(&restored), "{before} <= {restored} <= {after} + 1");
}

#[test]
#[ignore = "needs java and Maven"]
fn a_cluster_is_snapshot_together_and_uploaded_node_by_node() {
    let _alone = alone();
    let mut cluster =
        Cassandra::start_with(&CassandraOptions { nodes: 2, ..CassandraOptions::default() }).unwrap();
    let root = tempfile::tempdir().unwrap();
    let nodes = [node(&cluster, 0), node(&cluster, 1)];
    let mut cql = CqlConnection::open(&nodes[0]).unwrap();
    create(&mut cql);
    for id in 1..=500 {
        add(&mut cql, id);
    }
    let all = nodes.clone();
    let executor = CassandraBackup::new(
        move |instance| match instance.as_str() {
            "orders" => all.to_vec(),
            name => all.iter().filter(|node| node.name() == name).cloned().collect(),
        },
        LocalDirectory::new(root.path()),
    )
    .keyspace("shop");
    let of = |instance: &str, kind| JobSpec::new(instance, "cassandra").kind(kind);

    // Nothing to upload yet.
    let error = executor.upload(&Attempt::free(of("orders-0", BackupKind::Upload)).ctx).unwrap_err();
    assert!(error.to_string().contains("kind `snapshot`"), "{error}");

    executor.run(&Attempt::free(of("orders", BackupKind::Snapshot)).ctx).unwrap();
    let first = snapshots(&cluster, 0);
    assert!(!first.is_empty() && !snapshots(&cluster, 1).is_empty());
    // What nobody uploaded gives way to the next.
    let tag = executor.snapshot(&Attempt::nth(of("orders", BackupKind::Snapshot), u64::MAX, 2).ctx).unwrap();
    for number in [0, 1] {
        let there = snapshots(&cluster, number);
        assert!(there.iter().all(|path| path.to_string_lossy().contains(&tag)), "{tag}: {there:?}");
    }
    for id in 501..=600 {
        add(&mut cql, id);
    }
    // A failure after which the scheduler tries again leaves the snapshot for that.
    let full = CassandraBackup::new(
        {
            let nodes = nodes.clone();
            move |_| nodes[..1].to_vec()
        },
        full_after(1000),
    );
    let failed = full.run(&Attempt::free(of("orders-0", BackupKind::Upload)).ctx).unwrap_err();
    assert!(matches!(failed, RunError::Retryable(_)), "{failed}");
    assert!(!snapshots(&cluster, 0).is_empty());

    let mut backups = Vec::new();
    for (number, name) in ["orders-0", "orders-1"].into_iter().enumerate() {
        let done = executor.upload(&Attempt::free(of(name, BackupKind::Upload)).ctx).unwrap();
        assert_eq!(done.manifest.facts["snapshot"], tag);
        assert!(done.manifest.facts.contains_key(&format!("{name}.tokens")));
        backups.push(PathBuf::from(&done.location));
        assert_eq!(snapshots(&cluster, number), Vec::<PathBuf>::new());
    }

    // Both are members, and both are seen when one goes.
    let mut members = CassandraMembers::new(nodes[0].clone());
    let told = members.members().unwrap();
    let address =
        |number: usize| format!("{}:{}", cluster.nodes()[number].address(), cluster.nodes()[number].port());
    let seen: Vec<_> =
        told.iter().map(|member| (member.address.clone(), member.role.as_str(), member.healthy)).collect();
    assert_eq!(seen, [(address(0), "", true), (address(1), "", true)]);
    let mut status = CassandraStatus::new(nodes[0].clone());
    let clock = ManualClock::default();
    status.read(clock.now()).unwrap();
    cluster.nodes_mut()[1].process().kill();
    let told = members.members().unwrap();
    assert_eq!(told.iter().map(|member| member.healthy).collect::<Vec<_>>(), [true, false]);
    let down = |status: &mut CassandraStatus| {
        let told = status.read(clock.now()).unwrap();
        told.health
            .iter()
            .find(|reading| reading.signal.as_str() == "down_nodes")
            .map(|reading| reading.value)
    };
    assert_eq!(down(&mut status), Some(0.0));
    wait_until("silence", Duration::from_secs(120), || (down(&mut status) == Some(1.0)).then_some(()))
        .unwrap();

    // A cluster with a node down is not backed up, and no snapshot of the others stays.
    let error = executor.full(&Attempt::free(of("orders", BackupKind::Full)).ctx).unwrap_err();
    assert!(
        matches!(&error, DriverError::Unreachable { server, .. } if server.contains("orders-1")),
        "{error}"
    );
    assert_eq!(snapshots(&cluster, 0), Vec::<PathBuf>::new());
    drop((cql, status, members, cluster));

    let fresh = Cassandra::start().unwrap();
    assert_eq!(entries(&mut restore(&backups, &fresh)), 500);
}
