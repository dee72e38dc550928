//! What is due by the schedules of the policies becomes jobs.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sched_core::{EventKind, JobId, JobSpec, JobStatus, MonoTime, Now, Priority, Reason, wall_plus};
use sched_policy::{Due, LeftOut, Recurring, Turn};

use super::{Dispatcher, Parts};
use crate::current::Resolved;
use crate::error::{AcquireError, SubmitError};
use crate::runtime::foresight::placement;
use crate::runtime::schedules::{Overlapped, deadline, is_skipped, latest};
use crate::runtime::{Request, Route};

/// What is asked for between two looks at messages: about a millisecond of work.
const PORTION: usize = 64;
/// How long it takes until it is seen that what another scheduler made is this one's business.
const NOT_OURS: Duration = Duration::from_secs(30);
/// How long a backup waits for which there is no room in the queue, or no store.
const QUEUE_AGAIN: Duration = Duration::from_secs(60);

impl Dispatcher {
    /// Asks for a portion of what is due.
    pub(super) fn recur(&mut self, now: Now) {
        if self.closing.is_some() {
            return;
        }
        let trusted = self.parts.engine.trusted(now);
        let wall = trusted.wall;
        self.parts.schedules.see(trusted);
        for _ in 0..PORTION {
            match self.parts.schedules.turn(wall) {
                Some(Turn::Due(due)) => self.take_turn(now, wall, due),
                Some(Turn::LeftOut(left_out)) => self.tell_left_out(now, &left_out),
                None => return,
            }
        }
    }

    /// When something is due next; at once when more is due.
    pub(super) fn recurs_at(&self, now: Now) -> Option<MonoTime> {
        let Parts { schedules, engine, .. } = &self.parts;
        let look = || schedules.next_look(engine.trusted(now));
        if self.closing.is_some() { None } else { look() }
    }

    /// A job has ended, and with it perhaps one that was due.
    pub(super) fn recurred(&mut self, status: &JobStatus) {
        if self.is_kept(status.job.id) {
            // The next scheduler goes on with it.
            return;
        }
        let now = self.parts.clock.now();
        let wall = self.parts.engine.trusted(now).wall;
        let Some(Overlapped { key: (instance, kind), slots, job }) = self.parts.schedules.ended(wall, status)
        else {
            return;
        };
        let reason = Reason::new(format!("{job}, the former one, was not done"));
        self.parts.engine.note(now, EventKind::DueSkipped { instance, kind, slots, reason });
    }

    fn take_turn(&mut self, now: Now, wall: Timestamp, due: Due) {
        let Some(about) = self.parts.schedules.about(due.id) else { return };
        if !self.makes_recurring(&(about.instance.clone(), about.kind), &about.technology) {
            // Its own scheduler asks for it. That may be this one by then.
            self.parts.schedules.postpone(&due, wall_plus(wall, NOT_OURS));
            return;
        }
        if let Some(job) = self.parts.schedules.active(due.id) {
            return self.give_way(now, wall, due, &about, job);
        }
        match self.ask_for(now, wall, &due, &about) {
            Ok(()) => {}
            Err(SubmitError::Refused(sched_core::SubmitError::QueueFull { pending })) => {
                let why = format!("the queue is full: {pending} jobs wait");
                self.postpone(now, &due, &about, wall_plus(wall, QUEUE_AGAIN), why);
            }
            Err(SubmitError::Store(error)) => {
                let until = wall_plus(wall, QUEUE_AGAIN);
                self.parts.schedules.needs_store(&due, until);
                self.postpone(now, &due, &about, until, error.to_string());
            }
            Err(error) => {
                self.parts.schedules.skip(wall, &due);
                let (instance, kind, error) = (about.instance.clone(), about.kind, error.to_string());
                let told = EventKind::DueRefused { instance, kind, due: due.at, error };
                self.parts.engine.note(now, told);
            }
        }
    }

