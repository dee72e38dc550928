//! The pure heart of `backup-sched`: jobs, queue, resources, gates and the sans-I/O [`Engine`], and the contracts
//! that executors, pacers and clocks fulfil. No threads, no I/O, no clock reads.
//!
//! Hosts use the facade `backup-sched`; this crate is for those who drive the engine themselves, as a simulator
//! does:
//!
//! ```
//! use sched_core::{
//!     AttemptEnd, Clock, Engine, EngineConfig, JobSpec, JobTerms, ManualClock, Output,
//! };
//!
//! let clock = ManualClock::default();
//! let mut engine = Engine::new(EngineConfig::default(), clock.now());
//! engine.submit(clock.now(), JobSpec::new("orders", "sqlite"), JobTerms::default())?;
//! engine.advance(clock.now());
//! while let Some(output) = engine.poll_output() {
//!     if let Output::Start(order) = output {
//!         engine.started(clock.now(), order.attempt);
//!         engine.ended(clock.now(), order.attempt, AttemptEnd::new(4096, Ok(())));
//!     }
//! }
//! engine.advance(clock.now());
//! assert_eq!(engine.next_wakeup(), None);
//! # Ok::<(), sched_core::SubmitError>(())
//! ```

mod calendar;
mod caught;
mod error;
mod estimate;
mod event;
mod explain;
mod gate;
mod journal;
mod kinds;
mod name;
mod plan;
mod queue;
mod resource;
mod run;
mod spec;
mod state;
mod status;
mod terms;
mod time;

pub mod engine;
pub mod store;

pub use calendar::{Calendar, CalendarState, Stretch};
pub use caught::caught;
pub use engine::{
    AttemptEnd, AttemptId, Boosts, BreakerConfig, Cancellation, Engine, EngineConfig, LetGo, Needs, Order,
    Output, Page, PageCursor, PendingFilter, Preemption, Renewal, Renewed, StartOrder, Submission, Wants,
};
pub use error::{SubmitError, UnknownJob};
pub use estimate::Estimate;
pub use event::{Event, EventKind, JobRef};
pub use explain::Explanation;
pub use gate::{CapacityState, ClosedGate, Gate, LoadLevel, LoadState, Measured, Reason, Scope};
pub use journal::{EstimateRecord, JobRecord, Lsn, Record, RestoreError, StandingOrders};
pub use kinds::Kinds;
pub use name::{
    CalendarName, DestinationName, GroupName, HostName, InstanceName, LinkName, MAX_NAME_BYTES, NameError,
    ResourceName, SensitivityName, SignalName, TechnologyName, TenantName, VolumeName,
};
pub use plan::{Plan, Plannable};
pub use queue::{IndexedQueue, JobQueue, OrderKey};
pub use resource::{Capacity, DemandError, PlaceError};
pub use run::{
    AsyncExecutor, Cancelled, Charge, Executor, PacedReader, PacedWriter, Pacer, PauseMark, Progress,
    RECHECK, RunContext, RunControl, RunError, RunFuture, RunLease, RunParts, RunPhase, Unpaced, Waiters,
    WhenCancelled,
};
#[cfg(feature = "tokio")]
pub use run::{AsyncPacedReader, AsyncPacedWriter, OnRuntime};
pub use spec::{BackupKind, JobId, JobSpec, MAX_MEMBERS, MAX_SIZE_BYTES, Member, Priority, SpecError};
pub use state::JobState;
pub use status::{Backlog, EngineStatus, EngineSummary, JobStatus};
pub use terms::{Demand, JobTerms, RetryPolicy, SLOTS, WindowEnd};
pub use time::{Clock, ManualClock, MonoTime, Now, Wake, wall_minus, wall_plus, wall_until};
