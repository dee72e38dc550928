//! Backups that production never notices, and that never miss their recovery point: an adaptive scheduler for
//! database backups, inside your own backup tool.
//!
//! A [`Scheduler`] is built by [`SchedulerBuilder`], takes [`JobSpec`]s, and runs registered [`Executor`]s when every
//! [`Gate`] is open, as fast as the foreground allows:
//!
//! ```
//! use backup_sched::{JobState, Priority, RunContext, Scheduler};
//! use std::time::Duration;
//!
//! let scheduler = Scheduler::builder()
//!     .executor("sqlite", |ctx: &RunContext| {
//!         ctx.pace(4096)?; // before bytes move: slowed, paused and cancelled in here
//!         ctx.progress(4096, 4096);
//!         Ok(())
//!     })
//!     .rate_ceiling(50_000_000)
//!     .start()?;
//! let handle = scheduler.schedule_backup("orders", "sqlite", Priority::Normal)?;
//! assert_eq!(handle.wait().state, JobState::Succeeded);
//! scheduler.shutdown(Duration::from_secs(10));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - Tools that own their loop ask for a [`Permit`] with [`Scheduler::acquire`].
//! - [`SchedulerBuilder::advise_only`] decides and explains, and gates nothing of the surroundings.
//! - [`SchedulerBuilder::foreground`] lets the rate follow your application's latency, [`SchedulerBuilder::probe`] keeps
//!   backups from starting when the machine is short of something.
//! - [`Scheduler::explain`] says why a job is where it is.

mod builder;
mod clock;
mod error;
mod handle;
mod runtime;
mod scheduler;

pub use builder::SchedulerBuilder;
pub use clock::SystemClock;
pub use error::{AcquireError, ConfigureError, JobError, StartError, Stopped, SubmitError};
pub use handle::{JobHandle, Permit};
pub use scheduler::{RunningJob, Scheduler, ShutdownReport, Status};

pub use sched_core::{
    BackupKind, Cancellation, Cancelled, Clock, ClosedGate, Event, EventKind, Executor, Explanation, Gate,
    JobId, JobSpec, JobState, JobStatus, LoadLevel, LoadState, ManualClock, Now, Order, Page, PageCursor,
    PendingFilter, Priority, Progress, Reason, RunContext, RunError, Scope,
};
pub use sched_limits::{CapacityProbe, HostProbe, ProbeError, ProbeStatus, Rate, Reading, Thresholds};
pub use sched_observe::{Hook, TracingHook};
pub use sched_policy::{Policies, Profile};
pub use sched_workload::{Canary, ForegroundLatency, LatencyGoal, LoadDetector, LoadReading};

/// The engine and the contracts of executors, pacers and clocks.
pub use sched_core as core;
/// Probes, control laws and rates.
pub use sched_limits as limits;
/// Hooks and logs.
pub use sched_observe as observe;
/// Technologies and their policies.
pub use sched_policy as policy;
/// Load detectors.
pub use sched_workload as workload;

/// Compiles what the README and the guide show.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    pub struct Readme;
    #[doc = include_str!("../../../docs/guide.md")]
    pub struct Guide;
    #[doc = include_str!("../../../docs/probes.md")]
    pub struct Probes;
}
