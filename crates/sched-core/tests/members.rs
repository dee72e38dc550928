//! Jobs that may take one of several members of a cluster: which, when another, and what counts for it.

mod rig;

use rig::{Rig, secs, spec, terms};
use sched_core::{
    BackupKind, CapacityState, Gate, JobId, JobSpec, JobState, LoadLevel, LoadState, Order, Priority, Reason,
    RetryPolicy, RunError, Scope,
};

fn host(name: &str) -> Scope {
    Scope::Host(name.into())
}

fn instance(name: &str) -> Scope {
    Scope::Instance(name.into())
}

fn order() -> Order {
    Order::new("ana", "test")
}

/// The replica on host `r` is preferred to the primary on host `p`, for a minute.
fn cluster() -> JobSpec {
    spec("cluster").member("replica", "r").member("primary", "p").patience(secs(60))
}

fn peak(rig: &mut Rig, scope: Scope) {
    rig.engine.set_load(rig.now(), scope, LoadState::new(LoadLevel::Peak, Reason::new("peak")));
    rig.step();
}

fn submit(rig: &mut Rig, request: JobSpec) -> JobId {
    let job = rig.submit(request, terms());
    rig.step();
    job
}

/// The member that each attempt took, oldest first.
fn taken(rig: &Rig) -> Vec<&str> {
    rig.starts.iter().filter_map(|start| Some(start.member.as_ref()?.as_str())).collect()
}

fn wait(rig: &mut Rig, seconds: u64) {
    rig.clock.advance(secs(seconds));
    rig.step();
}

fn finish(rig: &mut Rig, job: JobId, result: Result<(), RunError>) {
    let attempt = rig.running().into_iter().find(|attempt| attempt.job == job).expect("it runs");
    rig.finish(attempt, result);
    rig.step();
}

#[test]
fn a_held_member_is_not_backed_up_under_the_name_of_its_cluster() {
    let mut rig = Rig::with_slots(2);
    rig.engine.hold(rig.now(), instance("replica"), order());
    let job = submit(&mut rig, spec("cluster").member("replica", "r"));
    assert!(rig.running().is_empty());
    let closed = rig.engine.explain(job).unwrap().closed;
    assert_eq!((&closed[0].gate, &closed[0].scope), (&Gate::Hold, &instance("replica")));
    rig.engine.release(rig.now(), &instance("replica"));
    rig.step();
    assert_eq!(taken(&rig), ["replica"]);
}

#[test]
fn a_limit_of_an_instance_counts_what_its_cluster_runs() {
    let mut rig = Rig::with_slots(9);
    rig.engine.set_limit(rig.now(), &instance("replica"), Some(1)).unwrap();
    let job = submit(&mut rig, cluster());
    let own = submit(&mut rig, spec("replica").host("r").kind(BackupKind::Log));
    assert_eq!(rig.running().len(), 1);
    assert_eq!(rig.engine.explain(own).unwrap().closed[0].gate, Gate::Limit);
    finish(&mut rig, job, Ok(()));
    assert_eq!(rig.running()[0].job, own);
}

#[test]
fn nothing_starts_while_every_member_is_down_by_host_or_by_instance() {
    for scopes in [[instance("replica"), instance("primary")], [host("r"), instance("primary")]] {
        let mut rig = Rig::with_slots(2);
        let due = rig.now().plus(secs(10)).wall;
        let job = submit(&mut rig, cluster().not_before(due));
        for scope in &scopes {
            rig.engine.set_down(rig.now(), scope.clone(), Some(Reason::new("down")));
        }
        wait(&mut rig, 10);
        assert!(rig.running().is_empty());
        assert_eq!(rig.engine.explain(job).unwrap().closed[0].gate, Gate::Health);
        rig.engine.set_down(rig.now(), scopes[1].clone(), None);
        rig.step();
        assert_eq!(taken(&rig), ["primary"], "the first that is up");
    }
}

/// However an instance came to be known: as a member, by an executor that blamed it, by its own backups.
#[test]
fn a_hold_of_an_instance_counts_wherever_its_name_was_first_heard() {
    let mut rig = Rig::with_slots(2);
    let own = submit(&mut rig, spec("replica"));
    finish(&mut rig, own, Ok(()));
    let job = submit(&mut rig, spec("cluster").member("replica", "r"));
    finish(&mut rig, job, Ok(()));
    rig.engine.hold(rig.now(), instance("replica"), order());
    submit(&mut rig, spec("replica"));
    assert!(rig.running().is_empty(), "it was a member first");

    let mut rig = Rig::with_slots(2);
    let job = submit(&mut rig, spec("a"));
    let blame = RunError::Unavailable { what: instance("a"), error: "starting up".into() };
    finish(&mut rig, job, Err(blame));
    rig.engine.hold(rig.now(), instance("a"), order());
    wait(&mut rig, 7_200);
    assert!(rig.running().is_empty(), "it was blamed first");
}

