//! Why a tool did not do its work: [`CommandError`].

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It is not installed.
    #[error("{tool} is not there; {remedy}")]
    Missing {
        /// Its name.
        tool: String,
        /// What helps.
        remedy: String,
    },
    /// The system did not let it be started or waited for.
    #[error("cannot {what} {tool}: {source}")]
    Io {
        /// Its name.
        tool: String,
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{tool} failed ({status}): {said}")]
    Failed {
        /// Its name.
        tool: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to its standard error.
        said: String,
    },
    /// Whoever read its output failed.
    #[error("the output of {tool} could not be used: {source}")]
    Reader {
        /// Its name.
        tool: String,
        /// Why.
        source: io::Error,
        /// The end of what it wrote to its standard error.
        said: String,
    },
    /// It took longer than it may.
    #[error("{tool} was ended after {limit:?}")]
    TimedOut {
        /// Its name.
        tool: String,
        /// How long it may take.
        limit: Duration,
    },
    /// The lease under which the attempt ran is over: another scheduler may make the same backup soon.
    #[error("{tool} was ended with the lease of its scheduler")]
    LeaseOver {
        /// Its name.
        tool: String,
    },
    /// The attempt was told to stop.
    #[error("{tool} was cancelled")]
    Cancelled {
        /// Its name.
        tool: String,
    },
}

impl CommandError {
    /// Whether only a change from outside can help.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// The end of what it wrote to its standard error; empty when it said nothing.
    pub fn said(&self) -> &str {
        match self {
            Self::Failed { said, .. } | Self::Reader { said, .. } => said,
            _ => "",
        }
    }
}
