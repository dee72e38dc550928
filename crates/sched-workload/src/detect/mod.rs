//! How busy the foreground is now: what a detector is, and those that are ready made.

mod canary;
mod combine;
mod detector;
mod foreground;
mod gauge;
mod goal;
mod healthy;
mod hint;
mod hysteresis;
mod lasting;
mod refine;
mod requests;
mod spread;
mod technology;

pub use canary::Canary;
pub use combine::{Combined, WeightError};
pub use detector::{DetectError, LatencyReading, LoadDetector, LoadReading};
pub use foreground::{ForegroundDetector, ForegroundLatency, LatencyWindow};
pub use gauge::{Gauge, GaugeGoal, GaugeValue, LatestValue};
pub use goal::{GoalError, LatencyGoal};
pub use healthy::AgainstHealthy;
pub use hint::{BusyEvent, BusyHours, TimeHint};
pub use hysteresis::{Hysteresis, LevelThresholds, LevelThresholdsError};
pub use lasting::{Lasting, Steady};
pub use refine::{LoadDetectorExt, Refine, Refined};
pub use requests::{ErrorRate, RequestCounter, RequestRate};
pub use spread::LatencySpread;
pub use technology::PerTechnology;
