//! The threads around the engine: one dispatcher that owns it, one worker a running job, one sampler a probe or
//! detector, one for hooks.

mod bandwidth;
mod command;
mod dispatcher;
mod pressure;
mod rooms;
mod sampler;
mod signals;
mod steering;
mod worker;

pub(crate) use bandwidth::FleetRate;
pub(crate) use command::{Accepted, Command, Grant, Link, Presence, Request, Route};
pub(crate) use dispatcher::{Dispatcher, Parts};
pub(crate) use rooms::{ROOM, Rooms};
pub(crate) use sampler::{Source, spawn_sampler};
pub(crate) use signals::{DetectorTerms, ProbeTerms, SignalTerms, Signals};
pub(crate) use steering::{LawTerms, RateLimit};
