//! Faults of places: [`Outage`], [`Crowd`].

use serde::{Deserialize, Serialize};

use crate::fleet::Fleet;

/// Where something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Where {
    /// Everywhere: the object store is down, say.
    Fleet,
    /// On the hosts of a link, by number.
    Link(u32),
    /// On a host, by number.
    Host(u32),
}

/// A time without backups somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// Where.
    pub place: Where,
    /// From when, in seconds.
    pub from: f64,
    /// Until when, in seconds.
    pub to: f64,
}

/// A flash crowd.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crowd {
    /// Where.
    pub place: Where,
    /// From when, in seconds.
    pub from: f64,
    /// Until when, in seconds.
    pub to: f64,
    /// Load that is added, from 0 to 1.
    pub load: f64,
}

impl Where {
    pub(crate) fn covers(self, fleet: &Fleet, host: u32) -> bool {
        match self {
            Self::Fleet => true,
            Self::Link(link) => fleet.hosts[host as usize].link == link,
            Self::Host(of) => of == host,
        }
    }
}

impl Outage {
    pub(super) fn covers(&self, fleet: &Fleet, host: u32, at: f64) -> bool {
        self.from <= at && at < self.to && self.place.covers(fleet, host)
    }
}