/// Two full backups of one instance at once would read it twice and prove nothing more.
#[test]
fn an_instance_and_its_cluster_do_not_make_the_same_backup_of_it_at_once() {
    let mut rig = Rig::with_slots(9);
    let own = submit(&mut rig, spec("replica").host("r"));
    let job = submit(&mut rig, spec("cluster").member("replica", "r"));
    let log = submit(&mut rig, spec("replica").host("r").kind(BackupKind::Log));
    let jobs = |rig: &Rig| rig.running().iter().map(|attempt| attempt.job).collect::<Vec<_>>();
    assert_eq!(jobs(&rig), [own, log], "another kind is another backup");
    let closed = rig.engine.explain(job).unwrap().closed;
    assert_eq!((&closed[0].gate, &closed[0].scope), (&Gate::Overlap, &instance("replica")));
    finish(&mut rig, own, Ok(()));
    assert_eq!(jobs(&rig), [log, job]);
    let own = submit(&mut rig, spec("replica").host("r"));
    assert_eq!(rig.engine.explain(own).unwrap().closed[0].gate, Gate::Overlap, "nor the other way round");
    let other = submit(&mut rig, spec("another-name").member("replica", "r"));
    assert_eq!(rig.engine.explain(other).unwrap().closed[0].gate, Gate::Overlap, "nor by a third name");
    finish(&mut rig, job, Ok(()));
    assert_eq!(rig.running().len(), 2, "one of both");
}

#[test]
fn a_member_that_is_being_backed_up_is_waited_for_like_one_that_is_held() {
    let mut rig = Rig::with_slots(9);
    submit(&mut rig, spec("replica").host("r"));
    submit(&mut rig, cluster());
    wait(&mut rig, 59);
    assert!(taken(&rig).is_empty());
    wait(&mut rig, 1);
    assert_eq!(taken(&rig), ["primary"]);
}

#[test]
fn patience_does_not_run_out_before_the_job_is_due() {
    let mut rig = Rig::with_slots(2);
    let due = rig.now().plus(secs(3_600)).wall;
    submit(&mut rig, cluster().not_before(due));
    peak(&mut rig, host("r"));
    wait(&mut rig, 3_600);
    assert!(taken(&rig).is_empty(), "it has been kept from the replica for no time yet");
    wait(&mut rig, 59);
    assert!(taken(&rig).is_empty());
    wait(&mut rig, 1);
    assert_eq!(taken(&rig), ["primary"]);
}

#[test]
fn what_members_share_costs_no_patience() {
    let mut rig = Rig::with_slots(1);
    let other = submit(&mut rig, spec("other"));
    submit(&mut rig, cluster());
    wait(&mut rig, 600);
    finish(&mut rig, other, Ok(()));
    assert_eq!(taken(&rig), ["replica"], "the replica was up and open all the time");
}

#[test]
fn patience_begins_when_a_gate_of_the_member_closes_behind_a_queue_that_shares_its_host() {
    let mut rig = Rig::with_slots(9);
    rig.engine.set_limit(rig.now(), &host("r"), Some(1)).unwrap();
    let first = submit(&mut rig, spec("first").host("r"));
    for n in 0..3 {
        submit(&mut rig, spec(&format!("queued-{n}")).host("r"));
    }
    wait(&mut rig, 600);
    submit(&mut rig, cluster());
    wait(&mut rig, 30);
    // The limit is full again at the same moment.
    finish(&mut rig, first, Ok(()));
    wait(&mut rig, 29);
    assert!(taken(&rig).is_empty());
    wait(&mut rig, 31);
    assert_eq!(taken(&rig), ["primary"]);
}

#[test]
fn a_better_member_that_becomes_free_is_taken_after_all() {
    let mut rig = Rig::with_slots(2);
    for name in ["r", "p"] {
        rig.engine.hold(rig.now(), host(name), order());
    }
    let job = submit(&mut rig, cluster());
    wait(&mut rig, 61);
    assert!(rig.engine.explain(job).unwrap().closed.iter().all(|gate| gate.gate == Gate::Hold));
    rig.engine.release(rig.now(), &host("r"));
    rig.step();
    assert_eq!(taken(&rig), ["replica"]);

    // Nobody has started when the replica is free again: the primary was only chosen.
    let mut rig = Rig::with_slots(1);
    let other = submit(&mut rig, spec("other"));
    rig.engine.hold(rig.now(), host("r"), order());
    submit(&mut rig, cluster());
    wait(&mut rig, 61);
    rig.engine.release(rig.now(), &host("r"));
    finish(&mut rig, other, Ok(()));
    assert_eq!(taken(&rig), ["replica"]);
}

#[test]
fn a_flapping_member_does_not_keep_patience_from_ending() {
    let mut rig = Rig::with_slots(9);
    rig.engine.hold(rig.now(), host("r"), order());
    submit(&mut rig, cluster().member("third", "x"));
    for n in 0..3 {
        rig.engine.set_down(rig.now(), host("x"), (n % 2 == 0).then(|| Reason::new("flaps")));
        wait(&mut rig, 19);
    }
    assert!(taken(&rig).is_empty());
    wait(&mut rig, 3);
    assert_eq!(taken(&rig), ["primary"]);
}

