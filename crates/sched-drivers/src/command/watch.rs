//! The thread that holds the leash of a tool: [`Watch`].

use std::io::{self, PipeWriter};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, JoinHandle, Thread};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use sched_core::{MonoTime, RunContext};

use super::ProcessMark;
use super::deadman::DeadManSwitch;
use super::leash::{Ended, Leash, Order};

/// Looks at a tool whenever the attempt gets an order, or its leash says so.
pub(super) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Whether the switch says that it has ended the tool.
    by_switch: bool,
}

struct Shared {
    ctx: RunContext,
    group: Pid,
    mark: ProcessMark,
    state: Mutex<State>,
}

struct State {
    leash: Leash,
    /// Under a lease, until the tool is gone.
    switch: Option<DeadManSwitch>,
    gives_up: bool,
    /// Closed when the tool was killed: nobody waits for its output any more.
    kills: Option<PipeWriter>,
    /// The tool is gone, or about to be: nothing is sent to its group any more.
    over: bool,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Watch {
    pub(super) fn start(
        ctx: RunContext,
        (group, mark): (Pid, ProcessMark),
        leash: Leash,
        switch: Option<DeadManSwitch>,
        kills: PipeWriter,
    ) -> io::Result<Self> {
        let state = Mutex::new(State { leash, switch, gives_up: false, kills: Some(kills), over: false });
        let shared = Arc::new(Shared { ctx, group, mark, state });
        let watching = Arc::clone(&shared);
        let thread = thread::Builder::new().name("backup-watch".into()).spawn(move || watching.watch())?;
        Ok(Self { shared, thread: Some(thread), by_switch: false })
    }

    /// The reader failed: the tool is ended.
    pub(super) fn give_up(&self) {
        self.shared.state.lock().gives_up = true;
        self.wake();
    }

    /// The tool has ended. No signal is sent after this returns, by nobody.
    pub(super) fn stop(&mut self) {
        let mut state = self.shared.state.lock();
        state.over = true;
        let switch = state.switch.take();
        drop(state);
        self.by_switch = switch.is_some_and(DeadManSwitch::end);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It does nothing that panics; if it did, there would be nobody left to send signals.
            let _ = thread.join();
        }
    }

    /// Why it was ended, if it was. Known when this has [stopped](Self::stop).
    pub(super) fn ended(&self) -> Option<Ended> {
        let by_switch = self.by_switch.then_some(Ended::LeaseOver);
        by_switch.or_else(|| self.shared.state.lock().leash.ended())
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Shared {
    fn watch(&self) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            // Asked for before looking, so that an order in between is not lost.
            self.ctx.control().wake_on_news(&waker);
            let mut state = self.state.lock();
            if state.over {
                return;
            }
            let now = self.ctx.clock().now().mono;
            let (lease_end, look_at) = self.look_at_lease(now, &mut state);
            let cancelled = self.ctx.is_cancelled().then_some(Ended::Cancelled);
            let end = lease_end.or(cancelled).or(state.gives_up.then_some(Ended::GivenUp));
            let order = state.leash.look(now, end, self.ctx.control().is_paused());
            let wake_at = state.leash.wake_at().into_iter().chain(look_at).min();
            for signal in order.map(signals).unwrap_or_default() {
                // It may have ended already; then it is about to be reaped.
                let _ = kill_process_group(self.group, *signal);
            }
            if order == Some(Order::Kill) {
                state.kills = None;
            }
            drop(state);
            match wake_at.and_then(|at| self.ctx.clock().sleep_for(at)) {
                Some(real) => thread::park_timeout(real),
                None => thread::park(),
            }
        }
    }
}

impl Shared {
    /// Whether the tool must end for its lease, and when to look again. Says so to what would end it in this one's place.
    fn look_at_lease(&self, now: MonoTime, state: &mut State) -> (Option<Ended>, Option<MonoTime>) {
        let (Some(lease), Some(switch)) = (self.ctx.lease(), &mut state.switch) else { return (None, None) };
        let left = lease.left();
        if left.is_zero() {
            return (Some(Ended::LeaseOver), None);
        }
        let unguarded = switch.tell(lease, &self.mark).is_err().then_some(Ended::Unguarded);
        (unguarded, Some(now + left.min(switch.every())))
    }
}

fn signals(order: Order) -> &'static [Signal] {
    match order {
        Order::Stop => &[Signal::STOP],
        Order::Continue => &[Signal::CONT],
        // A stopped process takes the first only after the second.
        Order::Terminate => &[Signal::TERM, Signal::CONT],
        Order::Kill => &[Signal::KILL],
    }
}
