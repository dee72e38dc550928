//! How busy the foreground is: load detectors.
//!
//! - [`LoadDetector`] is the seam for your own signals.
//! - [`ForegroundLatency`] is what an application records its request latencies in; [`ForegroundDetector`] turns them
//!   into a level and a latency to steer by. The best signal there is.
//! - [`Canary`] runs a small query of a fixed kind on a timer, where the application cannot tell.
//! - [`Hysteresis`] keeps a level from flapping.

mod canary;
mod detector;
mod foreground;
mod goal;
mod hysteresis;

pub use canary::Canary;
pub use detector::{DetectError, LatencyReading, LoadDetector, LoadReading};
pub use foreground::{ForegroundDetector, ForegroundLatency, LatencyWindow};
pub use goal::{GoalError, LatencyGoal};
pub use hysteresis::{Hysteresis, LevelThresholds, LevelThresholdsError};
