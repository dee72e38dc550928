//! From signals to the rate of all backups, by the laws that listen to them.

use std::time::Duration;

use sched_core::{EventKind, MonoTime, Now, Reason, SignalName};
use sched_limits::{ControlLaw, Observation, Override, Rate};

use super::signals::Directive;

/// A law whose signal is silent for this many of its periods is stepped without a sample.
const SILENT_PERIODS: u32 = 2;
/// How often laws are stepped that have no signal, such as a schedule, or have not heard it yet.
const UNHEARD: Duration = Duration::from_secs(60);
/// A rate is told as an event when it has changed by more than this part of what was last told.
const TOLD_FROM: u64 = 10;

/// Bounds of the rate.
#[derive(Clone, Copy)]
pub(crate) struct RateLimit {
    pub(crate) ceiling: Rate,
    /// The rate at which a law's share is 1.
    pub(crate) full_scale: u64,
    /// Whether the rate is enforced, or only told.
    pub(crate) enforce: bool,
}

/// A law of the host's, and the signal that it listens to.
pub(crate) struct LawTerms {
    pub(crate) signal: SignalName,
    pub(crate) law: Box<dyn ControlLaw>,
}

/// The laws, and the least rate that they allow.
pub(crate) struct Steering {
    laws: Override,
    listeners: Vec<Listener>,
    limit: RateLimit,
    rate: Rate,
    /// The rate that was last told as an event.
    told: Option<Rate>,
    /// What running jobs were promised, in bytes a second.
    floor: u64,
}

/// What a law listens to; its place is that of the law in [`Override`].
struct Listener {
    signal: SignalName,
    period: Option<Duration>,
    /// When the law was last stepped, and the bytes that backups had moved by its last sample.
    stepped: MonoTime,
    sampled: MonoTime,
    paced: u64,
}

impl Steering {
    pub(crate) fn new(now: Now, limit: RateLimit, laws: Vec<LawTerms>) -> Self {
        let rate = limit.ceiling;
        let mut this =
            Self { laws: Override::new(), listeners: Vec::new(), limit, rate, told: None, floor: 0 };
        for LawTerms { signal, law } in laws {
            this.add(now, signal, law);
        }
        this
    }

    pub(crate) fn add(&mut self, now: Now, signal: SignalName, law: Box<dyn ControlLaw>) {
        self.laws.add(now, law);
        let (stepped, sampled) = (now.mono, now.mono);
        self.listeners.push(Listener { signal, period: None, stepped, sampled, paced: 0 });
    }

    /// Whether some law listens to the signal.
    pub(crate) fn hears(&self, signal: &SignalName) -> bool {
        self.listeners.iter().any(|listener| listener.signal == *signal)
    }

    /// The rate for all backups together.
    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// A signal has a value, in seconds or as a share; `paced` counts the bytes of all backups so far.
    pub(crate) fn hear(&mut self, now: Now, signal: &SignalName, period: Duration, value: f64, paced: u64) {
        for (law, listener) in self.listeners.iter_mut().enumerate() {
            if listener.signal != *signal {
                continue;
            }
            let passed = now.mono.since(listener.sampled).as_secs_f64();
            let moved = paced.saturating_sub(listener.paced) as f64;
            let used = if passed > 0.0 { moved / passed / self.limit.full_scale as f64 } else { 0.0 };
            listener.period = Some(period);
            (listener.stepped, listener.sampled, listener.paced) = (now.mono, now.mono, paced);
            self.laws.step(now, law, Some(Observation { at: now.mono, value, used }));
        }
    }

    /// A signal has no usable value.
    pub(crate) fn miss(&mut self, now: Now, signal: &SignalName) {
        for (law, listener) in self.listeners.iter_mut().enumerate() {
            if listener.signal == *signal {
                listener.stepped = now.mono;
                self.laws.step(now, law, None);
            }
        }
    }

