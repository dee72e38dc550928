//! The enforcer of a rate: [`Meter`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sched_core::{Charge, Clock, MonoTime, Pacer};

use crate::rate::Rate;

/// Burst, as time at the present rate: long enough for timer slack, short enough to stay under a disk's queue.
const BURST: Duration = Duration::from_millis(50);
/// A chunk, as time at the present rate: what a cancelled or paused job may have to wait out.
const CHUNK: Duration = Duration::from_millis(20);
/// Bounds of a chunk. The lower keeps system calls worth their cost at low rates.
const CHUNK_BYTES: (u64, u64) = (4 << 10, 1 << 20);
/// Bytes are counted in billionths, so that any rate in bytes per second times nanoseconds is exact.
const NANO: u128 = 1_000_000_000;

/// A rate that many jobs share in the order in which they ask.
///
/// Two counters do it all: the bytes *issued* to callers, and the bytes *served* by the rate so far. A charge may
/// move when what was served reaches its place in what was issued. So a new rate counts at once for everybody in
/// line, a rate of 0 stops the line, and nothing has to be given back. Idle time earns a burst of 50 ms at most.
pub struct Meter {
    clock: Arc<dyn Clock>,
    line: Mutex<Line>,
}

struct Line {
    rate: Rate,
    issued: u128,
    served: u128,
    at: MonoTime,
}

impl Meter {
    /// A meter at `rate`, with nothing in line.
    pub fn new(clock: Arc<dyn Clock>, rate: Rate) -> Self {
        let line = Line { rate, issued: 0, served: 0, at: clock.now().mono };
        Self { clock, line: Mutex::new(line) }
    }

    /// The present rate.
    pub fn rate(&self) -> Rate {
        self.line.lock().rate
    }

    /// Changes the rate for everything not yet served. Whoever waits notices at its next look.
    pub fn set_rate(&self, rate: Rate) {
        let now = self.clock.now().mono;
        let mut line = self.line.lock();
        line.serve(now);
        line.rate = rate;
        line.limit_credit();
    }

    fn charge(&self, bytes: u64) -> u128 {
        let now = self.clock.now().mono;
        let mut line = self.line.lock();
        line.serve(now);
        line.issued += u128::from(bytes) * NANO;
        line.issued
    }

    fn wait(&self, place: u128) -> Option<Duration> {
        let now = self.clock.now().mono;
        let mut line = self.line.lock();
        line.serve(now);
        let missing = place.saturating_sub(line.served);
        match line.rate {
            _ if missing == 0 => Some(Duration::ZERO),
            Rate::Unlimited => Some(Duration::ZERO),
            Rate::BytesPerSec(0) => None,
            Rate::BytesPerSec(rate) => {
                let nanos = missing.div_ceil(u128::from(rate));
                Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
            }
        }
    }

    fn max_chunk(&self) -> u64 {
        match self.rate() {
            Rate::Unlimited => CHUNK_BYTES.1,
            Rate::BytesPerSec(rate) => bytes_in(rate, CHUNK).clamp(CHUNK_BYTES.0, CHUNK_BYTES.1),
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("rate", &self.rate()).finish_non_exhaustive()
    }
}

impl Line {
    /// Lets through what the rate allowed since the last look.
    fn serve(&mut self, now: MonoTime) {
        let passed = now.since(self.at).as_nanos();
        self.at = self.at.max(now);
        match self.rate {
            Rate::Unlimited => self.served = self.issued,
            Rate::BytesPerSec(rate) => self.served += u128::from(rate) * passed,
        }
        self.limit_credit();
    }

    /// What was served ahead of demand is the burst, and no more: after idle time, a clock jump or a new rate.
    fn limit_credit(&mut self) {
        let burst = match self.rate {
            Rate::Unlimited => 0,
            Rate::BytesPerSec(rate) => u128::from(bytes_in(rate, BURST)) * NANO,
        };
        self.served = self.served.min(self.issued + burst);
    }
}

fn bytes_in(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_nanos() / NANO).unwrap_or(u64::MAX)
}

