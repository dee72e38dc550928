//! The engine with a fleet's whole backlog: complete life cycles (submit, start, finish) a second, the longest
//! steps, memory a job, and how cost grows with the backlog.
//!
//! `cargo bench -p sched-benches --bench engine`; with valgrind installed, instructions are counted too.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use sched_benches::{Row, median, quick, timed, write_results};
use sched_core::{
    AttemptEnd, AttemptId, CapacityState, Engine, EngineConfig, HostName, InstanceName, JobSpec, JobTerms,
    MonoTime, Now, Output, Priority, Reason, RetryPolicy, SLOTS, Scope, TechnologyName,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

const JOBS_A_HOST: usize = 10;
const TECHNOLOGIES: [&str; 3] = ["postgresql", "mysql", "cassandra"];

/// What keeps the backlog waiting.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mix {
    /// Every host runs one job and has nine more waiting.
    HostBlocked,
    /// A link that all hosts share allows a thousand, and closes and opens all the time.
    FlappingLink,
    /// Everybody's window opens at the same moment.
    WindowsOpen,
}

struct Bench {
    engine: Engine,
    now: Now,
    mix: Mix,
    terms: Vec<Arc<JobTerms>>,
    running: Vec<(AttemptId, usize)>,
    /// Names as a host application holds them.
    names: Vec<InstanceName>,
    hosts: Vec<HostName>,
    technologies: Vec<TechnologyName>,
    random: fastrand::Rng,
    /// Times of steps, when they are measured: reading a clock twice for each would cost a part of a cycle's time.
    steps: Option<Histogram<u64>>,
    day: u32,
    ended: u64,
}

impl Bench {
    fn new(mix: Mix, jobs: usize) -> Self {
        Self::with_names((0..jobs).map(|n| format!("db-{n}").into()).collect(), mix)
    }

    fn with_names(names: Vec<InstanceName>, mix: Mix) -> Self {
        let jobs = names.len();
        let mut config = EngineConfig::default();
        let at_once = if mix == Mix::FlappingLink { 1_000 } else { 10_000_000 };
        config.resources.insert(SLOTS.into(), at_once);
        config.max_pending = usize::MAX;
        config.events = false;
        let wall = "2026-03-01T00:00:00Z".parse().expect("a date");
        let now = Now { mono: MonoTime::from_nanos(1), wall };
        let mut engine = Engine::new(config, now);
        let wan = Scope::Link("wan".into());
        let hosts = jobs.div_ceil(JOBS_A_HOST);
        for host in 0..hosts {
            let host = Scope::Host(format!("host-{host}").into());
            engine.set_parent(now, &host, &wan).expect("a tree");
            // The disk is what lets one job run.
            for (name, total) in [("cpu", 8), ("memory", 64), ("disk", 100), ("net", 1_000)] {
                engine.set_resource(now, &host, name.into(), total).expect("a place");
            }
        }
        let terms = (0..3).map(|n| {
            let mut terms = JobTerms::default();
            terms.priority = [Priority::Low, Priority::Normal, Priority::High][n];
            terms.expected_duration = Duration::from_secs(600);
            terms.retry = RetryPolicy::default();
            for (name, amount) in [("cpu", 1), ("memory", 4), ("disk", 80), ("net", 100)] {
                terms.demand.add(name, amount);
            }
            Arc::new(terms)
        });
        Self {
            engine,
            now,
            mix,
            terms: terms.collect(),
            running: Vec::new(),
            names,
            hosts: (0..hosts).map(|n| format!("host-{n}").into()).collect(),
            technologies: TECHNOLOGIES.map(TechnologyName::from).into(),
            random: fastrand::Rng::with_seed(7),
            steps: None,
            day: 1,
            ended: 0,
        }
    }

    /// Hands in all jobs and lets the engine come to rest.
    fn fill(mut self) -> Self {
        self.hand_in((0..self.names.len()).collect());
        if self.mix == Mix::WindowsOpen {
            self.open_windows();
            self.settle();
        }
        self
    }

    /// Hands in jobs, in no order of hosts.
    fn hand_in(&mut self, mut jobs: Vec<usize>) {
        self.random.shuffle(&mut jobs);
        jobs.into_iter().for_each(|n| self.submit(n));
        self.settle();
    }

