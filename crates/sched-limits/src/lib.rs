//! Seeing what the machine has left and moving bytes no faster than that: capacity probes, the control laws that
//! turn signals into a rate, and the meter that enforces a rate.
//!
//! - [`CapacityProbe`] is the seam for your own measurements; [`HostProbe`] measures this host.
//! - [`CapacityJudge`] holds readings against [`Thresholds`] with hysteresis, and notices lost signals.
//! - [`ControlLaw`]s choose a share of the ceiling from a signal: [`PiLaw`] from foreground latency, [`PressureLaw`] where
//!   there is none, and more. Laws are pure: sample in, number out. [`Override`] combines several.
//! - [`plant`] has simulated machines to try a law on.
//! - [`Meter`] enforces a [`Rate`] over all backups; a [`JobPacer`] is one job's place in it.

mod host;
mod judge;
mod law;
mod meter;
pub mod plant;
mod probe;
mod rate;
mod threshold;

pub use host::HostProbe;
pub use judge::{CapacityJudge, LOST_AFTER_PERIODS, Verdict};
pub use law::{
    AimdConfig, AimdLaw, ControlLaw, DelayConfig, DelayLaw, FailSlow, FixedLaw, Healthy, LawError, Learning,
    Override, PiConfig, PiLaw, Plan, PlanEntry, PressureConfig, PressureLaw, Sample, ScheduleLaw, Share,
};
pub use meter::{JobPacer, Meter};
pub use probe::{CapacityProbe, FnProbe, ProbeError, Reading, ReadingError};
pub use rate::Rate;
pub use threshold::{Threshold, ThresholdError, Thresholds};
