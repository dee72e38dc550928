//! What recurs by the policies is asked for by the scheduler: when, in which order, and what becomes of it.

use std::time::Duration;

use backup_sched::{
    BackupKind, Clock, EventKind, JobSpec, NextRun, Order, Policies, Priority, Scheduler, SchedulerBuilder,
    Scope, Status,
};
use jiff::{SignedDuration, Timestamp};

use crate::rig::{Fleet, HOUR, fleet, fleet_at, fleet_with, policies};

const MINUTE: Duration = Duration::from_secs(60);
/// When the rig's clock starts.
const MONDAY: &str = "2026-01-05T00:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// An instance, with lines of its policy.
fn instance(name: &str, lines: &str) -> String {
    format!("[instances.{name}]\ntechnology = 'generic'\n{lines}\n")
}

/// What the builder is told of full backups.
fn points<'a>(
    points: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> impl FnOnce(SchedulerBuilder) -> SchedulerBuilder {
    let points: Vec<_> =
        points.into_iter().map(|(name, point)| (name.to_owned(), BackupKind::Full, at(point))).collect();
    move |builder| builder.recovery_points(points)
}

impl Fleet {
    /// What the scheduler says once it has asked for everything that is due by now.
    fn at_rest(&self) -> Status {
        loop {
            let status = self.decided();
            if status.recurring.next.is_none_or(|next| next > status.engine.at) {
                return status;
            }
        }
    }

    /// What it says after a decision that was made from now on: one comes before each wake-up.
    fn decided(&self) -> Status {
        let before = self.scheduler.status().unwrap().wakeups;
        loop {
            let status = self.scheduler.status().unwrap();
            if status.wakeups > before {
                return status;
            }
        }
    }

    fn next(&self, instance: &str) -> NextRun {
        self.at_rest();
        let mut next = self.scheduler.next_runs_of(instance).unwrap();
        assert_eq!(next.len(), 1, "{next:?}");
        next.remove(0)
    }

    /// When an instance is due next, by the clock in UTC.
    fn due(&self, instance: &str) -> Option<String> {
        self.next(instance).due.map(|due| due.to_string())
    }

    fn submitted(&self) -> (String, Timestamp, String) {
        let event = self.wait_for(|kind| matches!(kind, EventKind::DueSubmitted { .. }));
        let EventKind::DueSubmitted { instance, due, reason, .. } = &event.kind else { unreachable!() };
        (instance.to_string(), *due, reason.to_string())
    }

    fn skipped(&self) -> (u32, String) {
        let event = self.wait_for(|kind| matches!(kind, EventKind::DueSkipped { .. }));
        let EventKind::DueSkipped { slots, reason, .. } = &event.kind else { unreachable!() };
        (*slots, reason.to_string())
    }

    /// Nothing that is due is being asked for.
    fn nobody_is_due(&self) -> bool {
        let status = self.at_rest();
        status.engine.waiting + status.engine.active == 0
    }

    /// Lets the next run end, once it has begun, and waits until the scheduler knows.
    fn run_one(&self) -> String {
        let run = self.begun();
        run.end();
        self.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
        run.instance
    }
}

pub(crate) fn schedule() {
    // A cron expression: at its time, and not before.
    let fleet = fleet(&instance("a", "schedule = '0 2 * * *'"));
    assert_eq!(fleet.due("a").as_deref(), Some("2026-01-05T02:00:00Z"));
    fleet.clock.advance(2 * HOUR - MINUTE);
    assert!(fleet.nobody_is_due());
    fleet.clock.advance(MINUTE);
    let run = fleet.begun();
    assert_eq!((run.instance.as_str(), run.spec.deadline), ("a", Some(at("2026-01-06T02:00:00Z"))));
    let next = fleet.next("a");
    assert!(next.due.is_none() && next.job.is_some(), "{next:?}");
    run.end();
    let told = fleet.submitted();
    assert_eq!(told, ("a".into(), at("2026-01-05T02:00:00Z"), "`0 2 * * *`: due now".into()));
    fleet.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    let next = fleet.next("a");
    assert_eq!(next.to_string(), "a full (`0 2 * * *`): due 2026-01-06T02:00:00Z");
    assert_eq!((next.job, next.recovery_point), (None, Some(at("2026-01-05T02:00:00Z"))));
    // Only who has a schedule recurs, and each kind by its own.
    let file = instance("a", "schedule = '6h'\njitter = '0s'\nlog = { schedule = '5min', jitter = '0s' }")
        + &instance("b", "");
    let fleet = self::fleet(&file);
    let next = fleet.scheduler.next_runs(10).unwrap();
    let next: Vec<_> = next.iter().map(ToString::to_string).collect();
    let (log, full) = ("a log (`5m`): due 2026-01-05T00:05:00Z", "a full (`6h`): due 2026-01-05T06:00:00Z");
    assert_eq!(next, [log, full]);
    let status = fleet.at_rest().recurring;
    assert_eq!((status.schedules, status.submitted, status.next), (2, 0, Some(at("2026-01-05T00:05:00Z"))));
}

