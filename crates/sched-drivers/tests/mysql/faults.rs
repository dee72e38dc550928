//! What goes wrong, what is said of it, and what stays behind: nothing.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use mysql::prelude::Queryable;
use sched_core::{Executor, RunContext, RunError};
use sched_drivers::DriverError;
use sched_drivers::backup::Completed;
use sched_drivers::command::CommandError;
use sched_drivers::destination::{LocalDirectory, Stream};
use sched_drivers::mysql::MySqlServer;
use sched_drivers::secret::SecretString;
use sched_testbed::{MariaDb, free_port};

use super::rig::{Attempt, files, full_after, still, until};
use super::shop;

type Make = Box<dyn Fn(&RunContext) -> Result<Completed, DriverError> + Send + Sync>;

/// Both executors, backing up to that directory.
fn both(server: &MySqlServer, to: &Path) -> [(&'static str, Make); 2] {
    let physical = shop::physical(server, LocalDirectory::new(to));
    let dump = shop::dump(server, LocalDirectory::new(to));
    [
        ("mariadb-backup", Box::new(move |ctx| physical.make(ctx))),
        ("mariadb-dump", Box::new(move |ctx| dump.make(ctx))),
    ]
}

fn filled() -> MariaDb {
    let server = MariaDb::start().unwrap();
    shop::fill(&server);
    server
}

/// Whether a tool of this process works on the server.
fn tools(server: &MariaDb) -> bool {
    let data = server.data();
    let data = data.to_str().unwrap();
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains("mariadb-backup") && line.contains(data)
    })
}

/// Nobody holds a lock: DDL and a global lock are to be had.
fn assert_no_lock(server: &MariaDb) {
    server
        .sql("SET lock_wait_timeout = 60; ALTER TABLE shop.bulk COMMENT 'x'; FLUSH TABLES WITH READ LOCK; UNLOCK TABLES")
        .unwrap();
}

#[test]
#[ignore = "needs mariadb-server, mariadb-client and mariadb-backup"]
fn cancelled_midway_nothing_stays() {
    let server = filled();
    let backups = tempfile::tempdir().unwrap();
    for (tool, make) in both(&shop::account(&server), backups.path()) {
        let attempt = Attempt::new(shop::spec(), 2 << 20);
        let outcome = std::thread::scope(|scope| {
            let _cancels = shop::CancelsAtEnd(&attempt);
            let run = scope.spawn(|| make(&attempt.ctx));
            until("the copy being under way", || attempt.dam.passed() > 2 << 20 || run.is_finished());
            let found = (shop::connections(&server), files(backups.path()).len());
            attempt.cancel();
            let outcome = run.join().unwrap();
            assert!(found.0 > 0 && found.1 > 0, "{tool}: {found:?} {outcome:?}");
            outcome
        });
        let error = outcome.unwrap_err();
        assert!(matches!(error.into_run_error(&attempt.ctx), RunError::Cancelled), "{tool}");
        assert!(!tools(&server));
        assert!(files(backups.path()).is_empty(), "{:?}", files(backups.path()));
        until("its connections ending", || shop::connections(&server) == 0);
        assert_no_lock(&server);
    }
}

#[test]
#[ignore = "needs mariadb-server, mariadb-client and mariadb-backup"]
fn cancelled_while_it_waits_for_a_lock_it_waits_no_more() {
    let server = filled();
    let backups = tempfile::tempdir().unwrap();
    let mut holder = shop::root(&server);
    holder.query_drop("BACKUP STAGE START").unwrap();
    let attempt = Attempt::free(shop::spec());
    let executor = shop::physical(&shop::account(&server), LocalDirectory::new(backups.path()));
    let waits =
        "SELECT 1 FROM information_schema.PROCESSLIST WHERE USER = 'backup' AND STATE LIKE 'Waiting for%'";
    let outcome = std::thread::scope(|scope| {
        let _cancels = shop::CancelsAtEnd(&attempt);
        let run = scope.spawn(|| executor.run(&attempt.ctx));
        until("the tool waiting for its lock", || {
            !server.sql(waits).unwrap().is_empty() || run.is_finished()
        });
        attempt.cancel();
        run.join().unwrap()
    });
    assert_eq!(outcome, Err(RunError::Cancelled));
    // While the lock is still held: the server notices that nobody waits.
    until("its connections ending", || shop::connections(&server) == 0);
    holder.query_drop("BACKUP STAGE END").unwrap();
    assert_no_lock(&server);
}

