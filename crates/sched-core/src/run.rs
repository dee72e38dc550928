//! The contract between the scheduler and the code that makes a backup: [`Executor`], [`RunContext`], [`Pacer`].

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

mod asynchronous;
mod control;
mod lease;
#[cfg(feature = "tokio")]
mod on_runtime;
mod paced;
#[cfg(feature = "tokio")]
mod paced_async;
mod phase;
mod waiters;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::asynchronous::{AsyncExecutor, RunFuture, WhenCancelled};
pub use self::control::{PauseMark, Progress, RunControl};
pub use self::lease::RunLease;
#[cfg(feature = "tokio")]
pub use self::on_runtime::OnRuntime;
pub use self::paced::{PacedReader, PacedWriter};
#[cfg(feature = "tokio")]
pub use self::paced_async::{AsyncPacedReader, AsyncPacedWriter};
pub use self::phase::RunPhase;
pub use self::waiters::Waiters;
use crate::gate::Scope;
use crate::name::InstanceName;
use crate::spec::{JobId, JobSpec};
use crate::terms::JobTerms;
use crate::time::{Clock, MonoTime};

/// No wait for pace is longer than this before rate and cancellation are looked at again.
pub const RECHECK: Duration = Duration::from_millis(100);

/// A charge that is so many times larger than it should be by now is made anew in smaller ones.
const TOO_LARGE: u64 = 4;
/// Bytes that a paced adapter moves in one go.
const ADAPTER_CHUNK: usize = 128 << 10;

/// Makes backups of one technology.
///
/// `run` is called on a thread of its own for every attempt. A panic is caught and counts as a failed attempt.
/// Long work should go through [`RunContext::pace`] or the paced reader or writer, or at least call
/// [`RunContext::checkpoint`] now and then: that is where it is slowed, paused and cancelled.
///
/// Delivery is *at least once*: after a failure or a crash the same job runs again with the next
/// [`attempt`](RunContext::attempt). Write to a name that carries the attempt and rename it at the end, so that a
/// partial file never looks complete.
///
/// Closures of the same shape are executors.
pub trait Executor: Send + Sync {
    /// Makes one backup, verified as far as the executor can.
    ///
    /// # Errors
    /// [`RunError::Retryable`] for what may go away, [`RunError::Permanent`] for what will not, and
    /// [`RunError::Cancelled`] after a checkpoint said so.
    fn run(&self, ctx: &RunContext) -> Result<(), RunError>;

    /// Removes what a former attempt of the job left that was cut off with its scheduler: a snapshot, a lock, a process.
    /// Called on the thread of the next attempt, before [`run`](Self::run), with that attempt's context; until it has
    /// succeeded once, every attempt begins with it. All attempts with lower numbers may have left something, or nothing.
    /// Default: nothing is left to remove, as with the destinations of `sched-drivers`, which clean up when a backup begins.
    ///
    /// # Errors
    /// As [`run`](Self::run): the attempt has failed then, and the next tries again.
    fn clean_up(&self, ctx: &RunContext) -> Result<(), RunError> {
        let _ = ctx;
        Ok(())
    }
}

impl<F> Executor for F
where
    F: Fn(&RunContext) -> Result<(), RunError> + Send + Sync,
{
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        self(ctx)
    }
}

/// The attempt was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the attempt was cancelled")]
pub struct Cancelled;

/// How an attempt went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunError {
    /// It may work later: another attempt follows after a back-off while the policy allows one.
    #[error("{0}")]
    Retryable(String),
    /// It will not work without a change from outside: the job fails at once.
    #[error("{0}")]
    Permanent(String),
    /// Something that it needs is not available, such as its destination. The breaker of that scope trips. If the scope
    /// is one of the job's own, the job waits for it and spends no retry; see
    /// [`BreakerConfig`](crate::BreakerConfig). A scope that no job, order or signal has named counts like
    /// [`Retryable`](Self::Retryable).
    #[error("{what} is not available: {error}")]
    Unavailable {
        /// What: usually a destination or a host.
        what: Scope,
        /// What went wrong.
        error: String,
    },
    /// It stopped because it was told to.
    #[error("cancelled")]
    Cancelled,
}

