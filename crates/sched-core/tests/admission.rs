//! Who is looked at, in which order, and what that costs.

mod rig;

use rig::{Rig, spec, terms};
use sched_core::{AttemptId, JobId, JobTerms, Order, Priority, Scope};

fn of(priority: Priority) -> JobTerms {
    let mut terms = terms();
    terms.priority = priority;
    terms
}

fn order() -> Order {
    Order::new("ana", "moving the rack")
}

fn jobs(attempts: &[AttemptId]) -> Vec<JobId> {
    attempts.iter().map(|attempt| attempt.job).collect()
}

#[test]
fn what_operators_want_now_goes_after_what_is_critical() {
    let mut rig = Rig::with_slots(1);
    rig.engine.hold(rig.now(), Scope::Fleet, order());
    rig.engine.run_all_now(rig.now(), Scope::Fleet, Some(order()));
    let mut early = of(Priority::Low);
    early.rpo = rig::secs(7_200);
    rig.submit(spec("low"), early);
    let critical = rig.submit(spec("critical"), of(Priority::Critical));
    rig.step();
    rig.engine.release(rig.now(), &Scope::Fleet);
    rig.step();
    assert_eq!(jobs(&rig.running()), [critical]);
}
