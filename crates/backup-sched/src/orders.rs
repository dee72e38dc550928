//! Orders of operators and the configuration of places, on a [`Scheduler`] that runs.

use jiff::Timestamp;
use sched_core::{JobId, Order, Reason, ResourceName, Scope};
use sched_limits::Rate;

use crate::error::{ConfigureError, JobError, Stopped};
use crate::runtime::{Command, ROOM};
use crate::scheduler::Scheduler;

impl Scheduler {
    /// Keeps every job of `scope` from starting until [`release`](Self::release) or the order's expiry. What runs
    /// goes on.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn hold(&self, scope: Scope, order: Order) -> Result<(), Stopped> {
        self.link().engine(move |engine, now| engine.hold(now, scope, order))
    }

    /// Like [`hold`](Self::hold), and says with an event when the last running job of `scope` has ended.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn drain(&self, scope: Scope, order: Order) -> Result<(), Stopped> {
        self.link().engine(move |engine, now| engine.drain(now, scope, order))
    }

    /// Takes back a [`hold`](Self::hold) or [`drain`](Self::drain); `false` when there was none.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn release(&self, scope: Scope) -> Result<bool, Stopped> {
        self.link().engine(move |engine, now| engine.release(now, &scope))
    }

    /// Lets a waiting job start as soon as there is room, whatever load and time say; `false` when it does not
    /// wait.
    ///
    /// # Errors
    /// When the job is not known or the scheduler has ended.
    pub fn run_now(&self, job: JobId, order: Order) -> Result<bool, JobError> {
        self.link().job(move |engine, now| engine.run_now(now, job, order))
    }

    /// [`run_now`](Self::run_now) for all jobs of a scope, until the order expires or is taken back with `None`.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn run_all_now(&self, scope: Scope, order: Option<Order>) -> Result<(), Stopped> {
        self.link().engine(move |engine, now| engine.run_all_now(now, scope, order))
    }

    /// Limits what all running jobs of a scope together may move, in bytes a second (0 counts as 1); `None` lifts the
    /// ceiling. At a place (fleet, link, host, volume) what one job does not use goes to the others; in any other scope
    /// each job that moves gets an equal part.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn set_ceiling(&self, scope: Scope, ceiling: Option<(u64, Order)>) -> Result<(), Stopped> {
        self.link().engine(move |engine, now| engine.set_ceiling(now, scope, ceiling))
    }

    /// Stops a running job to continue later, without spending a retry; `false` when it does not run.
    ///
    /// # Errors
    /// When the job is not known or the scheduler has ended.
    pub fn interrupt(&self, job: JobId, why: &str, until: Option<Timestamp>) -> Result<bool, JobError> {
        let reason = Reason::new(why.to_owned());
        self.link().job(move |engine, now| engine.interrupt(now, job, reason, until))
    }

    /// Sets how many backups may run at once in the whole fleet. Below what runs, the least urgent that may pause do.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn set_max_running(&self, jobs: u32) -> Result<(), ConfigureError> {
        self.set_resource(Scope::Fleet, sched_core::SLOTS, u64::from(jobs))
    }

    /// Sets how much there is of a resource at a place; places and names may be new.
    ///
    /// # Errors
    /// When the scope is not a place, a name cannot be used or is the scheduler's own (`room`), or the scheduler has
    /// ended.
    pub fn set_resource(
        &self,
        place: Scope,
        name: impl Into<ResourceName>,
        total: u64,
    ) -> Result<(), ConfigureError> {
        let name = name.into();
        if name.as_str() == ROOM {
            return Err(ConfigureError::Reserved { name });
        }
        Ok(self.link().engine(move |engine, now| engine.set_resource(now, &place, name, total))??)
    }

    /// Sets how many jobs of a scope may run at once; `None` lifts the limit.
    ///
    /// # Errors
    /// When the scope's name cannot be used, or the scheduler has ended.
    pub fn set_limit(&self, scope: Scope, limit: Option<u32>) -> Result<(), ConfigureError> {
        Ok(self.link().engine(move |engine, now| engine.set_limit(now, &scope, limit))??)
    }

    /// Puts a link or a host under a link or the fleet, with the rates that count on the way.
    ///
    /// # Errors
    /// When the tree would have a cycle, jobs wait or run below, or the scheduler has ended. Nothing has changed then.
    pub fn set_parent(&self, child: Scope, parent: Scope) -> Result<(), ConfigureError> {
        Ok(self.link().ask(|reply| Command::Parent(child, parent, reply))??)
    }

    /// Sets the most that all jobs at a place (fleet, link, host or volume) together may move, in bytes a second;
    /// `None` lifts the limit, 0 stops them. Felt at once. The jobs share it by class (low 1, normal 2, high 4,
    /// critical 8) as long as they ask for it; what one does not use goes to the others. The lowest of this, the
    /// control laws' rate and an operator's ceiling counts; see [`Status::rates`](crate::Status::rates).
    ///
    /// # Errors
    /// When the scope is not a place, its name cannot be used, or the scheduler has ended.
    pub fn set_bandwidth(&self, place: Scope, bytes_per_sec: Option<u64>) -> Result<(), ConfigureError> {
        let rate = bytes_per_sec.map(Rate::BytesPerSec);
        Ok(self.link().ask(|reply| Command::Bandwidth(place, rate, reply))??)
    }

    /// Tells that a host or an instance is down, with the reason, or up again (`None`).
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn set_down(&self, scope: Scope, down: Option<Reason>) -> Result<(), Stopped> {
        self.link().engine(move |engine, now| engine.set_down(now, scope, down))
    }
}
