//! What detectors said last, and whether they still answer. Pure.

use std::time::Duration;

use sched_core::{EventKind, LoadState, MonoTime, Reason, Scope, SignalName, TechnologyName};
use sched_limits::LOST_AFTER_PERIODS;

use super::loads::{Subject, calm};
use super::signals::Directive;

/// What a detector was registered with.
pub(crate) struct DetectorTerms {
    pub(crate) name: SignalName,
    pub(crate) scope: Scope,
    pub(crate) period: Duration,
    pub(crate) latency_target: Option<Duration>,
    pub(crate) healthy_latency: Option<Duration>,
}

impl DetectorTerms {
    pub(super) fn lost_after(&self) -> Duration {
        self.period.saturating_mul(LOST_AFTER_PERIODS)
    }
}

pub(super) struct Detector {
    pub(super) terms: DetectorTerms,
    /// When it last gave a usable answer, at first when it was started.
    last: MonoTime,
    lost: bool,
    /// The technologies of which it said how they feel it.
    technologies: Vec<TechnologyName>,
}

impl Detector {
    pub(super) fn new(now: MonoTime, terms: DetectorTerms) -> Self {
        Self { terms, last: now, lost: false, technologies: Vec::new() }
    }

    /// When it is lost unless it answers.
    pub(super) fn next_look(&self) -> Option<MonoTime> {
        (!self.lost).then(|| self.last + self.terms.lost_after())
    }

    /// A usable answer; returns that the signal is back if it was lost.
    pub(super) fn heard(&mut self, now: MonoTime) -> Option<Directive> {
        self.last = now;
        let back = std::mem::take(&mut self.lost);
        back.then(|| Directive::Note(EventKind::SignalBack { signal: self.terms.name.clone() }))
    }

    /// No usable answer. What it said before holds for a while, then is [unknown](Self::unknown): neither calm nor busy.
    pub(super) fn miss(&mut self, now: MonoTime, reason: impl FnOnce() -> Reason) -> Option<Directive> {
        if self.lost || now.since(self.last) < self.terms.lost_after() {
            return None;
        }
        self.lost = true;
        let (signal, reason) = (self.terms.name.clone(), reason());
        Some(Directive::Note(EventKind::SignalLost { signal, reason }))
    }

    /// What it says of its scope, for all and as single technologies feel it, and whom it does not speak of any more.
    pub(super) fn say(
        &mut self,
        state: LoadState,
        technologies: Vec<(TechnologyName, LoadState)>,
    ) -> Vec<(Subject, LoadState)> {
        let names = technologies.iter().map(|(name, _)| name.clone()).collect();
        let mut gone = std::mem::replace(&mut self.technologies, names);
        gone.retain(|name| !self.technologies.contains(name));
        let gone = gone.into_iter().map(|name| (Some(name), calm("nobody tells it any more")));
        let felt = technologies.into_iter().map(|(name, state)| (Some(name), state));
        let said = std::iter::once((None, state)).chain(gone).chain(felt);
        said.map(|(technology, state)| ((self.terms.scope.clone(), technology), state)).collect()
    }

    /// Nobody knows how busy its scope is.
    pub(super) fn unknown(&mut self) -> Vec<(Subject, LoadState)> {
        self.say(calm("unknown: the signal is lost"), Vec::new())
    }
}
