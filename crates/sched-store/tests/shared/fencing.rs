//! Leases, shares, and who may write.

use std::time::Duration;

use sched_core::store::{Entry, JobStore, StoreError};
use sched_core::{AttemptEnd, Clock, JobSpec, Lsn};
use sched_store::shared::{SharedError, SharedStore};
use sched_testbed::{Postgres, wait_until};

use crate::rig::{Desk, Peer, config};

const SOON: Duration = Duration::from_secs(30);

#[test]
#[ignore = "needs postgresql"]
fn a_job_is_kept_from_its_submission_to_its_end() {
    let server = Postgres::start().unwrap();
    let mut peer = Peer::new(config(&server));
    peer.beat().unwrap();
    assert_eq!(peer.owned.len(), 8);
    let mut desk = Desk::new(1);
    let job = desk.submit("orders", "db-1").0;
    peer.store.commit(&desk.changes()).unwrap();
    assert_eq!(peer.jobs(&server), [(job, 0, "waiting".into())]);
    peer.store.commit(&desk.advance()).unwrap();
    assert_eq!(peer.jobs(&server), [(job, 1, "running".into())]);
    desk.end_all();
    peer.store.commit(&desk.changes()).unwrap();
    assert_eq!(peer.jobs(&server), []);
    let told = server.sql("select state, outcome::json->>'state', live from backup_sched.jobs").unwrap();
    assert_eq!(told, "succeeded|succeeded|f");
    // What was learned comes with the share.
    let share = peer.desk.share_of(&JobSpec::new("orders", "postgresql").host("db-1"));
    peer.give_up(share);
    peer.beat().unwrap();
    let facts = &peer.owned[&share].facts;
    assert!(matches!(facts[..], [Entry::Estimate(_)]), "{facts:?}");
}

#[test]
#[ignore = "needs postgresql"]
fn whoever_was_taken_over_writes_nothing_any_more() {
    let server = Postgres::start().unwrap();
    let mut late = Peer::new(config(&server));
    late.beat().unwrap();
    let mut desk = Desk::new(1);
    let job = desk.submit("orders", "db-1").0;
    late.store.commit(&desk.changes()).unwrap();

    let mut second = Peer::new(config(&server));
    second.beat().unwrap();
    assert!(second.owned.is_empty(), "the first one's lease holds");
    wait_until("the shares are taken over", SOON, || {
        second.beat().unwrap();
        (second.owned.len() == 8).then_some(())
    })
    .unwrap();
    assert!(second.owned.values().all(|taken| taken.epoch == 2));
    let taken: Vec<u64> =
        second.owned.values().flat_map(|taken| &taken.jobs).map(|job| job.record.id.0).collect();
    assert_eq!(taken, [job]);

    // It was stopped for long, and goes on where it was.
    assert!(late.desk.lease().left().is_zero());
    let start = desk.advance();
    assert!(matches!(late.store.commit(&start), Err(StoreError::Lost { .. })), "its own clock says so");
    assert!(matches!(late.beat(), Err(StoreError::Lost { .. })));
    // It joins again, and what it writes as its former self is refused by the server.
    wait_until("it has its part", SOON, || {
        late.beat().unwrap();
        second.beat().unwrap();
        (server.sql("select count(*) from backup_sched.shares where owner = 3").unwrap() == "4").then_some(())
    })
    .unwrap();
    assert!(!late.desk.lease().left().is_zero());
    let moved = late.owned.keys().filter(|share| second.owned.contains_key(share)).count();
    assert_eq!(moved, 4, "it has not been told that it lost the others");
    assert_eq!(second.jobs(&server), [(job, 0, "waiting".into())]);
}

#[test]
#[ignore = "needs postgresql"]
fn what_a_former_owner_had_begun_does_not_count_as_running() {
    let server = Postgres::start().unwrap();
    let mut peer = Peer::new(config(&server));
    peer.beat().unwrap();
    let mut desk = Desk::new(1);
    desk.submit("orders", "db-1");
    peer.store.commit(&desk.changes()).unwrap();
    peer.store.commit(&desk.advance()).unwrap();
    let mut counts = || {
        let status = peer.store.status().unwrap();
        let member = &status.members[0];
        (member.running, member.waiting, status.jobs.get("running").copied().unwrap_or(0))
    };
    assert_eq!(counts(), (1, 0, 1));
    server.sql("update backup_sched.shares set epoch = epoch + 1").unwrap();
    assert_eq!(counts(), (0, 1, 0));
}

/// The server refuses by the epochs alone what a scheduler writes that believes in its lease.
#[test]
#[ignore = "needs postgresql"]
fn a_share_of_another_epoch_is_not_written_to() {
    let server = Postgres::start().unwrap();
    let mut peer = Peer::new(config(&server));
    peer.beat().unwrap();
    let mut desk = Desk::new(1);
    desk.submit("orders", "db-1");
    server.sql("update backup_sched.shares set epoch = epoch + 1").unwrap();
    assert!(matches!(peer.store.commit(&desk.changes()), Err(StoreError::Lost { .. })));
    assert_eq!(peer.jobs(&server), []);
    // So does it when the lease is over by its own clock, whatever the scheduler's says.
    server.sql("update backup_sched.shares set epoch = epoch - 1").unwrap();
    server.sql("update backup_sched.schedulers set expires = clock_timestamp()").unwrap();
    desk.submit("shop", "db-2");
    assert!(matches!(peer.store.commit(&desk.changes()), Err(StoreError::Lost { .. })));
    assert_eq!(peer.jobs(&server), []);
}

