//! Instances that are created and dropped in the week, loads that shift, loads that were recorded.

use sched_sim::{
    Adaptive, Baseline, Clockwork, Crowd, Faults, Finished, Fleet, FleetShape, LevelShift, Measures, Pace,
    Recording, Simulation, StartAt, Strategy, Weeks, Where, World, baselines, lowest_peaks,
};

const HOUR: f64 = 3600.0;

fn fleet(instances: u32) -> FleetShape {
    let mut shape = FleetShape::default();
    (shape.instances, shape.per_link) = (instances, 60);
    shape
}

fn planned() -> Adaptive {
    Adaptive::new(20).planned(&Weeks::own())
}

fn named(table: &str) -> Fleet {
    let head =
        "technology,instance,size_gb,rpo_hours,every_hours,created_hours,dropped_hours,link_mb_per_sec\n";
    Fleet::read("fleet.csv", format!("{head}{table}").as_bytes()).unwrap()
}

/// What fell due of each technology, and how much of it was in time.
fn due(measures: &Measures) -> Vec<(u64, u64)> {
    measures.technologies.iter().map(|of| (of.due, of.in_time)).collect()
}

/// Sees to it that nobody is backed up who does not exist.
struct Watched<S>(S);

impl<S: Strategy> Strategy for Watched<S> {
    fn name(&self) -> String {
        self.0.name()
    }

    fn wake(&mut self, world: &mut World<'_>) -> f64 {
        let next = self.0.wake(world);
        for (instance, _) in world.runs().collect::<Vec<_>>() {
            let life = world.fleet().instances[instance as usize].life;
            assert!(life.created <= world.now() && world.now() <= life.dropped, "{instance} {}", world.now());
        }
        next
    }

    fn finished(&mut self, world: &mut World<'_>, finished: &Finished) {
        self.0.finished(world, finished);
    }
}

#[test]
fn nothing_is_due_of_who_does_not_exist() {
    let fleet =
        named("a,always,10,24,12,,,\nb,middle,10,20,4,30,54,\nc,short,10,24,12,,5,\nd,late,10,24,12,60,,\n");
    let simulation = Simulation::new(&fleet).days(3);
    let ours = simulation.run(&mut Watched(planned()));
    assert_eq!(due(&ours)[1..], [(1, 1), (0, 0), (0, 0)], "{ours:?}");
    assert!(due(&ours)[0].0 >= 3 && ours.due == ours.in_time);
    assert!(ours.makespan_secs.is_some_and(|secs| secs < 54.0 * HOUR), "{:?}", ours.makespan_secs);
    let cron = simulation.run(&mut Watched(Clockwork::new(StartAt::Fixed(2.0 * HOUR), Pace::Unthrottled)));
    // At 34, 38, … 50 of its hours: 50 to 54 hours, it is due again beyond its end. At 62 o'clock, the first of the last.
    assert_eq!(due(&cron)[1..], [(5, 5), (1, 1), (1, 1)]);
    // Somebody who is there for two RPOs and never backed up has missed two.
    let nobody = Simulation::new(&named("b,b,10,10,10,30,54,\n"))
        .days(3)
        .run(&mut Clockwork::new(StartAt::Fixed(0.0), Pace::Unthrottled).only_below(0.0));
    assert_eq!((nobody.due, nobody.in_time, nobody.makespan_secs), (1, 0, None));
}

#[test]
fn a_backup_ends_with_its_instance_and_has_neither_failed_nor_succeeded() {
    // Ten hours each at this rate, one after the other.
    let fleet = named("a,first,360,30,24,,4,\nb,next,360,30,24,,,\n");
    let slow = || Clockwork::new(StartAt::Fixed(2.0 * HOUR), Pace::Fixed(10e6)).most_a_link(1);
    let measures = Simulation::new(&fleet).days(1).run(&mut Watched(slow()));
    assert_eq!((measures.succeeded, measures.failed, measures.timed_out), (1, 0, 0));
    assert_eq!(due(&measures), [(0, 0), (1, 1)]);
    assert!(
        (measures.makespan_secs.unwrap() - 14.0 * HOUR).abs() < 0.5 * HOUR,
        "{:?}",
        measures.makespan_secs
    );
    assert!((measures.backup_secs - 12.0 * HOUR).abs() < 0.5 * HOUR);
}

