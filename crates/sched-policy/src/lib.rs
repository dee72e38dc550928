//! What each database technology needs of a backup scheduler, as data: [`Profile`]s, and [`Policies`] that turn a
//! request into the terms under which it runs.
//!
//! A technology is a name with a profile. The built-in ones are nothing special: change them, or add your own, in code
//! or in one TOML file. What a cluster, a label or an instance says goes before what its technology says.
//!
//! ```
//! use sched_core::{JobSpec, Priority};
//! use sched_policy::{Policies, Profile};
//! use std::time::Duration;
//!
//! let policies = Policies::builtin()
//!     .with("ledger-db", Profile::new().priority(Priority::High).rpo(Duration::from_secs(3600)))?;
//! let terms = policies.resolve(&JobSpec::new("ledger-1", "ledger-db"))?;
//! assert_eq!(terms.priority, Priority::High);
//!
//! let error = policies.resolve(&JobSpec::new("orders", "postgress")).unwrap_err();
//! assert!(error.to_string().contains("did you mean \"postgresql\"?"));
//!
//! let policies = policies.with_toml("policy.toml", r#"
//!     [clusters.orders]
//!     technology = "postgresql"
//!     rpo = "6h"
//!
//!     [instances.orders-1]
//!     cluster = "orders"
//!     size = "400 GiB"
//! "#)?;
//! let terms = policies.resolve(&JobSpec::new("orders-1", "postgresql"))?;
//! assert_eq!(terms.rpo, Duration::from_secs(6 * 3600));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![doc = include_str!("../defaults.md")]

mod amount;
mod assemble;
mod calendar;
mod chain;
mod changes;
mod config;
mod error;
mod explain;
mod fleet;
mod level;
mod load;
mod nearest;
mod phase;
mod policies;
mod profile;
mod recurring;
mod request;
mod schedule;
mod sensitivity;
mod text;
mod units;
mod values;
mod windows;
mod zone;

pub use amount::Amount;
pub use calendar::{CalendarError, Rule, RuleError, WindowCalendar, WindowRules};
pub use changes::{Changes, KeysByKind};
pub use config::describe::{Schema, schema};
pub use config::problem::{Place, Problem, Problems, Severity};
pub use config::{Config, Entry, Label};
pub use error::PolicyError;
pub use explain::{Explained, PolicyExplanation};
pub use fleet::{Cluster, Host, Instance, Technology};
pub use level::{Level, Origin};
pub use load::LoadLimit;
pub use phase::{Phase, Tolerance};
pub use policies::{BUILTIN, Policies};
pub use profile::Profile;
pub use recurring::Recurring;
pub use request::Request;
pub use schedule::{
    CatchUp, Cron, CronError, Due, Every, EveryError, Jitter, JitterError, LeftOut, LinkId, Misfire,
    MisfireError, Outcome, Overlap, Recurrence, ScheduleId, Timetable, Turn,
};
pub use sensitivity::{SaidLimit, Sensitivity};
pub use units::{ByteRate, ByteSize, UnitError};
pub use values::{Effective, Values};
pub use zone::{UnknownZone, Zone};
