//! When a planner wants a job to start: [`Plan`]; what it needs to know for that: [`Plannable`].

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::gate::Reason;
use crate::name::CalendarName;

/// When a planner wants a job to start, and why then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Not before this moment, unless its slack is used up before.
    pub start: Timestamp,
    /// Why then.
    pub why: Reason,
}

impl Plan {
    /// A plan to start at `start`.
    pub fn new(start: Timestamp, why: Reason) -> Self {
        Self { start, why }
    }
}

/// What a planner needs to know of a job that waits for its first attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plannable {
    /// Since when it waits: its submission, or its requested start where that is later.
    pub since: Timestamp,
    /// Start by, to finish in time.
    pub latest_start: Timestamp,
    /// Whether it starts outside its windows from its latest start on; true for a job without a calendar.
    pub may_override: bool,
    /// The calendar that says when it may run; `None`: at any time.
    pub calendar: Option<CalendarName>,
    /// 90th percentile of the run time at the paced rate, as asked for or learned.
    pub expected_duration: Duration,
    /// Bytes that it is expected to move, if anybody knows.
    pub size_bytes: Option<u64>,
}
