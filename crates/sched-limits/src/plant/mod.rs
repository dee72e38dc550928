//! Simulated machines to try a control law on before production does: [`Scenario`], [`Trial`], [`Table`].
//!
//! A harness for tests and benches, which no scheduler needs. The machines may change with any version, and a law's score
//! with them: compare laws within one version only.
//!
//! ```
//! use sched_limits::plant::{HEALTHY_SECONDS, Scenario, Sees, Table};
//! use sched_limits::{ControlLaw, PiConfig, PiLaw};
//! use std::time::Duration;
//!
//! // Put your own law here.
//! let law = || PiLaw::new(PiConfig::healthy(Duration::from_secs_f64(HEALTHY_SECONDS))).unwrap();
//! let mut table = Table::new(&[Scenario::A], 0..3);
//! table.add("pi, told", Sees::Latency, || Box::new(law()));
//! println!("{table}");
//! assert!(table.score("pi, told", "A").unwrap().harm_pct <= 1.0);
//! ```

mod machine;
mod scenario;
mod table;
mod trial;

pub use machine::{HEALTHY_SECONDS, latency};
pub use scenario::Scenario;
pub use table::{Score, Table};
pub use trial::Trial;

use machine::Second;

/// Which signal a law is shown, once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// The foreground's p99 in seconds, with noise.
    Latency,
    /// The share of time in which some task waited for the processor, from 0 to 1, with noise: about what pressure
    /// stall information shows of a machine with one queue.
    Pressure,
    /// The share of the machine that is in use, backups included, from 0 to 1, exact.
    Utilization,
    /// The share of the machine that the backup does not use and nobody else either, exact.
    Idle,
}

impl Sees {
    /// The reading of one second; `None` when it is lost.
    fn value(self, second: &Second) -> Option<f64> {
        let noise = second.reading? / second.p99;
        Some(match self {
            Self::Latency => second.p99 * noise,
            Self::Pressure => (second.utilization.powi(6) * noise).min(1.0),
            Self::Utilization => second.utilization,
            // What the backup takes from the foreground looks as if nobody wanted it.
            Self::Idle => 1.0 - (second.utilization - second.load).max(0.0),
        })
    }
}
