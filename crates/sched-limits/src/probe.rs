//! What a capacity probe is, and what it says.

use std::fmt;
use std::io;
use std::time::Duration;

use sched_core::Now;

use crate::reading::Reading;

/// Measures how much of something is in use.
///
/// Each probe is asked on a thread of its own, once a period: it may block. A probe that hangs, panics or returns
/// nonsense is reported as a lost signal and harms nobody else. [`conformance::check`](crate::conformance::check)
/// tells in your tests what the scheduler would reject.
///
/// [`Counter`](crate::Counter) makes rates of counters that only grow.
///
/// ```
/// use sched_limits::{CapacityProbe, ProbeError, Reading};
/// use sched_core::Now;
///
/// struct BackupVolume { free_bytes: fn() -> u64, total_bytes: u64 }
///
/// impl CapacityProbe for BackupVolume {
///     fn name(&self) -> &str {
///         "backup-volume"
///     }
///     fn sample(&mut self, _now: Now) -> Result<Vec<Reading>, ProbeError> {
///         let used = self.total_bytes - (self.free_bytes)();
///         Ok(vec![Reading::new("backup-volume", used as f64, "bytes").of(self.total_bytes as f64)])
///     }
/// }
/// ```
pub trait CapacityProbe: Send {
    /// A name for events and logs, unique among the probes of a scheduler.
    fn name(&self) -> &str;

    /// How often it wants to be asked. Default 1 s; a probe asked less often than a signal changes is no protection.
    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Measures. Rates should be taken over the monotonic time between two calls; the first call may return nothing.
    ///
    /// # Errors
    /// When nothing can be measured now. An error is an unknown value, never an idle one.
    fn sample(&mut self, now: Now) -> Result<Vec<Reading>, ProbeError>;
}

/// Why a probe could not measure.
///
/// An error of the system becomes one by `?`, as [`Unavailable`](Self::Unavailable); [`Io`](Self::Io) says besides what was read.
///
/// ```
/// # use sched_limits::ProbeError;
/// fn spool() -> Result<String, ProbeError> {
///     Ok(std::fs::read_to_string("/no/such/spool")?)
/// }
/// assert!(matches!(spool(), Err(ProbeError::Unavailable(_))));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// What it measures cannot be had now.
    #[error("{0}")]
    Unavailable(String),
    /// Reading failed.
    #[error("cannot read {what}: {source}")]
    Io {
        /// What was read.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// What was read makes no sense.
    #[error("cannot make sense of {what}: {problem}")]
    Parse {
        /// What was read.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl From<io::Error> for ProbeError {
    fn from(error: io::Error) -> Self {
        Self::unavailable(error)
    }
}

impl ProbeError {
    /// A failure with only a text.
    pub fn unavailable(what: impl fmt::Display) -> Self {
        Self::Unavailable(what.to_string())
    }
}
