//! What users have now, and the settings among which each has its best: [`baselines`], [`best`].

use super::{Clockwork, StartAt};
use crate::measure::Measures;
use crate::world::Pace;

const HOUR: f64 = 3600.0;
/// RPO hits within so many points of the best count as equal to it.
const AS_GOOD: f64 = 0.1;

/// A way in which backups are scheduled without this scheduler.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Baseline {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// The same with different settings.
    pub settings: Vec<Clockwork>,
}

/// The baselines, each with a small grid of settings.
pub fn baselines() -> Vec<Baseline> {
    let unthrottled = |start| Clockwork::new(start, Pace::Unthrottled);
    let night = StartAt::Within(22.0 * HOUR, 8.0 * HOUR);
    let windows = [(20.0, 12.0), (22.0, 8.0), (0.0, 6.0), (0.0, 24.0)];
    vec![
        Baseline {
            name: "cron",
            about: "every backup at the same hour, at full speed",
            settings: [22.0, 0.0, 2.0, 4.0].map(|hour| unthrottled(StartAt::Fixed(hour * HOUR))).to_vec(),
        },
        Baseline {
            name: "random",
            about: "each backup at a random moment of a window, at full speed",
            settings: windows
                .map(|(from, long)| unthrottled(StartAt::Within(from * HOUR, long * HOUR)))
                .to_vec(),
        },
        Baseline {
            name: "fixed concurrency",
            about: "from 22:00 on in line, so many at once on a link, at full speed",
            settings: [4, 8, 16, 32, 64]
                .map(|most| unthrottled(StartAt::Fixed(22.0 * HOUR)).most_a_link(most))
                .to_vec(),
        },
        Baseline {
            name: "fixed rate",
            about: "each backup at a random moment of the night, never faster than a set rate",
            settings: [5.0, 10.0, 20.0, 40.0, 80.0]
                .map(|rate| Clockwork::new(night, Pace::Fixed(rate * 1e6)))
                .to_vec(),
        },
        Baseline {
            name: "threshold",
            about: "each backup at a random moment of the night, put off while the load is over a threshold, then at full speed",
            settings: [0.1, 0.2, 0.3, 0.4, 0.5].map(|load| unthrottled(night).only_below(load)).to_vec(),
        },
    ]
}

/// Which of several did best: the least harm among those that met as many RPOs as the best, up to a tenth of a point, and
/// then the least backup time. `None` of none.
pub fn best(of: &[Measures]) -> Option<usize> {
    let most = of.iter().map(Measures::rpo_hit_pct).fold(f64::NEG_INFINITY, f64::max);
    let good = (0..of.len()).filter(|n| of[*n].rpo_hit_pct() >= most - AS_GOOD);
    let harm = |n: usize| (of[n].harm_secs, of[n].backup_secs);
    good.min_by(|a, b| harm(*a).partial_cmp(&harm(*b)).unwrap_or(std::cmp::Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::FleetShape;
    use crate::simulation::Simulation;
    use crate::strategy::Strategy;

    #[test]
    fn recovery_points_go_first_then_harm() {
        let of = |in_time, harm_secs| Measures { due: 10_000, in_time, harm_secs, ..Measures::default() };
        assert_eq!(best(&[of(9_000, 0.0), of(9_999, 5.0), of(9_990, 4.0)]), Some(2));
        assert_eq!(best(&[]), None);
    }

    #[test]
    fn every_setting_has_a_name_of_its_own_and_backs_up() {
        let fleet = FleetShape { instances: 40, per_link: 20, ..FleetShape::default() }.generate();
        for baseline in baselines() {
            let mut names: Vec<_> = baseline.settings.iter().map(Strategy::name).collect();
            let (all, simulation) = (names.len(), Simulation::new(&fleet).days(2));
            for mut setting in baseline.settings {
                assert!(simulation.run(&mut setting).succeeded > 40, "{}", setting.name());
            }
            names.dedup();
            assert_eq!(names.len(), all);
        }
    }
}
