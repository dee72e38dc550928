//! The states of a job.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a job is in its life.
///
/// ```text
///               ┌────────── back-off ───────────┐
///               ▼                               │
/// Scheduled ─▶ Queued ─▶ Starting ─▶ Running ─▶ Retryable
///                          │  │     ▲   │  │  │
///                          │  │     │   │  │  ├─▶ Succeeded
///                          │  │     │   │  │  └─▶ Failed
///                          │  │     │   │  ▼
///                          │  │ Resuming Pausing
///                          │  │     ▲     │
///                          │  │     └ Paused
///                          ▼  ▼
///    (from any of them)   Cancelling ─▶ Cancelled
/// ```
///
/// Resources are held from `Starting` until the attempt has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobState {
    /// Waits for its requested or planned start.
    Scheduled,
    /// Waits for a gate to open.
    Queued,
    /// Admitted; its worker is being started.
    Starting,
    /// Its executor runs.
    Running,
    /// Told to stand still, not yet at a checkpoint.
    Pausing,
    /// Stands at a checkpoint.
    Paused,
    /// Told to go on, not yet moving.
    Resuming,
    /// Waits out the back-off after a failed attempt.
    Retryable,
    /// Told to stop, not yet ended.
    Cancelling,
    /// Done.
    Succeeded,
    /// No attempt is left, or the failure was permanent.
    Failed,
    /// Stopped on request.
    Cancelled,
}

impl JobState {
    /// Whether the job waits to start and holds nothing.
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Scheduled | Self::Queued | Self::Retryable)
    }

    /// Whether an attempt is under way and resources are held.
    pub fn is_active(self) -> bool {
        !self.is_waiting() && !self.is_final()
    }

    /// Whether the job has ended.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Resuming => "resuming",
            Self::Retryable => "retryable",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}
