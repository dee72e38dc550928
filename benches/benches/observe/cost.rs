//! What it costs the deciding thread to be observed.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};
use sched_benches::{Row, median, quick, timed};
use sched_core::{
    AttemptEnd, Engine, EngineConfig, Event, JobSpec, JobTerms, MonoTime, Now, Order, Output, SLOTS, Scope,
};
use sched_observe::metrics::Counts;
use sched_observe::{
    AttemptHistory, AuditLog, DecisionLog, EventSink, Feed, FnHook, Hook, HookRunner, Rotation, TracingHook,
};

const ROUNDS: usize = 7;

/// What the scheduler does with each event: it counts, keeps, and hands on to hooks.
struct Observer {
    counts: Counts,
    attempts: AttemptHistory,
    feed: Feed,
    sink: EventSink,
}

impl Observer {
    fn new(sink: EventSink) -> Self {
        let (attempts, feed) = (AttemptHistory::new(1_000), Feed::new(4_096, 0));
        Self { counts: Counts::default(), attempts, feed, sink }
    }

    fn event(&mut self, event: &Arc<Event>) {
        self.counts.event(event);
        self.attempts.event(event);
        self.feed.push(event.clone());
        self.sink.send(event.clone());
    }
}

fn hooks(dir: &std::path::Path) -> Vec<Box<dyn Hook>> {
    let audit = AuditLog::open(dir.join("audit.jsonl"), Rotation::default()).expect("a directory of its own");
    vec![
        Box::new(TracingHook::new()),
        Box::new(DecisionLog::new(10_000)),
        Box::new(audit),
        Box::new(FnHook(|event: &Event| drop(black_box(event.to_string())))),
    ]
}

fn at(n: u64) -> Now {
    let start = Now { mono: MonoTime::from_nanos(1), wall: "2026-03-01T00:00:00Z".parse().expect("a date") };
    start.plus(std::time::Duration::from_millis(n))
}

fn engine(slots: u64) -> Engine {
    let mut config = EngineConfig::default();
    config.max_pending = usize::MAX;
    config.resources.insert(SLOTS.into(), slots);
    Engine::new(config, at(0))
}

/// Complete life cycles; returns those a second of this thread's processor time, and of time.
fn cycles(jobs: usize, observer: &mut Option<Observer>) -> [f64; 2] {
    let mut engine = engine(64);
    let terms = Arc::new(JobTerms::default());
    let mut running = Vec::new();
    let mut now = 1;
    let begun = processor_time();
    let (took, ()) = timed(|| {
        for job in 0..jobs {
            now += 1;
            let spec = JobSpec::new(format!("db-{job}"), "postgresql");
            engine.submit(at(now), spec, terms.clone()).expect("it is accepted");
            engine.advance(at(now));
            while let Some(output) = engine.poll_output() {
                match output {
                    Output::Start(order) => {
                        engine.started(at(now), order.attempt);
                        running.push(order.attempt);
                    }
                    Output::Event(event) => {
                        if let Some(observer) = observer {
                            observer.event(&event);
                        }
                    }
                    Output::Ended(status) => {
                        if let Some(observer) = observer {
                            observer.counts.ended(at(now).wall, &status);
                        }
                    }
                    Output::Record(lsn, _) => engine.committed(at(now), lsn),
                    _ => {}
                }
            }
            if running.len() > 32 {
                let attempt = running.swap_remove(0);
                engine.ended(at(now), attempt, AttemptEnd::new(1, Ok(())));
            }
        }
    });
    [processor_time() - begun, took].map(|took| jobs as f64 / took * 1e9)
}

/// Nanoseconds for which this thread has run.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Events of some life cycles.
fn events() -> Vec<Arc<Event>> {
    let mut engine = engine(64);
    let mut events = Vec::new();
    for job in 0..1_000 {
        let spec = JobSpec::new(format!("db-{job}"), "postgresql");
        engine.submit(at(job), spec, JobTerms::default()).expect("it is accepted");
        engine.advance(at(job));
        while let Some(output) = engine.poll_output() {
            match output {
                Output::Start(order) => {
                    engine.started(at(job), order.attempt);
                    engine.ended(at(job), order.attempt, AttemptEnd::new(1, Ok(())));
                }
                Output::Event(event) => events.push(event),
                Output::Record(lsn, _) => engine.committed(at(job), lsn),
                _ => {}
            }
        }
    }
    events
}

