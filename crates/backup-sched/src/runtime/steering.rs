//! From signals to the rate of a place, by the laws that listen to them.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use sched_core::{EventKind, MonoTime, Now, Reason, Scope, SignalName};
use sched_limits::{ControlLaw, Observation, Override, Rate};

use super::guard::{Complaint, Guard};
use super::signals::Directive;

/// A law whose signal is silent for this many of its periods is stepped without a sample.
const SILENT_PERIODS: u32 = 2;
/// How often laws are stepped that have no signal, such as a schedule, or have not heard it yet.
const UNHEARD: Duration = Duration::from_secs(60);
/// A rate is told as an event when it has changed by more than this part of what was last told.
const TOLD_FROM: u64 = 10;

/// What a law's share means at a place.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// The rate at which a share is 1.
    pub(crate) full: u64,
    /// No floor raises the rate above this.
    pub(crate) ceiling: Rate,
}

/// A law of the host's, and the signal that it listens to.
pub(crate) struct LawTerms {
    /// The place whose signal it hears and whose rate it steers. `None`: it hears the signal of any place, and steers
    /// that of the detector with the signal's name, or else the fleet.
    pub(crate) place: Option<Scope>,
    pub(crate) signal: SignalName,
    pub(crate) law: Box<dyn ControlLaw>,
}

/// The laws of one place, and the least rate that they allow.
pub(crate) struct Steering {
    place: Scope,
    laws: Override,
    listeners: Vec<Listener>,
    complaints: (Sender<Complaint>, Receiver<Complaint>),
    scale: Scale,
    /// What was last said, and what of it was told as an event.
    rate: Option<Rate>,
    told: Option<Rate>,
    /// What was last said of those who may be slowed beside one who may not.
    others: Option<Rate>,
    promised: Promised,
    /// By how much the latency may grow while they run.
    growth: Option<f64>,
}

/// What a law listens to; its place is that of the law in [`Override`].
struct Listener {
    signal: SignalName,
    /// Whose signal; `None` for any place's.
    of: Option<Scope>,
    period: Option<Duration>,
    /// When the law was last stepped, and the bytes that backups had moved by its last sample.
    stepped: MonoTime,
    sampled: MonoTime,
    moved: u64,
}

/// The floor of a phase that nothing may slow.
pub(super) const UNSLOWED: u64 = u64::MAX;

/// What jobs that run at a place were promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promised {
    /// Bytes a second, to all together that may be slowed.
    pub(crate) floor: u64,
    /// Whether some may not be slowed.
    pub(crate) unslowed: bool,
}

impl Promised {
    /// Another job runs here, with this floor.
    pub(crate) fn add(&mut self, floor: u64) {
        if floor == UNSLOWED {
            self.unslowed = true;
        } else {
            self.floor = self.floor.saturating_add(floor);
        }
    }
}

/// A value of a signal, in seconds or as a share of what there is.
#[derive(Clone, Copy)]
pub(crate) struct Heard<'a> {
    pub(crate) signal: &'a SignalName,
    pub(crate) of: &'a Scope,
    pub(crate) period: Duration,
    pub(crate) value: f64,
}

impl Steering {
    pub(crate) fn new(place: Scope, scale: Scale, growth: Option<f64>) -> Self {
        Self {
            place,
            laws: Override::new(),
            listeners: Vec::new(),
            complaints: unbounded(),
            scale,
            rate: None,
            told: None,
            others: None,
            promised: Promised::default(),
            growth,
        }
    }

    /// Adds a law that listens to a signal of one place, or of any.
    pub(crate) fn add(
        &mut self,
        now: Now,
        (signal, of): (SignalName, Option<Scope>),
        law: Box<dyn ControlLaw>,
    ) {
        let law = Guard::new(signal.clone(), law, self.complaints.0.clone());
        self.laws.add(now, Box::new(law));
        self.laws.allow(self.growth);
        let (stepped, sampled) = (now.mono, now.mono);
        self.listeners.push(Listener { signal, of, period: None, stepped, sampled, moved: 0 });
    }

    /// Whether some law listens to the signal of a place.
    pub(crate) fn hears(&self, signal: &SignalName, of: &Scope) -> bool {
        self.listeners.iter().any(|listener| listener.hears(signal, of))
    }

    /// Why the rate is no higher, by the newest values.
    pub(crate) fn reason(&self) -> Option<Reason> {
        let (law, least) = self.laws.least()?;
        let mut reason = named(least.reason.clone(), &self.listeners[law].signal);
        let Some(rate) = self.others else { return Some(reason) };
        let text = "a phase runs here that must not be slowed; all others together are held to";
        reason.text = format!("{text} {rate} ({})", reason.text).into();
        Some(reason)
    }

