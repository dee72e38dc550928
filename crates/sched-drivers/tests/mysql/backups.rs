//! Backups that are restored and compared.

use std::sync::Arc;

use parking_lot::Mutex;
use sched_core::RunControl;
use sched_drivers::backup::Completed;
use sched_drivers::destination::LocalDirectory;
use sched_testbed::MariaDb;

use super::rig::{self, Attempt};
use super::shop::{self, Foreground};

/// What the attempt announced, in order.
type Phases = Arc<Mutex<Vec<(String, u64)>>>;

fn attempt() -> (Attempt, Phases) {
    attempt_to(u64::MAX)
}

/// Stands after so many bytes until its dam is opened.
fn attempt_to(open_to: u64) -> (Attempt, Phases) {
    let phases = Phases::default();
    let told = Arc::clone(&phases);
    let control = RunControl::new(|_| {})
        .on_phase(move |phase| told.lock().push((phase.name, phase.floor_bytes_per_sec)));
    (Attempt::with_control(shop::spec(), open_to, control), phases)
}

fn names(phases: &Phases) -> Vec<String> {
    let mut names: Vec<String> = phases.lock().iter().map(|(name, _)| name.clone()).collect();
    names.dedup();
    names
}

fn transaction(foreground: &Foreground, made: &Completed) -> u64 {
    foreground.transaction(&made.manifest.facts["gtid"])
}

#[test]
#[ignore = "needs mariadb-server, mariadb-client and mariadb-backup"]
fn copies_of_primary_and_replica_hold_what_was_committed() {
    let primary = MariaDb::start().unwrap();
    shop::fill(&primary);
    let replica = primary.replica().unwrap();
    let backups = tempfile::tempdir().unwrap();
    let foreground = Foreground::start(&primary);
    foreground.wait_for(20);
    for server in [&primary, &replica] {
        let (attempt, phases) = attempt();
        let before = foreground.committed();
        let executor = shop::physical(&shop::account(server), LocalDirectory::new(backups.path()));
        let made = executor.make(&attempt.ctx).unwrap();
        assert_eq!(names(&phases), ["copy", "lock", "copy"]);
        let floors: Vec<u64> = phases.lock().iter().map(|(_, floor)| *floor).collect();
        assert!(floors[0] >= 4_000_000 && floors.contains(&u64::MAX), "{floors:?}");
        let facts = &made.manifest.facts;
        assert!(facts["binlog_file"].starts_with("bin.") && facts.contains_key("binlog_position"));
        assert_eq!(facts.contains_key("primary_position"), std::ptr::eq(server, &replica), "{facts:?}");
        let at = transaction(&foreground, &made);
        if std::ptr::eq(server, &primary) {
            assert!(at > before, "the foreground went on: {at}, {before}");
        }
        foreground.wait_for(at + 1);
        let restored = shop::restore_files(&made);
        shop::assert_holds(&restored, &primary, at);
        rig::until("the tool's connections ending", || shop::connections(server) == 0);
    }
}

#[test]
#[ignore = "needs mariadb-server and mariadb-client"]
fn dumps_of_primary_and_replica_hold_what_was_committed() {
    let primary = MariaDb::start().unwrap();
    shop::fill(&primary);
    let replica = primary.replica().unwrap();
    let backups = tempfile::tempdir().unwrap();
    let foreground = Foreground::start(&primary);
    foreground.wait_for(20);
    for server in [&primary, &replica] {
        // It stands in the first of the shop's tables, and the others change meanwhile: nothing waits for it.
        let (attempt, phases) = attempt_to(8 << 20);
        let executor = shop::dump(&shop::account(server), LocalDirectory::new(backups.path()));
        let made = std::thread::scope(|scope| {
            let _cancels = shop::CancelsAtEnd(&attempt);
            let run = scope.spawn(|| executor.make(&attempt.ctx));
            rig::until("the dump being under way", || attempt.dam.passed() > 8 << 20 || run.is_finished());
            foreground.wait_for(foreground.committed() + 20);
            replica.catch_up(&primary).unwrap();
            attempt.dam.open();
            run.join().unwrap().unwrap()
        });
        assert_eq!(names(&phases), ["lock", "copy"]);
        assert!(made.manifest.tool.starts_with("mariadb-dump of MariaDB 1"), "{}", made.manifest.tool);
        let at = transaction(&foreground, &made);
        foreground.wait_for(at + 1);
        let restored = shop::restore_dump(&made);
        shop::assert_holds(&restored, &primary, at);
        assert!(replica.sql("SHOW SLAVE STATUS").unwrap().contains("\tYes\tYes\t"), "it goes on replicating");
    }
}

#[test]
#[ignore = "needs mariadb-server and mariadb-client"]
fn a_dump_of_one_database_through_the_socket_needs_no_binary_log() {
    let server = MariaDb::start_with(1, &["--skip-log-bin"]).unwrap();
    shop::fill(&server);
    server.sql("CREATE DATABASE other; CREATE TABLE other.t (n INT)").unwrap();
    let backups = tempfile::tempdir().unwrap();
    let account = sched_drivers::mysql::MySqlServer::socket(server.socket())
        .password(sched_drivers::secret::SecretString::from(shop::PASSWORD));
    let executor = shop::dump(&account, LocalDirectory::new(backups.path())).database("shop");
    let made = executor.make(&attempt().0.ctx).unwrap();
    assert!(!made.manifest.facts.contains_key("binlog_file"));
    let restored = shop::restore_dump(&made);
    assert_eq!(shop::contents(&restored, u64::MAX), shop::contents(&server, u64::MAX));
    assert_eq!(restored.sql("SHOW DATABASES LIKE 'other'").unwrap(), "");
}
