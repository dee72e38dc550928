//! The threads around the engine: one dispatcher that owns it, one worker a running job, one sampler a probe or
//! detector, one for hooks.

mod business;
mod command;
mod detectors;
mod dispatcher;
mod fleet;
mod foresight;
mod guard;
mod helm;
mod home;
mod impact;
mod keeper;
mod left;
mod limits;
mod loads;
mod pressure;
mod rates;
mod records;
mod rooms;
mod sampler;
mod schedules;
mod signals;
mod slot;
mod steering;
mod worker;

pub(crate) use command::{Accepted, Answers, Command, Grant, Host, Link, Presence, Request, Route};
pub(crate) use detectors::DetectorTerms;
pub(crate) use dispatcher::{Dispatcher, Parts, Sharing};
pub(crate) use fleet::{FleetMessage, FleetThread};
pub(crate) use foresight::Foresight;
pub(crate) use home::Home;
pub(crate) use impact::Impact;
pub(crate) use keeper::{Keeper, StoreNews};
pub(crate) use left::Left;
pub(crate) use rates::Rates;
pub(crate) use records::Records;
pub(crate) use rooms::{ROOM, Rooms};
pub(crate) use sampler::{SamplerEnd, Source, spawn_sampler};
pub(crate) use schedules::{Key, ScheduleChange, Schedules, schedule_changes};
pub(crate) use signals::{PolicySignals, ProbeTerms, SignalTerms, Signals};
pub(crate) use slot::{Answer, Reply, Slot};
pub(crate) use steering::{LawTerms, Scale};
