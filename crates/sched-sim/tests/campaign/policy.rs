//! Policies drawn from a seed: [`Policies`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sched_core::{
    BackupKind, Calendar, CalendarName, CalendarState, JobTerms, Priority, Reason, RetryPolicy, SLOTS,
    Stretch, WindowEnd,
};
use sched_sim::{Fleet, LoadClass, Terms};

/// The resource beside slots, of which the fleet has two.
pub(crate) const TAPE: &str = "tape";
/// The group that has a limit.
pub(crate) const GROUP: &str = "cluster";
/// How a backup is expected to go, in bytes a second.
pub(crate) const RATE: f64 = 100e6;

/// What is said of the instances of a fleet.
#[derive(Debug)]
pub(crate) struct Policies {
    pub(crate) of: Vec<Policy>,
    pub(crate) calendars: BTreeMap<CalendarName, Arc<dyn Calendar>>,
}

/// What is said of one instance.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) terms: Arc<JobTerms>,
    pub(crate) kinds: Vec<BackupKind>,
    pub(crate) grouped: bool,
}

/// Open in the first hours of each round, a blackout in the last one.
#[derive(Debug)]
pub(crate) struct Rounds {
    open: i64,
    round: i64,
    blackout: bool,
}

impl Calendar for Rounds {
    fn at(&self, at: Timestamp) -> Stretch {
        let hour = at.as_second().div_euclid(3_600);
        let edge = |hour: i64| Timestamp::from_second(hour * 3_600).ok();
        let reason = Reason::new("not its hours");
        let state = match hour.rem_euclid(self.round) {
            n if n < self.open => CalendarState::Open,
            n if n + 1 == self.round && self.blackout => CalendarState::Blackout { reason },
            _ => CalendarState::Closed { reason },
        };
        Stretch { from: edge(hour), until: edge(hour + 1), state }
    }
}

/// Puts instances on the same hosts and makes them of sizes that are backed up within an hour or so.
pub(crate) fn crammed(fleet: &mut Fleet, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0xc4a3);
    let hosts = rng.usize(1..=fleet.hosts.len()) as u32;
    for of in &mut fleet.instances {
        of.host = rng.u32(..hosts);
        of.bytes = RATE * 60.0 * (1.0 + 60.0 * rng.f64() * rng.f64());
        let hours = [2, 4, 8, 24][rng.usize(..4)];
        (of.rpo, of.growth_per_day) = (Duration::from_secs(3_600 * hours), 0.0);
    }
    for host in &mut fleet.hosts {
        host.bytes_per_sec = 4.0 * RATE;
        if rng.bool() {
            (host.load.class, host.load.base) = (LoadClass::Erratic, 0.1);
            (host.load.swing, host.load.noise) = (0.8, 0.1);
        }
    }
    fleet.links.iter_mut().for_each(|link| link.bytes_per_sec = 20.0 * RATE);
}

impl Policies {
    pub(crate) fn random(fleet: &Fleet, seed: u64, slots: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x9011);
        let rounds = |rng: &mut fastrand::Rng| -> Arc<dyn Calendar> {
            let round = rng.i64(2..9);
            Arc::new(Rounds { open: rng.i64(1..round), round, blackout: rng.bool() })
        };
        let calendars = ["nights", "rounds"].map(|name| (name.into(), rounds(&mut rng)));
        let of = fleet.instances.iter();
        let of = of.map(|of| Policy::random(&mut rng, of.rpo, of.bytes, slots)).collect();
        Self { of, calendars: calendars.into() }
    }

    /// The same terms for everybody.
    pub(crate) fn plain(fleet: &Fleet) -> Self {
        let plain = |of: &sched_sim::Instance| {
            let mut terms = JobTerms::default();
            terms.rpo = of.rpo;
            terms.expected_duration = Duration::from_secs_f64(of.bytes / RATE);
            Policy { terms: Arc::new(terms), kinds: vec![BackupKind::Full], grouped: false }
        };
        Self { of: fleet.instances.iter().map(plain).collect(), calendars: BTreeMap::new() }
    }

    /// Every attempt has a time-out.
    pub(crate) fn give_up(&mut self) {
        for policy in &mut self.of {
            let terms = Arc::make_mut(&mut policy.terms);
            terms.timeout = terms.timeout.or(Some(Duration::from_secs(4 * 3_600)));
        }
    }

    /// As the simulation takes them.
    pub(crate) fn terms(&self) -> Terms {
        let one_slot = |policy: &Policy| {
            let mut terms = JobTerms::clone(&policy.terms);
            // It says itself how long its backups take, and what their time-out is.
            (terms.demand, terms.timeout) = (JobTerms::default().demand, None);
            Arc::new(terms)
        };
        Terms::new(self.of.iter().map(one_slot).collect(), self.calendars.clone())
    }
}

impl Policy {
    fn random(rng: &mut fastrand::Rng, rpo: Duration, bytes: f64, slots: u64) -> Self {
        let mut terms = JobTerms::default();
        terms.priority =
            [Priority::Low, Priority::Normal, Priority::Normal, Priority::High, Priority::Critical]
                [rng.usize(..5)];
        terms.rpo = rpo;
        terms.expected_duration = Duration::from_secs_f64(bytes / RATE * (0.5 + rng.f64()));
        if slots > 1 && rng.u8(..5) == 0 {
            terms.demand.add(SLOTS, 1);
        }
        if rng.u8(..5) == 0 {
            terms.demand.add(TAPE, rng.u64(1..=2));
        }
        (terms.pausable, terms.cancellable) = (rng.bool(), rng.u8(..3) == 0);
        terms.timeout =
            (rng.u8(..3) == 0).then(|| terms.expected_duration * rng.u32(3..6) + Duration::from_secs(600));
        let secs = |from, to, rng: &mut fastrand::Rng| Duration::from_secs(rng.u64(from..to));
        terms.retry = RetryPolicy::new(rng.u32(1..5), secs(30, 300, rng), secs(600, 1_800, rng));
        terms.window = ["nights", "rounds"].get(rng.usize(..6)).map(|name| (*name).into());
        terms.open_window_when_late = rng.bool();
        terms.window_end = [WindowEnd::Finish, WindowEnd::Pause, WindowEnd::Stop][rng.usize(..3)];
        let mut kinds = vec![BackupKind::Full];
        if rng.u8(..3) == 0 {
            kinds.push(BackupKind::Incremental);
            if rng.bool() {
                terms.apart = kinds.iter().copied().collect();
            }
        }
        Self { terms: Arc::new(terms), kinds, grouped: rng.u8(..3) == 0 }
    }
}
