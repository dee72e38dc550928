//! What a strategy did to the fleet: [`Measures`].

mod bound;
mod late;
mod ledger;

use serde::{Deserialize, Serialize};

use crate::fleet::{Fleet, Part};

pub use self::bound::lowest_peaks;
pub use self::late::{Cause, Late};
pub(crate) use self::ledger::{Ledger, Stretch, first_point};

/// Hours in a week.
pub const HOURS: usize = 168;
/// How many of the worst are kept.
pub(crate) const MOST_LATE: usize = 100;

/// What a strategy did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Measures {
    /// Backups that succeeded.
    pub succeeded: u64,
    /// Attempts that did not.
    pub failed: u64,
    /// Of these, how many were stopped since their time-out had passed.
    pub timed_out: u64,
    /// Time that attempts ran, in seconds.
    pub backup_secs: f64,
    /// Time in which an instance's p99 was more than 1.2 times what it would have been without its backup, in seconds.
    pub harm_secs: f64,
    /// Foreground load while backups ran, mean over their time.
    pub load_while_running: f64,
    /// Time that successful backups ran in low-load moments, in seconds. A moment is of low load when the host is within 10 points of the quietest of its week.
    pub low_load_secs: f64,
    /// What it could have been at most: for each of these backups the low-load time between the former recovery point
    /// and the moment it fell due, or the time that it ran where that is less.
    pub low_load_possible_secs: f64,
    /// Recovery points that fell due.
    pub due: u64,
    /// Of these, how many were replaced in time.
    pub in_time: u64,
    /// By how much the others were late, all together, in seconds.
    pub late_secs: f64,
    /// By how much the latest was late, in seconds: how long anybody starved.
    pub longest_late_secs: f64,
    /// The worst recovery points by what they lacked in parts of their RPO, the worst first, one an instance; at most a
    /// hundred. Where few were late they are those that were hardly in time.
    pub worst: Vec<Late>,
    /// Slack that was left when a backup was done in time, in parts of the RPO: counts of tenths from 0 to 1.
    pub slack_tenths: [u64; 10],
    /// Backups that started more than a minute after they had been asked for.
    pub deferred: u64,
    /// The longest time from asking to the first start, in seconds.
    pub longest_wait_secs: f64,
    /// Backups that started although a window, a plan or the load would have had them wait, since their time was up.
    pub overridden: u64,
    /// When every instance had been backed up for the first time, in seconds from the beginning; `None` when one never
    /// was. Those that were dropped, or created, too late for a backup to fall due do not count.
    pub makespan_secs: Option<f64>,
    /// How the technologies fared.
    pub technologies: Vec<TechnologyMeasures>,
    /// Bytes moved, by link and hour.
    pub link_hours: Vec<Vec<f64>>,
}

/// How the instances of a technology fared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TechnologyMeasures {
    /// Its name.
    pub name: String,
    /// Recovery points that fell due.
    pub due: u64,
    /// Of these, how many were replaced in time.
    pub in_time: u64,
    /// Slack that was left, in parts of the RPO: the mean, where one that was late left none.
    pub slack: f64,
}

impl Measures {
    /// Recovery points that were replaced in time, in percent.
    pub fn rpo_hit_pct(&self) -> f64 {
        percent(self.in_time, self.due)
    }

    /// Backup time in low-load moments over the best possible, from 0 to 1.
    pub fn low_load_share(&self) -> f64 {
        if self.low_load_possible_secs > 0.0 { self.low_load_secs / self.low_load_possible_secs } else { 1.0 }
    }

    /// How evenly slack was shared between technologies: Jain's index of their mean slack, from 1/n to 1 (Jain, Chiu
    /// and Hawe, 1984).
    pub fn fairness(&self) -> f64 {
        let slack = || self.technologies.iter().filter(|of| of.due > 0).map(|of| of.slack);
        let (sum, squares) = (slack().sum::<f64>(), slack().map(|x| x * x).sum::<f64>());
        if squares > 0.0 { sum * sum / (slack().count() as f64 * squares) } else { 1.0 }
    }

    /// Bytes moved.
    pub fn bytes(&self) -> f64 {
        self.link_hours.iter().flatten().sum()
    }

    /// The busiest hour of a link over its mean hour: the median and the worst over the links.
    pub fn peak_to_mean(&self) -> (f64, f64) {
        let ratio = |hours: &Vec<f64>| {
            let mean = hours.iter().sum::<f64>() / hours.len().max(1) as f64;
            if mean > 0.0 { peak(hours) / mean } else { 1.0 }
        };
        median_and_worst(self.link_hours.iter().map(ratio).collect())
    }

