//! A fleet from a seed: [`FleetShape`].

use std::sync::Arc;
use std::time::Duration;

use super::{Fleet, Host, Instance, Life, Link, Technology};
use crate::load::{LevelShift, LoadClass, LoadPattern, SLOTS_OF_DAY};
use crate::noise::{hash, unit};

const HOUR: Duration = Duration::from_secs(3600);
const WEEK_HOURS: f64 = 168.0;
const GIB: f64 = (1_u64 << 30) as f64;

/// What a generated fleet looks like. The same seed gives the same fleet.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct FleetShape {
    /// Instances, each on a host of its own. Default 10,000.
    pub instances: u32,
    /// Instances that share a link. Default 500.
    pub per_link: u32,
    /// How full the links would be if backups were spread evenly over all time, from 0 to 1. Default .35.
    pub link_use: f64,
    /// Share of instances that exist only for a part of the first week: for 2 to 72 hours, each of the durations as often
    /// as one twice as long. Seagull (VLDB 2021) found 42 % of servers short-lived. From 0 to 1, default 0.
    pub short_lived: f64,
    /// Share of hosts whose load steps up or down once in the first week and stays there. From 0 to 1, default 0.
    pub shifting: f64,
    /// Default 1.
    pub seed: u64,
}

impl Default for FleetShape {
    fn default() -> Self {
        Self { instances: 10_000, per_link: 500, link_use: 0.35, short_lived: 0.0, shifting: 0.0, seed: 1 }
    }
}

/// Shares of the load classes. Seagull (VLDB 2021) found 42 % short-lived servers; of those that live, most are stable
/// and few have a daily or weekly pattern. There is more pattern here, since a fleet without it needs no scheduler.
const CLASSES: [(LoadClass, f64); 6] = [
    (LoadClass::Stable, 0.30),
    (LoadClass::Daily, 0.25),
    (LoadClass::Weekly, 0.20),
    (LoadClass::NightlyBatch, 0.10),
    (LoadClass::Erratic, 0.10),
    (LoadClass::Idle, 0.05),
];

/// Technologies: share, median size in GiB, RPO and interval in hours.
const TECHNOLOGIES: [(&str, f64, f64, u32, u32); 6] = [
    ("mysql", 0.30, 40.0, 30, 24),
    ("postgresql", 0.30, 60.0, 30, 24),
    ("cassandra", 0.15, 150.0, 30, 24),
    ("redis", 0.10, 4.0, 8, 6),
    ("etcd", 0.05, 0.5, 14, 12),
    ("sqlite", 0.10, 1.0, 30, 24),
];

impl FleetShape {
    /// The fleet.
    pub fn generate(&self) -> Fleet {
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let technologies: Vec<Technology> = TECHNOLOGIES.iter().map(|row| Arc::from(row.0)).collect();
        let mut fleet = Fleet::default();
        for n in 0..self.instances {
            let link = n / self.per_link.max(1);
            let at = pick(&mut rng, TECHNOLOGIES.iter().map(|row| row.1));
            let (name, _, gib, rpo, every) = TECHNOLOGIES[at];
            let bytes = gib * GIB * (0.8 * normal(&mut rng)).exp().min(20.0);
            fleet.hosts.push(Host {
                name: format!("host-{n}"),
                link,
                bytes_per_sec: [200e6, 500e6, 1000e6][rng.usize(..3)],
                load: load(&mut rng),
                recorded: None,
                shift: self.shift(n.into()),
            });
            fleet.instances.push(Instance {
                name: format!("{name}-{n}"),
                technology: technologies[at].clone(),
                host: n,
                bytes,
                growth_per_day: 0.01 * rng.f32(),
                rpo: HOUR * rpo,
                every: HOUR * every,
                life: self.life(n.into()),
                seed: n.into(),
            });
        }
        fleet.links = self.links(&fleet);
        fleet
    }

    /// Chance of its own, so that a fleet without short-lived instances is the same but for them.
    fn life(&self, n: u64) -> Life {
        let (seed, most) = (hash(self.seed, 0x11fe), 36.0_f64);
        if unit(seed, 3 * n) >= self.short_lived {
            return Life::default();
        }
        let hour = HOUR.as_secs_f64();
        let long = 2.0 * most.powf(unit(seed, 3 * n + 1));
        // As many at any moment: some were there before, some outlast the week.
        let created = (WEEK_HOURS + long) * unit(seed, 3 * n + 2) - long;
        Life { created: hour * created.max(0.0), dropped: hour * (created + long) }
    }