    /// Whether a law has stopped backups for a look at the foreground alone.
    pub(crate) fn pauses(&self) -> bool {
        self.laws.least().is_some_and(|(_, least)| least.pause.is_some())
    }

    /// A signal has a value; `moved` counts the bytes of all backups at this place so far.
    pub(crate) fn hear(&mut self, now: Now, heard: Heard<'_>, moved: u64) {
        for (law, listener) in self.listeners.iter_mut().enumerate() {
            if !listener.hears(heard.signal, heard.of) {
                continue;
            }
            let passed = now.mono.since(listener.sampled).as_secs_f64();
            let bytes = moved.saturating_sub(listener.moved) as f64;
            let used = if passed > 0.0 { bytes / passed / self.scale.full as f64 } else { 0.0 };
            listener.period = Some(heard.period);
            (listener.stepped, listener.sampled, listener.moved) = (now.mono, now.mono, moved);
            self.laws.step(now, law, Some(Observation::new(now.mono, heard.value, used)));
        }
    }

    /// A signal has no usable value.
    pub(crate) fn miss(&mut self, now: Now, signal: &SignalName, of: &Scope) {
        for (law, listener) in self.listeners.iter_mut().enumerate() {
            if listener.hears(signal, of) {
                listener.stepped = now.mono;
                self.laws.step(now, law, None);
            }
        }
    }