impl From<Cancelled> for RunError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<io::Error> for RunError {
    /// Retryable, unless the error is a cancellation that went through a paced reader or writer.
    fn from(error: io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<Cancelled>()) {
            Self::Cancelled
        } else {
            Self::Retryable(error.to_string())
        }
    }
}

/// Enforces a rate: says how long bytes must wait. Implementations never block.
pub trait Pacer: Send + Sync + fmt::Debug {
    /// Charges `bytes`, at most [`max_chunk`](Self::max_chunk) of them, and returns their place in line.
    fn charge(&self, bytes: u64) -> Charge;

    /// How long to wait before asking again, zero when the bytes of `charge` may move: the least time that they
    /// must still wait as things stand. `None`: a rate of 0 stops them, ask again later.
    fn wait(&self, charge: Charge) -> Option<Duration>;

    /// The most that should be charged at once, at least 1: keeps waits short at low rates.
    fn max_chunk(&self) -> u64;

    /// Makes up for a difference between what moved and what was charged: positive when more moved than was
    /// charged, which later charges then wait for; negative when charged bytes will not move, whether they waited
    /// still or not. The default does nothing.
    fn correct(&self, difference: i64) {
        let _ = difference;
    }
}

/// A place in a [`Pacer`]'s line; meaningful only to the pacer that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge(pub u128);

/// Lets everything through at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpaced;

impl Pacer for Unpaced {
    fn charge(&self, _bytes: u64) -> Charge {
        Charge(0)
    }

    fn wait(&self, _charge: Charge) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    fn max_chunk(&self) -> u64 {
        u64::MAX
    }
}

/// What an executor works with during one attempt. Cloning gives another handle on the same attempt.
#[derive(Clone, Debug)]
pub struct RunContext {
    job: JobId,
    attempt: u32,
    started: Timestamp,
    spec: Arc<JobSpec>,
    terms: Arc<JobTerms>,
    member: Option<InstanceName>,
    control: Arc<RunControl>,
    pacer: Arc<dyn Pacer>,
    clock: Arc<dyn Clock>,
    lease: Option<Arc<dyn RunLease>>,
}

/// What a [`RunContext`] is made of, by whoever runs executors.
#[derive(Debug)]
#[non_exhaustive]
pub struct RunParts {
    /// The job.
    pub job: JobId,
    /// Its attempt, from 1: the fencing number.
    pub attempt: u32,
    /// The request.
    pub spec: Arc<JobSpec>,
    /// The terms.
    pub terms: Arc<JobTerms>,
    /// The member taken, where there was a choice.
    pub member: Option<InstanceName>,
    /// Orders and progress.
    pub control: Arc<RunControl>,
    /// The rate.
    pub pacer: Arc<dyn Pacer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl RunParts {
    /// The first attempt of a job under no terms, without a choice of members, and not paced: the fields say otherwise where it
    /// is otherwise.
    pub fn new(job: JobId, spec: Arc<JobSpec>, control: Arc<RunControl>, clock: Arc<dyn Clock>) -> Self {
        let (terms, pacer) = (Arc::default(), Arc::new(Unpaced));
        Self { job, attempt: 1, spec, terms, member: None, control, pacer, clock }
    }
}

impl RunContext {
    /// A context for one attempt that starts now.
    pub fn new(parts: RunParts) -> Self {
        let RunParts { job, attempt, spec, terms, member, control, pacer, clock } = parts;
        let started = clock.now().wall;
        Self { job, attempt, started, spec, terms, member, control, pacer, clock, lease: None }
    }

