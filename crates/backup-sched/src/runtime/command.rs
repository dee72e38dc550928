//! What other threads tell the dispatcher, and how they ask.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};
use jiff::Timestamp;
use parking_lot::Mutex;
use sched_core::store::AuditEntry;
use sched_core::{
    AttemptEnd, AttemptId, Cancellation, Engine, Event, Executor, Explanation, JobId, JobSpec, JobTerms,
    Needs, Now, PauseMark, PlaceError, Progress, Reason, RunContext, RunPhase, Scope, UnknownJob, Wake,
};
use sched_limits::{Rate, Sample};
use sched_observe::impact::ImpactSnapshot;
use sched_workload::{DetectError, LoadReading};

use super::slot::{Answer, Reply, Slot};
use super::{FleetMessage, Foresight, Home, Records, Schedules, StoreNews};
use crate::current::{Current, Resolved};
use crate::error::{AcquireError, JobError, Stopped};
use crate::handle::{Confirmation, Outcome};
use crate::metrics::Measured;
use crate::reload::Asked;
use crate::runtime::PolicySignals;
use crate::status::{ShutdownReport, Status, Summary};
use crate::told::Told;

/// A message to the dispatcher.
pub(crate) enum Command {
    /// Requests that were resolved by the policies of an epoch, each accepted as a whole or not at all. `None` is answered
    /// when others are in force by now.
    Submit(u64, Vec<Vec<Request>>, Reply<Option<Answers>>),
    /// Whatever is asked of the engine and needs nothing else. The closure sends its own reply.
    Engine(EngineCall),
    Status(Sender<Status>),
    Summary(Sender<Summary>),
    Metrics(Sender<Measured>),
    /// Whatever is asked of what has happened. The closure sends its own reply.
    Records(RecordsCall),
    Subscribe(Sender<Arc<Event>>, Sender<()>),
    Mark(AttemptId, PauseMark),
    Phase(AttemptId, RunPhase),
    Progress(AttemptId, Progress),
    Ended(AttemptId, AttemptEnd),
    Sample(usize, Result<Sample, String>),
    /// With when it was asked.
    Load(usize, Now, Result<LoadReading, DetectError>),
    /// Somebody waits no longer for a permit; what the job waits for is the answer.
    Leave(JobId, Sender<Result<Explanation, UnknownJob>>),
    Bandwidth(Scope, Option<Rate>, Sender<Result<(), PlaceError>>),
    /// A place is put under another.
    Parent(Scope, Scope, Sender<Result<(), PlaceError>>),
    /// Jobs that have not ended, from the one after that on, no more than so many.
    Asked(Option<JobId>, usize, Sender<Vec<Asked>>),
    /// Puts other policies in force, with what they make of signals.
    Exchange(Arc<Current>, Box<PolicySignals>, Sender<()>),
    /// What is known of what backups have cost, for whoever asks to make a report of; `None` if that is not measured.
    Impact(Sender<Option<ImpactSnapshot>>),
    Shutdown(Duration, Reply<ShutdownReport>),
    /// Whatever is asked of foresight. The closure sends its own reply.
    Foresight(ForesightCall),
    /// Whatever is asked of what recurs, with the wall as it is believed. The closure sends its own reply.
    Schedules(SchedulesCall),
    /// The store has written, failed, or works again.
    Store(StoreNews),
    /// What other schedulers that share the store have to say.
    Fleet(FleetMessage),
    /// Somebody asks for the end of a job.
    Cancel(JobId, Reason, Sender<Result<Cancellation, UnknownJob>>),
    /// Somebody asks for the end of many jobs; answers are in the same order.
    CancelAll(Vec<JobId>, Reason, Sender<Vec<Result<Cancellation, UnknownJob>>>),
    /// What a former attempt of a job left is cleaned up.
    CleanedUp(JobId),
    /// At most so many audit entries, newest first.
    Audit(usize, Sender<Vec<AuditEntry>>),
    /// The clock was moved by hand.
    Look,
}

pub(crate) type RecordsCall = Box<dyn FnOnce(&Records) + Send>;
pub(crate) type EngineCall = Box<dyn FnOnce(&mut Engine, Now) + Send>;
pub(crate) type SchedulesCall = Box<dyn FnOnce(&mut Schedules, Timestamp) + Send>;
pub(crate) type ForesightCall = Box<dyn FnOnce(&mut Foresight, &Engine, Now) + Send>;

pub(crate) type Answers = Vec<Result<Vec<Accepted>, AcquireError>>;

/// A request under the terms of its policy.
pub(crate) struct Request {
    pub(crate) spec: JobSpec,
    pub(crate) terms: Arc<JobTerms>,
    pub(crate) needs: Needs,
    pub(crate) asked: Option<Box<JobSpec>>,
    pub(crate) route: Route,
}

impl Request {
    pub(crate) fn new(resolved: Resolved, route: Route) -> Self {
        let Resolved { spec, terms, needs, asked } = resolved;
        Self { spec, terms, needs, asked, route }
    }
}

