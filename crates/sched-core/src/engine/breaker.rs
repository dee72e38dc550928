//! Circuit breakers: an outage is noticed once, costs no retries and ends without a herd.

use std::time::Duration;

use crate::time::MonoTime;

use super::index::ActiveIx;

/// How a circuit breaker behaves. Those of hosts and destinations count every failure there; those of other scopes
/// only what an executor blames on them.
///
/// After [`failures`](Self::failures) failed attempts in a row, of at least [`targets`](Self::targets) different
/// backups, nothing starts there for a cool-down that doubles with each trip. Then one attempt may try; each success
/// doubles how many may try together (1, 2, 4 …), until nothing is held back any more; a failure starts over. What had
/// started before neither counts as a try nor says anything new.
/// Failures in an outage spend no retries: without bound while nobody has got through since the breaker tripped, else 16
/// times, so that a single bad job cannot go round for ever. Whoever failed lets others try first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// Failed attempts in a row that trip it; 0 switches breakers off. Default 5.
    pub failures: u32,
    /// Different backups among these, at most 4. Default 3.
    pub targets: u32,
    /// First cool-down. Default 30 s.
    pub cool_down: Duration,
    /// Longest cool-down. Default 15 min.
    pub longest_cool_down: Duration,
    /// Attempts together at which it counts as recovered. Default 32.
    pub recovered_at: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            targets: 3,
            cool_down: Duration::from_secs(30),
            longest_cool_down: Duration::from_secs(15 * 60),
            recovered_at: 32,
        }
    }
}

/// One breaker.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    state: State,
    trips: u32,
}

#[derive(Clone, Debug)]
enum State {
    /// `targets` are hashes: positions in tables are used anew.
    Watching {
        failures: u32,
        targets: Vec<u64>,
    },
    Open {
        until: MonoTime,
    },
    Trying {
        together: u32,
        probes: Vec<ActiveIx>,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Watching { failures: 0, targets: Vec::new() }
    }
}

/// What a report did to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// Nothing starts until then.
    Tripped(MonoTime),
    /// More may run than before.
    Widened,
    /// Nothing is held back any more.
    Recovered,
}

impl Breaker {
    /// Whether nothing more may start at present.
    pub(super) fn is_closed(&self) -> bool {
        self.probes().len() >= self.allows()
    }

    /// How many attempts may try together.
    pub(super) fn allows(&self) -> usize {
        match self.state {
            State::Watching { .. } => usize::MAX,
            State::Open { .. } => 0,
            State::Trying { together, .. } => together as usize,
        }
    }

    /// The attempts that try whether it works again.
    pub(super) fn probes(&self) -> &[ActiveIx] {
        match &self.state {
            State::Trying { probes, .. } => probes,
            _ => &[],
        }
    }

    /// An attempt starts.
    pub(super) fn started(&mut self, active: ActiveIx) {
        if let State::Trying { probes, .. } = &mut self.state {
            probes.push(active);
        }
    }

    /// An attempt has ended, however it did.
    pub(super) fn ended(&mut self, active: ActiveIx) {
        if let State::Trying { probes, .. } = &mut self.state {
            probes.retain(|probe| *probe != active);
        }
    }

    pub(super) fn is_tripped(&self) -> bool {
        !matches!(self.state, State::Watching { .. })
    }

    /// Whether nobody has got through since it tripped.
    pub(super) fn is_out(&self) -> bool {
        matches!(self.state, State::Open { .. } | State::Trying { together: 1, .. })
    }

    /// Cool-downs in a row.
    pub(super) fn trips(&self) -> u32 {
        self.trips
    }

    /// When an open breaker lets the first attempt try.
    pub(super) fn opens_at(&self) -> Option<MonoTime> {
        match self.state {
            State::Open { until } => Some(until),
            _ => None,
        }
    }

