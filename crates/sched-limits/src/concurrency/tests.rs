use proptest::prelude::*;

use super::*;

const PERIOD: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> MonoTime {
    MonoTime::ZERO + Duration::from_secs(seconds)
}

fn host() -> Scope {
    Scope::Host("db-1".into())
}

fn law(change: impl FnOnce(&mut ConcurrencyConfig)) -> ConcurrencyLaw {
    let mut config = ConcurrencyConfig::default();
    change(&mut config);
    ConcurrencyLaw::new(config, Thresholds::default()).unwrap()
}

/// Readings that are taken and told at once.
fn observe(law: &mut ConcurrencyLaw, now: MonoTime, readings: &[Reading], running: u32) -> Vec<Room> {
    law.observe(now, PERIOD, readings.iter().map(|reading| (reading, now)), |_| running)
}

/// A machine with one resource that jobs and a foreground use, and a queue that is never empty.
struct Plant {
    law: ConcurrencyLaw,
    signal: &'static str,
    capacity: f64,
    /// What a job really uses.
    job: f64,
    noise: f64,
    rng: fastrand::Rng,
    second: u64,
    running: u32,
    /// The number after each second.
    trace: Vec<u32>,
}

impl Plant {
    fn new(signal: &'static str, capacity: f64, job: f64, seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        Self {
            law: law(|_| {}),
            signal,
            capacity,
            job,
            noise: 0.0,
            rng,
            second: 0,
            running: 0,
            trace: vec![],
        }
    }

    fn jobs(&self) -> u32 {
        self.law.room(&host()).map_or(u32::MAX, |room| room.jobs)
    }

    /// One second in which the foreground uses `foreground`: a job may end, the probe answers, jobs are admitted.
    fn second(&mut self, foreground: f64) {
        self.second += 1;
        if self.running > 0 && self.rng.u32(..10) == 0 {
            self.running -= 1;
        }
        let used = foreground + self.job * f64::from(self.running);
        let noise = self.noise * self.capacity * (self.rng.f64() + self.rng.f64() - 1.0);
        let value = (used + noise).clamp(0.0, self.capacity);
        let unit = RESOURCES.iter().find(|(signal, ..)| *signal == self.signal).unwrap().1;
        let reading = Reading::new(self.signal, value, unit).of(self.capacity).scope(host());
        let running = self.running;
        observe(&mut self.law, at(self.second), &[reading], running);
        self.running = self.running.max(self.jobs().min(self.running + 1));
        self.trace.push(self.jobs());
    }

    fn run(&mut self, seconds: u64, foreground: f64) {
        (0..seconds).for_each(|_| self.second(foreground));
    }

    fn rises(&self) -> usize {
        self.trace.windows(2).filter(|pair| pair[1] > pair[0]).count()
    }
}

/// How much there is of each signal, in its unit, and how much one job uses.
const RESOURCES: [(&str, &str, f64, f64); 4] = [
    ("cpu", "share", 1.0, 0.125),
    ("memory", "bytes", 16e9, 1e9),
    ("disk", "bytes/s", 500e6, 62.5e6),
    ("network", "bytes/s", 125e6, 15.625e6),
];

#[test]
fn each_resource_alone_makes_the_number_fall_and_recover() {
    for (signal, _, capacity, job) in RESOURCES {
        for seed in 0..12 {
            let mut plant = Plant::new(signal, capacity, job, seed);
            plant.noise = 0.02;
            plant.run(300, 0.3 * capacity);
            let before = plant.jobs();
            assert!((2..=9).contains(&before), "{signal} seed {seed}: {before}");
            plant.run(10, 0.97 * capacity);
            assert!(plant.jobs() < before, "{signal} seed {seed}: {} of {before}", plant.jobs());
            // Above what there is no reading goes: it falls on as those end that run.
            plant.run(300, 0.97 * capacity);
            assert_eq!(plant.jobs(), 0, "{signal} seed {seed}");
            plant.run(2, 0.3 * capacity);
            assert_eq!(plant.jobs(), 1, "{signal} seed {seed}: one starts as soon as the shortage is over");
            plant.run(400, 0.3 * capacity);
            assert!(plant.jobs() + 1 >= before, "{signal} seed {seed}: {} of {before}", plant.jobs());
        }
    }
}

#[test]
fn a_capacity_that_shrinks_makes_the_number_fall_like_use_that_grows() {
    let mut plant = Plant::new("memory", 16e9, 1e9, 1);
    plant.run(60, 4e9);
    assert!(plant.jobs() >= 8, "{}", plant.jobs());
    plant.capacity = 8e9; // a control group's limit was lowered
    plant.run(120, 4e9);
    assert!(plant.jobs() <= 3, "{}", plant.jobs());
    let reason = plant.law.room(&host()).unwrap().reason.to_string();
    assert!(reason.contains("memory of host db-1 leaves room for"), "{reason}");
}

