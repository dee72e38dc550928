//! What every law keeps, whatever it is shown.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::civil::time;
use proptest::prelude::*;
use sched_core::{Clock, ManualClock, MonoTime, Now, Reason};
use sched_limits::{
    AimdConfig, AimdLaw, ControlLaw, DelayConfig, DelayLaw, FixedLaw, Observation, Override, PiConfig, PiLaw,
    Plan, PressureConfig, PressureLaw, ScheduleLaw, Share,
};

const MS: Duration = Duration::from_millis(1);

type Law = Box<dyn ControlLaw>;
type Make = fn() -> Law;

/// Every law there is, twice the same.
fn laws() -> Vec<(&'static str, Make)> {
    vec![
        ("told", || Box::new(PiLaw::new(PiConfig::healthy(MS)).unwrap())),
        ("learned", || Box::new(PiLaw::new(PiConfig::learned()).unwrap())),
        ("goal", || Box::new(PiLaw::new(PiConfig::goal(MS, 2.0)).unwrap())),
        ("aimd", || Box::new(AimdLaw::new(AimdConfig::new(MS)).unwrap())),
        ("delay", || Box::new(DelayLaw::new(DelayConfig::new(MS)).unwrap())),
        ("pressure", || Box::new(PressureLaw::new(PressureConfig::default()).unwrap())),
        ("fixed", || Box::new(FixedLaw::new(0.3).unwrap())),
        ("schedule", || {
            Box::new(
                ScheduleLaw::new(Plan::daily([(time(1, 0, 0, 0), 1.0), (time(9, 0, 0, 0), 0.1)])).unwrap(),
            )
        }),
    ]
}

/// What may happen to a law: time passes, and a reading of anything comes, or none.
#[derive(Clone, Debug)]
struct Event {
    passed: Duration,
    value: Option<f64>,
    used: f64,
    track: Option<f64>,
    /// By how much the reading's time stamp is off, in ms.
    off: i64,
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 1e-4..1e-2,
        2 => any::<f64>(),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), Just(0.0), Just(5e-324), Just(f64::MAX)],
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let passed = prop_oneof![6 => Just(1000), 2 => 0..30_000u64, 1 => 0..40_000_000u64];
    let used = prop_oneof![4 => 0.0..1.0, 1 => any::<f64>()];
    let off = prop_oneof![9 => Just(0), 1 => -3_600_000..3_600_000_i64];
    (passed, prop::option::weighted(0.9, value()), used, prop::option::weighted(0.1, 0.0..1.0), off).prop_map(
        |(ms, value, used, track, off)| Event { passed: Duration::from_millis(ms), value, used, track, off },
    )
}

fn play(law: &mut Law, clock: &ManualClock, event: &Event) -> Share {
    clock.advance(event.passed);
    let now = clock.now();
    let off = Duration::from_millis(event.off.unsigned_abs());
    let at =
        if event.off < 0 { MonoTime::ZERO + now.mono.since(MonoTime::ZERO + off) } else { now.mono + off };
    let share = law.step(now, event.value.map(|value| Observation::new(at, value, event.used)));
    if let Some(granted) = event.track {
        law.track(granted.min(share.share));
    }
    share
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_share_is_a_share_and_has_a_reason(events in prop::collection::vec(event(), 1..200)) {
        for (name, make) in laws() {
            let (mut law, clock) = (make(), ManualClock::default());
            for event in &events {
                let share = play(&mut law, &clock, event);
                prop_assert!((0.0..=1.0).contains(&share.share), "{name}: {share:?}");
                prop_assert!(share.granted() <= share.share && !share.reason.to_string().is_empty());
            }
        }
    }

    #[test]
    fn a_higher_reading_never_gives_a_higher_share(
        events in prop::collection::vec(event(), 0..120), low in 1e-4..1e-2, factor in 1.0..1000.0, used in 0.0..1.0,
    ) {
        for (name, make) in laws() {
            let next = |value| {
                let (mut law, clock) = (make(), ManualClock::default());
                events.iter().for_each(|event| drop(play(&mut law, &clock, event)));
                let passed = Duration::from_secs(1);
                play(&mut law, &clock, &Event { passed, value: Some(value), used, track: None, off: 0 })
            };
            let (low, high) = (next(low), next(low * factor));
            prop_assert!(high.granted() <= low.granted() + 1e-12, "{name}: {low:?} then {high:?}");
        }
    }

    #[test]
    fn silence_never_raises_a_share(events in prop::collection::vec(event(), 0..120), silent in 1..60_usize) {
        // A schedule knows no silence.
        for (name, make) in laws().into_iter().filter(|(name, _)| *name != "schedule") {
            let (mut law, clock) = (make(), ManualClock::default());
            let mut last = law.step(clock.now(), None);
            events.iter().for_each(|event| last = play(&mut law, &clock, event));
            for _ in 0..silent {
                let none = Event { passed: Duration::from_secs(1), value: None, used: 0.0, track: None, off: 0 };
                let share = play(&mut law, &clock, &none);
                prop_assert!(share.share <= last.share, "{name}: {last:?} then {share:?}");
                // A pause that nobody hears the end of leads to the blind cap at most.
                let most = if last.pause.is_some() { 0.05 } else { last.granted() };
                prop_assert!(share.granted() <= most, "{name}: {last:?} then {share:?}");
                last = share;
            }
        }
    }

    #[test]
    fn the_same_history_gives_the_same_shares(events in prop::collection::vec(event(), 1..120)) {
        for (name, make) in laws() {
            let trace = || {
                let (mut law, clock) = (make(), ManualClock::default());
                events.iter().map(|event| play(&mut law, &clock, event)).collect::<Vec<_>>()
            };
            prop_assert_eq!(trace(), trace(), "{}", name);
        }
    }
}

