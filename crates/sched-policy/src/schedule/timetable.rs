//! What is due next of many instances: [`Timetable`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sched_core::{wall_minus, wall_plus};
use slab::Slab;

use super::entry::Entry;
use super::every::Every;
use super::recurrence::{Overlap, Recurrence};

/// After this part of the recovery point objective a backup that has failed for good is asked for again.
const AFTER_FAILURE: u32 = 8;

/// What waits for this moment does not come again.
const NEVER: Timestamp = Timestamp::MAX;

/// What is due next of many instances, driven by the time on the wall, which may jump.
///
/// [`poll`](Self::poll) hands out what is due, the most overdue first. An instance that was handed out is not due again
/// until [`finished`](Self::finished) says that its backup has ended, so that two never run at once. A slot is never handed
/// out twice, also when the wall is set back. Every call costs O(log n), and some microseconds for a cron expression.
///
/// ```
/// use sched_policy::{Outcome, Recurrence, Timetable};
/// use std::{sync::Arc, time::Duration};
///
/// let nightly = Arc::new(Recurrence::new("0 2 * * *".parse()?));
/// let day = Duration::from_secs(24 * 3600);
/// let now = "2026-11-25T12:00:00Z".parse()?;
/// let mut timetable = Timetable::new();
/// let id = timetable.add(now, "orders-1", nightly, day, Some("2026-11-22T02:00:00Z".parse()?));
/// // The scheduler was down for three days: one backup makes up for three.
/// let due = timetable.poll(now).unwrap();
/// assert_eq!((due.id, due.missed), (id, 2));
/// assert!(timetable.poll(now).is_none());
/// timetable.finished(now, id, Outcome::Succeeded { recovery_point: now });
/// assert_eq!(timetable.next_due(), Some("2026-11-26T02:00:00Z".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Timetable {
    entries: Slab<Entry>,
    /// Who waits, by when he is due.
    due: BTreeSet<(Timestamp, u32)>,
    added: u32,
}

/// An instance in a [`Timetable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleId {
    index: u32,
    /// Tells it apart from another that had the same place.
    serial: u32,
}

/// A backup that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Due {
    /// Whose.
    pub id: ScheduleId,
    /// When it was due.
    pub at: Timestamp,
    /// By how much it is late.
    pub late: Duration,
    /// Slots before this one of which there was no backup of their own since the last that was handed out: coalesced or
    /// skipped. Counted up to a hundred at a time.
    pub missed: u32,
    /// When the recovery point objective is missed, where that says how often; may lie in the past.
    pub deadline: Option<Timestamp>,
    /// It was handed out before, and [postponed](Timetable::postpone).
    pub postponed: bool,
}

/// Slots that came too late, and are left out as the misfire policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// Whose.
    pub id: ScheduleId,
    /// When the newest of them was due.
    pub at: Timestamp,
    /// How many. Counted up to a hundred at a time.
    pub slots: u32,
}

/// What comes next of a [`Timetable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A backup is due.
    Due(Due),
    /// None is made.
    LeftOut(LeftOut),
}

/// How a backup has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is a backup.
    Succeeded {
        /// The moment to which it restores.
        recovery_point: Timestamp,
    },
    /// There is none, and it is not tried again.
    Failed,
}

