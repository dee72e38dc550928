//! When backups may run: the [`Calendar`] that the engine asks, which knows about weeks, holidays and time zones.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::gate::Reason;

/// Windows and blackouts on the wall. The engine knows no time zones: it asks for one [`Stretch`] after the other.
///
/// It is asked on the deciding thread, mostly once for every change of its state and a few times for every submission:
/// an implementation must not block or panic, and should answer within a microsecond. The same question must always
/// have the same answer; a calendar that changes is [replaced](crate::Engine::set_calendar).
pub trait Calendar: Send + Sync + fmt::Debug {
    /// The stretch that contains `at`.
    fn at(&self, at: Timestamp) -> Stretch;
}

/// A part of a calendar in which nothing changes. It may touch another with the same state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Its first moment; `None` when it has no beginning.
    pub from: Option<Timestamp>,
    /// The first moment after it; `None` when it has no end.
    pub until: Option<Timestamp>,
    /// Whether backups may run.
    pub state: CalendarState,
}

/// Whether backups may run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalendarState {
    /// They may.
    Open,
    /// No window is open. Jobs whose terms say so start all the same when they have no slack left.
    Closed {
        /// Which window is waited for, or why none is open.
        reason: Reason,
    },
    /// Nothing may run, however late it is.
    Blackout {
        /// Why.
        reason: Reason,
    },
}

impl Stretch {
    /// Open for all time: what a calendar without any window is.
    pub const ALWAYS: Self = Self { from: None, until: None, state: CalendarState::Open };
}
