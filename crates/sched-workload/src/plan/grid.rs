//! Time in whole milliseconds, cut into equal slots that begin at the Unix epoch: [`Grid`].

use std::time::Duration;

use jiff::Timestamp;

/// Longer than any run, and so short that sums of a few do not overflow.
pub(super) const FAR: i64 = i64::MAX / 8;

/// The first whole millisecond that is not before `when`.
pub(super) fn ceil_ms(when: Timestamp) -> i64 {
    floor_ms(when) + i64::from(when.subsec_nanosecond() % 1_000_000 != 0)
}

/// The last whole millisecond that is not after `when`.
pub(super) fn floor_ms(when: Timestamp) -> i64 {
    // A timestamp's milliseconds fit. Before 1970 its nanoseconds are negative.
    when.as_second() * 1000 + i64::from(when.subsec_nanosecond().div_euclid(1_000_000))
}

/// The moment, or the nearest that can be represented.
pub(super) fn timestamp(ms: i64) -> Timestamp {
    let nearest = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(ms).unwrap_or(nearest)
}

/// Whole milliseconds, rounded up, at most [`FAR`].
pub(super) fn duration_ms(duration: Duration) -> i64 {
    let rest = u64::from(duration.subsec_nanos().div_ceil(1_000_000));
    let ms = duration.as_secs().saturating_mul(1000).saturating_add(rest);
    i64::try_from(ms).unwrap_or(FAR).min(FAR)
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
