//! Simulated foregrounds of which the truth is known: [`Scenario::run`], [`Score`].
//!
//! Latencies wander over minutes, flutter over seconds, burst, shift for good, and come from one of three distributions;
//! all of it is drawn anew for every seed, and none of it is white noise. Ten minutes of backups run in each, and for half a
//! minute latency is half as high again: because of the backup, or by itself. The ledger sees samples and times and nothing
//! else.
//!
//! A harness for this crate's own tests and benches, which no scheduler needs. It may change with any version.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use sched_core::{BackupKind, Clock, InstanceName, JobId, ManualClock, MonoTime, Now, PauseMark};

use super::estimate::median;
use super::{Backup, ImpactLedger, ImpactSettings, LatencyEvent, Verdict, Why};

/// Steps of the simulation.
const STEP: Duration = Duration::from_millis(20);
const STEP_SECONDS: f64 = 0.02;
/// The backup runs so long before anything happens, at least and at most, in seconds.
const BEFORE: (f64, f64) = (300.0, 420.0);
/// And so long after it.
const AFTER: f64 = 40.0;
/// An event is of the rise if it covers this part of it.
const SHARED: f64 = 0.5;

/// What makes latency rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// The backup, while it moves.
    Backup,
    /// The foreground itself, whatever the backup does.
    Foreground,
}

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Scenario {
    /// Requests a second, on average.
    pub samples_per_sec: f64,
    /// Who raises latency.
    pub truth: Truth,
    /// By how much. Default 1.5.
    pub inflation: f64,
    /// For how long. Default 30 s.
    pub lasting: Duration,
    /// How the ledger measures.
    pub settings: ImpactSettings,
}

/// What a ledger made of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// What it said of the true rise; `None`: it noticed none.
    pub verdict: Option<Verdict>,
    /// From the rise to the verdict.
    pub decided_after: Option<Duration>,
    /// Verdicts on what the foreground did by itself at other times.
    pub others: Vec<Verdict>,
    /// The part of the backups' time that they stood.
    pub duty: f64,
}

impl Scenario {
    /// A rise by half for half a minute.
    pub fn new(samples_per_sec: f64, truth: Truth) -> Self {
        let (lasting, settings) = (Duration::from_secs(30), ImpactSettings::default());
        Self { samples_per_sec, truth, inflation: 1.5, lasting, settings }
    }

    /// With another inflation for another time.
    #[must_use]
    pub fn rise(mut self, inflation: f64, lasting: Duration) -> Self {
        (self.inflation, self.lasting) = (inflation, lasting);
        self
    }

    /// Runs a ledger through it. The same seed gives the same trial.
    ///
    /// # Panics
    /// When the settings make no sense.
    pub fn run(&self, seed: u64) -> Trial {
        Run::new(self, seed).run()
    }
}

/// A foreground's latency by itself, as it goes on.
struct Latency {
    rng: fastrand::Rng,
    rate: f64,
    /// ln of the level: what is drawn once and shifts, what wanders, what flutters.
    base: f64,
    wander: Wander,
    flutter: Wander,
    shifts_every: f64,
    bursts_every: f64,
    burst: (f64, f64),
    shape: Shape,
}

/// Ornstein and Uhlenbeck's process.
struct Wander {
    value: f64,
    deviation: f64,
    seconds: f64,
}

#[derive(Clone, Copy)]
enum Shape {
    Exponential,
    Lognormal(f64),
    /// With a few requests that stall.
    Stalling(f64, f64),
}

impl Latency {
    fn new(rng: &mut fastrand::Rng, rate: f64) -> Self {
        let mut rng = rng.fork();
        let mut between = |low: f64, high: f64| low + (high - low) * rng.f64();
        let (base, sigma) = (between(0.5e3, 20e3).ln(), between(0.3, 0.8));
        let wander = Wander { value: 0.0, deviation: between(0.03, 0.2), seconds: between(60.0, 600.0) };
        let flutter = Wander { value: 0.0, deviation: between(0.02, 0.1), seconds: between(0.5, 5.0) };
        let (shifts_every, bursts_every) = (between(120.0, 900.0), between(20.0, 300.0));
        let stalls = between(0.001, 0.02);
        let shape = match rng.u8(..3) {
            0 => Shape::Exponential,
            1 => Shape::Lognormal(sigma),
            _ => Shape::Stalling(sigma, stalls),
        };
        Self { rng, rate, base, wander, flutter, shifts_every, bursts_every, burst: (0.0, 0.0), shape }
    }

    /// One step: ln of the level now, and the requests that are answered.
    fn step(&mut self) -> (f64, u32) {
        let rng = &mut self.rng;
        if rng.f64() < STEP_SECONDS / self.shifts_every {
            self.base += (0.1 + 0.3 * rng.f64()) * if rng.bool() { 1.0 } else { -1.0 };
        }
        self.burst.1 -= STEP_SECONDS;
        if self.burst.1 < 0.0 && rng.f64() < STEP_SECONDS / self.bursts_every {
            self.burst = (0.2 + rng.f64(), 0.2 + 2.8 * rng.f64().powi(2));
        }
        let burst = if self.burst.1 > 0.0 { self.burst.0 } else { 0.0 };
        let level = self.base + self.wander.step(rng) + self.flutter.step(rng) + burst;
        (level, poisson(rng, self.rate * STEP_SECONDS))
    }