#[test]
fn noise_makes_it_rise_no_more_often_than_every_step_and_keeps_the_machine_under_its_threshold() {
    for seed in 0..12 {
        let mut plant = Plant::new("cpu", 1.0, 0.125, seed);
        plant.noise = 0.15;
        plant.run(1_200, 0.4);
        assert!(plant.rises() <= 1_200 / 30, "seed {seed}: {} rises", plant.rises());
        let settled = &plant.trace[60..];
        let mean = settled.iter().sum::<u32>() as f64 / settled.len() as f64;
        // Four fit below the upper threshold.
        assert!((1.0..=4.2).contains(&mean), "seed {seed}: {mean}");
    }
}

#[test]
fn one_wild_reading_changes_nothing() {
    let mut law = law(|_| {});
    let mut say = |second, share| {
        let reading = Reading::share("cpu", share).scope(host());
        observe(&mut law, at(second), &[reading], 2);
        law.room(&host()).unwrap().jobs
    };
    let calm: Vec<_> = (0..40).map(|second| say(second, 0.3)).collect();
    let before = calm[39];
    assert_eq!(say(40, 1.0), before);
    assert_eq!(say(41, 0.3), before);
}

#[test]
fn jobs_that_end_while_the_reading_lags_behind_leave_the_number_as_it_is() {
    let mut law = law(|config| config.demands = [("cpu".into(), JobDemand::Fixed(0.25))].into());
    let mut before = 3;
    for (second, running) in [3, 3, 3, 3, 3, 3, 2, 1, 0, 0, 0].into_iter().enumerate() {
        let reading = Reading::share("cpu", 0.08 + 0.25 * f64::from(before)).scope(host());
        observe(&mut law, at(second as u64), &[reading], running);
        assert_eq!(law.room(&host()).unwrap().jobs, 3, "second {second}");
        before = running;
    }
}

#[test]
fn the_least_of_all_signals_counts_and_gives_the_reason() {
    let mut law = law(|config| {
        config.demands.insert("memory".into(), JobDemand::Fixed(2e9));
        config.demands.insert("cpu".into(), JobDemand::Fixed(0.25));
    });
    let readings = [
        Reading::share("cpu", 0.5).scope(host()),
        Reading::new("memory", 4e9, "bytes").of(16e9).scope(host()),
    ];
    let rooms = observe(&mut law, at(0), &readings, 1);
    // cpu: 1 + ⌊(.85 − .5) ÷ .25⌋, memory: 1 + ⌊(.88 · 16 − 4) ÷ 2⌋. A third would fit from .85 − 2 · .25 on.
    assert_eq!(rooms.len(), 1);
    assert_eq!(rooms[0].jobs, 2);
    assert_eq!(
        rooms[0].reason.to_string(),
        "cpu of host db-1 leaves room for 2 jobs: 50 % in use, a job takes 25 % (cpu 0.5000 share, threshold 0.3500)"
    );
}

#[test]
fn the_threshold_of_a_reason_is_where_one_more_fits() {
    let mut law = law(|config| config.demands = [("cpu".into(), JobDemand::Fixed(0.25))].into());
    let mut say = |second, share| {
        let reading = Reading::share("cpu", share).scope(host());
        observe(&mut law, at(second), &[reading], 1);
        law.room(&host()).unwrap()
    };
    let room = (0..10).map(|second| say(second, 0.75)).last().unwrap();
    let threshold = room.reason.measured.unwrap().threshold;
    assert_eq!((room.jobs, threshold), (1, 0.6));
    assert!((10..100).all(|second| say(second, threshold + 0.01).jobs == 1));
    assert_eq!((100..140).map(|second| say(second, threshold - 0.01).jobs).max(), Some(2));
}

#[test]
fn one_may_run_below_a_threshold_unless_it_takes_what_it_holds_whole() {
    for (signal, expected) in [("cpu", 1), ("memory", 0)] {
        let mut law = law(|config| config.demands = [(signal.into(), JobDemand::Fixed(0.2))].into());
        let of_share = |signal: &str, share: f64| {
            let unit = if signal == "cpu" { "share" } else { "bytes" };
            Reading::new(signal, share, unit).of(1.0).scope(host())
        };
        let mut say = |second, share| {
            observe(&mut law, at(second), &[of_share(signal, share)], 0);
            law.room(&host()).unwrap()
        };
        assert_eq!((0..10).map(|second| say(second, 0.84).jobs).last(), Some(expected), "{signal}");
        let full = (10..20).map(|second| say(second, 0.97)).last().unwrap();
        assert_eq!(full.jobs, 0, "{signal}");
        let threshold = full.reason.measured.unwrap().threshold;
        assert_eq!(say(20, threshold + 0.001).jobs, 0, "{signal}");
        assert_eq!(say(51, threshold - 0.001).jobs, 1, "{signal}: fits below {threshold}");
    }
}

