//! How what recurs stands, for whoever keeps it, and how it goes on elsewhere or when that is back.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sched_core::store::{Entry, ScheduleEntry};
use sched_core::{JobId, wall_plus, wall_until};
use sched_policy::{Due, Every, Outcome};

use super::{Key, Scheduled, Schedules};

/// Walls of schedulers that share a fleet differ by no more: what one of them has dealt with, however early that seems to
/// the next, has been dealt with.
const WALLS_DIFFER: Duration = Duration::from_secs(3600);

impl Schedules {
    /// A recurring backup goes on as it stood.
    pub(super) fn go_on(&mut self, key: &Key, kept: &ScheduleEntry, goes_on: bool) {
        let Some(id) = self.ids.get(key).copied() else { return };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(job) = kept.job.filter(|_| goes_on) {
            entry.job = Some(job);
            self.jobs.insert(job, id);
            self.timetable.resume(id);
        } else if let Some(at) = kept.not_before {
            // The wall may have been ahead: nothing is put off for longer than there may be between two.
            let at = at.min(wall_plus(self.seen.wall, entry.about.rpo));
            entry.not_before = Some(at);
            self.timetable.delay(id, at);
        }
    }

    /// What recurs of an instance is this scheduler's from now on, as another one left it; its job is to be made where
    /// `goes_on`. Where nothing is `kept` it begins as it stood when this scheduler began.
    pub(crate) fn take_over(
        &mut self,
        wall: Timestamp,
        key: &Key,
        kept: Option<&ScheduleEntry>,
        goes_on: bool,
    ) {
        if let Some(at) = kept.and_then(|kept| kept.recovery_point) {
            let point = self.points.entry(key.clone()).or_insert(at);
            *point = at.max(*point);
        }
        let Some(id) = self.ids.get(key).copied() else { return };
        let Some(mut scheduled) = self.entries.remove(&id) else { return };
        scheduled.job.take().map(|job| self.jobs.remove(&job));
        // What was due while it was another's was put off again and again, and counts as handed out. So it begins anew.
        self.timetable.remove(id);
        let about = Arc::unwrap_or_clone(scheduled.about);
        let point = self.points.get(key).copied();
        let last = if about.recurrence.every == Every::Rpo {
            point
        } else {
            kept.and_then(|kept| kept.dealt_with).or(scheduled.dealt_with).max(point)
        };
        let ahead = |at: &Timestamp| wall_until(wall, *at) > WALLS_DIFFER;
        self.add(wall, about, last.map(|at| if ahead(&at) { wall } else { at }));
        if let Some(kept) = kept {
            self.go_on(key, kept, goes_on);
            // Whoever keeps it has it so.
            self.unkept.iter_mut().for_each(|unkept| _ = unkept.remove(key));
        }
    }

    /// Nobody says how what recurs of an instance stands: its slots begin now, and one that follows its recovery point counts
    /// as just made. One whose job is under way here goes on.
    pub(crate) fn begin(&mut self, wall: Timestamp, key: &Key) {
        let Some(id) = self.ids.get(key).copied() else { return };
        if self.entries.get(&id).is_none_or(|scheduled| scheduled.job.is_some()) {
            return;
        }
        let Some(Scheduled { about, active, .. }) = self.entries.remove(&id) else { return };
        self.timetable.remove(id);
        self.add(wall, Arc::unwrap_or_clone(about), Some(wall));
        let Some(id) = self.ids.get(key).copied() else { return };
        let Some(scheduled) = self.entries.get_mut(&id) else { return };
        scheduled.active = active;
        if scheduled.about.recurrence.every == Every::Rpo {
            // Whoever has its share next does not know the recovery point either.
            scheduled.not_before = self.timetable.due_at(id);
        }
    }

    /// A job is another scheduler's by now, and so is what recurs.
    pub(crate) fn let_go(&mut self, job: JobId) {
        let Some(id) = self.jobs.remove(&job) else { return };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        (entry.job, entry.active, entry.after) = (None, None, None);
        self.timetable.finished(self.seen.wall, id, Outcome::Failed);
    }

    /// What has changed since the last call, for whoever keeps it.
    pub(crate) fn news(&mut self) -> Vec<Entry> {
        let unkept = self.unkept.as_mut().map(std::mem::take).unwrap_or_default();
        unkept.into_iter().map(|key| Entry::Schedule(Box::new(self.kept(key)))).collect()
    }

    fn kept(&self, key: Key) -> ScheduleEntry {
        let point = self.points.get(&key).copied();
        let scheduled = self.ids.get(&key).and_then(|id| self.entries.get(id));
        let mut kept = ScheduleEntry::new(key.0, key.1);
        kept.recovery_point = point;
        match scheduled {
            Some(scheduled) => {
                // A slot that waits for somebody else's job has not been dealt with.
                kept.job = scheduled.job.filter(|_| scheduled.after.is_none());
                (kept.dealt_with, kept.not_before) = (scheduled.dealt_with, scheduled.not_before);
            }
            None => kept.is_gone = point.is_none(),
        }
        kept
    }

    /// What is [postponed](Self::postpone) until then need not wait so long if the store is back before.
    pub(crate) fn needs_store(&mut self, due: &Due, until: Timestamp) {
        self.need_store.insert(due.id, (*due, until));
    }

    /// Jobs can be made durable again: what waited for that alone is due.
    pub(crate) fn store_is_back(&mut self, wall: Timestamp) {
        for (id, (due, until)) in std::mem::take(&mut self.need_store) {
            // Unless it was made, is another's, or is due at another time, meanwhile.
            let waits = until > wall && self.timetable.due_at(id) == Some(until);
            if waits && self.timetable.resume(id) {
                self.timetable.postpone(&due, wall);
            }
        }
    }
}
