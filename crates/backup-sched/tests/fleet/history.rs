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
    /// Its lease was over at once, as when the server's clock jumps.
    Lapsed(i64),
    /// It could not reach the server for a while: what it has done may not be known there.
    CutOff(i64),
}

impl Fate {
    fn at(self) -> i64 {
        let (Self::Killed(at) | Self::Stopped(at) | Self::Lapsed(at) | Self::CutOff(at)) = self;
        at
    }
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

/// How a job stands in the store.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The last attempt.
    pub(crate) attempt: u32,
    pub(crate) succeeded: bool,
}

/// What happened to a fleet by the time that all has come to rest.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// In order of their beginnings.
    pub(crate) attempts: Vec<Attempt>,
    /// By process.
    pub(crate) fates: BTreeMap<u32, Vec<Fate>>,
    /// What requests led to, by ticket.
    pub(crate) asked: BTreeMap<u64, Option<u64>>,
    pub(crate) jobs: BTreeMap<u64, Job>,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    /// A request led to nothing, or to a job that was not done.
    Lost { ticket: u64 },
    /// Whoever the store has as the last one to do a job has not done it.
    NotDone { job: u64, attempt: u32 },
    /// A job was done under two fencing numbers, the first of which nothing had invalidated.
    Twice { job: u64, attempts: [u32; 2] },
    /// One fencing number was given to two attempts.
    OneNumber { job: u64, attempt: u32 },
    /// Two attempts of one instance ran at once, longer than the lease allows.
    AtOnce { instance: String, jobs: [u64; 2] },
    /// More ran at once than all together may, when the attempt of this job began.
    OverLimit { job: u64, running: u64 },
}

/// How long others wait, at most, before they take over.
fn longest() -> i64 {
    i64::try_from((LEASE + GRACE).as_millis()).unwrap()
}

/// How long they wait, at least, once whoever ran something stood still: its last sign of life may be two thirds of its lease
/// old by then, and no older.
fn shortest() -> i64 {
    i64::try_from((LEASE / 3 + GRACE).as_millis()).unwrap()
}

/// Reads what the executors wrote down.
pub(crate) fn read(file: &Path) -> Vec<Attempt> {
    // One process may give an attempt that another has given: that is told, and not hidden.
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
    attempts
}

impl History {
    /// # Panics
    /// When a promise was not kept.
    pub(crate) fn check(&self) {
        let breaches = self.breaches();
        assert!(breaches.is_empty(), "{breaches:#?}\n{self:#?}");
    }

    /// Promises that were not kept.
    pub(crate) fn breaches(&self) -> Vec<Breach> {
        let mut breaches = self.lost();
        breaches.extend(self.twice());
        breaches.extend(self.at_once());
        breaches
    }

    /// Each request led to a job, and each job was done by the attempt that the store knows.
    fn lost(&self) -> Vec<Breach> {
        let succeeded =
            |job: &Option<u64>| job.and_then(|job| self.jobs.get(&job)).is_some_and(|j| j.succeeded);
        let lost = self.asked.iter().filter(|(_, job)| !succeeded(job));
        let lost = lost.map(|(ticket, _)| Breach::Lost { ticket: *ticket });
        let done = |job: u64, attempt: u32| {
            self.attempts.iter().any(|one| (one.job, one.number, one.done) == (job, attempt, true))
        };
        let not_done = self.jobs.iter().filter(|(job, end)| end.succeeded && !done(**job, end.attempt));
        let not_done = not_done.map(|(job, end)| Breach::NotDone { job: *job, attempt: end.attempt });
        lost.chain(not_done).collect()
    }

