//! Leases, shares, and who may write.

use std::time::Duration;

use sched_core::{AttemptEnd, Clock, JobId, Lsn};
use sched_store::shared::{BootTime, SharedError, SharedStore};
use sched_testbed::{Postgres, wait_until};

use crate::rig::{Desk, all_jobs, config, ids, join, store, take};

const SOON: Duration = Duration::from_secs(30);

#[test]
#[ignore = "needs postgresql"]
fn a_job_is_kept_from_its_submission_to_its_end() {
    let server = Postgres::start().unwrap();
    let (mut member, mut writer, owned) = join(&store(&server));
    assert_eq!(owned.len(), 8);
    let mut desk = Desk::new();
    let job = desk.submit("orders", "db-1");
    assert_eq!(writer.commit(&desk.changes()).unwrap(), 0);
    let kept = all_jobs(&mut member);
    assert_eq!(ids(&kept), [job]);
    assert_eq!((kept[0].record.attempt, kept[0].record.under_way), (0, false));
    writer.commit(&desk.advance()).unwrap();
    let kept = all_jobs(&mut member);
    assert_eq!((kept[0].record.attempt, kept[0].record.under_way), (1, true));
    desk.end_all();
    writer.commit(&desk.changes()).unwrap();
    assert!(all_jobs(&mut member).is_empty());
    let told = server.sql("select state, outcome::json->>'state', live from backup_sched.jobs").unwrap();
    assert_eq!(told, "succeeded|succeeded|f");
    let learned = member.facts(&(0..8).collect::<Vec<_>>(), false).unwrap();
    assert_eq!(learned.len(), 1, "how long it takes: {learned:?}");
}

#[test]
#[ignore = "needs postgresql"]
fn whoever_was_taken_over_writes_nothing_any_more() {
    let server = Postgres::start().unwrap();
    let store = store(&server);
    let (mut first, mut late, owned) = join(&store);
    let mut desk = Desk::new();
    let job = desk.submit("orders", "db-1");
    late.commit(&desk.changes()).unwrap();

    let (mut second, mut writer, none) = join(&store);
    assert!(none.is_empty(), "the first one's lease holds");
    wait_until("the shares are taken over", SOON, || {
        second.renew().unwrap();
        let taken = take(&mut second, &mut writer);
        taken.iter().for_each(|share| assert_eq!(share.epoch, 2));
        (all_owned(&server, second.id()) == 8).then_some(())
    })
    .unwrap();
    assert_eq!(ids(&all_jobs(&mut second)), [job]);

    // It was stopped for long, and goes on where it was.
    assert!(!first.lease().holds());
    assert!(matches!(late.commit(&desk.advance()), Err(SharedError::Lost { .. })), "its own clock says so");
    let mut desk = Desk::new();
    desk.submit("orders", "db-1");
    first.lease().renew(BootTime::now());
    assert!(matches!(late.commit(&desk.advance()), Err(SharedError::Lost { .. })), "the server says so");
    assert_eq!(ids(&all_jobs(&mut second)), [job]);
    assert_eq!(all_jobs(&mut second)[0].record.attempt, 0);
    assert!(matches!(first.renew(), Err(SharedError::Lost { .. })));
    assert!(first.take(&[owned[0].share]).unwrap().is_empty());

    // It joins again, and has its part.
    first.join().unwrap();
    let moves = second.moves().unwrap();
    assert_eq!(moves.give_up.len(), 4);
    second.release(&moves.give_up).unwrap();
    moves.give_up.iter().for_each(|share| writer.disown(*share));
    assert_eq!(take(&mut first, &mut late).len(), 4);
    assert_eq!((first.moves().unwrap(), second.moves().unwrap()), Default::default());
}

