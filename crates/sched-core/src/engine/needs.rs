//! Requests with what must be set before they are accepted; several of them, all or none.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::SubmitError;
use crate::event::EventKind;
use crate::gate::Scope;
use crate::name::{GroupName, HostName, ResourceName};
use crate::resource::PlaceError;
use crate::spec::JobSpec;
use crate::terms::JobTerms;
use crate::time::Now;

use super::requests::Checked;
use super::{Engine, Submission};

/// What must be set before a request is accepted. What is set so already stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// How many jobs of a group may run at once.
    pub limits: Vec<(GroupName, u32)>,
    /// How much there is of a resource at a host.
    pub resources: Vec<(HostName, ResourceName, u64)>,
}

impl Needs {
    pub(super) fn limits_group(&self, name: &GroupName) -> bool {
        self.limits.iter().any(|(group, _)| group == name)
    }

    /// How much there will be of a resource at a host, if that is said here.
    pub(super) fn total(&self, at: &HostName, name: &ResourceName) -> Option<u64> {
        let mut resources = self.resources.iter();
        resources.find(|(host, resource, _)| host == at && resource == name).map(|(_, _, total)| *total)
    }

    pub(super) fn check(&self) -> Result<(), PlaceError> {
        for (group, _) in &self.limits {
            let place = Scope::Group(group.clone());
            place.check().map_err(|source| PlaceError::Name { place, source })?;
        }
        for (host, name, _) in &self.resources {
            let place = Scope::Host(host.clone());
            place.check().map_err(|source| PlaceError::Name { place, source })?;
            name.check().map_err(|source| PlaceError::Resource { name: name.clone(), source })?;
        }
        Ok(())
    }
}

impl Engine {
    /// [`submit`](Self::submit)s requests that belong together, such as one for each member of a cluster, and sets before
    /// what they need. Answers are in the same order.
    ///
    /// # Errors
    /// As [`submit`](Self::submit) when one of them cannot be accepted, and when two are for the same instance and kind.
    /// None was accepted then, and nothing has changed.
    pub fn submit_as_one(
        &mut self,
        now: Now,
        requests: Vec<(JobSpec, Arc<JobTerms>, Needs)>,
    ) -> Result<Vec<Submission>, SubmitError> {
        let now = self.observe(now);
        let mut checked = Vec::with_capacity(requests.len());
        let mut seen = BTreeSet::new();
        for (spec, terms, needs) in &requests {
            checked.push(self.check_request(spec, terms, needs)?);
            if requests.len() > 1 && !seen.insert((&spec.instance, spec.kind)) {
                return Err(SubmitError::Twice { instance: spec.instance.clone(), kind: spec.kind });
            }
        }
        let new = checked.iter().filter(|checked| matches!(checked, Checked::New(_))).count();
        let pending = self.counts.pending;
        if new > 0 && pending + new > self.config.max_pending {
            self.emit(None, EventKind::QueueFull { pending });
            return Err(SubmitError::QueueFull { pending });
        }
        let all = requests.into_iter().zip(checked);
        let accepted = all.map(|((spec, terms, needs), checked)| {
            self.provide(now, &needs);
            self.take_in(now, spec, terms, checked)
        });
        Ok(accepted.collect())
    }

    /// Sets what requests need; their names have been checked.
    pub(super) fn provide(&mut self, now: Now, needs: &Needs) {
        for (group, limit) in &needs.limits {
            let set = self.set_limit(now, &Scope::Group(group.clone()), Some(*limit));
            debug_assert!(set.is_ok(), "{set:?}");
        }
        for (host, name, total) in &needs.resources {
            let set = self.set_resource(now, &Scope::Host(host.clone()), name.clone(), *total);
            debug_assert!(set.is_ok(), "{set:?}");
        }
    }
}
