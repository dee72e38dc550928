//! Load, health and members of real servers.

use std::time::Duration;

use mysql::prelude::Queryable;
use sched_core::{Clock, LoadLevel, ManualClock};
use sched_drivers::destination::LocalDirectory;
use sched_drivers::mysql::{MySqlMembers, MySqlStatus};
use sched_drivers::server::{MemberSource, Monitor, MonitorConfig, ServerStatus, StatusSource};
use sched_testbed::MariaDb;
use sched_workload::LoadDetector;

use super::rig::{Attempt, until};
use super::shop;

fn health(status: &ServerStatus, name: &str) -> f64 {
    let reading = status.health.iter().find(|reading| reading.signal.as_str() == name);
    let reading = reading.unwrap_or_else(|| panic!("{name} in {status:?}"));
    reading.check().unwrap();
    reading.value
}

#[test]
#[ignore = "needs mariadb-server and mariadb-client"]
fn a_batch_and_short_reads_at_equal_queries_a_second_are_decided_differently() {
    const QUERIES: u32 = 200;
    let server = MariaDb::start().unwrap();
    shop::fill(&server);
    let clock = ManualClock::default();
    // 20 queries a second are 1.6 times what is busy.
    let config = MonitorConfig::default().busy_at_requests_per_s(12.5);
    let monitor = Monitor::new("shop", MySqlStatus::new(shop::account(&server)), config);
    let mut foreground = shop::root(&server);
    let mut level_after = |query: &dyn Fn(u32) -> String| {
        monitor.detector().detect(clock.now()).unwrap();
        for n in 0..QUERIES {
            let _: Vec<mysql::Row> = foreground.query(query(n)).unwrap();
        }
        clock.advance(Duration::from_secs(10));
        let reading = monitor.detector().detect(clock.now()).unwrap();
        (reading.state.level, reading.state.reason.text.to_string())
    };
    let short = level_after(&|n| format!("SELECT note FROM shop.bulk WHERE n = {}", n + 1));
    let batch = level_after(&|_| "SELECT MAX(CRC32(note)) FROM shop.bulk WHERE n <= 4000".into());
    // How many are at work is of the moment: the last query may not have ended for the server when its answer is here.
    assert!(short.1.ends_with(", 20 a second, mostly point reads"), "{}", short.1);
    assert!(batch.1.ends_with(", 20 a second, mostly batch"), "{}", batch.1);
    assert_eq!((short.0, batch.0), (LoadLevel::Busy, LoadLevel::Calm));
    let writes = level_after(&|n| format!("INSERT INTO shop.credit VALUES ({n}, 1, '')"));
    assert_eq!(writes.0, LoadLevel::Busy, "{}", writes.1);
}

#[test]
#[ignore = "needs mariadb-server and mariadb-client"]
fn only_the_foreground_is_at_work() {
    let primary = MariaDb::start().unwrap();
    shop::fill(&primary);
    let _replica = primary.replica().unwrap();
    let mut status = MySqlStatus::new(shop::account(&primary));
    let clock = ManualClock::default();
    let read = std::cell::RefCell::new(|| status.read(clock.now()).unwrap().active);
    let active = || (read.borrow_mut())();
    // Those who filled it may be on their way out.
    until("neither the reading nor the sender of the log being counted", || active() == 0.0);

    let mut sleeper = shop::root(&primary);
    let sleeps = std::thread::spawn(move || sleeper.query_drop("SELECT SLEEP(60)"));
    until("a query at work", || active() == 1.0);

    // A dump that stands, with most of the table still to be sent.
    let backups = tempfile::tempdir().unwrap();
    let attempt = Attempt::new(shop::spec(), 1 << 20);
    let executor = shop::dump(&shop::account(&primary), LocalDirectory::new(backups.path())).database("shop");
    std::thread::scope(|scope| {
        let _cancels = shop::CancelsAtEnd(&attempt);
        let run = scope.spawn(|| executor.make(&attempt.ctx));
        let reads = "SELECT 1 FROM information_schema.PROCESSLIST WHERE INFO LIKE '%SQL_NO_CACHE%' AND USER = 'backup'";
        until("the dump reading", || !primary.sql(reads).unwrap().is_empty() || run.is_finished());
        // The connection that was asked about it may not have left the server yet; the dump stays until it is cancelled.
        until("the dump not counted", || active() == 1.0);
        let reading = !primary.sql(reads).unwrap().is_empty();
        attempt.cancel();
        run.join().unwrap().unwrap_err();
        assert!(reading, "the dump was at work all the while");
    });
    let id =
        primary.sql("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO = 'SELECT SLEEP(60)'").unwrap();
    primary.sql(&format!("KILL {}", id.trim())).unwrap();
    let _ = sleeps.join().unwrap();
}