    /// Time has passed: laws whose signals are silent fail slow, and schedules go on. Whether any was stepped.
    pub(crate) fn tick(&mut self, now: Now) -> bool {
        let mut any = false;
        for (law, listener) in self.listeners.iter_mut().enumerate() {
            if now.mono >= listener.due() {
                listener.stepped = now.mono;
                self.laws.step(now, law, None);
                any = true;
            }
        }
        any
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_look(&self) -> Option<MonoTime> {
        self.listeners.iter().map(Listener::due).min()
    }

    /// Running jobs were promised this much together: the rate does not fall below it, within the ceiling. Whether
    /// that is new.
    pub(crate) fn set_floor(&mut self, floor: u64) -> bool {
        std::mem::replace(&mut self.floor, floor) != floor
    }

    /// Says the rate where it has changed, with the signal and the law behind it.
    pub(crate) fn publish(&mut self, directives: &mut Vec<Directive>) {
        let Some((law, least)) = self.laws.least() else { return };
        let steered = (least.granted() * self.limit.full_scale as f64) as u64;
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
        let reason = named(least.reason.clone(), &self.listeners[law].signal);
        directives.push(Directive::Note(EventKind::Rerated { bytes_per_sec, reason }));
    }
}

impl Listener {
    fn due(&self) -> MonoTime {
        self.stepped + self.period.map_or(UNHEARD, |period| period.saturating_mul(SILENT_PERIODS))
    }
}

/// A law knows what kind of signal it has; the host knows its name.
fn named(mut reason: Reason, signal: &SignalName) -> Reason {
    if let Some(measured) = &mut reason.measured {
        measured.signal = signal.clone();
    }
    reason
}

/// Whether two rates are so close that telling the difference would only be noise.
fn alike(told: Rate, rate: Rate) -> bool {
    match (told, rate) {
        (Rate::BytesPerSec(a), Rate::BytesPerSec(b)) => a.abs_diff(b) <= a / TOLD_FROM,
        _ => told == rate,
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, ManualClock};
    use sched_limits::{FixedLaw, PiConfig, PiLaw, Plan, ScheduleLaw};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMIT: RateLimit =
        RateLimit { ceiling: Rate::BytesPerSec(1_000_000), full_scale: 1_000_000, enforce: true };

    fn pi(healthy_ms: u64) -> Box<dyn ControlLaw> {
        Box::new(PiLaw::new(PiConfig::healthy(Duration::from_millis(healthy_ms))).unwrap())
    }

    fn rates(steering: &mut Steering) -> (Option<Rate>, Option<Reason>) {
        let mut directives = Vec::new();
        steering.publish(&mut directives);
        let mut found = (None, None);
        for directive in directives {
            match directive {
                Directive::Rate(rate) => found.0 = Some(rate),
                Directive::Note(EventKind::Rerated { reason, .. }) => found.1 = Some(reason),
                _ => {}
            }
        }
        found
    }

    #[test]
    fn the_signal_that_hurts_decides_and_is_named() {
        let clock = ManualClock::default();
        let mut steering = Steering::new(clock.now(), LIMIT, Vec::new());
        steering.add(clock.now(), "orders".into(), pi(10));
        steering.add(clock.now(), "events".into(), pi(10));
        let (mut rate, mut why, mut paced) = (0, None, 0);
        for second in 0..400 {
            clock.advance(SECOND);
            // Backups move what they may.
            paced += rate;
            let events = if second < 200 { 0.010 } else { 0.030 };
            steering.hear(clock.now(), &"orders".into(), SECOND, 0.010, paced);
            steering.hear(clock.now(), &"events".into(), SECOND, events, paced);
            let (set, told) = rates(&mut steering);
            if let Some(Rate::BytesPerSec(set)) = set {
                rate = set;
            }
            why = told.or(why);
            if second == 199 {
                assert!(rate > 250_000, "{rate}");
            }
        }
        assert_eq!(rate, 0);
        let measured = why.unwrap().measured.unwrap();
        assert_eq!(measured.signal.as_str(), "events");
        assert!((measured.threshold - 11.0).abs() < 0.01 && measured.value > 29.0, "{measured:?}");
    }

    #[test]
    fn promised_floors_hold_within_the_ceiling() {
        let clock = ManualClock::default();
        let fixed = LawTerms { signal: "fixed".into(), law: Box::new(FixedLaw::new(0.1).unwrap()) };
        let mut steering = Steering::new(clock.now(), LIMIT, vec![fixed]);
        assert_eq!(rates(&mut steering).0, Some(Rate::BytesPerSec(100_000)));
        assert!(steering.set_floor(300_000));
        assert_eq!(rates(&mut steering).0, Some(Rate::BytesPerSec(300_000)));
        assert!(steering.set_floor(9_000_000));
        assert_eq!(rates(&mut steering).0, Some(Rate::BytesPerSec(1_000_000)));
        assert!(!steering.set_floor(9_000_000));
    }

    #[test]
    fn a_schedule_goes_on_without_any_signal() {
        let clock = ManualClock::new("2026-01-05T08:58:30Z".parse().unwrap());
        let noon = |hour| jiff::civil::time(hour, 0, 0, 0);
        let law = ScheduleLaw::new(Plan::daily([(noon(1), 1.0), (noon(9), 0.2)])).unwrap();
        let terms = LawTerms { signal: "plan".into(), law: Box::new(law) };
        let mut steering = Steering::new(clock.now(), LIMIT, vec![terms]);
        // The ceiling is what the plan says already.
        assert_eq!(rates(&mut steering).0, None);
        let mut looks = 0;
        while clock.now().wall < "2026-01-05T09:01:00Z".parse().unwrap() {
            let due = steering.next_look().unwrap().since(clock.now().mono);
            clock.advance(due);
            assert!(steering.tick(clock.now()));
            looks += 1;
        }
        assert_eq!((rates(&mut steering).0, looks), (Some(Rate::BytesPerSec(200_000)), 3));
    }

    #[test]
    fn a_signal_that_falls_silent_is_noticed_without_an_answer() {
        let clock = ManualClock::default();
        let mut steering = Steering::new(clock.now(), LIMIT, Vec::new());
        steering.add(clock.now(), "orders".into(), pi(10));
        let mut paced = 0;
        for _ in 0..100 {
            clock.advance(SECOND);
            paced += 1_000_000;
            steering.hear(clock.now(), &"orders".into(), SECOND, 0.010, paced);
        }
        rates(&mut steering);
        let before = steering.rate();
        assert!(before > Rate::BytesPerSec(150_000));
        for _ in 0..60 {
            let due = steering.next_look().unwrap().since(clock.now().mono);
            clock.advance(due);
            steering.tick(clock.now());
            let (_, why) = rates(&mut steering);
            assert!(why.is_none_or(|why| why.to_string().contains("no signal for")));
        }
        assert_eq!(steering.rate(), Rate::BytesPerSec(50_000));
    }
}
