//! Threads and tasks of the host that ask for backups, make some themselves, listen, and serve the foreground.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use backup_sched::{
    AcquireError, ForegroundLatency, JobHandle, PageCursor, PendingFilter, Permit, Scheduler,
};
use crossbeam_channel::Receiver;

use crate::faults::{Chaos, Dice, Fault, pass};
use crate::fleet::{TECHNOLOGIES, TOOLS, make, request};
use crate::ledger::Ledger;
use crate::operators::{order_jobs, order_scopes};

/// How long a caller waits for the end of a job, or for a permit, before it does something else.
const PATIENCE: Duration = Duration::from_secs(1);
const PERMIT_WITHIN: Duration = Duration::from_millis(300);
/// Requests in one message.
const AT_ONCE: usize = 4;

/// Whoever calls a scheduler, until it is over.
pub(crate) struct Caller<'h> {
    pub(crate) scheduler: Scheduler,
    pub(crate) ledger: &'h Ledger,
    pub(crate) chaos: &'h Chaos,
    pub(crate) dice: Dice,
    pub(crate) latency: &'h ForegroundLatency,
    pub(crate) over: Receiver<()>,
}

/// What a caller does.
type Call = fn(Caller<'_>);

/// The callers of a host, each a thread.
pub(crate) const CALLERS: [(&str, Call); 9] = [
    ("asks", ask),
    ("asks-too", ask),
    ("asks-for-many", ask_for_many),
    ("awaits", await_all),
    ("tool", make_oneself),
    ("orders-jobs", order_jobs),
    ("orders-scopes", order_scopes),
    ("listens", listen),
    ("serves", serve),
];

impl Caller<'_> {
    /// Lets some milliseconds pass; `false` when it is over.
    pub(crate) fn pause(&mut self, millis: std::ops::Range<u64>) -> bool {
        let time = self.dice.millis(millis);
        pass(&self.over, time)
    }

    pub(crate) fn strikes(&mut self, fault: Fault, percent: u8) -> bool {
        self.chaos.strikes(&mut self.dice, fault, percent)
    }

    fn request(&mut self) -> backup_sched::JobSpec {
        let technology = TECHNOLOGIES[self.dice.below(TECHNOLOGIES.len())];
        request(&mut self.dice, technology)
    }

    /// Waits for the end of a job, unless the handle is dropped, and holds it against the ledger.
    fn wait_for(&mut self, handle: JobHandle) {
        let job = handle.id();
        let ended = match self.strikes(Fault::HandleDropped, 10) {
            true => None,
            false => handle.wait_timeout(PATIENCE),
        };
        drop(handle);
        self.ledger.agrees(job, ended.map(|status| status.state));
    }

    /// Makes the backup that a permit is for.
    fn use_permit(&mut self, permit: Permit) {
        let job = permit.job();
        let worked = catch_unwind(AssertUnwindSafe(|| {
            let inside = self.ledger.begins(&permit);
            let made = make(&permit, self.chaos, &mut self.dice);
            drop(inside);
            if self.strikes(Fault::PermitDropped, 5) {
                return None;
            }
            Some(match made {
                Ok(()) => permit.finish().state,
                Err(error) => permit.fail(error).state,
            })
        }));
        self.ledger.agrees(job, worked.unwrap_or_default());
    }
}

fn ask(mut caller: Caller<'_>) {
    while caller.pause(0..40) {
        let spec = caller.request();
        if let Ok(handle) = caller.scheduler.submit(spec) {
            caller.wait_for(handle);
        }
    }
}

fn ask_for_many(mut caller: Caller<'_>) {
    while caller.pause(20..100) {
        let specs: Vec<_> = (0..AT_ONCE).map(|_| caller.request()).collect();
        let answers = match caller.dice.below(2) {
            0 => caller.scheduler.submit_all(specs),
            _ => caller.scheduler.submit_unconfirmed(specs),
        };
        for handle in answers.into_iter().flatten() {
            if handle.confirm().is_ok() {
                caller.wait_for(handle);
            }
        }
    }
}

fn await_all(mut caller: Caller<'_>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    while caller.pause(0..40) {
        let (spec, tool) = (caller.request(), request(&mut caller.dice, TOOLS));
        runtime.block_on(async {
            if let Ok(handle) = caller.scheduler.submit_async(spec).await {
                let ended = tokio::time::timeout(PATIENCE, &handle).await;
                caller.ledger.agrees(handle.id(), ended.ok().map(|status| status.state));
            }
            let permit = tokio::time::timeout(PERMIT_WITHIN, caller.scheduler.acquire_async(tool)).await;
            if let Ok(Ok(permit)) = permit {
                let job = permit.job();
                drop(caller.ledger.begins(&permit));
                let ended = permit.finish_async().await;
                caller.ledger.agrees(job, Some(ended.state));
            }
        });
    }
}

fn make_oneself(mut caller: Caller<'_>) {
    while caller.pause(0..40) {
        let spec = request(&mut caller.dice, TOOLS);
        match caller.scheduler.acquire_within(spec, PERMIT_WITHIN) {
            Ok(permit) => caller.use_permit(permit),
            Err(AcquireError::Ended(status)) => {
                caller.ledger.agrees(status.job.id, Some(status.state));
            }
            Err(_) => {}
        }
    }
}

/// Listens for a while, looks at everything that can be asked, and goes away.
fn listen(mut caller: Caller<'_>) {
    let mut cursor = 0;
    while caller.pause(0..40) {
        let scheduler = &caller.scheduler;
        let Ok(events) = scheduler.subscribe(1 + caller.dice.below(100)) else { continue };
        for _ in 0..caller.dice.below(50) {
            let _ = events.recv_timeout(Duration::from_millis(5));
        }
        if let Ok(page) = scheduler.events_since(cursor, 100) {
            cursor = page.next;
        }
        let _ = (scheduler.status(), scheduler.metrics(), scheduler.impact(), scheduler.learned_weeks());
        let _ = (scheduler.attempts(100), scheduler.audit(100), scheduler.next_runs(100));
        let _ = scheduler.pending_page(PendingFilter::default(), PageCursor::default(), 100);
        caller.chaos.count(Fault::SubscriberGone);
        drop(events);
    }
}

/// The application, which is quick, and suffers now and then.
fn serve(mut caller: Caller<'_>) {
    while caller.pause(2..6) {
        caller.latency.record(caller.dice.millis(1..4));
        if caller.strikes(Fault::Burst, 1) {
            (0..20).for_each(|_| caller.latency.record(Duration::from_millis(80)));
        }
    }
}
