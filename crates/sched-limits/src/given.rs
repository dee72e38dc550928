//! Probes whose values are given: by a closure, as constants, or by a script.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use sched_core::Now;

use crate::probe::{CapacityProbe, ProbeError};
use crate::reading::Reading;

/// A probe made of a closure.
pub struct FnProbe<F> {
    name: String,
    period: Duration,
    sample: F,
}

impl<F> FnProbe<F>
where
    F: FnMut(Now) -> Result<Vec<Reading>, ProbeError> + Send,
{
    /// A probe that calls `sample` once a `period`.
    pub fn new(name: impl Into<String>, period: Duration, sample: F) -> Self {
        Self { name: name.into(), period, sample }
    }
}

impl<F> CapacityProbe for FnProbe<F>
where
    F: FnMut(Now) -> Result<Vec<Reading>, ProbeError> + Send,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn period(&self) -> Duration {
        self.period
    }

    fn sample(&mut self, now: Now) -> Result<Vec<Reading>, ProbeError> {
        (self.sample)(now)
    }
}

impl<F> fmt::Debug for FnProbe<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnProbe")
            .field("name", &self.name)
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}

/// A probe that always says the same: for capacities that are known and need no measuring, and for trying things out.
#[derive(Clone, Debug)]
pub struct FixedProbe {
    name: String,
    readings: Vec<Reading>,
}

impl FixedProbe {
    /// A probe that says `readings` once a second.
    pub fn new(name: impl Into<String>, readings: impl Into<Vec<Reading>>) -> Self {
        Self { name: name.into(), readings: readings.into() }
    }
}

impl CapacityProbe for FixedProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn sample(&mut self, _: Now) -> Result<Vec<Reading>, ProbeError> {
        Ok(self.readings.clone())
    }
}

/// A probe that gives a list of results in their order, one a call: for tests and simulations. When the script is
/// over it fails.
#[derive(Debug)]
pub struct ScriptedProbe {
    name: String,
    period: Duration,
    script: VecDeque<Result<Vec<Reading>, ProbeError>>,
}

impl ScriptedProbe {
    /// A probe that gives the next of `script` once a `period`.
    pub fn new(
        name: impl Into<String>,
        period: Duration,
        script: impl IntoIterator<Item = Result<Vec<Reading>, ProbeError>>,
    ) -> Self {
        Self { name: name.into(), period, script: script.into_iter().collect() }
    }
}

impl CapacityProbe for ScriptedProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn period(&self) -> Duration {
        self.period
    }

    fn sample(&mut self, _: Now) -> Result<Vec<Reading>, ProbeError> {
        self.script.pop_front().unwrap_or_else(|| Err(ProbeError::unavailable("the script is over")))
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, ManualClock};

    use super::*;

    #[test]
    fn a_script_is_played_once_in_its_order() {
        let now = ManualClock::default().now();
        let busy = vec![Reading::share("cpu", 0.9)];
        let script = [Ok(busy.clone()), Err(ProbeError::unavailable("no route")), Ok(vec![])];
        let mut probe = ScriptedProbe::new("scripted", Duration::from_secs(2), script);
        assert_eq!(probe.period(), Duration::from_secs(2));
        assert_eq!(probe.sample(now).unwrap(), busy);
        assert_eq!(probe.sample(now).unwrap_err().to_string(), "no route");
        assert_eq!(probe.sample(now).unwrap(), []);
        assert_eq!(probe.sample(now).unwrap_err().to_string(), "the script is over");
    }

    #[test]
    fn a_fixed_probe_says_what_it_was_told() {
        let now = ManualClock::default().now();
        let mut probe = FixedProbe::new("quota", [Reading::new("quota", 1.0, "TB").of(10.0)]);
        assert_eq!(probe.sample(now).unwrap(), probe.sample(now).unwrap());
        assert_eq!(probe.sample(now).unwrap()[0].utilization(), Some(0.1));
    }
}
