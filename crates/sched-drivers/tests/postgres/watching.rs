//! Load, health and members of real servers.

use std::time::Duration;

use rustix::process::Signal;
use sched_core::{Clock, LoadLevel, ManualClock};
use sched_drivers::postgres::{PostgresMembers, PostgresStatus};
use sched_drivers::server::{MemberSource, Monitor, MonitorConfig, QueryPattern, ServerStatus, StatusSource};
use sched_limits::CapacityProbe;
use sched_testbed::{Postgres, wait_until};
use sched_workload::LoadDetector;

use crate::rig::{Foreground, LONG, reach, script, shop, shop_with};

fn health(status: &ServerStatus, name: &str) -> Option<f64> {
    status.health.iter().find(|reading| reading.signal.as_str() == name).map(|reading| reading.value)
}

/// Runs a statement two hundred times, after which the server has counted it.
fn two_hundred(shop: &Postgres, sql: &str) {
    let (_script, path) = script(sql);
    let mut pgbench = shop.tool("pgbench");
    pgbench.args(["--no-vacuum", "--transactions=200", "--file"]).arg(path);
    let output = pgbench.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A session counts what it did when it ends, which is after its client has.
    let left = "select count(*) from pg_stat_activity where application_name = 'pgbench'";
    wait_until("all is counted", LONG, || (shop.sql(left).unwrap() == "0").then_some(())).unwrap();
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_batch_and_a_peak_of_point_reads_are_decided_differently_at_equal_queries_a_second() {
    let shop = shop();
    let decide = |sql: &str| {
        let monitor = Monitor::new(
            "shop",
            PostgresStatus::new(reach(&shop)),
            MonitorConfig::default().busy_at(1e6).busy_at_requests_per_s(28.0),
        );
        let (mut detector, clock) = (monitor.detector(), ManualClock::default());
        detector.detect(clock.now()).unwrap();
        two_hundred(&shop, sql);
        clock.advance(Duration::from_secs(5));
        let reading = detector.detect(clock.now()).unwrap();
        (reading.state.level, reading.state.reason.to_string())
    };
    let point = "\\set n random(1, 200000)\nselect text from ballast where n = :n;\n";
    let batch =
        "\\set n random(1, 190000)\nselect max(text) from ballast where n between :n and :n + 9999;\n";
    let (level, reason) = decide(point);
    assert!(level == LoadLevel::Busy && reason.contains("mostly point reads"), "{level:?}: {reason}");
    let (level, reason) = decide(batch);
    assert!(level == LoadLevel::Calm && reason.contains("mostly batch"), "{level:?}: {reason}");
}

#[test]
#[ignore = "needs PostgreSQL"]
fn the_kind_of_work_is_read_from_the_servers_counters() {
    let shop = shop();
    let (mut source, clock) = (PostgresStatus::new(reach(&shop)), ManualClock::default());
    assert_eq!(source.read(clock.now()).unwrap().workload, None);
    let mut pattern = |sql: &str| {
        two_hundred(&shop, sql);
        clock.advance(Duration::from_secs(2));
        let workload = source.read(clock.now()).unwrap().workload.unwrap();
        assert!((95.0..150.0).contains(&workload.requests_per_s()), "{workload:?}");
        workload.pattern()
    };
    assert_eq!(pattern("insert into notes default values;"), QueryPattern::Writes);
    assert_eq!(pattern("select 1;"), QueryPattern::PointReads);
    assert_eq!(pattern("update here set money = money;"), QueryPattern::Batch);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn sessions_at_work_count_and_the_readers_own_do_not() {
    let shop = shop();
    let (mut source, clock) = (PostgresStatus::new(reach(&shop)), ManualClock::default());
    let mut active = || source.read(clock.now()).unwrap().active;
    assert_eq!(active(), 0.0);
    let mut sleeps = shop.tool("psql");
    let mut sleeper = sleeps.args(["-c", "select pg_sleep(600)"]).spawn().unwrap();
    let mut ours = shop.tool("psql");
    let mut own =
        ours.env("PGAPPNAME", "backup-sched/1").args(["-c", "select pg_sleep(600)"]).spawn().unwrap();
    let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    wait_until("both sleep", LONG, || (shop.sql(sleeping).unwrap() == "2").then_some(())).unwrap();
    assert_eq!(active(), 1.0);
    for child in [&mut sleeper, &mut own] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_standby_that_stops_replaying_lags() {
    let shop = shop();
    let standby = shop.standby("two").unwrap();
    let foreground = Foreground::start(&shop);
    let clock = ManualClock::default();
    let health_of =
        |source: &mut PostgresStatus, name: &str| health(&source.read(clock.now()).unwrap(), name);
    let lag = |source: &mut PostgresStatus| health_of(source, "replication_lag");
    let (mut on_primary, mut on_standby) =
        (PostgresStatus::new(reach(&shop)), PostgresStatus::new(reach(&standby)));
    shop.wait_for(&standby).unwrap();
    standby.sql("select pg_wal_replay_pause()").unwrap();
    wait_until("both see it", LONG, || {
        let (primary, standby) = (health_of(&mut on_primary, "standby_lag")?, lag(&mut on_standby)?);
        (primary > 1.0 && standby > 1.0).then_some(())
    })
    .unwrap();
    assert_eq!(lag(&mut on_primary), Some(0.0), "the primary itself is not late");
    standby.sql("select pg_wal_replay_resume()").unwrap();
    drop(foreground);
    shop.wait_for(&standby).unwrap();
    wait_until("the lag is over", LONG, || (lag(&mut on_standby)? == 0.0).then_some(())).unwrap();
}

#[test]
#[ignore = "needs PostgreSQL"]
fn failing_archives_and_checkpoints_are_told() {
    let shop = shop_with(&[("archive_mode", "on"), ("archive_command", "/bin/true")]);
    let monitor = Monitor::new("shop", PostgresStatus::new(reach(&shop)), MonitorConfig::default());
    let (mut probe, clock) = (monitor.probe(), ManualClock::default());
    let mut told = |name: &str| {
        clock.advance(Duration::from_secs(5));
        let readings = probe.sample(clock.now()).unwrap();
        readings.iter().for_each(|reading| reading.check().unwrap());
        readings.into_iter().find(|reading| reading.signal.as_str() == name).map(|reading| reading.value)
    };
    assert_eq!(told("archiver_failing"), Some(0.0));
    wait_until("no checkpoint is told", LONG, || (told("checkpoint")? == 0.0).then_some(())).unwrap();
    shop.configure("", "archive_command = '/bin/false'\n").unwrap();
    shop.sql("insert into notes default values; select pg_switch_wal()").unwrap();
    wait_until("failures are told", LONG, || (told("archiver_failing")? > 0.0).then_some(())).unwrap();
    shop.configure("", "archive_command = '/bin/true'\n").unwrap();
    wait_until("they are over", LONG, || (told("archiver_failing")? == 0.0).then_some(())).unwrap();

    // Spread over half a minute at least.
    shop.configure("", "checkpoint_timeout = 30s\ncheckpoint_completion_target = 0.9\n").unwrap();
    let foreground = Foreground::start(&shop);
    wait_until("a checkpoint is told", LONG, || (told("checkpoint")? == 1.0).then_some(())).unwrap();
    drop(foreground);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn members_are_told_with_their_roles() {
    let shop = shop();
    let (two, three) = (shop.standby("two").unwrap(), shop.standby("three").unwrap());
    shop.configure("", "synchronous_standby_names = 'three'\n").unwrap();
    let mut members = PostgresMembers::new([&two, &shop, &three].map(reach));
    let address = |postgres: &Postgres| format!("127.0.0.1:{}", postgres.port());
    let told = |members: &mut PostgresMembers| -> Vec<(String, String, bool)> {
        let told = members.members().unwrap().into_iter();
        told.map(|member| (member.address, member.role, member.healthy)).collect()
    };
    let expected = [(&two, "async_standby"), (&shop, "primary"), (&three, "sync_standby")]
        .map(|(postgres, role)| (address(postgres), role.to_owned(), true));
    let all = || (told(&mut members) == expected).then_some(());
    wait_until("all are members", LONG, all).unwrap();

    // A primary alone tells the others by where they come from.
    let mut alone = PostgresMembers::new([reach(&shop)]);
    let roles: Vec<String> = told(&mut alone).into_iter().map(|(_, role, _)| role).collect();
    assert_eq!(roles, ["primary", "sync_standby", "async_standby"]);
    // A standby alone does not know what the primary waits for.
    assert_eq!(told(&mut PostgresMembers::new([reach(&two)]))[0].1, "standby");
    drop(two);
    assert_eq!(told(&mut members)[0], (expected[0].0.clone(), "unknown".into(), false));
    assert!(told(&mut members)[1..] == expected[1..]);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_reading_follows_a_restart_and_a_hang_costs_a_time_out() {
    let mut shop = shop();
    let server = reach(&shop).connect_timeout(LONG).statement_timeout(Duration::from_secs(3));
    let (mut source, clock) = (PostgresStatus::new(server), ManualClock::default());
    source.read(clock.now()).unwrap();
    let backends =
        "select string_agg(pid::text, ' ') from pg_stat_activity where application_name = 'backup-sched'";
    let pid: i32 = shop.sql(backends).unwrap().parse().unwrap();
    let backend = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(backend, Signal::STOP).unwrap();
    assert!(source.read(clock.now()).unwrap_err().to_string().contains("took longer than"));
    rustix::process::kill_process(backend, Signal::CONT).unwrap();
    source.read(clock.now()).unwrap();
    // The server's other processes notice in their own time.
    shop.process().kill();
    wait_until("the server is gone", LONG, || source.read(clock.now()).err().map(drop)).unwrap();
}

#[test]
#[ignore = "needs PostgreSQL with pg_stat_statements (postgresql-contrib)"]
fn a_reading_costs_less_than_a_thousandth_of_the_servers_time() {
    let settings = [
        ("shared_preload_libraries", "pg_stat_statements"),
        ("pg_stat_statements.track_planning", "on"),
        ("max_connections", "120"),
    ];
    let shop = shop_with(&settings);
    shop.sql("create extension pg_stat_statements").unwrap();
    let (_script, path) = script("\\sleep 50 ms\nselect 1;\n");
    let mut pgbench = shop.tool("pgbench");
    pgbench.args(["--no-vacuum", "--client=80", "--time=600", "--file"]).arg(path);
    let mut sessions = pgbench.stdout(std::process::Stdio::null()).spawn().unwrap();
    let there = "select count(*) > 80 from pg_stat_activity";
    wait_until("80 sessions", LONG, || (shop.sql(there).unwrap() == "t").then_some(())).unwrap();
    let (mut source, clock) = (PostgresStatus::new(reach(&shop)), ManualClock::default());
    for _ in 0..200 {
        source.read(clock.now()).unwrap();
    }
    sessions.kill().unwrap();
    sessions.wait().unwrap();
    // What the server itself counts: 200 readings, with their planning.
    let cost = "select calls, (total_exec_time + total_plan_time) / calls from pg_stat_statements
                where query like '%checkpointing%' and query not like '%pg_stat_statements%'";
    let cost = shop.sql(cost).unwrap();
    let (calls, millis) = cost.split_once('|').unwrap();
    assert_eq!(calls, "200");
    let millis: f64 = millis.parse().unwrap();
    let share = millis / 1e3 / MonitorConfig::default().period.as_secs_f64();
    println!(
        "a reading costs {millis:.3} ms of the server's time beside 80 sessions: {:.5} %",
        share * 100.0
    );
    assert!(share < 0.001, "{millis} ms");
}
