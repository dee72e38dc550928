//! How requests become jobs and permits: resolved by the policies in force, accepted by the dispatcher, by the thread that
//! asks.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use sched_core::JobSpec;

use crate::current::{Current, Resolved};
use crate::error::{AcquireError, SubmitError};
use crate::handle::{JobHandle, Permit};
use crate::runtime::{Accepted, Answers, Command, Grant, Host, Request, Route};
use crate::scheduler::{Inner, Scheduler};

/// Requests that were resolved by the policies of an epoch.
pub(crate) struct Requests {
    pub(crate) epoch: u64,
    pub(crate) good: Vec<Vec<Request>>,
    /// One for each request, in their order: why it is none of the good ones.
    refused: Vec<Option<SubmitError>>,
}

impl Requests {
    /// One answer for each request, in their order, from those to the good ones.
    pub(crate) fn answer(
        self,
        accepted: Vec<Result<Vec<JobHandle>, AcquireError>>,
    ) -> Vec<Result<Vec<JobHandle>, SubmitError>> {
        let mut accepted = accepted.into_iter();
        let answer = |refused: Option<SubmitError>| match refused {
            Some(error) => Err(error),
            None => {
                accepted.next().unwrap_or(Err(AcquireError::Submit(SubmitError::Stopped))).map_err(|error| {
                    match error {
                        AcquireError::Submit(error) => error,
                        // Only a pull request is refused for another reason.
                        _ => SubmitError::Stopped,
                    }
                })
            }
        };
        self.refused.into_iter().map(answer).collect()
    }
}