/// Steps a law once a second with this value and the use that it was granted.
fn run(law: &mut Law, clock: &ManualClock, seconds: u32, value: f64) -> Vec<f64> {
    let mut granted = law.step(clock.now(), None).granted();
    let step = |_| {
        clock.advance(Duration::from_secs(1));
        let now = clock.now();
        granted = law.step(now, Some(Observation::new(now.mono, value, granted))).granted();
        granted
    };
    (0..seconds).map(step).collect()
}

#[test]
fn a_silent_signal_is_held_then_decays_to_the_blind_cap_and_to_nothing_in_a_declared_peak() {
    for peak in [false, true] {
        let mut config = PiConfig::healthy(MS);
        let shares = if peak { [(time(0, 0, 0, 0), 0.0)] } else { [(time(0, 0, 0, 0), 1.0)] };
        config.fail_slow.peaks = Some(Plan::daily(shares));
        let (mut law, clock) = (Box::new(PiLaw::new(config).unwrap()) as Law, ManualClock::default());
        assert_eq!(law.step(clock.now(), None).share, if peak { 0.0 } else { 0.01 });
        let before = *run(&mut law, &clock, 200, 0.0005).last().unwrap();
        assert!(before > 0.3, "{before}");
        let mut silent = || {
            clock.advance(Duration::from_secs(1));
            law.step(clock.now(), None)
        };
        assert!((0..5).all(|_| silent().share == before));
        let falling: Vec<_> = (0..60).map(|_| silent()).collect();
        assert!(falling[0].share < before && falling.is_sorted_by(|a, b| a.share >= b.share));
        let last = falling.last().unwrap();
        assert!(if peak { last.share < 1e-5 } else { last.share == 0.05 }, "{last:?}");
        assert!(last.reason.to_string().contains("no signal for 65 periods"), "{}", last.reason);
    }
}

/// A learning law in a pause of its own, after it has had a share that is far over the blind cap.
fn in_a_pause(config: PiConfig) -> (Law, ManualClock) {
    let (mut law, clock) = (Box::new(PiLaw::new(config).unwrap()) as Law, ManualClock::default());
    let mut last = law.step(clock.now(), None);
    let mut high = false;
    for _ in 0..20_000 {
        clock.advance(Duration::from_secs(1));
        let now = clock.now();
        last = law.step(now, Some(Observation::new(now.mono, 0.001, last.granted())));
        high |= last.share > 0.3;
        if high && last.pause.is_some() {
            return (law, clock);
        }
    }
    panic!("no pause came: {last:?}");
}

