//! What other threads tell the dispatcher, and how they ask.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use sched_core::{
    AttemptEnd, AttemptId, Cancellation, Engine, Event, Executor, Explanation, JobId, JobSpec, JobTerms, Now,
    PauseMark, PlaceError, Reason, RunContext, Scope, UnknownJob, Wake,
};
use sched_limits::{Rate, Sample};
use sched_workload::LoadReading;

use crate::error::{AcquireError, JobError, Stopped};
use crate::handle::Outcome;
use crate::scheduler::{ShutdownReport, Status};

/// A message to the dispatcher.
pub(crate) enum Command {
    Submit(Vec<Request>, Sender<Vec<Result<Accepted, AcquireError>>>),
    /// Whatever is asked of the engine and needs nothing else. The closure sends its own reply.
    Engine(EngineCall),
    Explain(JobId, Sender<Result<Explanation, UnknownJob>>),
    Status(Sender<Status>),
    Subscribe(Sender<Arc<Event>>, Sender<()>),
    Mark(AttemptId, PauseMark),
    Ended(AttemptId, AttemptEnd),
    Sample(usize, Result<Sample, String>),
    Load(usize, Result<LoadReading, String>),
    Bandwidth(Scope, Rate, Sender<Result<(), PlaceError>>),
    Shutdown(Duration, Sender<ShutdownReport>),
    /// The clock was moved by hand.
    Look,
}

pub(crate) type EngineCall = Box<dyn FnOnce(&mut Engine, Now) + Send>;

/// A request under the terms of its policy.
pub(crate) struct Request {
    pub(crate) spec: JobSpec,
    pub(crate) terms: Arc<JobTerms>,
    pub(crate) route: Route,
}

/// Who makes a job's backup.
#[derive(Clone)]
pub(crate) enum Route {
    /// A worker thread runs this.
    Push(Arc<dyn Executor>),
    /// The host does, once it has the grant.
    Pull(Sender<Grant>),
}

/// An admitted attempt on its way to the host.
pub(crate) struct Grant(pub(crate) RunContext);

/// An accepted submission.
pub(crate) struct Accepted {
    pub(crate) job: JobId,
    pub(crate) outcome: Arc<Outcome>,
}

/// A way to the dispatcher.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) commands: Sender<Command>,
    /// Disconnected once nobody reads commands any more. A command that comes just before stays in the channel,
    /// its reply channel with it: whoever waits for the reply alone waits for ever.
    gone: Receiver<()>,
}

/// Kept by whoever reads the commands of a [`Link`], and dropped after them.
pub(crate) struct Presence(#[expect(dead_code, reason = "its drop is what counts")] Sender<()>);

impl Link {
    /// A link through which `capacity` commands may be under way, and its other end.
    pub(crate) fn new(capacity: usize) -> (Self, Receiver<Command>, Presence) {
        let (commands, inbox) = bounded(capacity);
        let (presence, gone) = bounded(0);
        (Self { commands, gone }, inbox, Presence(presence))
    }

    /// Sends a command made with a reply channel and waits for the reply.
    pub(crate) fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = bounded(1);
        self.commands.send(command(reply)).map_err(|_| Stopped)?;
        select! {
            recv(answer) -> answered => answered.map_err(|_| Stopped),
            // The last thing done may have been to answer.
            recv(self.gone) -> _ => answer.try_recv().map_err(|_| Stopped),
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
        Ok(self.engine(call).map_err(|_| JobError::Stopped)??)
    }

    pub(crate) fn cancel(&self, job: JobId, reason: Reason) -> Result<Cancellation, JobError> {
        self.job(move |engine, now| engine.cancel(now, job, reason))
    }

    pub(crate) fn explain(&self, job: JobId) -> Result<Explanation, JobError> {
        Ok(self.ask(|reply| Command::Explain(job, reply)).map_err(|_| JobError::Stopped)??)
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
    use super::*;

    #[test]
    fn a_question_that_nobody_will_read_is_not_waited_for() {
        let (link, inbox, presence) = Link::new(4);
        drop(presence);
        // The inbox outlives its reader here, as messages do that come between its last look and its end.
        assert_eq!(link.ask(Command::Status).unwrap_err(), Stopped);
        assert_eq!(inbox.len(), 1);
        drop(inbox);
        assert_eq!(link.ask(Command::Status).unwrap_err(), Stopped);
    }

    #[test]
    fn an_answer_that_was_the_last_thing_done_arrives() {
        let (link, inbox, presence) = Link::new(4);
        let server = std::thread::spawn(move || {
            let Ok(Command::Shutdown(_, reply)) = inbox.recv() else { panic!("another command") };
            reply.send(ShutdownReport { finished: 7, ..ShutdownReport::default() }).unwrap();
            drop((inbox, presence));
        });
        let report = link.ask(|reply| Command::Shutdown(Duration::ZERO, reply)).unwrap();
        assert_eq!(report.finished, 7);
        server.join().unwrap();
    }
}
