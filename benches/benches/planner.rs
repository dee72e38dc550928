//! The planner: one plan, a million plans, and how evenly a link is used by 10,000 nightly backups.
//!
//! `cargo bench -p sched-benches --bench planner`

use std::hint::black_box;
use std::time::Duration;

use backup_sched::core::JobId;
use fastrand::Rng;
use jiff::Timestamp;
use sched_benches::{Row, median, quick, timed, write_results};
use sched_workload::plan::{
    FleetPlanner, LinkId, LinkLedger, LinkSet, OpenInterval, PlanRequest, PlanSettings, PlanSource,
    PlannedJob, Planner,
};
use sched_workload::{Forecast, ForecastSlot};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// 2026-03-02, midnight.
const MIDNIGHT: i64 = 1_772_409_600;
const DAY: i64 = 86_400;
const HOUR: Duration = Duration::from_secs(3600);
/// The window: 22:00 to 06:00.
const WINDOW: (i64, i64) = (22 * 3600, 30 * 3600);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(MIDNIGHT + second).expect("a time of this century")
}

/// Days whose load is least at some hour of the night, with two in ten that are as busy at night as by day.
fn days(rng: &mut Rng, count: usize) -> Vec<Vec<ForecastSlot>> {
    let day = |trough: f64, depth: f64, rng: &mut Rng| -> Vec<ForecastSlot> {
        let slot = |hour: i32| {
            let wave = ((f64::from(hour) - trough) / 24.0 * std::f64::consts::TAU).cos();
            let mean = 50.0 * (1.0 - depth * wave) + 4.0 * rng.f64();
            ForecastSlot { mean: mean as f32, spread: 4.0 }
        };
        (0..24).map(slot).collect()
    };
    (0..count)
        .map(|_| day(1.0 + 4.0 * rng.f64(), if rng.u8(..10) < 2 { 0.05 } else { 0.3 + 0.5 * rng.f64() }, rng))
        .collect()
}

/// What the planner looks up: one of the days for each job, and the same window.
struct Fleet {
    days: Vec<Vec<ForecastSlot>>,
}

impl PlanSource for Fleet {
    fn windows(&self, _: JobId, from: Timestamp, until: Timestamp, into: &mut Vec<OpenInterval>) {
        let day = |when: Timestamp| (when.as_second() - MIDNIGHT).div_euclid(DAY);
        let window = |day| OpenInterval { from: at(day * DAY + WINDOW.0), until: at(day * DAY + WINDOW.1) };
        into.extend((day(from) - 1..=day(until)).map(window));
    }

    fn forecast(&self, job: JobId, from: Timestamp, into: &mut Forecast) -> bool {
        let hour = (from.as_second() - MIDNIGHT).div_euclid(3600);
        (into.start, into.step) = (at(hour * 3600), HOUR);
        let day = &self.days[job.0 as usize % self.days.len()];
        let (before, after) = day.split_at(hour.rem_euclid(24) as usize);
        // A day and the next, so that the window of the coming night is covered.
        for part in [after, before, after, before] {
            into.slots.extend_from_slice(part);
        }
        true
    }
}

/// A nightly backup of 10 minutes to 2 hours at 20 to 100 MB/s.
fn nightly(rng: &mut Rng, links: LinkSet, seed: u64) -> PlannedJob {
    let seconds = 600.0 * 12_f64.powf(rng.f64());
    let bytes = seconds * (20e6 + 80e6 * rng.f64());
    let duration = Duration::from_secs(seconds as u64);
    PlannedJob {
        since: at(12 * 3600),
        latest_start: Some(at(WINDOW.1)),
        may_override: true,
        duration,
        bytes: bytes as u64,
        links,
        seed,
    }
}