/// One job's place in a shared [`Meter`], under a ceiling of its own. May be used from several threads.
#[derive(Debug)]
pub struct JobPacer {
    shared: Arc<Meter>,
    own: Meter,
}

impl JobPacer {
    /// A pacer under `shared`, and no faster than `ceiling`.
    pub fn new(shared: Arc<Meter>, ceiling: Rate) -> Self {
        let own = Meter::new(shared.clock.clone(), ceiling);
        Self { shared, own }
    }

    /// Changes the ceiling; what was charged before waits at the former one.
    pub fn set_ceiling(&self, ceiling: Rate) {
        self.own.set_rate(ceiling);
    }
}

/// Both places in whole bytes, in one number. 2^64 bytes are more than any process moves.
fn pack(shared: u128, own: u128) -> Charge {
    let low = |place: u128| (place / NANO) & u128::from(u64::MAX);
    Charge(low(shared) << 64 | low(own))
}

impl Pacer for JobPacer {
    fn charge(&self, bytes: u64) -> Charge {
        pack(self.shared.charge(bytes), self.own.charge(bytes))
    }

    fn wait(&self, Charge(places): Charge) -> Option<Duration> {
        let shared = self.shared.wait((places >> 64) * NANO)?;
        let own = self.own.wait((places & u128::from(u64::MAX)) * NANO)?;
        Some(shared.max(own))
    }

