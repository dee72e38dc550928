//! Windows and blackouts: when a calendar's jobs may run, and what follows for their latest start.
//!
//! A calendar is a domain like any other: one gate keeps back all classes of its jobs, and a window that opens shows
//! them again with one heap operation each, however many jobs they have.

use std::sync::Arc;

use jiff::Timestamp;

use crate::calendar::{Calendar, CalendarState, Stretch};
use crate::event::EventKind;
use crate::gate::{Reason, Scope};
use crate::name::{CalendarName, NameError};
use crate::state::JobState;
use crate::terms::WindowEnd;
use crate::time::{MonoTime, Now, wall_plus};

use super::domain::{Heeds, Shut};
use super::index::{ActiveIx, DomainIx, JobIx};
use super::job::{Job, Stop, mono_at, wall};
use super::{Alarm, Engine};

/// Stretches that are looked at for one question: two months of nights, or two weeks with a window every few hours.
const MOST_STRETCHES: usize = 128;
/// A stretch that says it has ended already is asked about again after this time.
const ASKED_AGAIN: std::time::Duration = std::time::Duration::from_secs(60);

/// A calendar, and how it stands.
#[derive(Debug)]
pub(super) struct Windows {
    calendar: Arc<dyn Calendar>,
    now: Stretch,
    alarm: Option<MonoTime>,
}

impl Windows {
    /// The gate that is closed for who heeds so much of the calendar.
    pub(super) fn closed(&self, heeds: Heeds) -> Option<Shut> {
        if may_run(&self.now.state, heeds) {
            return None;
        }
        Some(match self.now.state {
            CalendarState::Blackout { .. } => Shut::Blackout,
            _ => Shut::Window,
        })
    }

    /// Why nothing may run, if that is so.
    pub(super) fn reason(&self) -> Option<&Reason> {
        match &self.now.state {
            CalendarState::Open => None,
            CalendarState::Closed { reason } | CalendarState::Blackout { reason } => Some(reason),
        }
    }

    /// The first moment from `from` on at which somebody may run who heeds so much of the calendar. `None` when that
    /// is never, or far away.
    pub(super) fn opens(&self, from: Timestamp, heeds: Heeds) -> Option<Timestamp> {
        let mut at = from;
        for _ in 0..MOST_STRETCHES {
            let stretch = self.calendar.at(at);
            if may_run(&stretch.state, heeds) {
                return Some(at);
            }
            at = stretch.until.filter(|until| *until > at)?;
        }
        None
    }

    /// The latest start of a job that, without windows, may start up to `natural_ms`, and not before `earliest_ms`.
    /// `splits`: it runs in windows only, in several if need be. Otherwise it must only begin in one, and if that is
    /// not the one of `natural_ms`, it should end there too.
    fn latest_start(&self, heeds: Heeds, splits: bool, at: Moments) -> i64 {
        let mut left = at.deadline_ms.saturating_sub(at.natural_ms).max(1);
        let mut end = if splits { at.deadline_ms } else { at.natural_ms.saturating_add(1) };
        let mut in_window = false;
        for looked_at in 0..MOST_STRETCHES {
            if end <= at.earliest_ms {
                break;
            }
            let stretch = self.calendar.at(wall(end - 1));
            let begin = stretch.from.map_or(i64::MIN, Timestamp::as_millisecond).min(end - 1);
            if may_run(&stretch.state, heeds) {
                if looked_at == 0 && !splits {
                    return at.natural_ms;
                }
                let room = end.saturating_sub(begin);
                if room >= left {
                    end -= left;
                    break;
                }
                left -= room;
                in_window = true;
            } else if in_window && !splits {
                break;
            }
            end = begin;
        }
        end.max(at.earliest_ms).min(at.natural_ms)
    }
}

/// Between which moments on the wall a job is to run, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Moments {
    earliest_ms: i64,
    natural_ms: i64,
    deadline_ms: i64,
}

