//! Which slots of what recurs were made, and whether that is right: [`check`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

/// A job that the scheduler made of a slot by itself.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) job: u64,
    pub(crate) instance: String,
    pub(crate) due: Timestamp,
}

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Twice(String, Timestamp, Vec<u64>),
    Never(String, Timestamp),
    /// Nothing was due then.
    NotDue(String, Timestamp, u64),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice(instance, due, jobs) => write!(f, "{instance} of {due} was made by jobs {jobs:?}"),
            Self::Never(instance, due) => write!(f, "{instance} of {due} was not made"),
            Self::NotDue(instance, due, job) => {
                write!(f, "{instance} was made for {due} by job {job}, and was not due")
            }
        }
    }
}

/// Every slot of every instance is made by one job. Whoever waits with each slot until all are made leaves nothing to
/// coalesce.
pub(crate) fn check(instances: &BTreeSet<String>, slots: &[Timestamp], made: &[Made]) -> Vec<Wrong> {
    let mut jobs = BTreeMap::<(&str, Timestamp), Vec<u64>>::new();
    for one in made {
        jobs.entry((&one.instance, one.due)).or_default().push(one.job);
    }
    let mut wrong = Vec::new();
    for instance in instances {
        for due in slots {
            match jobs.remove(&(instance.as_str(), *due)) {
                None => wrong.push(Wrong::Never(instance.clone(), *due)),
                Some(jobs) if jobs.len() > 1 => wrong.push(Wrong::Twice(instance.clone(), *due, jobs)),
                Some(_) => {}
            }
        }
    }
    let left = jobs.into_iter().flat_map(|((instance, due), jobs)| {
        jobs.into_iter().map(move |job| Wrong::NotDue(instance.to_owned(), due, job))
    });
    wrong.extend(left);
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: [&str; 2] = ["2026-01-05T00:30:00Z", "2026-01-05T01:00:00Z"];

    fn checked(made: &[(u64, &str, &str)]) -> Vec<Wrong> {
        let slots = SLOTS.map(|at| at.parse().unwrap());
        let made = made.iter().map(|(job, instance, due)| Made {
            job: *job,
            instance: (*instance).to_owned(),
            due: due.parse().unwrap(),
        });
        check(&["a", "b"].map(String::from).into(), &slots, &made.collect::<Vec<_>>())
    }

    #[test]
    fn a_slot_that_is_made_twice_or_not_at_all_is_told() {
        let [first, second] = SLOTS;
        let good = [(1, "a", first), (2, "b", first), (3, "a", second), (4, "b", second)];
        assert_eq!(checked(&good), []);
        assert_eq!(checked(&good[..3]), [Wrong::Never("b".into(), second.parse().unwrap())]);
        let twice = [&good[..], &[(5, "a", first)]].concat();
        assert_eq!(checked(&twice), [Wrong::Twice("a".into(), first.parse().unwrap(), vec![1, 5])]);
        let early = "2026-01-05T00:29:00Z";
        let not_due = [&good[..], &[(6, "b", early)]].concat();
        assert_eq!(checked(&not_due), [Wrong::NotDue("b".into(), early.parse().unwrap(), 6)]);
    }
}
