//! One rate and what it has left: [`Bucket`].

use std::time::Duration;

use sched_core::MonoTime;

use crate::rate::Rate;

/// Burst, as time at the present rate: long enough for timer slack, short enough to stay under a disk's queue.
pub(super) const BURST: Duration = Duration::from_millis(50);
/// A chunk, as time at the present rate: what a cancelled or paused job may have to wait out.
const CHUNK: Duration = Duration::from_millis(20);
/// A chunk is never worth more time than this, however slow the rate.
const LONGEST_CHUNK: Duration = Duration::from_millis(250);
/// Bounds of a chunk. The lower keeps system calls worth their cost at low rates.
const CHUNK_BYTES: (u64, u64) = (4 << 10, 1 << 20);
/// Bytes are counted in billionths, so that any rate in bytes a second times nanoseconds is exact.
const NANO: u128 = 1_000_000_000;

/// The most that should be charged at once by who gets so large a part of `rate`, from 0 to 1, when all ask: 20 ms of
/// it, from 4 KiB to 1 MiB, no more than 250 ms worth of the whole rate, and at least a byte.
pub(super) fn chunk(rate: Rate, part: f64) -> u64 {
    match rate {
        Rate::Unlimited => CHUNK_BYTES.1,
        Rate::BytesPerSec(rate) => {
            let usual = (bytes_in(rate, CHUNK) as f64 * part) as u64;
            let usual = usual.clamp(CHUNK_BYTES.0, CHUNK_BYTES.1);
            usual.min(bytes_in(rate, LONGEST_CHUNK)).max(1)
        }
    }
}

/// Bytes that `rate` moves in `time`.
pub(super) fn bytes_in(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_nanos() / NANO).unwrap_or(u64::MAX)
}

/// A token bucket whose size is a time: 50 ms at the present rate, or a chunk where that is more.
///
/// It is never in debt: bytes are taken when they are there. So a new rate has no debt to carry over, and what may
/// move in any time is at most the integral of the rate and one burst.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// Worked out once: a division is dear beside the rest.
    burst: u64,
    /// In billionths of a byte.
    credit: u128,
    /// The burst without what is open, in billionths of a byte.
    cap: u128,
    at: MonoTime,
}

