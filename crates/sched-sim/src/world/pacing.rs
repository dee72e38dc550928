//! How the rate of a paced backup is found: [`Pacing`].

use std::collections::HashMap;
use std::time::Duration;

use sched_core::{MonoTime, Now, wall_plus};
use sched_limits::{ControlLaw, Observation, PiConfig, PiLaw};

use crate::load::SLOT_SECS;
use crate::noise::normal;

/// Foreground p99 of an idle host.
const IDLE: Duration = Duration::from_millis(2);
/// Standard deviation of the natural logarithm of a p99 reading from some 470 requests: 2.16 / √n.
const READING_NOISE: f64 = 0.1;

/// How the rate of a paced backup is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pacing {
    /// Where the control law comes to rest, at once, in each quarter of an hour.
    #[default]
    Steady,
    /// By the control law of `sched-limits` itself, once a second, from noisy readings. It takes some thousand times as
    /// long to simulate and is there to hold [`Steady`](Self::Steady) against.
    EverySecond,
}

/// The control laws of hosts on which something runs.
#[derive(Debug, Default)]
pub(super) struct Laws {
    by_host: HashMap<u32, PiLaw>,
}

impl Pacing {
    /// Seconds between two looks.
    pub(super) fn period(self) -> f64 {
        match self {
            Self::Steady => f64::from(SLOT_SECS),
            Self::EverySecond => 1.0,
        }
    }
}

impl Laws {
    /// Nothing runs there any more: the next backup begins with what it sees.
    pub(super) fn forget(&mut self, host: u32) {
        self.by_host.remove(&host);
    }

    /// The share of a host after a second in which the foreground was so slow, relative to the idle host, and backups
    /// used this share.
    pub(super) fn share(&mut self, host: u32, at: f64, slowness: f64, used: f64) -> f64 {
        let law = self
            .by_host
            .entry(host)
            .or_insert_with(|| PiLaw::new(PiConfig::healthy(IDLE)).expect("the defaults are good"));
        let noise = (READING_NOISE * normal(u64::from(host), at as u64)).exp();
        let now = Now {
            mono: MonoTime::ZERO + Duration::from_secs_f64(at),
            wall: wall_plus(crate::MONDAY, Duration::from_secs_f64(at)),
        };
        let sample = Observation::new(now.mono, IDLE.as_secs_f64() * slowness * noise, used);
        law.step(now, Some(sample)).granted()
    }
}
