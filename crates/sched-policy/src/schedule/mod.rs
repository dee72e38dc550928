//! Recurring backups: how often, when exactly, and what becomes of those that were missed.

mod catch_up;
mod cron;
mod entry;
mod every;
mod gaps;
mod jitter;
mod recurrence;
mod timetable;

pub use catch_up::{CatchUp, LinkId};
pub use cron::{Cron, CronError};
pub use every::{Every, EveryError};
pub(crate) use jitter::LONGEST_JITTER;
pub use jitter::{Jitter, JitterError};
pub use recurrence::{Misfire, MisfireError, Overlap, Recurrence};
pub use timetable::{Due, LeftOut, Outcome, ScheduleId, Timetable, Turn};
