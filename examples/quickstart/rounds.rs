//! Blocks of the three phases, interleaved in random order, and what was seen in them.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use backup_sched::core::MonoTime;
use backup_sched::{
    Clock, JobHandle, JobSpec, JobState, JobStatus, Rate, RunContext, RunError, Scheduler, Status,
    SystemClock,
};
use crossbeam_channel::Sender;
use serde::Serialize;

use crate::backup::{self, Copy, CopyError, FullSpeed, Pace};
use crate::fleet::Database;
use crate::progress::Progress;
use crate::{Stop, wait};

/// What the backups do in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// No backup.
    None,
    /// All at once, at full speed.
    All,
    /// As the scheduler decides.
    Scheduled,
}

impl Phase {
    pub(crate) const EACH: [Self; 3] = [Self::None, Self::All, Self::Scheduled];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::None => "no backup",
            Self::All => "all at once",
            Self::Scheduled => "scheduled",
        }
    }
}

/// A stretch of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: MonoTime,
    pub(crate) to: MonoTime,
}

/// What was seen besides the foreground's latencies.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) blocks: Vec<(Phase, Span)>,
    /// Which database was being copied when.
    pub(crate) copies: Vec<(&'static str, Phase, Span)>,
    /// The granted rate, looked at ten times a second while scheduled.
    pub(crate) rates: Vec<(MonoTime, Rate)>,
    pub(crate) backups: Vec<Finished>,
}

/// A scheduled backup that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: JobStatus,
    pub(crate) copy: Option<Copy>,
    pub(crate) verified: Result<(), String>,
}

/// The executor's way to pace: through the scheduler.
impl Pace for RunContext {
    type Stop = backup_sched::Cancelled;
    fn before(&self, bytes: u64) -> Result<(), Self::Stop> {
        self.pace(bytes)
    }
    fn after(&self, done: u64, total: u64) {
        self.progress(done, total);
    }
    const GENTLE: bool = true;
}

/// Makes the scheduled backups: what a host registers for its technology.
pub(crate) fn executor(
    fleet: Vec<Database>,
    dir: Arc<Path>,
    copies: Sender<(Copy, Span)>,
) -> impl Fn(&RunContext) -> Result<(), RunError> {
    move |ctx| {
        let name = ctx.spec().instance.as_str();
        let database = fleet.iter().find(|db| db.name == name);
        let database = database.ok_or_else(|| RunError::Permanent(format!("no database {name}")))?;
        let from = SystemClock.now().mono;
        match backup::copy(database, &dir, ctx.attempt(), ctx) {
            Ok(copy) => {
                let span = Span { from, to: SystemClock.now().mono };
                copies.send((copy, span)).map_err(|e| RunError::Permanent(e.to_string()))
            }
            Err(CopyError::Stopped(cancelled)) => Err(cancelled.into()),
            Err(CopyError::Failed(error)) => Err(RunError::Retryable(error)),
        }
    }
}

/// The application alone.
pub(crate) fn none(length: Duration, seen: &mut Seen, stop: &Stop) -> Result<(), String> {
    let from = SystemClock.now().mono;
    stop.wait(length)?;
    seen.blocks.push((Phase::None, Span { from, to: SystemClock.now().mono }));
    Ok(())
}

/// Every database at once, unpaced, again and again until `length` is over.
pub(crate) fn all(
    fleet: &[Database],
    dir: &Path,
    length: Duration,
    seen: &mut Seen,
    stop: &Stop,
) -> Result<(), String> {
    let from = SystemClock.now().mono;
    while SystemClock.now().mono < from + length {
        stop.check()?;
        let results: Vec<_> = thread::scope(|scope| {
            let one = |db: &'_ Database| {
                let from = SystemClock.now().mono;
                let copy = backup::copy(db, dir, 1, &FullSpeed).map_err(|e| format!("{}: {e:?}", db.name))?;
                std::fs::remove_file(&copy.path).map_err(|e| e.to_string())?;
                Ok::<_, String>((db.name, Phase::All, Span { from, to: SystemClock.now().mono }))
            };
            let threads: Vec<_> = fleet.iter().map(|db| scope.spawn(move || one(db))).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("a copy panicked".into()))).collect()
        });
        for result in results {
            seen.copies.push(result?);
        }
    }
    seen.blocks.push((Phase::All, Span { from, to: SystemClock.now().mono }));
    Ok(())
}

/// Every database through the scheduler, until all are done.
pub(crate) fn scheduled(
    fleet: &[Database],
    scheduler: &Scheduler,
    copies: &crossbeam_channel::Receiver<(Copy, Span)>,
    seen: &mut Seen,
    progress: &Progress,
    stop: &Stop,
) -> Result<(), String> {
    let from = SystemClock.now().mono;
    // With one message, so that the most urgent goes first and not the first submitted.
    let specs =
        fleet.iter().map(|db| JobSpec::new(db.name, "sqlite").priority(db.priority).size_bytes(db.bytes));
    let handles: Result<Vec<JobHandle>, _> = scheduler.submit_all(specs).into_iter().collect();
    let handles = handles.map_err(|e| e.to_string())?;
    while handles.iter().any(|handle| handle.ended().is_none()) {
        stop.check()?;
        let status: Status = scheduler.status().map_err(|e| e.to_string())?;
        seen.rates.push((SystemClock.now().mono, status.rate));
        progress.show(&status);
        wait(Duration::from_millis(100));
    }
    seen.blocks.push((Phase::Scheduled, Span { from, to: SystemClock.now().mono }));
    progress.clear_jobs();
    let made: Vec<_> = copies.try_iter().collect();
    seen.copies.extend(made.iter().map(|(copy, span)| (copy.name, Phase::Scheduled, *span)));
    // Verified after the block: reading the copies is no part of making them.
    for handle in handles {
        let status = handle.wait();
        let name = status.job.instance.as_str();
        let copy = made.iter().map(|(copy, _)| copy).find(|copy| copy.name == name).cloned();
        let verified = match (&copy, status.state) {
            (Some(copy), JobState::Succeeded) => backup::verify(copy),
            _ => Err(status.error.clone().unwrap_or_else(|| "no copy was made".into())),
        };
        if let Some(copy) = &copy {
            std::fs::remove_file(&copy.path).map_err(|e| e.to_string())?;
        }
        seen.backups.push(Finished { status, copy, verified });
    }
    Ok(())
}