fn may_run(state: &CalendarState, heeds: Heeds) -> bool {
    match state {
        CalendarState::Open => true,
        CalendarState::Closed { .. } => heeds > Heeds::Windows,
        CalendarState::Blackout { .. } => heeds > Heeds::Blackouts,
    }
}

impl Engine {
    /// Says when the jobs that name this calendar may run; `None` lets them run at any time. Jobs that wait are placed
    /// anew in steps, and attempts whose window has thereby ended do what their terms say.
    ///
    /// # Errors
    /// When the name cannot be used. Nothing has changed then.
    pub fn set_calendar(
        &mut self,
        now: Now,
        name: CalendarName,
        calendar: Option<Arc<dyn Calendar>>,
    ) -> Result<(), NameError> {
        let now = self.observe(now);
        name.check()?;
        let Some(domain) = self.subject(&Scope::Calendar(name), calendar.is_some()) else { return Ok(()) };
        let windows = &mut self.domains[domain].gates_mut().windows;
        let same = match (windows.as_ref(), &calendar) {
            (Some(windows), Some(calendar)) => Arc::ptr_eq(&windows.calendar, calendar),
            (before, after) => before.is_none() && after.is_none(),
        };
        if same {
            return Ok(());
        }
        let before = windows.take();
        let (state, alarm) =
            before.map_or((CalendarState::Open, None), |windows| (windows.now.state, windows.alarm));
        *windows = calendar.map(|calendar| Box::new(Windows { calendar, now: Stretch::ALWAYS, alarm }));
        if windows.is_none()
            && let Some(at) = alarm
        {
            self.alarms.remove(&(at, Alarm::Windows(domain)));
        }
        self.follow_calendar(now, domain, state);
        // Latest starts may have moved; nobody starts by one that is wrong by now.
        self.begin_sweep(true);
        Ok(())
    }

    /// The calendar of this name, if it is known.
    pub fn calendar(&self, name: &CalendarName) -> Option<&Arc<dyn Calendar>> {
        let domain = self.domains.find(&Scope::Calendar(name.clone()))?;
        let windows = self.domains[domain].gates.as_ref()?.windows.as_ref()?;
        Some(&windows.calendar)
    }

    /// Whether the windows of a calendar are known.
    pub(super) fn knows_calendar(&self, name: &CalendarName) -> bool {
        self.calendar(name).is_some()
    }

    /// A stretch of a calendar has ended, or the wall has moved.
    pub(super) fn read_calendar(&mut self, now: Now, domain: DomainIx) {
        let windows = self.domains[domain].gates.as_ref().and_then(|gates| gates.windows.as_ref());
        if let Some(state) = windows.map(|windows| windows.now.state.clone()) {
            self.follow_calendar(now, domain, state);
        }
    }

    /// The wall has moved: calendars stand otherwise, and the alarms for their next change are wrong.
    pub(super) fn read_calendars(&mut self) {
        let now = self.wall.now();
        let of_windows = |(_, alarm): &(MonoTime, Alarm)| match alarm {
            Alarm::Windows(domain) => Some(*domain),
            _ => None,
        };
        let domains: Vec<_> = self.alarms.iter().filter_map(of_windows).collect();
        domains.into_iter().for_each(|domain| self.read_calendar(now, domain));
    }

    /// Has a calendar's jobs know how it stands by now; it stood at `before`.
    fn follow_calendar(&mut self, now: Now, domain: DomainIx, before: CalendarState) {
        let mut state = CalendarState::Open;
        if let Some(windows) = &mut self.domains[domain].gates_mut().windows {
            windows.now = windows.calendar.at(now.wall);
            state = windows.now.state.clone();
            let until = windows.now.until.map(|until| match until > now.wall {
                true => until,
                false => wall_plus(now.wall, ASKED_AGAIN),
            });
            let alarm = until.map(|until| mono_at(now, until));
            let past = std::mem::replace(&mut windows.alarm, alarm);
            past.iter().for_each(|at| _ = self.alarms.remove(&(*at, Alarm::Windows(domain))));
            self.alarms.extend(alarm.map(|at| (at, Alarm::Windows(domain))));
        }
        let runs = |state: &CalendarState, heeds| may_run(state, heeds);
        let all = [Heeds::Windows, Heeds::Blackouts];
        if all.iter().any(|heeds| runs(&state, *heeds) && !runs(&before, *heeds)) {
            self.opened(domain);
        }
        if all.iter().any(|heeds| runs(&state, *heeds) != runs(&before, *heeds)) {
            self.reviews.extend(self.domains[domain].attempts.iter());
            let scope = self.domains[domain].scope.clone();
            self.emit(None, EventKind::CalendarChanged { scope, state });
        }
    }

