//! From signals to decisions: readings in, load, capacity and rate out. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use sched_core::{CapacityState, EventKind, LoadLevel, LoadState, MonoTime, Now, Reason, Scope, SignalName};
use sched_limits::{
    CapacityJudge, ControlLaw, LOST_AFTER_PERIODS, LatencySample, PiConfig, PiLaw, Rate, Reading, Share,
    Thresholds, Verdict,
};
use sched_workload::{LatencyReading, LoadReading};

/// Backups that use at least this share of what they were granted would use more: they wait for the rate.
const DEMAND_LIMITED_FROM: f64 = 0.8;
/// A goal is a promise to users, not the healthy latency: it is taken to lie this far above that. With a wider
/// allowance the law counts in larger steps and takes free capacity sooner.
const SLO_OVER_HEALTHY: f64 = 2.0;

/// A rate is told as an event when it has changed by more than this part of what was last told.
const TOLD_FROM: u64 = 10;

/// What a detector was registered with.
pub(crate) struct DetectorTerms {
    pub(crate) name: SignalName,
    pub(crate) scope: Scope,
    pub(crate) period: Duration,
    pub(crate) latency_target: Option<Duration>,
}

/// Something to be done.
pub(crate) enum Directive {
    Load(Scope, LoadState),
    Capacity(Scope, CapacityState),
    Rate(Rate),
    Note(EventKind),
}

/// What probes and detectors said last, and what follows from it.
pub(crate) struct Signals {
    probes: Vec<ProbeTerms>,
    judge: CapacityJudge,
    detectors: Vec<Detector>,
    published: BTreeMap<Scope, LoadLevel>,
    limit: RateLimit,
    rate: Rate,
    /// The rate that was last told as an event.
    told: Option<Rate>,
    /// What running jobs were promised, in bytes a second.
    floor: u64,
}

/// Bounds of the rate.
#[derive(Clone, Copy)]
pub(crate) struct RateLimit {
    pub(crate) ceiling: Rate,
    /// The rate at which a law's share is 1.
    pub(crate) full_scale: u64,
    /// Whether the rate is enforced, or only told.
    pub(crate) enforce: bool,
}

/// What a probe was registered with.
pub(crate) struct ProbeTerms {
    pub(crate) name: SignalName,
    pub(crate) period: Duration,
}

impl DetectorTerms {
    fn lost_after(&self) -> Duration {
        self.period.saturating_mul(LOST_AFTER_PERIODS)
    }
}

struct Detector {
    terms: DetectorTerms,
    /// When it last gave a usable answer, at first when it was started.
    last: MonoTime,
    lost: bool,
    state: LoadState,
    law: Option<Steering>,
}

/// A law that steers the rate by one detector's latency.
struct Steering {
    law: PiLaw,
    share: f64,
    reason: Reason,
    paced: u64,
    at: MonoTime,
}

impl Steering {
    /// A law that has seen nothing; `None` when a detector's target or period cannot be steered by.
    fn towards(now: MonoTime, target: Duration, period: Duration) -> Option<Self> {
        let mut config = PiConfig::new(target);
        config.period = period;
        config.allowance = SLO_OVER_HEALTHY;
        let mut law = PiLaw::new(config).ok()?;
        let Share { share, reason } = law.missing(now);
        Some(Self { law, share, reason, paced: 0, at: now })
    }
}

impl Signals {
    pub(crate) fn new(
        now: Now,
        thresholds: Thresholds,
        probes: Vec<ProbeTerms>,
        detectors: Vec<DetectorTerms>,
        limit: RateLimit,
    ) -> Self {
        let mut judge = CapacityJudge::new(thresholds);
        for probe in &probes {
            judge.expect(now, probe.name.as_str(), probe.period);
        }
        let detectors = detectors.into_iter().map(|terms| Detector::new(now.mono, terms));
        let rate = limit.ceiling;
        let mut this = Self {
            probes,
            judge,
            detectors: detectors.collect(),
            published: BTreeMap::new(),
            limit,
            rate,
            told: None,
            floor: 0,
        };
        // A law that has seen nothing yet grants its blind share.
        this.publish_rate(&mut Vec::new());
        this
    }

    /// The rate for all backups together.
    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// When [`tick`](Self::tick) may have something to say although no signal came.
    pub(crate) fn next_look(&self) -> Option<MonoTime> {
        let detectors = self.detectors.iter().filter(|d| !d.lost);
        let detectors = detectors.map(|d| d.last + d.terms.lost_after());
        detectors.chain(self.judge.next_look()).min()
    }

