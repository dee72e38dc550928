//! When an instance is backed up again and again: [`Recurrence`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use sched_core::{wall_minus, wall_plus, wall_until};
use serde::{Deserialize, Serialize};

use super::every::Every;
use super::jitter::{Jitter, LONGEST_JITTER};
use crate::zone::Zone;

/// Slots that are counted one by one; of more it is only known that they are more.
const MOST_COUNTED: u32 = 100;
/// How late a slot may be that is not late: a timetable that is polled now and then is always a little late.
const IN_TIME: Duration = Duration::from_secs(60);

/// When an instance is backed up again and again, as it is written in files.
///
/// ```
/// use sched_policy::{Misfire, Recurrence};
/// let nightly: Recurrence = toml::from_str(r#"
///     every = "0 2 * * *"
///     zone = "Europe/Berlin"
///     jitter = "30min"
///     misfire = "6h"
/// "#)?;
/// let first = nightly.next_after("orders-1", "2026-11-25T12:00:00Z".parse()?).unwrap();
/// assert!(first >= "2026-11-26T01:00:00Z".parse()? && first < "2026-11-26T01:30:00Z".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Recurrence {
    /// How often. Default: every recovery point objective.
    pub every: Every,
    /// Whose clock a cron expression means. Default UTC.
    pub zone: Zone,
    /// How far instances are spread after the time that is meant. Each always has the same place in it, by a hash of its
    /// name. Default [`Jitter::Auto`].
    pub jitter: Jitter,
    /// What becomes of a slot that comes while the former backup has not ended. Default [`Overlap::Coalesce`].
    pub overlap: Overlap,
    /// What becomes of slots that were missed. Default [`Misfire::Coalesce`]. Where the recovery point objective says how
    /// often, nothing is ever skipped.
    pub misfire: Misfire,
}

/// What becomes of a slot that comes while the former backup of the instance has not ended. Two never run at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overlap {
    /// All that came meanwhile make one, right after the former.
    #[default]
    Coalesce,
    /// They are left out.
    Skip,
}

/// What becomes of slots that were missed, because the scheduler was down or the clock jumped: `"coalesce"`, `"skip"`, or
/// `"6h"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Misfire {
    /// All that were missed make one, at once, however late.
    #[default]
    Coalesce,
    /// They are left out. A minute late is not missed.
    Skip,
    /// They make one, if the newest is not later than this.
    Within(Duration),
}

/// A text that says nothing about missed slots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is neither \"coalesce\", nor \"skip\", nor how late is not too late, such as \"6h\"")]
#[non_exhaustive]
pub struct MisfireError {
    /// What was found.
    pub found: String,
}

impl Recurrence {
    /// Every so often, everything else at its default.
    pub fn new(every: Every) -> Self {
        Self { every, ..Self::default() }
    }

    /// Sets whose clock a cron expression means.
    #[must_use]
    pub fn zone(mut self, zone: Zone) -> Self {
        self.zone = zone;
        self
    }

    /// Sets how far instances are spread.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = Jitter::Within(jitter);
        self
    }

    /// Sets what becomes of a slot that comes while the former backup has not ended.
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// Sets what becomes of slots that were missed.
    #[must_use]
    pub fn misfire(mut self, misfire: Misfire) -> Self {
        self.misfire = misfire;
        self
    }

    /// The first time after `after` at which an instance is due. `None` where the recovery point objective says how often:
    /// that follows from the former backup.
    pub fn next_after(&self, instance: &str, after: Timestamp) -> Option<Timestamp> {
        let jitter = self.jitter_of(instance);
        self.next_slot(wall_minus(after, jitter)).map(|slot| wall_plus(slot, jitter))
    }

    /// How much later than the others an instance is due, always the same.
    pub(super) fn jitter_of(&self, instance: &str) -> Duration {
        let spread = match (self.jitter, &self.every) {
            (Jitter::Within(jitter), _) => jitter,
            (Jitter::Auto, Every::Interval(interval)) => *interval,
            (Jitter::Auto, _) => Duration::ZERO,
        };
        let share = (u128::from(hash(instance)) * spread.min(LONGEST_JITTER).as_millis()) >> 64;
        Duration::from_millis(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// The first slot after `after`, without jitter.
    pub(super) fn next_slot(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.every {
            Every::Rpo => None,
            Every::Interval(interval) => {
                let interval = i128::try_from(interval.as_nanos()).ok().filter(|interval| *interval > 0)?;
                let passed = after.as_nanosecond().div_euclid(interval);
                Timestamp::from_nanosecond((passed + 1).checked_mul(interval)?).ok()
            }
            Every::Cron(cron) => cron.next_after(after, &self.zone),
        }
    }

    /// The newest slot after `after` and up to `until`, and how many there are, counted up to a hundred.
    pub(super) fn newest_slot(&self, after: Timestamp, until: Timestamp) -> Option<(Timestamp, u32)> {
        let next = |after| self.next_slot(after).filter(|slot| *slot <= until);
        let (mut newest, mut count) = (next(after)?, 1);
        while count < MOST_COUNTED {
            match next(newest) {
                Some(slot) => (newest, count) = (slot, count + 1),
                None => return Some((newest, count)),
            }
        }
        // The others are halved until none is left. Slots are whole minutes, or so many hours, apart.
        let mut none_after = until;
        while wall_until(newest, none_after) > Duration::from_secs(1) {
            let middle = wall_plus(newest, wall_until(newest, none_after) / 2);
            match next(middle) {
                Some(slot) => newest = slot,
                None => none_after = middle,
            }
        }
        Some((next(newest).unwrap_or(newest), count))
    }
}

impl Misfire {
    /// Whether a backup is still made of slots of which the newest is so late.
    pub(super) fn allows(self, late: Duration) -> bool {
        match self {
            Self::Coalesce => true,
            Self::Skip => late <= IN_TIME,
            Self::Within(most) => late <= most.max(IN_TIME),
        }
    }
}

/// FNV-1a of the name (Fowler, Noll and Vo), then the finalizer of splitmix64 (Steele, Lea and Flood, 2014), because names
/// differ in their last digits only. Written out because it must never change: it is when backups run.
fn hash(name: &str) -> u64 {
    let fnv = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let z = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl FromStr for Misfire {
    type Err = MisfireError;

    fn from_str(text: &str) -> Result<Self, MisfireError> {
        match text.trim() {
            "coalesce" => Ok(Self::Coalesce),
            "skip" => Ok(Self::Skip),
            within => {
                let within = humantime::parse_duration(within);
                within.map(Self::Within).map_err(|_| MisfireError { found: text.to_owned() })
            }
        }
    }
}

impl fmt::Display for Misfire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coalesce => f.pad("coalesce"),
            Self::Skip => f.pad("skip"),
            Self::Within(most) => f.pad(&humantime::format_duration(*most).to_string()),
        }
    }
}

crate::text::as_text!(Misfire: MisfireError);
