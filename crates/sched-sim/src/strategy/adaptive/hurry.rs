//! Backups that would be late at their host's room or their part of a link: [`Hurry`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::world::{Pressed, RunId, World};

/// What is left before the deadline as a reserve, in seconds.
const RESERVE: f64 = 900.0;
/// A backup is to take no more than this part of its RPO: the next one's begins with its start.
const RUN: f64 = 0.33;
/// One that takes longer is to be done in this part, as seen from each look.
const LATER: f64 = 0.08;
/// A backup is to be done in this part of its time-out.
const TIMELY: f64 = 0.5;
/// Who has less time than this is overdue, in seconds.
const OVERDUE: f64 = 60.0;
/// The share of a host that a backup gets at most for its deadline, and at once when it is overdue.
const MOST: f64 = 0.25;
/// A backup is pressed when it needs more than this part of the room that its host is expected to have; where there is
/// none just now, when it needs more than the lesser part.
const SHORT: f64 = 0.8;
const SHORT_IN_PEAK: f64 = 0.1;
/// No backup is looked at again sooner, in seconds.
const LOOK: f64 = 300.0;

/// Looks at each backup when it should be done, or a quarter of its time has passed, and has it move as fast as its
/// deadline needs. That costs the foreground less than a rush at the end: latency grows faster than load.
#[derive(Debug, Default)]
pub(super) struct Hurry {
    /// When an instance's backup is looked at; positive times are ordered as their bits.
    looks: BinaryHeap<Reverse<(u64, u32, RunId)>>,
}

impl Hurry {
    /// When it wants to look again, in seconds; infinite for never.
    pub(super) fn next(&self) -> f64 {
        self.looks.peek().map_or(f64::INFINITY, |Reverse((at, ..))| f64::from_bits(*at))
    }

    /// An instance's backup that is to be looked at now, if it still runs.
    pub(super) fn next_due(&mut self, now: f64) -> Option<(u32, RunId)> {
        let due = self.next() <= now;
        due.then(|| self.looks.pop()).flatten().map(|Reverse((_, instance, run))| (instance, run))
    }

    /// Presses a backup or no longer, given the share of its host that is expected to be free until its deadline.
    ///
    /// One whose policy sets a time-out cannot wait for the end of a peak that outlasts it: it would be stopped, and all
    /// that it moved would be moved again.
    pub(super) fn look_at(&mut self, world: &mut World<'_>, instance: u32, run: RunId, expected: f64) {
        let now = world.now();
        let of = &world.fleet().instances[instance as usize];
        let host = &world.fleet().hosts[of.host as usize];
        let rpo = of.rpo.as_secs_f64();
        let soon = (world.started(run) + RUN * rpo).max(now + LATER * rpo);
        let secs = soon.min(world.recovery_point(instance) + rpo - RESERVE) - now;
        let (left, most) = (world.left(run), MOST * host.bytes_per_sec);
        let within = |secs: f64| if secs > OVERDUE { left / secs } else { most };
        let needed = within(secs);
        let timeout = world.terms(instance).and_then(|terms| terms.timeout);
        let timely = timeout.map_or(0.0, |of| within(world.started(run) + TIMELY * of.as_secs_f64() - now));
        let room = world.room().beside(world.load(of.host)) * host.bytes_per_sec;
        let share = if room > 0.0 { SHORT } else { SHORT_IN_PEAK };
        let short = needed > share * expected * host.bytes_per_sec;
        let least = if short { needed } else { 0.0 };
        let least = if timely > SHORT * room { least.max(timely) } else { least }.min(most);
        let needed = needed.max(timely);
        let first = (world.share_of_link(host.link) < needed).then(|| needed.min(room.max(most)));
        world.press(run, Pressed { least, first });
        let done = left / room.max(needed).max(1.0);
        let next = now + (1.5 * done).min(secs / 4.0).max(LOOK);
        self.looks.push(Reverse((next.to_bits(), instance, run)));
    }
}
