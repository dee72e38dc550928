//! One simulation of the campaign, drawn from a seed: [`Case`].

use sched_sim::{
    Adaptive, Crowd, FalseProbe, Faults, FleetShape, Outage, Says, Simulation, SlowStore, Strategy, WallJump,
    Weeks, Where,
};

use crate::desk::Desk;
use crate::policy::{Policies, crammed};
use crate::watch::Watched;
use crate::{Checked, DAY, HOUR};

/// Days with faults, and days after them in which all must come right again.
pub(crate) const TROUBLED: u32 = 2;
pub(crate) const QUIET: u32 = 2;

/// Whose decisions are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The engine, with all that can be asked of it.
    Engine,
    /// The whole strategy.
    Strategy,
}

/// One simulation.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) who: Who,
    pub(crate) seed: u64,
    pub(crate) shape: FleetShape,
    pub(crate) most_a_link: u64,
    /// For the strategy.
    pub(crate) planned: bool,
    /// Seldom or often, things are asked of the engine that nobody expects, in mean seconds between two.
    pub(crate) disturbed: Option<f64>,
    /// The engine keeps a journal, and crashes.
    pub(crate) crashes: bool,
    /// Policies say more than the defaults.
    pub(crate) governed: bool,
    pub(crate) faults: Faults,
}

impl Case {
    pub(crate) fn random(who: Who, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut shape = FleetShape::default();
        shape.seed = seed;
        let (instances, per_link) = if who == Who::Engine { (14, 10) } else { (60, 40) };
        shape.instances = rng.u32(1..instances);
        shape.per_link = rng.u32(1..per_link);
        shape.link_use = 0.02 + 0.2 * rng.f64();
        let most_a_link = rng.u64(1..if who == Who::Engine { 6 } else { 30 });
        let disturbed = (rng.u8(..8) > 0).then(|| 1_200.0 + 10_000.0 * rng.f64());
        let (planned, crashes, governed) = (rng.bool(), rng.bool(), rng.u8(..6) > 0);
        let mut faults = faults(&mut rng, &shape, seed);
        let governed = governed && who == Who::Engine;
        if who == Who::Strategy {
            // The others are looked at one by one in `tests/faults.rs`.
            faults.lost.clear();
            faults.full.clear();
            faults.probes.clear();
            faults.stores.clear();
            faults.jumps.clear();
            faults.sizes = 0.0;
        }
        Self { who, seed, shape, most_a_link, planned, disturbed, crashes, governed, faults }
    }

    /// What does not hold, a panic included.
    pub(crate) fn run(&self) -> Checked {
        std::panic::catch_unwind(|| self.run_through()).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(format!("a panic: {}", text.unwrap_or_default()))
        })
    }

    fn run_through(&self) -> Checked {
        let mut fleet = self.shape.generate();
        match self.who {
            Who::Engine => {
                crammed(&mut fleet, self.seed);
                let mut desk = Desk::new(self, &fleet);
                self.simulate(&fleet, None, &mut desk);
                desk.verdict()
            }
            Who::Strategy => {
                let policies = self.governed.then(|| Policies::random(&fleet, self.seed, self.most_a_link));
                let terms = policies.map(|policies| policies.terms());
                terms.iter().for_each(|terms| terms.apply(&mut fleet));
                let adaptive = Adaptive::new(self.most_a_link);
                let inner = if self.planned { adaptive.planned(&Weeks::own()) } else { adaptive };
                let mut watched = Watched::new(inner, self.most_a_link, &fleet);
                self.simulate(&fleet, terms.as_ref(), &mut watched);
                watched.verdict()
            }
        }
    }

    fn simulate(
        &self,
        fleet: &sched_sim::Fleet,
        terms: Option<&sched_sim::Terms>,
        strategy: &mut dyn Strategy,
    ) {
        let simulation = Simulation::new(fleet).faults(self.faults.clone()).days(TROUBLED + QUIET);
        match terms {
            Some(terms) => simulation.terms(terms).run(strategy),
            None => simulation.run(strategy),
        };
    }

    /// Smaller cases, the smallest first.
    fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut with = |change: &dyn Fn(&mut Self)| {
            let mut case = self.clone();
            change(&mut case);
            if format!("{case:?}") != format!("{self:?}") {
                all.push(case);
            }
        };
        if self.shape.instances > 1 {
            with(&|case| case.shape.instances /= 2);
            with(&|case| case.shape.instances -= 1);
        }
        with(&|case| case.faults = Faults::default());
        with(&|case| case.faults.outages.clear());
        with(&|case| case.faults.lost.clear());
        with(&|case| case.faults.full.clear());
        with(&|case| case.faults.crowds.clear());
        with(&|case| case.faults.probes.clear());
        with(&|case| case.faults.stores.clear());
        with(&|case| case.faults.jumps.clear());
        with(&|case| (case.faults.failing, case.faults.hanging) = (0.0, 0.0));
        with(&|case| case.faults.sizes = 0.0);
        with(&|case| case.disturbed = None);
        with(&|case| case.crashes = false);
        with(&|case| case.planned = false);
        with(&|case| case.governed = false);
        all
    }

    /// The smallest case on the way down that still fails, and how.
    pub(crate) fn shrink(self, why: String) -> (Self, String) {
        let failing = |case: Self| case.run().err().map(|why| (case, why));
        match self.smaller().into_iter().find_map(failing) {
            Some((smaller, why)) => smaller.shrink(why),
            None => (self, why),
        }
    }
}