    fn submit(&mut self, n: usize) {
        let host = n / JOBS_A_HOST;
        let technology = host % TECHNOLOGIES.len();
        let mut spec = JobSpec::new(&self.names[n], &self.technologies[technology])
            .host(&self.hosts[host])
            .size_bytes(self.random.u64(1 << 20..1 << 40))
            .rpo(Duration::from_secs(86_400));
        spec.deadline = Some(self.now.plus(Duration::from_secs(self.random.u64(50_000..400_000))).wall);
        if self.mix == Mix::WindowsOpen {
            spec.not_before = Some(self.now.plus(Duration::from_secs(20_000)).wall);
        }
        let terms = self.terms[n % 3].clone();
        self.engine.submit(self.now, spec, terms).expect("a good request");
    }

    fn step(&mut self) {
        let Some(steps) = &mut self.steps else { return self.engine.advance(self.now) };
        let (took, ()) = timed(|| self.engine.advance(self.now));
        steps.record(took as u64).expect("the histogram grows");
    }

    /// Lets the engine decide until it comes to rest.
    fn settle(&mut self) {
        loop {
            self.step();
            while let Some(output) = self.engine.poll_output() {
                if let Output::Start(order) = output {
                    self.engine.started(self.now, order.attempt);
                    let n = order.spec.instance.as_str()[3..].parse().expect("a number");
                    self.running.push((order.attempt, n));
                }
            }
            if self.engine.next_wakeup().is_none_or(|at| at > self.now.mono) {
                return;
            }
        }
    }

    fn tick(&mut self, by: Duration) {
        self.now = self.now.plus(by);
    }

    fn open_windows(&mut self) {
        self.day += 1;
        self.tick(Duration::from_secs(20_001));
    }

    /// Ends a random attempt and asks for the next backup of its instance.
    fn end_one(&mut self) {
        let (attempt, n) = self.running.swap_remove(self.random.usize(..self.running.len()));
        self.engine.ended(self.now, attempt, AttemptEnd::new(1 << 20, Ok(())));
        self.ended += 1;
        self.submit(n);
    }

    /// So many complete life cycles.
    #[inline(never)]
    fn cycles(&mut self, count: usize) {
        let until = self.ended + count as u64;
        while self.ended < until {
            self.tick(Duration::from_micros(1));
            match self.mix {
                Mix::HostBlocked => {
                    self.end_one();
                    self.settle();
                }
                Mix::FlappingLink => {
                    let wan = Scope::Link("wan".into());
                    let reason = Reason::new("uplink saturated");
                    self.engine.set_capacity(self.now, wan.clone(), CapacityState::Closed { reason });
                    for _ in 0..20 {
                        self.end_one();
                        self.settle();
                    }
                    self.engine.set_capacity(self.now, wan, CapacityState::Open);
                    self.settle();
                }
                Mix::WindowsOpen => {
                    if self.running.is_empty() {
                        self.open_windows();
                        self.settle();
                    }
                    self.end_one();
                    self.settle();
                }
            }
        }
    }
}

/// One insert and one remove in a map of a million entries: what any ordered structure of that size costs here.
fn map_pair(entries: u64, pairs: u64) -> f64 {
    let mut random = fastrand::Rng::with_seed(3);
    let mut map: BTreeMap<u64, u64> = (0..entries).map(|n| (random.u64(..), n)).collect();
    let mut keys: Vec<u64> = map.keys().copied().collect();
    let (took, ()) = timed(|| {
        for n in 0..pairs {
            let at = random.usize(..keys.len());
            black_box(map.remove(&keys[at]));
            keys[at] = random.u64(..);
            map.insert(keys[at], n);
        }
    });
    took / pairs as f64
}

/// Instructions that life cycles cost at a backlog of `jobs`, counted by callgrind; `None` without valgrind.
fn instructions(jobs: usize, cycles: usize) -> Option<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .args(["--toggle-collect=*Bench*cycles*", "--"])
        .arg(std::env::current_exe().ok()?)
        .env("ENGINE_BENCH_COUNT", format!("{jobs} {cycles}"))
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    let counted: f64 = line.split_whitespace().last()?.parse().ok()?;
    Some(counted / cycles as f64)
}

