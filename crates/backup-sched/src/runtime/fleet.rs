//! The thread on which a scheduler speaks with others that share its store.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};
use sched_core::store::{FleetMember, FleetNews, FleetReport, StoreError};

use super::Command;

/// What the thread tells the dispatcher.
#[derive(Debug)]
pub(crate) enum FleetMessage {
    News(FleetNews),
    /// Others may have taken over.
    Lost(StoreError),
    /// A beat is over: what the next one is to tell is wanted.
    Beat,
}

/// The dispatcher's end of the thread. Dropped, the thread ends and others find out by the lease.
pub(crate) struct FleetThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// The end has come.
    work: Condvar,
    /// The thread has ended.
    over: Condvar,
}

#[derive(Default)]
struct State {
    report: FleetReport,
    closing: bool,
    leaves: bool,
    ended: bool,
}

impl FleetThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(
        mut member: Box<dyn FleetMember>,
        commands: Sender<Command>,
    ) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let run = move || {
            let _ends = Ends(Arc::clone(&theirs));
            while theirs.wait(member.every()) {
                theirs.beat(&mut *member, &commands);
            }
            if theirs.state.lock().leaves {
                // Otherwise others find out by the lease.
                drop(member.leave());
            }
        };
        let thread = thread::Builder::new().name("backup-sched-fleet".into()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Changes what the next beat tells.
    pub(crate) fn report(&self, change: impl FnOnce(&mut FleetReport)) {
        change(&mut self.shared.state.lock().report);
    }

    /// Ends the thread within the time; with `leaves` others take over at once.
    pub(crate) fn close(mut self, leaves: bool, within: Duration) {
        let mut state = self.shared.state.lock();
        (state.closing, state.leaves) = (true, leaves);
        self.shared.work.notify_one();
        self.shared.over.wait_while_for(&mut state, |state| !state.ended, within);
        let ended = state.ended;
        drop(state);
        // One that hangs is left behind.
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            let _ = thread.join();
        }
    }
}

impl Drop for FleetThread {
    fn drop(&mut self) {
        self.shared.state.lock().closing = true;
        self.shared.work.notify_one();
    }
}

impl Shared {
    /// Waits for the next beat; `false` when there is none.
    fn wait(&self, every: Duration) -> bool {
        let mut state = self.state.lock();
        self.work.wait_while_for(&mut state, |state| !state.closing, every);
        !state.closing
    }

    fn beat(&self, member: &mut dyn FleetMember, commands: &Sender<Command>) {
        let report = {
            let mut state = self.state.lock();
            let report = state.report.clone();
            state.report.clear.clear();
            report
        };
        let mut clear = report.clear.clone();
        let mut tell = |news: FleetNews| {
            if let FleetNews::Taken(taken) = &news {
                clear.remove(&taken.share);
            }
            // A dispatcher that has ended needs no news.
            drop(commands.send(Command::Fleet(FleetMessage::News(news))));
        };
        if let Err(error) = member.beat(report, &mut tell) {
            // They may not have been released.
            self.state.lock().report.clear.append(&mut clear);
            if !error.may_pass() {
                drop(commands.send(Command::Fleet(FleetMessage::Lost(error))));
            }
        }
        drop(commands.send(Command::Fleet(FleetMessage::Beat)));
    }
}

/// Tells that the thread has ended, however it did.
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.over.notify_all();
    }
}