    /// Works out by how much the windows bring a job's latest start forward. Returns whether that has changed; the job
    /// must stand nowhere then, and its key must be worked out anew.
    pub(super) fn heed_windows(&mut self, ix: JobIx) -> bool {
        let early_by_secs = self.early_by_secs(&self.jobs[ix.at()]);
        std::mem::replace(&mut self.jobs[ix.at()].early_by_secs, early_by_secs) != early_by_secs
    }

    pub(super) fn early_by_secs(&self, job: &Job) -> u32 {
        let gates = job.terms.calendar.some().and_then(|domain| self.domains[domain].gates.as_ref());
        let Some(windows) = gates.and_then(|gates| gates.windows.as_ref()) else { return 0 };
        let heeds = if job.terms.open_window_when_late { Heeds::Blackouts } else { Heeds::Windows };
        let splits = job.terms.at_window_end() != WindowEnd::Finish;
        let (earliest_ms, natural_ms) = (job.submitted_ms, job.natural_latest_ms());
        let moments = Moments { earliest_ms, natural_ms, deadline_ms: job.deadline_ms };
        let early_ms = natural_ms.saturating_sub(windows.latest_start(heeds, splits, moments));
        // Rounded up: early rather than late.
        u32::try_from(early_ms.max(0).saturating_add(999) / 1_000).unwrap_or(u32::MAX)
    }

    /// Why an attempt may not move for its calendar's sake, if that is so.
    pub(super) fn outside_window(&self, active: ActiveIx, now: Now) -> Option<Reason> {
        let job = &self.jobs[self.actives[active.at()].job.at()];
        let windows = self.domains[job.terms.calendar.some()?].gates.as_ref()?.windows.as_ref()?;
        windows.closed(job.pass(now.wall.as_millisecond()).heeds)?;
        windows.reason().cloned()
    }

    /// Has an attempt stop that is to continue in another window. Returns whether it was told to.
    pub(super) fn stop_outside_window(&mut self, now: Now, active: ActiveIx) -> bool {
        let ix = self.actives[active.at()].job;
        let job = &self.jobs[ix.at()];
        let moves = !matches!(job.state, JobState::Starting | JobState::Cancelling);
        if !moves || job.terms.at_window_end() != WindowEnd::Stop {
            return false;
        }
        let Some(reason) = self.outside_window(active, now) else { return false };
        self.order_stop(now, ix, Stop::Interrupted(reason, None));
        true
    }

    /// When a calendar that keeps a job back lets it go.
    pub(super) fn window_opens_at(
        &self,
        now: Now,
        job: &Job,
        domain: DomainIx,
        shut: Shut,
    ) -> Option<MonoTime> {
        let windows = self.domains[domain].gates.as_ref()?.windows.as_ref()?;
        let heeds = match shut {
            Shut::Window => Heeds::Windows,
            _ => job.pass(now.wall.as_millisecond()).heeds,
        };
        let opens = windows.opens(now.wall, heeds);
        let late = Some(wall(job.latest_start_ms())).filter(|_| job.terms.open_window_when_late);
        let late =
            late.filter(|late| *late > now.wall).and_then(|late| windows.opens(late, Heeds::Blackouts));
        opens.into_iter().chain(late).min().map(|at| mono_at(now, at))
    }
}
