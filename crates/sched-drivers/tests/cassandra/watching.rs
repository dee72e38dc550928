//! Load, and what reading it costs.

use std::fs;
use std::time::Duration;

use sched_core::{Clock, LoadLevel, ManualClock};
use sched_drivers::cassandra::{CassandraStatus, CqlConnection};
use sched_drivers::server::{Monitor, MonitorConfig, StatusSource};
use sched_limits::CapacityProbe;
use sched_testbed::Cassandra;
use sched_workload::LoadDetector;

use super::orders::{alone, node, run};

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