/// What was decided under a former epoch must not be written under a later one of the same scheduler.
#[test]
#[ignore = "needs postgresql"]
fn what_was_decided_before_a_share_moved_is_left_out() {
    let server = Postgres::start().unwrap();
    let (mut member, mut writer, owned) = join(&store(&server));
    let mut desk = Desk::new();
    let job = desk.submit("orders", "db-1");
    writer.commit(&desk.changes()).unwrap();
    let late = desk.advance();
    owned.iter().for_each(|share| writer.disown(share.share));
    member.release(&owned.iter().map(|share| share.share).collect::<Vec<_>>()).unwrap();
    assert!(writer.commit(&late).unwrap() > 0);
    assert_eq!(take(&mut member, &mut writer).len(), 8);
    let kept = all_jobs(&mut member);
    assert_eq!((ids(&kept), kept[0].record.attempt), (vec![job], 0));
}

#[test]
#[ignore = "needs postgresql"]
fn two_attempts_of_one_backup_are_refused_by_the_store_itself() {
    let server = Postgres::start().unwrap();
    let (mut member, mut writer, _) = join(&store(&server));
    let (mut one, mut other) = (Desk::new(), Desk::new());
    one.submit("orders", "db-1");
    // Another engine that does not know of it, with another number.
    other.submit("unrelated", "db-1");
    other.submit("orders", "db-1");
    writer.commit(&one.advance()).unwrap();
    let refused = writer.commit(&other.advance());
    assert!(matches!(refused, Err(SharedError::Refused { .. })), "{refused:?}");
    assert_eq!(ids(&all_jobs(&mut member)), [JobId(1)]);
}

#[test]
#[ignore = "needs postgresql"]
fn tables_of_one_version_later_do_and_those_of_another_generation_are_refused() {
    let server = Postgres::start().unwrap();
    let (mut member, mut writer, _) = join(&store(&server));
    // What a later version may do while this one works.
    let newer = "alter table backup_sched.jobs add column note text not null default '';
                 alter table backup_sched.schedulers add column zone text;
                 update backup_sched.meta set schema_version = 2";
    server.sql(newer).unwrap();
    member.renew().unwrap();
    let mut desk = Desk::new();
    desk.submit("orders", "db-1");
    writer.commit(&desk.advance()).unwrap();
    let (mut second, _, _) = join(&store(&server));
    second.leave().unwrap();

    server.sql("update backup_sched.meta set oldest_reader = 2").unwrap();
    let version = |error: SharedError| {
        assert!(matches!(error, SharedError::Version { found: 2, oldest_reader: 2, ours: 1, .. }), "{error}");
    };
    version(member.renew().unwrap_err());
    version(SharedStore::connect(config(&server)).unwrap_err());
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
    let wrong = config(&server).password(&"wrong".to_owned().into());
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
    let (mut member, mut writer, _) = join(&store(&server));
    let mut desk = Desk::new();
    for round in 0..5 {
        desk.submit(&format!("orders-{round}"), "db-1");
        let changes = desk.changes();
        writer.commit(&changes).unwrap();
        let others = "select pg_terminate_backend(pid) from pg_stat_activity
                      where application_name = 'backup-sched'";
        server.sql(others).unwrap();
        let errors = [member.renew().err(), writer.commit(&changes).err()];
        for error in errors.into_iter().flatten() {
            assert!(error.is_passing(), "{error}");
        }
        member.renew().unwrap();
        writer.commit(&changes).unwrap();
    }
    assert_eq!(all_jobs(&mut member).len(), 5);
}

fn all_owned(server: &Postgres, owner: i64) -> usize {
    let count = format!("select count(*) from backup_sched.shares where owner = {owner}");
    server.sql(&count).unwrap().parse().unwrap()
}

impl Desk {
    fn end_all(&mut self) {
        let now = self.clock.now();
        self.engine.committed(now, Lsn(u64::MAX));
        let attempts: Vec<_> = self.engine.active_attempts().collect();
        for attempt in attempts {
            self.engine.started(now, attempt);
            assert!(self.engine.ended(now, attempt, AttemptEnd { bytes: 7, result: Ok(()) }));
        }
    }
}
