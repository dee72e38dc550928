//! By what the load is told apart that jobs feel: their technology, and what they are sensitive to.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::name::SensitivityName;

use super::index::{DomainIx, SensitivityIx};

/// As whom a job feels the load of a domain, beside what is said for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Feels {
    pub(super) technology: DomainIx,
    pub(super) sensitivity: SensitivityIx,
}

impl Feels {
    /// What is said for all, and nothing else.
    pub(super) const AS_ALL: Self = Self { technology: DomainIx::NONE, sensitivity: SensitivityIx::NONE };
}

/// For whom a load was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FeltBy {
    Technology(DomainIx),
    Sensitivity(SensitivityIx),
}

/// The sensitivities that jobs have, or of which a load was said.
#[derive(Clone, Debug, Default)]
pub(super) struct Sensitivities {
    names: Vec<SensitivityName>,
    index: HashMap<SensitivityName, SensitivityIx, FixedState>,
}

impl Sensitivities {
    /// The index of a name, made when it is new; none for one that cannot be used.
    pub(super) fn find_or_make(&mut self, name: &SensitivityName) -> SensitivityIx {
        if let Some(found) = self.index.get(name) {
            return *found;
        }
        if name.check().is_err() {
            return SensitivityIx::NONE;
        }
        let ix = SensitivityIx::new(self.names.len());
        self.names.push(name.clone());
        self.index.insert(name.clone(), ix);
        ix
    }

    pub(super) fn name(&self, ix: SensitivityIx) -> &SensitivityName {
        &self.names[ix.at()]
    }
}
