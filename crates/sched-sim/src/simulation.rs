//! A strategy at work on a fleet: [`Simulation`].

use crate::fault::Faults;
use crate::fleet::{Fleet, Part, Terms};
use crate::latency::Room;
use crate::measure::Measures;
use crate::strategy::Strategy;
use crate::world::{Pacing, World};

/// Foreground latency may be a tenth higher, as the laws of `sched-limits` allow by default.
const ALLOWED: f64 = 1.10;

/// A fleet, its faults, and for how long it is watched. The same simulation of the same strategy gives the same measures.
#[derive(Clone, Debug)]
pub struct Simulation<'a> {
    fleet: &'a Fleet,
    terms: Option<&'a Terms>,
    faults: Faults,
    room: Room,
    pacing: Pacing,
    days: u32,
}

impl<'a> Simulation<'a> {
    /// A week without faults.
    pub fn new(fleet: &'a Fleet) -> Self {
        Self {
            fleet,
            terms: None,
            faults: Faults::default(),
            room: Room::allowing(ALLOWED),
            pacing: Pacing::default(),
            days: 7,
        }
    }

    /// With what policies say of the instances. Strategies that go by the clock do not heed it.
    #[must_use]
    pub fn terms(mut self, terms: &'a Terms) -> Self {
        self.terms = Some(terms);
        self
    }

    /// With what goes wrong.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// With rates that are found otherwise.
    #[must_use]
    pub fn pacing(mut self, pacing: Pacing) -> Self {
        self.pacing = pacing;
        self
    }

    /// So many days, at least 1.
    #[must_use]
    pub fn days(mut self, days: u32) -> Self {
        self.days = days.max(1);
        self
    }

    /// Lets a strategy work from the first midnight to the last.
    pub fn run(&self, strategy: &mut dyn Strategy) -> Measures {
        self.run_with(strategy, &mut |_| ())
    }