pub(crate) fn schedule_zone() {
    // On 29 March the clock of Berlin goes from 2 to 3, on 25 October from 3 to 2.
    let night = |start: &str| {
        let file = instance("a", "schedule = '30 2 * * *'\nschedule_zone = 'Europe/Berlin'");
        let fleet = fleet_at(at(start), &file, |builder| builder);
        let mut runs = Vec::new();
        for _ in 0..60 {
            fleet.clock.advance(HOUR / 2);
            if !fleet.nobody_is_due() {
                runs.push(fleet.submitted().1.to_string());
                fleet.run_one();
            }
        }
        runs
    };
    assert_eq!(night("2026-03-28T12:00:00Z"), ["2026-03-29T01:00:00Z"]);
    assert_eq!(night("2026-10-24T12:00:00Z"), ["2026-10-25T00:30:00Z"]);
}

pub(crate) fn jitter() {
    let file = ["a", "b"].map(|name| instance(name, "schedule = '0 2 * * *'\njitter = '3h'")).concat();
    let due = |builder: fn(SchedulerBuilder) -> SchedulerBuilder| {
        let fleet = fleet_with(&file, builder);
        ["a", "b"].map(|name| fleet.due(name))
    };
    let places = due(|builder| builder);
    assert_ne!(places[0], places[1]);
    assert_eq!(places, due(|builder| builder.max_running(2)), "always the same");
    let fleet = fleet(&file);
    let first = fleet.next("a").due.min(fleet.next("b").due).unwrap();
    fleet.clock.advance(first.duration_since(at(MONDAY)).unsigned_abs() - Duration::from_nanos(1));
    assert!(fleet.nobody_is_due());
    fleet.clock.advance(Duration::from_nanos(1));
    assert_eq!(fleet.submitted().1, first);
}

pub(crate) fn overlap() {
    let run_over_two_slots = |overlap: &str| {
        let fleet = fleet(&instance("a", &format!("schedule = '0 * * * *'\noverlap = '{overlap}'")));
        fleet.clock.advance(HOUR);
        let run = fleet.begun();
        fleet.clock.advance(HOUR * 5 / 2);
        assert_eq!(fleet.at_rest().engine.waiting, 0, "it still runs");
        run.end();
        fleet.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
        fleet
    };
    let fleet = run_over_two_slots("coalesce");
    let (_, due, reason) = fleet.submitted();
    assert_eq!(due, at("2026-01-05T03:00:00Z"), "2:00 and 3:00 make one");
    assert_eq!(reason, "`0 * * * *`: 30m overdue; 1 before it were not made");
    assert_eq!(fleet.begun().instance, "a");
    let fleet = run_over_two_slots("skip");
    assert_eq!(fleet.skipped(), (2, "job-1, the former one, was not done".into()));
    assert_eq!(fleet.due("a").as_deref(), Some("2026-01-05T04:00:00Z"));
    assert!(fleet.nobody_is_due());
}

