//! One thread for each running attempt, used again while there is work.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use sched_core::{AttemptEnd, AttemptId, Executor, RunContext, RunError, caught};

use super::Command;

/// How long a thread without work waits for more before it ends.
const IDLE: Duration = Duration::from_secs(1);

/// An attempt to be run.
pub(super) struct Work {
    pub(super) executor: Arc<dyn Executor>,
    pub(super) ctx: RunContext,
    pub(super) attempt: AttemptId,
    /// A former attempt was cut off: what it left is removed first.
    pub(super) unclean: bool,
}

/// The threads that run attempts.
pub(super) struct Workers {
    /// Without room: only a thread that waits takes what is offered.
    offer: Sender<Work>,
    taken: Receiver<Work>,
    commands: Sender<Command>,
}

impl Workers {
    pub(super) fn new(commands: Sender<Command>) -> Self {
        let (offer, taken) = bounded(0);
        Self { offer, taken, commands }
    }

    /// Has a waiting thread run an attempt, or a new one when none waits.
    pub(super) fn run(&self, work: Work) -> io::Result<()> {
        let Err(refused) = self.offer.try_send(work) else { return Ok(()) };
        let (taken, commands) = (self.taken.clone(), self.commands.clone());
        let run = move || {
            let mut work = Some(refused.into_inner());
            while let Some(next) = work.take() {
                run_one(next, &commands);
                work = taken.recv_timeout(IDLE).ok();
            }
        };
        thread::Builder::new().name("backup".into()).spawn(run).map(drop)
    }
}

/// Runs an attempt and reports how it ended, whatever its executor does.
fn run_one(Work { executor, ctx, attempt, unclean }: Work, commands: &Sender<Command>) {
    let panicked = |text| Err(RunError::Retryable(text));
    let ran = caught(|| {
        if unclean {
            executor.clean_up(&ctx)?;
            drop(commands.send(Command::CleanedUp(attempt.job)));
        }
        executor.run(&ctx)
    })
    .unwrap_or_else(panicked);
    // What the executor holds is dropped before its slot is given back.
    let dropped = caught(|| drop(executor)).or_else(panicked);
    let bytes = ctx.control().progress().done_bytes;
    drop(ctx);
    drop(commands.send(Command::Ended(attempt, AttemptEnd::new(bytes, ran.and(dropped)))));
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;
    use sched_core::{JobId, JobSpec, ManualClock, RunControl, RunParts};

    use super::*;

    /// Panics when it is dropped.
    struct Falls(Result<(), RunError>);

    impl Executor for Falls {
        fn run(&self, _: &RunContext) -> Result<(), RunError> {
            self.0.clone()
        }
    }

    impl Drop for Falls {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }

    #[test]
    fn an_attempt_whose_executor_panics_when_it_is_dropped_has_ended() {
        let panicked = RunError::Retryable("panicked: on purpose".into());
        for (ran, told) in [(Ok(()), panicked), (Err(RunError::Cancelled), RunError::Cancelled)] {
            let (commands, ended) = unbounded();
            let spec = Arc::new(JobSpec::new("a", "sqlite"));
            let control = Arc::new(RunControl::new(|_| {}));
            let parts = RunParts::new(JobId(7), spec, control, Arc::new(ManualClock::default()));
            let attempt = AttemptId { job: JobId(7), number: 1 };
            let executor = Arc::new(Falls(ran));
            run_one(Work { executor, ctx: RunContext::new(parts), attempt, unclean: false }, &commands);
            let Ok(Command::Ended(which, end)) = ended.try_recv() else { panic!("its end is lost") };
            assert_eq!((which, end.result), (attempt, Err(told)));
            assert!(ended.is_empty());
        }
    }
}