    /// A probe answered.
    pub(crate) fn readings(
        &mut self,
        now: Now,
        probe: usize,
        result: Result<Vec<Reading>, String>,
    ) -> Vec<Directive> {
        let Some(ProbeTerms { name, period }) = self.probes.get(probe) else { return vec![] };
        let verdicts = match result {
            Ok(readings) => self.judge.observe(now, name.as_str(), *period, &readings),
            Err(why) => self.judge.lost(now, name.as_str(), *period, why),
        };
        verdicts.into_iter().map(directive).collect()
    }

    /// A detector answered. `paced` counts the bytes of all backups so far.
    pub(crate) fn load(
        &mut self,
        now: Now,
        index: usize,
        result: Result<LoadReading, String>,
        paced: u64,
    ) -> Vec<Directive> {
        let granted = self.rate;
        let Some(detector) = self.detectors.get_mut(index) else { return vec![] };
        let mut directives = Vec::new();
        match result {
            Ok(reading) => {
                detector.last = now.mono;
                if std::mem::take(&mut detector.lost) {
                    directives
                        .push(Directive::Note(EventKind::SignalBack { signal: detector.terms.name.clone() }));
                }
                detector.state = reading.state;
                if let Some(latency) = reading.latency {
                    detector.steer(now.mono, &latency, granted, paced);
                }
            }
            Err(why) => directives.extend(detector.miss(now.mono, Reason::new(why))),
        }
        self.publish_load(&mut directives);
        self.publish_rate(&mut directives);
        directives
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<Directive> {
        let mut directives: Vec<_> = self.judge.tick(now).into_iter().map(directive).collect();
        for detector in &mut self.detectors {
            let limit = detector.terms.lost_after();
            if !detector.lost && now.mono.since(detector.last) >= limit {
                let reason = Reason::new(format!("no answer for {limit:?}"));
                directives.extend(detector.miss(now.mono, reason));
            }
        }
        if !directives.is_empty() {
            self.publish_load(&mut directives);
            self.publish_rate(&mut directives);
        }
        directives
    }

    /// Running jobs were promised this much together: the rate does not fall below it, within the ceiling.
    pub(crate) fn set_floor(&mut self, floor: u64) -> Vec<Directive> {
        let mut directives = Vec::new();
        if std::mem::replace(&mut self.floor, floor) != floor {
            self.publish_rate(&mut directives);
        }
        directives
    }

    /// Says the worst load of each scope where it has changed.
    fn publish_load(&mut self, directives: &mut Vec<Directive>) {
        let mut worst: BTreeMap<&Scope, &LoadState> = BTreeMap::new();
        for detector in &self.detectors {
            let state = worst.entry(&detector.terms.scope).or_insert(&detector.state);
            if detector.state.level > state.level {
                *state = &detector.state;
            }
        }
        for (scope, state) in worst {
            let before = self.published.insert(scope.clone(), state.level);
            if before.unwrap_or_default() != state.level {
                directives.push(Directive::Load(scope.clone(), state.clone()));
            }
        }
    }

    /// Says the least rate of all laws and the ceiling where it has changed.
    fn publish_rate(&mut self, directives: &mut Vec<Directive>) {
        let least = self.detectors.iter().filter_map(|d| d.law.as_ref());
        let Some(least) = least.min_by(|a, b| a.share.total_cmp(&b.share)) else { return };
        let steered = (least.share.clamp(0.0, 1.0) * self.limit.full_scale as f64) as u64;
        let rate = Rate::BytesPerSec(steered.max(self.floor)).min(self.limit.ceiling);
        if rate == self.rate {
            return;
        }
        self.rate = rate;
        if self.limit.enforce {
            directives.push(Directive::Rate(rate));
        }
        if self.told.is_some_and(|told| alike(told, rate)) {
            return;
        }
        self.told = Some(rate);
        let bytes_per_sec = match rate {
            Rate::BytesPerSec(bytes) => Some(bytes),
            Rate::Unlimited => None,
        };
        let reason = least.reason.clone();
        directives.push(Directive::Note(EventKind::Rerated { bytes_per_sec, reason }));
    }
}

impl Detector {
    fn new(now: MonoTime, terms: DetectorTerms) -> Self {
        let state = LoadState { level: LoadLevel::Calm, reason: Reason::new("nothing measured yet") };
        let law = terms.latency_target.and_then(|target| Steering::towards(now, target, terms.period));
        Self { terms, last: now, lost: false, state, law }
    }

