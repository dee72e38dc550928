//! What goes wrong, and what the scheduler must make of it: a test for each fault.

use std::ops::Range;
use std::time::Duration;

use sched_sim::{
    Adaptive, Crowd, FalseProbe, Faults, Finished, Fleet, FleetShape, LoadClass, Measures, Outage, Says,
    Simulation, SlowStore, Strategy, WallJump, Weeks, Where, World,
};

const HOUR: f64 = 3600.0;
const RPO: f64 = 24.0 * HOUR;
const A_LINK: u32 = 30;
const MOST_A_LINK: usize = 8;

/// Two links with 30 instances each on calm hosts: 20 small ones with a recovery point a day, which are looked at, and
/// 10 large ones with one a week, for which the links have room.
fn fleet() -> Fleet {
    let mut shape = FleetShape::default();
    (shape.instances, shape.per_link) = (2 * A_LINK, A_LINK);
    let mut fleet = shape.generate();
    for host in &mut fleet.hosts {
        (host.load.class, host.load.base, host.load.swing) = (LoadClass::Stable, 0.1, 0.0);
        (host.load.noise, host.bytes_per_sec) = (0.01, 500e6);
    }
    for (n, of) in (0..).zip(&mut fleet.instances) {
        let (bytes, days) = if is_small(n) { (2e9, 1.0) } else { (200e9, 7.0) };
        (of.bytes, of.growth_per_day) = (bytes, 0.0);
        of.rpo = Duration::from_secs_f64(days * RPO);
        of.every = Duration::from_secs_f64(0.5 * days * RPO);
    }
    fleet.links.iter_mut().for_each(|link| link.bytes_per_sec = 1.25e9);
    fleet
}

fn is_small(instance: u32) -> bool {
    instance % A_LINK < 20
}

/// The small instances of a link.
fn small(link: u32) -> Range<u32> {
    A_LINK * link..A_LINK * link + 20
}

/// The scheduler, and what it did.
struct Recorded {
    inner: Adaptive,
    /// When attempts of small instances began and ended, of which, and how; oldest end first.
    attempts: Vec<(f64, f64, Finished)>,
    /// The newest recovery point of each instance, and those that were renewed too late.
    points: Vec<f64>,
    missed: Vec<u32>,
    /// The age of recovery points when their renewal began, as a share of the RPO.
    ages: Vec<f64>,
    /// The most that ran at once on a link.
    most: usize,
    /// The longest that an attempt has taken so far, in hours.
    longest: f64,
}

impl Strategy for Recorded {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn wake(&mut self, world: &mut World<'_>) -> f64 {
        if self.points.is_empty() {
            let instances = 0..world.fleet().instances.len() as u32;
            self.points = instances.map(|instance| world.recovery_point(instance)).collect();
        }
        let next = self.inner.wake(world);
        for link in 0..world.fleet().links.len() as u32 {
            let hosts = world.fleet().hosts.iter().enumerate().filter(|(_, host)| host.link == link);
            let running = hosts.map(|(n, _)| world.running_on(n as u32)).sum();
            self.most = self.most.max(running);
        }
        let hours = world.runs().map(|(_, started)| (world.now() - started) / HOUR);
        self.longest = hours.fold(self.longest, f64::max);
        next
    }

    fn finished(&mut self, world: &mut World<'_>, finished: &Finished) {
        let point = &mut self.points[finished.instance as usize];
        if is_small(finished.instance) {
            self.attempts.push((finished.started, world.now(), *finished));
            if finished.ok {
                let before = std::mem::replace(point, finished.started);
                self.ages.push((finished.started - before) / RPO);
                self.missed.extend((world.now() > before + RPO).then_some(finished.instance));
            }
        }
        self.inner.finished(world, finished);
    }
}

impl Recorded {
    fn new() -> Self {
        Self {
            inner: Adaptive::new(MOST_A_LINK as u64).planned(&Weeks::own()),
            attempts: vec![],
            points: vec![],
            missed: vec![],
            ages: vec![],
            most: 0,
            longest: 0.0,
        }
    }

    /// When attempts on a link began between two moments, in hours.
    fn starts(&self, link: u32, from: f64, to: f64) -> Vec<f64> {
        let here = self
            .attempts
            .iter()
            .filter(|(at, _, of)| of.instance / A_LINK == link && from * HOUR < *at && *at < to * HOUR);
        let mut starts: Vec<f64> = here.map(|(at, ..)| at / HOUR).collect();
        starts.sort_by(f64::total_cmp);
        starts
    }

    fn failed(&self) -> usize {
        self.attempts.iter().filter(|(.., of)| !of.ok).count()
    }

    fn succeeded_by(&self, instance: u32, from: f64, to: f64) -> bool {
        let good = |(at, end, of): &(f64, f64, Finished)| {
            of.instance == instance && of.ok && *at >= from * HOUR && *end <= to * HOUR
        };
        self.attempts.iter().any(good)
    }
}

