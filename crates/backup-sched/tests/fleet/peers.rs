//! What the processes of a fleet do for each other.

use std::time::Duration;

use backup_sched::{
    Cancellation, Clock, JobId, JobSpec, JobState, Order, Reason, Scheduler, Scope, SubmitError, SystemClock,
};
use sched_store::shared::{Outcome, SharedStore};
use sched_testbed::{Postgres, wait_until};

use crate::child::{Clerk, LEASE, address, config, scheduler};
use crate::inside::Fleet;
use crate::rig::{Rig, SOON};

fn here(server: &Postgres, file: std::path::PathBuf, takes: Duration) -> Scheduler {
    let store = SharedStore::connect(config(&address(server), server.password(), "here")).unwrap();
    scheduler(store, Clerk { file, takes })
}

/// Waits until a request from outside has succeeded.
fn succeeds(rig: &mut Rig, ticket: JobId, what: &str) {
    wait_until(what, SOON, || match rig.outside.outcome(ticket).unwrap() {
        Outcome::Ended(_, Some(status)) => (status.state == JobState::Succeeded).then_some(()),
        Outcome::Refused(why) => panic!("{why}"),
        _ => None,
    })
    .unwrap();
}

/// Waits until both of two have their shares, and this one has heard of it: the store knows so a moment earlier.
fn both_have_their_parts(rig: &mut Rig, here: &Scheduler) {
    wait_until("both have their parts", SOON, || {
        let status = rig.outside.status().ok()?;
        (status.members.iter().filter(|member| member.shares.len() == 8).count() == 2).then_some(())
    })
    .unwrap();
    let rounds = std::cell::Cell::new(0);
    wait_until("this one has heard of its part", SOON, || {
        let round = rounds.replace(rounds.get() + 1);
        let later = SystemClock.now().wall + Duration::from_secs(3600);
        let specs = (0..8).map(|n| {
            let name = format!("probe-{round}-{n}");
            JobSpec::new(name, "generic").host(format!("host-{n}")).not_before(later)
        });
        let handles: Vec<_> = here.submit_all(specs).into_iter().map(Result::unwrap).collect();
        let heard = handles.iter().any(|handle| handle.explain().is_ok());
        handles.iter().for_each(|handle| drop(handle.cancel()));
        heard.then_some(())
    })
    .unwrap();
}

#[test]
#[ignore = "needs postgresql"]
fn whoever_is_asked_the_owner_makes_the_backup() {
    let mut rig = Rig::new(2);
    let here = here(&rig.server, rig.history_file(), Duration::from_millis(300));
    wait_until("it has its part", SOON, || {
        let status = rig.outside.status().ok()?;
        (status.members.len() == 3 && status.members.iter().all(|member| member.shares.len() >= 5))
            .then_some(())
    })
    .unwrap();
    // Of so many hosts each of the three has some.
    let specs = (0..12).map(|n| JobSpec::new(format!("db-{n}"), "generic").host(format!("host-{n}")));
    let handles: Vec<_> = here.submit_all(specs).into_iter().map(Result::unwrap).collect();
    for handle in &handles {
        let status = handle.wait_timeout(SOON).expect("it ends, wherever it is made");
        assert_eq!(status.state, JobState::Succeeded, "{status:?}");
    }
    let history = rig.history();
    history.check();
    assert_eq!(history.attempts.len(), 12);
    let pids: std::collections::BTreeSet<u32> = history.attempts.iter().map(|attempt| attempt.pid).collect();
    assert_eq!(pids.len(), 3, "each made some");
    // It leaves, and others go on at once: without that they would wait out the lease.
    here.shutdown(Duration::ZERO).unwrap();
    let status = rig.outside.status().unwrap();
    assert_eq!(status.members.len(), 2);
    let ticket = rig.ask(99);
    succeeds(&mut rig, ticket, "a request from outside is done");
}

#[test]
#[ignore = "needs postgresql"]
fn a_job_is_cancelled_from_wherever() {
    let mut rig = Rig::new(1);
    let here = here(&rig.server, rig.history_file(), Duration::from_secs(600));
    both_have_their_parts(&mut rig, &here);
    let far = |handle: &backup_sched::JobHandle| handle.explain().is_err();
    let specs = (0..8).map(|n| {
        let later = SystemClock.now().wall + Duration::from_secs(3600);
        JobSpec::new(format!("db-{n}"), "generic").host(format!("host-{n}")).not_before(later)
    });
    let handles: Vec<_> = here.submit_all(specs).into_iter().map(Result::unwrap).collect();
    let handle = handles.iter().find(|handle| far(handle)).expect("some are made by the other one");
    assert_eq!(handle.cancel().unwrap(), Cancellation::Requested);
    assert_eq!(handle.wait_timeout(SOON).expect("it ends").state, JobState::Cancelled);
    let handle = handles.iter().find(|handle| !far(handle)).expect("some are made here");
    assert!(rig.outside.cancel(handle.id(), Reason::new("no need")).unwrap());
    assert_eq!(handle.wait_timeout(SOON).expect("it ends").state, JobState::Cancelled);
    wait_until("the store knows that it has ended", SOON, || {
        (!rig.outside.cancel(handle.id(), Reason::new("no need")).unwrap()).then_some(())
    })
    .unwrap();
}

