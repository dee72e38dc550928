//! A gate of the host's own: no backup starts while something is being deployed, and a deployment begins only when the
//! backups that run have ended.
//!
//! `cargo run --release --example custom_gate`
//!
//! The gate is an order, as an operator gives it: it has an author and a reason, which whoever asks is told, and it ends by
//! itself should the deployment never say that it is over. For a gate that follows a number see `custom_probe`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use backup_sched::core::wall_plus;
use backup_sched::{
    Clock, EventKind, Order, Priority, RunContext, Scheduler, Scope, Subscription, SystemClock,
};
use crossbeam_channel::bounded;
use parking_lot::Mutex;

/// Closes the gate of a scope while anything is deployed there.
#[derive(Clone)]
struct Deployments {
    scheduler: Scheduler,
    clock: Arc<dyn Clock>,
    scope: Scope,
    under_way: Arc<Mutex<Vec<(u64, Order)>>>,
}

/// A deployment under way; dropping it is its end.
struct Deployment {
    gate: Deployments,
    number: u64,
}

impl Deployments {
    fn new(scheduler: &Scheduler, clock: Arc<dyn Clock>, scope: Scope) -> Self {
        Self { scheduler: scheduler.clone(), clock, scope, under_way: Arc::default() }
    }

    /// Closes the gate for a deployment that takes no longer than `most`; then it counts as over.
    fn begin(&self, what: &str, most: Duration) -> Result<Deployment, Box<dyn Error>> {
        let order = Order::new("deployer", what).until(wall_plus(self.clock.now().wall, most));
        let mut under_way = self.under_way.lock();
        let number = under_way.last().map_or(1, |(number, _)| number + 1);
        under_way.push((number, order));
        self.follow(&under_way)?;
        Ok(Deployment { gate: self.clone(), number })
    }

    /// The gate is as the deployment that may last longest says.
    fn follow(&self, under_way: &[(u64, Order)]) -> Result<(), Box<dyn Error>> {
        match under_way.iter().max_by_key(|(_, order)| order.expires) {
            // Says with an event when the last backup has ended.
            Some((_, order)) => self.scheduler.drain(self.scope.clone(), order.clone())?,
            None => _ = self.scheduler.release(self.scope.clone())?,
        }
        Ok(())
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        let mut under_way = self.gate.under_way.lock();
        under_way.retain(|(number, _)| *number != self.number);
        // With the scheduler gone there is nothing to open.
        let _ = self.gate.follow(&under_way);
    }
}

fn wait_for(events: &Subscription, what: impl Fn(&EventKind) -> bool) -> Result<(), Box<dyn Error>> {
    let found = events.iter().find(|event| what(&event.kind));
    println!("  event: {}", found.ok_or("the scheduler has ended")?);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let (let_go, gate) = bounded::<()>(0);
    let scheduler = Scheduler::builder()
        .executor("sqlite", move |ctx: &RunContext| {
            // The first lasts until it is let go.
            while ctx.instance().as_str() == "events" && gate.recv_timeout(Duration::from_millis(10)).is_err()
            {
                ctx.checkpoint()?;
            }
            Ok(ctx.pace(4096)?)
        })
        .start()?;
    let events = scheduler.subscribe(1000)?;
    let deployments = Deployments::new(&scheduler, Arc::new(SystemClock), Scope::Fleet);

    let running = scheduler.schedule_backup("events", "sqlite", Priority::High)?;
    wait_for(&events, |kind| matches!(kind, EventKind::Started))?;
    println!("v2.3 is to be deployed while a backup runs:");
    let first = deployments.begin("v2.3 is deployed", Duration::from_secs(600))?;
    let_go.send(())?;
    wait_for(&events, |kind| matches!(kind, EventKind::Drained { .. }))?;
    println!("  {}: now it begins\n", running.wait().state);

    let waiting = scheduler.schedule_backup("orders", "sqlite", Priority::High)?;
    println!("{}\n", waiting.explain()?);
    let second = deployments.begin("its hotfix is deployed", Duration::from_secs(60))?;
    drop(first);
    println!("v2.3 is out, its hotfix is not:\n{}\n", waiting.explain()?);
    drop(second);
    wait_for(&events, |kind| matches!(kind, EventKind::HoldChanged { order: None, .. }))?;
    let done = waiting.wait();
    println!("{} {} when both were out\n", done.job.instance, done.state);

    println!("A deployer that dies leaves its gate closed for no longer than it said:");
    std::mem::forget(deployments.begin("v2.4 is deployed", Duration::from_millis(300))?);
    let late = scheduler.schedule_backup("reports", "sqlite", Priority::High)?;
    wait_for(&events, |kind| matches!(kind, EventKind::HoldChanged { order: None, .. }))?;
    let done = late.wait();
    println!("  {} {}", done.job.instance, done.state);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_sched::{JobState, ManualClock};

    #[test]
    fn the_gate_is_closed_until_the_last_deployment_is_over_or_has_had_its_time() {
        let clock = ManualClock::default();
        let scheduler = Scheduler::builder()
            .executor("sqlite", |_: &RunContext| Ok(()))
            .clock(clock.clone())
            .start()
            .unwrap();
        let gate = Deployments::new(&scheduler, Arc::new(clock.clone()), Scope::Fleet);
        let closed = |handle: &backup_sched::JobHandle| {
            handle.explain().unwrap().closed.iter().any(|gate| gate.to_string().contains("deployer"))
        };
        let hour = Duration::from_secs(3600);
        let (short, long) = (gate.begin("a", hour).unwrap(), gate.begin("b", 2 * hour).unwrap());
        let first = scheduler.schedule_backup("a", "sqlite", Priority::High).unwrap();
        drop(long);
        assert!(closed(&first));
        drop(short);
        assert_eq!(first.wait().state, JobState::Succeeded);

        std::mem::forget(gate.begin("c", hour).unwrap());
        let second = scheduler.schedule_backup("b", "sqlite", Priority::High).unwrap();
        clock.advance(hour - Duration::from_secs(1));
        assert!(closed(&second));
        clock.advance(Duration::from_secs(2));
        assert_eq!(second.wait().state, JobState::Succeeded);
    }
}
