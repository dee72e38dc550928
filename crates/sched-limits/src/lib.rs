//! Seeing what the machine has left and moving bytes no faster than that: capacity probes, the control laws that
//! turn signals into a rate, and the meter that enforces a rate.
//!
//! - [`CapacityProbe`] is the seam for your own measurements; [`HostProbe`] measures this host.
//! - [`conformance`] checks a probe of your own.
//! - [`CapacityJudge`] holds readings against [`Thresholds`] with hysteresis, and notices lost signals.
//! - [`ConcurrencyLaw`] says how many jobs may run at once, from what is in use and what a job takes.
//! - [`ControlLaw`]s choose a share of the ceiling from a signal: [`PiLaw`] from foreground latency, [`PressureLaw`] where
//!   there is none, and more. Laws are pure: observation in, number out. [`Override`] combines several.
//! - [`plant`] has simulated machines to try a law on.
//! - [`Meter`] enforces a [`Rate`] over all backups; a [`JobPacer`] is one job's place in it.

mod concurrency;
pub mod conformance;
mod counter;
mod given;
mod host;
mod judge;
mod law;
mod meter;
pub mod plant;
mod probe;
#[cfg(target_os = "linux")]
mod process;
#[cfg(feature = "prometheus")]
pub mod prometheus;
mod rate;
mod reading;
mod sample;
pub mod signal;
mod status;
mod threshold;
mod track;
mod watchdog;

pub use concurrency::{ConcurrencyConfig, ConcurrencyError, ConcurrencyLaw, Feed, JobDemand, Room};
pub use counter::Counter;
pub use given::{FixedProbe, FnProbe, ScriptedProbe};
pub use host::{HostProbe, Volume};
pub use judge::{CapacityJudge, Verdict};
pub use law::{
    AimdConfig, AimdLaw, ControlLaw, DelayConfig, DelayLaw, FailSlow, FixedLaw, Healthy, LawError, Learning,
    Observation, Override, PiConfig, PiLaw, Plan, PlanEntry, PressureConfig, PressureLaw, ScheduleLaw, Share,
};
pub use meter::{JobPacer, Meter};
pub use probe::{CapacityProbe, ProbeError};
#[cfg(target_os = "linux")]
pub use process::ProcessProbe;
pub use rate::Rate;
pub use reading::{Reading, ReadingError};
pub use sample::{Cost, Sample};
pub use status::{Freshness, HELD_AFTER_PERIODS, LOST_AFTER_PERIODS, ProbeStatus, SignalStatus};
pub use threshold::{Threshold, ThresholdError, Thresholds};
pub use watchdog::{Examined, MAX_SIGNALS, Watchdog};
