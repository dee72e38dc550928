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
//! - Asynchronous hosts await all of this: `handle.await`, [`Scheduler::submit_async`], [`acquire_async`](Scheduler::acquire_async),
//!   [`shutdown_async`](Scheduler::shutdown_async); executors may be futures, see [`AsyncExecutor`].
//! - [`SchedulerBuilder::advise_only`] decides and explains, and gates nothing of the surroundings.
//! - [`SchedulerBuilder::foreground`] lets the rate follow your application's latency, [`SchedulerBuilder::probe`] keeps
//!   backups from starting when the machine is short of something.
//! - [`Scheduler::next_runs`] tells when the backups are due that [recur](#recurring-backups).
//! - [`Scheduler::explain`] says why a job is where it is.
//!
//! # Recurring backups
//!
//! What the [policies](SchedulerBuilder::policies) have a `schedule` for is submitted when it is due, and made by the executor of
//! its technology:
//!
//! ```
//! use backup_sched::{EventKind, JobState, ManualClock, Policies, RunContext, Scheduler};
//! use std::time::Duration;
//!
//! let file = "[instances.orders]\ntechnology = 'sqlite'\nschedule = '0 2 * * *'\n";
//! let clock = ManualClock::default(); // midnight; yours is the system's, which is the default
//! let scheduler = Scheduler::builder()
//!     .policies(Policies::builtin().with_toml("policy.toml", file)?)
//!     .executor("sqlite", |_: &RunContext| Ok(()))
//!     .clock(clock.clone())
//!     .start()?;
//! let next = scheduler.next_runs_of("orders")?;
//! assert_eq!(next[0].due, Some("2026-01-05T02:00:00Z".parse()?));
//!
//! let events = scheduler.subscribe(100)?;
//! clock.advance(Duration::from_secs(2 * 3600));
//! let made = events.iter().find(|event| matches!(event.kind, EventKind::Succeeded { .. }));
//! assert_eq!(made.unwrap().job.as_ref().unwrap().instance.as_str(), "orders");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Where `schedule = "rpo"`, one that has not been told a [recovery point](SchedulerBuilder::recovery_points) makes a backup at
//! once, after a restart without a [store](SchedulerBuilder::store) too; slots of intervals and cron expressions then begin with the start, and none was missed. There are
//! never two backups of an instance and kind at once. Details are in the guide.

mod asking;
mod asynchronous;
mod builder;
mod clock;
mod current;
mod error;
mod forecast;
mod handle;
mod metrics;
mod orders;
mod recurring;
mod reload;
mod runtime;
mod scheduler;
mod status;
mod subscription;
mod sync;
mod told;
#[cfg(test)]
mod told_tests;

pub use asynchronous::{ConfirmFuture, JobFuture};
pub use builder::SchedulerBuilder;
pub use clock::SystemClock;
pub use error::{
    AcquireError, ConfigureError, JobError, LearnError, ReloadError, StartError, Stopped, SubmitError,
};
pub use forecast::{ForecastConfig, ForecastStatus, JobPlan, LearnedScope, LinkUse};
pub use handle::{JobHandle, Permit};
pub use recurring::{NextRun, RecurringStatus};
pub use scheduler::Scheduler;
pub use status::{PlaceRate, RunningJob, STATUS_VERSION, ShutdownReport, Status, StoreStatus, Summary};
pub use subscription::{NoEvent, Subscription};

#[cfg(feature = "tokio")]
pub use sched_core::OnRuntime;
pub use sched_core::store::{JobStore, StoreError};
pub use sched_core::{
    AsyncExecutor, BackupKind, Cancellation, Cancelled, Clock, ClosedGate, Event, EventKind, Executor,
    Explanation, Gate, JobId, JobSpec, JobState, JobStatus, LoadLevel, LoadState, ManualClock, Now, Order,
    Page, PageCursor, PendingFilter, Priority, Progress, Reason, RunContext, RunError, RunFuture, Scope,
};
pub use sched_limits::{CapacityProbe, HostProbe, ProbeError, ProbeStatus, Rate, Reading, Thresholds};
pub use sched_observe::{Hook, TracingHook};
pub use sched_policy::{Changes, Policies, Profile};
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
    #[doc = include_str!("../../../docs/detectors.md")]
    pub struct Detectors;
}
