//! What each database technology needs of a backup scheduler, as data: [`Profile`]s, and [`Policies`] that turn a
//! request into the terms under which it runs.
//!
//! A technology is a name with a profile. The built-in ones are nothing special: change them, or add your own.
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
//! # Ok::<(), sched_policy::PolicyError>(())
//! ```
#![doc = include_str!("../defaults.md")]

mod builtin;
mod policies;
mod profile;

pub use policies::{Policies, PolicyError};
pub use profile::Profile;