    /// The busiest hour of a link over the lowest peak that RPOs and windows allow there, as [`lowest_peaks`] has them:
    /// the median and the worst over the links on which something must run. Who misses recovery points can be below 1.
    pub fn peak_over(&self, lowest: &[f64]) -> (f64, f64) {
        let links = self.link_hours.iter().zip(lowest).filter(|(_, lowest)| **lowest > 0.0);
        median_and_worst(links.map(|(hours, lowest)| peak(hours) / lowest).collect())
    }
}

impl Measures {
    /// Nothing was done yet on a fleet's links for so many hours.
    pub(crate) fn new(fleet: &Fleet, hours: usize) -> Self {
        let link_hours = vec![vec![0.0; hours.max(1)]; fleet.links.len()];
        Self { link_hours, makespan_secs: Some(0.0), ..Self::default() }
    }

    /// What was done on a part of the fleet.
    pub(crate) fn add(&mut self, part: &Part, of: Self) {
        let secs = self.backup_secs + of.backup_secs;
        if secs > 0.0 {
            let load_secs =
                self.load_while_running * self.backup_secs + of.load_while_running * of.backup_secs;
            self.load_while_running = load_secs / secs;
        }
        self.backup_secs = secs;
        self.harm_secs += of.harm_secs;
        self.low_load_secs += of.low_load_secs;
        self.low_load_possible_secs += of.low_load_possible_secs;
        self.succeeded += of.succeeded;
        self.failed += of.failed;
        self.timed_out += of.timed_out;
        self.due += of.due;
        self.in_time += of.in_time;
        self.late_secs += of.late_secs;
        self.longest_late_secs = self.longest_late_secs.max(of.longest_late_secs);
        self.deferred += of.deferred;
        self.longest_wait_secs = self.longest_wait_secs.max(of.longest_wait_secs);
        self.overridden += of.overridden;
        self.makespan_secs = self.makespan_secs.zip(of.makespan_secs).map(|(a, b)| a.max(b));
        self.slack_tenths.iter_mut().zip(of.slack_tenths).for_each(|(all, part)| *all += part);
        for technology in of.technologies {
            self.add_technology(technology);
        }
        let late = of.worst.into_iter();
        self.worst.extend(late.map(|late| Late { instance: part.instances[late.instance as usize], ..late }));
        self.keep_worst();
        for hours in of.link_hours {
            self.link_hours[part.link as usize] = hours;
        }
    }

    fn add_technology(&mut self, of: TechnologyMeasures) {
        let Some(known) = self.technologies.iter_mut().find(|known| known.name == of.name) else {
            return self.technologies.push(of);
        };
        let slack = known.slack * known.due as f64 + of.slack * of.due as f64;
        known.due += of.due;
        known.in_time += of.in_time;
        known.slack = if known.due > 0 { slack / known.due as f64 } else { 0.0 };
    }

    /// One an instance, those that lacked most of their RPO first.
    fn keep_worst(&mut self) {
        let worst = &mut self.worst;
        worst.sort_by(|a, b| a.instance.cmp(&b.instance).then(b.by_rpos.total_cmp(&a.by_rpos)));
        worst.dedup_by_key(|late| late.instance);
        worst.sort_by(|a, b| b.by_rpos.total_cmp(&a.by_rpos).then(a.instance.cmp(&b.instance)));
        worst.truncate(MOST_LATE);
    }
}

fn peak(hours: &[f64]) -> f64 {
    hours.iter().copied().fold(0.0, f64::max)
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}

fn median_and_worst(mut ratios: Vec<f64>) -> (f64, f64) {
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).copied().unwrap_or(1.0);
    (median, ratios.last().copied().unwrap_or(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_slack(slack: &[f64]) -> Measures {
        let of = |slack: &f64| TechnologyMeasures { due: 1, slack: *slack, ..TechnologyMeasures::default() };
        Measures { technologies: slack.iter().map(of).collect(), ..Measures::default() }
    }

    #[test]
    fn who_takes_all_slack_from_the_others_is_unfair() {
        assert_eq!(with_slack(&[0.4, 0.4, 0.4]).fairness(), 1.0);
        assert_eq!(with_slack(&[0.4, 0.0, 0.0, 0.0]).fairness(), 0.25);
        assert_eq!(with_slack(&[]).fairness(), 1.0);
    }

    #[test]
    fn peaks_are_held_against_mean_and_bound() {
        let measures = Measures { link_hours: vec![vec![1.0, 3.0], vec![2.0, 2.0]], ..Measures::default() };
        assert_eq!(measures.peak_to_mean(), (1.5, 1.5));
        assert_eq!(measures.peak_over(&[2.0, 0.0]), (1.5, 1.5));
    }
}
