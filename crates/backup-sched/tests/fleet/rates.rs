//! A rate that all schedulers of a fleet share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backup_sched::{Clock, JobHandle, JobSpec, RunContext, RunError, Scheduler, Scope, SystemClock};
use sched_store::shared::{SharedStore, share_of_name};
use sched_testbed::{Postgres, wait_until};

use crate::child::{address, config};
use crate::rig::SOON;

/// Bytes a second for all.
const RATE: u64 = 1_000_000;
/// What an executor moves at once.
const CHUNK: u64 = 2_000;
/// Shares of the fleet.
const SHARES: u32 = 16;

/// Two schedulers, each with a count of the bytes that its backups have moved.
struct Two {
    server: Postgres,
    outside: SharedStore,
    members: BTreeMap<&'static str, (Scheduler, Arc<AtomicU64>)>,
}

impl Two {
    fn new() -> Self {
        let server = Postgres::start().unwrap();
        let store = |name: &str| {
            let config = config(&address(&server), server.password(), name);
            SharedStore::connect(config.rate_limit(Scope::Fleet, RATE)).unwrap()
        };
        let outside = store("outside");
        let member = |name| {
            let moved = Arc::<AtomicU64>::default();
            let counted = Arc::clone(&moved);
            // Until it is cancelled.
            let endless = move |ctx: &RunContext| -> Result<(), RunError> {
                loop {
                    ctx.pace(CHUNK)?;
                    counted.fetch_add(CHUNK, Ordering::Relaxed);
                }
            };
            let scheduler = Scheduler::builder().executor("generic", endless).store(store(name)).start();
            (name, (scheduler.unwrap(), moved))
        };
        let members = ["a", "b"].map(member).into();
        let mut two = Self { server, outside, members };
        let outside = &mut two.outside;
        wait_until("both have their shares", SOON, || {
            let status = outside.status().ok()?;
            let halves = status.members.iter().filter(|member| member.shares.len() == 8).count();
            (halves == 2).then_some(())
        })
        .unwrap();
        two
    }

    /// Has one of them begin a backup of its own that does not end by itself.
    fn begin(&mut self, name: &str) -> JobHandle {
        let status = self.outside.status().unwrap();
        let member = status.members.iter().find(|member| member.name == name).unwrap();
        let mut hosts = (0..).map(|n| format!("host-{n}"));
        let host = hosts.find(|host| member.shares.contains(&share_of_name(host, SHARES)));
        let spec = JobSpec::new(format!("db-of-{name}"), "generic").host(host.unwrap());
        self.members[name].0.submit(spec).unwrap()
    }

    /// The parts of both, and never more in sum than there is.
    fn parts(&self) -> [u64; 2] {
        let bounds = "select coalesce(sum(greatest(amount, bound)), 0) from backup_sched.grants
                      where limit_name like 'rate%'";
        let sum: u64 = self.server.sql(bounds).unwrap().parse().unwrap();
        assert!(sum <= RATE, "{sum} are granted");
        let amount = |name| {
            let amount = format!(
                "select coalesce(max(amount), 0) from backup_sched.grants g join backup_sched.schedulers s on s.id = g.scheduler
                 where limit_name like 'rate%' and s.name = '{name}'"
            );
            self.server.sql(&amount).unwrap().parse().unwrap()
        };
        ["a", "b"].map(amount)
    }

    fn come_to(&self, what: &str, parts: [u64; 2]) {
        let mut last = [0; 2];
        wait_until(what, SOON, || {
            last = self.parts();
            let near = last.iter().zip(&parts).all(|(is, to_be)| is.abs_diff(*to_be) <= 1);
            near.then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {last:?} instead of {parts:?}"));
    }

    /// The bytes a second that both have moved together, over so long, while the parts are looked at.
    fn moves(&self, over: Duration) -> f64 {
        let moved = || self.members.values().map(|(_, moved)| moved.load(Ordering::Relaxed)).sum::<u64>();
        let (before, begun) = (moved(), SystemClock.now().mono);
        let passed = || SystemClock.now().mono.since(begun);
        while passed() < over {
            self.parts();
            std::thread::park_timeout(Duration::from_millis(20));
        }
        (moved() - before) as f64 / passed().as_secs_f64()
    }
}

#[test]
#[ignore = "needs postgresql"]
fn a_rate_of_all_is_divided_by_demand_and_never_exceeded() {
    let mut two = Two::new();
    let of_a = two.begin("a");
    two.come_to("who runs alone has all", [RATE, 0]);
    let of_b = two.begin("b");
    two.come_to("two share it", [RATE / 2, RATE / 2]);
    // Buckets hold 50 ms at most; the rest is for a machine that is busy.
    let together = two.moves(Duration::from_secs(4));
    assert!((0.5..1.1).contains(&(together / RATE as f64)), "{together} bytes/s");
    of_a.cancel().unwrap();
    two.come_to("the other one has all", [0, RATE]);
    let of_a = two.begin("a");
    two.come_to("they share it again", [RATE / 2, RATE / 2]);
    // Who has gone needs none.
    of_b.cancel().unwrap();
    two.members.remove("b").unwrap().0.shutdown(SOON);
    two.come_to("who is left has all", [RATE, 0]);
    let alone = two.moves(Duration::from_secs(2));
    assert!((0.5..1.1).contains(&(alone / RATE as f64)), "{alone} bytes/s");
    of_a.cancel().unwrap();
}
