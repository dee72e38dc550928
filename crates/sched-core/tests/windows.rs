//! Windows and blackouts: who waits for them, who is due in them, and what their end does.

mod rig;

use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use rig::{Rig, secs, spec, terms};
use sched_core::{
    Calendar, CalendarName, CalendarState, EngineConfig, EventKind, Gate, JobId, JobState, JobTerms,
    LoadLevel, LoadState, Order, Output, Priority, Reason, SLOTS, Scope, Stretch, SubmitError, WindowEnd,
};

/// Open on every day from one hour to another, but for blackouts.
#[derive(Debug, Default)]
struct Daily {
    hours: Option<(i64, i64)>,
    blackouts: Vec<(Timestamp, Timestamp)>,
}

impl Daily {
    fn state(&self, at: Timestamp) -> CalendarState {
        let reason = || Reason::new("told by a test");
        if self.blackouts.iter().any(|(from, until)| (*from..*until).contains(&at)) {
            return CalendarState::Blackout { reason: reason() };
        }
        let hour = at.as_second().rem_euclid(86_400) / 3_600;
        match self.hours {
            Some((from, until)) if !(from..until).contains(&hour) => {
                CalendarState::Closed { reason: reason() }
            }
            _ => CalendarState::Open,
        }
    }
}

impl Calendar for Daily {
    /// Hours with the same state, at most four days of them.
    fn at(&self, at: Timestamp) -> Stretch {
        let state = self.state(at);
        let hour = |n: i64| Timestamp::from_second((at.as_second().div_euclid(3_600) + n) * 3_600).unwrap();
        let from = (0..96).take_while(|n| self.state(hour(-n)) == state).last().map(|n| hour(-n));
        let until = (1..96).find(|n| self.state(hour(*n)) != state).map(hour);
        Stretch { from, until, state }
    }
}

fn hours(from: i64, until: i64) -> Daily {
    Daily { hours: Some((from, until)), blackouts: vec![] }
}

/// An hour of the first day, which is also where the clock begins.
fn at(hour: i64) -> Timestamp {
    "2026-01-05T00:00:00Z".parse::<Timestamp>().unwrap() + hour.hours()
}

fn set(rig: &mut Rig, calendar: Daily) {
    rig.engine.set_calendar(rig.now(), "nightly".into(), Some(Arc::new(calendar))).unwrap();
    rig.step();
}

fn with_calendar(slots: u64, calendar: Daily) -> Rig {
    let mut rig = Rig::with_slots(slots);
    set(&mut rig, calendar);
    rig
}

/// An hour of work that is due in a day, less a minute for a retry.
fn nightly() -> JobTerms {
    let mut terms = terms();
    terms.window = Some(CalendarName::from("nightly"));
    terms
}

fn ending(end: WindowEnd) -> JobTerms {
    let mut terms = nightly();
    terms.pausable = true;
    terms.window_end = end;
    terms
}

fn gates(rig: &Rig, job: JobId) -> Vec<Gate> {
    rig.engine.explain(job).unwrap().closed.into_iter().map(|closed| closed.gate).collect()
}

fn wall_of_start(rig: &mut Rig, job: JobId) -> Timestamp {
    for _ in 0..1_000 {
        rig.step();
        if rig.starts.iter().any(|start| start.attempt.job == job) {
            return rig.now().wall;
        }
        rig.sleep_until_next_wakeup();
    }
    panic!("it never starts: {}", rig.engine.explain(job).unwrap());
}

#[test]
fn a_job_waits_for_its_window_and_says_when_it_opens() {
    let mut rig = with_calendar(1, hours(2, 5));
    let job = rig.submit(spec("a"), nightly());
    rig.step();
    let explained = rig.engine.explain(job).unwrap();
    let closed = &explained.closed[0];
    assert_eq!((&closed.gate, closed.until), (&Gate::Window, Some(at(2))));
    assert_eq!(closed.scope, Scope::Calendar("nightly".into()));
    assert_eq!(explained.next_look, Some(at(2)));
    assert_eq!(wall_of_start(&mut rig, job), at(2));
}

#[test]
fn a_blackout_beats_the_window_and_is_named_as_what_it_is() {
    let blackout = (at(1), at(4));
    let mut rig = with_calendar(1, Daily { hours: Some((2, 6)), blackouts: vec![blackout] });
    rig.clock.advance(secs(2 * 3600));
    let job = rig.submit(spec("a"), nightly());
    rig.step();
    assert_eq!(gates(&rig, job), [Gate::Blackout]);
    assert_eq!(wall_of_start(&mut rig, job), at(4));
}

