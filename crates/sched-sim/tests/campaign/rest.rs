//! What must hold whenever the engine has nothing more to do: [`check`].

use jiff::Timestamp;
use sched_core::{
    CalendarState, Engine, Gate, JobId, JobState, LoadLevel, Preemption, Priority, SLOTS, Scope, WindowEnd,
};

use crate::book::{Book, Entry};
use crate::policy::Policies;
use crate::{Checked, HOUR, ensure};

/// Nothing is late by more than this, in seconds.
const AT_ONCE: f64 = 1.0;

/// Holds the engine at rest against what is known; `wall` is the time that it believes.
pub(crate) fn check(book: &mut Book, engine: &Engine, policies: &Policies, now: f64) -> Checked {
    book.check_counts(engine)?;
    let status = engine.status();
    let under_way = book.jobs.values().filter(|entry| !entry.waits()).count();
    ensure((status.waiting, status.active) == (book.jobs.len() - under_way, under_way), || {
        format!("{} wait and {} run, of {} jobs {under_way}", status.waiting, status.active, book.jobs.len())
    })?;
    let ids: Vec<JobId> = book.jobs.keys().copied().collect();
    for id in ids {
        let state = engine.job_status(id).map_err(|unknown| unknown.to_string())?;
        let entry = book.jobs.get_mut(&id).expect("it was listed");
        (entry.latest, entry.submitted) = (state.latest_start, state.submitted);
        ensure(state.job.attempt == entry.attempt, || {
            format!("{id} is at attempt {} and not at {}", state.job.attempt, entry.attempt)
        })?;
        if book.jobs[&id].waits() {
            check_waiting(book, engine, policies, id, (status.at, now))?;
        } else {
            check_running(book, policies, (id, state.state), status.at, now)?;
        }
    }
    Ok(())
}

/// Nobody waits for nothing, nor for what cannot keep it any more.
fn check_waiting(
    book: &Book,
    engine: &Engine,
    policies: &Policies,
    id: JobId,
    (wall, now): (Timestamp, f64),
) -> Checked {
    let entry = &book.jobs[&id];
    let explained = engine.explain(id).map_err(|unknown| unknown.to_string())?;
    ensure(!explained.closed.is_empty(), || format!("{id} waits for nothing at {wall}"))?;
    let blackout = matches!(Book::calendar(policies, entry, wall), CalendarState::Blackout { .. });
    let late = wall.duration_since(entry.latest).as_secs_f64() >= 0.01;
    let keeps = |gate: &Gate| match gate {
        Gate::Load => book.load(entry) > entry.tolerates(wall, -0.01),
        Gate::Time => entry.keeps_time(wall, now),
        Gate::Plan => !late && entry.priority < Priority::High && !entry.express,
        Gate::Window => !(blackout || entry.express || late && entry.terms.open_window_when_late),
        _ => true,
    };
    if let Some(closed) = explained.closed.iter().find(|closed| !keeps(&closed.gate)) {
        let latest = entry.latest;
        return Err(format!("{id} waits for {closed} at {wall}, and was to start by {latest}"));
    }
    let only_room = |closed: &sched_core::ClosedGate| {
        closed.gate == Gate::Resource(SLOTS.into()) && closed.behind.is_none()
    };
    if entry.priority == Priority::Critical && explained.closed.iter().all(only_room) {
        let places: Vec<_> = explained.closed.iter().map(|closed| &closed.scope).collect();
        return check_yielding(book, id, &places);
    }
    Ok(())
}

/// Whoever may pause for a critical job is told to, where that is all it takes.
fn check_yielding(book: &Book, id: JobId, places: &[&Scope]) -> Checked {
    if book.config.preemption != Preemption::LowAndNormal {
        return Ok(());
    }
    let could = |(_, other): &(&JobId, &Entry)| {
        let moving = other.active.as_ref().is_some_and(|run| {
            run.run.is_some() && run.holds && !run.stopping && !run.deaf && run.pausing.is_none()
        });
        let everywhere = places.iter().all(|place| other.scopes.contains(place));
        let enough = other.terms.demand == book.jobs[&id].terms.demand;
        let may = other.priority <= Priority::Normal && !other.express && other.terms.pausable;
        moving && everywhere && enough && may
    };
    // One that is coming makes enough room.
    let coming = book.jobs.values().any(|other| {
        let going = |run: &crate::book::Active| run.stopping || run.pausing.is_some();
        other.active.as_ref().is_some_and(going)
    });
    match book.jobs.iter().find(could).filter(|_| !coming && !book.over_share(1)) {
        Some((other, _)) => {
            Err(format!("{id} is critical and waits for room that {other} has, which may pause"))
        }
        None => Ok(()),
    }
}

fn check_running(
    book: &Book,
    policies: &Policies,
    (id, state): (JobId, JobState),
    wall: Timestamp,
    now: f64,
) -> Checked {
    let entry = &book.jobs[&id];
    let Some(run) = entry.active.as_ref() else { return Ok(()) };
    if let Some(timeout) = entry.terms.timeout {
        let ran = run.ran(now);
        ensure(run.stopping || ran <= timeout.as_secs_f64() + AT_ONCE, || {
            format!("{id} has run {:.2} h and was to be stopped after {timeout:?}", ran / HOUR)
        })?;
    }
    let stretch = Book::calendar(policies, entry, wall);
    let late = entry.express || (entry.terms.open_window_when_late && wall >= entry.latest);
    let outside = match stretch {
        CalendarState::Open => false,
        CalendarState::Closed { .. } => !late,
        CalendarState::Blackout { .. } => true,
    };
    let peak = book.load(entry) == LoadLevel::Peak;
    // Whoever runs is not asked again only since a wall that went back gives him time.
    let steady = book.jumped_at.is_infinite();
    let heeds_load = steady && wall < entry.latest && entry.priority < Priority::High && !entry.express;
    let (moves, may_pause) = (state == JobState::Running, entry.terms.pausable);
    match entry.terms.window_end {
        WindowEnd::Stop => ensure(!moves || !outside, || format!("{id} goes on after its window at {wall}"))?,
        WindowEnd::Pause => ensure(!moves || !outside || !may_pause, || {
            format!("{id} does not pause after its window at {wall}")
        })?,
        WindowEnd::Finish => {}
    }
    ensure(!moves || !peak || !heeds_load || !may_pause, || {
        format!("{id} does not pause in a peak at {wall}")
    })?;
    // Told to pause for another, it goes on after the time that it has for that.
    let since = run.pausing.filter(|_| run.for_another && state == JobState::Pausing);
    let within = book.config.pause_within.as_secs_f64() + AT_ONCE;
    ensure(since.is_none_or(|since| now - since <= within), || {
        format!("{id} was told to pause for another {:.0} s ago", now - since.unwrap_or(now))
    })
}