#[test]
fn a_signal_that_is_lost_in_a_pause_does_not_stop_backups_for_ever() {
    for peak in [false, true] {
        let mut config = PiConfig::learned();
        config.fail_slow.peaks = peak.then(|| Plan::daily([(time(0, 0, 0, 0), 0.0)]));
        let (mut law, clock) = in_a_pause(config);
        let mut step = |value: Option<f64>, used| {
            clock.advance(Duration::from_secs(1));
            let now = clock.now();
            law.step(now, value.map(|value| Observation::new(now.mono, value, used)))
        };
        let silent: Vec<_> = (0..60).map(|_| step(None, 0.0).granted()).collect();
        assert_eq!(silent[..5], [0.0; 5], "held like any share");
        assert_eq!(silent[5..], [if peak { 0.0 } else { 0.05 }; 55], "and then what is safe blindly");
        // Once the signal is back, the pause is made up for as soon as there is something to stop.
        let mut used = silent[59];
        let back: Vec<_> = (0..300)
            .map(|_| {
                let share = step(Some(0.001), used);
                used = share.granted();
                share
            })
            .collect();
        let pause = back.iter().position(|share| share.pause.is_some());
        assert!(pause.is_some_and(|at| at < 120), "{pause:?}");
        assert!(back[299].granted() > 0.2, "{:?}", back[299]);
    }
}

#[test]
fn what_backups_do_not_use_is_not_raised() {
    for make in [laws()[0].1, laws()[3].1, laws()[5].1] {
        let (mut law, clock) = (make(), ManualClock::default());
        for _ in 0..300 {
            clock.advance(Duration::from_secs(1));
            let now = clock.now();
            law.step(now, Some(Observation::new(now.mono, 1e-4, 0.001)));
        }
        let share = law.step(clock.now(), None).share;
        assert!(share <= 0.05, "{law:?}: {share}");
    }
}

#[test]
fn every_change_says_signal_value_target_and_law() {
    let (mut law, clock) = (laws()[0].1(), ManualClock::default());
    run(&mut law, &clock, 10, 0.002);
    let now = clock.now().plus(Duration::from_secs(1));
    let share = law.step(now, Some(Observation::new(now.mono, 0.002, 0.0)));
    let measured = share.reason.measured.clone().unwrap();
    assert_eq!((measured.signal.as_str(), measured.unit.as_ref()), ("latency", "ms"));
    assert!((measured.value - 2.0).abs() < 1e-9 && (measured.threshold - 1.1).abs() < 1e-9);
    assert!(
        share.reason.to_string().starts_with("logarithmic PI law: 0.0 % of the ceiling"),
        "{}",
        share.reason
    );
}

#[test]
fn the_least_share_is_granted_and_the_others_follow_it() {
    let clock = ManualClock::default();
    let mut laws = Override::new();
    for _ in 0..2 {
        laws.add(clock.now(), Box::new(PiLaw::new(PiConfig::healthy(MS)).unwrap()));
    }
    let mut both = |seconds: u32, values: [f64; 2]| {
        let mut trace = Vec::new();
        for _ in 0..seconds {
            clock.advance(Duration::from_secs(1));
            for (law, value) in values.into_iter().enumerate() {
                let used = laws.least().unwrap().1.granted();
                let sample = Observation::new(clock.now().mono, value, used);
                laws.step(clock.now(), law, Some(sample));
            }
            let (law, least) = laws.least().unwrap();
            trace.push((law, least.granted()));
        }
        trace
    };
    both(150, [0.001, 0.001]);
    // The first signal is at its target for an hour; the second one has no say, and must not wind up.
    let held = *both(3600, [0.0011, 0.001]).last().unwrap();
    assert!(held.0 == 0 && held.1 > 0.1, "{held:?}");
    let cut = both(20, [0.0011, 0.0014]);
    assert!(cut.iter().any(|(law, share)| *law == 1 && *share < 0.8 * held.1), "{held:?} {cut:?}");
}

#[test]
fn laws_that_have_no_say_are_told_what_was_granted() {
    #[derive(Debug)]
    struct Spy(Arc<Mutex<Vec<f64>>>);
    impl ControlLaw for Spy {
        fn step(&mut self, _: Now, _: Option<Observation>) -> Share {
            Share::new(0.5, Reason::new("spy"))
        }
        fn track(&mut self, granted: f64) {
            self.0.lock().unwrap().push(granted);
        }
    }
    let (clock, tracked) = (ManualClock::default(), Arc::new(Mutex::new(Vec::new())));
    let mut laws = Override::new();
    laws.add(clock.now(), Box::new(Spy(tracked.clone())));
    let fixed = laws.add(clock.now(), Box::new(FixedLaw::new(0.2).unwrap()));
    laws.step(clock.now(), fixed, None);
    assert_eq!(*tracked.lock().unwrap(), [0.2]);
}

