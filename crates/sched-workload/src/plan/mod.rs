//! When a backup is to start: where it costs the foreground least and levels the links that a fleet shares.
//!
//! - [`Planner`] finds the start of one job, from its windows, deadline, forecast and links.
//! - [`LinkLedger`] counts what planned and running jobs will send over each link.
//! - [`FleetPlanner`] keeps the plans of many jobs up to date, a portion at a time.

mod curve;
mod explanation;
mod fleet;
mod grid;
mod ledger;
mod planner;
mod settings;
mod window;

pub use explanation::{Considered, LinkFill, MAX_CONSIDERED, PlanExplanation};
pub use fleet::{FleetPlanner, PlanSource, PlannedJob};
pub use ledger::{Commitment, LinkId, LinkLedger, LinkSet, MAX_LINKS, TooManyLinks};
pub use planner::{PlanRequest, PlannedStart, Planner};
pub use settings::{MAX_HORIZON_SLOTS, PlanSettings, PlanSettingsError};
pub use window::{Fit, MAX_STRETCHES, OpenInterval};