fn faults(rng: &mut fastrand::Rng, shape: &FleetShape, seed: u64) -> Faults {
    let mut faults = Faults::default();
    faults.seed = seed;
    faults.failing = if rng.bool() { 0.3 * rng.f64() } else { 0.0 };
    faults.hanging = if rng.u8(..4) == 0 { 0.05 * rng.f64() } else { 0.0 };
    faults.sizes = if rng.u8(..3) == 0 { 1.0 + 7.0 * rng.f64() } else { 0.0 };
    let outage = |rng: &mut fastrand::Rng, most: f64| {
        let (place, (from, to)) = (place(rng, shape), time(rng, most));
        Outage { place, from, to }
    };
    faults.outages = (0..rng.u8(..3)).map(|_| outage(rng, 26.0 * HOUR)).collect();
    faults.lost = (0..rng.u8(..2)).map(|_| outage(rng, 8.0 * HOUR)).collect();
    faults.full = (0..rng.u8(..2)).map(|_| outage(rng, 10.0 * HOUR)).collect();
    for _ in 0..rng.u8(..3) {
        let (place, (from, to)) = (place(rng, shape), time(rng, 6.0 * HOUR));
        faults.crowds.push(Crowd { place, from, to, load: 0.6 * rng.f64() });
    }
    for _ in 0..rng.u8(..3) {
        let (place, (from, to)) = (place(rng, shape), time(rng, 12.0 * HOUR));
        let load = [0.0, 0.6, 1.0, f64::NAN, -1.0, f64::INFINITY][rng.usize(..6)];
        let says = [Says::Nothing, Says::Stale, Says::Load(load)][rng.usize(..3)];
        faults.probes.push(FalseProbe { place, from, to, says });
    }
    for _ in 0..rng.u8(..3) {
        let (from, to) = time(rng, 5.0 * HOUR);
        let secs = if rng.u8(..4) == 0 { f64::INFINITY } else { 600.0 * rng.f64() };
        faults.stores.push(SlowStore { from, to, secs });
    }
    if rng.u8(..3) == 0 {
        // Some are taken back before anybody believes them.
        let (at, secs) =
            (rng.f64() * (f64::from(TROUBLED) * DAY - 4.0 * HOUR), 30.0 * HOUR * (rng.f64() - 0.5));
        let lasts = if rng.bool() { 50.0 * rng.f64() } else { 4.0 * HOUR * rng.f64() };
        faults.jumps = vec![WallJump { at, secs }, WallJump { at: at + lasts, secs: -secs }];
    }
    faults
}

fn place(rng: &mut fastrand::Rng, shape: &FleetShape) -> Where {
    match rng.u8(..4) {
        0 => Where::Fleet,
        1 => Where::Host(rng.u32(..shape.instances)),
        _ => Where::Link(rng.u32(..shape.instances.div_ceil(shape.per_link))),
    }
}

fn time(rng: &mut fastrand::Rng, most: f64) -> (f64, f64) {
    let end = f64::from(TROUBLED) * DAY;
    let from = rng.f64() * end;
    (from, (from + rng.f64() * most).min(end))
}
