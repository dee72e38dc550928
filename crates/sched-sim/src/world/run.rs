//! Backups that run: [`RunId`], [`Pace`], [`Pressed`], [`Finished`].

use super::link::FlowId;
use crate::fault::{Fate, Where};

/// Which of the backups that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub(super) u32);

/// How fast a backup goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as its host lets it: what the foreground leaves, and at least three tenths, since it fights for it.
    Unthrottled,
    /// So many bytes a second, where the host has them.
    Fixed(f64),
    /// What leaves the foreground within the latency that the world allows: where a control law comes to rest.
    Safe,
}

/// How a deadline presses a backup, in bytes a second; by default it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressed {
    /// It moves so much at least, as far as the foreground leaves it, whatever latency that costs.
    pub least: f64,
    /// It goes before the others on its link, with no more than this.
    pub first: Option<f64>,
}

/// A backup that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Finished {
    /// Which it was.
    pub run: RunId,
    /// Of which instance.
    pub instance: u32,
    /// When it started, in seconds: the recovery point of one that succeeded.
    pub started: f64,
    /// Bytes moved.
    pub bytes: f64,
    /// Whether it succeeded.
    pub ok: bool,
    /// What was not available, if it failed for that.
    pub unavailable: Option<Where>,
    /// Whether it was given up because its instance was dropped: it neither succeeded nor failed.
    pub dropped: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) instance: u32,
    pub(super) host: u32,
    pub(super) link: u32,
    pub(super) flow: FlowId,
    pub(super) pace: Pace,
    pub(super) started: f64,
    /// What it moves until it ends, whichever way.
    pub(super) bytes: f64,
    pub(super) fate: Fate,
    /// The share of the host that its law grants.
    pub(super) share: f64,
    /// What its host allows, in bytes a second.
    pub(super) allowed: f64,
    /// What its deadline asks.
    pub(super) pressed: Pressed,
    pub(super) paused: bool,
    /// Its host was lost: it fails when that is back.
    pub(super) lost: bool,
    /// What is not in the ledger yet: since when, at which load, and how many bytes were left then.
    pub(super) since: f64,
    pub(super) load: f64,
    pub(super) left: f64,
}