#[test]
fn a_rate_lets_run_as_many_as_it_feeds_and_always_one() {
    let mut law = law(|config| config.job_bytes_per_sec = Some(10_000_000));
    let mut feed = |second, rate| {
        let rate = Rate::BytesPerSec(rate);
        law.feed(at(second), &Scope::Fleet, Feed { rate, used_bytes_per_sec: None, running: 2 });
        law.room(&Scope::Fleet).unwrap()
    };
    assert_eq!(feed(0, 40_000_000).jobs, 4);
    let low: Vec<_> = (1..10).map(|second| feed(second, 15_000_000)).collect();
    assert_eq!(low[8].jobs, 2);
    assert!(low[8].reason.to_string().contains("a rate of 15.0 MB/s feeds 2 jobs of 10.0 MB/s each"));
    assert_eq!((10..20).map(|second| feed(second, 0).jobs).last(), Some(1));
    assert_eq!((20..50).map(|second| feed(second, 40_000_000).jobs).last(), Some(1));
    assert_eq!((50..60).map(|second| feed(second, 40_000_000).jobs).last(), Some(2));
}

#[test]
fn what_a_job_moves_is_learned_only_while_nothing_slows_it() {
    let mut law = law(|_| {});
    let mut feed = |second, rate, used| {
        let feed = Feed { rate: Rate::BytesPerSec(rate), used_bytes_per_sec: Some(used), running: 2 };
        law.feed(at(second), &Scope::Fleet, feed);
        law.room(&Scope::Fleet).map(|room| room.jobs)
    };
    assert_eq!(feed(0, 10_000_000, 10e6), None, "slowed: they might move more");
    assert_eq!(feed(1, 100_000_000, f64::NAN), None);
    assert_eq!(feed(2, 100_000_000, 40e6), Some(5));
    // Slowed ones teach nothing, or a low rate would seem to feed as many as run.
    assert_eq!((3..20).map(|second| feed(second, 20_000_000, 20e6)).last(), Some(Some(1)));
}

#[test]
fn a_signal_that_stays_away_leaves_fewer_and_fewer_but_not_none() {
    let mut law = law(|_| {});
    let mut running = 0;
    let reading = |share: f64| [Reading::share("cpu", share).scope(host())];
    for second in 0..=100 {
        observe(&mut law, at(second), &reading(0.3), running);
        running = 3;
    }
    let jobs = |law: &ConcurrencyLaw| law.room(&host()).unwrap().jobs;
    let before = jobs(&law);
    assert!(before >= 4, "{before}");
    let (mut looks, mut seen) = (0, vec![before]);
    while let Some(at) = law.next_look() {
        law.tick(at);
        seen.push(jobs(&law));
        looks += 1;
        assert!(looks < 50, "it looks for ever");
    }
    assert!(seen.is_sorted_by(|a, b| a >= b), "{seen:?}");
    assert_eq!(seen.last(), Some(&1));
    let reason = law.room(&host()).unwrap().reason.to_string();
    assert!(reason.contains("that was its last answer"), "{reason}");
}

#[test]
fn a_shortage_whose_signal_is_lost_lets_one_start() {
    let mut law = law(|_| {});
    for second in 0..10 {
        observe(&mut law, at(second), &[Reading::share("cpu", 0.99).scope(host())], 0);
    }
    assert_eq!(law.room(&host()).unwrap().jobs, 0);
    assert_eq!(law.tick(at(13)), vec![]);
    let rooms = law.tick(at(14));
    assert_eq!(rooms.iter().map(|room| room.jobs).collect::<Vec<_>>(), [1]);
    assert_eq!(law.next_look(), None);
}