fn main() {
    if let Ok(counted) = std::env::var("ENGINE_BENCH_COUNT") {
        let mut numbers = counted.split(' ').map(|n| n.parse().expect("a number"));
        let (jobs, cycles) = (numbers.next().expect("jobs"), numbers.next().expect("cycles"));
        Bench::new(Mix::HostBlocked, jobs).fill().cycles(cycles);
        return;
    }
    let (large, small) = if quick() { (20_000, 2_000) } else { (1_000_000, 10_000) };
    let (cycles, rounds) = if quick() { (20_000, 3) } else { (200_000, 5) };

    // Names belong to the host application, which has them anyway.
    let names = (0..large).map(|n| format!("db-{n}").into()).collect();
    let live = |region: &Region<_>| {
        let change = region.change();
        change.bytes_allocated as f64 - change.bytes_deallocated as f64
    };
    let region = Region::new(GLOBAL);
    let mut bench = Bench::with_names(names, Mix::HostBlocked);
    // Every host runs one; what comes then is pending.
    let (first, rest): (Vec<usize>, Vec<usize>) = (0..large).partition(|n| n % JOBS_A_HOST == 0);
    bench.hand_in(first);
    let (hosts, running) = (live(&region), bench.running.len());
    bench.hand_in(rest);
    let pending = bench.engine.pending_count();
    assert_eq!((running, pending), (bench.running.len(), large - running));
    let bytes_a_job = (live(&region) - hosts) / pending as f64;
    println!(
        "{pending} pending jobs: {bytes_a_job:.0} bytes each; {running} hosts with four resources and a running job: {:.0} \
         bytes each",
        hosts / running as f64
    );

    let mut rows = Vec::new();
    let mut slowest = (Mix::HostBlocked, f64::INFINITY, 0.0_f64, 1.0);
    let mut growth = Vec::new();
    for mix in [Mix::HostBlocked, Mix::FlappingLink, Mix::WindowsOpen] {
        if mix != Mix::HostBlocked {
            bench = Bench::new(mix, large).fill();
        }
        let mut few = Bench::new(mix, small).fill();
        let (mut at_large, mut at_small, mut pairs) = (vec![], vec![], vec![]);
        // A whole round of windows is one sample: opening them for everybody is part of the price.
        let count = if mix == Mix::WindowsOpen { large } else { cycles };
        let rounds = if mix == Mix::WindowsOpen { 2 } else { rounds };
        bench.cycles(cycles / 10);
        for _ in 0..rounds {
            at_large.push(timed(|| bench.cycles(count)).0 / count as f64);
            at_small.push(timed(|| few.cycles(cycles)).0 / cycles as f64);
            pairs.push(map_pair(large as u64, cycles as u64));
        }
        bench.steps = Histogram::new(3).ok();
        bench.cycles(count);
        let steps = bench.steps.take().expect("a valid precision");
        let (one, one_small, pair) = (median(at_large), median(at_small), median(pairs));
        let p999 = steps.value_at_quantile(0.999) as f64 / 1e3;
        println!(
            "{mix:?}: {one:.0} ns a life cycle ({:.0} a second), {one_small:.0} ns at {small} jobs; one map insert \
             and remove {pair:.0} ns; step p99.9 {p999:.1} µs, longest {:.0} µs; {:.1} moves a cycle",
            1e9 / one,
            steps.max() as f64 / 1e3,
            bench.engine.moves() as f64 / (bench.ended + large as u64) as f64,
        );
        growth.push(one / one_small);
        if 1e9 / one < slowest.1 {
            slowest = (mix, 1e9 / one, slowest.2, pair);
        }
        slowest.2 = slowest.2.max(p999);
    }
    let (mix, per_second, p999, pair) = slowest;
    let peer = format!("one BTreeMap insert+remove ({mix:?})");
    rows.push(Row::new("lifecycles_per_s_1m", (per_second, "1/s"), (&peer, 1e9 / pair), rounds));
    rows.push(Row::new("step_p999_us_1m", (p999, "µs"), ("limit", 20.0), rounds));
    let growth = growth.into_iter().fold(0.0, f64::max);
    rows.push(Row::new("time_1m_over_10k", (growth, "ratio"), ("limit", 4.0), rounds));
    rows.push(Row::new("bytes_per_job_1m", (bytes_a_job, "bytes"), ("limit", 300.0), 1));
    let counted = 5_000;
    match (instructions(small, counted), instructions(if quick() { large } else { 1_000_000 }, counted)) {
        (Some(few), Some(many)) => {
            println!("instructions a life cycle: {many:.0} at {large} jobs, {few:.0} at {small}");
            rows.push(Row::new("instructions_1m_over_10k", (many / few, "ratio"), ("limit", 1.5), 1));
        }
        _ => println!("instructions were not counted: valgrind is not installed"),
    }
    let path = write_results("engine", &rows);
    println!("written to {}", path.display());
}