#[test]
fn a_calendar_that_nobody_has_set_is_refused() {
    let mut rig = Rig::with_slots(1);
    let refused = rig.engine.submit(rig.now(), spec("a"), nightly());
    assert_eq!(refused, Err(SubmitError::UnknownCalendar { calendar: "nightly".into() }));
    assert!(rig.engine.set_calendar(rig.now(), "".into(), None).is_err());
}

#[test]
fn no_slack_opens_a_window_where_the_terms_say_so_and_a_blackout_nowhere() {
    let blackout = (at(11), at(14));
    let mut rig = with_calendar(3, Daily { hours: Some((20, 22)), blackouts: vec![blackout] });
    let mut late = nightly();
    late.open_window_when_late = true;
    late.rpo = secs(10 * 3600 + 60);
    let opened = rig.submit(spec("opened"), late.clone());
    let mut keeps = late.clone();
    keeps.open_window_when_late = false;
    let waits = rig.submit(spec("waits"), keeps);
    assert_eq!(wall_of_start(&mut rig, opened), at(9), "its latest start");
    let gate = |kind: &EventKind| matches!(kind, EventKind::Overridden { gate } if gate.gate == Gate::Window);
    assert!(rig.saw(gate));
    rig.clock.advance(secs(2 * 3600));
    let third = rig.submit(spec("third"), {
        late.rpo = secs(1);
        late
    });
    assert_eq!(wall_of_start(&mut rig, third), at(14), "late, but in a blackout");
    assert_eq!(wall_of_start(&mut rig, waits), at(20));
}

#[test]
fn high_jobs_open_their_windows_when_they_are_late_too() {
    let mut rig = with_calendar(1, hours(20, 22));
    let mut terms = nightly();
    terms.open_window_when_late = true;
    terms.priority = Priority::High;
    terms.rpo = secs(10 * 3600 + 60);
    let job = rig.submit(spec("a"), terms);
    assert_eq!(wall_of_start(&mut rig, job), at(9));
}

#[test]
fn a_window_that_was_open_for_lateness_opens_again_after_the_wall_went_back() {
    let mut rig = with_calendar(1, hours(20, 22));
    rig.submit(spec("runs"), terms());
    let mut terms = nightly();
    terms.open_window_when_late = true;
    terms.priority = Priority::High;
    terms.rpo = secs(10 * 3600 + 60);
    let job = rig.submit(spec("a"), terms);
    rig.run_until(at(9));
    assert!(rig.saw(|kind| matches!(kind, EventKind::RpoAtRisk { .. })));
    rig.clock.step_wall(at(8));
    rig.run_until(at(8) + 2.minutes());
    rig.finish(rig.running()[0], Ok(()));
    rig.step();
    assert_eq!(gates(&rig, job), [Gate::Window]);
    assert_eq!(wall_of_start(&mut rig, job), at(9));
}

#[test]
fn an_operator_opens_a_window_and_no_blackout() {
    let mut rig = with_calendar(2, Daily { hours: Some((20, 22)), blackouts: vec![(at(1), at(3))] });
    let job = rig.submit(spec("a"), nightly());
    rig.step();
    assert!(rig.engine.run_now(rig.now(), job, Order::new("ana", "now")).unwrap());
    assert_eq!(wall_of_start(&mut rig, job), at(0));
    rig.clock.advance(secs(3600));
    let other = rig.submit(spec("b"), nightly());
    rig.step();
    rig.engine.run_now(rig.now(), other, Order::new("ana", "now")).unwrap();
    assert_eq!(wall_of_start(&mut rig, other), at(3));
}

#[test]
fn a_deadline_outside_the_windows_makes_a_job_due_in_the_last_one_before() {
    let mut rig = with_calendar(1, hours(2, 5));
    let mut terms = nightly();
    terms.rpo = secs(20 * 3600);
    let job = rig.submit(spec("a"), terms);
    let latest = rig.engine.explain(job).unwrap().latest_start;
    assert_eq!(latest, at(4) - 1.minute(), "an hour and a retry before the window ends at five");
    // At the latest start the load does not matter any more, and the danger is told while there is still a window.
    let load = LoadState::new(LoadLevel::Peak, Reason::new("peak"));
    rig.engine.set_load(rig.now(), Scope::Fleet, load);
    assert_eq!(wall_of_start(&mut rig, job), latest);
    let told = rig.events.iter().find(|event| matches!(event.kind, EventKind::RpoAtRisk { .. })).unwrap();
    assert_eq!(told.at.wall, latest);
}

