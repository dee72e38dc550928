//! Seeing what the machine has left and moving bytes no faster than that: capacity probes, the control laws that
//! turn signals into a rate, and the tree that enforces rates.
//!
//! - [`CapacityProbe`] is the seam for your own measurements; [`HostProbe`] measures this host.
//! - [`conformance`] checks a probe of your own.
//! - [`CapacityJudge`] holds readings against [`Thresholds`] with hysteresis, and notices lost signals.
//! - [`ConcurrencyLaw`] says how many jobs may run at once, from what is in use and what a job takes.
//! - [`ControlLaw`]s choose a share of the ceiling from a signal: [`PiLaw`] from foreground latency, [`PressureLaw`] where
//!   there is none, and more. Laws are pure: observation in, number out. [`Override`] combines several.
//! - [`plant`] has simulated machines to try a law on.
//! - [`BandwidthTree`] enforces a [`Rate`] at every place and for every job; a [`JobPacer`] is one job's leaf in it.
//! - [`FileSink`] writes a file without piling up dirty pages; [`ProcessIo`] measures what a process really moves.

mod bandwidth;
mod concurrency;
pub mod conformance;
mod counter;
mod given;
mod host;
mod io;
mod judge;
mod law;
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
mod sync;
mod threshold;
mod track;
mod watchdog;

pub use bandwidth::{BandwidthTree, JobPacer, JobShare};
pub use concurrency::{ConcurrencyConfig, ConcurrencyError, ConcurrencyLaw, Feed, JobDemand, Room};
pub use counter::Counter;
pub use given::{FixedProbe, FnProbe, ScriptedProbe};
pub use host::{HostProbe, Volume};
pub use io::{FileSink, ProcessIo, WriteBack};
pub use judge::{CapacityJudge, Verdict};
pub use law::{
    AimdConfig, AimdLaw, ControlLaw, DelayConfig, DelayLaw, FailSlow, FixedLaw, Healthy, LawError, Learning,
    Observation, Override, PiConfig, PiLaw, Plan, PlanEntry, PressureConfig, PressureLaw, ScheduleLaw, Share,
};
pub use probe::{CapacityProbe, ProbeError};
#[cfg(target_os = "linux")]
pub use process::ProcessProbe;
pub use rate::Rate;
pub use reading::{Reading, ReadingError};
pub use sample::{Cost, Sample};
pub use status::{Freshness, HELD_AFTER_PERIODS, LOST_AFTER_PERIODS, ProbeStatus, SignalStatus};
pub use threshold::{Threshold, ThresholdError, Thresholds};
pub use watchdog::{Examined, MAX_SIGNALS, Watchdog};