/// What was decided before a share moved is left out, though the same scheduler may own it again.
#[test]
#[ignore = "needs postgresql"]
fn what_is_of_shares_that_are_not_owned_is_left_out() {
    let server = Postgres::start().unwrap();
    let mut peer = Peer::new(config(&server));
    peer.beat().unwrap();
    let mut desk = Desk::new(1);
    let job = desk.submit("orders", "db-1").0;
    peer.store.commit(&desk.changes()).unwrap();
    (0..8).for_each(|share| peer.give_up(share));
    peer.store.commit(&desk.advance()).unwrap();
    peer.beat().unwrap();
    assert_eq!(peer.owned.len(), 8);
    assert_eq!(peer.jobs(&server), [(job, 0, "waiting".into())]);
}

#[test]
#[ignore = "needs postgresql"]
fn two_attempts_of_one_backup_are_refused_by_the_store_itself() {
    let server = Postgres::start().unwrap();
    let mut peer = Peer::new(config(&server));
    peer.beat().unwrap();
    let (mut one, mut other) = (Desk::new(1), Desk::new(2));
    let job = one.submit("orders", "db-1").0;
    // Another engine that does not know of it.
    other.submit("orders", "db-1");
    peer.store.commit(&one.advance()).unwrap();
    let refused = peer.store.commit(&other.advance());
    assert!(matches!(refused, Err(StoreError::Io { .. })), "{refused:?}");
    assert_eq!(peer.jobs(&server), [(job, 1, "running".into())]);
}

#[test]
#[ignore = "needs postgresql"]
fn tables_of_one_version_later_do_and_those_of_another_generation_are_refused() {
    let server = Postgres::start().unwrap();
    let mut peer = Peer::new(config(&server));
    peer.beat().unwrap();
    // What a later version may do while this one works.
    let newer = "alter table backup_sched.jobs add column note text not null default '';
                 alter table backup_sched.schedulers add column zone text;
                 update backup_sched.meta set schema_version = 2";
    server.sql(newer).unwrap();
    peer.beat().unwrap();
    let mut desk = Desk::new(1);
    desk.submit("orders", "db-1");
    peer.store.commit(&desk.advance()).unwrap();
    let mut second = Peer::new(config(&server));
    second.beat().unwrap();
    second.leave();

    server.sql("update backup_sched.meta set oldest_reader = 2").unwrap();
    let error = peer.beat().unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }), "{error}");
    assert!(peer.desk.lease().left().is_zero());
    let error = SharedStore::connect(config(&server)).unwrap_err();
    assert!(matches!(error, SharedError::Version { found: 2, oldest_reader: 2, ours: 1, .. }), "{error}");
}

#[test]
#[ignore = "needs postgresql"]
fn settings_that_cannot_be_are_refused() {
    let server = Postgres::start().unwrap();
    let first = std::thread::scope(|scope| {
        // All make the tables at once; one does.
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| SharedStore::connect(config(&server)))).collect();
        all.into_iter().map(|one| one.join().unwrap().unwrap()).next_back().unwrap()
    });
    assert_eq!(first.shares(), 8);
    let error = SharedStore::connect(config(&server).shares(9)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the number of shares is 8 in this fleet, not 9: it is fixed by whoever comes first; ask for 8"
    );
    let wrong = config(&server).password("wrong".into());
    let error = SharedStore::connect(wrong).unwrap_err();
    assert!(matches!(error, SharedError::Refused { .. }), "{error}");
    for text in [format!("{error}"), format!("{error:?}"), format!("{:?}", first)] {
        assert!(!text.contains(server.password()) && !text.contains("wrong"), "{text}");
    }
    for config in [
        config(&server).schema("Robert'); --"),
        config(&server).lease(Duration::from_millis(10)),
        config(&server).beat(Duration::from_secs(10)),
    ] {
        assert!(matches!(SharedStore::connect(config), Err(SharedError::Setting { .. })));
    }
}

/// A server that is away costs the call that found out; the next one connects anew.
#[test]
#[ignore = "needs postgresql"]
fn connections_that_are_cut_are_made_anew() {
    let server = Postgres::start().unwrap();
    let mut peer = Peer::new(config(&server).lease(Duration::from_secs(60)));
    peer.beat().unwrap();
    let mut desk = Desk::new(1);
    for round in 0..5 {
        desk.submit(&format!("orders-{round}"), "db-1");
        let changes = desk.changes();
        peer.store.commit(&changes).unwrap();
        let others = "select pg_terminate_backend(pid) from pg_stat_activity
                      where application_name = 'backup-sched'";
        server.sql(others).unwrap();
        let errors = [peer.beat().err(), peer.store.commit(&changes).err()];
        for error in errors.into_iter().flatten() {
            assert!(matches!(error, StoreError::Io { .. }), "{error}");
        }
        peer.beat().unwrap();
        peer.store.open().unwrap();
        peer.store.commit(&changes).unwrap();
    }
    assert_eq!(peer.jobs(&server).len(), 5);
}

impl Desk {
    pub(crate) fn end_all(&mut self) {
        let now = self.clock.now();
        self.engine.committed(now, Lsn(u64::MAX));
        let attempts: Vec<_> = self.engine.active_attempts().collect();
        for attempt in attempts {
            self.engine.started(now, attempt);
            assert!(self.engine.ended(now, attempt, AttemptEnd::new(7, Ok(()))));
        }
    }
}
