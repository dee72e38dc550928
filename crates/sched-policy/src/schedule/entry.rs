//! An instance in a timetable: its slots, and when it is due by them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sched_core::{wall_minus, wall_plus, wall_until};

use super::every::Every;
use super::recurrence::Recurrence;
use super::timetable::{Due, LeftOut, ScheduleId, Turn};

/// When the scheduler picks the moment, it does so in the second half of the recovery point objective: of a day, half of
/// one holds a night, and no instance is backed up twice as often as it has to be.
const EARLIEST: u32 = 2;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) recurrence: Arc<Recurrence>,
    pub(super) serial: u32,
    pub(super) rpo: Duration,
    pub(super) jitter: Duration,
    /// The newest slot that was handed out or left out; of what follows the recovery point objective, the recovery point.
    pub(super) since: Option<Timestamp>,
    /// The former backup ended then: nothing could start before.
    pub(super) free_since: Timestamp,
    /// Its place among those that wait; none while its backup runs.
    pub(super) waits: Option<Timestamp>,
    /// A slot that was handed out and is to start later.
    pub(super) postponed: Option<Timestamp>,
    pub(super) missed: u32,
}

impl Entry {
    pub(super) fn follows_rpo(&self) -> bool {
        self.recurrence.every == Every::Rpo
    }

    /// When it is due next, unless its backup runs.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.follows_rpo() {
            return self.recurrence.next_slot(self.since?).map(|slot| wall_plus(slot, self.jitter));
        }
        // The jitter must not lead beyond the deadline.
        let spread = self.jitter.min(self.rpo / (2 * EARLIEST));
        Some(match self.since {
            Some(recovery_point) => wall_plus(recovery_point, self.rpo / EARLIEST + spread),
            None => wall_plus(now, spread),
        })
    }

    /// The slots that have passed count as dealt with: when the newest was due, and how many there are.
    pub(super) fn take_slots(&mut self, now: Timestamp) -> Option<(Timestamp, u32)> {
        let (newest, count) = self.recurrence.newest_slot(self.since?, wall_minus(now, self.jitter))?;
        self.since = Some(newest);
        Some((wall_plus(newest, self.jitter), count))
    }

    pub(super) fn leave_out(&mut self, now: Timestamp) {
        if let Some((_, count)) = self.take_slots(now) {
            self.missed = self.missed.saturating_add(count);
        }
    }

    /// What is due, or what is left out because it is too late for that.
    pub(super) fn hand_out(
        &mut self,
        now: Timestamp,
        waited_until: Timestamp,
        id: ScheduleId,
    ) -> Option<Turn> {
        let postponed = self.postponed.take();
        let mut at = postponed;
        if self.follows_rpo() {
            at = at.or(Some(waited_until));
        } else if let Some((newest, count)) = self.take_slots(now) {
            let late = wall_until(newest.max(self.free_since), now);
            let coalesced = count - u32::from(postponed.is_none());
            if postponed.is_none() && !self.recurrence.misfire.allows(late) {
                self.missed = self.missed.saturating_add(count);
                return Some(Turn::LeftOut(LeftOut { id, at: newest, slots: count }));
            }
            self.missed = self.missed.saturating_add(coalesced);
            at = Some(newest);
        }
        let at = at?;
        let deadline = self.since.filter(|_| self.follows_rpo()).map(|since| wall_plus(since, self.rpo));
        let missed = std::mem::take(&mut self.missed);
        let (late, postponed) = (wall_until(at, now), postponed.is_some());
        Some(Turn::Due(Due { id, at, late, missed, deadline, postponed }))
    }
}
