//! A fleet, its load and its faults, simulated.

use jiff::Timestamp;

/// The Monday midnight from which simulated seconds count: 2026-01-05, UTC.
pub const MONDAY: Timestamp = Timestamp::constant(1_767_571_200, 0);

mod fault;
mod fleet;
mod latency;
mod load;
mod measure;
mod noise;
mod simulation;
mod strategy;
mod world;

pub use fault::{Crowd, FalseProbe, Faults, Outage, Says, SlowStore, WallJump, Where};
pub use fleet::{
    Fleet, FleetError, FleetProblem, FleetShape, Host, Instance, Life, Link, Part, Technology, Terms, cadence,
};
pub use latency::{Room, latency, slowdown};
pub use load::{LevelShift, LoadClass, LoadPattern, Recording, RecordingError, SLOT_SECS, SLOTS_OF_DAY};
pub use measure::{Cause, HOURS, Late, Measures, TechnologyMeasures, lowest_peaks};
pub use simulation::Simulation;
pub use strategy::{Adaptive, Baseline, Clockwork, LEARNED_DAYS, StartAt, Strategy, Weeks, baselines, best};
pub use world::{Finished, Pace, Pacing, Pressed, Reading, RunId, World};