#[test]
fn after_its_patience_a_job_takes_whichever_member_is_free_first() {
    let mut rig = Rig::with_slots(9);
    for name in ["r", "p", "x"] {
        rig.engine.hold(rig.now(), host(name), order());
    }
    submit(&mut rig, cluster().member("third", "x"));
    wait(&mut rig, 60);
    rig.engine.release(rig.now(), &host("x"));
    rig.step();
    assert_eq!(taken(&rig), ["third"], "patience is one, not one a member");
}

#[test]
fn patience_begins_anew_with_every_attempt() {
    let mut rig = Rig::with_slots(9);
    rig.engine.hold(rig.now(), host("r"), order());
    let job = submit(&mut rig, cluster());
    wait(&mut rig, 60);
    assert_eq!(taken(&rig), ["primary"]);
    rig.engine.interrupt(rig.now(), job, Reason::new("needed elsewhere"), None).unwrap();
    finish(&mut rig, job, Err(RunError::Cancelled));
    wait(&mut rig, 59);
    assert_eq!(taken(&rig), ["primary"]);
    wait(&mut rig, 1);
    assert_eq!(taken(&rig), ["primary", "primary"]);
}

/// A moment of patience that had passed was set as the next look again and again.
#[test]
fn regression_a_paused_job_with_members_comes_to_rest_when_its_patience_is_over() {
    let mut rig = Rig::with_slots(2);
    let mut pausable = terms();
    pausable.pausable = true;
    let job = rig.submit(cluster(), pausable);
    rig.step();
    wait(&mut rig, 100);
    peak(&mut rig, Scope::Fleet);
    assert!(rig.engine.paused(rig.now(), rig.running()[0]));
    rig.step();
    wait(&mut rig, 600);
    assert_eq!(rig.engine.job_status(job).unwrap().state, JobState::Paused);
}

#[test]
fn a_job_that_waits_for_the_replica_moves_when_time_lets_it_tolerate_the_replicas_load() {
    let mut rig = Rig::with_slots(2);
    peak(&mut rig, host("r"));
    rig.engine.hold(rig.now(), host("p"), order());
    let job = submit(&mut rig, cluster());
    let latest = rig.engine.explain(job).unwrap().latest_start;
    rig.run_until(latest);
    assert_eq!(
        taken(&rig),
        ["replica"],
        "the hold of the primary stands, the load of the replica is overridden"
    );
}

/// The job's place in the table was taken by another, whose back-off then ended for no reason of its own.
#[test]
fn regression_a_job_that_moved_and_ended_leaves_no_watch_behind() {
    let mut rig = Rig::with_slots(1);
    let now = rig.now();
    for (name, link) in [("r", "l1"), ("p", "l2")] {
        rig.engine.set_parent(now, &host(name), &Scope::Link(link.into())).unwrap();
    }
    let slow = |priority| {
        let mut slow = terms();
        slow.priority = priority;
        slow.retry = RetryPolicy::new(9, secs(36_000), secs(36_000));
        slow
    };
    peak(&mut rig, Scope::Link("l1".into()));
    let moved = rig.submit(cluster(), slow(Priority::High));
    rig.step();
    finish(&mut rig, moved, Err(RunError::Retryable("lock wait".into())));
    rig.engine.set_down(rig.now(), host("r"), Some(Reason::new("down")));
    rig.step();
    let calm = || LoadState::new(LoadLevel::Calm, Reason::new("calm"));
    rig.engine.set_load(rig.now(), Scope::Link("l1".into()), calm());
    rig.step();
    assert_eq!(rig.engine.job_status(moved).unwrap().state, JobState::Retryable, "it has left l1");
    peak(&mut rig, Scope::Link("l1".into()));
    rig.engine.cancel(rig.now(), moved, Reason::new("not needed")).unwrap();
    let other = rig.submit(spec("other").host("elsewhere"), slow(Priority::Normal));
    rig.step();
    finish(&mut rig, other, Err(RunError::Retryable("disk".into())));
    rig.engine.set_load(rig.now(), Scope::Link("l1".into()), calm());
    rig.step();
    assert_eq!(rig.engine.job_status(other).unwrap().state, JobState::Retryable);
}

#[test]
fn a_member_whose_host_is_full_or_short_is_left_after_patience_too() {
    let mut rig = Rig::with_slots(9);
    rig.engine.set_resource(rig.now(), &host("r"), sched_core::SLOTS.into(), 1).unwrap();
    submit(&mut rig, spec("other").host("r"));
    submit(&mut rig, cluster());
    wait(&mut rig, 60);
    assert_eq!(taken(&rig), ["primary"]);

    let mut rig = Rig::with_slots(9);
    let full = CapacityState::Closed { reason: Reason::new("disk full") };
    let due = rig.now().plus(secs(9)).wall;
    let job = submit(&mut rig, cluster().not_before(due));
    rig.engine.set_capacity(rig.now(), host("r"), full);
    wait(&mut rig, 9);
    wait(&mut rig, 59);
    assert_eq!(rig.engine.explain(job).unwrap().closed[0].gate, Gate::Capacity);
    wait(&mut rig, 1);
    assert_eq!(taken(&rig), ["primary"]);
}