    fn max_chunk(&self) -> u64 {
        self.shared.max_chunk().min(self.own.max_chunk())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sched_core::ManualClock;

    use super::*;

    fn meter(rate: Rate) -> (ManualClock, Arc<Meter>) {
        let clock = ManualClock::default();
        (clock.clone(), Arc::new(Meter::new(Arc::new(clock), rate)))
    }

    fn pacer(meter: &Arc<Meter>) -> JobPacer {
        JobPacer::new(meter.clone(), Rate::Unlimited)
    }

    /// Moves chunks for `time`; returns the bytes moved.
    fn pump(clock: &ManualClock, pacers: &[JobPacer], time: Duration) -> Vec<u64> {
        let end = clock.now().mono + time;
        let mut moved = vec![0; pacers.len()];
        let mut held: Vec<_> = pacers.iter().map(|p| (p.max_chunk(), p.charge(p.max_chunk()))).collect();
        loop {
            let waits = pacers.iter().zip(&held).map(|(p, (_, c))| p.wait(*c).unwrap());
            let (next, wait) = waits.enumerate().min_by_key(|(_, wait)| *wait).unwrap();
            if clock.now().mono + wait > end {
                clock.advance_to(end);
                return moved;
            }
            clock.advance(wait);
            moved[next] += held[next].0;
            let chunk = pacers[next].max_chunk();
            held[next] = (chunk, pacers[next].charge(chunk));
        }
    }

    #[test]
    fn the_rate_is_exact_from_kilobytes_to_a_hundred_gigabytes() {
        for rate in [1_000, 1_000_000, 50_000_000, 1_000_000_000, 100_000_000_000] {
            let (clock, meter) = meter(Rate::BytesPerSec(rate));
            let time = Duration::from_secs(if rate == 1_000 { 10_000 } else { 20 });
            let moved = pump(&clock, &[pacer(&meter)], time)[0] as f64;
            let ratio = moved / (rate as f64 * time.as_secs_f64());
            assert!((ratio - 1.0).abs() < 0.003, "{rate}: {ratio}");
        }
    }

    #[test]
    fn equal_jobs_get_equal_shares() {
        let (clock, meter) = meter(Rate::BytesPerSec(10_000_000));
        let pacers: Vec<_> = (0..7).map(|_| pacer(&meter)).collect();
        let moved = pump(&clock, &pacers, Duration::from_secs(10));
        let sum: f64 = moved.iter().map(|m| *m as f64).sum();
        let squares: f64 = moved.iter().map(|m| (*m as f64).powi(2)).sum();
        // Jain, Chiu, Hawe 1984: 1 is perfectly fair.
        assert!(sum * sum / (7.0 * squares) > 0.99, "{moved:?}");
    }

    #[test]
    fn a_new_rate_counts_at_once_for_those_in_line() {
        let (clock, meter) = meter(Rate::BytesPerSec(1));
        let pacer = pacer(&meter);
        let charge = pacer.charge(4096);
        assert!(pacer.wait(charge).unwrap() > Duration::from_secs(4000));
        meter.set_rate(Rate::BytesPerSec(0));
        assert_eq!(pacer.wait(charge), None);
        meter.set_rate(Rate::BytesPerSec(4096));
        assert_eq!(pacer.wait(charge), Some(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(pacer.wait(charge), Some(Duration::ZERO));
    }

    #[test]
    fn unlimited_leaves_neither_debt_nor_credit() {
        let (clock, meter) = meter(Rate::Unlimited);
        let pacer = pacer(&meter);
        for _ in 0..1000 {
            let charge = pacer.charge(1 << 20);
            assert_eq!(pacer.wait(charge), Some(Duration::ZERO));
        }
        clock.advance(Duration::from_secs(3600));
        meter.set_rate(Rate::BytesPerSec(1_000_000));
        let charge = pacer.charge(1_000_000);
        assert_eq!(pacer.wait(charge), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_job_is_held_to_its_own_ceiling() {
        let (clock, meter) = meter(Rate::BytesPerSec(1_000_000_000));
        let slow = JobPacer::new(meter, Rate::BytesPerSec(1_000_000));
        let moved = pump(&clock, &[slow], Duration::from_secs(10))[0] as f64;
        assert!((moved / 1e7 - 1.0).abs() < 0.02, "{moved}");
    }

    proptest! {
        /// Whatever the rates and pauses, no more passes than the integral of the rate, a burst and a chunk.
        #[test]
        fn never_more_than_the_rate_and_a_burst(
            steps in prop::collection::vec((0..3_000_000_u64, 0..5_000_u64, 0..20_usize), 1..60)
        ) {
            let (clock, meter) = meter(Rate::BytesPerSec(1_000));
            let pacer = pacer(&meter);
            let (mut moved, mut allowed, mut most_burst) = (0.0, 0.0, 0.0_f64);
            let mut held = (pacer.max_chunk(), pacer.charge(pacer.max_chunk()));
            let mut largest = held.0;
            for (rate, millis, tries) in steps {
                meter.set_rate(Rate::BytesPerSec(rate));
                most_burst = most_burst.max(rate as f64 * BURST.as_secs_f64());
                clock.advance(Duration::from_millis(millis));
                allowed += rate as f64 * millis as f64 / 1e3;
                for _ in 0..tries {
                    if pacer.wait(held.1) == Some(Duration::ZERO) {
                        moved += held.0 as f64;
                        held = (pacer.max_chunk(), pacer.charge(pacer.max_chunk()));
                        largest = largest.max(held.0);
                    }
                }
                prop_assert!(moved <= allowed + most_burst + largest as f64 + 1.0);
            }
        }

        /// A clock that jumps forward, or a machine that slept, yields one burst.
        #[test]
        fn a_jump_yields_one_burst(hours in 1..1_000_u64) {
            let (clock, meter) = meter(Rate::BytesPerSec(1_000_000));
            let pacer = pacer(&meter);
            clock.advance(Duration::from_secs(hours * 3600));
            let mut moved = 0;
            loop {
                let chunk = pacer.max_chunk();
                let charge = pacer.charge(chunk);
                if pacer.wait(charge) != Some(Duration::ZERO) {
                    break;
                }
                moved += chunk;
            }
            prop_assert!(moved <= 50_000 + pacer.max_chunk());
        }
    }
}