    /// Lets a strategy made for it work on each [`Part`] of the fleet, one after the other, and adds up what it did.
    /// That gives what a strategy does on the whole whose limits are those of links and hosts. It takes the memory of
    /// the largest part, and a million instances take no longer each than a few hundred.
    ///
    /// Tells after each part how many of how many are done.
    pub fn run_by_link<S: Strategy>(
        &self,
        mut make: impl FnMut(&Part) -> S,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Measures {
        let mut measures = Measures::new(self.fleet, 24 * self.days as usize);
        for (done, part) in self.fleet.parts().enumerate() {
            let terms = self.terms.map(|terms| part.terms(terms));
            let simulation = Simulation {
                fleet: &part.fleet,
                terms: terms.as_ref(),
                faults: part.faults(&self.faults),
                ..self.clone()
            };
            measures.add(&part, simulation.run(&mut make(&part)));
            progress(done + 1, self.fleet.links.len());
        }
        measures
    }

    /// As [`run`](Self::run), and tells the time reached, in seconds, now and then.
    pub fn run_with(&self, strategy: &mut dyn Strategy, progress: &mut dyn FnMut(f64)) -> Measures {
        let mut world = World::new(self.fleet, self.room, self.pacing, &self.faults, 24 * self.days as usize)
            .governed(self.terms);
        let (end, mut told) = (f64::from(self.days) * 86_400.0, 0.0);
        let mut wake = strategy.wake(&mut world);
        while world.now() < end {
            if let Some(finished) = world.advance(wake.min(end)) {
                strategy.finished(&mut world, &finished);
            }
            wake = strategy.wake(&mut world);
            if world.now() >= told {
                progress(world.now());
                told = world.now() + 3600.0;
            }
        }
        world.close()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use sched_core::JobTerms;

    use super::*;
    use crate::fleet::FleetShape;
    use crate::strategy::{Clockwork, StartAt};
    use crate::world::Pace;

    fn cron(pace: Pace) -> Clockwork {
        Clockwork::new(StartAt::Fixed(2.0 * 3600.0), pace)
    }

    #[test]
    fn what_is_simulated_twice_goes_the_same_way_and_moves_every_byte() {
        let fleet = FleetShape { instances: 400, per_link: 100, ..FleetShape::default() }.generate();
        let simulation = Simulation::new(&fleet).days(3);
        let measures = simulation.run(&mut cron(Pace::Unthrottled));
        assert_eq!(measures, simulation.run(&mut cron(Pace::Unthrottled)));
        assert_eq!(measures.failed, 0);
        assert!(measures.rpo_hit_pct() > 85.0, "{}", measures.rpo_hit_pct());
        let moved: f64 = measures.link_hours.iter().flatten().sum();
        let size: f64 =
            fleet.instances.iter().map(|i| i.bytes * 3.0 * 86_400.0 / i.every.as_secs_f64()).sum();
        assert!((moved / size - 1.0).abs() < 0.05, "{}", moved / size);
    }

    #[test]
    fn link_by_link_it_goes_as_on_the_whole() {
        use crate::fault::{Outage, Where};
        let fleet = FleetShape { instances: 250, per_link: 100, ..FleetShape::default() }.generate();
        let outage = Outage { place: Where::Link(1), from: 40_000.0, to: 90_000.0 };
        let faults = Faults { failing: 0.1, outages: vec![outage], ..Faults::default() };
        let simulation = Simulation::new(&fleet).days(2).faults(faults);
        let whole = simulation.run(&mut cron(Pace::Unthrottled));
        let parts = simulation.run_by_link(|_| cron(Pace::Unthrottled), &mut |_, _| ());
        assert_eq!((parts.succeeded, parts.failed, parts.due), (whole.succeeded, whole.failed, whole.due));
        assert_eq!(parts.slack_tenths, whole.slack_tenths);
        let hours = |measures: &Measures| measures.link_hours.concat();
        let close = |a: &f64, b: &f64| (a - b).abs() <= 1e-6 * b.abs();
        assert!(hours(&parts).iter().zip(&hours(&whole)).all(|(a, b)| close(a, b)));
        assert!(parts.worst.iter().zip(&whole.worst).all(|(a, b)| a.instance == b.instance));
        assert!((parts.harm_secs / whole.harm_secs - 1.0).abs() < 1e-9);
        assert!((parts.load_while_running / whole.load_while_running - 1.0).abs() < 1e-9);
    }

    #[test]
    fn plans_keep_to_quiet_hours_and_level_the_links() {
        use crate::measure::lowest_peaks;
        use crate::strategy::{Adaptive, Weeks};
        let fleet = FleetShape { instances: 1_000, ..FleetShape::default() }.generate();
        let simulation = Simulation::new(&fleet);
        let run = |weeks: Option<&Weeks>| {
            let adaptive = || weeks.map_or(Adaptive::new(20), |weeks| Adaptive::new(20).planned(weeks));
            simulation.run_by_link(|_| adaptive(), &mut |_, _| ())
        };
        let (planned, unplanned) = (run(Some(&Weeks::own())), run(None));
        assert!(planned.rpo_hit_pct() > 99.9, "{}", planned.rpo_hit_pct());
        assert!(
            planned.harm_secs < 0.7 * unplanned.harm_secs,
            "{} {}",
            planned.harm_secs,
            unplanned.harm_secs
        );
        assert!(planned.backup_secs < 0.5 * unplanned.backup_secs);
        let lowest = lowest_peaks(&fleet, None, 168);
        let (peak, before) = (planned.peak_over(&lowest).1, unplanned.peak_over(&lowest).1);
        assert!(peak < 1.35 && before > 3.0, "{peak} {before}");
        assert_eq!(planned, run(Some(&Weeks::own())));
    }

    #[test]
    fn a_host_that_is_always_too_busy_is_backed_up_in_time() {
        use crate::strategy::{Adaptive, Weeks};
        let mut fleet = FleetShape { instances: 60, per_link: 30, ..FleetShape::default() }.generate();
        for host in &mut fleet.hosts {
            // No room is left at this load.
            (host.load.class, host.load.base, host.load.noise) = (crate::load::LoadClass::Stable, 0.62, 0.0);
        }
        let planned = || Adaptive::new(30).planned(&Weeks::own());
        let measures = Simulation::new(&fleet).run_by_link(|_| planned(), &mut |_, _| ());
        // Nobody would be without the rates that deadlines ask for.
        assert!(measures.rpo_hit_pct() > 98.5, "{}", measures.rpo_hit_pct());
        // Slowly enough for nobody to feel it, but for the largest.
        assert!(
            measures.harm_secs < 0.05 * measures.backup_secs,
            "{} {}",
            measures.harm_secs,
            measures.backup_secs
        );
    }

    #[test]
    fn who_may_not_take_long_does_not_wait_for_the_end_of_a_peak() {
        use crate::strategy::{Adaptive, Weeks};
        let mut fleet = FleetShape { instances: 60, per_link: 30, ..FleetShape::default() }.generate();
        fleet.links.iter_mut().for_each(|link| link.bytes_per_sec = 1e9);
        fleet.instances.iter_mut().for_each(|of| of.bytes = 1e9);
        for host in &mut fleet.hosts {
            (host.load.class, host.load.base, host.load.noise) = (crate::load::LoadClass::Stable, 0.62, 0.0);
        }
        let mut terms = JobTerms::default();
        terms.timeout = Some(Duration::from_secs(900));
        let terms = Arc::new(terms);
        let terms = Terms::new(vec![terms; 60], BTreeMap::new());
        let planned = || Adaptive::new(30).planned(&Weeks::own());
        let measures = Simulation::new(&fleet).terms(&terms).run_by_link(|_| planned(), &mut |_, _| ());
        assert_eq!((measures.timed_out, measures.failed), (0, 0));
        assert!(measures.rpo_hit_pct() > 99.0, "{}", measures.rpo_hit_pct());
    }

    #[test]
    fn what_is_not_modelled_of_a_policys_demand_keeps_nobody_from_running() {
        use crate::strategy::{Adaptive, Weeks};
        let fleet = FleetShape { instances: 30, per_link: 30, ..FleetShape::default() }.generate();
        let mut terms = JobTerms::default();
        terms.demand.add("memory", 1 << 30);
        let terms = Arc::new(terms);
        let terms = Terms::new(vec![terms; 30], BTreeMap::new());
        let planned = || Adaptive::new(30).planned(&Weeks::own());
        let simulation = Simulation::new(&fleet).days(2).terms(&terms);
        assert!(simulation.run_by_link(|_| planned(), &mut |_, _| ()).succeeded >= 30);
    }

    #[test]
    fn a_paced_backup_does_less_harm_and_takes_longer() {
        let fleet = FleetShape { instances: 400, per_link: 100, ..FleetShape::default() }.generate();
        let simulation = Simulation::new(&fleet).days(2);
        let fast = simulation.run(&mut cron(Pace::Unthrottled));
        let safe = simulation.run(&mut cron(Pace::Safe));
        assert!(safe.harm_secs < 0.1 * fast.harm_secs, "{} {}", safe.harm_secs, fast.harm_secs);
        assert!(safe.backup_secs > fast.backup_secs);
    }

    #[test]
    fn failures_are_tried_again_and_those_that_hang_are_given_up() {
        let fleet = FleetShape { instances: 300, per_link: 100, ..FleetShape::default() }.generate();
        let faults = Faults { failing: 0.1, hanging: 0.02, ..Faults::default() };
        let measures = Simulation::new(&fleet).faults(faults).run(&mut cron(Pace::Fixed(100e6)));
        let share = measures.failed as f64 / (measures.failed + measures.succeeded) as f64;
        assert!((share - 0.12).abs() < 0.02, "{share}");
        assert!(measures.rpo_hit_pct() > 80.0, "{}", measures.rpo_hit_pct());
    }

    #[test]
    fn nothing_succeeds_where_there_is_an_outage() {
        use crate::fault::{Outage, Where};
        let fleet = FleetShape { instances: 200, per_link: 100, ..FleetShape::default() }.generate();
        let outage = Outage { place: Where::Link(0), from: 3_600.0, to: 2.0 * 86_400.0 };
        let faults = Faults { outages: vec![outage], ..Faults::default() };
        let measures = Simulation::new(&fleet).days(2).faults(faults).run(&mut cron(Pace::Fixed(100e6)));
        let moved = |link: usize| measures.link_hours[link].iter().sum::<f64>();
        assert!(moved(0) < 0.01 * moved(1), "{} {}", moved(0), moved(1));
        assert!(measures.failed > 100);
        assert!(measures.rpo_hit_pct() < 80.0);
    }
}
