//! One thread for each running attempt, used again while there is work.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use sched_core::{AttemptEnd, AttemptId, Executor, RunContext, RunError};

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
    let run = || {
        if unclean {
            executor.clean_up(&ctx)?;
            drop(commands.send(Command::CleanedUp(attempt.job)));
        }
        executor.run(&ctx)
    };
    let caught = catch_unwind(AssertUnwindSafe(run));
    // What the executor holds is dropped before its slot is given back.
    drop(executor);
    let result = caught.unwrap_or_else(|panic| {
        let text = panic_text(&*panic);
        // Of somebody else's type, which may panic in its own drop: the slot is given back all the same.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
        Err(RunError::Retryable(text))
    });
    let bytes = ctx.control().progress().done_bytes;
    drop(ctx);
    drop(commands.send(Command::Ended(attempt, AttemptEnd::new(bytes, result))));
}

/// What a caught panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", said.unwrap_or("without a message"))
}
