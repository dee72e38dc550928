//! Load, health and members of a server, read over one connection: [`Monitor`], [`StatusSource`], [`ServerMember`].

mod instances;
mod member;
mod monitor;
mod pattern;

pub use instances::Instances;
pub use member::{MemberSource, ServerMember};
pub use monitor::{Monitor, MonitorConfig, ServerDetector, ServerProbe, ServerStatus, StatusSource};
pub use pattern::{PatternWeights, QueryPattern, Workload};