    /// Time has passed: laws whose signals are silent fail slow, and schedules go on.
    pub(crate) fn tick(&mut self, now: Now) {
        for (law, listener) in self.listeners.iter_mut().enumerate() {
            if now.mono >= listener.due() {
                listener.stepped = now.mono;
                self.laws.step(now, law, None);
            }
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_look(&self) -> Option<MonoTime> {
        self.listeners.iter().map(Listener::due).min()
    }

    /// Running jobs here were promised this much: the rate does not fall below it, within the ceiling.
    pub(crate) fn promise(&mut self, promised: Promised) {
        self.promised = promised;
    }

    /// By how much the latency may grow above the healthy one: the least that is allowed to a job that runs here; `None`
    /// when none does.
    pub(crate) fn allow(&mut self, growth: Option<f64>) {
        self.growth = growth;
        self.laws.allow(growth);
    }

    /// Says the rate where it has changed, with the signal and the law behind it, and what is wrong with laws.
    pub(crate) fn publish(&mut self, directives: &mut Vec<Directive>) {
        let complaints = self.complaints.1.try_iter().map(|(signal, reason)| {
            Directive::Note(EventKind::LawFailed { scope: self.place.clone(), signal, reason })
        });
        directives.extend(complaints);
        let Some((_, least)) = self.laws.least() else { return };
        let steered = (least.granted() * self.scale.full as f64) as u64;
        // What was promised waits for a look at the foreground alone, which would show nothing beside it; what must not be
        // slowed at all does not. For that the laws' rate gives way, but only for that: those beside it stay within.
        let Promised { floor, unslowed } = self.promised;
        let floor = if least.pause.is_some() { 0 } else { floor };
        let chosen = Rate::BytesPerSec(steered.max(floor)).min(self.scale.ceiling);
        let (rate, others) = if unslowed { (self.scale.ceiling, Some(chosen)) } else { (chosen, None) };
        if self.others != others {
            self.others = others;
            directives.push(Directive::Others(self.place.clone(), others));
        }
        if self.rate == Some(rate) {
            return;
        }
        self.rate = Some(rate);
        directives.push(Directive::Rate(self.place.clone(), rate));
        if self.told.is_some_and(|told| alike(told, rate)) {
            return;
        }
        self.told = Some(rate);
        let bytes_per_sec = match rate {
            Rate::BytesPerSec(bytes) => Some(bytes),
            Rate::Unlimited => None,
        };
        let scope = self.place.clone();
        let reason = self.reason().unwrap_or_else(|| Reason::new("no law has a say"));
        directives.push(Directive::Note(EventKind::Rerated { scope, bytes_per_sec, reason }));
    }
}

impl Listener {
    fn hears(&self, signal: &SignalName, of: &Scope) -> bool {
        self.signal == *signal && self.of.as_ref().is_none_or(|only| only == of)
    }

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
    use sched_limits::{FixedLaw, PiConfig, PiLaw, Plan, PressureConfig, PressureLaw, ScheduleLaw};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SCALE: Scale = Scale { ceiling: Rate::BytesPerSec(1_000_000), full: 1_000_000 };

    fn steering() -> Steering {
        Steering::new(Scope::Fleet, SCALE, None)
    }

    fn any(signal: &str) -> (SignalName, Option<Scope>) {
        (signal.into(), None)
    }

    /// A latency of the fleet.
    fn hear(steering: &mut Steering, now: Now, signal: &str, seconds: f64, moved: u64) {
        let signal = &signal.into();
        steering.hear(now, Heard { signal, of: &Scope::Fleet, period: SECOND, value: seconds }, moved);
    }

    fn pi(healthy_ms: u64) -> Box<dyn ControlLaw> {
        Box::new(PiLaw::new(PiConfig::healthy(Duration::from_millis(healthy_ms))).unwrap())
    }

    fn rates(steering: &mut Steering) -> (Option<Rate>, Option<Reason>) {
        let mut directives = Vec::new();
        steering.publish(&mut directives);
        let mut found = (None, None);
        for directive in directives {
            match directive {
                Directive::Rate(_, rate) => found.0 = Some(rate),
                Directive::Note(EventKind::Rerated { reason, .. }) => found.1 = Some(reason),
                _ => {}
            }
        }
        found
    }

    #[test]
    fn the_signal_that_hurts_decides_and_is_named() {
        let clock = ManualClock::default();
        let mut steering = steering();
        steering.add(clock.now(), any("orders"), pi(10));
        steering.add(clock.now(), any("events"), pi(10));
        let (mut rate, mut why, mut paced) = (0, None, 0);
        for second in 0..400 {
            clock.advance(SECOND);
            // Backups move what they may.
            paced += rate;
            let events = if second < 200 { 0.010 } else { 0.030 };
            hear(&mut steering, clock.now(), "orders", 0.010, paced);
            hear(&mut steering, clock.now(), "events", events, paced);
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

    /// Bytes a second that a machine of one curve, half busy by itself, is left with by a law that was told the healthy
    /// latency, after so many seconds; with the growth that is allowed from each of some seconds on.
    fn comes_to(allowed: &[(u64, f64)], at_most_ms: Option<u64>) -> u64 {
        let healthy = 0.010;
        let mut config = PiConfig::healthy(Duration::from_millis(10));
        config.at_most = at_most_ms.map(Duration::from_millis);
        let (clock, mut steering) = (ManualClock::default(), steering());
        steering.add(clock.now(), any("orders"), Box::new(PiLaw::new(config).unwrap()));
        let (mut rate, mut moved) = (0, 0);
        for second in 0..1_200 {
            if let Some((_, growth)) = allowed.iter().find(|(from, _)| *from == second) {
                steering.allow(Some(*growth));
            }
            clock.advance(SECOND);
            moved += rate;
            let used = rate as f64 / SCALE.full as f64;
            let alone = sched_limits::plant::latency(0.5);
            let beside = sched_limits::plant::latency(0.5 + 0.5 * used);
            hear(&mut steering, clock.now(), "orders", healthy * beside / alone, moved);
            if let Some(Rate::BytesPerSec(set)) = rates(&mut steering).0 {
                rate = set;
            }
        }
        rate
    }

    #[test]
    fn the_less_a_latency_may_grow_the_less_is_granted_on_the_same_machine() {
        let (gold, usual, lax) =
            (comes_to(&[(0, 1.05)], None), comes_to(&[], None), comes_to(&[(0, 1.5)], None));
        assert!(gold * 3 < usual * 2 && usual * 3 < lax * 2, "{gold} {usual} {lax}");
        assert!(gold > 10_000, "and not nothing: {gold}");
        // Who starts later counts from then on, and leaves no trace.
        let later = comes_to(&[(0, 1.5), (600, 1.05)], None);
        assert!(later.abs_diff(gold) < gold / 20, "{later} {gold}");
        // A goal is kept whatever may be added to the healthy latency.
        let kept = comes_to(&[(0, 1.5)], Some(11));
        assert!(kept.abs_diff(usual) < usual / 20, "{kept} {usual}");
        // What cannot be told from noise counts as the least that can.
        assert!(comes_to(&[(0, 1.0)], None) > 0);
    }

    /// What a new user gets who has nothing but a host's probe and a ceiling.
    #[test]
    fn calm_pressure_gives_a_useful_rate_within_seconds_and_stalls_end_that() {
        let clock = ManualClock::default();
        let mut steering = steering();
        for signal in ["psi.cpu", "psi.io"] {
            let law = PressureLaw::new(PressureConfig::default()).unwrap();
            steering.add(clock.now(), any(signal), Box::new(law));
        }
        let (mut rate, mut moved, mut reached) = (10_000, 0, None);
        let mut second = |stalled: f64, rate: &mut u64| {
            clock.advance(SECOND);
            moved += *rate;
            // Backups stall it, which stops when they pause.
            let stalled = if *rate > 0 { stalled } else { 0.03 };
            hear(&mut steering, clock.now(), "psi.cpu", stalled, moved);
            hear(&mut steering, clock.now(), "psi.io", 0.01, moved);
            if let Some(Rate::BytesPerSec(set)) = rates(&mut steering).0 {
                *rate = set;
            }
        };
        for passed in 1..=90 {
            second(0.03, &mut rate);
            if rate >= 250_000 {
                reached.get_or_insert(passed);
            }
        }
        assert!(reached.is_some_and(|seconds| seconds <= 16), "{reached:?}");
        assert!(rate > 900_000, "{rate}");
        // A look at the machine alone shows whose stalls they are.
        (0..72).for_each(|_| second(0.6, &mut rate));
        assert!(rate < 50_000, "{rate}");
        // Once stalls were seen, it starts with care.
        (0..10).for_each(|_| second(0.03, &mut rate));
        assert!(rate < 100_000, "{rate}");
    }

    #[test]
    fn promised_floors_hold_within_the_ceiling() {
        let clock = ManualClock::default();
        let mut steering = steering();
        steering.add(clock.now(), any("fixed"), Box::new(FixedLaw::new(0.1).unwrap()));
        assert_eq!(rates(&mut steering).0, Some(Rate::BytesPerSec(100_000)));
        steering.promise(Promised { floor: 300_000, unslowed: false });
        assert_eq!(rates(&mut steering).0, Some(Rate::BytesPerSec(300_000)));
        steering.promise(Promised { floor: 9_000_000, unslowed: false });
        assert_eq!(rates(&mut steering).0, Some(Rate::BytesPerSec(1_000_000)));
    }

    #[test]
    fn promised_floors_wait_for_a_look_at_the_foreground_alone() {
        let clock = ManualClock::default();
        let mut steering = steering();
        let law = PressureLaw::new(PressureConfig::default()).unwrap();
        steering.add(clock.now(), any("psi.cpu"), Box::new(law));
        steering.promise(Promised { floor: 300_000, unslowed: false });
        clock.advance(SECOND);
        // Stalls come near the target for the first time: whose are they?
        hear(&mut steering, clock.now(), "psi.cpu", 0.5, 0);
        assert!(steering.pauses());
        assert_eq!(rates(&mut steering).0, Some(Rate::BytesPerSec(0)));
        steering.promise(Promised { floor: 300_000, unslowed: true });
        assert_eq!(rates(&mut steering).0, Some(Rate::BytesPerSec(1_000_000)));
        steering.promise(Promised { floor: 300_000, unslowed: false });
        (0..30).for_each(|_| {
            clock.advance(SECOND);
            hear(&mut steering, clock.now(), "psi.cpu", 0.5, 0);
        });
        assert!(!steering.pauses());
        assert_eq!(rates(&mut steering).0, Some(Rate::BytesPerSec(300_000)));
    }

    #[test]
    fn a_schedule_goes_on_without_any_signal() {
        let clock = ManualClock::new("2026-01-05T08:58:30Z".parse().unwrap());
        let noon = |hour| jiff::civil::time(hour, 0, 0, 0);
        let law = ScheduleLaw::new(Plan::daily([(noon(1), 1.0), (noon(9), 0.2)])).unwrap();
        let mut steering = steering();
        steering.add(clock.now(), any("plan"), Box::new(law));
        assert_eq!(rates(&mut steering).0, Some(Rate::BytesPerSec(1_000_000)));
        let mut looks = 0;
        while clock.now().wall < "2026-01-05T09:01:00Z".parse().unwrap() {
            let due = steering.next_look().unwrap().since(clock.now().mono);
            clock.advance(due);
            steering.tick(clock.now());
            looks += 1;
        }
        assert_eq!((rates(&mut steering).0, looks), (Some(Rate::BytesPerSec(200_000)), 3));
    }

    #[test]
    fn a_signal_that_falls_silent_is_noticed_without_an_answer() {
        let clock = ManualClock::default();
        let mut steering = steering();
        steering.add(clock.now(), any("orders"), pi(10));
        let mut paced = 0;
        for _ in 0..100 {
            clock.advance(SECOND);
            paced += 1_000_000;
            hear(&mut steering, clock.now(), "orders", 0.010, paced);
        }
        rates(&mut steering);
        assert!(steering.rate > Some(Rate::BytesPerSec(150_000)));
        for _ in 0..60 {
            let due = steering.next_look().unwrap().since(clock.now().mono);
            clock.advance(due);
            steering.tick(clock.now());
            let (_, why) = rates(&mut steering);
            assert!(why.is_none_or(|why| why.to_string().contains("no signal for")));
        }
        assert_eq!(steering.rate, Some(Rate::BytesPerSec(50_000)));
    }
}
