//! What can go wrong with a real database: [`DriverError`].

use std::io;
use std::time::Duration;

use sched_core::{RunContext, RunError, Scope};

use crate::command::CommandError;

/// Why a backup was not made, or a server not read: what was wrong, where, and what would be right. Never holds a
/// password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// A setting that cannot be used.
    #[error("{what}: {problem}")]
    Setting {
        /// Which one.
        what: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The server does not answer.
    #[error("{server} cannot be reached: {error}; check that it runs and that this host may connect")]
    Unreachable {
        /// Its address.
        server: String,
        /// What came instead of an answer.
        error: String,
    },
    /// The server answers, and refuses.
    #[error("{server} refuses: {error}; {remedy}")]
    Refused {
        /// Its address.
        server: String,
        /// What it said.
        error: String,
        /// Which permission or password would be right.
        remedy: String,
    },
    /// The server is older than what works.
    #[error("{server} is version {found}; {needed} or newer is needed")]
    TooOld {
        /// Its address, or the tool's name.
        server: String,
        /// Its version.
        found: String,
        /// The oldest that works.
        needed: String,
    },
    /// A tool does not fit the server.
    #[error("{tool} is of {found}, and the server needs one of {needed}; install that, or give its path")]
    WrongTool {
        /// Its name.
        tool: String,
        /// What it was made for.
        found: String,
        /// What would be right.
        needed: String,
    },
    /// What the server said makes no sense here.
    #[error("{server} answered what was not expected: {problem}")]
    Answer {
        /// Its address.
        server: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The state of the server does not allow a backup now; it may later.
    #[error("{server} is not ready for a backup: {problem}")]
    NotReady {
        /// Its address.
        server: String,
        /// What is in the way.
        problem: String,
    },
    /// A tool that makes the backup failed, or could not be run.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Reading what is to be backed up failed.
    #[error("cannot read {what}: {source}")]
    Source {
        /// What was read.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Writing the backup failed.
    #[error("cannot write {what}: {source}")]
    Destination {
        /// What was written.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The backup was made, and is not good.
    #[error("{what} is not a good backup: {problem}")]
    Corrupt {
        /// Which part.
        what: String,
        /// What the check found.
        problem: String,
    },
    /// It took longer than it may.
    #[error("{what} took longer than {limit:?}")]
    TimedOut {
        /// What.
        what: String,
        /// How long it may take.
        limit: Duration,
    },
    /// The attempt was told to stop.
    #[error("cancelled")]
    Cancelled,
}

impl From<sched_core::Cancelled> for DriverError {
    fn from(_: sched_core::Cancelled) -> Self {
        Self::Cancelled
    }
}

impl DriverError {
    /// Whether only a change from outside can help: another attempt would fail in the same way.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Setting { .. } | Self::Refused { .. } | Self::TooOld { .. } | Self::WrongTool { .. } => {
                true
            }
            Self::Command(error) => error.is_permanent(),
            _ => false,
        }
    }

    /// What the scheduler is to make of it: errors of a destination that the job names count as that destination's,
    /// so that its breaker trips and no retry is spent. An attempt that ends with its lease has not failed.
    pub fn into_run_error(self, ctx: &RunContext) -> RunError {
        let destination = ctx.spec().destination.clone();
        match (self, destination) {
            (Self::Cancelled, _)
            | (Self::Command(CommandError::Cancelled { .. } | CommandError::LeaseOver { .. }), _) => {
                RunError::Cancelled
            }
            (error @ Self::Destination { .. }, Some(destination)) => {
                RunError::Unavailable { what: Scope::Destination(destination), error: error.to_string() }
            }
            (error, _) if error.is_permanent() => RunError::Permanent(error.to_string()),
            (error, _) => RunError::Retryable(error.to_string()),
        }
    }
}
