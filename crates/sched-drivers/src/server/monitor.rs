//! One reader of a server, two users of what it reads: [`Monitor`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sched_core::{InstanceName, Measured, MonoTime, Now, Reason, Scope};
use sched_limits::{CapacityProbe, ProbeError, Reading};
use sched_workload::{DetectError, Hysteresis, LevelThresholds, LoadDetector, LoadReading};

use super::pattern::{PatternWeights, Workload};
use crate::DriverError;

/// Reads load and health of one server.
///
/// It is asked at most once a period, by one thread at a time, and keeps its connection from one reading to the next.
/// After an error the next call connects anew.
pub trait StatusSource: Send {
    /// Reads. The first call after a connection may leave out what only two readings tell.
    ///
    /// # Errors
    /// When the server cannot be read now.
    fn read(&mut self, now: Now) -> Result<ServerStatus, DriverError>;
}

impl<S: StatusSource + ?Sized> StatusSource for Box<S> {
    fn read(&mut self, now: Now) -> Result<ServerStatus, DriverError> {
        (**self).read(now)
    }
}

/// What a server said of itself.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Requests that are being worked on now, the one that asks left out.
    pub active: f64,
    /// How many the server can work on before others wait, where it tells.
    pub capacity: Option<f64>,
    /// What it did since it was read before; `None` at the first reading.
    pub workload: Option<Workload>,
    /// Its health under the names of its technology's profile, such as `replication_lag`. The scope is set by the
    /// [`Monitor`].
    pub health: Vec<Reading>,
}

impl ServerStatus {
    /// A status with so many requests at work.
    pub fn new(active: f64) -> Self {
        Self { active, ..Self::default() }
    }

    /// Sets how many the server can work on at once.
    #[must_use]
    pub fn capacity(mut self, capacity: f64) -> Self {
        self.capacity = Some(capacity);
        self
    }

    /// Sets what it did since it was read before.
    #[must_use]
    pub fn workload(mut self, workload: Workload) -> Self {
        self.workload = Some(workload);
        self
    }

    /// Adds a value of its health.
    #[must_use]
    pub fn health(mut self, reading: Reading) -> Self {
        self.health.push(reading);
        self
    }
}

/// How a server is watched, and what counts as busy.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MonitorConfig {
    /// How often it is read. Default 5 s: a reading takes about a millisecond of the server's time, which is then less
    /// than a thousandth of it.
    pub period: Duration,
    /// Requests at work at which it counts as busy. Default: three quarters of what it says that it can do, or 8 where
    /// it does not say.
    pub busy_at: Option<f64>,
    /// Requests a second at which it counts as busy. Default none.
    pub busy_at_requests_per_s: Option<f64>,
    /// How much each kind of work counts.
    pub weights: PatternWeights,
    /// At which ratios of measured to busy the load counts as busy and as a peak. Default: as of every detector.
    pub levels: LevelThresholds,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(5),
            busy_at: None,
            busy_at_requests_per_s: None,
            weights: PatternWeights::default(),
            levels: LevelThresholds::default(),
        }
    }
}

impl MonitorConfig {
    /// Sets how often the server is read, at least 100 ms.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period.max(Duration::from_millis(100));
        self
    }

    /// Sets how many requests at work are busy.
    #[must_use]
    pub fn busy_at(mut self, requests: f64) -> Self {
        self.busy_at = Some(requests);
        self
    }

    /// Sets how many requests a second are busy.
    #[must_use]
    pub fn busy_at_requests_per_s(mut self, requests: f64) -> Self {
        self.busy_at_requests_per_s = Some(requests);
        self
    }

    /// Sets how much each kind of work counts.
    #[must_use]
    pub fn weights(mut self, weights: PatternWeights) -> Self {
        self.weights = weights;
        self
    }

    /// Sets the ratios of the levels.
    #[must_use]
    pub fn levels(mut self, levels: LevelThresholds) -> Self {
        self.levels = levels;
        self
    }
}

/// Requests at work at which a server of unknown capacity is busy.
const BUSY_AT: f64 = 8.0;
/// The share of a known capacity at which a server is busy: beyond it queues grow faster than the load.
const BUSY_SHARE: f64 = 0.75;

