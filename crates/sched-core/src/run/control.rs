//! What an attempt is told and tells back: [`RunControl`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use super::waiters::Waiters;
use super::{Cancelled, RunPhase};
use crate::gate::Reason;

/// Where tenths of a known whole begin in what was told last.
const KNOWN: u64 = 100;

/// What an attempt is told, and what it tells back. Shared by the scheduler and the [`RunContext`](super::RunContext).
pub struct RunControl {
    pub(super) orders: Mutex<Orders>,
    changed: Condvar,
    pub(super) done_bytes: AtomicU64,
    pub(super) total_bytes: AtomicU64,
    /// How far it was when that was told last.
    told: AtomicU64,
    pub(super) paced_bytes: AtomicU64,
    pub(super) measured: Mutex<Option<Measurement>>,
    notify: Box<dyn Fn(PauseMark) + Send + Sync>,
    on_phase: Box<dyn Fn(RunPhase) + Send + Sync>,
    on_progress: Box<dyn Fn(Progress) + Send + Sync>,
}

#[derive(Default)]
pub(super) struct Orders {
    pub(super) cancel: Option<Reason>,
    pub(super) pause: bool,
    /// The present phase must not stand still.
    keeps_on: bool,
    standing: bool,
    /// Tasks that wait for news.
    wakers: Vec<Waker>,
    /// Tasks that wait for the cancellation alone.
    pub(super) cancelled: Waiters,
}

impl Orders {
    /// Whether the attempt is to stand still now.
    fn stand(&self) -> bool {
        self.pause && !self.keeps_on
    }
}

#[derive(Clone, Copy, Default)]
pub(super) struct Measurement {
    pub(super) bytes: u64,
    /// What was charged beyond the paced bytes because of it.
    pub(super) corrected: i128,
}

/// Told to the scheduler when an attempt reaches or leaves a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseMark {
    /// It stands at a checkpoint and moves nothing.
    Standing,
    /// It moves again.
    Moving,
}

impl RunControl {
    /// A control whose attempt may run freely; `notify` is called, without a lock held, at every pause mark.
    pub fn new(notify: impl Fn(PauseMark) + Send + Sync + 'static) -> Self {
        Self {
            orders: Mutex::default(),
            changed: Condvar::new(),
            done_bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
            told: AtomicU64::new(0),
            paced_bytes: AtomicU64::new(0),
            measured: Mutex::default(),
            notify: Box::new(notify),
            on_phase: Box::new(|_| {}),
            on_progress: Box::new(|_| {}),
        }
    }

    /// Sets what is called, without a lock held, when the attempt announces a phase.
    #[must_use]
    pub fn on_phase(mut self, on_phase: impl Fn(RunPhase) + Send + Sync + 'static) -> Self {
        self.on_phase = Box::new(on_phase);
        self
    }