/// Microseconds of one plan over a whole day and three links, and when each start's slots are summed anew.
fn one() -> (f64, f64) {
    let settings = PlanSettings::default();
    let mut rng = Rng::with_seed(1);
    let mut ledger = LinkLedger::new(&settings, at(0));
    let links = LinkSet::new([1 << 30, 1 << 28, 1 << 29].map(|rate| ledger.add_link(rate))).expect("three");
    for _ in 0..2000 {
        let job = nightly(&mut rng, links, 0);
        let _committed = ledger.put(links, at(rng.i64(0..DAY)), job.duration, job.bytes / 50);
    }
    let fleet = Fleet { days: days(&mut rng, 64) };
    let forecasts: Vec<Forecast> = (0..64)
        .map(|day| {
            let mut forecast = Forecast { start: at(0), step: HOUR, slots: Vec::new() };
            fleet.forecast(JobId(day), at(0), &mut forecast);
            forecast
        })
        .collect();
    let mut planner = Planner::new(settings).expect("good settings");
    let job = nightly(&mut rng, links, 0);
    let request = |forecast| PlanRequest {
        duration: job.duration,
        bytes: job.bytes,
        links,
        forecast: Some(forecast),
        ..PlanRequest::new(at(60))
    };
    let micros = |took: f64| took / 1e3 / forecasts.len() as f64;
    let rounds = if quick() { 20 } else { 400 };
    let (mut ours, mut naive) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(micros(
            timed(|| forecasts.iter().for_each(|f| _ = black_box(planner.plan(&request(f), &ledger)))).0,
        ));
        naive.push(micros(
            timed(|| forecasts.iter().for_each(|f| _ = black_box(each_start(&request(f), &ledger)))).0,
        ));
    }
    (median(ours), median(naive))
}

/// The cheapest start of the day by summing each start's slots.
fn each_start(request: &PlanRequest<'_>, ledger: &LinkLedger) -> i64 {
    let forecast = request.forecast.expect("there is one");
    let slots = request.duration.as_secs().div_ceil(900) as i64;
    let cost = |start: &i64| {
        let slot = |slot: i64| {
            let when = at(slot * 900);
            let load = forecast.at(when).map_or(1.0, |slot| f64::from(slot.mean) / 50.0);
            load + request.links.iter().map(|link| ledger.fill(link, when)).sum::<f64>()
        };
        (*start..start + slots).map(slot).sum::<f64>()
    };
    (0..96).min_by(|a, b| cost(a).total_cmp(&cost(b))).expect("96 starts")
}

/// Seconds of a first plan for so many jobs and of the sweep a slot later, bytes a job, and how many moved.
fn many(jobs: u64) -> (f64, f64, f64, usize) {
    let mut rng = Rng::with_seed(2);
    let region = Region::new(GLOBAL);
    let mut planner = FleetPlanner::new(PlanSettings::default(), at(12 * 3600)).expect("good settings");
    let per_link = 60_000_000;
    let uplink = planner.add_link(per_link * jobs / 8);
    let destinations: Vec<LinkId> = (0..20).map(|_| planner.add_link(per_link * jobs / 160)).collect();
    let racks: Vec<LinkId> = (0..1000).map(|_| planner.add_link(per_link * jobs / 8000)).collect();
    let links = |id: u64| {
        let (destination, rack) = (destinations[id as usize % 20], racks[id as usize % 1000]);
        LinkSet::new([uplink, destination, rack]).expect("three")
    };
    for id in 0..jobs {
        planner.insert(JobId(id), nightly(&mut rng, links(id), id));
    }
    let fleet = Fleet { days: days(&mut rng, 1000) };
    let (mut told, mut moved) = (0, 0);
    let mut changes = Vec::new();
    let mut run = |now: i64, count: &mut usize| {
        timed(|| {
            while planner.next_replan(at(now)) <= at(now) {
                planner.replan(at(now), &fleet, 1000, &mut changes);
                *count += changes.len();
                changes.clear();
            }
        })
        .0 / 1e9
    };
    let first = run(12 * 3600, &mut told);
    assert_eq!(told as u64, jobs, "every job has a start");
    let change = region.change();
    let bytes = change.bytes_allocated as f64 - change.bytes_deallocated as f64;
    let again = run(12 * 3600 + 900, &mut moved);
    (first, again, bytes / jobs as f64, moved)
}

/// How evenly a link is used, minute by minute of the window, and how busy the foreground was meanwhile.
struct Night {
    peak_to_mean: f64,
    load: f64,
}

impl Night {
    fn new(jobs: &[PlannedJob], starts: &[i64], days: &[Vec<ForecastSlot>]) -> Self {
        let mut minutes = vec![0.0; (2 * DAY / 60) as usize];
        let (mut load, mut ran) = (0.0, 0.0);
        for (id, (job, start)) in jobs.iter().zip(starts).enumerate() {
            let seconds = job.duration.as_secs() as i64;
            let day = &days[id % days.len()];
            let mean = day.iter().map(|slot| f64::from(slot.mean)).sum::<f64>() / 24.0;
            for second in (*start..start + seconds).step_by(10) {
                minutes[(second / 60) as usize] += job.bytes as f64 / seconds as f64 * 10.0;
                load += f64::from(day[(second / 3600 % 24) as usize].mean) / mean;
                ran += 1.0;
            }
        }
        let total: f64 = minutes.iter().sum();
        let mean = total / ((WINDOW.1 - WINDOW.0) / 60) as f64;
        Self { peak_to_mean: minutes.iter().copied().fold(0.0, f64::max) / mean, load: load / ran }
    }
}

