//! A fleet from a seed: [`FleetShape`].

use std::sync::Arc;
use std::time::Duration;

use super::{Fleet, Host, Instance, Link, Technology};
use crate::load::{LoadClass, LoadPattern};

const HOUR: Duration = Duration::from_secs(3600);
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
    /// Default 1.
    pub seed: u64,
}

impl Default for FleetShape {
    fn default() -> Self {
        Self { instances: 10_000, per_link: 500, link_use: 0.35, seed: 1 }
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
            });
            fleet.instances.push(Instance {
                name: format!("{name}-{n}"),
                technology: technologies[at].clone(),
                host: n,
                bytes,
                growth_per_day: 0.01 * rng.f32(),
                rpo: HOUR * rpo,
                every: HOUR * every,
                seed: n.into(),
            });
        }
        fleet.links = self.links(&fleet);
        fleet
    }

    /// As fast as makes them so full.
    fn links(&self, fleet: &Fleet) -> Vec<Link> {
        let mut links: Vec<Link> = (0..self.instances.div_ceil(self.per_link.max(1)))
            .map(|n| Link { name: format!("uplink-{n}"), bytes_per_sec: 0.0 })
            .collect();
        for instance in &fleet.instances {
            let link = fleet.hosts[instance.host as usize].link;
            let mean = instance.bytes / instance.every.as_secs_f64();
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