#[test]
#[ignore = "needs mariadb-server, mariadb-client and mariadb-backup"]
fn a_server_that_dies_midway_is_told_and_the_next_attempt_succeeds() {
    let mut server = filled();
    let backups = tempfile::tempdir().unwrap();
    for (tool, make) in both(&shop::account(&server), backups.path()) {
        let attempt = Attempt::new(shop::spec(), 2 << 20);
        let outcome = std::thread::scope(|scope| {
            let _cancels = shop::CancelsAtEnd(&attempt);
            let run = scope.spawn(|| make(&attempt.ctx));
            until("the copy being under way", || attempt.dam.passed() > 2 << 20 || run.is_finished());
            server.process().kill();
            attempt.dam.open();
            run.join().unwrap()
        });
        let error = outcome.unwrap_err();
        assert!(matches!(error, DriverError::Unreachable { .. }), "{tool}: {error:?}");
        assert!(matches!(error.into_run_error(&attempt.ctx), RunError::Retryable(_)));
        assert!(files(backups.path()).is_empty(), "{:?}", files(backups.path()));
        server.restart().unwrap();
        let next = Attempt::nth(shop::spec(), u64::MAX, 2);
        let made = make(&next.ctx).unwrap();
        assert_eq!(made.manifest.attempt, 2);
        std::fs::remove_dir_all(made.location).unwrap();
    }
}

#[test]
#[ignore = "needs mariadb-server, mariadb-client and mariadb-backup"]
fn a_full_destination_is_told_and_ends_the_tool() {
    let server = filled();
    let account = shop::account(&server);
    let attempt = Attempt::free(shop::spec());
    let physical = shop::physical(&account, full_after(1 << 20)).make(&attempt.ctx).unwrap_err();
    let dump = shop::dump(&account, full_after(1 << 20)).make(&attempt.ctx).unwrap_err();
    for error in [physical, dump] {
        assert!(
            matches!(&error, DriverError::Destination { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
            "{error:?}"
        );
    }
    assert!(!tools(&server));
    until("the tools' connections ending", || shop::connections(&server) == 0);
    assert_no_lock(&server);
}

#[test]
#[ignore = "needs mariadb-server, mariadb-client and mariadb-backup"]
fn an_account_that_is_refused_is_told_what_would_be_right() {
    let server = filled();
    server
        .sql("CREATE USER weak@'%' IDENTIFIED BY 'geheim'; GRANT SELECT, EVENT ON *.* TO weak@'%'")
        .unwrap();
    let backups = tempfile::tempdir().unwrap();
    let at = || MySqlServer::tcp("127.0.0.1", server.port());
    let ctx = Attempt::free(shop::spec()).ctx;
    for (_, make) in both(&at().password(SecretString::from("geheim?")), backups.path()) {
        let error = make(&ctx).unwrap_err();
        assert!(matches!(&error, DriverError::Refused { .. }) && error.is_permanent(), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("password") && !text.contains("geheim"), "{text}");
    }
    let weak = at().user("weak").password(SecretString::from("geheim"));
    let said = both(&weak, backups.path()).map(|(_, make)| make(&ctx).unwrap_err().to_string());
    assert!(
        said[0].contains("GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, SLAVE MONITOR ON *.*"),
        "{}",
        said[0]
    );
    // The tool itself would leave out views and triggers and say nothing.
    assert!(said[1].contains("GRANT SHOW VIEW, TRIGGER ON *.*"), "{}", said[1]);
    assert!(!said.concat().contains("geheim"));
    assert!(files(backups.path()).is_empty(), "{:?}", files(backups.path()));
}

#[test]
#[ignore = "needs mariadb-server, mariadb-client and mariadb-backup"]
fn a_tool_that_is_missing_or_does_not_fit_is_told() {
    let server = filled();
    let account = shop::account(&server);
    let nowhere = || Stream::new(|_, _| Ok(Box::new(std::io::sink())));
    let ctx = Attempt::free(shop::spec()).ctx;
    let missing =
        shop::physical(&account, nowhere()).tool("mariadb-backup-of-nowhere").make(&ctx).unwrap_err();
    assert!(matches!(&missing, DriverError::Command(CommandError::Missing { .. })), "{missing:?}");
    assert!(missing.to_string().contains("install mariadb-backup") && missing.is_permanent(), "{missing}");

    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("mariadb-backup");
    let says = "#!/bin/sh\necho 'mariadb-backup based on MariaDB server 10.3.9-MariaDB Linux (x86_64)' >&2\n";
    std::fs::write(&old, says).unwrap();
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).unwrap();
    let other = shop::physical(&account, nowhere()).tool(&old).make(&ctx).unwrap_err();
    assert!(matches!(&other, DriverError::WrongTool { .. }) && other.is_permanent(), "{other:?}");
    assert!(other.to_string().contains("MariaDB 10.3.9"), "{other}");
    let stranger = shop::dump(&account, nowhere()).tool("true").make(&ctx).unwrap_err();
    assert!(matches!(&stranger, DriverError::Setting { .. }), "{stranger:?}");
}

#[test]
fn a_server_that_is_not_there_or_is_silent_is_unreachable() {
    let nowhere = || Stream::new(|_, _| Ok(Box::new(std::io::sink())));
    let ctx = still(shop::spec());
    let gone = MySqlServer::tcp("127.0.0.1", free_port().unwrap());
    let socket = MySqlServer::socket("/nonexistent/socket");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let silent = MySqlServer::tcp("127.0.0.1", listener.local_addr().unwrap().port())
        .timeout(Duration::from_millis(300));
    for server in [gone, socket, silent] {
        let error = shop::dump(&server, nowhere()).make(&ctx).unwrap_err();
        assert!(matches!(&error, DriverError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains(&server.address()) && !error.is_permanent(), "{error}");
    }
}
