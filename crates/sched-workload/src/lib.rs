//! How busy the foreground is, and will be: load detectors and learned weeks.
//!
//! - [`LoadDetector`] is the seam for your own signals.
//! - [`conformance`] checks yours as the ready-made ones are checked.
//! - [`ForegroundLatency`] is what an application records its request latencies in; [`ForegroundDetector`] turns them
//!   into a level and a latency to steer by. The best signal there is.
//! - [`Gauge`] holds a number against a target, [`RequestRate`] and [`ErrorRate`] what an application counts in a
//!   [`RequestCounter`]; [`TimeHint`] knows business hours and planned events.
//! - [`Combined`] makes one detector of several; [`Lasting`], [`Steady`], [`AgainstHealthy`] and [`PerTechnology`] refine
//!   what one says.
//! - [`Canary`] runs a small query of a fixed kind on a timer, where the application cannot tell.
//! - [`LearnedWeek`] is what is learned of an instance's load, [`Forecast`] what the load is expected to be.
//! - [`plan`] chooses when a backup starts: where the load is low and the links that a fleet shares have room.
//! - [`PeakDetector`] says when the load is higher than is usual at this hour.
//! - [`Hysteresis`] keeps a level from flapping.

pub mod conformance;
mod detect;
mod forecast;
mod peak;
pub mod plan;
mod week;

pub use detect::{
    AgainstHealthy, BusyEvent, BusyHours, Canary, Combined, DetectError, ErrorRate, ForegroundDetector,
    ForegroundLatency, Gauge, GaugeGoal, GaugeValue, GoalError, Hysteresis, Lasting, LatencyGoal,
    LatencyReading, LatencySpread, LatencyWindow, LatestValue, LevelThresholds, LevelThresholdsError,
    LoadDetector, LoadDetectorExt, LoadReading, PerTechnology, Refine, Refined, RequestCounter, RequestRate,
    Steady, TimeHint, WeightError,
};
pub use forecast::{Forecast, ForecastSlot};
pub use peak::{PeakDetector, PeakSettings, PeakSettingsError};
pub use week::{LearnedWeek, LocalClock, MAX_LOAD, OwnLoad, StoredWeekError, WEEK_HOURS, WeekSlot};
