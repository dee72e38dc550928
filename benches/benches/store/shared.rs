//! The store that several schedulers share, on a PostgreSQL of its own that syncs every commit (`fsync=on`).
//!
//! `shared_lifecycles_per_s`: a scheduler accepts jobs in groups, makes each (an executor that does nothing) and ends it;
//! submission, start and end are durable. The peer writes the same three records of each job with a commit of its own.
//!
//! `takeover_after_lease_s`: a scheduler that owns all is gone without a word; from then until another one starts an
//! attempt there, less the lease. The peer is what was promised.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use backup_sched::core::store::{Entry, Fleet, FleetNews, FleetReport, JobStore};
use backup_sched::core::{
    AttemptEnd, Clock, Engine, EngineConfig, JobTerms, Lsn, ManualClock, Output, SLOTS,
};
use backup_sched::{JobSpec, RunContext, RunError, Scheduler, SystemClock};
use sched_benches::{Row, median, quick};
use sched_store::shared::{SharedConfig, SharedStore};
use sched_testbed::{Postgres, wait_until};

const GROUP: usize = 500;
const SOON: Duration = Duration::from_secs(120);

fn config(server: &Postgres, schema: &str) -> SharedConfig {
    let address =
        format!("host={} port={} user={} dbname=postgres", server.host(), server.port(), server.user());
    let config = SharedConfig::new(&address).expect("the address can be read");
    config.password(server.password().into()).schema(schema)
}

fn store(server: &Postgres, schema: &str) -> SharedStore {
    SharedStore::connect(config(server, schema)).expect("the server is there")
}

fn spec(n: usize) -> JobSpec {
    JobSpec::new(format!("db-{n}"), "generic").host(format!("host-{}", n % 100))
}

/// What it takes on a server of its own.
pub(crate) fn rows() -> Vec<Row> {
    let server = Postgres::start_with(&[("fsync", "on")]).expect("PostgreSQL is installed");
    vec![lifecycles(&server), takeover(&server)]
}

fn lifecycles(server: &Postgres) -> Row {
    let turns = if quick() { 2 } else { 5 };
    let jobs = if quick() { 4_000 } else { 20_000 };
    let (mut ours, mut single) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        ours.push(grouped(server, &format!("grouped_{turn}"), jobs));
        single.push(one_by_one(server, &format!("single_{turn}"), jobs / 40));
        println!("turn {turn}: {:.0} life cycles/s, one by one {:.0}/s", ours[turn], single[turn]);
    }
    let peer = ("a commit for each record", median(single));
    Row::new("shared_lifecycles_per_s", (median(ours), "/s"), peer, turns)
}

fn grouped(server: &Postgres, schema: &str, jobs: usize) -> f64 {
    let mut outside = store(server, schema);
    let scheduler = Scheduler::builder()
        .executor("generic", |_: &RunContext| Ok::<(), RunError>(()))
        .max_running(256)
        .store(store(server, schema))
        .start()
        .expect("it starts");
    owns_all(&mut outside);
    let begun = SystemClock.now().mono;
    for group in 0..jobs / GROUP {
        let specs = (0..GROUP).map(|n| spec(group * GROUP + n));
        scheduler.submit_all(specs).into_iter().for_each(|answer| drop(answer.expect("it is accepted")));
    }
    wait_until("all have ended", SOON, || {
        let store = scheduler.summary().ok()?.store?;
        let ended = scheduler.summary().ok()?.engine.ended.values().sum::<u64>();
        (ended == jobs as u64 && store.backlog == 0).then_some(())
    })
    .expect("they end");
    let took = SystemClock.now().mono.since(begun);
    let done = outside.status().expect("it answers").jobs;
    assert_eq!(done.get("succeeded"), Some(&(jobs as u64)), "{done:?}");
    scheduler.shutdown(Duration::ZERO);
    jobs as f64 / took.as_secs_f64()
}

fn owns_all(outside: &mut SharedStore) {
    wait_until("it owns all", SOON, || {
        outside.status().ok().filter(|status| status.unowned.is_empty()).map(drop)
    })
    .expect("it takes all");
}

/// The same records, each with a commit of its own.
fn one_by_one(server: &Postgres, schema: &str, jobs: usize) -> f64 {
    let mut store = store(server, schema);
    store.open().expect("it opens");
    let Fleet { desk, mut member } = store.fleet().expect("it is shared");
    let mut own = |news| {
        if let FleetNews::Taken(taken) = news {
            desk.own(&taken)
        }
    };
    member.beat(FleetReport::default(), &mut own).expect("it answers");
    let clock = ManualClock::default();
    let mut config = EngineConfig::default();
    (config.journal, config.first_job) = (true, 1 << 40);
    config.resources.insert(SLOTS.into(), 1);
    let mut engine = Engine::new(config, clock.now());
    let begun = SystemClock.now().mono;
    for n in 0..jobs {
        engine.submit(clock.now(), spec(n), JobTerms::default()).expect("it is accepted");
        while engine.active_count() + engine.pending_count() > 0 {
            engine.advance(clock.now());
            while let Some(output) = engine.poll_output() {
                match output {
                    Output::Record(lsn, record) => {
                        let entry = Entry::from(record);
                        if matches!(entry, Entry::Job(_) | Entry::Ended(_)) {
                            store.commit(&[entry]).expect("it is written");
                        }
                        engine.committed(clock.now(), Lsn(lsn.0));
                    }
                    Output::Start(order) => {
                        engine.started(clock.now(), order.attempt);
                        engine.ended(clock.now(), order.attempt, AttemptEnd::new(1, Ok(())));
                    }
                    _ => {}
                }
            }
        }
        if n % 100 == 0 {
            member.beat(FleetReport::default(), &mut |_| {}).expect("it answers");
        }
    }
    let took = SystemClock.now().mono.since(begun);
    member.leave().expect("it leaves");
    jobs as f64 / took.as_secs_f64()
}

fn takeover(server: &Postgres) -> Row {
    let turns = if quick() { 1 } else { 5 };
    // As a host would have it.
    let lease = Duration::from_secs(15);
    let mut after = Vec::new();
    for turn in 0..turns {
        let schema = format!("takeover_{turn}");
        let mut outside = store(server, &schema);
        let mut first = store(server, &schema);
        first.open().expect("it opens");
        let Fleet { mut member, .. } = first.fleet().expect("it is shared");
        let (told, started) = mpsc::channel();
        let mut beat = || member.beat(FleetReport::default(), &mut |_| {}).expect("it answers");
        beat();
        let executor = move |_: &RunContext| {
            // Nobody listens to the second.
            let _ = told.send(SystemClock.now().mono);
            Ok::<(), RunError>(())
        };
        let second = Scheduler::builder()
            .executor("generic", executor)
            .store(store(server, &schema))
            .start()
            .expect("it starts");
        // Somewhere between two beats.
        (0..3).for_each(|_| {
            thread::park_timeout(Duration::from_millis(900));
            beat();
        });
        thread::park_timeout(Duration::from_millis(200 * turn as u64));
        let gone = SystemClock.now().mono;
        outside.submit(&spec(turn)).expect("it is asked");
        let start = started.recv_timeout(SOON).expect("it is taken over");
        after.push(start.since(gone).as_secs_f64() - lease.as_secs_f64());
        println!("turn {turn}: taken over {:.2} s after the lease", after[turn]);
        second.shutdown(Duration::ZERO);
        drop(first);
    }
    let worst = after.iter().copied().fold(f64::MIN, f64::max);
    Row::new("takeover_after_lease_s", (worst, "s"), ("what is promised", 2.0), turns)
}