    /// The same attempt under a lease, for runtimes that share a store with others. Default: none, and no other scheduler
    /// would ever make the same backup.
    #[must_use]
    pub fn under(mut self, lease: Arc<dyn RunLease>) -> Self {
        self.lease = Some(lease);
        self
    }

    /// A context outside any scheduler: never paused, cancelled or slowed. For trying out an executor.
    pub fn detached(spec: JobSpec, clock: Arc<dyn Clock>) -> Self {
        let control = Arc::new(RunControl::new(|_| {}));
        Self::new(RunParts::new(JobId(0), Arc::new(spec), control, clock))
    }

    /// The job.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// The attempt, from 1; grows with every attempt of the job. Use it as a fencing number.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the attempt started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// The request.
    pub fn spec(&self) -> &JobSpec {
        &self.spec
    }

    /// The instance to back up: the member taken where the request gave a choice, else the request's own.
    pub fn instance(&self) -> &InstanceName {
        self.member.as_ref().unwrap_or(&self.spec.instance)
    }

    /// The terms under which the job runs.
    pub fn terms(&self) -> &JobTerms {
        &self.terms
    }

    /// The scheduler's clock, so that executors need none of their own.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The lease under which the attempt runs: `None` unless several schedulers share its store. The attempt is cancelled
    /// when it is over; only what works outside the scheduler's process needs to look at it.
    pub fn lease(&self) -> Option<&dyn RunLease> {
        self.lease.as_deref()
    }

    /// Returns when the attempt may go on: at once, or after a pause.
    ///
    /// # Errors
    /// When the attempt was cancelled.
    pub fn checkpoint(&self) -> Result<(), Cancelled> {
        self.control.checkpoint()
    }

    /// Tells that another part of the attempt begins, and what it tolerates. What the terms say of a phase of that name
    /// counts more. A phase that must not stand still passes its checkpoints even if a pause was ordered; that then
    /// waits for the next phase that may.
    pub fn phase(&self, mut phase: RunPhase) {
        if let Some(told) = self.terms.phases.iter().find(|told| told.name == phase.name) {
            (phase.pausable, phase.floor_bytes_per_sec) = (told.pausable, told.floor_bytes_per_sec);
            if !told.gives_back.is_empty() {
                phase.gives_back = told.gives_back.clone();
            }
        }
        self.control.begin_phase(phase);
    }

    /// Whether the attempt was told to stop; for loops that cannot wait in [`checkpoint`](Self::checkpoint).
    pub fn is_cancelled(&self) -> bool {
        self.control.orders.lock().cancel.is_some()
    }

    /// Waits until `bytes` may move at the rate that the scheduler grants; also a checkpoint.
    /// Call it before moving them. Large amounts are split, so that pauses and new rates are felt within 100 ms.
    ///
    /// # Errors
    /// When the attempt was cancelled.
    pub fn pace(&self, bytes: u64) -> Result<(), Cancelled> {
        let mut left = bytes;
        self.checkpoint()?;
        while left > 0 {
            let chunk = left.min(self.pacer.max_chunk().max(1));
            left -= self.pace_chunk(chunk)?;
        }
        Ok(())
    }

    /// Returns what may move: all, or nothing when the rate has fallen so far that smaller chunks are called for.
    fn pace_chunk(&self, bytes: u64) -> Result<u64, Cancelled> {
        let charge = self.pacer.charge(bytes);
        loop {
            match self.pacer.wait(charge) {
                Some(Duration::ZERO) => break,
                wait => self.nap(wait.unwrap_or(RECHECK).min(RECHECK)),
            }
            let going_on = self.checkpoint();
            let too_large = bytes / TOO_LARGE > self.pacer.max_chunk();
            if going_on.is_err() || too_large {
                self.give_back(bytes);
                return going_on.map(|()| 0);
            }
        }
        self.control.add_paced(bytes);
        Ok(bytes)
    }

