//! Seeing what the machine has left and moving bytes no faster than that: capacity probes, the control law that
//! turns foreground latency into a rate, and the meter that enforces a rate.
//!
//! - [`CapacityProbe`] is the seam for your own measurements; [`HostProbe`] measures this host.
//! - [`CapacityJudge`] holds readings against [`Thresholds`] with hysteresis, and notices lost signals.
//! - [`PiLaw`] chooses a share of the ceiling from foreground latency. Laws are pure: sample in, number out.
//! - [`Meter`] enforces a [`Rate`] over all backups; a [`JobPacer`] is one job's place in it.

mod host;
mod judge;
mod law;
mod meter;
mod probe;
mod rate;
mod threshold;

pub use host::HostProbe;
pub use judge::{CapacityJudge, LOST_AFTER_PERIODS, Verdict};
pub use law::{ControlLaw, LatencySample, LawError, PiConfig, PiLaw, Share};
pub use meter::{JobPacer, Meter};
pub use probe::{CapacityProbe, FnProbe, ProbeError, Reading, ReadingError};
pub use rate::Rate;
pub use threshold::{Threshold, ThresholdError, Thresholds};
