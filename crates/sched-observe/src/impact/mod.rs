//! What backups cost their foregrounds, proved: [`ImpactLedger`].
//!
//! A backup that runs while latency is high need not be why. The ledger asks for sparse pauses at random times and holds
//! the moments in them against those around them, which the foreground's own ups and downs have in common. What it says of
//! a [`LatencyEvent`] is a [`Verdict`]: caused, not caused, or cannot tell. [`ImpactReport`] sums up by backup, instance and
//! week.
//!
//! - Method, formulae and the limits of what is claimed: `docs/impact.md`.
//! - [`plant`] simulates foregrounds of which it is known what backups do to them, and holds the ledger against that.
//!
//! Memory: about 40 KB for each instance that is watched, 25 KB more for each running backup, and 2 KB for each instance and
//! week that had pauses. At hours of the week with different loads, up to 50 KB more are learned of an instance. How many
//! there may be of each is set by [`ImpactSettings`].

mod comparable;
mod compare;
mod cost;
mod estimate;
mod foreground;
mod ledger;
mod moment;
mod pairs;
mod pauses;
pub mod plant;
mod report;
mod settings;
mod snapshot;
mod verdict;
mod watch;

pub use estimate::{Ratio, rate_at_most, share_at_most};
pub use ledger::{Backup, ImpactLedger, PauseRequest, Why};
pub use moment::Moment;
pub use report::{BackupImpact, Basis, ImpactReport, InstanceImpact, Latencies, Period, Ratios};
pub use settings::{EventRule, ImpactSettings, ImpactSettingsError, Over, Quantile};
pub use snapshot::{ImpactSnapshot, ImpactWeeks};
pub use verdict::{LatencyEvent, Tally, Verdict};
