//! What a check costs: the bandwidth tree with one and four levels, with a lease, and from two threads, beside other
//! limiters that let everything through just as well; and a tick of the control laws.
//!
//! `cargo bench -p sched-benches --bench pacing`

use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use sched_benches::{Row, median, quick, timed, write_results};
use sched_core::{Clock, MonoTime, Now, Pacer, Scope};
use sched_limits::{BandwidthTree, JobPacer, JobShare, Observation, Override, PiConfig, PiLaw, Rate};

/// The clock that governor reads too, so that the limiters and not the clocks are compared.
#[derive(Clone, Debug)]
struct QuantaClock {
    clock: quanta::Clock,
    origin: u64,
}

impl QuantaClock {
    fn new() -> Self {
        let clock = quanta::Clock::new();
        let origin = clock.raw();
        Self { clock, origin }
    }
}

impl Clock for QuantaClock {
    fn now(&self) -> Now {
        Now { mono: self.mono(), wall: jiff::Timestamp::UNIX_EPOCH }
    }

    fn mono(&self) -> MonoTime {
        MonoTime::from_nanos(self.clock.delta_as_nanos(self.origin, self.clock.raw()))
    }
}

/// Never used up by checks of a byte.
const FAST: Rate = Rate::BytesPerSec(100_000_000_000);
/// Never used up by checks of 64 KiB that take 2 ns each.
const FASTER: Rate = Rate::BytesPerSec(1 << 50);

fn one_level() -> (BandwidthTree, JobPacer) {
    let tree = BandwidthTree::with_lease(Arc::new(QuantaClock::new()), FAST, 0);
    let job = tree.join(&Scope::Fleet, JobShare::default()).expect("a place");
    (tree, job)
}

/// Fleet, link, host and job, each with a rate.
fn four_levels(rate: Rate, lease: u64) -> (BandwidthTree, [JobPacer; 2]) {
    let tree = BandwidthTree::with_lease(Arc::new(QuantaClock::new()), rate, lease);
    let (link, host) = (Scope::Link("uplink".into()), Scope::Host("db-1".into()));
    tree.set_parent(&host, &link).expect("places");
    tree.set_rate(&link, rate).expect("a place");
    tree.set_rate(&host, rate).expect("a place");
    let job = || tree.join(&host, JobShare::default().ceiling(rate)).expect("a place");
    let jobs = [job(), job()];
    (tree, jobs)
}

fn check(job: &JobPacer, bytes: u64) {
    let charge = job.charge(bytes);
    assert_eq!(job.wait(charge), Some(Duration::ZERO), "the rate is never used up");
}

fn direct_governor() -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(NonZeroU32::MAX))
}

/// Nanoseconds for one of so many calls.
fn each(calls: u32, mut call: impl FnMut()) -> f64 {
    let (took, ()) = timed(|| (0..calls).for_each(|_| call()));
    took / f64::from(calls)
}

/// Nanoseconds for one of so many calls of each of two threads that run at once.
fn each_of_two(calls: u32, call: impl Fn(usize) + Sync) -> f64 {
    let start = Barrier::new(2);
    let (call, start) = (&call, &start);
    let times = std::thread::scope(|scope| {
        let threads = [0, 1].map(|thread| {
            scope.spawn(move || {
                start.wait();
                each(calls, || call(thread))
            })
        });
        threads.map(|thread| thread.join().expect("it only counts"))
    });
    f64::midpoint(times[0], times[1])
}

fn leaky_bucket(calls: u32) -> f64 {
    let limiter = leaky_bucket::RateLimiter::builder()
        .max(1 << 40)
        .initial(1 << 40)
        .refill(1 << 30)
        .interval(Duration::from_millis(1))
        .build();
    each(calls, || assert!(limiter.try_acquire(1)))
}

fn async_speed_limit(calls: u32) -> f64 {
    let limiter = <async_speed_limit::Limiter>::new(1e12);
    let mut context = Context::from_waker(Waker::noop());
    each(calls, || {
        let consumed = pin!(limiter.consume(1)).poll(&mut context);
        assert!(matches!(consumed, Poll::Ready(())));
    })
}

fn tokio_semaphore(calls: u32) -> f64 {
    let semaphore = tokio::sync::Semaphore::new(1 << 20);
    each(calls, || drop(semaphore.try_acquire_many(1).expect("it is given back")))
}

/// Microseconds for one tick of the laws of ten signals, of which the least share counts.
fn control_tick(ticks: u32) -> f64 {
    let config = || PiConfig::healthy(Duration::from_millis(5));
    let mut now = Now { mono: MonoTime::from_nanos(1), wall: Timestamp::UNIX_EPOCH };
    let mut laws = Override::new();
    for _ in 0..10 {
        laws.add(now, Box::new(PiLaw::new(config()).expect("good settings")));
    }
    let mut micros = 0;
    let nanos = each(ticks, || {
        now = now.plus(Duration::from_secs(1));
        micros = (micros + 7) % 2_000;
        for law in 0..10 {
            let value = f64::from(4_000 + micros) * 1e-6;
            laws.step(now, law, Some(Observation::new(now.mono, value, 0.5)));
        }
        assert!(laws.least().is_some_and(|(_, least)| (0.0..=1.0).contains(&least.share)));
    });
    nanos / 1e3
}

fn main() {
    let (rounds, calls) = if quick() { (3, 20_000) } else { (31, 400_000) };
    let governor = direct_governor();
    let (_one, job) = one_level();
    let (_four, jobs) = four_levels(FAST, 0);
    let (_leased, [leased, _]) = four_levels(FASTER, 1 << 20);
    let names = [
        "governor",
        "check_1_level",
        "check_4_levels",
        "lease",
        "governor_2_threads",
        "check_4_levels_2_threads",
        "leaky_bucket",
        "async_speed_limit",
        "tokio_semaphore",
        "control_tick_us",
    ];
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    // The first round warms up.
    for round in 0..=rounds {
        let row = [
            each(calls, || assert!(governor.check().is_ok())),
            each(calls, || check(&job, 1)),
            each(calls, || check(&jobs[0], 1)),
            each(calls, || check(&leased, 64 << 10)),
            each_of_two(calls, |_| assert!(governor.check().is_ok())),
            each_of_two(calls, |thread| check(&jobs[thread], 1)),
            leaky_bucket(calls),
            async_speed_limit(calls),
            tokio_semaphore(calls),
            control_tick(calls / 100),
        ];
        for (times, time) in times.iter_mut().zip(row).filter(|_| round > 0) {
            times.push(time);
        }
    }
    // Ratios within a round, so that what slows the machine for a while slows both.
    let ratio =
        |at: usize, peer: usize| median(times[at].iter().zip(&times[peer]).map(|(a, b)| a / b).collect());
    let row = |at: usize, peer: usize| {
        let peer_value = median(times[peer].clone());
        Row::new(names[at], (ratio(at, peer) * peer_value, "ns"), (names[peer], peer_value), rounds)
    };
    let mut rows: Vec<Row> = [1, 2, 3].map(|at| row(at, 0)).into();
    rows.push(row(5, 4));
    rows.extend([6, 7, 8].map(|at| row(at, 0)));
    let tick = median(times[9].clone());
    rows.push(Row::new("control_tick_us", (tick, "µs"), ("aim", 20.0), rounds));
    let path = write_results("pacing", &rows);
    println!("written to {}", path.display());
}
