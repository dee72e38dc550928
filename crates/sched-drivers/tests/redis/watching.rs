//! Members and load, and what reading them costs.

use std::time::Duration;

use sched_core::{Clock, LoadLevel, ManualClock};
use sched_drivers::redis::{RedisMembers, RedisStatus};
use sched_drivers::server::{MemberSource, Monitor, MonitorConfig, QueryPattern, ServerMember, StatusSource};
use sched_testbed::{self as testbed, RedisPair};
use sched_workload::LoadDetector;

use super::carts::{Client, reached};

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn members_are_told_through_any_of_them() {
    let mut pair = RedisPair::start().unwrap();
    let (primary, replica) = (pair.primary.address(), pair.replica.address());
    let told = |through: &testbed::RedisServer| {
        let members = RedisMembers::new(reached(through)).members().unwrap();
        let one = |m: ServerMember| (m.address, m.role, m.healthy, m.lag.is_some());
        members.into_iter().map(one).collect::<Vec<_>>()
    };
    let expected = |healthy, lag| {
        let primary = (primary.clone(), "primary".to_owned(), healthy, false);
        vec![primary, (replica.clone(), "replica".to_owned(), healthy, lag)]
    };
    // A primary counts on a replica once it has heard of it.
    super::rig::until("a replica that is known", || {
        told(&pair.replica) == expected(true, true) && told(&pair.primary) == expected(true, true)
    });
    pair.primary.process.kill();
    super::rig::until("the loss of the primary", || told(&pair.replica) == expected(false, false));
}

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn a_batch_and_a_peak_of_short_reads_are_told_apart_at_equal_requests_a_second() {
    let pair = RedisPair::start().unwrap();
    let mut client = Client::new(&pair.primary);
    let clock = ManualClock::default();
    let config = MonitorConfig::default().busy_at_requests_per_s(4.0);
    let monitor = Monitor::new("carts", RedisStatus::new(reached(&pair.primary)), config);
    let mut detector = monitor.detector();
    detector.detect(clock.now()).unwrap();
    let mut after = |line: &str| {
        for _ in 0..50 {
            client.call(line).unwrap();
        }
        clock.advance(Duration::from_secs(10));
        detector.detect(clock.now()).unwrap().state.level
    };
    // As a report would: some ms of the server's time each.
    let batch = "EVAL \"local s = 0 for i = 1, 400000 do s = s + i end return 1\" 0";
    assert_eq!(after(batch), LoadLevel::Calm);
    assert_eq!(after("EXISTS k"), LoadLevel::Busy);

    let mut status = RedisStatus::new(reached(&pair.primary));
    status.read(clock.now()).unwrap();
    for n in 0..20 {
        client.call(&format!("SET k {n}")).unwrap();
    }
    clock.advance(Duration::from_secs(10));
    let read = status.read(clock.now()).unwrap();
    let workload = read.workload.unwrap();
    assert_eq!((workload.pattern(), workload.writes_per_s), (QueryPattern::Writes, 2.0));
    for reading in &read.health {
        reading.check().unwrap();
    }
    let health = |name: &str| read.health.iter().find(|r| r.signal.as_str() == name).map(|r| r.value);
    assert!(health("latest_fork_ms").unwrap() > 0.0, "it forked for its replica");
    assert!(health("replica_lag").is_some() && health("memory_in_use").unwrap() > 0.0);
    assert_eq!(health("replication_lag"), Some(0.0), "a primary is not late");
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs redis-server and redis-cli"]
fn a_reading_costs_less_than_a_thousandth_of_the_servers_time() {
    let server = testbed::RedisServer::start(&[]).unwrap();
    let mut status = RedisStatus::new(reached(&server));
    let clock = ManualClock::default();
    status.read(clock.now()).unwrap();
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.process.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    const READINGS: u64 = 1000;
    let before = ticks();
    for _ in 0..READINGS {
        clock.advance(Duration::from_secs(5));
        status.read(clock.now()).unwrap();
    }
    // Ticks of 10 ms.
    let ms_each = (ticks() - before) as f64 * 10.0 / READINGS as f64;
    println!("a reading costs {ms_each:.3} ms of the server's processor time");
    assert!(ms_each < 5.0, "{ms_each} ms of 5 s");
}