fn run(faults: Faults) -> (Measures, Recorded) {
    run_on(&fleet(), faults)
}

fn run_on(fleet: &Fleet, faults: Faults) -> (Measures, Recorded) {
    let mut recorded = Recorded::new();
    let measures = Simulation::new(fleet).faults(faults).days(6).run(&mut recorded);
    assert!(recorded.most <= MOST_A_LINK, "{} on a link", recorded.most);
    (measures, recorded)
}

fn with(set: impl FnOnce(&mut Faults)) -> Faults {
    let mut faults = Faults::default();
    set(&mut faults);
    faults
}

fn outage(place: Where, from: f64, to: f64) -> Outage {
    Outage { place, from: from * HOUR, to: to * HOUR }
}

fn probes(says: Says) -> Faults {
    with(|faults| {
        faults.probes.push(FalseProbe { place: Where::Fleet, from: 0.0, to: f64::INFINITY, says });
    })
}

const NOBODY: [u32; 0] = [];

#[test]
fn without_faults_every_recovery_point_is_met_and_nothing_fails() {
    let (_, recorded) = run(Faults::default());
    assert_eq!(recorded.failed(), 0);
    assert_eq!(recorded.missed, NOBODY);
    assert!(recorded.attempts.len() > 40 * 6, "{}", recorded.attempts.len());
}

#[test]
fn an_attempt_that_fails_is_made_again_and_one_that_hangs_is_stopped_at_its_time_out() {
    let (_, recorded) = run(with(|faults| (faults.failing, faults.hanging) = (0.2, 0.05)));
    assert!((11.9..12.01).contains(&recorded.longest), "{}", recorded.longest);
    assert!(recorded.failed() > 30);
    assert!(recorded.missed.len() < recorded.attempts.len() / 6, "{:?}", recorded.missed);
}

#[test]
fn only_the_backups_of_a_lost_host_wait() {
    let (_, recorded) = run(with(|faults| faults.lost.push(outage(Where::Host(3), 20.0, 50.0))));
    assert!(
        recorded
            .attempts
            .iter()
            .all(|(from, _, of)| { of.instance != 3 || !(20.0 * HOUR..50.0 * HOUR).contains(from) })
    );
    assert!(recorded.succeeded_by(3, 50.0, 52.0), "it is made up for");
    assert!(recorded.missed.iter().all(|instance| *instance == 3), "{:?}", recorded.missed);
}

#[test]
fn a_probe_of_one_host_that_lies_holds_up_that_host_alone_and_not_for_ever() {
    let by_others =
        |recorded: &Recorded| recorded.attempts.iter().filter(|(_, _, of)| of.instance != 3).count();
    let (_, before) = run(Faults::default());
    for says in [Says::Nothing, Says::Load(1.0), Says::Load(f64::NAN)] {
        let lies = with(|faults| {
            let place = Where::Host(3);
            faults.probes.push(FalseProbe { place, from: 0.0, to: f64::INFINITY, says });
        });
        let (_, recorded) = run(lies);
        assert!(recorded.missed.iter().all(|instance| *instance == 3), "{says:?}: {:?}", recorded.missed);
        assert_eq!(by_others(&recorded), by_others(&before), "{says:?}");
        assert!(recorded.attempts.iter().any(|(_, _, of)| of.instance == 3 && of.ok), "{says:?}");
    }
}

/// A scheduler that is stopped for a while: it decides nothing, and hears of no end, before it goes on.
struct Stopped<'a> {
    inner: &'a mut Recorded,
    /// In hours.
    during: Range<f64>,
    ended: Vec<Finished>,
}

impl Stopped<'_> {
    fn stands(&self, world: &World<'_>) -> bool {
        self.during.contains(&(world.now() / HOUR))
    }

    fn hear(&mut self, world: &mut World<'_>) {
        for finished in std::mem::take(&mut self.ended) {
            self.inner.finished(world, &finished);
        }
    }
}

impl Strategy for Stopped<'_> {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn wake(&mut self, world: &mut World<'_>) -> f64 {
        if self.stands(world) {
            return self.during.end * HOUR;
        }
        self.hear(world);
        self.inner.wake(world)
    }

    fn finished(&mut self, world: &mut World<'_>, finished: &Finished) {
        self.ended.push(*finished);
        if !self.stands(world) {
            self.hear(world);
        }
    }
}

