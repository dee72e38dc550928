//! Kinds of backups of one instance that are not made beside each other.
//!
//! That an instance is alone with its limits is the rule, so these are kept without a domain for each: a job looks for
//! attempts at the few other targets of its instance, and waits for the one that it finds.

use crate::time::Now;

use super::Engine;
use super::index::JobIx;
use super::job::Job;
use super::marks::Mark;

impl Engine {
    /// A job whose attempt makes another kind of backup of the instance, beside which this one does not start. Advice
    /// keeps nobody apart.
    pub(super) fn kept_apart(&self, job: &Job) -> Option<JobIx> {
        if job.terms.apart.is_empty() || self.config.advise_only {
            return None;
        }
        let target = &self.targets[job.target.at()];
        let others = job.terms.apart.without(target.kind).iter();
        let begun = |kind| self.targets[self.find_target(&target.instance, kind)?.at()].begun.some();
        others.filter_map(begun).find(|other| !self.jobs[other.at()].active.is_none())
    }

    /// Takes note that a job waits for the end of an attempt of another kind.
    pub(super) fn wait_apart(&mut self, ix: JobIx, other: JobIx) {
        if self.jobs[ix.at()].target != self.jobs[other.at()].target {
            self.apart.entry(other).or_default().insert(ix);
        }
    }

    /// An attempt has ended: those of other kinds that waited for that look anew.
    pub(super) fn let_apart_go(&mut self, now: Now, ix: JobIx) {
        for waiting in self.apart.remove(&ix).unwrap_or_default() {
            let job = self.jobs.get(waiting.at());
            // Some may have gone, and others have their places; whoever waits for an overlap may look again.
            if job.is_some_and(|job| job.state.is_waiting() && job.marks.has(Mark::WaitsForOverlap)) {
                self.reenter(now, waiting);
            }
        }
    }
}
