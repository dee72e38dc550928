//! One thing to ask a Prometheus server: [`Query`].

use std::borrow::Cow;
use std::time::Duration;

use sched_core::{Scope, SignalName};

use super::answer::Series;
use super::signal_of;
use crate::reading::Reading;

/// A PromQL expression whose value is a signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub(super) signal: SignalName,
    pub(super) promql: String,
    pub(super) unit: Cow<'static, str>,
    pub(super) capacity: Option<Capacity>,
    pub(super) scope: Scope,
    pub(super) per: Option<String>,
    pub(super) stamped_by: Option<String>,
    pub(super) optional: bool,
}

/// How much there is of what a query tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Capacity {
    /// A number that is known.
    Known(f64),
    /// Another query. Where it has no answer the capacity is unknown.
    Query(String),
}

impl Query {
    /// A query for one number, in this unit.
    pub fn new(
        signal: impl Into<SignalName>,
        promql: impl Into<String>,
        unit: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            signal: signal.into(),
            promql: promql.into(),
            unit: unit.into(),
            capacity: None,
            scope: Scope::Fleet,
            per: None,
            stamped_by: None,
            optional: false,
        }
    }

    /// Says how much there is. Default: unknown, and then no threshold applies.
    #[must_use]
    pub fn of(mut self, capacity: f64) -> Self {
        self.capacity = Some(Capacity::Known(capacity));
        self
    }

    /// Asks how much there is.
    #[must_use]
    pub fn of_query(mut self, promql: impl Into<String>) -> Self {
        self.capacity = Some(Capacity::Query(promql.into()));
        self
    }

    /// Sets whom it concerns. Default: the whole fleet.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Allows many series, told apart by a label: each is a signal of its own, as `network:eth0`.
    #[must_use]
    pub fn per(mut self, label: impl Into<String>) -> Self {
        self.per = Some(label.into());
        self
    }

    /// An expression that tells when the samples behind the value were taken, such as `timestamp(up)`; of several the
    /// oldest counts. Default: none, and a value counts as new for as long as the server answers with it, which is up
    /// to five minutes after an exporter has stopped.
    #[must_use]
    pub fn stamped_by(mut self, promql: impl Into<String>) -> Self {
        self.stamped_by = Some(promql.into());
        self
    }

    /// Allows the answer to be empty: the signal is absent then.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// The readings of an answer.
    pub(super) fn readings(
        &self,
        series: &[Series],
        capacities: &[Series],
        age: Duration,
    ) -> Result<Vec<Reading>, String> {
        if self.per.is_none() && series.len() > 1 {
            return Err(format!(
                "it has {} series; aggregate them, or say which label tells them apart",
                series.len()
            ));
        }
        let reading = |one: &Series| {
            let signal = signal_of(self, one);
            let known = match &self.capacity {
                Some(Capacity::Known(capacity)) => Some(*capacity),
                Some(Capacity::Query(_)) => {
                    capacities.iter().find(|other| signal_of(self, other) == signal).map(|other| other.value)
                }
                None => None,
            };
            let mut reading =
                Reading::new(signal, one.value, self.unit.clone()).scope(self.scope.clone()).aged(age);
            reading.capacity = known;
            reading
        };
        Ok(series.iter().map(reading).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(device: &str, value: f64) -> Series {
        Series { labels: [("device".to_owned(), device.to_owned())].into(), at: 100.0, value }
    }

    #[test]
    fn series_are_told_apart_by_a_label_and_matched_with_their_capacity() {
        let query = Query::new("network", "rate", "bytes/s").of_query("speed").per("device");
        let found = query.readings(
            &[series("eth0", 5.0), series("eth1", 6.0)],
            &[series("eth1", 12.0)],
            Duration::from_secs(3),
        );
        let age = Duration::from_secs(3);
        assert_eq!(
            found.unwrap(),
            [
                Reading::new("network:eth0", 5.0, "bytes/s").aged(age),
                Reading::new("network:eth1", 6.0, "bytes/s").of(12.0).aged(age),
            ]
        );
    }

    #[test]
    fn many_series_where_one_was_meant_are_refused() {
        let query = Query::new("a", "up", "things");
        let error = query.readings(&[series("x", 1.0), series("y", 1.0)], &[], Duration::ZERO).unwrap_err();
        assert!(error.contains("2 series; aggregate them"), "{error}");
    }
}