impl Bucket {
    /// A bucket at `rate` that is empty.
    pub(super) fn new(rate: Rate, now: MonoTime) -> Self {
        let burst = burst(rate);
        Self { rate, burst, credit: 0, cap: u128::from(burst) * NANO, at: now }
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// The most that can ever be there; a chunk when the rate has no limit, 0 when it is 0.
    pub(super) fn burst(&self) -> u64 {
        self.burst
    }

    /// Changes the rate. What is there stays, up to the new burst; nothing may be open.
    pub(super) fn set_rate(&mut self, rate: Rate, now: MonoTime) {
        self.refill(now);
        (self.rate, self.burst) = (rate, burst(rate));
        self.cap = u128::from(self.burst) * NANO;
        self.credit = if rate == Rate::Unlimited { 0 } else { self.credit.min(self.cap) };
    }

    /// Adds what the rate gave since the last look. A clock that went backwards gives nothing, one that jumped
    /// forward a burst.
    pub(super) fn refill(&mut self, now: MonoTime) {
        if let Rate::BytesPerSec(rate) = self.rate {
            let passed = now.as_nanos().saturating_sub(self.at.as_nanos());
            self.credit = (self.credit + u128::from(rate) * u128::from(passed)).min(self.cap);
        }
        self.at = now;
    }

    pub(super) fn affords(&self, bytes: u64) -> bool {
        self.rate == Rate::Unlimited || self.credit >= u128::from(bytes) * NANO
    }

    /// Takes bytes that are there; what is not there is not taken.
    pub(super) fn take(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_sub(u128::from(bytes) * NANO);
    }

    /// Puts back bytes that were taken and did not move, up to the burst.
    pub(super) fn give_back(&mut self, bytes: u64) {
        if self.rate != Rate::Unlimited {
            self.credit = (self.credit + u128::from(bytes) * NANO).min(self.cap);
        }
    }

    /// Sets aside half a burst, or what there is of it, to be taken elsewhere. It counts as part of the burst until it
    /// is [closed](Self::close): so long the bucket fills to the other half only, since nobody knows when the first
    /// was spent. Half, so that a demand just below the rate is never kept waiting: one half fills while the other is
    /// spent.
    pub(super) fn open(&mut self) -> u64 {
        let half = u128::from(self.burst / 2) * NANO;
        let bytes = if self.credit >= half { self.burst / 2 } else { whole_bytes(self.credit) };
        self.take(bytes);
        self.cap -= u128::from(bytes) * NANO;
        bytes
    }

    /// Ends what [`open`](Self::open) began: `opened` bytes were set aside, and `left` of them were not used.
    pub(super) fn close(&mut self, opened: u64, left: u64, now: MonoTime) {
        self.refill(now);
        self.cap += u128::from(opened) * NANO;
        self.give_back(left);
    }

    /// How long until `bytes` are there, were nobody to take any; `None` when the rate is 0.
    pub(super) fn time_until(&self, bytes: u128) -> Option<Duration> {
        let missing = (bytes * NANO).saturating_sub(self.credit);
        match self.rate {
            Rate::Unlimited => Some(Duration::ZERO),
            _ if missing == 0 => Some(Duration::ZERO),
            Rate::BytesPerSec(0) => None,
            Rate::BytesPerSec(rate) => {
                let nanos = missing.div_ceil(u128::from(rate));
                Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
            }
        }
    }
}

fn whole_bytes(credit: u128) -> u64 {
    u64::try_from(credit / NANO).unwrap_or(u64::MAX)
}

fn burst(rate: Rate) -> u64 {
    match rate {
        Rate::BytesPerSec(0) => 0,
        Rate::BytesPerSec(bytes) => bytes_in(bytes, BURST).max(chunk(rate, 1.0)),
        Rate::Unlimited => CHUNK_BYTES.1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_short_at_every_rate() {
        let at = |rate| chunk(Rate::BytesPerSec(rate), 1.0);
        assert_eq!([at(0), at(1), at(8), at(1_000)], [1, 1, 2, 250]);
        assert_eq!([at(100_000), at(1_000_000), at(u64::MAX)], [4096, 20_000, 1 << 20]);
        assert_eq!(burst(Rate::BytesPerSec(1)), 1, "at least a chunk");
        assert_eq!(burst(Rate::BytesPerSec(1_000_000)), 50_000);
    }

    #[test]
    fn what_is_there_outlasts_a_new_rate_up_to_the_new_burst() {
        let second = MonoTime::from_nanos(1_000_000_000);
        let mut bucket = Bucket::new(Rate::BytesPerSec(1_000_000), MonoTime::ZERO);
        bucket.set_rate(Rate::BytesPerSec(2_000_000), second);
        assert!(bucket.affords(50_000) && !bucket.affords(50_001), "a burst at the former rate");
        bucket.set_rate(Rate::BytesPerSec(500_000), second);
        assert!(bucket.affords(25_000) && !bucket.affords(25_001), "a burst at the new one");
        bucket.set_rate(Rate::Unlimited, second);
        bucket.set_rate(Rate::BytesPerSec(1_000_000), second);
        assert!(!bucket.affords(1), "no limit leaves nothing behind");
    }

    #[test]
    fn a_clock_that_jumps_gives_a_burst_forward_and_nothing_backward() {
        let at = |secs: u64| MonoTime::from_nanos(secs * 1_000_000_000);
        let mut bucket = Bucket::new(Rate::BytesPerSec(u64::MAX), at(7200));
        bucket.refill(at(10_800));
        assert!(bucket.affords(bucket.burst()) && !bucket.affords(bucket.burst() + 1));
        bucket.take(bucket.burst());
        bucket.refill(at(3600));
        assert!(!bucket.affords(1));
        // What was there before the jump is not waited for again.
        bucket.refill(at(3601));
        assert!(bucket.affords(bucket.burst()));
    }
}
