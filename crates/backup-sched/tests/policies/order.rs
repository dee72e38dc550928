//! Who goes first, and when.

use backup_sched::{EventKind, Gate, JobSpec, JobState, Priority};

use crate::rig::{HOUR, Stands, fleet, fleet_with, waits};

/// Of two that wait for one slot, `b` was asked for later; which goes first under what the file says of it.
fn first(key: &str) -> String {
    let file = format!("[instances.b]\ntechnology = 'generic'\n{key}\n");
    let fleet = fleet_with(&file, |builder| builder.max_running(1));
    let running = fleet.start("0");
    fleet.ask("a");
    fleet.ask("b");
    running.end();
    fleet.begun().instance
}

pub(crate) fn priority() {
    assert_eq!(["", "priority = 'high'", "priority = 'low'"].map(first), ["a", "b", "a"]);
}

pub(crate) fn rpo() {
    assert_eq!(["", "rpo = '6h'", "rpo = '2days'"].map(first), ["a", "b", "a"]);
}

/// A critical backup has one that may be cancelled give its slot up.
pub(crate) fn cancellable() {
    let states = ["cancellable = false", "cancellable = true"].map(|key| {
        let file = format!(
            "[technologies.generic]\n{key}\n[instances.b]\ntechnology = 'generic'\npriority = 'critical'\n"
        );
        let fleet = fleet_with(&file, |builder| builder.max_running(1));
        let job = fleet.ask("a");
        let _run = fleet.begun();
        let urgent = fleet.ask("b");
        match key {
            "cancellable = true" => assert_eq!(fleet.begun().instance, "b"),
            _ => assert_eq!(fleet.stands(&urgent), waits(Gate::Resource("slots".into()))),
        }
        job.explain().unwrap().state
    });
    // Who gave its slot up stays away for a while.
    assert_eq!(states, [JobState::Running, JobState::Retryable]);
}

const WINDOWS: &str = "[calendars.dawn]\nwindows = ['04:00-06:00']\n\
    [instances.a]\ntechnology = 'generic'\nsize = '1 GB'\nrpo = '3h'\n";

/// It is midnight.
pub(crate) fn window() {
    let stands = ["", "window = 'dawn'"].map(|key| {
        let fleet = fleet(&format!("{WINDOWS}{key}\n").replace("3h", "1day"));
        let job = fleet.ask("a");
        let stands = fleet.stands(&job);
        fleet.clock.advance(4 * HOUR);
        fleet.begun();
        stands
    });
    assert_eq!(stands, [Stands::Runs, waits(Gate::Window)]);
}

pub(crate) fn open_window_when_late() {
    let stands = ["false", "true"].map(|opens| {
        let fleet = fleet(&format!("{WINDOWS}window = 'dawn'\nopen_window_when_late = {opens}\n"));
        let job = fleet.ask("a");
        assert_eq!(fleet.stands(&job), waits(Gate::Window));
        fleet.clock.advance(3 * HOUR);
        fleet.wait_for(|kind| matches!(kind, EventKind::RpoAtRisk { .. }));
        fleet.stands(&job)
    });
    assert_eq!(stands, [waits(Gate::Window), Stands::Runs]);
}

/// A request's own urgency goes before the file's.
#[test]
fn what_the_request_says_goes_first() {
    let file = "[technologies.generic]\npriority = 'low'\n";
    let fleet = fleet(file);
    let job = fleet.submit(JobSpec::new("a", "generic").priority(Priority::High));
    assert_eq!(job.explain().unwrap().job.priority, Priority::High);
}