/// One server, read over one connection, for a [`LoadDetector`] and a [`CapacityProbe`] at once.
///
/// ```
/// use sched_core::Now;
/// use sched_drivers::DriverError;
/// use sched_drivers::server::{Monitor, MonitorConfig, ServerStatus, StatusSource};
///
/// struct Threads(fn() -> u32);
///
/// impl StatusSource for Threads {
///     fn read(&mut self, _now: Now) -> Result<ServerStatus, DriverError> {
///         Ok(ServerStatus::new((self.0)().into()))
///     }
/// }
///
/// let monitor = Monitor::new("orders", Threads(|| 3), MonitorConfig::default());
/// // Both go into the scheduler: `.detector(…)` and `.probe(…)` of its builder.
/// let (detector, probe) = (monitor.detector(), monitor.probe());
/// ```
#[derive(Clone)]
pub struct Monitor {
    instance: InstanceName,
    config: MonitorConfig,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    source: Box<dyn StatusSource>,
    read_at: Option<MonoTime>,
    /// The error as a text: it is told to two.
    last: Result<ServerStatus, String>,
}

impl Monitor {
    /// A monitor of the server that holds `instance`.
    pub fn new(
        instance: impl Into<InstanceName>,
        source: impl StatusSource + 'static,
        config: MonitorConfig,
    ) -> Self {
        let shared = Shared { source: Box::new(source), read_at: None, last: Ok(ServerStatus::default()) };
        Self { instance: instance.into(), config, shared: Arc::new(Mutex::new(shared)) }
    }

    /// How busy the server is, as a load detector of its instance; its name is such as `load:orders`.
    pub fn detector(&self) -> ServerDetector {
        let dwell = self.config.period * 2;
        let hysteresis = Hysteresis::new(self.config.levels, dwell);
        // Levels that make no sense are said when the detector is asked.
        ServerDetector { monitor: self.clone(), name: self.name("load"), hysteresis: hysteresis.ok() }
    }

    /// The server's health, as a probe whose readings concern its instance; its name is such as `health:orders`.
    pub fn probe(&self) -> ServerProbe {
        ServerProbe { monitor: self.clone(), name: self.name("health") }
    }

    /// A scheduler takes no two of the same name.
    fn name(&self, of: &str) -> String {
        format!("{of}:{}", self.instance)
    }