    /// Of each job one attempt counts. Another one was done before only where its owner could not tell.
    fn twice(&self) -> Vec<Breach> {
        let mut breaches = Vec::new();
        let mut of_jobs: BTreeMap<u64, BTreeMap<u32, &Attempt>> = BTreeMap::new();
        for one in &self.attempts {
            let attempts = of_jobs.entry(one.job).or_default();
            if attempts.insert(one.number, one).is_some() {
                breaches.push(Breach::OneNumber { job: one.job, attempt: one.number });
            }
        }
        for (job, attempts) in of_jobs {
            let mut done = attempts.values().filter(|one| one.done);
            while let Some(first) = done.next() {
                if let Some(second) = done.clone().next()
                    && !self.was_cut(first)
                {
                    breaches.push(Breach::Twice { job, attempts: [first.number, second.number] });
                }
            }
        }
        breaches
    }

    /// Whether something was done to the process of an attempt while that ran, or so near that its end may not be known.
    fn was_cut(&self, attempt: &Attempt) -> bool {
        let to = attempt.to.unwrap_or(i64::MAX).saturating_add(longest());
        let mut fates = self.fates.get(&attempt.pid).into_iter().flatten();
        fates.any(|fate| (attempt.from - longest()..=to).contains(&fate.at()))
    }

    /// No two attempts of one instance at once beyond the lease's bound, and never more than the limit of all.
    fn at_once(&self) -> Vec<Breach> {
        let mut breaches = Vec::new();
        let spans: Vec<(i64, i64, &Attempt)> =
            self.attempts.iter().map(|attempt| (attempt.from, self.counts_until(attempt), attempt)).collect();
        for (at, (from, to, one)) in spans.iter().enumerate() {
            let mut later = spans[at + 1..].iter().filter(|(other, ..)| other < to);
            if let Some((.., other)) = later.find(|(.., other)| other.instance == one.instance) {
                breaches.push(Breach::AtOnce { instance: one.instance.clone(), jobs: [one.job, other.job] });
            }
            // Whoever runs when this one begins.
            let beside = spans[..at].iter().filter(|(_, end, _)| end > from).count() as u64;
            if beside >= SLOTS_OF_ALL {
                breaches.push(Breach::OverLimit { job: one.job, running: beside + 1 });
            }
        }
        breaches
    }

    /// Until when an attempt counts: to its end; where its process was killed, to that; where it was stopped, as long
    /// as others are certain to wait before they take over.
    fn counts_until(&self, attempt: &Attempt) -> i64 {
        let fates = self.fates.get(&attempt.pid).into_iter().flatten();
        let cut = fates.filter_map(|fate| match fate {
            Fate::Killed(at) => Some(*at),
            Fate::Stopped(at) => (*at >= attempt.from).then_some(at + shortest()),
            // Others may have taken over before it heard of that: until then two may run.
            Fate::Lapsed(at) => (*at + longest() >= attempt.from).then_some(attempt.from.max(*at)),
            Fate::CutOff(_) => None,
        });
        cut.chain(attempt.to).min().unwrap_or(i64::MAX).max(attempt.from)
    }
}

