//! What goes wrong, what is said of it, and what stays behind: nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use sched_core::Executor;
use sched_core::{BackupKind, Clock, ManualClock, RunError, Scope};
use sched_drivers::DriverError;
use sched_drivers::cassandra::{CassandraNode, CassandraStatus, CqlConnection};
use sched_drivers::destination::LocalDirectory;
use sched_drivers::secret::SecretString;
use sched_drivers::server::StatusSource;
use sched_testbed::{Cassandra, CassandraOptions, wait_until};

use super::orders::{add, alone, create, executor, node, snapshots, spec};
use super::rig::{Attempt, files, full_after};

#[test]
#[ignore = "needs java and Maven"]
fn what_goes_wrong_is_said_and_leaves_nothing() {
    let _alone = alone();
    let jmx = ("backup".to_owned(), "geheim".to_owned());
    let options =
        CassandraOptions { authenticated: true, jmx_user: Some(jmx), ..CassandraOptions::default() };
    let mut cluster = Cassandra::start_with(&options).unwrap();
    let root = tempfile::tempdir().unwrap();
    let open = node(&cluster, 0);
    let right = open
        .clone()
        .login("cassandra", SecretString::from("cassandra"))
        .jmx_login("backup", SecretString::from("geheim"));
    // The role is made a moment after the node answers.
    let limit = Duration::from_secs(60);
    let mut cql = wait_until("the first role", limit, || CqlConnection::open(&right).ok()).unwrap();
    create(&mut cql);
    for id in 1..=500 {
        add(&mut cql, id);
    }
    let try_with = |node: CassandraNode| {
        let error = executor(vec![node], LocalDirectory::new(root.path()))
            .full(&Attempt::free(spec(BackupKind::Full)).ctx)
            .unwrap_err();
        assert!(!error.to_string().contains("geheim"), "{error}");
        error
    };

    // Passwords.
    let wrong = || SecretString::from("falsch");
    for (node, remedy) in [
        (open.clone(), "CassandraNode::login"),
        (right.clone().login("cassandra", wrong()), "CassandraNode::login"),
        (right.clone().jmx_login("backup", wrong()), "CassandraNode::jmx_login"),
    ] {
        let error = try_with(node);
        assert!(
            matches!(error, DriverError::Refused { .. }) && error.to_string().contains(remedy),
            "{error}"
        );
    }
    // Addresses.
    let nobody = sched_testbed::free_port().unwrap();
    for node in [right.clone().port(nobody), right.clone().jmx("127.0.0.1", nobody)] {
        let error = try_with(node);
        assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
    }
    // Tools.
    let error = try_with(right.clone().nodetool(["nodetool-that-is-not-there"]));
    assert!(error.is_permanent() && error.to_string().contains("Cassandra's tools"), "{error}");
    let mut elsewhere = cluster.nodetool();
    let path = elsewhere.iter().position(|word| word == "-cp").unwrap() + 1;
    elsewhere[path] = "/nowhere/*".into();
    let error = try_with(right.clone().nodetool(elsewhere));
    assert!(error.is_permanent() && error.to_string().contains("class path"), "{error}");
    // Directories.
    let error = try_with(right.clone().data_directory("/nowhere"));
    assert!(error.is_permanent() && error.to_string().contains("mounted"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = try_with(right.clone().data_directory(empty.path()));
    assert!(error.to_string().contains("not this node's"), "{error}");
    // A kind that there is not.
    let local = executor(vec![right.clone()], LocalDirectory::new(root.path()));
    let error = local.run(&Attempt::free(spec(BackupKind::Log)).ctx).unwrap_err();
    assert!(matches!(error, RunError::Permanent(_)), "{error}");

    // A destination that is full, or gone before the snapshot.
    let mut to = spec(BackupKind::Full);
    to.destination = Some("vault".into());
    let full = executor(vec![right.clone()], full_after(10_000));
    let error = full.run(&Attempt::free(to).ctx).unwrap_err();
    assert!(matches!(&error, RunError::Unavailable { what: Scope::Destination(_), .. }), "{error}");
    assert_eq!(snapshots(&cluster, 0), Vec::<PathBuf>::new());

    // Cancelled midway, with what a crash left before.
    let left = "backup-sched-full-20200101T000000.000Z-j1-a1-p1-t1-b00000000";
    let credentials = ["-u", "backup", "-pw", "geheim"];
    cluster.ask(0, &[&credentials[..], &["snapshot", "-t", left]].concat()).unwrap();
    cluster.ask(0, &[&credentials[..], &["snapshot", "-t", "mine"]].concat()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let attempt = Attempt::new(spec(BackupKind::Full), 20_000);
    thread::scope(|scope| {
        let run = scope.spawn(|| local.run(&attempt.ctx));
        super::rig::until("the first bytes", || attempt.dam.passed() > 20_000);
        let there = snapshots(&cluster, 0);
        // Another executor's backup of the same node takes nothing from this one.
        let beside = executor(vec![right.clone()], LocalDirectory::new(elsewhere.path()));
        let made = beside.full(&Attempt::nth(spec(BackupKind::Full), u64::MAX, 2).ctx);
        let still_there = snapshots(&cluster, 0);
        attempt.cancel();
        assert_eq!(run.join().unwrap(), Err(RunError::Cancelled));
        assert!(!there.is_empty() && !there.iter().any(|path| path.to_string_lossy().contains(left)));
        made.unwrap();
        assert_eq!(still_there, there);
    });
    assert_eq!(snapshots(&cluster, 0), Vec::<PathBuf>::new());
    assert_eq!(files(root.path()), Vec::<PathBuf>::new());
    let mine = files(&cluster.nodes()[0].data_directory());
    assert!(mine.iter().any(|path| path.to_string_lossy().contains("/snapshots/mine/")), "not ours to clear");

    // An upload that is cancelled: nobody will come back for its snapshot.
    local.snapshot(&Attempt::free(spec(BackupKind::Snapshot)).ctx).unwrap();
    let attempt = Attempt::new(spec(BackupKind::Upload), 20_000);
    thread::scope(|scope| {
        let run = scope.spawn(|| local.run(&attempt.ctx));
        super::rig::until("the first bytes", || attempt.dam.passed() > 20_000);
        assert!(!snapshots(&cluster, 0).is_empty());
        attempt.cancel();
        assert_eq!(run.join().unwrap(), Err(RunError::Cancelled));
    });
    assert_eq!(snapshots(&cluster, 0), Vec::<PathBuf>::new());
    assert_eq!(files(root.path()), Vec::<PathBuf>::new());

    // An SSTable that the disk has changed.
    cluster.ask(0, &[&credentials[..], &["flush", "shop"]].concat()).unwrap();
    let data = cluster.nodes()[0].data_directory();
    let tables = files(&data);
    let table = tables
        .iter()
        .find(|path| {
            let path = path.to_string_lossy();
            path.starts_with("shop/entry-") && path.ends_with("-Data.db") && !path.contains("/snapshots/")
        })
        .unwrap();
    let good = fs::read(data.join(table)).unwrap();
    let mut bad = good.clone();
    bad[100] ^= 1;
    write_in_place(&data.join(table), &bad);
    let error = local.full(&Attempt::free(spec(BackupKind::Full)).ctx).unwrap_err();
    assert!(matches!(error, DriverError::Corrupt { .. }), "{error}");
    write_in_place(&data.join(table), &good);

    // Killed midway: the files of the snapshot are there, so the backup is made. What stays of it is said, and cleared
    // by the next once the node is back.
    let attempt = Attempt::new(spec(BackupKind::Full), 20_000);
    let error = thread::scope(|scope| {
        let run = scope.spawn(|| local.full(&attempt.ctx));
        super::rig::until("the first bytes", || attempt.dam.passed() > 20_000);
        cluster.nodes_mut()[0].process().kill();
        attempt.dam.open();
        run.join().unwrap().unwrap_err()
    });
    // Whether the schema was asked for before is a matter of luck.
    let partial = files(root.path()).iter().any(|path| path.to_string_lossy().contains(".partial-"));
    assert!(!partial, "{:?}", files(root.path()));
    let made = files(root.path()).iter().any(|path| path.ends_with("manifest.json"));
    let said = matches!(&error, DriverError::NotReady { problem, .. } if problem.contains("is complete"));
    assert_eq!(made, said, "{error}");
    assert!(!snapshots(&cluster, 0).is_empty());
    cluster.restart(0).unwrap();
    local.full(&Attempt::nth(spec(BackupKind::Full), u64::MAX, 2).ctx).unwrap();
    assert_eq!(snapshots(&cluster, 0), Vec::<PathBuf>::new());
}

#[test]
#[ignore = "needs java, Maven and openssl"]
#[cfg(feature = "cassandra-tls")]
fn clients_speak_tls_with_a_node_that_wants_certificates() {
    let _alone = alone();
    let certificates = sched_testbed::Certificates::make().unwrap();
    let text = |path: PathBuf| fs::read_to_string(path).unwrap();
    let (authority, certificate) = (text(certificates.authority()), text(certificates.certificate()));
    let key = text(certificates.key());
    let tls = Some((format!("{key}{certificate}"), authority.clone()));
    let cluster = Cassandra::start_with(&CassandraOptions { tls, ..CassandraOptions::default() }).unwrap();
    let plain = node(&cluster, 0).timeout(Duration::from_secs(30));
    let right = plain
        .clone()
        .mutual_tls(authority.as_bytes(), certificate.as_bytes(), &SecretString::from(key))
        .unwrap();
    let mut status = CassandraStatus::new(right);
    assert_eq!(status.read(ManualClock::default().now()).unwrap().active, 0.0);
    let unknown = sched_testbed::Certificates::make().unwrap();
    let stranger = plain.clone().tls(text(unknown.authority()).as_bytes()).unwrap();
    let without = plain.clone().tls(authority.as_bytes()).unwrap();
    for node in [plain, stranger, without] {
        let error = CqlConnection::open(&node).unwrap_err();
        assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
    }
}

/// Hard links keep what they link to.
fn write_in_place(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    fs::File::options().write(true).open(path).unwrap().write_all(bytes).unwrap();
}