    /// ln of one request's latency, with nothing but its own luck.
    fn request(&mut self) -> f64 {
        let rng = &mut self.rng;
        match self.shape {
            Shape::Exponential => (0.2 - (1.0 - rng.f64()).ln()).ln(),
            Shape::Lognormal(sigma) => sigma * normal(rng),
            Shape::Stalling(sigma, stalls) => {
                let stall = if rng.f64() < stalls { 1.0 + 1.5 * rng.f64() } else { 0.0 };
                sigma * normal(rng) + stall
            }
        }
    }
}

impl Wander {
    fn step(&mut self, rng: &mut fastrand::Rng) -> f64 {
        let part = STEP_SECONDS / self.seconds;
        self.value += -self.value * part + self.deviation * (2.0 * part).sqrt() * normal(rng);
        self.value
    }
}

struct Run<'a> {
    scenario: &'a Scenario,
    clock: ManualClock,
    ledger: ImpactLedger,
    rng: fastrand::Rng,
    latency: Latency,
    instance: InstanceName,
    /// The rise, in seconds.
    rise: f64,
    job: JobId,
    /// Whether the backup that is there at the rise began with it.
    coincident: bool,
    /// How far the backup acts, and how fast that comes and goes.
    acting: f64,
    lag: f64,
    pause: Option<(MonoTime, MonoTime)>,
    stood: f64,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let settings = scenario.settings.seed(rng.u64(..));
        let ledger = ImpactLedger::new(settings).expect("settings make sense");
        let latency = Latency::new(&mut rng, scenario.samples_per_sec);
        let rise = BEFORE.0 + (BEFORE.1 - BEFORE.0) * rng.f64();
        let (coincident, lag) = (rng.u8(..4) == 0, 0.05 + 0.2 * rng.f64());
        let (job, instance) = (JobId(1), InstanceName::from("db"));
        let (clock, pause) = (ManualClock::default(), None);
        Self {
            scenario,
            clock,
            ledger,
            rng,
            latency,
            instance,
            rise,
            job,
            coincident,
            acting: 0.0,
            lag,
            pause,
            stood: 0.0,
        }
    }

    fn run(mut self) -> Trial {
        let mut seconds = 0.0;
        let (mut events, start) = (Vec::new(), self.clock.now());
        self.begin(start);
        let end = self.rise + self.scenario.lasting.as_secs_f64() + AFTER;
        while seconds < end {
            self.clock.advance(STEP);
            seconds += STEP_SECONDS;
            let now = self.clock.now();
            if self.coincident && seconds >= self.rise && self.job == JobId(1) {
                self.ledger.end(now, self.job);
                self.pause = None;
                self.job = JobId(2);
                self.begin(now);
            }
            self.pace(now);
            self.requests(now, seconds);
            events.extend(self.ledger.events());
        }
        self.ledger.end(self.clock.now(), self.job);
        events.extend(self.ledger.events());
        self.sum_up(start, events, seconds)
    }

    fn begin(&mut self, now: Now) {
        let (job, instance) = (self.job, self.instance.clone());
        self.ledger.begin(now, Backup { job, instance, kind: BackupKind::Full, pausable: true });
    }

    /// Does what the ledger asks for, a little later.
    fn pace(&mut self, now: Now) {
        for request in self.ledger.tick(now) {
            let stands = now.mono + Duration::from_millis(self.rng.u64(0..200));
            self.pause = Some((stands, stands + request.length));
        }
        let Some((stands, moves)) = self.pause else { return };
        if now.mono >= moves {
            self.ledger.mark(now, self.job, PauseMark::Moving, Why::Comparison);
            self.pause = None;
        } else if now.mono >= stands {
            self.ledger.mark(now, self.job, PauseMark::Standing, Why::Comparison);
            self.stood += STEP_SECONDS;
        }
    }

    fn requests(&mut self, now: Now, seconds: f64) {
        let stands = self.pause.is_some_and(|(stands, _)| now.mono >= stands);
        self.acting += (f64::from(u8::from(!stands)) - self.acting) * (STEP_SECONDS / self.lag).min(1.0);
        let rises = (self.rise..self.rise + self.scenario.lasting.as_secs_f64()).contains(&seconds);
        let part = match self.scenario.truth {
            Truth::Backup => self.acting,
            Truth::Foreground => 1.0,
        };
        let slower = if rises { self.scenario.inflation.ln() * part } else { 0.0 };
        let (level, count) = self.latency.step();
        for _ in 0..count {
            let micros = (level + slower + self.latency.request()).exp();
            self.ledger.record(now, &self.instance, Duration::from_micros(micros as u64));
        }
    }

    fn sum_up(self, start: Now, events: Vec<LatencyEvent>, seconds: f64) -> Trial {
        let mut trial = Trial { duty: self.stood / seconds, ..Trial::default() };
        let lasting = self.scenario.lasting.as_secs_f64();
        for event in events {
            let began = event.began.duration_since(start.wall).as_secs_f64();
            let ended = began + event.lasted.as_secs_f64();
            let of_it = ended.min(self.rise + lasting) - began.max(self.rise);
            if of_it < SHARED * lasting {
                // What the rise has a part in is neither.
                if of_it <= 0.0 {
                    trial.others.push(event.verdict);
                }
                continue;
            }
            let stronger = |verdict| match verdict {
                None => 0,
                Some(Verdict::NotCaused) => 1,
                Some(Verdict::CannotTell) => 2,
                Some(Verdict::Caused) => 3,
            };
            if stronger(Some(event.verdict)) > stronger(trial.verdict) {
                (trial.verdict, trial.decided_after) = (Some(event.verdict), event.decided_after);
            }
        }
        trial
    }
}