    /// What the server says; as read by the other user where that was less than three quarters of a period ago. With a
    /// half or less, two users that take turns by halves would each have it read.
    fn status(&self, now: Now) -> Result<ServerStatus, String> {
        // Held while the server is read: only these two wait for it, each on a thread of its own, and a reading that
        // hangs is one that both are to lose.
        let mut shared = self.shared.lock();
        let fresh = shared.read_at.is_some_and(|at| now.mono.since(at) < self.config.period * 3 / 4);
        if !fresh {
            shared.last = shared.source.read(now).map_err(|error| error.to_string());
            shared.read_at = Some(now.mono);
        }
        shared.last.clone()
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("instance", &self.instance)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// How busy a server is; made by [`Monitor::detector`].
#[derive(Debug)]
pub struct ServerDetector {
    monitor: Monitor,
    name: String,
    hysteresis: Option<Hysteresis>,
}

impl LoadDetector for ServerDetector {
    fn name(&self) -> &str {
        &self.name
    }

    fn scope(&self) -> Scope {
        Scope::Instance(self.monitor.instance.clone())
    }

    fn period(&self) -> Duration {
        self.monitor.config.period
    }

    fn detect(&mut self, now: Now) -> Result<LoadReading, DetectError> {
        let status = self.monitor.status(now).map_err(DetectError::Failed)?;
        let found = judge(&self.monitor.config, &status)?;
        let hysteresis = self.hysteresis.as_mut().ok_or_else(|| {
            DetectError::Failed("its levels make no sense: calm below busy below peak".into())
        })?;
        let level = hysteresis.update(now.mono, found.pressure);
        Ok(LoadReading::new(level, Reason::measured(found.text, found.measured)).pressure(found.pressure))
    }
}

#[derive(Debug)]
struct Judged {
    pressure: f64,
    text: String,
    measured: Measured,
}

/// The worse of requests at work and requests a second, each over what counts as busy, weighed by the kind of work.
fn judge(config: &MonitorConfig, status: &ServerStatus) -> Result<Judged, DetectError> {
    let workload = status.workload.unwrap_or_default();
    let pattern = status.workload.map(|workload| workload.pattern());
    let weight = pattern.map_or(1.0, |pattern| config.weights.of(pattern));
    let busy_at = config.busy_at.or(status.capacity.map(|capacity| capacity * BUSY_SHARE)).unwrap_or(BUSY_AT);
    let rate = workload.requests_per_s();
    let at_work = ("active_requests", status.active, busy_at, "requests");
    let a_second = config.busy_at_requests_per_s.map(|busy| ("requests", rate, busy, "requests/s"));
    let mut worst: Option<Judged> = None;
    for (signal, value, threshold, unit) in [Some(at_work), a_second].into_iter().flatten() {
        let pressure = value / threshold * weight;
        if !(pressure.is_finite() && pressure >= 0.0) {
            return Err(DetectError::Value { signal: signal.into(), value });
        }
        if worst.as_ref().is_none_or(|worst| pressure > worst.pressure) {
            let kind = pattern.map_or(String::new(), |pattern| format!(", mostly {pattern}"));
            let text = format!("{:.0} requests at work, {rate:.0} a second{kind}", status.active);
            let measured = Measured::new(signal, value, threshold, unit);
            worst = Some(Judged { pressure, text, measured });
        }
    }
    worst.ok_or(DetectError::NoTime)
}

/// The health of a server; made by [`Monitor::probe`].
#[derive(Debug)]
pub struct ServerProbe {
    monitor: Monitor,
    name: String,
}

impl CapacityProbe for ServerProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn period(&self) -> Duration {
        self.monitor.config.period
    }

    fn sample(&mut self, now: Now) -> Result<Vec<Reading>, ProbeError> {
        let status = self.monitor.status(now).map_err(ProbeError::Unavailable)?;
        let scope = Scope::Instance(self.monitor.instance.clone());
        Ok(status.health.into_iter().map(|reading| reading.scope(scope.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, LoadLevel, ManualClock};

    use super::*;

    /// How often it was read, and what it says.
    type Telling = Arc<Mutex<(u32, Option<ServerStatus>)>>;

    struct Told(Telling);

    impl StatusSource for Told {
        fn read(&mut self, _now: Now) -> Result<ServerStatus, DriverError> {
            let mut told = self.0.lock();
            told.0 += 1;
            told.1.clone().ok_or(DriverError::Answer { server: "x".into(), problem: "nothing".into() })
        }
    }

    fn monitor(status: ServerStatus, config: MonitorConfig) -> (Monitor, Telling) {
        let told = Arc::new(Mutex::new((0, Some(status))));
        (Monitor::new("db", Told(Arc::clone(&told)), config), told)
    }

    #[test]
    fn one_reading_serves_detector_and_probe() {
        let lag = Reading::new("replication_lag", 3.0, "s");
        let (monitor, told) = monitor(ServerStatus::new(2.0).health(lag), MonitorConfig::default());
        let (mut detector, mut probe) = (monitor.detector(), monitor.probe());
        assert_eq!((detector.name(), probe.name()), ("load:db", "health:db"));
        let clock = ManualClock::default();
        let reading = detector.detect(clock.now()).unwrap();
        assert_eq!((reading.state.level, reading.pressure), (LoadLevel::Calm, Some(0.25)));
        let health = probe.sample(clock.now()).unwrap();
        assert_eq!(health[0].scope, Scope::Instance("db".into()));
        assert_eq!(told.lock().0, 1);
        clock.advance(Duration::from_secs(5));
        probe.sample(clock.now()).unwrap();
        assert_eq!(told.lock().0, 2);
    }

    #[test]
    fn a_server_is_read_once_a_period_however_its_two_users_take_turns() {
        for apart in (0..5000).step_by(250) {
            let (monitor, told) = monitor(ServerStatus::new(2.0), MonitorConfig::default());
            let (mut detector, mut probe) = (monitor.detector(), monitor.probe());
            let clock = ManualClock::default();
            for _ in 0..10 {
                detector.detect(clock.now()).unwrap();
                clock.advance(Duration::from_millis(apart));
                probe.sample(clock.now()).unwrap();
                // Nobody is as punctual as a clock.
                clock.advance(Duration::from_millis(5050 - apart));
            }
            assert!(told.lock().0 <= 11, "{} readings, {apart} ms apart", told.lock().0);
        }
    }

    #[test]
    fn an_error_is_told_to_both_and_a_reading_follows() {
        let (monitor, told) = monitor(ServerStatus::new(2.0), MonitorConfig::default());
        let status = told.lock().1.take();
        let (mut detector, mut probe) = (monitor.detector(), monitor.probe());
        let clock = ManualClock::default();
        assert!(matches!(detector.detect(clock.now()), Err(DetectError::Failed(_))));
        assert!(probe.sample(clock.now()).is_err());
        told.lock().1 = status;
        clock.advance(Duration::from_secs(5));
        assert!(detector.detect(clock.now()).is_ok());
    }

    #[test]
    fn a_batch_and_a_peak_of_short_reads_are_told_apart_at_equal_requests_a_second() {
        let clock = ManualClock::default();
        let level = |touched: f64| {
            let status = ServerStatus::new(12.0).capacity(10.0).workload(Workload::new(500.0, 0.0, touched));
            let (monitor, _) = monitor(status, MonitorConfig::default());
            monitor.detector().detect(clock.now()).unwrap().state.level
        };
        assert_eq!(level(5_000.0), LoadLevel::Busy);
        assert_eq!(level(5_000_000.0), LoadLevel::Calm);
    }
}
