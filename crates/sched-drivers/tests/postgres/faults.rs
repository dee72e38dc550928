//! What goes wrong, what is said of it, and that nothing stays.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sched_core::{Reason, RunContext, RunError};
use sched_drivers::DriverError;
use sched_drivers::command::CommandError;
use sched_drivers::destination::LocalDirectory;
use sched_drivers::postgres::{
    BaseBackup, Checkpoint, Dump, PostgresMembers, PostgresServer, PostgresStatus, Tls,
};
use sched_drivers::secret::SecretString;
use sched_drivers::server::{MemberSource, StatusSource};
use sched_testbed::{Postgres, free_port, wait_until};

use crate::rig::{LONG, Meddled, assert_nothing_left, at, context, files, reach, shop, shop_with};

/// Makes a base backup, or a dump.
type Make = fn(Meddled, PostgresServer, &RunContext) -> Result<(), DriverError>;

fn base(destination: Meddled, server: PostgresServer, ctx: &RunContext) -> Result<(), DriverError> {
    BaseBackup::new(at(server), destination).checkpoint(Checkpoint::Fast).make(ctx).map(drop)
}

fn dump(destination: Meddled, server: PostgresServer, ctx: &RunContext) -> Result<(), DriverError> {
    Dump::new(at(server), destination).make(ctx).map(drop)
}

/// A base backup that fails before anything is written.
fn refused(server: PostgresServer) -> String {
    let root = tempfile::tempdir().unwrap();
    let executor = BaseBackup::new(at(server), LocalDirectory::new(root.path()));
    let error = executor.make(&context()).unwrap_err();
    assert_eq!(files(root.path()).len(), 0);
    let text = error.to_string();
    assert!(matches!(error.into_run_error(&context()), RunError::Permanent(_)), "{text}");
    text
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_cancelled_backup_leaves_nothing() {
    let shop = shop();
    for make in [base as Make, dump] {
        let root = tempfile::tempdir().unwrap();
        let ctx = context();
        let cancels = ctx.clone();
        let destination =
            Meddled::once_at(root.path(), 1 << 20, move || cancels.control().cancel(Reason::new("enough")));
        let error = make(destination.clone(), reach(&shop), &ctx).unwrap_err();
        assert_eq!(error.into_run_error(&ctx), RunError::Cancelled);
        assert_nothing_left(&shop, &destination, root.path());
    }
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_backup_that_waits_in_the_server_is_cancelled_there_too() {
    let shop = shop_with(&[("checkpoint_timeout", "1h")]);
    // Nothing comes from the server, which does not look at its client either: it makes a checkpoint, for minutes, since
    // all its buffers are to be written, ten a second ...
    shop.sql("update ballast set text = text || 'x'").unwrap();
    let root = tempfile::tempdir().unwrap();
    let destination = Meddled::new(root.path(), |_| Ok(()));
    let ctx = context();
    let waits = "select count(*) from pg_stat_activity where backend_type = 'walsender' and state = 'active'";
    cancel_when(&shop, waits, &ctx, || {
        let executor = BaseBackup::new(at(reach(&shop)), destination.clone());
        assert!(matches!(executor.make(&ctx).unwrap_err().into_run_error(&ctx), RunError::Cancelled));
    });
    assert_nothing_left(&shop, &destination, root.path());
    let still = "select wait_event is distinct from 'CheckpointerMain' from pg_stat_activity
                 where backend_type = 'checkpointer'";
    assert_eq!(shop.sql(still).unwrap(), "t", "it did not wait for the checkpoint's end");
    // ... or waits for a lock.
    let mut locks = shop.tool("psql");
    locks.args(["-c", "begin; lock table ballast; select pg_sleep(600)"]);
    let mut locks = locks.spawn().unwrap();
    let held = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted";
    wait_until("a table is locked", LONG, || (shop.sql(held).unwrap() == "1").then_some(())).unwrap();
    let destination = Meddled::new(root.path(), |_| Ok(()));
    let ctx = context();
    cancel_when(&shop, "select count(*) from pg_locks where not granted", &ctx, || {
        let error = dump(destination.clone(), reach(&shop), &ctx).unwrap_err();
        assert!(matches!(error.into_run_error(&ctx), RunError::Cancelled));
    });
    assert_nothing_left(&shop, &destination, root.path());
    locks.kill().unwrap();
    locks.wait().unwrap();
}

/// Cancels the attempt at work when the server counts one of something.
fn cancel_when(shop: &Postgres, counts: &str, ctx: &RunContext, work: impl FnOnce()) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let one = || (shop.sql(counts).unwrap() == "1").then_some(());
            let waited = wait_until("it waits in the server", LONG, one);
            ctx.control().cancel(Reason::new("enough"));
            waited.unwrap();
        });
        work();
    });
}

