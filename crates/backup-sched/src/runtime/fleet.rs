//! The thread on which a scheduler speaks with others that share its store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender};
use parking_lot::{Condvar, Mutex};
use sched_core::caught;
use sched_core::store::{FleetMember, FleetNews, FleetReport, StoreError};

use super::Command;

/// How often a thread whose news nobody takes looks whether anybody will.
const UNHEARD: Duration = Duration::from_millis(100);

/// What the thread tells the dispatcher.
#[derive(Debug)]
pub(crate) enum FleetMessage {
    News(FleetNews),
    /// Others may have taken over.
    Lost(StoreError),
    /// A beat came to nothing in a way that nobody expects. The next one is made all the same.
    Failed(StoreError),
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
    /// Parts of limits that are on their way to the dispatcher, oldest first: it may use them before it says so.
    parts: VecDeque<(String, u64)>,
    /// The dispatcher has not heard yet that all is lost: what it tells is of its former self.
    lost: bool,
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
                drop(caught(|| member.leave()));
            }
        };
        let thread = thread::Builder::new().name("backup-sched-fleet".into()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Changes what the next beat tells.
    pub(crate) fn report(&self, change: impl FnOnce(&mut FleetReport)) {
        change(&mut self.shared.state.lock().report);
    }

    /// The dispatcher has applied the oldest part that was on its way, and its report says so.
    pub(crate) fn heard_part(&self) {
        self.shared.state.lock().parts.pop_front();
    }

    /// The dispatcher knows that all is lost, and its report says so.
    pub(crate) fn heard_lost(&self) {
        self.shared.state.lock().lost = false;
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
            if state.lost {
                return;
            }
            let mut report = state.report.clone();
            state.report.clear.clear();
            for (limit, amount) in &state.parts {
                let told = report.uses.entry(limit.clone()).or_default();
                told.applied = told.applied.max(*amount);
            }
            report
        };
        let mut clear = report.clear.clone();
        let mut tell = |news: FleetNews| {
            if let FleetNews::Taken(taken) = &news {
                clear.remove(&taken.share);
            }
            if let FleetNews::Part(limit, amount) = &news {
                self.state.lock().parts.push_back((limit.clone(), *amount));
            }
            self.tell(commands, FleetMessage::News(news));
        };
        let beaten = caught(|| member.beat(report, &mut tell)).unwrap_or_else(|error| {
            let error = StoreError::Io { place: "the fleet".into(), what: "heard", error };
            self.tell(commands, FleetMessage::Failed(error.clone()));
            Err(error)
        });
        if let Err(error) = beaten {
            // They may not have been released.
            let mut state = self.state.lock();
            state.report.clear.append(&mut clear);
            state.lost = !error.may_pass();
            drop(state);
            if !error.may_pass() {
                self.tell(commands, FleetMessage::Lost(error));
            }
        }
        self.tell(commands, FleetMessage::Beat);
    }

    fn tell(&self, commands: &Sender<Command>, message: FleetMessage) {
        let mut message = Command::Fleet(message);
        // A dispatcher that has ended needs no news, and one that is closing waits for this thread alone.
        while let Err(SendTimeoutError::Timeout(unheard)) = commands.send_timeout(message, UNHEARD) {
            if self.state.lock().closing {
                return;
            }
            message = unheard;
        }
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

#[cfg(test)]
mod tests {
    use sched_core::store::{LimitUse, SharedLimit};

    use super::*;

    /// Tells one part a beat, and then that all is lost.
    #[derive(Debug)]
    struct Other {
        parts: Vec<u64>,
        applied: Vec<u64>,
    }

    impl FleetMember for Other {
        fn every(&self) -> Duration {
            Duration::ZERO
        }

        fn limits(&self) -> Vec<SharedLimit> {
            Vec::new()
        }

        fn beat(&mut self, report: FleetReport, tell: &mut dyn FnMut(FleetNews)) -> Result<(), StoreError> {
            self.applied.push(report.uses["slots"].applied);
            match self.parts.pop() {
                Some(part) => tell(FleetNews::Part("slots".into(), part)),
                None => return Err(StoreError::Lost { place: "here".into(), reason: "late".into() }),
            }
            Ok(())
        }

        fn leave(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[test]
    fn a_dispatcher_that_is_behind_answers_for_all_that_it_may_still_hear() {
        let (commands, inbox) = crossbeam_channel::unbounded();
        let shared = Arc::<Shared>::default();
        let thread = FleetThread { shared: Arc::clone(&shared), thread: None };
        thread.report(|report| _ = report.uses.insert("slots".into(), LimitUse::default()));
        let mut other = Other { parts: vec![3, 4, 10], applied: Vec::new() };
        // It takes no message: ten are on their way to it, and then four.
        (0..3).for_each(|_| shared.beat(&mut other, &commands));
        assert_eq!(other.applied, [0, 10, 10]);
        let hear = |amount| {
            thread.report(|report| {
                report.uses.entry("slots".into()).and_modify(|told| told.applied = amount);
            });
            thread.heard_part();
        };
        [10, 4].into_iter().for_each(hear);
        shared.beat(&mut other, &commands);
        assert_eq!(other.applied, [0, 10, 10, 4]);
        // That was its end. Nothing is told of a former self.
        shared.beat(&mut other, &commands);
        assert_eq!(other.applied.len(), 4);
        assert_eq!(
            inbox.iter().take(8).filter(|told| matches!(told, Command::Fleet(FleetMessage::Lost(_)))).count(),
            1
        );
        thread.heard_lost();
        shared.beat(&mut other, &commands);
        assert_eq!(other.applied.len(), 5);
    }

    /// Panics at its first beat, and keeps what the others report.
    #[derive(Debug, Default)]
    struct Panics(Vec<FleetReport>);

    impl FleetMember for Panics {
        fn every(&self) -> Duration {
            Duration::ZERO
        }

        fn limits(&self) -> Vec<SharedLimit> {
            Vec::new()
        }

        fn beat(&mut self, report: FleetReport, _: &mut dyn FnMut(FleetNews)) -> Result<(), StoreError> {
            self.0.push(report);
            assert!(self.0.len() > 1, "on purpose");
            Ok(())
        }

        fn leave(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[test]
    fn a_member_that_panics_is_told_of_and_beats_again() {
        let (commands, inbox) = crossbeam_channel::unbounded();
        let shared = Arc::<Shared>::default();
        let thread = FleetThread { shared: Arc::clone(&shared), thread: None };
        thread.report(|report| _ = report.clear.insert(3));
        let mut panics = Panics::default();
        (0..2).for_each(|_| shared.beat(&mut panics, &commands));
        assert!(
            panics.0.iter().all(|report| report.clear.contains(&3)),
            "nobody has heard of it: {panics:?}"
        );
        let told: Vec<_> = inbox.try_iter().collect();
        let [
            Command::Fleet(FleetMessage::Failed(error)),
            Command::Fleet(FleetMessage::Beat),
            Command::Fleet(FleetMessage::Beat),
        ] = &told[..]
        else {
            panic!("{} messages", told.len());
        };
        assert!(error.to_string().contains("panicked: on purpose"), "{error}");
    }
}