    fn shift(&self, n: u64) -> Option<LevelShift> {
        let seed = hash(self.seed, 0x5417f);
        let moment = unit(seed, 3 * n + 1) * 7.0 * f64::from(SLOTS_OF_DAY);
        let by = 0.1 + 0.2 * unit(seed, 3 * n + 2);
        // Two in three go up.
        let by = if hash(!seed, n).is_multiple_of(3) { -by } else { by };
        (unit(seed, 3 * n) < self.shifting).then_some(LevelShift { slot: moment as u32, by: by as f32 })
    }

    /// As fast as makes them so full.
    fn links(&self, fleet: &Fleet) -> Vec<Link> {
        let mut links: Vec<Link> = (0..self.instances.div_ceil(self.per_link.max(1)))
            .map(|n| Link { name: format!("uplink-{n}"), bytes_per_sec: 0.0 })
            .collect();
        for instance in &fleet.instances {
            let link = fleet.hosts[instance.host as usize].link;
            let lives = instance.life.share_of(WEEK_HOURS * HOUR.as_secs_f64());
            let mean = lives * instance.bytes / instance.every.as_secs_f64();
            links[link as usize].bytes_per_sec += mean / self.link_use.clamp(0.01, 1.0);
        }
        links
    }
}

fn load(rng: &mut fastrand::Rng) -> LoadPattern {
    let class = CLASSES[pick(rng, CLASSES.iter().map(|class| class.1))].0;
    let (base, swing) = match class {
        LoadClass::Idle => (0.01, 0.0),
        LoadClass::Stable => (0.05 + 0.45 * rng.f32(), 0.0),
        _ => (0.05 + 0.2 * rng.f32(), 0.3 + 0.4 * rng.f32()),
    };
    LoadPattern {
        class,
        base,
        swing,
        // Offices round the world.
        peak_hour: (11.0 + [0.0, 0.0, 0.0, 8.0, 16.0][rng.usize(..5)] + 2.0 * rng.f32()) % 24.0,
        noise: 0.02 + 0.03 * rng.f32(),
        seed: rng.u64(..),
    }
}

/// One of several with these shares.
fn pick(rng: &mut fastrand::Rng, shares: impl ExactSizeIterator<Item = f64>) -> usize {
    let (mut left, last) = (rng.f64(), shares.len() - 1);
    for (at, share) in shares.enumerate() {
        left -= share;
        if left < 0.0 {
            return at;
        }
    }
    last
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut fastrand::Rng) -> f64 {
    let (u, v) = (1.0 - rng.f64(), rng.f64());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_lived_and_the_shifting_are_as_many_as_asked_and_nothing_else_is_other() {
        let plain = FleetShape { instances: 2_000, ..FleetShape::default() };
        let shape = FleetShape { short_lived: 0.42, shifting: 0.1, ..plain };
        let (plain, mut fleet) = (plain.generate(), shape.generate());
        let week = 168.0 * 3600.0;
        let lives = || fleet.instances.iter().map(|of| of.life).filter(|life| *life != Life::default());
        assert!((lives().count() as f64 / 2_000.0 - 0.42).abs() < 0.04);
        assert!(lives().all(|life| life.created < week && life.dropped > 0.0 && life.created < life.dropped));
        let long = |life: Life| (life.dropped - life.created) / 3600.0;
        assert!(lives().filter(|life| life.created > 0.0).all(|life| (2.0..=72.01).contains(&long(life))));
        // At any moment about as many as at another.
        let at = |hour: f64| lives().filter(|life| life.is_at(3600.0 * hour)).count() as f64;
        assert!((at(1.0) / at(100.0) - 1.0).abs() < 0.3, "{} {}", at(1.0), at(100.0));
        let up = |up: bool| {
            let shifts = fleet.hosts.iter().filter_map(|host| host.shift);
            shifts.filter(|shift| (shift.by > 0.0) == up && shift.by.abs() <= 0.3).count() as f64
        };
        assert!((up(true) + up(false) - 200.0).abs() < 40.0 && up(true) > 1.4 * up(false));
        fleet.hosts.iter_mut().for_each(|host| host.shift = None);
        fleet.instances.iter_mut().for_each(|of| of.life = Life::default());
        assert_eq!((fleet.hosts, fleet.instances), (plain.hosts, plain.instances));
    }

    #[test]
    fn a_seed_gives_one_fleet_whose_links_are_as_full_as_asked() {
        let shape = FleetShape { instances: 1_200, ..FleetShape::default() };
        let fleet = shape.generate();
        assert_eq!(fleet, shape.generate());
        assert_eq!((fleet.instances.len(), fleet.links.len()), (1_200, 3));
        let mean: f64 = fleet.instances.iter().map(|i| i.bytes / i.every.as_secs_f64()).sum();
        let capacity: f64 = fleet.links.iter().map(|link| link.bytes_per_sec).sum();
        assert!((mean / capacity - 0.35).abs() < 1e-9);
        assert_ne!(fleet, FleetShape { seed: 2, ..shape }.generate());
    }
}
