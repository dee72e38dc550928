//! Real clusters of Cassandra, with writers beside the backup.
#![cfg(feature = "cassandra")]

mod rig;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rig::{Attempt, files, full_after};
use sched_core::Executor;
use sched_core::{BackupKind, Clock, JobSpec, LoadLevel, ManualClock, RunControl, RunError, Scope};
use sched_drivers::DriverError;
use sched_drivers::cassandra::{
    CassandraBackup, CassandraMembers, CassandraNode, CassandraStatus, CqlConnection, SCHEMA,
};
use sched_drivers::destination::{Destination, LocalDirectory};
use sched_drivers::secret::SecretString;
use sched_drivers::server::{MemberSource, Monitor, MonitorConfig, StatusSource};
use sched_limits::CapacityProbe;
use sched_testbed::{Cassandra, CassandraOptions, wait_until};
use sched_workload::LoadDetector;

/// Each node takes 700 MB and both cores to start: one test after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spec(kind: BackupKind) -> JobSpec {
    JobSpec::new("orders", "cassandra").kind(kind)
}

/// The node as the driver is told of it.
fn node(cluster: &Cassandra, number: usize) -> CassandraNode {
    let node = &cluster.nodes()[number];
    CassandraNode::new(format!("orders-{number}"), node.address().to_string())
        .port(node.port())
        .jmx("127.0.0.1", node.jmx_port())
        .nodetool(cluster.nodetool())
}

fn executor(nodes: Vec<CassandraNode>, destination: impl Destination + 'static) -> CassandraBackup {
    CassandraBackup::new(move |_| nodes.clone(), destination)
}

fn run(cql: &mut CqlConnection, statement: &str) {
    cql.query(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
}

const BODY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn create(cql: &mut CqlConnection) {
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

fn add(cql: &mut CqlConnection, id: i64) {
    run(cql, &format!("INSERT INTO shop.entry (id, body) VALUES ({id}, '{id}-{BODY}{BODY}')"));
}

/// Writes one entry after the other until told to stop.
fn write(node: &CassandraNode, from: i64, committed: &AtomicI64, stop: &AtomicBool) {
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
fn entries(cql: &mut CqlConnection) -> i64 {
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
fn snapshots(cluster: &Cassandra, number: usize) -> Vec<PathBuf> {
    let all = files(&cluster.nodes()[number].data_directory());
    all.into_iter().filter(|path| path.to_string_lossy().contains("/snapshots/backup-sched-")).collect()
}

fn nodetool(cluster: &Cassandra, number: usize, args: &[&str]) -> String {
    let words = cluster.nodetool();
    let port = cluster.nodes()[number].jmx_port().to_string();
    let output = Command::new(&words[0]).args(&words[1..]).args(["-p", &port]).args(args).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    said
}

/// Makes the schema of a backup on a fresh node, and gives it the table's files of every node in the backups.
fn restore(backups: &[PathBuf], fresh: &Cassandra) -> CqlConnection {
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
            nodetool(fresh, 0, &["import", "shop", "entry", folder.to_str().unwrap()]);
            given += 1;
        }
    }
    assert!(given > 0, "{backups:?}");
    cql
}

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
        rig::until("a hundred more entries", || committed.load(Relaxed) > 2100);
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
    nodetool(&cluster, 0, &[&credentials[..], &["snapshot", "-t", left]].concat());
    nodetool(&cluster, 0, &[&credentials[..], &["snapshot", "-t", "mine"]].concat());
    let attempt = Attempt::new(spec(BackupKind::Full), 20_000);
    thread::scope(|scope| {
        let run = scope.spawn(|| local.run(&attempt.ctx));
        rig::until("the first bytes", || attempt.dam.passed() > 20_000);
        let there = snapshots(&cluster, 0);
        assert!(!there.is_empty() && !there.iter().any(|path| path.to_string_lossy().contains(left)));
        attempt.cancel();
        assert_eq!(run.join().unwrap(), Err(RunError::Cancelled));
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
        rig::until("the first bytes", || attempt.dam.passed() > 20_000);
        assert!(!snapshots(&cluster, 0).is_empty());
        attempt.cancel();
        assert_eq!(run.join().unwrap(), Err(RunError::Cancelled));
    });
    assert_eq!(snapshots(&cluster, 0), Vec::<PathBuf>::new());
    assert_eq!(files(root.path()), Vec::<PathBuf>::new());

    // An SSTable that the disk has changed.
    nodetool(&cluster, 0, &[&credentials[..], &["flush", "shop"]].concat());
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
        rig::until("the first bytes", || attempt.dam.passed() > 20_000);
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

#[test]
#[ignore = "needs java and Maven"]
fn reports_and_lookups_at_equal_requests_a_second_are_told_apart() {
    let _alone = alone();
    let mut cluster = Cassandra::start().unwrap();
    let node = node(&cluster, 0);
    let mut cql = CqlConnection::open(&node).unwrap();
    run(
        &mut cql,
        "CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    );
    run(&mut cql, "CREATE TABLE shop.item (shelf int, id int, PRIMARY KEY (shelf, id))");
    for id in 0..3000 {
        run(&mut cql, &format!("INSERT INTO shop.item (shelf, id) VALUES (1, {id})"));
    }
    let monitor = Monitor::new(
        "orders",
        CassandraStatus::new(node.clone()),
        MonitorConfig::default().busy_at_requests_per_s(2.0),
    );
    let (mut detector, mut probe) = (monitor.detector(), monitor.probe());
    let clock = ManualClock::default();
    detector.detect(clock.now()).unwrap();
    // By a clock that is moved by hand both are 2.5 requests a second.
    let mut level = |statement: &str| {
        for _ in 0..100 {
            run(&mut cql, statement);
        }
        clock.advance(Duration::from_secs(40));
        detector.detect(clock.now()).unwrap()
    };
    let reports = level("SELECT * FROM shop.item WHERE shelf = 1");
    // Twice as many, so that the median of the table is theirs.
    level("SELECT * FROM shop.item WHERE shelf = 1 AND id = 17");
    let lookups = level("SELECT * FROM shop.item WHERE shelf = 1 AND id = 17");
    assert_eq!(reports.state.level, LoadLevel::Calm, "{reports:?}");
    assert_eq!(lookups.state.level, LoadLevel::Busy, "{lookups:?}");
    let health = probe.sample(clock.now()).unwrap();
    let of = |name: &str| {
        health.iter().find(|reading| reading.signal.as_str() == name).map(|reading| reading.value)
    };
    assert_eq!(of("pending_compactions"), Some(0.0));
    assert_eq!((of("down_nodes"), of("hint_files")), (Some(0.0), Some(0.0)));
    assert!(of("read_p99_ms").is_some_and(|ms| ms > 0.0), "{health:?}");

    // What a reading costs the server, in its own processor time.
    let mut status = CassandraStatus::new(node);
    let mut read = |times: u32| {
        for _ in 0..times {
            clock.advance(MonitorConfig::default().period);
            status.read(clock.now()).unwrap();
        }
    };
    read(300);
    let pid = cluster.nodes_mut()[0].process().pid();
    let before = processor_ms(pid);
    read(300);
    let each = (processor_ms(pid) - before) / 300.0;
    println!("a reading costs {each:.2} ms of the server's processor time");
    assert!(each < 0.001 * MonitorConfig::default().period.as_millis() as f64, "{each} ms");
}

/// The processor time of a process so far.
fn processor_ms(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let ticks = |field: usize| after_name.split_whitespace().nth(field).unwrap().parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) * 10.0
}