#[test]
fn a_slot_that_comes_while_somebody_elses_backup_runs_gives_way() {
    let beside_another = |lines: &str| {
        let fleet = fleet_with(&instance("a", lines), points([("a", MONDAY)]));
        let run = fleet.start("a");
        fleet.clock.advance(13 * HOUR);
        assert_eq!(fleet.at_rest().engine.waiting, 0);
        (fleet, run)
    };
    // The slot is a backup of its own, after the other.
    let (fleet, run) = beside_another("schedule = '0 13 * * *'");
    let told = fleet.wait_for(|kind| matches!(kind, EventKind::DuePostponed { .. }));
    assert!(
        matches!(&told.kind, EventKind::DuePostponed { until: None, reason, .. } if reason.to_string() == "job-1 is under way")
    );
    run.end();
    assert_eq!(fleet.submitted().1, at("2026-01-05T13:00:00Z"));
    // It is left out.
    let (fleet, run) = beside_another("schedule = '0 13 * * *'\noverlap = 'skip'");
    assert_eq!(fleet.skipped(), (1, "job-1 is under way".into()));
    run.end();
    fleet.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    assert_eq!(fleet.due("a").as_deref(), Some("2026-01-06T13:00:00Z"));
    // For the recovery point the other one will do; if it fails, it will not.
    let (fleet, run) = beside_another("schedule = 'rpo'");
    run.end();
    fleet.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    // Not at once again: the other's recovery point is thirteen hours old.
    assert_eq!(fleet.due("a").as_deref(), Some("2026-01-05T16:00:00Z"));
    let (fleet, run) = beside_another("schedule = 'rpo'\nretry_attempts = 1");
    run.fail();
    assert_eq!(fleet.submitted().0, "a");
}

pub(crate) fn misfire() {
    // Two days without a scheduler.
    let start = |misfire: &str| {
        let lines = format!("schedule = '0 22 * * *'\nmisfire = '{misfire}'");
        fleet_with(&instance("a", &lines), points([("a", "2026-01-02T22:00:00Z")]))
    };
    for misfire in ["coalesce", "2h"] {
        let fleet = start(misfire);
        assert_eq!(fleet.begun().instance, "a", "{misfire}");
        let next = fleet.next("a");
        assert!(next.due.is_none(), "two nights make one: {next:?}");
    }
    for misfire in ["skip", "1h"] {
        let fleet = start(misfire);
        assert_eq!(fleet.due("a").as_deref(), Some("2026-01-05T22:00:00Z"), "{misfire}");
        assert!(fleet.nobody_is_due());
    }
    // The clock stands still while nobody looks: what is missed then is told.
    let fleet = fleet(&instance("a", "schedule = '0 22 * * *'\nmisfire = 'skip'"));
    fleet.clock.advance(48 * HOUR);
    let (slots, reason) = fleet.skipped();
    assert_eq!(slots, 2);
    assert_eq!(
        reason,
        "it was missed: due 2026-01-06T22:00:00Z, and by its `misfire` it is too late for that"
    );
}

#[test]
fn the_recovery_point_objective_says_when_and_each_success_moves_it() {
    let file = ["known", "unknown"].map(|name| instance(name, "schedule = 'rpo'\nrpo = '8h'")).concat();
    let fleet = fleet_with(&file, points([("known", "2026-01-04T22:00:00Z")]));
    // Of one nobody knows a backup: at once.
    let run = fleet.begun();
    assert_eq!(run.instance, "unknown");
    run.end();
    fleet.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    assert_eq!(fleet.due("unknown").as_deref(), Some("2026-01-05T04:00:00Z"));
    assert_eq!(fleet.due("known").as_deref(), Some("2026-01-05T02:00:00Z"));
    // Half of the time has passed: it may start, and must be done when all has.
    fleet.clock.advance(2 * HOUR);
    let run = fleet.begun();
    assert_eq!((run.instance.as_str(), run.spec.deadline), ("known", Some(at("2026-01-05T06:00:00Z"))));
    // It is consistent with when it began, not with when it ended.
    fleet.clock.advance(HOUR);
    run.end();
    fleet.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    assert_eq!(fleet.due("known").as_deref(), Some("2026-01-05T06:00:00Z"));
    // One that the host asked for counts, and so does one that was made elsewhere.
    fleet.ask("known");
    let run = fleet.begun();
    run.end();
    fleet.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    assert_eq!(fleet.due("known").as_deref(), Some("2026-01-05T07:00:00Z"));
    let elsewhere = [("unknown", BackupKind::Full, at("2026-01-05T02:30:00Z"))];
    fleet.scheduler.add_recovery_points(elsewhere).unwrap();
    assert_eq!(fleet.due("unknown").as_deref(), Some("2026-01-05T06:30:00Z"));
    // What fails for good is asked for again soon.
    fleet.clock.advance(4 * HOUR);
}