/// Who makes a job's backup.
#[derive(Clone)]
pub(crate) enum Route {
    /// A worker thread runs this.
    Push(Arc<dyn Executor>),
    /// The host does, once it has the grant.
    Pull(Host),
}

/// Where a permit is handed to the thread or the task that waits for it.
#[derive(Clone)]
pub(crate) enum Host {
    Thread(Sender<Grant>),
    Task(Arc<Slot<Grant>>),
}

impl Host {
    /// Whether somebody has it now.
    pub(crate) fn hand(&self, grant: Grant) -> bool {
        match self {
            Self::Thread(host) => host.try_send(grant).is_ok(),
            Self::Task(slot) => slot.put(grant).is_ok(),
        }
    }
}

/// An admitted attempt on its way to the host.
pub(crate) struct Grant(pub(crate) RunContext);

/// An accepted submission.
pub(crate) struct Accepted {
    pub(crate) job: JobId,
    pub(crate) outcome: Arc<Outcome>,
    /// Whether the job was made by it, and not joined.
    pub(crate) is_new: bool,
    pub(crate) confirmation: Option<Arc<Confirmation>>,
}

/// A way to the dispatcher.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) commands: Sender<Command>,
    /// Disconnected once nobody reads commands any more. A command that comes just before stays in the channel,
    /// its reply channel with it: whoever waits for the reply alone waits for ever.
    gone: Receiver<()>,
    /// The same for tasks.
    over: Arc<Told<()>>,
    pub(crate) home: Home,
    /// Nobody holds the scheduler any more.
    left: Arc<AtomicBool>,
    /// What tasks said while too many commands were under way, in their order.
    beyond: Arc<Mutex<VecDeque<Command>>>,
}

/// Kept by whoever reads the commands of a [`Link`], and dropped after them.
pub(crate) struct Presence {
    #[expect(dead_code, reason = "its drop is what counts")]
    to_threads: Sender<()>,
    to_tasks: Arc<Told<()>>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.to_tasks.tell(());
    }
}

impl Link {
    /// A link through which `capacity` commands may be under way, and its other end.
    pub(crate) fn new(capacity: usize) -> (Self, Receiver<Command>, Presence) {
        let (commands, inbox) = bounded(capacity);
        let (presence, gone) = bounded(0);
        let over = Arc::<Told<()>>::default();
        let presence = Presence { to_threads: presence, to_tasks: over.clone() };
        let (home, left, beyond) = (Home::here(), Arc::default(), Arc::default());
        (Self { commands, gone, over, home, left, beyond }, inbox, presence)
    }

    /// Sends a command and never waits, not even while too many are under way. In another process it does nothing.
    pub(crate) fn post(&self, command: Command) {
        if !self.home.is_here() {
            return;
        }
        let mut beyond = self.beyond.lock();
        let command = match beyond.is_empty() {
            // With nobody there a command is dropped, and whoever waits for its answer knows.
            true => match self.commands.try_send(command) {
                Err(TrySendError::Full(command)) => command,
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
            },
            false => command,
        };
        beyond.push_back(command);
        drop(beyond);
        // While the inbox is full the dispatcher is awake, and looks here after it; it may have emptied it meanwhile.
        let _ = self.commands.try_send(Command::Look);
    }

    /// What found no room among the commands, for the dispatcher.
    pub(crate) fn take_beyond(&self) -> VecDeque<Command> {
        std::mem::take(&mut *self.beyond.lock())
    }

    /// Sends a command made with a way to reply; the answer is awaited, and the caller's thread never waits.
    pub(crate) fn ask_async<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Answer<T> {
        let (reply, answer) = Answer::new(self.over.clone());
        self.post(command(reply));
        answer
    }

    /// Has the scheduler end, without waiting for anything: the dispatcher looks after each message whether somebody has.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Whether somebody has [left](Self::leave) since this was asked last.
    pub(crate) fn was_left(&self) -> bool {
        self.left.swap(false, Ordering::SeqCst)
    }

    /// Sends a command made with a reply channel and waits for the reply.
    pub(crate) fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, Stopped> {
        self.home.check()?;
        let (reply, answer) = bounded(1);
        self.commands.send(command(reply)).map_err(|_| Stopped::Ended)?;
        select! {
            recv(answer) -> answered => answered.map_err(|_| Stopped::Ended),
            // The last thing done may have been to answer.
            recv(self.gone) -> _ => answer.try_recv().map_err(|_| Stopped::Ended),
        }
    }