    /// A backup of the same is under way that somebody else asked for.
    fn give_way(&mut self, now: Now, wall: Timestamp, due: Due, about: &Recurring, job: JobId) {
        if is_skipped(about) {
            self.parts.schedules.skip(wall, &due);
            return self.tell_skipped(
                now,
                about,
                due.missed.saturating_add(1),
                format!("{job} is under way"),
            );
        }
        let (instance, kind) = (about.instance.clone(), about.kind);
        let reason = Reason::new(format!("{job} is under way"));
        self.parts
            .engine
            .note(now, EventKind::DuePostponed { instance, kind, due: due.at, until: None, reason });
        self.parts.schedules.wait_for(due, job);
    }

    fn ask_for(
        &mut self,
        now: Now,
        wall: Timestamp,
        due: &Due,
        about: &Recurring,
    ) -> Result<(), SubmitError> {
        let current = self.parts.current.read().clone();
        let by = deadline(due, about);
        let spec = JobSpec::new(&about.instance, &about.technology).kind(about.kind).deadline(by);
        let resolved = current.resolve_one(spec, false)?;
        let start = self.levelled(wall, due, by, &resolved);
        if start > wall {
            let why = format!("it is {}, and so are others on its way", Late(due));
            self.postpone(now, due, about, start, why);
            return Ok(());
        }
        let route = Route::Push(current.executor(&resolved.spec.technology)?);
        let accepted = self.submit(vec![Request::new(resolved, route)]).map_err(|error| match error {
            AcquireError::Submit(error) => error,
            // Only a pull request is refused for another reason.
            _ => SubmitError::Stopped,
        })?;
        let Some(accepted) = accepted.first() else { return Ok(()) };
        self.parts.schedules.submitted(due, accepted.job);
        let mut reason = format!("`{}`: {}", about.recurrence.every, Late(due));
        if due.missed > 0 {
            reason = format!("{reason}; {} before it were not made", due.missed);
        }
        let (instance, kind) = (about.instance.clone(), about.kind);
        let (id, reason) = (accepted.job, Reason::new(reason));
        let told = EventKind::DueSubmitted { instance, kind, id, due: due.at, reason };
        self.parts.engine.note(now, told);
        Ok(())
    }

    /// When it is to be asked for. What is urgent, and what would be too late, goes at once.
    fn levelled(&mut self, wall: Timestamp, due: &Due, by: Timestamp, resolved: &Resolved) -> Timestamp {
        let Resolved { spec, terms, .. } = resolved;
        if terms.priority >= Priority::High {
            return wall;
        }
        let Parts { schedules, rates, .. } = &mut self.parts;
        let path = placement(spec, None, rates).path;
        schedules.start(wall, due, latest(wall, by, terms.expected_duration), path.into_iter())
    }

    fn postpone(&mut self, now: Now, due: &Due, about: &Recurring, until: Timestamp, why: String) {
        self.parts.schedules.postpone(due, until);
        let (instance, kind) = (about.instance.clone(), about.kind);
        let (until, reason) = (Some(until), Reason::new(why));
        let told = EventKind::DuePostponed { instance, kind, due: due.at, until, reason };
        self.parts.engine.note(now, told);
    }

    fn tell_left_out(&mut self, now: Now, left_out: &LeftOut) {
        let Some(about) = self.parts.schedules.about(left_out.id) else { return };
        if !self.makes_recurring(&(about.instance.clone(), about.kind), &about.technology) {
            return;
        }
        self.parts.schedules.left_out(left_out.id);
        let why = format!("it was missed: due {}, and by its `misfire` it is too late for that", left_out.at);
        self.tell_skipped(now, &about, left_out.slots, why);
    }

    fn tell_skipped(&mut self, now: Now, about: &Recurring, slots: u32, why: String) {
        let (instance, kind) = (about.instance.clone(), about.kind);
        let told = EventKind::DueSkipped { instance, kind, slots, reason: Reason::new(why) };
        self.parts.engine.note(now, told);
    }
}

/// How late it is, in words.
struct Late<'d>(&'d Due);

impl fmt::Display for Late<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let late = SignedDuration::from_secs(i64::try_from(self.0.late.as_secs()).unwrap_or(i64::MAX));
        if late.is_zero() { f.write_str("due now") } else { write!(f, "{late:#} overdue") }
    }
}