#[test]
#[ignore = "needs mariadb-server and mariadb-client"]
fn a_replica_that_stands_is_late_and_members_know_their_roles() {
    let primary = MariaDb::start().unwrap();
    shop::fill(&primary);
    let replica = primary.replica().unwrap();
    let clock = ManualClock::default();
    let mut status = MySqlStatus::new(shop::account(&replica));
    let mut lag = || health(&status.read(clock.now()).unwrap(), "replication_lag");
    assert!(lag() < 60.0);

    let address = |server: &MariaDb| format!("127.0.0.1:{}", server.port());
    let roles = |source: &mut MySqlMembers| -> Vec<_> {
        let members = source.members().unwrap();
        members.into_iter().map(|member| (member.address, member.role, member.healthy)).collect()
    };
    let mut expected =
        vec![(address(&primary), "primary".to_owned(), true), (address(&replica), "replica".into(), true)];
    expected.sort();
    let mut of_primary = MySqlMembers::new(shop::account(&primary));
    until("the replica being known", || {
        primary.sql("SHOW SLAVE HOSTS").is_ok_and(|hosts| hosts.contains(&replica.port().to_string()))
    });
    assert_eq!(roles(&mut of_primary), expected);
    let mut of_replica = MySqlMembers::new(shop::account(&replica));
    assert_eq!(roles(&mut of_replica), expected);
    let own = |members: &mut MySqlMembers| {
        members.members().unwrap().into_iter().find(|member| member.role == "replica").unwrap()
    };
    assert!(own(&mut of_replica).lag.is_some());

    for stands in ["STOP SLAVE SQL_THREAD", "STOP SLAVE IO_THREAD"] {
        replica.sql(stands).unwrap();
        assert_eq!(lag(), 86_400.0, "{stands}");
        assert_eq!((own(&mut of_replica).lag, own(&mut of_replica).healthy), (None, false));
        replica.sql("START SLAVE").unwrap();
        replica.catch_up(&primary).unwrap();
    }
    let mut status = MySqlStatus::new(shop::account(&primary));
    assert_eq!(health(&status.read(clock.now()).unwrap(), "replication_lag"), 0.0);
}

#[test]
#[ignore = "needs mariadb-server and mariadb-client"]
fn an_open_snapshot_shows_in_the_history_list_and_a_restart_is_survived() {
    let mut server = MariaDb::start().unwrap();
    shop::fill(&server);
    let clock = ManualClock::default();
    let mut status = MySqlStatus::new(shop::account(&server));
    let mut holder = shop::root(&server);
    holder.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").unwrap();
    let mut writer = shop::root(&server);
    for n in 0..500 {
        writer.query_drop(format!("UPDATE shop.bulk SET note = '{n}' WHERE n = 1")).unwrap();
    }
    let length = health(&status.read(clock.now()).unwrap(), "history_list_length");
    assert!(length >= 400.0, "{length}");

    server.restart().unwrap();
    assert!(status.read(clock.now()).is_err());
    clock.advance(Duration::from_secs(5));
    assert_eq!(status.read(clock.now()).unwrap().workload, None);
}

/// The default period is 5 s, of which a thousandth is 5 ms.
#[test]
#[ignore = "needs mariadb-server and mariadb-client"]
fn a_reading_costs_less_than_a_thousandth_of_the_servers_time() {
    const READINGS: u32 = 400;
    let mut server = MariaDb::start().unwrap();
    shop::fill(&server);
    // As on a server with applications: connections that wait.
    let _idle: Vec<_> = (0..100).map(|_| shop::root(&server)).collect();
    let clock = ManualClock::default();
    let mut status = MySqlStatus::new(shop::account(&server));
    status.read(clock.now()).unwrap();
    let pid = server.process().pid();
    let before = cpu_time(pid);
    for _ in 0..READINGS {
        status.read(clock.now()).unwrap();
    }
    let each = (cpu_time(pid) - before) / READINGS;
    println!("a reading costs the server {each:?} of processor time");
    assert!(each < MonitorConfig::default().period / 1000, "{each:?}");
}

/// Processor time of a process, to a hundredth of a second.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