    /// Calls the engine on the dispatcher's thread and waits for the answer.
    pub(crate) fn engine<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Engine, Now) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        // A caller that no longer waits for its reply is no concern of the dispatcher's.
        self.ask(|reply| Command::Engine(Box::new(move |engine, now| drop(reply.send(call(engine, now))))))
    }

    /// [`engine`](Self::engine) for calls about one job.
    pub(crate) fn job<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Engine, Now) -> Result<T, UnknownJob> + Send + 'static,
    ) -> Result<T, JobError> {
        Ok(self.engine(call)??)
    }

    /// Asks foresight on the dispatcher's thread and waits for the answer.
    pub(crate) fn foresight<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Foresight, &Engine, Now) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.ask(|reply| {
            let call = move |foresight: &mut Foresight, engine: &Engine, now: Now| {
                drop(reply.send(call(foresight, engine, now)));
            };
            Command::Foresight(Box::new(call))
        })
    }

    /// Asks what recurs on the dispatcher's thread and waits for the answer.
    pub(crate) fn schedules<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Schedules, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.ask(|reply| {
            let call = move |schedules: &mut Schedules, wall| drop(reply.send(call(schedules, wall)));
            Command::Schedules(Box::new(call))
        })
    }

    pub(crate) fn cancel(&self, job: JobId, reason: Reason) -> Result<Cancellation, JobError> {
        Ok(self.ask(|reply| Command::Cancel(job, reason, reply))??)
    }

    pub(crate) fn explain(&self, job: JobId) -> Result<Explanation, JobError> {
        self.job(move |engine, _| engine.explain(job))
    }
}

impl Wake for Link {
    fn wake(&self) {
        // A full channel means that the dispatcher is awake anyway and reads the clock for each message.
        drop(self.commands.try_send(Command::Look));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_question_that_nobody_will_read_is_not_waited_for() {
        let (link, inbox, presence) = Link::new(4);
        drop(presence);
        // The inbox outlives its reader here, as messages do that come between its last look and its end.
        assert_eq!(link.ask(Command::Status).unwrap_err(), Stopped::Ended);
        assert_eq!(inbox.len(), 1);
        drop(inbox);
        assert_eq!(link.ask(Command::Status).unwrap_err(), Stopped::Ended);
    }

    #[test]
    fn a_question_in_another_process_is_refused_at_once() {
        let (mut link, inbox, _presence) = Link::new(4);
        link.home = Home::elsewhere();
        let refused = link.ask(Command::Status).unwrap_err();
        assert!(matches!(refused, Stopped::Forked { .. }), "{refused}");
        let reason = Reason::new("never mind");
        assert_eq!(link.cancel(JobId(1), reason).unwrap_err(), JobError::Forked(refused));
        assert!(inbox.is_empty(), "nobody would read it");
    }

    #[test]
    fn a_task_that_asks_never_waits_for_room_and_is_told_when_nobody_answers() {
        let (link, inbox, presence) = Link::new(1);
        let shutdown = |reply| Command::Shutdown(Duration::ZERO, reply);
        let mut asked: Vec<_> = (0..3).map(|_| link.ask_async(shutdown)).collect();
        let Ok(Command::Shutdown(_, reply)) = inbox.try_recv() else { panic!("another command") };
        drop(reply.send(ShutdownReport { finished: 7, ..ShutdownReport::default() }));
        // The others wait for the dispatcher's next look; the inbox outlives its reader.
        assert!(inbox.is_empty());
        let unread = link.take_beyond();
        assert_eq!(unread.len(), 2);
        drop(presence);
        let mut task = Context::from_waker(Waker::noop());
        let mut polled = asked.iter_mut().map(|answer| Pin::new(answer).poll(&mut task));
        assert!(matches!(polled.next(), Some(Poll::Ready(Ok(report))) if report.finished == 7));
        assert!(polled.all(|answer| matches!(answer, Poll::Ready(Err(Stopped::Ended)))));
        drop((unread, inbox));
    }

    #[test]
    fn what_found_no_room_is_taken_in_its_order_and_the_dispatcher_is_woken_for_it() {
        let (link, inbox, _presence) = Link::new(1);
        link.post(Command::Look);
        for grace in 0..3 {
            link.post(Command::Shutdown(Duration::from_secs(grace), bounded(1).0.into()));
        }
        // It has taken all that was in the inbox before the next one comes.
        assert!(matches!(inbox.try_recv(), Ok(Command::Look)) && inbox.is_empty());
        link.post(Command::Shutdown(Duration::from_secs(3), bounded(1).0.into()));
        assert!(matches!(inbox.try_recv(), Ok(Command::Look)), "nobody would look");
        let graces = link.take_beyond().into_iter().map(|command| match command {
            Command::Shutdown(grace, _) => grace.as_secs(),
            _ => panic!("another command"),
        });
        assert_eq!(graces.collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn an_answer_that_was_the_last_thing_done_arrives() {
        let (link, inbox, presence) = Link::new(4);
        let server = std::thread::spawn(move || {
            let Ok(Command::Shutdown(_, reply)) = inbox.recv() else { panic!("another command") };
            reply.send(ShutdownReport { finished: 7, ..ShutdownReport::default() }).unwrap();
            drop((inbox, presence));
        });
        let report = link.ask(|reply| Command::Shutdown(Duration::ZERO, reply.into())).unwrap();
        assert_eq!(report.finished, 7);
        server.join().unwrap();
    }
}