#[test]
fn a_scheduler_that_stood_for_hours_goes_on_within_its_limits_and_makes_nothing_twice() {
    let (_, before) = run(Faults::default());
    let mut recorded = Recorded::new();
    let mut stopped = Stopped { inner: &mut recorded, during: 20.0..27.0, ended: vec![] };
    Simulation::new(&fleet()).days(6).run(&mut stopped);
    assert!(recorded.most <= MOST_A_LINK, "{} on a link", recorded.most);
    assert_eq!(recorded.starts(0, 20.0, 27.0), [] as [f64; 0]);
    for instance in small(0).chain(small(1)) {
        let made = |recorded: &Recorded| {
            recorded.attempts.iter().filter(|(.., of)| of.instance == instance && of.ok).count()
        };
        let (made, usually) = (made(&recorded), made(&before));
        assert!(made <= usually + 1, "{instance} was backed up {made} times, usually {usually}");
    }
}

#[test]
fn what_runs_on_a_host_that_is_lost_keeps_its_slot_until_the_host_is_back() {
    // The whole fleet is lost while it is backed up.
    let (_, before) = run(Faults::default());
    let (from, to, _) = before.attempts[0];
    let lost = f64::midpoint(from, to) / HOUR;
    let (_, recorded) = run(with(|faults| faults.lost.push(outage(Where::Fleet, lost, lost + 20.0))));
    let stuck = recorded.attempts.iter().filter(|(from, to, _)| (*from..*to).contains(&(lost * HOUR)));
    let stuck: Vec<_> = stuck.collect();
    assert!(!stuck.is_empty());
    for (_, end, of) in stuck {
        assert!(!of.ok && *end >= (lost + 20.0) * HOUR, "{of:?} ended at {}", end / HOUR);
    }
    assert_eq!(recorded.starts(0, lost, lost + 20.0), [] as [f64; 0]);
    assert!(small(0).all(|instance| recorded.succeeded_by(instance, lost + 20.0, lost + 44.0)));
}

#[test]
fn what_was_about_to_fail_when_its_host_was_lost_fails_when_the_host_is_back() {
    let (_, before) = run(Faults::default());
    let (from, to, _) = before.attempts[0];
    let out = f64::midpoint(from, to) / HOUR;
    let lost = out + 10.0 / HOUR;
    let (_, recorded) = run(with(|faults| {
        faults.outages.push(outage(Where::Fleet, out, lost + 0.1));
        faults.lost.push(outage(Where::Fleet, lost, lost + 0.1));
    }));
    let stuck = recorded.attempts.iter().filter(|(from, to, _)| (*from..*to).contains(&(lost * HOUR)));
    let ends: Vec<f64> = stuck.map(|(_, end, _)| end / HOUR - lost).collect();
    assert!(!ends.is_empty() && ends.iter().all(|end| (0.1..0.11).contains(end)), "{ends:?}");
}

#[test]
fn who_knows_nothing_of_a_load_waits_but_not_beyond_the_recovery_point() {
    let (measures, silent) = run(probes(Says::Nothing));
    assert_eq!(silent.missed, NOBODY);
    // Nobody starts who has more than a quarter of the slack left, and some otherwise would.
    let earliest = |recorded: &Recorded| recorded.ages.iter().copied().fold(f64::INFINITY, f64::min);
    let (_, honest) = run(Faults::default());
    assert!(
        earliest(&silent) > 0.7 && earliest(&honest) < 0.65,
        "{} {}",
        earliest(&silent),
        earliest(&honest)
    );
    // What cannot be true says no more than nothing does, nor does what is old.
    for says in [f64::NAN, f64::INFINITY, -3.0].map(Says::Load) {
        assert_eq!(run(probes(says)).0, measures, "{says:?}");
    }
    let (_, stale) = run(probes(Says::Stale));
    assert_eq!(stale.missed, NOBODY);
    assert!(stale.attempts.len().abs_diff(silent.attempts.len()) <= 2);
}

#[test]
fn a_probe_that_always_cries_peak_costs_no_recovery_point() {
    let (measures, recorded) = run(probes(Says::Load(1.0)));
    assert_eq!(recorded.missed, NOBODY);
    let started = recorded.attempts.len() as u64;
    assert!(measures.overridden >= started, "{} of {started} are told as overrides", measures.overridden);
}

#[test]
fn a_slow_store_delays_starts_and_a_full_one_holds_them_back() {
    let slow = |from: f64, to: f64, secs| {
        with(|faults| faults.stores.push(SlowStore { from: from * HOUR, to: to * HOUR, secs }))
    };
    let (_, recorded) = run(slow(0.0, 144.0, 300.0));
    assert_eq!(recorded.missed, NOBODY);
    let (_, recorded) = run(slow(20.0, 30.0, f64::INFINITY));
    assert_eq!(recorded.starts(0, 20.0, 30.0), [] as [f64; 0]);
    assert_eq!(recorded.failed(), 0);
    let late = recorded.missed.len();
    assert!(late <= 15, "{late} recovery points, more than fell into ten hours");
    assert!((0..2).flat_map(small).all(|instance| recorded.succeeded_by(instance, 30.0, 54.0)));
}

