#![doc = include_str!("../../../README.md")]

mod builder;
mod clock;
mod error;
mod handle;
mod runtime;
mod scheduler;

pub use builder::SchedulerBuilder;
pub use clock::SystemClock;
pub use error::{AcquireError, JobError, StartError, Stopped, SubmitError};
pub use handle::{JobHandle, Permit};
pub use scheduler::{RunningJob, Scheduler, ShutdownReport, Status};

pub use sched_core::{
    BackupKind, Cancellation, Cancelled, Clock, ClosedGate, Event, EventKind, Executor, Explanation, Gate,
    JobId, JobSpec, JobState, JobStatus, LoadLevel, LoadState, ManualClock, Now, Priority, Progress, Reason,
    RunContext, RunError, Scope,
};
pub use sched_limits::{CapacityProbe, HostProbe, ProbeError, Rate, Reading, Thresholds};
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