#[test]
fn nonsense_from_a_law_is_held_off_and_told() {
    #[derive(Debug)]
    struct Mad(f64);
    impl ControlLaw for Mad {
        fn step(&mut self, _: Now, _: Option<Observation>) -> Share {
            Share::new(std::mem::replace(&mut self.0, f64::NAN), Reason::new("mad"))
        }
    }
    let clock = ManualClock::default();
    let mut laws = Override::new();
    let mad = laws.add(clock.now(), Box::new(Mad(0.4)));
    assert_eq!(laws.least().unwrap().1.share, 0.4);
    laws.step(clock.now(), mad, None);
    let (_, least) = laws.least().unwrap();
    assert_eq!(least.share, 0.4);
    assert!(least.reason.to_string().contains("said NaN"), "{}", least.reason);
    laws.step(clock.now(), 99, None);
}

#[test]
fn a_pause_makes_no_other_law_come_down() {
    let clock = ManualClock::default();
    let mut laws = Override::new();
    let learned = laws.add(clock.now(), Box::new(PiLaw::new(PiConfig::learned()).unwrap()));
    let fixed = laws.add(clock.now(), Box::new(AimdLaw::new(AimdConfig::new(MS)).unwrap()));
    clock.advance(Duration::from_secs(1));
    let sample = |value| Observation::new(clock.now().mono, value, 0.0);
    laws.step(clock.now(), learned, Some(sample(0.001)));
    laws.step(clock.now(), fixed, Some(sample(0.0005)));
    let (law, least) = laws.least().unwrap();
    assert_eq!((law, least.granted(), least.pause), (learned, 0.0, Some(Duration::from_secs(30))));
    assert!(least.share > 0.0 && least.reason.to_string().contains("paused to see the foreground alone"));
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let pi = |change: fn(&mut PiConfig)| {
        let mut config = PiConfig::healthy(MS);
        change(&mut config);
        PiLaw::new(config).unwrap_err().field
    };
    assert_eq!(PiLaw::new(PiConfig::healthy(Duration::ZERO)).unwrap_err().field, "healthy");
    assert_eq!(pi(|c| c.allowance = 1.0), "allowance");
    assert_eq!(pi(|c| c.smoothing = f64::NAN), "smoothing");
    assert_eq!(pi(|c| c.cap = 1.5), "cap");
    assert_eq!(pi(|c| c.fail_slow.blind_cap = -0.1), "blind_cap");
    assert_eq!(pi(|c| c.fail_slow.blind_floor = 0.2), "blind_floor");
    assert_eq!(pi(|c| c.fail_slow.period = Duration::ZERO), "period");
    assert_eq!(AimdLaw::new(AimdConfig::new(Duration::ZERO)).unwrap_err().field, "target");
    assert_eq!(DelayLaw::new(DelayConfig::new(Duration::ZERO)).unwrap_err().field, "target");
    assert_eq!(FixedLaw::new(f64::NAN).unwrap_err().field, "share");
    assert_eq!(ScheduleLaw::new(Plan::daily([])).unwrap_err().field, "entries");
    assert_eq!(ScheduleLaw::new(Plan::daily([(time(1, 0, 0, 0), 2.0)])).unwrap_err().field, "share");
}

#[test]
fn a_plan_goes_through_the_week_and_round_its_end() {
    let plan: Plan = serde_json::from_str(
        r#"{"utc_offset_hours": 2, "entries": [
            {"from": "22:00:00", "share": 1.0},
            {"from": "08:00:00", "share": 0.2, "days": [1, 2, 3, 4, 5]},
            {"from": "12:00:00", "share": 0.5, "days": [7]}
        ]}"#,
    )
    .unwrap();
    plan.check().unwrap();
    let at = |wall: &str| plan.share_at(wall.parse().unwrap());
    // The plan is told two hours east of UTC: 2026-01-05 is a Monday.
    assert_eq!(at("2026-01-05T05:59:59Z"), 1.0);
    assert_eq!(at("2026-01-05T06:00:00Z"), 0.2);
    assert_eq!(at("2026-01-05T19:59:59Z"), 0.2);
    assert_eq!(at("2026-01-05T20:00:00Z"), 1.0);
    assert_eq!(at("2026-01-10T12:00:00Z"), 1.0, "Saturday has no entry of its own by day");
    assert_eq!(at("2026-01-11T10:00:00Z"), 0.5);
    let sunday_only = Plan::daily([]).check();
    assert!(sunday_only.is_err());
}