#[test]
fn a_job_whose_windows_come_too_late_is_at_risk_when_it_is_submitted() {
    let mut rig = with_calendar(1, hours(10, 12));
    let mut terms = nightly();
    terms.rpo = secs(8 * 3600);
    let job = rig.submit(spec("a"), terms);
    rig.step();
    let told = rig.events.iter().find_map(|event| match &event.kind {
        EventKind::RpoAtRisk { reason, .. } => Some(reason.to_string()),
        _ => None,
    });
    assert_eq!(told.as_deref(), Some("its windows leave too little time before the deadline"));
    assert_eq!(rig.engine.explain(job).unwrap().latest_start, at(0));
    assert_eq!(wall_of_start(&mut rig, job), at(10), "and keeps to its windows");
}

#[test]
fn a_job_that_needs_several_windows_is_due_in_the_first_that_leaves_enough() {
    let mut rig = with_calendar(1, hours(2, 5));
    let mut terms = ending(WindowEnd::Stop);
    terms.rpo = secs(72 * 3600);
    terms.expected_duration = secs(5 * 3600);
    let job = rig.submit(spec("a"), terms.clone());
    // Three hours of the last night and two of the one before, and a minute for a retry.
    assert_eq!(rig.engine.explain(job).unwrap().latest_start, at(24 + 3) - 1.minute());
    // Who may not pause needs one window to begin in.
    (terms.window_end, terms.pausable) = (WindowEnd::Pause, false);
    let job = rig.submit(spec("b"), terms);
    assert_eq!(rig.engine.explain(job).unwrap().latest_start, at(48 + 2));
}

#[test]
fn at_the_end_of_a_window_attempts_finish_pause_or_stop_as_their_terms_say() {
    let mut rig = with_calendar(4, hours(2, 5));
    let finishes = rig.submit(spec("finishes"), ending(WindowEnd::Finish));
    let pauses = rig.submit(spec("pauses"), ending(WindowEnd::Pause));
    let stops = rig.submit(spec("stops"), ending(WindowEnd::Stop));
    let mut unable = ending(WindowEnd::Pause);
    unable.pausable = false;
    let unable = rig.submit(spec("unable"), unable);
    rig.run_until(at(4));
    assert_eq!(rig.running().len(), 4);
    rig.run_until(at(5));
    let state = |rig: &Rig, job| rig.engine.job_status(job).unwrap().state;
    assert_eq!(state(&rig, finishes), JobState::Running);
    assert_eq!(state(&rig, unable), JobState::Running);
    assert_eq!(state(&rig, pauses), JobState::Pausing);
    assert_eq!(state(&rig, stops), JobState::Cancelling);
    let attempt = |rig: &Rig, job| rig.running().into_iter().find(|attempt| attempt.job == job).unwrap();
    let (paused, stopped) = (attempt(&rig, pauses), attempt(&rig, stops));
    assert!(rig.engine.paused(rig.now(), paused));
    rig.finish(stopped, Err(sched_core::RunError::Cancelled));
    rig.step();
    assert_eq!(gates(&rig, pauses), [Gate::Window]);
    assert_eq!(gates(&rig, stops), [Gate::Window]);
    assert!(rig.saw(|kind| matches!(kind, EventKind::Interrupted { .. })));
    let because = rig.engine.explain(pauses).unwrap().because;
    assert_eq!(because.as_deref(), Some("told by a test"));
    rig.run_until(at(26));
    assert!(rig.outputs.contains(&Output::Resume(paused)));
    assert_eq!(attempt(&rig, stops).number, 2, "no retry is spent: it continues");
    assert!(!rig.saw(|kind| matches!(kind, EventKind::Retried { .. })));
}

#[test]
fn an_attempt_that_stands_when_its_window_ends_is_stopped_too() {
    let mut rig = with_calendar(1, hours(2, 5));
    let job = rig.submit(spec("a"), ending(WindowEnd::Stop));
    rig.run_until(at(3));
    let load = |level| LoadState::new(level, Reason::new("told"));
    rig.engine.set_load(rig.now(), Scope::Fleet, load(LoadLevel::Peak));
    rig.step();
    let attempt = rig.running()[0];
    assert!(rig.engine.paused(rig.now(), attempt));
    rig.run_until(at(5));
    assert_eq!(rig.engine.job_status(job).unwrap().state, JobState::Cancelling);
}

