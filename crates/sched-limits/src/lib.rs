//! Seeing what the machine has left and moving bytes no faster than that: capacity probes, the control law that
//! turns foreground latency into a rate, and the tree that enforces rates.
//!
//! - [`CapacityProbe`] is the seam for your own measurements; [`HostProbe`] measures this host.
//! - [`CapacityJudge`] holds readings against [`Thresholds`] with hysteresis, and notices lost signals.
//! - [`PiLaw`] chooses a share of the ceiling from foreground latency. Laws are pure: sample in, number out.
//! - [`BandwidthTree`] enforces a [`Rate`] at every place and for every job; a [`JobPacer`] is one job's leaf in it.
//! - [`FileSink`] writes a file without piling up dirty pages; [`ProcessIo`] measures what a process really moves.

mod bandwidth;
mod host;
mod io;
mod judge;
mod law;
mod probe;
mod rate;
mod threshold;

pub use bandwidth::{BandwidthTree, JobPacer, JobShare};
pub use host::HostProbe;
pub use io::{FileSink, ProcessIo};
pub use judge::{CapacityJudge, LOST_AFTER_PERIODS, Verdict};
pub use law::{ControlLaw, LatencySample, LawError, PiConfig, PiLaw, Share};
pub use probe::{CapacityProbe, FnProbe, ProbeError, Reading, ReadingError};
pub use rate::Rate;
pub use threshold::{Threshold, ThresholdError, Thresholds};
