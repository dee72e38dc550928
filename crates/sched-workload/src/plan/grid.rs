//! Time in whole milliseconds, cut into equal slots that begin at the Unix epoch: [`Grid`].

use std::time::Duration;

use jiff::Timestamp;

/// Longer than any run, and so short that sums of a few do not overflow.
pub(super) const FAR: i64 = i64::MAX / 8;

/// The first whole millisecond that is not before `when`.
pub(super) fn ceil_ms(when: Timestamp) -> i64 {
    let floor = floor_ms(when);
    floor + i64::from(when.as_nanosecond() > i128::from(floor) * 1_000_000)
}

/// The last whole millisecond that is not after `when`.
pub(super) fn floor_ms(when: Timestamp) -> i64 {
    when.as_nanosecond().div_euclid(1_000_000) as i64 // a timestamp's milliseconds fit
}

/// The moment, or the nearest that can be represented.
pub(super) fn timestamp(ms: i64) -> Timestamp {
    let nearest = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(ms).unwrap_or(nearest)
}

/// Whole milliseconds, rounded up, at most [`FAR`].
pub(super) fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(FAR).min(FAR)
}

/// Equal slots, counted from the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// How long a slot is, in milliseconds, positive.
    pub(super) step: i64,
}

impl Grid {
    /// The slot in which a moment lies.
    pub(super) fn slot(self, ms: i64) -> i64 {
        ms.div_euclid(self.step)
    }

    /// When a slot begins.
    pub(super) fn begin(self, slot: i64) -> i64 {
        slot.saturating_mul(self.step)
    }

    /// The first slot that begins at `ms` or later.
    pub(super) fn slot_from(self, ms: i64) -> i64 {
        self.slot(ms.saturating_add(self.step - 1))
    }
}