    fn give_back(&self, bytes: u64) {
        self.pacer.correct(-i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Tells how many bytes the attempt has really moved so far, by measurement, such as the counters of the process
    /// that makes the backup. What that is more, or less, than was paced is charged, or given back; less only by
    /// what exceeds a chunk, which may be on its way. The measure must not fall.
    ///
    /// Without pacing at all this keeps an attempt to its rate only in the long run: pace as well as you can.
    pub fn measured(&self, total_bytes: u64) {
        let mut measured = self.control.measured.lock();
        let measurement = measured.get_or_insert_default();
        measurement.bytes = measurement.bytes.max(total_bytes);
        let charged = i128::from(self.control.paced_bytes.load(Relaxed)) + measurement.corrected;
        let under_way = i128::from(self.pacer.max_chunk().max(ADAPTER_CHUNK as u64));
        let difference = match i128::from(measurement.bytes) - charged {
            less @ ..0 => (less + under_way).min(0),
            more => more,
        };
        measurement.corrected += difference;
        drop(measured);
        if difference != 0 {
            let bounds = (i128::from(i64::MIN), i128::from(i64::MAX));
            self.pacer.correct(difference.clamp(bounds.0, bounds.1) as i64);
        }
    }

    fn nap(&self, wait: Duration) {
        let until = self.clock.now().mono + wait;
        let passed = |now: MonoTime| now >= until;
        self.control.nap(self.clock.sleep_for(until), || !passed(self.clock.now().mono));
    }

    /// Reports bytes done and, where known, bytes in all (0: unknown). Cheap; call it as often as is handy.
    pub fn progress(&self, done_bytes: u64, total_bytes: u64) {
        self.control.set_progress(done_bytes, total_bytes);
    }

    /// A handle on the same attempt that no order, rate or phase reaches and that tells nothing: for cleaning up after
    /// a cancellation, and for steps that go on elsewhere whether they are waited for or not. Keep its use short. The
    /// [lease](Self::lease) counts there, too: what is started under it ends with it.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use sched_core::{JobSpec, ManualClock, Reason, RunContext};
    ///
    /// let ctx = RunContext::detached(JobSpec::new("orders", "generic"), Arc::new(ManualClock::default()));
    /// ctx.control().cancel(Reason::new("shutdown"));
    /// assert!(ctx.checkpoint().is_err());
    /// assert!(ctx.beyond_orders().checkpoint().is_ok());
    /// ```
    #[must_use]
    pub fn beyond_orders(&self) -> Self {
        Self { control: Arc::new(RunControl::new(|_| {})), pacer: Arc::new(Unpaced), ..self.clone() }
    }

    /// The attempt's orders and progress, for runtimes.
    pub fn control(&self) -> &Arc<RunControl> {
        &self.control
    }

    /// `inner`, read at the granted rate. A cancellation surfaces as an [`io::Error`] that holds [`Cancelled`].
    pub fn reader<R: Read>(&self, inner: R) -> PacedReader<R> {
        PacedReader::new(inner, self.clone())
    }

    /// `inner`, written at the granted rate. A cancellation surfaces as an [`io::Error`] that holds [`Cancelled`].
    pub fn writer<W: Write>(&self, inner: W) -> PacedWriter<W> {
        PacedWriter::new(inner, self.clone())
    }

    /// `inner`, read at the granted rate without blocking the runtime. Errors as [`reader`](Self::reader).
    #[cfg(feature = "tokio")]
    pub fn async_reader<R: tokio::io::AsyncRead>(&self, inner: R) -> AsyncPacedReader<R> {
        AsyncPacedReader::new(inner, self.clone())
    }

    /// `inner`, written at the granted rate without blocking the runtime. Errors as [`writer`](Self::writer).
    #[cfg(feature = "tokio")]
    pub fn async_writer<W: tokio::io::AsyncWrite>(&self, inner: W) -> AsyncPacedWriter<W> {
        AsyncPacedWriter::new(inner, self.clone())
    }
}

fn cancelled(_: Cancelled) -> io::Error {
    io::Error::other(Cancelled)
}