#[test]
fn one_that_finishes_goes_on_after_a_peak_outside_its_window() {
    let mut rig = with_calendar(1, hours(0, 5));
    let job = rig.submit(spec("a"), ending(WindowEnd::Finish));
    rig.step();
    let load = |level| LoadState::new(level, Reason::new("told"));
    rig.engine.set_load(rig.now(), Scope::Fleet, load(LoadLevel::Peak));
    rig.step();
    let attempt = rig.running()[0];
    assert!(rig.engine.paused(rig.now(), attempt));
    rig.run_until(at(6));
    assert_eq!(gates(&rig, job), [Gate::Load], "{}", rig.engine.explain(job).unwrap());
    rig.engine.set_load(rig.now(), Scope::Fleet, load(LoadLevel::Calm));
    rig.step();
    assert!(rig.outputs.contains(&Output::Resume(attempt)));
}

#[test]
fn who_has_opened_its_window_late_is_not_stopped_for_being_outside() {
    let mut rig = with_calendar(1, hours(20, 22));
    let mut terms = ending(WindowEnd::Stop);
    terms.open_window_when_late = true;
    terms.rpo = secs(3 * 3600 + 60);
    let job = rig.submit(spec("a"), terms);
    assert_eq!(wall_of_start(&mut rig, job), at(2));
    rig.run_until(at(3));
    assert_eq!(rig.engine.job_status(job).unwrap().state, JobState::Running);
}

#[test]
fn another_calendar_counts_at_once_for_who_waits_and_who_runs() {
    let mut rig = with_calendar(1, hours(10, 12));
    let mut terms = ending(WindowEnd::Stop);
    terms.priority = Priority::High;
    let stops = rig.submit(spec("a"), terms);
    let mut terms = nightly();
    terms.rpo = secs(20 * 3600);
    let waits = rig.submit(spec("b"), terms);
    rig.step();
    let latest_start = |rig: &Rig| rig.engine.explain(waits).unwrap().latest_start;
    assert_eq!(latest_start(&rig), at(11) - 1.minute());
    set(&mut rig, hours(0, 3));
    assert_eq!(rig.running().len(), 1);
    assert_eq!(latest_start(&rig), at(2) - 1.minute());
    set(&mut rig, hours(10, 12));
    assert_eq!(latest_start(&rig), at(11) - 1.minute());
    assert_eq!(rig.engine.job_status(stops).unwrap().state, JobState::Cancelling);
}

#[test]
fn a_calendar_that_is_taken_away_keeps_nobody() {
    let mut rig = with_calendar(1, hours(10, 12));
    let job = rig.submit(spec("a"), nightly());
    rig.step();
    rig.engine.set_calendar(rig.now(), "nightly".into(), None).unwrap();
    assert_eq!(wall_of_start(&mut rig, job), at(0));
    assert!(
        rig.engine.next_wakeup().is_none_or(|wake| rig.now().plus(wake.since(rig.now().mono)).wall != at(10))
    );
}

#[test]
fn a_window_that_opens_costs_what_it_starts_and_not_the_backlog() {
    let mut rig = with_calendar(10, hours(2, 5));
    for n in 0..5_000 {
        rig.submit(spec(&format!("db-{n}")), nightly());
    }
    rig.run_until(at(2) - 1.second());
    let before = rig.engine.moves();
    rig.run_until(at(2));
    assert_eq!(rig.running().len(), 10);
    let moves = rig.engine.moves() - before;
    assert!(moves < 100, "{moves} moves for ten starts");
}

#[test]
fn the_wall_takes_windows_with_it() {
    let mut rig = with_calendar(1, hours(2, 5));
    let job = rig.submit(spec("a"), nightly());
    rig.step();
    rig.clock.step_wall(at(1) + 57.minutes());
    rig.step();
    assert!(!rig.saw(|kind| matches!(kind, EventKind::Started)), "nobody believes it yet");
    rig.run_until(at(2) + 1.second());
    assert_eq!(rig.running().len(), 1, "{}", rig.engine.explain(job).unwrap());
}

#[test]
fn jobs_that_were_taken_over_keep_their_windows() {
    let mut config = EngineConfig::default();
    config.journal = true;
    config.resources.insert(SLOTS.into(), 1);
    let mut rig = Rig::new(config.clone());
    set(&mut rig, hours(2, 5));
    rig.submit(spec("a"), {
        let mut t = nightly();
        t.rpo = secs(20 * 3600);
        t
    });
    rig.step();
    let records: Vec<_> = rig
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Record(_, record) => Some(record.clone()),
            _ => None,
        })
        .collect();
    let mut rig = Rig::new(config);
    set(&mut rig, hours(2, 5));
    assert_eq!(rig.engine.restore(rig.now(), records).unwrap(), 1);
    rig.step();
    let explained = rig.engine.explain(JobId(1)).unwrap();
    assert_eq!(explained.closed[0].gate, Gate::Window);
    assert_eq!(explained.latest_start, at(4) - 1.minute());
}