#[test]
fn one_that_fails_for_good_is_asked_for_again_or_waits_for_its_next_slot() {
    let fails = |lines: &str| {
        let lines = format!("{lines}\nretry_attempts = 1\nrpo = '24h'");
        let fleet = fleet_with(&instance("a", &lines), points([("a", MONDAY)]));
        fleet.clock.advance(12 * HOUR);
        fleet.begun().fail();
        fleet.wait_for(|kind| matches!(kind, EventKind::Failed { .. }));
        fleet.due("a")
    };
    assert_eq!(fails("schedule = 'rpo'").as_deref(), Some("2026-01-05T15:00:00Z"));
    assert_eq!(fails("schedule = '0 12 * * *'").as_deref(), Some("2026-01-06T12:00:00Z"));
}

/// Nobody looked for four days: how overdue each is, and a link that carries 100 MB/s.
#[test]
fn an_outage_is_caught_up_in_order_of_need_and_no_faster_than_links_carry() {
    let made = ["2026-01-05T00:00:00Z", "2026-01-04T22:00:00Z", "2026-01-04T23:00:00Z"];
    let names = ["last", "first", "second"];
    let file = names.map(|name| instance(name, "schedule = 'rpo'\nsize = '180 GB'")).concat()
        + &instance("urgent", "schedule = 'rpo'\nsize = '180 GB'\npriority = 'high'");
    let told = points(names.into_iter().zip(made).chain([("urgent", MONDAY)]));
    let fleet = fleet_with(&file, |builder| told(builder).bandwidth(Scope::Fleet, 100_000_000));
    fleet.clock.advance(96 * HOUR);
    // The most overdue at once, and what is urgent whatever the link has to do.
    let mut at_once = [fleet.begun().instance, fleet.begun().instance];
    at_once.sort();
    assert_eq!(at_once, ["first", "urgent"]);
    // Half of the link is for what is overdue: an hour for each.
    assert_eq!(fleet.due("second").as_deref(), Some("2026-01-09T01:00:00Z"));
    assert_eq!(fleet.due("last").as_deref(), Some("2026-01-09T02:00:00Z"));
    let postponed = fleet.wait_for(|kind| matches!(kind, EventKind::DuePostponed { .. }));
    let EventKind::DuePostponed { instance, due, reason, .. } = &postponed.kind else { unreachable!() };
    assert_eq!((instance.as_str(), *due), ("second", at("2026-01-05T11:00:00Z")));
    assert_eq!(reason.to_string(), "it is 85h overdue, and so are others on its way");
    fleet.clock.advance(HOUR);
    assert_eq!(fleet.begun().instance, "second");
    fleet.clock.advance(HOUR);
    assert_eq!(fleet.begun().instance, "last");
}

#[test]
fn what_can_still_keep_its_recovery_point_is_not_put_off_beyond_it() {
    let file = instance("overdue", "schedule = 'rpo'\nsize = '9 TB'")
        + &instance("can", "schedule = 'rpo'\nsize = '1 GB'\nrpo = '24h'\nexpected_rate = '1 MB/s'");
    let told = points([("overdue", "2026-01-01T06:00:00Z"), ("can", "2026-01-04T10:00:00Z")]);
    let fleet = fleet_with(&file, |builder| told(builder).bandwidth(Scope::Fleet, 100_000_000));
    assert_eq!(fleet.begun().instance, "overdue");
    // Its 1,000 s twice before 10:00.
    assert_eq!(fleet.due("can").as_deref(), Some("2026-01-05T09:26:40Z"));
}