/// The longest time from a kill to the first attempt at all that another made of what the killed one had.
pub(crate) fn taken_over_after(attempts: &[Attempt], pid: u32, killed: i64) -> Option<Duration> {
    let cut: Vec<&Attempt> = attempts.iter().filter(|a| a.pid == pid && a.to.is_none()).collect();
    let again = attempts.iter().filter(|a| a.pid != pid && a.from > killed);
    let again = again.filter(|a| cut.iter().any(|cut| cut.job == a.job));
    again.map(|a| Duration::from_millis((a.from - killed).unsigned_abs())).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(pid: u32, job: u64, number: u32, from: i64, to: Option<i64>) -> Attempt {
        let instance = format!("db-{job}");
        Attempt { pid, job, number, instance, from, to, done: to.is_some() }
    }

    /// Two processes, one of which was killed at 1,500 in the middle of job 2.
    fn honest() -> History {
        let attempts = vec![
            attempt(1, 1, 1, 1_000, Some(1_300)),
            attempt(2, 2, 1, 1_200, None),
            attempt(1, 3, 1, 1_400, Some(1_700)),
            attempt(1, 2, 2, 6_000, Some(6_300)),
        ];
        let job = |attempt| Job { attempt, succeeded: true };
        History {
            attempts,
            fates: [(2, vec![Fate::Killed(1_500)])].into(),
            asked: [(101, Some(1)), (102, Some(2)), (103, Some(3)), (104, Some(3))].into(),
            jobs: [(1, job(1)), (2, job(2)), (3, job(1))].into(),
        }
    }

    /// What is told of an honest history to which something was done.
    fn told(spoil: impl FnOnce(&mut History)) -> Vec<Breach> {
        let mut history = honest();
        spoil(&mut history);
        history.attempts.sort_by_key(|attempt| attempt.from);
        history.breaches()
    }

    #[test]
    fn an_honest_history_is_believed() {
        assert_eq!(told(|_| {}), []);
        // It had done the job, and was killed before it could say so.
        let untold = |history: &mut History| {
            (history.attempts[1].to, history.attempts[1].done) = (Some(1_450), true);
        };
        assert_eq!(told(untold), []);
    }

    #[test]
    fn a_lost_job_is_told() {
        assert_eq!(told(|history| _ = history.asked.insert(105, None)), [Breach::Lost { ticket: 105 }]);
        let gone = |history: &mut History| _ = history.jobs.remove(&1);
        assert_eq!(told(gone), [Breach::Lost { ticket: 101 }]);
        let failed = |history: &mut History| history.jobs.get_mut(&2).unwrap().succeeded = false;
        assert_eq!(told(failed), [Breach::Lost { ticket: 102 }]);
        // The store says that it was done, and nobody did it.
        let claimed = |history: &mut History| _ = history.attempts.pop();
        assert_eq!(told(claimed), [Breach::NotDone { job: 2, attempt: 2 }]);
    }

    #[test]
    fn a_job_that_two_complete_is_told() {
        let again = |history: &mut History| {
            history.attempts.push(attempt(2, 1, 2, 1_350, Some(1_380)));
            history.jobs.get_mut(&1).unwrap().attempt = 2;
        };
        assert_eq!(told(again), [Breach::Twice { job: 1, attempts: [1, 2] }]);
        let same = |history: &mut History| history.attempts.push(attempt(3, 1, 1, 1_350, Some(1_380)));
        assert_eq!(told(same), [Breach::OneNumber { job: 1, attempt: 1 }]);
    }

    #[test]
    fn two_attempts_of_an_instance_at_once_are_told_beyond_the_bound_of_the_lease() {
        let beside = |history: &mut History| {
            history
                .attempts
                .push(Attempt { instance: "db-1".into(), ..attempt(3, 4, 1, 1_250, Some(1_280)) });
        };
        let at_once = |jobs: [u64; 2]| Breach::AtOnce { instance: format!("db-{}", jobs[0]), jobs };
        assert_eq!(told(beside), [at_once([1, 4])]);
        // One that only stood still may have run on until its lease and the grace were over, and no longer.
        let stopped = |from| {
            told(|history| {
                history.fates = [(2, vec![Fate::Stopped(1_500)])].into();
                history.attempts[3].from = from;
            })
        };
        assert_eq!(stopped(1_499 + shortest()), [at_once([2, 2])]);
        assert_eq!(stopped(1_500 + shortest()), []);
    }

    #[test]
    fn more_at_once_than_all_may_is_told() {
        let many = |more: u64| {
            told(|history| {
                // Two run then.
                history.attempts.extend((0..more).map(|n| attempt(3, 10 + n, 1, 1_450, Some(1_460))));
            })
        };
        assert_eq!(many(SLOTS_OF_ALL - 2), []);
        let over = Breach::OverLimit { job: 9 + SLOTS_OF_ALL - 1, running: SLOTS_OF_ALL + 1 };
        assert_eq!(many(SLOTS_OF_ALL - 1), [over]);
    }
}