/// What a ledger reached in many trials.
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Score {
    /// Events that came by themselves and were called the backup's, in per cent.
    pub false_attribution_pct: f64,
    /// True rises by the backup that were called the backup's, in per cent; one that was not noticed was not.
    pub detection_pct: f64,
    /// Rises of either kind of which the ledger could not tell, in per cent.
    pub cannot_tell_pct: f64,
    /// Rises that were not noticed at all, in per cent.
    pub unnoticed_pct: f64,
    /// Events of other times and lengths of which the ledger could not tell, in per cent.
    pub others_cannot_tell_pct: f64,
    /// Median time from a rise to its verdict, in seconds.
    pub decided_after_s: f64,
    /// The largest part of the time that backups stood.
    pub duty: f64,
    /// Trials.
    pub trials: usize,
    /// Events that came by themselves.
    pub by_themselves: usize,
    all: Vec<(Truth, Trial)>,
}

impl Score {
    /// Runs `make(truth)` once with each seed, half of them with a rise by the backup and half by the foreground.
    pub fn of(make: impl Fn(Truth) -> Scenario, seeds: Range<u64>) -> Self {
        let run = |seed: u64| {
            let truth = if seed.is_multiple_of(2) { Truth::Backup } else { Truth::Foreground };
            (truth, make(truth).run(seed))
        };
        Self::sum_up(seeds.map(run).collect())
    }

    /// This and other trials together.
    #[must_use]
    pub fn join(mut self, other: &Self) -> Self {
        self.all.extend(other.all.iter().cloned());
        Self::sum_up(self.all)
    }

    fn sum_up(all: Vec<(Truth, Trial)>) -> Self {
        let percent = |some: usize, of: usize| 100.0 * some as f64 / of.max(1) as f64;
        let by = |truth: Truth| all.iter().filter(move |(of, _)| *of == truth).map(|(_, trial)| trial);
        let saying = |verdict| all.iter().filter(|(_, trial)| trial.verdict == verdict).count();
        let detected = by(Truth::Backup).filter(|trial| trial.verdict == Some(Verdict::Caused)).count();
        let others: Vec<Verdict> = all.iter().flat_map(|(_, trial)| trial.others.iter().copied()).collect();
        let mut alone: Vec<Verdict> = by(Truth::Foreground).filter_map(|trial| trial.verdict).collect();
        alone.extend(&others);
        let of = |verdicts: &[Verdict], verdict| verdicts.iter().filter(|one| **one == verdict).count();
        let mut times: Vec<f64> =
            all.iter().filter_map(|(_, trial)| trial.decided_after).map(|d| d.as_secs_f64()).collect();
        Self {
            false_attribution_pct: percent(of(&alone, Verdict::Caused), alone.len()),
            detection_pct: percent(detected, by(Truth::Backup).count()),
            cannot_tell_pct: percent(saying(Some(Verdict::CannotTell)), all.len()),
            unnoticed_pct: percent(saying(None), all.len()),
            others_cannot_tell_pct: percent(of(&others, Verdict::CannotTell), others.len()),
            decided_after_s: median(&mut times),
            duty: all.iter().map(|(_, trial)| trial.duty).fold(0.0, f64::max),
            trials: all.len(),
            by_themselves: alone.len(),
            all,
        }
    }
}

impl fmt::Debug for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Score")
            .field("false_attribution_pct", &self.false_attribution_pct)
            .field("detection_pct", &self.detection_pct)
            .field("cannot_tell_pct", &self.cannot_tell_pct)
            .field("unnoticed_pct", &self.unnoticed_pct)
            .field("others_cannot_tell_pct", &self.others_cannot_tell_pct)
            .field("decided_after_s", &self.decided_after_s)
            .field("duty", &self.duty)
            .field("trials", &self.trials)
            .field("by_themselves", &self.by_themselves)
            .finish_non_exhaustive()
    }
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut fastrand::Rng) -> f64 {
    let (u, v) = (1.0 - rng.f64(), rng.f64());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// A Poisson number of a small mean (Knuth).
fn poisson(rng: &mut fastrand::Rng, mean: f64) -> u32 {
    let limit = (-mean).exp();
    let (mut product, mut count) = (rng.f64(), 0);
    while product > limit {
        product *= rng.f64();
        count += 1;
    }
    count
}
