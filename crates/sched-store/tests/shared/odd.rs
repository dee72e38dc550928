//! Rows that nobody can read, jobs that nobody knows, messages that come twice or late.

use std::time::Duration;

use sched_core::store::{Ask, Entry, FleetNews, JobStore, ScheduleEntry};
use sched_core::{Clock, JobId, JobSpec, Reason};
use sched_store::shared::{Outcome, SharedStore};
use sched_testbed::{Postgres, wait_until};

use crate::rig::{Desk, Peer, config};

const SOON: Duration = Duration::from_secs(60);

fn spec(instance: &str, host: &str) -> JobSpec {
    JobSpec::new(instance, "postgresql").host(host)
}

/// One row costs what is in it, not the whole fleet.
#[test]
#[ignore = "needs postgresql"]
fn a_row_that_cannot_be_read_stops_nothing_else() {
    let server = Postgres::start().unwrap();
    let mut first = Peer::new(config(&server));
    first.beat().unwrap();
    let mut desk = Desk::new(1);
    let jobs: Vec<JobId> = (0..20).map(|n| desk.submit(&format!("db-{n}"), &format!("host-{n}"))).collect();
    first.store.commit(&desk.changes()).unwrap();
    let odd = jobs[7].0;
    server
        .sql(&format!("update backup_sched.jobs set record = '{{\"from\": \"tomorrow\"}}' where id = {odd}"))
        .unwrap();
    let orders = "insert into backup_sched.facts (key, fact) values ('{\"orders\":\"x\"}', '{}')";
    server.sql(orders).unwrap();
    let asked = "insert into backup_sched.requests (share, ticket, cancels, body)
                 values (0, 1, false, '{\"dance\": []}')";
    server.sql(asked).unwrap();
    first.leave();

    let mut second = Peer::new(config(&server));
    second.beat().unwrap();
    assert_eq!(second.owned.len(), 8);
    let mut taken: Vec<JobId> =
        second.owned.values().flat_map(|taken| &taken.jobs).map(|job| job.record.id).collect();
    taken.sort_unstable();
    let readable: Vec<JobId> = jobs.iter().copied().filter(|job| job.0 != odd).collect();
    assert_eq!(taken, readable);
    let told: Vec<String> = second.unreadable.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().any(|text| text.contains(&format!("job {odd}"))), "{told:?}");
    second.beat().unwrap();
    assert_eq!(second.unreadable.len(), 3, "each is told once");

    // It stands in nobody's way: the next backup of its instance is accepted, and takes its place.
    let mut desk = Desk::new(2);
    let next = desk.submit("db-7", "host-7");
    second.store.commit(&desk.changes()).unwrap();
    let live = format!("select id from backup_sched.jobs where live and id in ({odd}, {})", next.0);
    assert_eq!(server.sql(&live).unwrap(), next.0.to_string());
}

/// A scheduler that was taken over keeps silent about its instances, too.
#[test]
#[ignore = "needs postgresql"]
fn what_was_learned_of_a_share_goes_with_it() {
    let server = Postgres::start().unwrap();
    let mut first = Peer::new(config(&server));
    first.beat().unwrap();
    let mut desk = Desk::new(1);
    desk.submit("orders", "db-1");
    let share = first.desk.share_of(&spec("orders", "db-1"));
    let schedule = |second: i64| {
        let mut entry = ScheduleEntry::new("orders".into(), sched_core::BackupKind::Full);
        entry.not_before = Some(desk.clock.now().wall + Duration::from_secs(second.unsigned_abs()));
        Entry::Schedule(Box::new(entry))
    };
    let (early, late, stale) = (schedule(1), schedule(2), schedule(3));
    let mut group = vec![early];
    group.extend(desk.changes());
    first.store.commit(&group).unwrap();
    let kept =
        format!("select count(*) from backup_sched.facts where share = {share} and key like '%schedule%'");
    assert_eq!(server.sql(&kept).unwrap(), "1", "it is of the share of its instance's first job");
    first.leave();

    let mut second = Peer::new(config(&server));
    second.beat().unwrap();
    assert_eq!(second.owned[&share].facts.len(), 1);
    server.sql("update backup_sched.jobs set live = false").unwrap();
    second.give_up(share);
    second.beat().unwrap();
    // It has the share again, and of the instance no more than what was learned.
    second.store.commit(std::slice::from_ref(&late)).unwrap();
    let fact = "select fact from backup_sched.facts where key like '%schedule%'";
    let written = server.sql(fact).unwrap();
    assert_eq!(written, serde_json::to_string(&late).unwrap());

    // The first one was stopped with this on its way, and goes on without any share.
    (0..8).for_each(|share| first.give_up(share));
    first.store.commit(&[stale]).unwrap();
    assert_eq!(server.sql(fact).unwrap(), written);
}