impl Timetable {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many instances there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When [`poll`](Self::poll) has something next, or is to look again.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at).filter(|at| *at < NEVER)
    }

    /// Adds an instance. `last` is the recovery point of its newest backup: slots after it that have passed were missed.
    /// Without one, the recovery point objective makes a backup due at once, and slots begin from `now` on.
    pub fn add(
        &mut self,
        now: Timestamp,
        instance: &str,
        recurrence: Arc<Recurrence>,
        rpo: Duration,
        last: Option<Timestamp>,
    ) -> ScheduleId {
        let jitter = recurrence.jitter_of(instance);
        let follows_rpo = recurrence.every == Every::Rpo;
        let since = if follows_rpo { last } else { Some(wall_minus(last.unwrap_or(now), jitter)) };
        self.added = self.added.wrapping_add(1);
        let entry = Entry {
            recurrence,
            serial: self.added,
            rpo,
            jitter,
            since,
            free_since: Timestamp::MIN,
            waits: None,
            postponed: None,
            missed: 0,
        };
        let at = entry.next_due(now);
        let index = u32::try_from(self.entries.insert(entry)).unwrap_or(u32::MAX);
        self.wait(index, at);
        ScheduleId { index, serial: self.added }
    }

    /// Forgets an instance; whether it was known.
    pub fn remove(&mut self, id: ScheduleId) -> bool {
        if self.entry(id).is_none() {
            return false;
        }
        self.stop_waiting(id.index);
        self.entries.remove(id.index as usize);
        true
    }

    /// The next backup that is due, the most overdue first. It counts as running until [`finished`](Self::finished), or
    /// waits again after [`postpone`](Self::postpone). What comes too late is passed over, however much that is; see
    /// [`turn`](Self::turn).
    pub fn poll(&mut self, now: Timestamp) -> Option<Due> {
        loop {
            if let Turn::Due(due) = self.turn(now)? {
                return Some(due);
            }
        }
    }

    /// As [`poll`](Self::poll), in steps that each concern one instance: also what is left out is told.
    pub fn turn(&mut self, now: Timestamp) -> Option<Turn> {
        loop {
            let (_, index) = self.due.first().copied().filter(|(at, _)| *at <= now && *at < NEVER)?;
            let at = self.stop_waiting(index)?;
            let entry = self.entries.get_mut(index as usize)?;
            let id = ScheduleId { index, serial: entry.serial };
            let turn = entry.hand_out(now, at, id);
            if matches!(turn, Some(Turn::Due(_))) {
                return turn;
            }
            let next = entry.next_due(now);
            self.wait(index, next);
            if turn.is_some() {
                return turn;
            }
        }
    }

    /// Has a backup that was handed out, and has not been started, handed out again at `until`. Slots that come meanwhile
    /// make one with it. Whether it was handed out.
    pub fn postpone(&mut self, due: &Due, until: Timestamp) -> bool {
        let Some(entry) = self.entry(due.id).filter(|entry| entry.waits.is_none()) else { return false };
        entry.postponed = Some(due.at);
        entry.missed = due.missed;
        self.wait(due.id.index, Some(until));
        true
    }

    /// A backup that a former timetable handed out goes on: nothing is due before [`finished`](Self::finished). Whether the
    /// instance was known, and waited.
    pub fn resume(&mut self, id: ScheduleId) -> bool {
        self.entry(id).is_some() && self.stop_waiting(id.index).is_some()
    }

    /// Has an instance that waits be due no earlier than `at`, as a former timetable did. Whether the instance was known,
    /// and waited.
    pub fn delay(&mut self, id: ScheduleId, at: Timestamp) -> bool {
        let Some(waits) = self.entry(id).and_then(|entry| entry.waits) else { return false };
        if waits < at {
            self.stop_waiting(id.index);
            self.wait(id.index, Some(at));
        }
        true
    }

    /// Up to when slots have been handed out, left out, or had passed when the instance was added: what
    /// [`add`](Self::add) goes on from. `None` for what follows the recovery point objective.
    pub fn dealt_with(&self, id: ScheduleId) -> Option<Timestamp> {
        let entry = self.get(id).filter(|entry| !entry.follows_rpo())?;
        Some(wall_plus(entry.since?, entry.jitter))
    }

    /// The backup that was handed out has ended; whether one was.
    pub fn finished(&mut self, now: Timestamp, id: ScheduleId, outcome: Outcome) -> bool {
        let Some(entry) = self.entry(id).filter(|entry| entry.waits.is_none()) else { return false };
        entry.free_since = now;
        let next = match (&entry.recurrence.every, outcome) {
            (Every::Rpo, Outcome::Failed) => Some(wall_plus(now, entry.rpo / AFTER_FAILURE)),
            (Every::Rpo, Outcome::Succeeded { recovery_point }) => {
                entry.since = Some(recovery_point);
                // Not at once again, however old the recovery point is.
                let not_before = wall_plus(now, entry.rpo / AFTER_FAILURE);
                entry.next_due(now).map(|at| at.max(not_before))
            }
            _ => {
                if entry.recurrence.overlap == Overlap::Skip {
                    entry.leave_out(now);
                }
                entry.next_due(now)
            }
        };
        self.wait(id.index, next);
        true
    }

    /// There is a backup that was not handed out: one that follows the recovery point objective counts from its recovery
    /// point, if that is newer. Whether the instance was known.
    pub fn renewed(&mut self, now: Timestamp, id: ScheduleId, recovery_point: Timestamp) -> bool {
        let Some(entry) = self.entry(id) else { return false };
        if !entry.follows_rpo() || entry.since.is_some_and(|since| since >= recovery_point) {
            return true;
        }
        entry.since = Some(recovery_point);
        if entry.waits.is_some() {
            entry.postponed = None;
            let not_before = wall_plus(now, entry.rpo / AFTER_FAILURE);
            let next = entry.next_due(now).map(|at| at.max(not_before));
            self.stop_waiting(id.index);
            self.wait(id.index, next);
        }
        true
    }

    /// An instance recurs otherwise from `now` on. Its slots begin now: none that the new recurrence would have had before
    /// was missed. What is due stays due, and a backup that was handed out goes on. `last` is the recovery point of its
    /// newest backup. Whether it was known.
    pub fn change(
        &mut self,
        now: Timestamp,
        id: ScheduleId,
        instance: &str,
        recurrence: Arc<Recurrence>,
        rpo: Duration,
        last: Option<Timestamp>,
    ) -> bool {
        let Some(entry) = self.entry(id) else { return false };
        let due = entry.waits.filter(|at| *at <= now && !entry.follows_rpo());
        let (count, postponed) = (entry.missed, entry.postponed.or(due));
        entry.recurrence = recurrence;
        entry.rpo = rpo;
        entry.jitter = entry.recurrence.jitter_of(instance);
        entry.since = if entry.follows_rpo() { last } else { Some(wall_minus(now, entry.jitter)) };
        (entry.missed, entry.postponed) = (count, postponed);
        if let Some(waits) = entry.waits {
            let next = entry.next_due(now);
            let at = if postponed.is_some() { Some(waits) } else { next };
            self.stop_waiting(id.index);
            self.wait(id.index, at);
        }
        true
    }

    /// When an instance is due next; `None` while its backup runs, or if it never is.
    pub fn due_at(&self, id: ScheduleId) -> Option<Timestamp> {
        self.get(id)?.waits.filter(|at| *at < NEVER)
    }

    /// Slots that were coalesced or left out since the last backup was handed out, as the next will tell.
    pub fn missed(&self, id: ScheduleId) -> u32 {
        self.get(id).map_or(0, |entry| entry.missed)
    }

    /// Who waits and when each is due, the soonest first. Who is never due again is not among them.
    pub fn waiting(&self) -> impl Iterator<Item = (Timestamp, ScheduleId)> + '_ {
        let waiting = self.due.iter().take_while(|(at, _)| *at < NEVER);
        waiting.filter_map(|(at, index)| {
            let serial = self.entries.get(*index as usize)?.serial;
            Some((*at, ScheduleId { index: *index, serial }))
        })
    }

    /// The wall had been ahead and was set back to `now` for good: what it showed meanwhile has not come yet. Without this
    /// call, slots that were handed out while it was ahead are not handed out again, and instances wait until the wall has
    /// caught up.
    pub fn rewind(&mut self, now: Timestamp) {
        let mut moved = Vec::new();
        for (index, entry) in &mut self.entries {
            let latest = wall_minus(now, if entry.follows_rpo() { Duration::ZERO } else { entry.jitter });
            entry.free_since = entry.free_since.min(now);
            if entry.since.is_some_and(|since| since > latest) {
                entry.since = Some(latest);
            }
            if let Some(waits) = entry.waits {
                let postponed = entry.postponed.map(|_| waits.min(now));
                moved.push((index, postponed.or_else(|| entry.next_due(now))));
            }
        }
        for (index, at) in moved {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            self.stop_waiting(index);
            self.wait(index, at);
        }
    }

    fn get(&self, id: ScheduleId) -> Option<&Entry> {
        self.entries.get(id.index as usize).filter(|entry| entry.serial == id.serial)
    }

    fn entry(&mut self, id: ScheduleId) -> Option<&mut Entry> {
        self.entries.get_mut(id.index as usize).filter(|entry| entry.serial == id.serial)
    }

    fn wait(&mut self, index: u32, at: Option<Timestamp>) {
        let at = at.unwrap_or(NEVER);
        if let Some(entry) = self.entries.get_mut(index as usize) {
            entry.waits = Some(at);
            self.due.insert((at, index));
        }
    }

    fn stop_waiting(&mut self, index: u32) -> Option<Timestamp> {
        let at = self.entries.get_mut(index as usize)?.waits.take()?;
        self.due.remove(&(at, index));
        Some(at)
    }
}
