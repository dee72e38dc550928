//! Terms as the engine keeps them: shared by all jobs that were given the same.

use std::ops::Deref;
use std::sync::Arc;

use crate::spec::Priority;
use crate::terms::{JobTerms, WindowEnd};

use super::index::{DomainIx, SensitivityIx};

/// The terms of jobs, with what they name found once.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) given: Arc<JobTerms>,
    /// The domain of their calendar; none when they may run at any time.
    pub(super) calendar: DomainIx,
    /// What they are sensitive to; none when to nothing.
    pub(super) sensitivity: SensitivityIx,
    /// Their class is not that of the first request's policy: an operator or a joined request chose it.
    pub(super) own_class: bool,
}

impl Terms {
    /// Changes the class of one job alone.
    pub(super) fn set_class(this: &mut Arc<Self>, class: Priority) {
        let terms = Arc::make_mut(this);
        terms.own_class = true;
        if terms.given.priority != class {
            Arc::make_mut(&mut terms.given).priority = class;
        }
    }

    /// What becomes of an attempt at the end of its window: who is to pause and may not finishes.
    pub(super) fn at_window_end(&self) -> WindowEnd {
        match self.window_end {
            WindowEnd::Pause if !self.pausable => WindowEnd::Finish,
            end => end,
        }
    }
}

impl Deref for Terms {
    type Target = JobTerms;

    fn deref(&self) -> &JobTerms {
        &self.given
    }
}