/// Whoever waits for a job that was passed on with its share hears how it ended.
#[test]
#[ignore = "needs postgresql"]
fn the_end_of_a_job_that_was_passed_on_is_told() {
    let server = Postgres::start().unwrap();
    let mut first = Peer::new(config(&server));
    first.beat().unwrap();
    let mut desk = Desk::new(1);
    let job = desk.submit("orders", "db-1");
    first.store.commit(&desk.advance()).unwrap();
    first.report.asked.insert(job);
    first.beat().unwrap();
    assert!(first.ended.is_empty(), "it has not ended");
    desk.end_all();
    first.store.commit(&desk.changes()).unwrap();
    first.beat().unwrap();
    let ended = |news: &FleetNews| matches!(news, FleetNews::Ended(id, Some(_)) if *id == job);
    assert!(first.ended.len() == 1 && first.ended.iter().all(ended), "{:?}", first.ended);
}

/// A share that is released and taken in one beat comes with what is asked of its owner.
#[test]
#[ignore = "needs postgresql"]
fn a_request_comes_again_with_its_share() {
    let server = Postgres::start().unwrap();
    let mut peer = Peer::new(config(&server));
    peer.beat().unwrap();
    let mut outside = SharedStore::connect(config(&server)).unwrap();
    let ticket = outside.submit(&spec("orders", "db-1")).unwrap();
    peer.beat().unwrap();
    peer.beat().unwrap();
    assert_eq!(peer.asked.len(), 1, "it is told once");
    let share = peer.asked[0].share;
    peer.give_up(share);
    peer.beat().unwrap();
    assert!(peer.owned.contains_key(&share));
    assert_eq!(peer.asked.len(), 2, "who gave up the share did not answer");
    assert_eq!(outside.outcome(ticket).unwrap(), Outcome::Asked);
    // Millions of requests leave room for millions of schedulers.
    let other = outside.submit(&spec("shop", "db-2")).unwrap();
    assert!(other.0 == ticket.0 + 1 && other.0 < 1 << 40, "{other:?}");
}

/// Whoever should have a share may be unable to take it, for example because something of it hangs there.
#[test]
#[ignore = "needs postgresql"]
fn a_share_that_whoever_lacks_it_does_not_take_is_anybodys() {
    let server = Postgres::start().unwrap();
    let mut able = Peer::new(config(&server));
    able.beat().unwrap();
    let mut unable = Peer::new(config(&server));
    unable.report.busy = (6..8).collect();
    wait_until("the others have moved", SOON, || {
        unable.beat().unwrap();
        able.beat().unwrap();
        // It takes what it can of those that are given up.
        (unable.owned.len() == 4 && able.owned.len() == 4).then_some(())
    })
    .unwrap();
    let has: Vec<u32> = able.owned.keys().chain(unable.owned.keys()).copied().collect();
    assert_eq!(has.iter().filter(|share| **share >= 6).count(), 2);
    assert!(able.owned.contains_key(&6) && able.owned.contains_key(&7));
}

/// An answer that nothing could be ended is no answer to whoever asks later.
#[test]
#[ignore = "needs postgresql"]
fn a_cancel_that_was_refused_can_be_asked_for_again() {
    let server = Postgres::start().unwrap();
    let mut peer = Peer::new(config(&server));
    peer.beat().unwrap();
    let mut desk = Desk::new(1);
    let job = desk.submit("orders", "db-1");
    peer.store.commit(&desk.changes()).unwrap();
    let mut outside = SharedStore::connect(config(&server)).unwrap();
    for round in 1..=2 {
        assert!(outside.cancel(job, Reason::new("no need")).unwrap());
        peer.beat().unwrap();
        assert_eq!(peer.asked.len(), round);
        let request = peer.asked[round - 1].clone();
        assert!(matches!(request.ask, Ask::Cancel(id, _) if id == job));
        let refused = Entry::Answered(Box::new(request), Err("not now".into()));
        peer.store.commit(&[refused]).unwrap();
        peer.beat().unwrap();
    }
}