#[test]
fn a_fleet_that_comes_and_goes_is_backed_up_in_time_by_everybody_as_far_as_it_exists() {
    let mut shape = fleet(240);
    (shape.short_lived, shape.shifting) = (0.42, 0.1);
    let fleet = shape.generate();
    let simulation = Simulation::new(&fleet);
    let ours = simulation.run_by_link(|_| Watched(planned()), &mut |_, _| ());
    // Of links that few share some are late anyway, when a large one is under way.
    assert!(ours.rpo_hit_pct() > 96.0, "{}", ours.rpo_hit_pct());
    assert!(ours.failed < 5, "{}", ours.failed);
    assert_eq!(ours, simulation.run_by_link(|_| planned(), &mut |_, _| ()));
    let unplanned = simulation.run(&mut Watched(Adaptive::new(20)));
    assert!(unplanned.rpo_hit_pct() > 95.0, "{}", unplanned.rpo_hit_pct());
    for Baseline { settings, .. } in baselines() {
        let measures = simulation.run(&mut Watched(settings[1].clone()));
        assert!(measures.succeeded > 1_000, "{}", measures.succeeded);
        assert_eq!(measures.failed, measures.timed_out);
    }
    // Who is not there needs nothing of the links.
    let mut always = fleet.clone();
    always.instances.iter_mut().for_each(|of| of.life = sched_sim::Life::default());
    let (some, all) = (lowest_peaks(&fleet, None, 168), lowest_peaks(&always, None, 168));
    assert!(some.iter().zip(&all).all(|(some, all)| *some < 0.9 * all), "{some:?} {all:?}");
}

#[test]
fn a_load_that_has_shifted_is_no_peak_once_it_is_known() {
    let (plain, mut shifted) = (fleet(60).generate(), fleet(60).generate());
    let shift = LevelShift { slot: 96, by: 0.15 };
    shifted.hosts.iter_mut().for_each(|host| host.shift = Some(shift));
    let run = |fleet: &Fleet, faults: Faults| Simulation::new(fleet).faults(faults).run(&mut planned());
    let learned = run(&shifted, Faults::default());
    // The same load as something that nobody learns.
    let mut faults = Faults::default();
    let (from, to) = (f64::from(shift.slot) * 900.0, f64::INFINITY);
    faults.crowds.push(Crowd { place: Where::Fleet, from, to, load: shift.by.into() });
    let unknown = run(&plain, faults);
    let undisturbed = run(&plain, Faults::default()).rpo_hit_pct();
    assert!(learned.rpo_hit_pct() > undisturbed - 2.0, "{} {undisturbed}", learned.rpo_hit_pct());
    assert!(2 * learned.overridden < unknown.overridden, "{} {}", learned.overridden, unknown.overridden);
    // Quiet moments are those of the new level.
    assert!(learned.low_load_share() > 0.7, "{}", learned.low_load_share());
}

#[test]
fn a_fleets_own_loads_as_a_recording_make_the_same_week() {
    let plain = fleet(60).generate();
    let mut recorded = plain.clone();
    for host in &mut recorded.hosts {
        let samples = (0..672).map(|slot| (f64::from(slot) * 900.0, host.load_at(slot)));
        host.recorded = Some(Recording::new(samples.collect::<Vec<_>>()).unwrap());
    }
    let run = |fleet: &Fleet| {
        Simulation::new(fleet).run(&mut Clockwork::new(StartAt::Fixed(2.0 * HOUR), Pace::Safe))
    };
    let (plain_week, recorded_week) = (run(&plain), run(&recorded));
    assert_eq!((recorded_week.succeeded, recorded_week.due), (plain_week.succeeded, plain_week.due));
    for of in [|m: &Measures| m.backup_secs, |m: &Measures| m.load_while_running] {
        assert!((of(&recorded_week) / of(&plain_week) - 1.0).abs() < 1e-3);
    }
    let ours = |fleet: &Fleet| Simulation::new(fleet).run(&mut planned());
    let (plain_week, recorded_week) = (ours(&plain), ours(&recorded));
    assert!((recorded_week.rpo_hit_pct() - plain_week.rpo_hit_pct()).abs() < 2.0);
    // The quietest hour of a recording has its noise in it.
    let low = (recorded_week.low_load_share(), plain_week.low_load_share());
    assert!((low.0 - low.1).abs() < 0.2, "{low:?}");
}