    fn steer(&mut self, now: MonoTime, latency: &LatencyReading, granted: Rate, paced: u64) {
        if self.law.is_none() {
            self.law = Steering::towards(now, latency.target, self.terms.period);
        }
        let Some(steering) = &mut self.law else { return };
        let passed = now.since(steering.at).as_secs_f64();
        let used = paced.saturating_sub(steering.paced) as f64;
        let demand_limited = match granted {
            Rate::Unlimited => false,
            Rate::BytesPerSec(rate) => passed > 0.0 && used >= DEMAND_LIMITED_FROM * rate as f64 * passed,
        };
        (steering.paced, steering.at) = (paced, now);
        let sample = LatencySample { at: now, latency: latency.value, demand_limited };
        let share = steering.law.update(sample);
        (steering.share, steering.reason) = (share.share, share.reason);
    }

    /// No usable answer. What it said before holds for a while, then is unknown: neither calm nor busy.
    fn miss(&mut self, now: MonoTime, reason: Reason) -> Option<Directive> {
        if let Some(steering) = &mut self.law {
            let share = steering.law.missing(now);
            (steering.share, steering.reason) = (share.share, share.reason);
        }
        if self.lost || now.since(self.last) < self.terms.lost_after() {
            return None;
        }
        self.lost = true;
        self.state = LoadState { level: LoadLevel::Calm, reason: Reason::new("unknown: the signal is lost") };
        Some(Directive::Note(EventKind::SignalLost { signal: self.terms.name.clone(), reason }))
    }
}

/// Whether two rates are so close that telling the difference would only be noise.
fn alike(told: Rate, rate: Rate) -> bool {
    match (told, rate) {
        (Rate::BytesPerSec(a), Rate::BytesPerSec(b)) => a.abs_diff(b) <= a / TOLD_FROM,
        _ => told == rate,
    }
}

fn directive(verdict: Verdict) -> Directive {
    match verdict {
        Verdict::Capacity { scope, state } => Directive::Capacity(scope, state),
        Verdict::Lost { signal, reason } => Directive::Note(EventKind::SignalLost { signal, reason }),
        Verdict::Back { signal } => Directive::Note(EventKind::SignalBack { signal }),
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, ManualClock};

    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    fn signals(clock: &ManualClock) -> Signals {
        let detector = DetectorTerms {
            name: "checkout".into(),
            scope: Scope::Fleet,
            period: PERIOD,
            latency_target: Some(Duration::from_millis(100)),
        };
        let probe = ProbeTerms { name: "disk".into(), period: PERIOD };
        let limit = RateLimit { ceiling: Rate::BytesPerSec(1_000), full_scale: 1_000, enforce: true };
        Signals::new(clock.now(), Thresholds::default(), vec![probe], vec![detector], limit)
    }

    /// The levels and states that were published.
    fn told(directives: Vec<Directive>) -> Vec<String> {
        let told = directives.into_iter().filter_map(|directive| match directive {
            Directive::Load(_, state) => Some(state.level.to_string()),
            Directive::Capacity(_, CapacityState::Open) => Some("open".into()),
            Directive::Capacity(_, CapacityState::Closed { .. }) => Some("closed".into()),
            Directive::Note(EventKind::SignalLost { signal, .. }) => Some(format!("{signal} lost")),
            Directive::Rate(_) | Directive::Note(_) => None,
        });
        told.collect()
    }

    #[test]
    fn a_stale_signal_freezes_nothing() {
        let clock = ManualClock::default();
        let mut signals = signals(&clock);
        let full = vec![Reading::share("disk", 1.0)];
        assert_eq!(told(signals.readings(clock.now(), 0, Ok(full))), ["closed"]);
        let peak = LoadReading::new(LoadLevel::Peak, Reason::new("told by a test"));
        assert_eq!(told(signals.load(clock.now(), 0, Ok(peak), 0)), ["peak"]);
        // Neither answers again.
        let mut news = Vec::new();
        while let Some(at) = signals.next_look() {
            assert!(news.len() < 10 && at.since(MonoTime::ZERO) < PERIOD * 10, "{news:?}");
            clock.advance_to(at);
            news.extend(told(signals.tick(clock.now())));
        }
        news.sort();
        assert_eq!(news, ["calm", "checkout lost", "disk lost", "open"]);
        assert!(signals.rate() < Rate::BytesPerSec(1_000), "and nothing raises the rate");
    }
}