    /// Sets what is called, without a lock held, with each tenth of the whole but the last, or when what was done has
    /// doubled where the whole is not known.
    #[must_use]
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Box::new(on_progress);
        self
    }

    pub(super) fn set_progress(&self, done_bytes: u64, total_bytes: u64) {
        self.done_bytes.store(done_bytes, Relaxed);
        self.total_bytes.store(total_bytes, Relaxed);
        self.tell_progress(done_bytes, total_bytes);
    }

    pub(super) fn add_paced(&self, bytes: u64) {
        let paced = self.paced_bytes.fetch_add(bytes, Relaxed) + bytes;
        // As in `progress`: of an executor that does not report.
        if self.done_bytes.load(Relaxed) == 0 && self.total_bytes.load(Relaxed) == 0 {
            self.tell_progress(paced, 0);
        }
    }

    fn tell_progress(&self, done_bytes: u64, total_bytes: u64) {
        let far = match total_bytes {
            0 => u64::from(u64::BITS - (done_bytes >> 20).leading_zeros()),
            // Beyond all that can be told while the whole is not known.
            total => KNOWN + (u128::from(done_bytes) * 10 / u128::from(total)).min(10) as u64,
        };
        let news = far > self.told.load(Relaxed) && far != KNOWN && far != KNOWN + 10;
        if news && self.told.fetch_max(far, Relaxed) < far {
            (self.on_progress)(self.progress());
        }
    }

    /// Tells the attempt to stop at its next checkpoint. The first reason stays.
    pub fn cancel(&self, reason: Reason) {
        let mut orders = self.orders.lock();
        orders.cancel.get_or_insert(reason);
        let waiting = orders.cancelled.take();
        self.tell(orders);
        waiting.wake();
    }

    /// Tells the attempt to stand still at its next checkpoint, or to go on.
    pub fn set_paused(&self, pause: bool) {
        let mut orders = self.orders.lock();
        orders.pause = pause;
        // An attempt that has not noticed that it might go on reports anew that it stands.
        orders.standing &= !pause;
        self.tell(orders);
    }

    /// Whether the attempt is to stand still now: a pause was ordered and its phase allows it.
    pub fn is_paused(&self) -> bool {
        self.orders.lock().stand()
    }

    /// Makes waiting attempts look at clock and rate again.
    pub fn wake(&self) {
        // Taking the lock orders this after a waiter's check, so that the wake cannot fall between check and wait.
        self.tell(self.orders.lock());
    }

    fn tell(&self, mut orders: MutexGuard<'_, Orders>) {
        let wakers = std::mem::take(&mut orders.wakers);
        drop(orders);
        self.changed.notify_all();
        wakers.into_iter().for_each(Waiters::wake_one);
    }

    /// Why the attempt was told to stop, if it was.
    pub fn cancel_reason(&self) -> Option<Reason> {
        self.orders.lock().cancel.clone()
    }

    /// What the attempt reported last.
    pub fn progress(&self) -> Progress {
        let total = self.total_bytes.load(Relaxed);
        let done = self.done_bytes.load(Relaxed);
        let paced_bytes = self.paced_bytes.load(Relaxed);
        // An executor that only uses the paced adapters need not report: what they moved is its progress.
        let done_bytes = if done == 0 && total == 0 { paced_bytes } else { done };
        let measured_bytes = self.measured.lock().map(|measured| measured.bytes);
        Progress { done_bytes, total_bytes: (total > 0).then_some(total), paced_bytes, measured_bytes }
    }

    pub(super) fn begin_phase(&self, phase: RunPhase) {
        self.orders.lock().keeps_on = !phase.pausable;
        (self.on_phase)(phase);
    }

    /// Returns when the attempt may go on.
    pub(super) fn checkpoint(&self) -> Result<(), Cancelled> {
        let mut orders = self.orders.lock();
        while orders.stand() && orders.cancel.is_none() {
            if !orders.standing {
                orders.standing = true;
                drop(orders);
                (self.notify)(PauseMark::Standing);
                orders = self.orders.lock();
                continue;
            }
            self.changed.wait(&mut orders);
        }
        let cancelled = orders.cancel.is_some();
        let stood = std::mem::take(&mut orders.standing);
        drop(orders);
        if stood && !cancelled {
            (self.notify)(PauseMark::Moving);
        }
        if cancelled { Err(Cancelled) } else { Ok(()) }
    }

    /// Ready when the attempt may go on; else the task is woken when there is news.
    pub fn poll_checkpoint(&self, waker: &Waker) -> Poll<Result<(), Cancelled>> {
        let mut orders = self.orders.lock();
        if orders.cancel.is_some() {
            return Poll::Ready(Err(Cancelled));
        }
        let pause = orders.stand();
        let stood = std::mem::replace(&mut orders.standing, pause);
        if pause && !orders.wakers.iter().any(|known| known.will_wake(waker)) {
            orders.wakers.push(waker.clone());
        }
        drop(orders);
        match (pause, stood) {
            (true, false) => (self.notify)(PauseMark::Standing),
            (false, true) => (self.notify)(PauseMark::Moving),
            _ => {}
        }
        if pause { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Has a task woken when there is news: an order, or a reason to look at clock and rate again.
    pub fn wake_on_news(&self, waker: &Waker) {
        let mut orders = self.orders.lock();
        if !orders.wakers.iter().any(|known| known.will_wake(waker)) {
            orders.wakers.push(waker.clone());
        }
    }

    /// Ready when the attempt was told to stop; else the task at `place` is woken then.
    pub(super) fn poll_cancelled(&self, place: &mut Option<usize>, waker: &Waker) -> Poll<Cancelled> {
        let mut orders = self.orders.lock();
        if orders.cancel.is_some() {
            return Poll::Ready(Cancelled);
        }
        orders.cancelled.wait(place, waker);
        Poll::Pending
    }

    /// The task at `place` no longer waits for the cancellation.
    pub(super) fn wait_no_longer(&self, place: &mut Option<usize>) {
        self.orders.lock().cancelled.leave(place);
    }

    /// Waits for at most `real`, or until something changed. Returns at once when there is news already.
    pub(super) fn nap(&self, real: Option<Duration>, still_waiting: impl Fn() -> bool) {
        let mut orders = self.orders.lock();
        if orders.stand() || orders.cancel.is_some() || !still_waiting() {
            return;
        }
        match real {
            Some(real) => {
                self.changed.wait_for(&mut orders, real);
            }
            None => self.changed.wait(&mut orders),
        }
    }
}

impl fmt::Debug for RunControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let orders = self.orders.lock();
        f.debug_struct("RunControl")
            .field("cancel", &orders.cancel)
            .field("pause", &orders.pause)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes done, as reported; what went through the pacer when nothing was reported.
    pub done_bytes: u64,
    /// Bytes in all, when the executor knows.
    pub total_bytes: Option<u64>,
    /// Bytes that went through the pacer.
    pub paced_bytes: u64,
    /// Bytes that really moved, where they are measured.
    #[serde(default)]
    pub measured_bytes: Option<u64>,
}