#[test]
#[ignore = "needs PostgreSQL"]
fn without_a_slot_a_slow_copy_loses_its_wal_and_with_one_it_does_not() {
    let settings = [("wal_keep_size", "0"), ("min_wal_size", "32MB"), ("max_wal_size", "32MB")];
    for (slots, whole) in [("10", true), ("0", false)] {
        let shop = shop_with(&[&settings[..], &[("max_replication_slots", slots)]].concat());
        let server = reach(&shop);
        let shop = Arc::new(Mutex::new(shop));
        let root = tempfile::tempdir().unwrap();
        let writes = Arc::clone(&shop);
        let destination = Meddled::once_at(root.path(), 1 << 20, move || {
            let shop = writes.lock().unwrap();
            for _ in 0..4 {
                shop.sql("insert into notes(text) values ('more'); select pg_switch_wal()").unwrap();
                shop.sql("checkpoint").unwrap();
            }
        });
        match base(destination, server, &context()) {
            Ok(()) => assert!(whole),
            Err(DriverError::NotReady { problem, .. }) => {
                assert!(!whole && problem.contains("raise max_slot_wal_keep_size"), "{problem}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_full_destination_leaves_nothing() {
    let shop = shop();
    for make in [base as Make, dump] {
        let root = tempfile::tempdir().unwrap();
        let destination = Meddled::new(root.path(), |written| match written {
            ..1_000_000 => Ok(()),
            _ => Err(io::Error::from(io::ErrorKind::StorageFull)),
        });
        let error = make(destination.clone(), reach(&shop), &context()).unwrap_err();
        let full = matches!(&error, DriverError::Destination { source, .. }
            if source.kind() == io::ErrorKind::StorageFull);
        assert!(full, "{error}");
        assert_nothing_left(&shop, &destination, root.path());
    }
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_server_that_is_killed_leaves_no_backup() {
    for make in [base as Make, dump] {
        let shop = shop();
        let server = reach(&shop);
        let shop = Arc::new(Mutex::new(shop));
        let root = tempfile::tempdir().unwrap();
        let dies = Arc::clone(&shop);
        // The server's other processes notice that the first is gone.
        let destination =
            Meddled::once_at(root.path(), 1 << 20, move || dies.lock().unwrap().process().kill());
        let error = make(destination.clone(), server, &context()).unwrap_err();
        assert!(matches!(error, DriverError::Unreachable { .. } | DriverError::Command(_)), "{error:?}");
        assert!(matches!(error.into_run_error(&context()), RunError::Retryable(_)));
        assert_eq!(files(root.path()).len(), 0);
        assert!(destination.tools.lock().unwrap().iter().all(|tool| !tool.runs()));
    }
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_session_that_the_server_ends_fails_the_backup() {
    let shop = shop();
    let server = reach(&shop);
    let shop = Arc::new(Mutex::new(shop));
    let root = tempfile::tempdir().unwrap();
    let ends = Arc::clone(&shop);
    let destination = Meddled::once_at(root.path(), 1 << 20, move || {
        let all = "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'walsender'";
        ends.lock().unwrap().sql(all).unwrap();
    });
    let error = base(destination.clone(), server, &context()).unwrap_err();
    assert!(matches!(error.into_run_error(&context()), RunError::Retryable(_)));
    assert_nothing_left(&shop.lock().unwrap(), &destination, root.path());
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_tool_that_is_killed_leaves_nothing() {
    let shop = shop();
    let root = tempfile::tempdir().unwrap();
    let tools: Arc<Mutex<Option<Meddled>>> = Arc::default();
    let marks = Arc::clone(&tools);
    let destination = Meddled::once_at(root.path(), 1 << 20, move || {
        let pid = marks.lock().unwrap().as_ref().unwrap().tools.lock().unwrap()[0].pid;
        kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    });
    *tools.lock().unwrap() = Some(destination.clone());
    let error = base(destination.clone(), reach(&shop), &context()).unwrap_err();
    assert!(matches!(error, DriverError::Command(CommandError::Failed { .. })), "{error:?}");
    assert_nothing_left(&shop, &destination, root.path());
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_refusal_names_what_would_be_right() {
    let shop = shop();
    let wrong = refused(reach(&shop).password(SecretString::from("geheim")));
    assert!(wrong.contains("refuses") && wrong.contains("give the right password of role \"testbed\""));
    assert!(!wrong.contains("geheim"), "{wrong}");
    let none = PostgresServer::new(shop.host(), shop.user()).port(shop.port());
    assert!(refused(none).contains("give the right password"));
    assert!(refused(reach(&shop).database("nowhere")).contains("does not exist"));

    shop.sql("create role clerk login password 'c'").unwrap();
    let clerk = PostgresServer::new(shop.host(), "clerk").port(shop.port()).password(SecretString::from("c"));
    assert!(refused(clerk.clone()).contains("run: ALTER ROLE \"clerk\" REPLICATION"));
    let root = tempfile::tempdir().unwrap();
    let ctx = context();
    let error = dump(Meddled::new(root.path(), |_| Ok(())), clerk.clone(), &ctx).unwrap_err();
    assert!(error.to_string().contains("run: GRANT pg_read_all_data TO \"clerk\""), "{error}");
    let error = PostgresStatus::new(clerk.clone()).read(ctx.clock().now()).unwrap_err();
    assert!(error.to_string().contains("run: GRANT pg_monitor TO \"clerk\""), "{error}");

    let error = PostgresMembers::new([clerk.clone()]).members().unwrap_err();
    assert!(error.to_string().contains("run: GRANT pg_monitor TO \"clerk\""), "{error}");

    // What the remedies say helps.
    shop.sql("alter role clerk replication; grant pg_read_all_data, pg_monitor to clerk").unwrap();
    dump(Meddled::new(root.path(), |_| Ok(())), clerk.clone(), &context()).unwrap();
    base(Meddled::new(tempfile::tempdir().unwrap().path(), |_| Ok(())), clerk.clone(), &context()).unwrap();
    PostgresStatus::new(clerk.clone()).read(ctx.clock().now()).unwrap();
    PostgresMembers::new([clerk.clone()]).members().unwrap();

    shop.configure("host replication clerk all reject", "").unwrap();
    let root = tempfile::tempdir().unwrap();
    let error = base(Meddled::new(root.path(), |_| Ok(())), clerk.clone(), &context()).unwrap_err();
    assert!(error.to_string().contains("host replication \"clerk\" ADDRESS-OF-THIS-HOST"), "{error}");
    shop.configure("host all clerk all reject", "").unwrap();
    assert!(refused(clerk).contains("host all \"clerk\" ADDRESS-OF-THIS-HOST scram-sha-256"));
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_server_that_does_not_answer_is_unreachable() {
    let nobody = PostgresServer::new("127.0.0.1", "u").port(free_port().unwrap());
    let mut silent = Postgres::start().unwrap();
    silent.process().signal(Signal::STOP);
    let silent_server = reach(&silent).connect_timeout(Duration::from_secs(1));
    for server in [nobody, silent_server] {
        let root = tempfile::tempdir().unwrap();
        let error = base(Meddled::new(root.path(), |_| Ok(())), server, &context()).unwrap_err();
        assert!(matches!(error, DriverError::Unreachable { .. }), "{error:?}");
        assert!(matches!(error.into_run_error(&context()), RunError::Retryable(_)));
    }
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_tool_that_is_missing_or_too_old_is_named_with_its_package() {
    let shop = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let missing = refused(reach(&shop).tools(folder.path()));
    assert!(missing.contains("pg_basebackup is not there; install postgresql-client-"), "{missing}");
    let tool = folder.path().join("pg_basebackup");
    fs::write(&tool, "#!/bin/sh\necho 'pg_basebackup (PostgreSQL) 9.6.24'\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o700)).unwrap();
    let old = refused(reach(&shop).tools(folder.path()));
    assert!(old.contains("pg_basebackup is version pg_basebackup (PostgreSQL) 9.6.24"), "{old}");
    assert!(old.contains("(of package postgresql-client-"), "{old}");
}

#[test]
#[ignore = "needs PostgreSQL"]
fn what_cannot_be_one_stream_is_refused() {
    let shop = Postgres::start().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    shop.give(elsewhere.path()).unwrap();
    shop.sql(&format!("create tablespace cellar location '{}'", elsewhere.path().display())).unwrap();
    let text = refused(reach(&shop));
    assert!(text.contains("cellar lie outside the data directory") && text.contains("use `Dump`"), "{text}");
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_server_without_slots_is_backed_up_without_one() {
    let shop = shop_with(&[("max_replication_slots", "0")]);
    let root = tempfile::tempdir().unwrap();
    let executor = BaseBackup::new(at(reach(&shop)), LocalDirectory::new(root.path()));
    let done = executor.checkpoint(Checkpoint::Fast).make(&context()).unwrap();
    let held = &done.manifest.facts["wal_held"];
    assert!(held.starts_with("no: ") && held.contains("max_replication_slots"), "{held}");
}

#[test]
#[ignore = "needs PostgreSQL, openssl"]
fn connections_and_tools_speak_tls_with_a_server_that_proves_who_it_is() {
    let shop = shop();
    let other = tempfile::tempdir().unwrap();
    let certify = |folder: &Path| {
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args(["-days", "2", "-subj", "/CN=testbed", "-addext", "subjectAltName=IP:127.0.0.1"]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        openssl.args(["-keyout", "server.key", "-out", "server.crt"]).current_dir(folder);
        let output = openssl.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        folder.join("server.crt")
    };
    let (right, wrong) = (certify(&shop.data()), certify(other.path()));
    for file in ["server.key", "server.crt"] {
        shop.give(&shop.data().join(file)).unwrap();
    }
    shop.configure("hostnossl all clerk all reject\nhostnossl replication clerk all reject", "ssl = on\n")
        .unwrap();
    shop.sql("create role clerk superuser login password 'c'").unwrap();
    let clerk = |tls| {
        let server = PostgresServer::new(shop.host(), "clerk").port(shop.port());
        server.password(SecretString::from("c")).tls(tls)
    };
    let ca = |ca_file: &Path| Tls::Verified { ca_file: ca_file.to_owned() };
    for make in [base as Make, dump] {
        let root = tempfile::tempdir().unwrap();
        make(Meddled::new(root.path(), |_| Ok(())), clerk(ca(&right)), &context()).unwrap();
    }
    let read = |tls| PostgresStatus::new(clerk(tls)).read(context().clock().now());
    assert!(read(ca(&right)).is_ok());
    assert!(matches!(read(ca(&wrong)), Err(DriverError::Unreachable { .. })));
    assert!(matches!(read(Tls::Off), Err(DriverError::Refused { .. })));
    assert!(matches!(read(ca(Path::new("/nonexistent"))), Err(DriverError::Setting { .. })));
}