#[test]
fn the_age_of_a_value_counts_and_not_when_it_was_told() {
    let slow = Duration::from_secs(15);
    for (age, rises) in [(20, true), (40, false)] {
        let mut law = law(|config| config.demands = [("cpu".into(), JobDemand::Fixed(0.25))].into());
        let mut say = |second, share: f64| {
            let reading = Reading::share("cpu", share).scope(host());
            law.observe(at(second), slow, [(&reading, at(second - age))], |_| 0);
            law.room(&host()).unwrap().jobs
        };
        assert_eq!(say(100, 0.6), 1);
        let most = (1..40).map(|scrape| say(100 + 15 * scrape, 0.1)).max();
        assert_eq!(most > Some(1), rises, "{age} s old");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let error = |change: fn(&mut ConcurrencyConfig)| {
        let mut config = ConcurrencyConfig::default();
        change(&mut config);
        config.check().unwrap_err().to_string()
    };
    assert!(error(|c| c.max = 0).starts_with("max is 0"));
    assert!(error(|c| c.step = Duration::ZERO).starts_with("step is 0"));
    assert!(error(|c| c.job_bytes_per_sec = Some(0)).starts_with("job_bytes_per_sec is 0"));
    for demand in [JobDemand::Fixed(f64::NAN), JobDemand::Fixed(0.0), JobDemand::Learned(1.5)] {
        let config =
            ConcurrencyConfig { demands: [("cpu".into(), demand)].into(), ..ConcurrencyConfig::default() };
        assert!(config.check().unwrap_err().to_string().contains("of cpu"), "{demand:?}");
    }
}

/// Something that happens to a law.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Read { signal: usize, value: f64, capacity: f64, running: u32 },
    Feed { rate: u64, used: f64, running: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wild = prop_oneof![
        8 => 0.0..1.2_f64,
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, -1.0, 1e300, f64::MIN_POSITIVE]),
    ];
    let read = (0..4_usize, wild.clone(), prop_oneof![9 => Just(1.0), 1 => wild], 0..9_u32);
    let step = prop_oneof![
        4 => (1..4_000_u64).prop_map(Step::Wait),
        1 => (1..100_000_u64).prop_map(Step::Wait),
        8 => read.prop_map(|(signal, value, capacity, running)| Step::Read { signal, value, capacity, running }),
        2 => (any::<u64>(), -1e9..1e12_f64, 0..9_u32)
            .prop_map(|(rate, used, running)| Step::Feed { rate, used, running }),
    ];
    prop::collection::vec(step, 1..400)
}

proptest! {
    /// Whatever is read: the number is in bounds, falls to what fits, rises by one at most once a step, and does not
    /// rise while a signal is missing, but to `blind` when it is lost.
    #[test]
    fn never_out_of_bounds_never_fast_upwards_never_on_old_signals(steps in steps()) {
        let mut law = law(|config| config.max = 7);
        let mut now = MonoTime::ZERO;
        let mut watch = Watch::default();
        for step in steps {
            match step {
                Step::Wait(millis) => {
                    let until = now + Duration::from_millis(millis);
                    // As the dispatcher does: look when asked to, and at no other time.
                    let mut looks = 0;
                    while let Some(at) = law.next_look().filter(|at| *at <= until) {
                        now = now.max(at);
                        law.tick(now);
                        watch.look(now, &law)?;
                        looks += 1;
                        prop_assert!(looks < 1_000, "it looks for ever at one moment");
                    }
                    now = until;
                }
                Step::Read { signal, value, capacity, running } => {
                    let (name, unit, ..) = RESOURCES[signal];
                    let reading = Reading::new(name, value, unit).of(capacity).scope(host());
                    if reading.check().is_ok() && (value / capacity).is_finite() {
                        watch.heard.insert(signal, now);
                    }
                    observe(&mut law, now, &[reading], running);
                }
                Step::Feed { rate, used, running } => {
                    let rate = Rate::BytesPerSec(rate);
                    law.feed(now, &host(), Feed { rate, used_bytes_per_sec: Some(used), running });
                }
            }
            watch.look(now, &law)?;
        }
    }
}

/// What must hold after every call.
#[derive(Default)]
struct Watch {
    heard: BTreeMap<usize, MonoTime>,
    jobs: Option<u32>,
    raised: Option<MonoTime>,
}

impl Watch {
    fn look(&mut self, now: MonoTime, law: &ConcurrencyLaw) -> Result<(), TestCaseError> {
        let Some(room) = law.room(&host()) else { return Ok(()) };
        prop_assert!(room.jobs <= 7);
        let measured = &room.reason.measured;
        prop_assert!(measured.as_ref().is_none_or(|m| m.value.is_finite() && m.threshold.is_finite()));
        if let Some(before) = self.jobs.replace(room.jobs).filter(|before| room.jobs > *before) {
            prop_assert_eq!(room.jobs, before + 1);
            prop_assert!(self.raised.is_none_or(|at| now.since(at) >= Duration::from_secs(30)));
            self.raised = Some(now);
            let oldest = self.heard.values().min().map_or(Duration::ZERO, |at| now.since(*at));
            let none_and_lost = before == 0 && oldest >= PERIOD * 5;
            prop_assert!(oldest <= PERIOD * 2 || none_and_lost, "rose on a signal of {oldest:?}");
        }
        Ok(())
    }
}