impl Scheduler {
    pub(crate) fn pull(&self, spec: JobSpec, limit: Option<Duration>) -> Result<Permit, AcquireError> {
        let (host, granted) = bounded(1);
        let handle = self.inner.pull(&spec, Host::Thread(host))?;
        let permit = |Grant(ctx)| Permit::new(ctx, handle.outcome.clone(), self.inner.link.clone());
        let answer = match limit {
            Some(limit) => granted.recv_timeout(limit),
            None => granted.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match answer {
            Ok(grant) => return Ok(permit(grant)),
            Err(RecvTimeoutError::Disconnected) => {
                let status = handle.wait();
                return Err(not_admitted(&handle, status));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let left = self.inner.link.ask(|reply| Command::Leave(handle.id(), reply));
        // It may have been admitted at the last moment.
        if let Ok(grant) = granted.try_recv() {
            return Ok(permit(grant));
        }
        match left {
            Err(stopped) => Err(AcquireError::Submit(stopped.into())),
            Ok(Ok(explanation)) if explanation.state.is_final() => {
                Err(AcquireError::Ended(Box::new(handle.wait())))
            }
            Ok(Ok(explanation)) => Err(AcquireError::TimedOut(Box::new(explanation))),
            _ => Err(AcquireError::Submit(SubmitError::Stopped)),
        }
    }
}

/// Why there was no permit for a job that has ended.
pub(crate) fn not_admitted(handle: &JobHandle, status: sched_core::JobStatus) -> AcquireError {
    handle.refused().map_or_else(|| AcquireError::Ended(Box::new(status)), AcquireError::Submit)
}

impl Inner {
    /// One answer for each request, in the same order; what `resolve` makes of one is accepted as a whole or not at all.
    pub(crate) fn submit(
        &self,
        specs: &[JobSpec],
        resolve: impl Fn(&Current, JobSpec, bool) -> Result<Vec<Resolved>, SubmitError>,
    ) -> Vec<Result<Vec<JobHandle>, SubmitError>> {
        loop {
            let mut asked = self.ask_for(specs, &resolve);
            let good = std::mem::take(&mut asked.good);
            let accepted = match good.is_empty() {
                true => Some(Vec::new()),
                false => self.accept(asked.epoch, good),
            };
            // Other policies have come into force meanwhile.
            let Some(accepted) = accepted else { continue };
            return asked.answer(accepted);
        }
    }

    /// Resolves requests for backups that executors make.
    pub(crate) fn ask_for(
        &self,
        specs: &[JobSpec],
        resolve: impl Fn(&Current, JobSpec, bool) -> Result<Vec<Resolved>, SubmitError>,
    ) -> Requests {
        let push = |current: &Current, spec: JobSpec| {
            let requests = resolve(current, spec, false)?.into_iter().map(|resolved| {
                let route = Route::Push(current.executor(&resolved.spec.technology)?);
                Ok(Request::new(resolved, route))
            });
            requests.collect::<Result<Vec<_>, SubmitError>>()
        };
        if let Err(forked) = self.link.home.check() {
            let refused = specs.iter().map(|_| Some(forked.into())).collect();
            return Requests { epoch: 0, good: Vec::new(), refused };
        }
        let current = self.current.read().clone();
        let mut asked = Requests { epoch: current.epoch, good: Vec::new(), refused: Vec::new() };
        for spec in specs {
            let refused = push(&current, spec.clone()).map(|requests| asked.good.push(requests)).err();
            asked.refused.push(refused);
        }
        asked
    }

    /// Resolves the request of somebody who makes the backup himself.
    pub(crate) fn ask_for_permit(
        &self,
        spec: &JobSpec,
        host: Host,
    ) -> Result<(u64, Vec<Vec<Request>>), AcquireError> {
        self.link.home.check().map_err(SubmitError::from)?;
        let current: Arc<Current> = self.current.read().clone();
        let resolved = current.resolve_one(spec.clone(), true)?;
        Ok((current.epoch, vec![vec![Request::new(resolved, Route::Pull(host))]]))
    }

    /// Has somebody who makes the backup himself wait for his turn.
    fn pull(&self, spec: &JobSpec, host: Host) -> Result<JobHandle, AcquireError> {
        loop {
            let (epoch, request) = self.ask_for_permit(spec, host.clone())?;
            let Some(accepted) = self.accept(epoch, request) else { continue };
            return only(accepted);
        }
    }

    /// One answer for each of the requests, in the same order; `None` when the policies that they were resolved by are no
    /// longer in force.
    fn accept(
        &self,
        epoch: u64,
        requests: Vec<Vec<Request>>,
    ) -> Option<Vec<Result<Vec<JobHandle>, AcquireError>>> {
        let asked = requests.len();
        match self.link.ask(|reply| Command::Submit(epoch, requests, reply.into())) {
            Ok(answers) => Some(self.handles(answers?)),
            Err(why) => Some((0..asked).map(|_| Err(AcquireError::Submit(why.into()))).collect()),
        }
    }

    /// Handles on what was accepted.
    pub(crate) fn handles(&self, answers: Answers) -> Vec<Result<Vec<JobHandle>, AcquireError>> {
        let handle = |accepted: Accepted| JobHandle {
            job: accepted.job,
            outcome: accepted.outcome,
            confirmation: accepted.confirmation,
            link: self.link.clone(),
        };
        let handles = |all: Vec<Accepted>| all.into_iter().map(handle).collect();
        answers.into_iter().map(|answer| answer.map(handles)).collect()
    }
}

/// So many answers of a scheduler that has ended.
pub(crate) fn stopped(requests: usize) -> Vec<Result<Vec<JobHandle>, AcquireError>> {
    (0..requests).map(|_| Err(AcquireError::Submit(SubmitError::Stopped))).collect()
}

/// The handle on the only job of the only request.
pub(crate) fn only(accepted: Vec<Result<Vec<JobHandle>, AcquireError>>) -> Result<JobHandle, AcquireError> {
    let stopped = || AcquireError::Submit(SubmitError::Stopped);
    let handles = accepted.into_iter().next().ok_or_else(stopped)??;
    handles.into_iter().next().ok_or_else(stopped)
}