/// What is asked of a scheduler that is on its way out is not refused: its successor does it.
#[test]
#[ignore = "needs postgresql"]
fn a_scheduler_that_is_shutting_down_leaves_requests_to_the_next() {
    let mut rig = Rig::new(1);
    let here = here(&rig.server, rig.history_file(), Duration::from_secs(600));
    both_have_their_parts(&mut rig, &here);
    let spec = |name: &str, n: u32| JobSpec::new(format!("{name}-{n}"), "generic").host(format!("host-{n}"));
    let handles: Vec<_> = (0..8).map(|n| here.submit(spec("db", n)).unwrap()).collect();
    let ours = (0..).zip(&handles).find(|(_, handle)| handle.explain().is_ok());
    let n = ours.expect("some are made here").0;
    wait_until("something runs here", SOON, || {
        let runs = rig.attempts().iter().any(|attempt| attempt.pid == std::process::id());
        runs.then_some(())
    })
    .unwrap();
    let ticket = std::thread::scope(|scope| {
        let shutdown = scope.spawn(|| here.shutdown(LEASE));
        std::thread::park_timeout(Duration::from_millis(500));
        let ticket = rig.outside.submit(&spec("shop", n)).unwrap();
        shutdown.join().unwrap().unwrap();
        ticket
    });
    succeeds(&mut rig, ticket, "the next one does it");
}

/// An order is written by whoever was given it: those who obey it would bring it back when it was taken back meanwhile.
#[test]
#[ignore = "needs postgresql"]
fn whoever_obeys_an_order_does_not_write_it() {
    let mut rig = Rig::new(1);
    let here = here(&rig.server, rig.history_file(), Duration::from_millis(300));
    here.hold(Scope::Fleet, Order::new("ada", "trying it out")).unwrap();
    let written = "select changed from backup_sched.facts where key like '{\"orders\"%'";
    let at = wait_until("the order is written", SOON, || Some(rig.sql(written)).filter(|at| !at.is_empty()))
        .unwrap();
    // Ten beats.
    std::thread::park_timeout(Duration::from_secs(2));
    let ticket = rig.ask(1);
    wait_until("it was taken on", SOON, || {
        matches!(rig.outside.outcome(ticket).unwrap(), Outcome::Accepted(_)).then_some(())
    })
    .unwrap();
    assert_eq!(rig.sql(written), at);
    assert!(rig.attempts().is_empty(), "all obey");
    here.release(Scope::Fleet).unwrap();
    wait_until("it is made", SOON, || {
        matches!(rig.outside.outcome(ticket).unwrap(), Outcome::Ended(..)).then_some(())
    })
    .unwrap();
    assert_eq!(rig.sql(written), "");
}

/// A server that is away for longer than the lease: whoever runs stops by itself, and goes on when it is back.
#[test]
#[ignore = "needs postgresql"]
fn without_the_store_all_stop_by_themselves() {
    let mut rig = Rig::new(1);
    let long = here(&rig.server, rig.history_file(), Duration::from_secs(600));
    wait_until("it has its part", SOON, || {
        let status = rig.outside.status().ok()?;
        (status.members.iter().filter(|member| member.shares.len() == 8).count() == 2).then_some(())
    })
    .unwrap();
    let specs = (0..8).map(|n| JobSpec::new(format!("db-{n}"), "generic").host(format!("host-{n}")));
    let _handles: Vec<_> = long.submit_all(specs).into_iter().map(Result::unwrap).collect();
    wait_until("something runs here", SOON, || {
        let runs = rig.attempts().iter().any(|attempt| attempt.pid == std::process::id());
        runs.then_some(())
    })
    .unwrap();
    rig.server.process().kill();
    let stopped = crate::rig::now();
    wait_until("it stops by itself", LEASE + SOON, || {
        let attempts = rig.attempts();
        let mut ours = attempts.iter().filter(|attempt| attempt.pid == std::process::id());
        ours.all(|attempt| attempt.to.is_some()).then_some(())
    })
    .unwrap();
    assert!(crate::rig::now() - stopped < 300_000, "not because the attempt was over");
    let refused = long.submit(JobSpec::new("db-9", "generic").host("host-9")).unwrap_err();
    assert!(matches!(refused, SubmitError::Store(_)), "{refused}");
    rig.server.crash_and_restart().unwrap();
    wait_until("it has a part again", SOON, || {
        let status = rig.outside.status().ok()?;
        (status.unowned.is_empty()
            && status.members.iter().any(|member| member.name == "here" && member.running > 0))
        .then_some(())
    })
    .unwrap();
}

/// Whoever is asked tells what operators did, wherever that was, once; also whoever comes later.
#[test]
#[ignore = "needs postgresql"]
fn the_audit_tells_what_was_ordered_elsewhere() {
    let mut fleet = Fleet::new("", &["a", "b"]);
    fleet.members["a"].hold(Scope::Fleet, Order::new("ada", "trying it out")).unwrap();
    let told = |fleet: &Fleet, name: &str, what: &[&str]| {
        wait_until("it is told", SOON, || {
            let audit = fleet.members[name].audit(10).unwrap();
            let told: Vec<&str> = audit.iter().map(|entry| entry.what.as_str()).collect();
            (told == what).then_some(())
        })
        .unwrap_or_else(|error| panic!("{name}: {error}: {:?}", fleet.members[name].audit(10)));
    };
    told(&fleet, "b", &["hold"]);
    fleet.clock.advance(Duration::from_secs(60));
    fleet.members["b"].release(Scope::Fleet).unwrap();
    fleet.join("c");
    ["a", "b", "c"].iter().for_each(|name| told(&fleet, name, &["release", "hold"]));
    let by = fleet.members["c"].audit(10).unwrap();
    assert_eq!(by[1].order.as_ref().map(|order| order.author.as_str()), Some("ada"));
}
