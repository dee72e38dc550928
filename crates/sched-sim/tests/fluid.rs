//! Rates that are at once where the control law comes to rest, beside the law itself, which looks at noisy readings every
//! second. What a fleet's simulation says rests on their agreement.
//!
//! `cargo test --release -p sched-sim --test fluid -- --nocapture` prints both.

use sched_sim::{Adaptive, Clockwork, FleetShape, Measures, Pace, Pacing, Simulation, StartAt, Strategy};

/// Both may differ by this part of the second.
const AGREE: f64 = 0.05;

fn agree<S: Strategy>(instances: u32, make: impl Fn() -> S) {
    let mut shape = FleetShape::default();
    (shape.instances, shape.per_link) = (instances, 50);
    let fleet = shape.generate();
    let simulation = Simulation::new(&fleet).days(1);
    let fluid = simulation.run_by_link(|_| make(), &mut |_, _| ());
    let ticks = simulation.pacing(Pacing::EverySecond).run_by_link(|_| make(), &mut |_, _| ());
    let both = |of: fn(&Measures) -> f64| (of(&fluid), of(&ticks));
    for (what, (fluid, ticks)) in
        [("backup time, h", both(|m| m.backup_secs / 3600.0)), ("GB", both(|m| m.bytes() / 1e9))]
    {
        let ratio = fluid / ticks;
        println!(
            "{instances} instances, {}: {what} {fluid:.1} fluid, {ticks:.1} by the second, ratio {ratio:.3}",
            make().name()
        );
        assert!((ratio - 1.0).abs() < AGREE, "{what}: {fluid} {ticks}");
    }
}

#[test]
fn fluid_time_agrees_with_a_law_that_looks_every_second() {
    let instances = if cfg!(debug_assertions) { 100 } else { 500 };
    agree(instances, || Adaptive::new(60));
    agree(instances, || Clockwork::new(StartAt::Fixed(2.0 * 3600.0), Pace::Safe));
}