#[test]
fn a_wall_clock_that_jumps_causes_no_burst_and_no_second_backup() {
    let jumps = |jumps: &[(f64, f64)]| {
        let jump = |(at, by): &(f64, f64)| WallJump { at: at * HOUR, secs: by * HOUR };
        with(|faults| faults.jumps.extend(jumps.iter().map(jump)))
    };
    let (_, usual) = run(Faults::default());
    // It comes right before anybody believes it.
    let (_, recorded) = run(jumps(&[(30.0, 30.0), (30.0 + 40.0 / HOUR, -30.0)]));
    assert_eq!(recorded.missed, NOBODY);
    let (there, here) = (usual.starts(0, 30.0, 31.0).len(), recorded.starts(0, 30.0, 31.0).len());
    assert!(here <= there + 2, "{here} starts, {there} without the jump");
    // It lasts: everything seems to be overdue, and is made once.
    let (_, recorded) = run(jumps(&[(30.0, 26.0), (60.0, -26.0)]));
    for instance in (0..2).flat_map(small) {
        let began = |(from, _, of): &&(f64, f64, Finished)| {
            of.instance == instance && (30.0 * HOUR..41.0 * HOUR).contains(from)
        };
        assert!(recorded.attempts.iter().filter(began).count() <= 1, "instance {instance}");
    }
    // After it has gone back nobody is late by more than the jump.
    let by = 60.0 + RPO / HOUR + 26.0;
    assert!((0..2).flat_map(small).all(|instance| recorded.succeeded_by(instance, 60.0, by)));
    assert_eq!(recorded.failed(), 0);
}

#[test]
fn after_an_outage_of_a_day_there_is_no_storm_and_all_is_made_up_for() {
    let (_, recorded) = run(with(|faults| faults.outages.push(outage(Where::Link(0), 24.0, 48.0))));
    // A breaker has few try, one after the other.
    let tried = recorded.starts(0, 24.0, 48.0).len();
    assert!((1..150).contains(&tried), "{tried}");
    assert!(small(0).all(|instance| recorded.succeeded_by(instance, 48.0, 54.0)));
    assert!(recorded.missed.iter().all(|instance| small(0).contains(instance)), "{:?}", recorded.missed);
    // Each is asked for once, however many turns it has missed.
    for instance in small(0) {
        let began = |(from, _, of): &&(f64, f64, Finished)| {
            of.instance == instance && of.ok && (48.0 * HOUR..59.0 * HOUR).contains(from)
        };
        assert_eq!(recorded.attempts.iter().filter(began).count(), 1, "instance {instance}");
    }
}

#[test]
fn a_planned_start_is_held_back_by_a_flash_crowd_but_not_beyond_the_latest_start() {
    let (_, usual) = run(Faults::default());
    let crowd = |from: f64, to: f64| {
        let crowd = Crowd { place: Where::Link(0), from: from * HOUR, to: to * HOUR, load: 0.4 };
        with(|faults| faults.crowds.push(crowd))
    };
    // A short one is waited for, wherever plans stood.
    let planned = usual.starts(0, 40.0, 41.5).len();
    assert!(planned >= 3, "{planned}");
    let (_, recorded) = run(crowd(40.0, 41.5));
    let (here, there) = (recorded.starts(0, 40.0, 41.5).len(), recorded.starts(1, 40.0, 41.5).len());
    assert!(here == 0 && there > 0, "{here} of {planned} started all the same; {there} elsewhere");
    assert_eq!(recorded.missed, NOBODY);
    // A long one is not.
    let (measures, recorded) = run(crowd(40.0, 90.0));
    assert!(measures.overridden > 10, "{}", measures.overridden);
    assert_eq!(recorded.missed, NOBODY);
}

#[test]
fn sizes_that_are_told_wrong_count_until_it_is_seen_what_is_moved() {
    let (_, recorded) = run(with(|faults| faults.sizes = 8.0));
    assert_eq!(recorded.failed(), 0);
    let mut once = recorded.missed.clone();
    once.sort_unstable();
    once.dedup();
    assert!(once.len() == recorded.missed.len() && once.len() <= 4, "{:?}", recorded.missed);
}

#[test]
fn nothing_is_started_that_writes_to_a_full_destination() {
    let (_, recorded) = run(with(|faults| faults.full.push(outage(Where::Link(0), 20.0, 30.0))));
    assert_eq!(recorded.starts(0, 20.0, 30.0), [] as [f64; 0]);
    assert!(recorded.failed() <= MOST_A_LINK, "{}: more than what ran", recorded.failed());
    assert!(!recorded.starts(1, 20.0, 30.0).is_empty(), "others go on");
    assert!(small(0).all(|instance| recorded.succeeded_by(instance, 30.0, 54.0)));
}
