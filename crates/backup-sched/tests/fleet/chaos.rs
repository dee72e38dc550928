//! Processes are killed and stopped, connections cut, the server crashes; a checker looks at what happened.

use std::time::Duration;

use sched_testbed::wait_until;

use crate::child::{GRACE, LEASE};
use crate::history::taken_over_after;
use crate::rig::{Rig, SOON};

/// Instances that are backed up again and again.
const INSTANCES: u32 = 12;

#[test]
#[ignore = "needs postgresql"]
fn no_job_is_lost_or_done_twice_whatever_happens() {
    let mut rig = Rig::new(3);
    // Another course each time; the seed tells which.
    let seed = std::env::var("FLEET_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("FLEET_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tickets = Vec::new();
    let mut rounds = vec![0, 1, 2, 3, 0];
    random.shuffle(&mut rounds);
    for what in rounds {
        for _ in 0..INSTANCES {
            tickets.push(rig.ask(random.u32(0..INSTANCES)));
        }
        std::thread::park_timeout(Duration::from_millis(random.u64(100..800)));
        let victim = random.usize(0..rig.children.len());
        match what {
            0 => {
                rig.kill(victim);
                rig.spawn();
            }
            1 => rig.freeze(victim, LEASE + GRACE + Duration::from_secs(2)),
            2 => {
                for _ in 0..5 {
                    rig.cut_connections();
                    std::thread::park_timeout(Duration::from_millis(300));
                }
            }
            _ => rig.crash_server(),
        }
    }
    let waits = "select count(*) from backup_sched.requests where answered is null";
    let live = "select count(*) from backup_sched.jobs where live";
    let done = wait_until("every request is answered, and every job has ended", SOON, || {
        (rig.sql(waits) == "0" && rig.sql(live) == "0").then_some(())
    });
    if let Err(error) = done {
        let jobs =
            rig.sql("select id, share, epoch, instance, attempt, state from backup_sched.jobs where live");
        panic!("{error}\n{jobs}\n{:#?}", rig.outside.status());
    }

    let history = rig.history();
    history.check();
    assert_eq!(history.asked.len(), tickets.len());
}

#[test]
#[ignore = "needs postgresql"]
fn what_a_killed_scheduler_had_is_taken_over_when_its_lease_is_over() {
    let mut rig = Rig::new(2);
    (0..INSTANCES).for_each(|instance| _ = rig.ask(instance));
    let victim = wait_until("both work", SOON, || {
        let attempts = rig.attempts();
        let runs = |pid| attempts.iter().any(|attempt| attempt.pid == pid && attempt.to.is_none());
        rig.children.iter().position(|child| runs(child.pid()))
    })
    .unwrap();
    let (pid, killed) = rig.kill(victim);
    let cut = rig.attempts().iter().any(|attempt| attempt.pid == pid && attempt.to.is_none());
    wait_until("the other one has all", SOON, || {
        let live = rig.sql("select count(*) from backup_sched.jobs where live");
        let open = rig.sql("select count(*) from backup_sched.requests where answered is null");
        (live == "0" && open == "0").then_some(())
    })
    .unwrap();
    rig.history().check();
    if cut {
        let after = taken_over_after(&rig.attempts(), pid, killed).expect("what was cut off was made again");
        println!("taken over {after:?} after the kill, with a lease of {LEASE:?}");
        assert!(after < LEASE + SOON);
    }
}
