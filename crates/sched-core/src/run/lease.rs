//! For how long an attempt may act where several schedulers share a store: [`RunLease`].

use std::fmt;
use std::time::Duration;

/// The lease under which an attempt runs: another scheduler makes the same backup when it is over and some time has
/// passed. Whatever works beside the scheduler's process, such as a tool, must end by itself when the lease is not renewed
/// in time: a process that stands still ends nothing.
pub trait RunLease: fmt::Debug + Send + Sync {
    /// How long it still holds if it is not renewed, by a clock that goes on while the machine is suspended. Zero from
    /// when it is over; once it was lost to others, that is for good.
    fn left(&self) -> Duration;

    /// How long it holds when it has just been renewed.
    fn length(&self) -> Duration;

    /// How long after its end all that the attempt has started must be gone, more than zero: others begin later than that.
    fn ends_within(&self) -> Duration;
}