pub(crate) fn rows() -> Vec<Row> {
    let dir = tempfile::tempdir().expect("a directory");
    let [loss, wall] = throughput(dir.path());
    vec![loss, wall, event(dir.path()), status()]
}

/// All hooks beside none, in turns: what the deciding thread loses, and what is lost when it and all hooks work without a
/// pause on as many processors as there are.
fn throughput(dir: &std::path::Path) -> [Row; 2] {
    let jobs = if quick() { 20_000 } else { 100_000 };
    let mut rates: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let alone = cycles(jobs, &mut None);
        let (sink, runner) = HookRunner::start(hooks(dir), 4_096).expect("threads");
        let mut observer = Some(Observer::new(sink));
        let observed = cycles(jobs, &mut observer);
        drop(observer);
        runner.stop(std::time::Duration::from_secs(60));
        alone.into_iter().chain(observed).zip(&mut rates).for_each(|(rate, all)| all.push(rate));
    }
    let [alone, alone_wall, observed, observed_wall] = rates.map(median);
    println!(
        "life cycles a second: {alone:.0} alone, {observed:.0} with four hooks, counts, history and feed; with all \
         threads at work without a pause {alone_wall:.0} and {observed_wall:.0}"
    );
    let row = |name, alone, observed| {
        Row::new(name, (100.0 * (1.0 - observed / alone), "%"), ("allowed", 10.0), ROUNDS)
    };
    [
        row("throughput_loss_pct", alone, observed),
        row("throughput_loss_saturated_pct", alone_wall, observed_wall),
    ]
}

/// What one event costs, with the hooks at work beside.
fn event(dir: &std::path::Path) -> Row {
    let events = events();
    let rounds = if quick() { 20 } else { 200 };
    let mut cost = BTreeMap::<_, Vec<f64>>::new();
    for _ in 0..ROUNDS {
        for hooked in [false, true] {
            let hooks = if hooked { hooks(dir) } else { vec![] };
            let (sink, runner) = HookRunner::start(hooks, 4_096).expect("threads");
            let mut observer = Observer::new(sink);
            let (took, ()) =
                timed(|| (0..rounds).for_each(|_| events.iter().for_each(|e| observer.event(e))));
            cost.entry(hooked).or_default().push(took / (rounds * events.len()) as f64);
            drop(observer);
            runner.stop(std::time::Duration::from_secs(60));
        }
    }
    let [without, with] = [false, true].map(|hooked| median(cost.remove(&hooked).expect("it was measured")));
    Row::new("event_ns", (with, "ns"), ("without hooks", without), ROUNDS)
}

/// The summary with a million jobs that wait, beside all that can be told.
fn status() -> Row {
    let jobs = if quick() { 100_000 } else { 1_000_000 };
    let mut engine = engine(64);
    engine.hold(at(0), Scope::Fleet, Order::new("bench", "all wait"));
    let terms = Arc::new(JobTerms::default());
    for job in 0..jobs {
        let spec = JobSpec::new(format!("db-{job}"), ["postgresql", "mysql", "etcd"][job % 3]);
        engine.submit(at(1), spec, terms.clone()).expect("it is accepted");
        while let Some(output) = engine.poll_output() {
            if let Output::Record(lsn, _) = output {
                engine.committed(at(1), lsn);
            }
        }
    }
    engine.advance(at(1));
    assert_eq!(engine.summary().waiting, jobs);
    let of = |work: &dyn Fn()| median((0..21).map(|_| timed(work).0 / 1e6).collect());
    let summary = of(&|| drop(black_box(engine.summary())));
    let status = of(&|| drop(black_box(engine.status())));
    Row::new("status_1m_ms", (summary, "ms"), ("the full status", status), 21)
}
