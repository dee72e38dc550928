//! What happened, and whether it may: [`History`].

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::child::{GRACE, LEASE, SLOTS_OF_ALL};

/// What was done to a process, in Unix milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Killed(i64),
    /// It stood still from then on for longer than its lease.
    Stopped(i64),
}

/// An attempt as the executors wrote it down.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) pid: u32,
    pub(crate) job: u64,
    pub(crate) number: u32,
    pub(crate) instance: String,
    pub(crate) from: i64,
    pub(crate) to: Option<i64>,
    pub(crate) done: bool,
}

#[derive(Debug, Default)]
pub(crate) struct History(pub(crate) Vec<Attempt>);

impl History {
    pub(crate) fn read(file: &Path) -> Self {
        let mut attempts: BTreeMap<(u32, u64, u32), Attempt> = BTreeMap::new();
        for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [at, what, pid, job, number, instance] = fields[..] else { panic!("{line:?}") };
            let (at, pid, job, number) =
                (at.parse().unwrap(), pid.parse().unwrap(), job.parse().unwrap(), number.parse().unwrap());
            let instance = instance.to_owned();
            let new = Attempt { pid, job, number, instance, from: at, to: None, done: false };
            let attempt = attempts.entry((pid, job, number)).or_insert(new);
            if what != "begins" {
                (attempt.to, attempt.done) = (Some(at), what == "done");
            }
        }
        let mut attempts: Vec<_> = attempts.into_values().collect();
        attempts.sort_by_key(|attempt| attempt.from);
        Self(attempts)
    }

    /// Until when each attempt counts: to its end; where its process was killed, to that; where it was stopped, no longer
    /// than others wait before they take over.
    fn spans(&self, fates: &BTreeMap<u32, Vec<Fate>>) -> Vec<(i64, i64, &Attempt)> {
        let bound = i64::try_from((LEASE + GRACE).as_millis()).unwrap();
        let until = |attempt: &Attempt| {
            let fates = fates.get(&attempt.pid).into_iter().flatten();
            let cut = fates.filter_map(|fate| match fate {
                Fate::Killed(at) => Some(*at),
                Fate::Stopped(at) => (*at >= attempt.from).then_some(at + bound),
            });
            cut.chain(attempt.to).min().unwrap_or(i64::MAX).max(attempt.from)
        };
        self.0.iter().map(|attempt| (attempt.from, until(attempt), attempt)).collect()
    }

    /// No two attempts of one instance at once beyond the lease's bound, and never more than the limit of all.
    pub(crate) fn check(&self, fates: &BTreeMap<u32, Vec<Fate>>) {
        let spans = self.spans(fates);
        for (at, (from, to, one)) in spans.iter().enumerate() {
            let mut later = spans[at + 1..].iter().filter(|(other, ..)| other < to);
            let other = later.find(|(_, _, other)| other.instance == one.instance);
            assert!(other.is_none(), "two attempts of one instance at once:\n{one:?}\n{other:?}\n{fates:?}");
            // Whoever runs when this one begins.
            let beside = spans[..at].iter().filter(|(_, end, _)| end > from).count() as u64;
            assert!(beside < SLOTS_OF_ALL, "{} attempts at once at {from}: {one:?}\n{fates:?}", beside + 1);
        }
        let mut numbers: BTreeMap<(u64, u32), &Attempt> = BTreeMap::new();
        for attempt in &self.0 {
            let before = numbers.insert((attempt.job, attempt.number), attempt);
            assert!(before.is_none(), "one fencing number for two attempts: {before:?} and {attempt:?}");
        }
    }

    /// The longest time from a kill to the first attempt at all that another made of what the killed one had.
    pub(crate) fn taken_over_after(&self, pid: u32, killed: i64) -> Option<Duration> {
        let cut: Vec<&Attempt> = self.0.iter().filter(|a| a.pid == pid && a.to.is_none()).collect();
        let again = self.0.iter().filter(|a| a.pid != pid && a.from > killed);
        let again = again.filter(|a| cut.iter().any(|cut| cut.job == a.job));
        again.map(|a| Duration::from_millis((a.from - killed).unsigned_abs())).min()
    }
}
