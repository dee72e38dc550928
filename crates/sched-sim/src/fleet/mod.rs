//! What is simulated: [`Fleet`].

mod columns;
mod generate;
mod host;
mod life;
mod loads;
mod part;
mod problem;
mod table;
mod terms;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use generate::FleetShape;
pub use host::Host;
pub use life::Life;
pub use part::Part;
pub use problem::{FleetError, FleetProblem};
pub use terms::Terms;

/// Links, hosts and the database instances on them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleet {
    /// Shared ways out. Each host uses one.
    pub links: Vec<Link>,
    /// Machines.
    pub hosts: Vec<Host>,
    /// What is backed up.
    pub instances: Vec<Instance>,
}

/// A way out that hosts share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What it carries, in bytes a second.
    pub bytes_per_sec: f64,
}

/// A database instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Its technology, as policies know it.
    pub technology: Technology,
    /// Which of the fleet's hosts it is on.
    pub host: u32,
    /// What a backup moves at the beginning, or when it is created, in bytes.
    pub bytes: f64,
    /// By how much of itself it grows a day.
    pub growth_per_day: f32,
    /// Recovery point objective.
    pub rpo: Duration,
    /// How often it is backed up by those who go by a clock.
    pub every: Duration,
    /// When it exists. It has a recovery point from its creation on, and none falls due once it is dropped.
    pub life: Life,
    /// Of what chance does to it: its first recovery point, when it starts at random, which attempts fail.
    pub seed: u64,
}

/// The name of a technology: few differ, and many share one.
pub type Technology = std::sync::Arc<str>;

/// How often somebody backs up by the clock who wants to meet an RPO: the longest of 1, 2, 3, 4, 6, 8, 12 hours and whole
/// days within four fifths of it, since a backup has to be done, too, before the last one is too old. Below that, four
/// fifths of it.
pub fn cadence(rpo: Duration) -> Duration {
    let (most, day) = (rpo.as_secs() * 4 / 5, 86_400);
    if most >= day {
        return Duration::from_secs(most / day * day);
    }
    let hours = [12, 8, 6, 4, 3, 2, 1].map(|hours| hours * 3600);
    Duration::from_secs(hours.into_iter().find(|hours| *hours <= most).unwrap_or(most).max(60))
}

impl Instance {
    /// What a backup moves so many days after the simulation's beginning. Growth begins with the instance.
    pub fn bytes_after(&self, days: f64) -> f64 {
        let days = (days - self.life.created / 86_400.0).max(0.0);
        self.bytes * (1.0 + f64::from(self.growth_per_day) * days).max(0.0)
    }
}