#[test]
fn other_policies_are_followed() {
    let lines = |schedule: &str| format!("schedule = '{schedule}'\nrpo = '24h'");
    let file = instance("gone", &lines("0 2 * * *"))
        + &instance("other", &lines("0 2 * * *"))
        + &instance("same", &(lines("6h") + "\njitter = '0s'"));
    let fleet = fleet(&file);
    let same = fleet.due("same");
    fleet.clock.advance(3 * HOUR);
    for _ in 0..2 {
        fleet.run_one();
    }
    let file = instance("new", &lines("0 4 * * *"))
        + &instance("other", &lines("30 2 * * *"))
        + &instance("same", &(lines("6h") + "\njitter = '0s'"));
    fleet.scheduler.reload(policies(&file)).unwrap();
    assert_eq!(fleet.scheduler.next_runs_of("gone").unwrap(), []);
    assert_eq!(fleet.due("new").as_deref(), Some("2026-01-05T04:00:00Z"));
    assert_eq!(fleet.due("other").as_deref(), Some("2026-01-06T02:30:00Z"), "half past two was not missed");
    assert_eq!(fleet.due("same"), same);
    // Another recurrence that goes by the recovery point knows what was made under the former one.
    fleet.scheduler.reload(policies(&instance("other", &lines("rpo")))).unwrap();
    let point = fleet.next("other").recovery_point.unwrap();
    assert_eq!(fleet.next("other").due, Some(point + 12 * HOUR));
    assert_eq!(fleet.at_rest().recurring.schedules, 1);
    fleet.scheduler.reload(Policies::builtin()).unwrap();
    fleet.clock.advance(100 * HOUR);
    assert!(fleet.nobody_is_due());
    assert_eq!(fleet.at_rest().recurring.next, None);
}

#[test]
fn a_reload_leaves_what_runs_or_was_asked_for() {
    let file = |schedule: &str| instance("a", &format!("schedule = '{schedule}'"));
    let fleet = fleet(&file("0 * * * *"));
    fleet.clock.advance(HOUR);
    let run = fleet.begun();
    fleet.scheduler.reload(policies(&file("30 * * * *"))).unwrap();
    fleet.clock.advance(HOUR);
    assert_eq!(fleet.at_rest().engine.waiting, 0, "never two at once");
    run.end();
    assert_eq!(fleet.submitted().1, at("2026-01-05T01:00:00Z"));
    assert_eq!(fleet.submitted().1, at("2026-01-05T01:30:00Z"));
    fleet.begun();
    fleet.scheduler.reload(Policies::builtin()).unwrap();
    assert_eq!(fleet.at_rest().engine.active, 1);
}

#[test]
fn what_cannot_be_made_is_told_and_comes_again() {
    let fleet = fleet("[instances.a]\ntechnology = 'etcd'\nschedule = '0 2 * * *'\n");
    fleet.clock.advance(2 * HOUR);
    let told = fleet.wait_for(|kind| matches!(kind, EventKind::DueRefused { .. }));
    let EventKind::DueRefused { error, .. } = &told.kind else { unreachable!() };
    assert!(error.starts_with("no executor is registered for \"etcd\""), "{error}");
    assert_eq!(fleet.due("a").as_deref(), Some("2026-01-06T02:00:00Z"));
}

#[test]
fn a_full_queue_makes_nobody_miss_a_slot() {
    let file = instance("a", "schedule = '0 2 * * *'");
    let fleet = fleet_with(&file, |builder| builder.engine(|engine| engine.max_pending = 1));
    fleet.scheduler.hold(Scope::Fleet, Order::new("ana", "test")).unwrap();
    let other = fleet.ask("other");
    fleet.clock.advance(2 * HOUR);
    fleet.wait_for(|kind| matches!(kind, EventKind::DuePostponed { .. }));
    assert_eq!(fleet.due("a").as_deref(), Some("2026-01-05T02:01:00Z"));
    other.cancel().unwrap();
    fleet.clock.advance(MINUTE);
    assert_eq!(fleet.submitted().1, at("2026-01-05T02:00:00Z"));
}

#[test]
fn a_job_that_waits_already_is_the_backup_that_is_due() {
    let fleet = fleet(&instance("a", "schedule = '0 2 * * *'"));
    fleet.scheduler.hold(Scope::Fleet, Order::new("ana", "test")).unwrap();
    let job = fleet.submit(JobSpec::new("a", "generic").priority(Priority::Low));
    fleet.clock.advance(2 * HOUR);
    fleet.submitted();
    assert_eq!(fleet.next("a").job, Some(job.id()));
    assert_eq!(fleet.at_rest().engine.waiting, 1);
    job.cancel().unwrap();
    job.wait();
    assert_eq!(fleet.due("a").as_deref(), Some("2026-01-06T02:00:00Z"));
}