    /// An attempt failed that backs up `target`, a hash. `surely` says that the executor blamed this very domain.
    /// `jitter` is in [0, 1).
    pub(super) fn failed(
        &mut self,
        config: &BreakerConfig,
        now: MonoTime,
        active: ActiveIx,
        target: u64,
        surely: bool,
        jitter: f64,
    ) -> Change {
        if config.failures == 0 {
            return Change::Nothing;
        }
        match &mut self.state {
            State::Watching { failures, targets } => {
                *failures += 1;
                if !targets.contains(&target) && targets.len() < 4 {
                    targets.push(target);
                }
                let enough = *failures >= config.failures && targets.len() >= config.targets.min(4) as usize;
                if !enough && !surely {
                    return Change::Nothing;
                }
            }
            // Attempts from before the trip tell nothing new.
            State::Open { .. } => return Change::Nothing,
            State::Trying { probes, .. } if !probes.contains(&active) => return Change::Nothing,
            State::Trying { .. } => {}
        }
        let longest = config.cool_down.saturating_mul(1 << self.trips.min(16)).min(config.longest_cool_down);
        // Half of it is jitter, so that breakers of one outage do not try together.
        let until = now + longest.mul_f64(0.5 + 0.5 * jitter);
        self.trips += 1;
        self.state = State::Open { until };
        Change::Tripped(until)
    }

    /// An attempt succeeded.
    pub(super) fn succeeded(&mut self, config: &BreakerConfig, active: ActiveIx) -> Change {
        match &mut self.state {
            State::Watching { failures, targets } => {
                *failures = 0;
                targets.clear();
                Change::Nothing
            }
            State::Open { .. } => Change::Nothing,
            State::Trying { probes, .. } if !probes.contains(&active) => Change::Nothing,
            State::Trying { together, .. } => {
                *together = together.saturating_mul(2);
                if *together < config.recovered_at {
                    return Change::Widened;
                }
                *self = Self::default();
                Change::Recovered
            }
        }
    }

    /// The cool-down is over. Returns whether it was.
    pub(super) fn try_again(&mut self, now: MonoTime) -> bool {
        let over = self.opens_at().is_some_and(|until| until <= now);
        if over {
            self.state = State::Trying { together: 1, probes: Vec::new() };
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> MonoTime {
        MonoTime::ZERO + Duration::from_secs(secs)
    }

    fn active(n: usize) -> ActiveIx {
        ActiveIx::new(n)
    }

    #[test]
    fn one_bad_job_does_not_trip_it() {
        let (mut breaker, config) = (Breaker::default(), BreakerConfig::default());
        for _ in 0..100 {
            assert_eq!(breaker.failed(&config, at(0), active(0), 1, false, 0.0), Change::Nothing);
        }
        assert!(!breaker.is_closed());
    }

    #[test]
    fn trips_cools_down_longer_each_time_and_widens_by_doubling() {
        let (mut breaker, config) = (Breaker::default(), BreakerConfig::default());
        let fail = |b: &mut Breaker, now, n| b.failed(&config, at(now), active(0), n, false, 1.0);
        for n in 0..4 {
            assert_eq!(fail(&mut breaker, 0, n), Change::Nothing);
        }
        assert_eq!(fail(&mut breaker, 0, 4), Change::Tripped(at(30)));
        assert!(breaker.is_closed());
        assert!(!breaker.try_again(at(29)));
        assert!(breaker.try_again(at(30)));
        assert!(!breaker.is_closed());
        assert_eq!(fail(&mut breaker, 30, 0), Change::Nothing, "started before the trip");
        breaker.started(active(0));
        assert_eq!(fail(&mut breaker, 30, 0), Change::Tripped(at(90)), "twice as long");
        assert!(breaker.try_again(at(90)));
        let (mut widths, mut next) = (vec![], 0);
        while breaker.is_tripped() {
            assert_eq!(breaker.succeeded(&config, active(1_000_000)), Change::Nothing, "no probe");
            while !breaker.is_closed() {
                breaker.started(active(next));
                next += 1;
            }
            widths.push(breaker.probes().len());
            let oldest = breaker.probes()[0];
            breaker.succeeded(&config, oldest);
            breaker.ended(oldest);
        }
        assert_eq!(widths, [1, 2, 4, 8, 16]);
    }

    #[test]
    fn a_success_in_between_starts_the_count_anew() {
        let (mut breaker, config) = (Breaker::default(), BreakerConfig::default());
        for n in 0..40 {
            if n % 4 == 3 {
                breaker.succeeded(&config, active(0));
            }
            assert_eq!(breaker.failed(&config, at(0), active(0), n, false, 0.0), Change::Nothing);
        }
    }
}