/// A night of so many backups over one link that is 70 % full then: planned, at random, at 02:00, each for itself.
fn night(jobs: usize, days: Vec<Vec<ForecastSlot>>) -> [Night; 4] {
    let mut rng = Rng::with_seed(3);
    let plans: Vec<PlannedJob> =
        (0..jobs).map(|id| nightly(&mut rng, LinkSet::default(), id as u64)).collect();
    let bytes: u64 = plans.iter().map(|job| job.bytes).sum();
    let fleet = Fleet { days };
    let planned = |shared: bool| -> Vec<i64> {
        let mut planner = FleetPlanner::new(PlanSettings::default(), at(12 * 3600)).expect("good settings");
        let capacity = bytes as f64 / (WINDOW.1 - WINDOW.0) as f64 / 0.7;
        let uplink = LinkSet::new([planner.add_link(capacity as u64)]).expect("one");
        let links = if shared { uplink } else { LinkSet::default() };
        for (id, job) in plans.iter().enumerate() {
            planner.insert(JobId(id as u64), PlannedJob { links, ..*job });
        }
        let (mut starts, mut changes) = (vec![0; jobs], Vec::new());
        // From noon until the window opens, as the day unfolds.
        for now in (12 * 3600..WINDOW.0).step_by(900).map(|second| second + 60) {
            while planner.next_replan(at(now)) <= at(now) {
                planner.replan(at(now), &fleet, 1000, &mut changes);
            }
        }
        for (job, plan) in changes {
            let start = plan.expect("the window holds it").start;
            starts[job.0 as usize] = start.as_second() - MIDNIGHT;
        }
        starts
    };
    let random =
        plans.iter().map(|job| rng.i64(WINDOW.0..=WINDOW.1 - job.duration.as_secs() as i64)).collect();
    let starts = [planned(true), random, vec![26 * 3600; jobs], planned(false)];
    starts.map(|starts| Night::new(&plans, &starts, &fleet.days))
}

fn main() {
    let (plan, naive) = one();
    let mut rows = vec![Row::new("plan_us", (plan, "µs"), ("each start summed anew", naive), 400)];

    let jobs = if quick() { 20_000 } else { 1_000_000 };
    let (first, again, bytes, moved) = many(jobs);
    let scale = 1e6 / jobs as f64;
    rows.push(Row::new("million_s", (again * scale, "s"), ("planned the first time", first * scale), 1));
    rows.push(Row::new("million_first_s", (first * scale, "s"), ("aim", 10.0), 1));
    rows.push(Row::new(
        "million_moved_pct",
        (moved as f64 / jobs as f64 * 100.0, "%"),
        ("told at first", 100.0),
        1,
    ));
    rows.push(Row::new("bytes_per_job", (bytes, "B"), ("the learned week", 384.0), 1));

    let jobs = if quick() { 1_000 } else { 10_000 };
    let mut rng = Rng::with_seed(4);
    let flat = vec![vec![ForecastSlot { mean: 50.0, spread: 4.0 }; 24]];
    let [level, random, ..] = night(jobs, flat);
    let peer = ("random in the window", random.peak_to_mean);
    rows.push(Row::new("flat.peak_to_mean", (level.peak_to_mean, "×"), peer, 1));
    let [planned, random, cron, alone] = night(jobs, days(&mut rng, 500));
    rows.push(Row::new("peak_to_mean", (planned.peak_to_mean, "×"), ("as even as can be", 1.0), 1));
    rows.push(Row::new("load", (planned.load, "mean"), ("links left aside", alone.load), 1));
    for (peak, load, rival) in [
        ("random.peak_to_mean", "random.load", random),
        ("cron.peak_to_mean", "cron.load", cron),
        ("unshared.peak_to_mean", "unshared.load", alone),
    ] {
        rows.push(Row::new(peak, (rival.peak_to_mean, "×"), ("planned", planned.peak_to_mean), 1));
        rows.push(Row::new(load, (rival.load, "mean"), ("planned", planned.load), 1));
    }
    write_results("planner", &rows);
}
