//! The end of the scheduler, which comes within its time whatever executors and hooks do.

use std::time::Duration;

use sched_core::{AttemptEnd, Clock, MonoTime, Reason, RunError};

use super::{Dispatcher, Parts};
use crate::clock::SystemClock;
use crate::runtime::Reply;
use crate::status::ShutdownReport;

/// How long cancelled attempts may take to stop at shutdown before they are left behind.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How long hooks may take at shutdown to deal with the events that are left.
const HOOKS_WITHIN: Duration = Duration::from_secs(2);

pub(super) struct Closing {
    replies: Vec<Reply<ShutdownReport>>,
    pub(super) report: ShutdownReport,
    step: ClosingStep,
    /// On the real clock, whatever clock the scheduler runs on: shutting down never hangs.
    pub(super) until: MonoTime,
}

#[derive(PartialEq)]
enum ClosingStep {
    Draining,
    Cancelling,
}

impl Dispatcher {
    /// Nobody waits for the report where there is no `reply`.
    pub(super) fn close(&mut self, grace: Duration, reply: Option<Reply<ShutdownReport>>) {
        let now = self.parts.clock.now();
        let until = SystemClock.now().mono + grace;
        match &mut self.closing {
            Some(closing) => {
                closing.replies.extend(reply);
                closing.until = closing.until.min(until);
            }
            None => {
                let report = ShutdownReport::default();
                let step = ClosingStep::Draining;
                self.closing = Some(Closing { replies: reply.into_iter().collect(), report, step, until });
            }
        }
        match self.keeping {
            Some(_) => {
                let reason = Reason::new(
                    "the scheduler is shutting down; the next one goes on with what was submitted",
                );
                self.parts.engine.close_and_keep(now, &reason);
            }
            None => self.parts.engine.close(now, &Reason::new("the scheduler is shutting down")),
        }
    }

    pub(super) fn step_closing(&mut self) {
        let Some(closing) = &mut self.closing else { return };
        if SystemClock.now().mono < closing.until {
            return;
        }
        let now = self.parts.clock.now();
        let attempts: Vec<_> = self.parts.engine.active_attempts().collect();
        if closing.step == ClosingStep::Draining {
            closing.step = ClosingStep::Cancelling;
            closing.until = SystemClock.now().mono + STOP_WITHIN;
            for attempt in attempts {
                let reason = Reason::new("still running when the grace of the shutdown was over");
                let _ = match self.keeping {
                    Some(_) => self.parts.engine.interrupt(now, attempt.job, reason, None).map(drop),
                    None => self.parts.engine.cancel(now, attempt.job, reason).map(drop),
                };
            }
        } else {
            for attempt in attempts {
                closing.report.abandoned.push(attempt.job);
                let text = "did not stop when cancelled at shutdown; its thread was left behind";
                let result = Err(RunError::Permanent(text.into()));
                self.parts.engine.ended(now, attempt, AttemptEnd::new(0, result));
            }
        }
        self.carry_out_all();
    }

    pub(super) fn closed(&self) -> bool {
        let engine = &self.parts.engine;
        self.closing.is_some() && engine.active_count() == 0 && engine.pending_count() == 0
    }

    pub(super) fn finish(mut self) {
        let all_kept = self.stop_keeping();
        let abandoned = self.closing.as_ref().is_some_and(|closing| !closing.report.abandoned.is_empty());
        self.stop_sharing(all_kept && !abandoned);
        let Parts { samplers, sink, hooks, .. } = self.parts;
        drop((samplers, sink));
        hooks.stop(HOOKS_WITHIN);
        if let Some(mut closing) = self.closing.take() {
            closing.report.store_behind = !all_kept;
            for reply in closing.replies {
                drop(reply.send(closing.report.clone()));
            }
        }
    }
}
