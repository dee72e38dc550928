//! Operators: orders to jobs and to scopes, and other policies.

use backup_sched::core::wall_plus;
use backup_sched::{
    Clock, JobId, Order, PageCursor, PendingFilter, Policies, Priority, Reason, ReloadError, Scope,
    SystemClock,
};

use crate::callers::Caller;
use crate::faults::Fault;
use crate::fleet::{HOSTS, TECHNOLOGIES, policies};

/// What a ceiling allows, in bytes a second: an attempt takes some milliseconds at it.
const CEILING: u64 = 10 << 20;

impl Caller<'_> {
    /// A job that runs, or one that waits.
    fn some_job(&mut self) -> Option<JobId> {
        if self.dice.below(2) == 0 {
            let running = self.scheduler.status().ok()?.running;
            return self.dice.one_of(&running).map(|job| job.status.job.id);
        }
        let page = self.scheduler.pending_page(PendingFilter::default(), PageCursor::default(), 50).ok()?;
        self.dice.one_of(&page.jobs).map(|job| job.job.id)
    }

    fn some_scope(&mut self) -> Scope {
        let host = format!("host-{}", self.dice.below(HOSTS));
        match self.dice.below(4) {
            0 => Scope::Fleet,
            1 => Scope::Technology(TECHNOLOGIES[self.dice.below(TECHNOLOGIES.len())].into()),
            2 => Scope::Destination("vault".into()),
            _ => Scope::Host(host.into()),
        }
    }

    /// An order that lasts for a moment, if nobody takes it back before.
    fn order(&mut self) -> Order {
        let expires = wall_plus(SystemClock.now().wall, self.dice.millis(10..100));
        Order::new("soak", "on purpose").until(expires)
    }
}

pub(crate) fn order_jobs(mut caller: Caller<'_>) {
    while caller.pause(5..40) {
        let (Some(job), order) = (caller.some_job(), caller.order()) else { continue };
        let scheduler = &caller.scheduler;
        // It may have ended by now, and so may the scheduler.
        let fault = match caller.dice.below(5) {
            0 => {
                caller.ledger.may_go(job);
                let _ = scheduler.cancel(job);
                Fault::Cancel
            }
            1 => {
                let _ = scheduler.interrupt(job, "on purpose", order.expires);
                Fault::Interrupt
            }
            2 => {
                let _ = scheduler.run_now(job, order);
                Fault::RunNow
            }
            _ => {
                let _ = scheduler.reprioritize(job, Priority::ALL[caller.dice.below(Priority::ALL.len())]);
                Fault::Reprioritize
            }
        };
        let _ = scheduler.explain(job);
        caller.chaos.count(fault);
    }
}

pub(crate) fn order_scopes(mut caller: Caller<'_>) {
    while caller.pause(10..60) {
        let (scope, order) = (caller.some_scope(), caller.order());
        let fault = match caller.dice.below(8) {
            0 => {
                let _ = caller.scheduler.hold(scope.clone(), order);
                Fault::Hold
            }
            1 => {
                let _ = caller.scheduler.drain(scope.clone(), order);
                caller.pause(0..20);
                let _ = caller.scheduler.release(scope);
                Fault::Hold
            }
            2 => {
                let _ = caller.scheduler.set_ceiling(scope, Some((CEILING, order)));
                Fault::Ceiling
            }
            3 => {
                let _ = caller.scheduler.run_all_now(scope, Some(order));
                Fault::RunNow
            }
            4 => {
                let _ = caller.scheduler.set_limit(scope.clone(), Some(1));
                caller.pause(0..20);
                let _ = caller.scheduler.set_limit(scope, None);
                Fault::Limit
            }
            5 => {
                let host = Scope::Host("host-1".into());
                let _ = caller.scheduler.set_down(host.clone(), Some(Reason::new("on purpose")));
                let _ = caller.scheduler.set_bandwidth(host.clone(), Some(CEILING));
                caller.pause(0..20);
                let _ = caller.scheduler.set_bandwidth(host.clone(), None);
                let _ = caller.scheduler.set_down(host, None);
                Fault::Down
            }
            6 => reload(&mut caller),
            _ => reload_badly(&caller),
        };
        caller.chaos.count(fault);
    }
}

fn reload(caller: &mut Caller<'_>) -> Fault {
    let variant = caller.dice.below(2);
    match caller.scheduler.reload(policies(variant, true)) {
        Ok(_) | Err(ReloadError::Stopped) => {}
        Err(error) => caller.ledger.complain(format!("good policies are refused: {error}")),
    }
    Fault::Reload
}

fn reload_badly(caller: &Caller<'_>) -> Fault {
    let read = |text: &str| Policies::builtin().with_toml("bad.toml", text);
    if read("[technologies.sqlite]\nrpo = 'soon'\nfloor = 7\n[nonsense]\n").is_ok() {
        caller.ledger.complain("policies that make no sense are read".into());
    }
    match read("[fleet]\nresources = { room = 9 }\n").map(|policies| caller.scheduler.reload(policies)) {
        Ok(Err(ReloadError::Reserved { .. } | ReloadError::Stopped)) => {}
        other => caller.ledger.complain(format!("bad policies: {other:?}")),
    }
    Fault::BadReload
}