#[test]
fn a_wall_that_jumps_is_not_believed_at_once_and_one_that_is_set_back_takes_nothing_away() {
    let fleet = fleet(&instance("a", "schedule = '0 2 * * *'"));
    fleet.clock.step_wall(at("2026-01-05T12:00:00Z"));
    assert!(fleet.nobody_is_due());
    fleet.clock.step_wall(at(MONDAY));
    assert!(fleet.nobody_is_due());
    // Twelve hours ahead for good, then back for good.
    let believe = |wall: &str| {
        fleet.clock.step_wall(at(wall));
        let far = |seen: Timestamp| {
            seen.duration_since(fleet.clock.now().wall).abs() > SignedDuration::from_mins(5)
        };
        while far(fleet.decided().engine.at) {
            fleet.clock.advance(Duration::from_secs(10));
        }
    };
    believe("2026-01-05T12:00:00Z");
    fleet.run_one();
    assert_eq!(fleet.due("a").as_deref(), Some("2026-01-06T02:00:00Z"));
    believe("2026-01-05T01:00:00Z");
    assert_eq!(fleet.due("a").as_deref(), Some("2026-01-05T02:00:00Z"));
}

/// 4,000 are overdue at the start. Messages are answered between the portions.
#[test]
fn a_storm_of_what_is_overdue_keeps_nobody_from_being_answered() {
    let names = (0..4_000).map(|n| format!("db-{n}"));
    let file: String = names.map(|name| instance(&name, "schedule = '0 2 * * *'")).collect();
    let told = (0..4_000).map(|n| (format!("db-{n}"), BackupKind::Full, at("2026-01-01T02:00:00Z")));
    let policies = policies(&file);
    let scheduler = Scheduler::builder()
        .policies(policies)
        .clock(backup_sched::ManualClock::default())
        .executor("generic", |_: &backup_sched::RunContext| Ok(()))
        .recovery_points(told)
        .start()
        .unwrap();
    scheduler.hold(Scope::Fleet, Order::new("ana", "test")).unwrap();
    let mut answers = 0;
    let (mut before, mut longest) = (0, 0);
    loop {
        let recurring = scheduler.status().unwrap().recurring;
        answers += 1;
        longest = longest.max(recurring.submitted - before);
        before = recurring.submitted;
        if recurring.next.is_none_or(|next| next > at(MONDAY)) {
            break;
        }
    }
    assert!(before > 3_000, "but for those that ran before the hold: {before}");
    assert!(answers > 10 && longest < 1_000, "{answers} answers, {longest} between two");
}

/// While a process is stopped both clocks go on, and nothing of what is due is asked for.
#[test]
fn who_stood_for_an_hour_starts_no_more_than_there_is_room_for() {
    let names: Vec<_> = (0..40).map(|n| format!("db-{n}")).collect();
    let file: String =
        names.iter().map(|name| instance(name, "schedule = '0 2 * * *'\ntimeout = '30m'")).collect();
    let fleet = fleet_with(&file, |builder| builder.max_running(3));
    fleet.clock.advance(2 * HOUR - MINUTE);
    assert!(fleet.nobody_is_due());
    fleet.clock.advance(HOUR);
    let mut made = std::collections::BTreeMap::new();
    while made.len() < names.len() {
        let run = fleet.begun();
        *made.entry(run.instance.clone()).or_insert(0) += 1;
        let running = fleet.scheduler.status().unwrap().running.len();
        assert!(running <= 3, "{running} at once");
        run.end();
    }
    assert!(made.values().all(|times| *times == 1), "{made:?}");
    for name in &names {
        let run = || fleet.scheduler.next_runs_of(name.as_str()).unwrap().remove(0);
        while run().job.is_some() {
            std::thread::yield_now();
        }
        assert_eq!(run().due, Some(at("2026-01-06T02:00:00Z")), "{name}");
    }
}
