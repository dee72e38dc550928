//! What a scheduler does for its fleet, with others that do as they are told.

use std::sync::Arc;
use std::time::Duration;

use backup_sched::core::store::{
    Entry, Fleet, FleetDesk, FleetMember, FleetNews, FleetReport, JobStore, MemoryStore, SharedLimit,
    StoreError, TakenShare,
};
use backup_sched::core::{HostName, InstanceName, JobSpec, RunLease};
use backup_sched::{JobId, ManualClock, Policies, RunContext, RunError, Scheduler};
use crossbeam_channel::{Receiver, Sender, unbounded};

const LONG: Duration = Duration::from_secs(60);
/// Beats after which something should have happened.
const MANY: u32 = 10_000;

/// All is of one share, and the lease holds.
#[derive(Debug)]
struct Desk;

impl FleetDesk for Desk {
    fn share_of(&self, _: &JobSpec) -> u32 {
        0
    }

    fn lease(&self) -> Arc<dyn RunLease> {
        Arc::new(Holds)
    }

    fn own(&self, _: &TakenShare) {}

    fn disown(&self, _: u32) {}

    fn place(&self, _: &InstanceName, _: u32) {}

    fn place_host(&self, _: &HostName, _: u32) {}
}

#[derive(Debug)]
struct Holds;

impl RunLease for Holds {
    fn left(&self) -> Duration {
        LONG
    }

    fn length(&self) -> Duration {
        LONG
    }

    fn ends_within(&self) -> Duration {
        LONG
    }
}

/// Tells what it is given to tell, and passes on which shares are clear.
#[derive(Debug)]
struct Others {
    news: Receiver<FleetNews>,
    clear: Sender<Vec<u32>>,
}

impl FleetMember for Others {
    fn every(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn limits(&self) -> Vec<SharedLimit> {
        Vec::new()
    }

    fn beat(&mut self, report: FleetReport, tell: &mut dyn FnMut(FleetNews)) -> Result<(), StoreError> {
        self.clear.send(report.clear.into_iter().collect()).ok();
        self.news.try_iter().for_each(tell);
        Ok(())
    }

    fn leave(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A store that tells when it is to write, and writes when it may.
#[derive(Debug)]
struct Gated {
    store: MemoryStore,
    asked: Sender<()>,
    gate: Receiver<()>,
    fleet: Option<Fleet>,
}

impl JobStore for Gated {
    fn place(&self) -> String {
        self.store.place()
    }

    fn open(&mut self) -> Result<(), StoreError> {
        self.store.open()
    }

    fn load(&mut self, take: &mut dyn FnMut(Entry)) -> Result<JobId, StoreError> {
        self.store.load(take)
    }

    fn commit(&mut self, group: &[Entry]) -> Result<(), StoreError> {
        self.asked.send(()).ok();
        // Closed, it holds nobody up.
        self.gate.recv().ok();
        self.store.commit(group)
    }

    fn fleet(&mut self) -> Option<Fleet> {
        self.fleet.take()
    }
}

/// Not all that is written is a record of the engine: how what recurs stands is none.
#[test]
fn a_share_is_left_when_all_of_it_is_written() {
    let policies = "[instances.a]\ntechnology = 'generic'\nschedule = '0 3 * * *'\n";
    let policies = Policies::builtin().with_toml("policy.toml", policies).unwrap();
    let (store, (asked, is_asked), (open, gate)) = (MemoryStore::new(), unbounded(), unbounded::<()>());
    let ((tell, news), (clear, is_clear)) = (unbounded(), unbounded());
    let member = Box::new(Others { news, clear });
    let fleet = Some(Fleet { desk: std::sync::Arc::new(Desk), member });
    let gated = Gated { store: store.clone(), asked, gate, fleet };
    let at_once = |_: &RunContext| -> Result<(), RunError> { Ok(()) };
    let builder = Scheduler::builder().policies(policies).clock(ManualClock::default());
    let scheduler = builder.executor("generic", at_once).store(gated).start().unwrap();
    let taken = TakenShare { share: 0, epoch: 1, owner: 1, jobs: Vec::new(), facts: Vec::new() };
    tell.send(FleetNews::Taken(Box::new(taken))).unwrap();
    is_asked.recv_timeout(LONG).expect("it is written how what recurs stands");
    tell.send(FleetNews::GiveUp(vec![0])).unwrap();
    let beat = || is_clear.recv_timeout(LONG).unwrap();
    // It has heard of that when it answers, and the beats that follow say what it makes of it.
    let is_told = (0..MANY).any(|_| {
        assert!(beat().is_empty(), "it is not written yet");
        tell.is_empty()
    });
    assert!(is_told);
    for _ in 0..100 {
        scheduler.summary().unwrap();
        assert!(beat().is_empty(), "it is not written yet");
    }
    drop(open);
    assert!((0..MANY).any(|_| beat() == [0]), "now it is");
    let written = store.entries();
    assert!(written.iter().any(|entry| matches!(entry, Entry::Schedule(_))), "{written:?}");
    scheduler.shutdown(LONG);
}
