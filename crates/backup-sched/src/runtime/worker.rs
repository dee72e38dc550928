//! One thread for each running attempt.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::Sender;
use sched_core::{AttemptEnd, AttemptId, Executor, RunContext, RunError};

use super::Command;

/// Runs `executor` on a thread of its own and reports how it ended, whatever it does.
pub(super) fn spawn(
    executor: Arc<dyn Executor>,
    ctx: RunContext,
    attempt: AttemptId,
    commands: Sender<Command>,
) -> io::Result<()> {
    let name = format!("backup-{}", attempt.job.0);
    let run = move || {
        let caught = catch_unwind(AssertUnwindSafe(|| executor.run(&ctx)));
        // What the executor holds is dropped before its slot is given back.
        drop(executor);
        let result = caught.unwrap_or_else(|panic| Err(RunError::Retryable(panic_text(&*panic))));
        let bytes = ctx.control().progress().done_bytes;
        drop(commands.send(Command::Ended(attempt, AttemptEnd { bytes, result })));
    };
    thread::Builder::new().name(name).spawn(run).map(drop)
}

/// What a caught panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", said.unwrap_or("without a message"))
}
