//! What requests are resolved by: the policies in force, and who makes backups.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use sched_core::{Executor, JobSpec, JobTerms, Needs, TechnologyName};
use sched_policy::{Policies, PolicyError};

use crate::builder::Executors;
use crate::error::SubmitError;
use crate::runtime::ROOM;

/// Terms that were handed out last; so many does an engine remember.
const HANDED_OUT: usize = 16;

/// The policies in force. They are exchanged as a whole, on the dispatcher, so that no request which was resolved by former
/// ones is accepted after those that took their place.
pub(crate) type Shared = Arc<RwLock<Arc<Current>>>;

pub(crate) struct Current {
    /// Counts the exchanges.
    pub(crate) epoch: u64,
    pub(crate) policies: Policies,
    /// By the names that the policies use, so that `postgres` and `postgresql` are one.
    executors: Executors,
    /// Whether every job takes one of the room that is measured.
    takes_room: bool,
    handed_out: Mutex<VecDeque<Arc<JobTerms>>>,
}

/// A request with all that the policies say of it.
#[derive(Debug, PartialEq)]
pub(crate) struct Resolved {
    pub(crate) spec: JobSpec,
    /// One and the same for requests that come to the same.
    pub(crate) terms: Arc<JobTerms>,
    pub(crate) needs: Needs,
    /// What was asked for; `None` if that was no more than instance, technology and kind.
    pub(crate) asked: Option<Box<JobSpec>>,
}

impl Current {
    /// # Errors
    /// When an executor's technology is unknown.
    pub(crate) fn new(
        epoch: u64,
        policies: Policies,
        executors: &Executors,
        takes_room: bool,
    ) -> Result<Self, PolicyError> {
        let canonical = executors.iter().map(|(name, executor)| {
            let name = policies.canonical_name(name)?;
            Ok((name, executor.clone()))
        });
        let executors = canonical.collect::<Result<_, PolicyError>>()?;
        Ok(Self { epoch, policies, executors, takes_room, handed_out: Mutex::default() })
    }

    /// These with other policies: the next epoch.
    ///
    /// # Errors
    /// When an executor's technology is unknown there.
    pub(crate) fn followed_by(&self, policies: Policies) -> Result<Self, PolicyError> {
        Self::new(self.epoch + 1, policies, &self.executors, self.takes_room)
    }

    /// What a request comes to. With `once` a failure ends the job: who makes the backup decides what happens then.
    pub(crate) fn resolve(&self, mut asked: JobSpec, once: bool) -> Result<Vec<Resolved>, SubmitError> {
        asked.check().map_err(sched_core::SubmitError::from)?;
        asked.technology = self.policies.canonical_name(&asked.technology)?;
        let is_plain = asked == JobSpec::new(&asked.instance, &asked.technology).kind(asked.kind);
        let kept = (!is_plain).then(|| asked.clone());
        let resolved = self.policies.requests(asked)?.into_iter().map(|request| {
            let mut terms = request.terms;
            if let Some((name, _)) = terms.demand.iter().find(|(name, _)| name.as_str() == ROOM) {
                return Err(SubmitError::Reserved { name: name.clone() });
            }
            if self.takes_room {
                terms.demand.add(ROOM, 1);
            }
            if once {
                terms.retry.max_attempts = 1;
            }
            let asked = kept.clone().map(|mut asked| {
                asked.instance.clone_from(&request.spec.instance);
                Box::new(asked)
            });
            let needs = Needs { limits: request.limits, resources: request.host_limits };
            Ok(Resolved { spec: request.spec, terms: self.shared(terms), needs, asked })
        });
        resolved.collect()
    }

    /// Terms that engine and store find again without looking into them, if the like were handed out lately.
    fn shared(&self, terms: JobTerms) -> Arc<JobTerms> {
        let mut handed_out = self.handed_out.lock();
        if let Some(same) = handed_out.iter().find(|other| ***other == terms) {
            return same.clone();
        }
        if handed_out.len() == HANDED_OUT {
            handed_out.pop_front();
        }
        let terms = Arc::new(terms);
        handed_out.push_back(terms.clone());
        terms
    }

    /// [`resolve`](Self::resolve) for a request that is to be one job.
    pub(crate) fn resolve_one(&self, asked: JobSpec, once: bool) -> Result<Resolved, SubmitError> {
        let instance = asked.instance.clone();
        let mut resolved = self.resolve(asked, once)?;
        match (resolved.pop(), resolved.len()) {
            (Some(one), 0) => Ok(one),
            (_, others) => Err(SubmitError::SeveralJobs { instance, jobs: others + 1 }),
        }
    }

    pub(crate) fn executor(&self, technology: &TechnologyName) -> Result<Arc<dyn Executor>, SubmitError> {
        self.executors.get(technology).cloned().ok_or_else(|| {
            let registered: Vec<_> = self.executors.keys().map(TechnologyName::as_str).collect();
            let registered = if registered.is_empty() { "none".to_owned() } else { registered.join(", ") };
            SubmitError::NoExecutor { technology: technology.clone(), registered }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_come_to_the_same_have_the_same_terms() {
        let current = Current::new(0, Policies::builtin(), &Executors::default(), false).unwrap();
        let terms = |name: &str, hours| {
            let spec = JobSpec::new(name, "sqlite").rpo(std::time::Duration::from_secs(3600 * hours));
            current.resolve_one(spec, false).unwrap().terms
        };
        let first = terms("a", 1);
        assert!(Arc::ptr_eq(&first, &terms("b", 1)));
        assert_ne!(first, terms("a", 2));
        // Many others are handed out: it is forgotten, and nothing grows.
        (3..3 + HANDED_OUT as u64).for_each(|hours| drop(terms("a", hours)));
        assert!(!Arc::ptr_eq(&first, &terms("a", 1)));
        assert_eq!(current.handed_out.lock().len(), HANDED_OUT);
    }
}
