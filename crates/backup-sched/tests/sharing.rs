//! What a scheduler does for its fleet, with others that do as they are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use backup_sched::core::store::{
    Entry, Fleet, FleetDesk, FleetMember, FleetNews, FleetReport, JobStore, MemoryStore, SharedLimit,
    StoreError, TakenShare,
};
use backup_sched::core::{HostName, InstanceName, JobSpec, RunLease};
use backup_sched::{Clock, EventKind, JobId, ManualClock, Policies, RunContext, RunError, Scheduler, Scope};
use crossbeam_channel::{Receiver, Sender, unbounded};
use jiff::Timestamp;

const LONG: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Beats after which something should have happened.
const MANY: u32 = 10_000;

/// The cluster `ours` is of share 1, all else of share 0.
#[derive(Debug, Default)]
struct Desk(Arc<Lease>);

impl FleetDesk for Desk {
    fn share_of(&self, spec: &JobSpec) -> u32 {
        u32::from(spec.groups.iter().any(|group| group.as_str().starts_with("ours")))
    }

    fn lease(&self) -> Arc<dyn RunLease> {
        self.0.clone()
    }

    fn own(&self, _: &TakenShare) {}

    fn disown(&self, _: u32) {}

    fn place(&self, _: &InstanceName, _: u32) {}

    fn place_host(&self, _: &HostName, _: u32) {}
}

/// Holds until it is ended.
#[derive(Debug, Default)]
struct Lease {
    over: AtomicBool,
}

impl RunLease for Lease {
    fn left(&self) -> Duration {
        if self.over.load(Relaxed) { Duration::ZERO } else { LONG }
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

/// A scheduler that hears what a test tells it.
struct Rig {
    scheduler: Scheduler,
    clock: ManualClock,
    store: MemoryStore,
    tell: Sender<FleetNews>,
    is_clear: Receiver<Vec<u32>>,
    is_asked: Receiver<()>,
    /// Dropped, all is written at once.
    open: Option<Sender<()>>,
}

impl Rig {
    fn new(file: &str) -> Self {
        let (store, (asked, is_asked), (open, gate)) = (MemoryStore::new(), unbounded(), unbounded());
        let ((tell, news), (clear, is_clear)) = (unbounded(), unbounded());
        let member = Box::new(Others { news, clear });
        let fleet = Some(Fleet { desk: Arc::new(Desk::default()), member });
        let gated = Gated { store: store.clone(), asked, gate, fleet };
        let at_once = |_: &RunContext| -> Result<(), RunError> { Ok(()) };
        let clock = ManualClock::default();
        let builder = Scheduler::builder().policies(policies(file)).clock(clock.clone());
        let scheduler = builder.executor("generic", at_once).store(gated).start().unwrap();
        Self { scheduler, clock, store, tell, is_clear, is_asked, open: Some(open) }
    }

    fn take(&self, share: u32) {
        let taken = TakenShare::new(share, 1, 1);
        self.tell.send(FleetNews::Taken(Box::new(taken))).unwrap();
    }

    /// Which shares are clear, at the next beat.
    fn beat(&self) -> Vec<u32> {
        self.is_clear.recv_timeout(LONG).unwrap()
    }

    /// When the backup of an instance is due next.
    fn due(&self, instance: &str) -> Option<Timestamp> {
        self.scheduler.next_runs_of(instance).unwrap()[0].due
    }
}

fn policies(file: &str) -> Policies {
    Policies::builtin().with_toml("policy.toml", file).unwrap()
}

/// Not all that is written is a record of the engine: how what recurs stands is none.
#[test]
fn a_share_is_left_when_all_of_it_is_written() {
    let mut rig = Rig::new("[instances.a]\ntechnology = 'generic'\nschedule = '0 3 * * *'\n");
    rig.take(0);
    rig.is_asked.recv_timeout(LONG).expect("it is written how what recurs stands");
    rig.tell.send(FleetNews::GiveUp(vec![0])).unwrap();
    // It has heard of that when it answers, and the beats that follow say what it makes of it.
    let is_told = (0..MANY).any(|_| {
        assert!(rig.beat().is_empty(), "it is not written yet");
        rig.tell.is_empty()
    });
    assert!(is_told);
    for _ in 0..100 {
        rig.scheduler.summary().unwrap();
        assert!(rig.beat().is_empty(), "it is not written yet");
    }
    drop(rig.open.take());
    assert!((0..MANY).any(|_| rig.beat() == [0]), "now it is");
    let written = rig.store.entries();
    assert!(written.iter().any(|entry| matches!(entry, Entry::Schedule(_))), "{written:?}");
    rig.scheduler.shutdown(LONG);
}

#[test]
fn what_was_learned_of_the_load_is_written_before_a_share_is_left() {
    let mut rig = Rig::new("");
    drop(rig.open.take());
    rig.take(0);
    let now = rig.clock.now().wall;
    let samples = (1..48).rev().map(|n| (now - HOUR / 2 * n, 50.0));
    let host = Scope::Host("db-1".into());
    assert!(rig.scheduler.learn(host.clone(), samples.collect::<Vec<_>>()).unwrap() > 0);
    rig.tell.send(FleetNews::GiveUp(vec![0])).unwrap();
    assert!((0..MANY).any(|_| rig.beat() == [0]));
    let written = rig.store.entries();
    let is_week = |entry: &Entry| matches!(entry, Entry::Week(scope, Some(_)) if *scope == host);
    assert!(written.iter().any(is_week), "{written:?}");
    rig.scheduler.shutdown(LONG);
}

/// Its former owner may be making the slot that has just passed.
#[test]
fn an_instance_that_policies_move_here_begins_with_its_next_slot() {
    let file = |cluster: &str| {
        format!(
            "[clusters.ours]\ntechnology = 'generic'\n[clusters.theirs]\ntechnology = 'generic'\n\
             [instances.a]\ncluster = '{cluster}'\nschedule = '0 3 * * *'\n\
             [instances.b]\ncluster = 'ours'\nschedule = '0 3 * * *'\n"
        )
    };
    let mut rig = Rig::new(&file("theirs"));
    drop(rig.open.take());
    rig.take(1);
    let slot = rig.clock.now().wall + HOUR * 3;
    let is_schedule = |entry: &Entry| matches!(entry, Entry::Schedule(_));
    let has_taken = || rig.store.entries().iter().any(is_schedule);
    assert!((0..MANY).any(|_| rig.beat().is_empty() && has_taken()));
    rig.clock.advance(HOUR * 3);
    let is_put_off = |due: Timestamp| due > slot && due < slot + HOUR;
    let waits = || rig.beat().is_empty() && rig.due("a").is_some_and(is_put_off);
    assert!((0..MANY).any(|_| waits()), "it is another's");
    // Nothing of what was known of places is known any more.
    rig.scheduler.reload(policies(&file("theirs"))).unwrap();
    rig.scheduler.reload(policies(&file("ours"))).unwrap();
    assert_eq!(rig.due("a"), Some(slot + HOUR * 24));
    rig.clock.advance(HOUR * 24);
    let is_made = |due: Timestamp| due == slot + HOUR * 48;
    assert!((0..MANY).any(|_| rig.beat().is_empty() && rig.due("a").is_some_and(is_made)));
    rig.scheduler.shutdown(LONG);
}

/// An executor may hear sooner than its scheduler that the lease is over.
#[test]
fn what_ends_with_the_lease_has_not_failed() {
    let policies = "[instances.a]\ntechnology = 'generic'\nschedule = '0 3 * * *'\n";
    let policies = Policies::builtin().with_toml("policy.toml", policies).unwrap();
    let ((asked, _is_asked), (open, gate)) = (unbounded(), unbounded::<()>());
    let ((tell, news), (clear, is_clear)) = (unbounded(), unbounded());
    let lease = Arc::new(Lease::default());
    let fleet = Some(Fleet { desk: Arc::new(Desk(lease.clone())), member: Box::new(Others { news, clear }) });
    let gated = Gated { store: MemoryStore::new(), asked, gate, fleet };
    let loses = move |_: &RunContext| -> Result<(), RunError> {
        lease.over.store(true, Relaxed);
        Err(RunError::Cancelled)
    };
    let builder = Scheduler::builder().policies(policies).clock(ManualClock::default());
    let scheduler = builder.executor("generic", loses).store(gated).start().unwrap();
    drop(open);
    let events = scheduler.subscribe(1_000).unwrap();
    let taken = TakenShare::new(0, 1, 1);
    tell.send(FleetNews::Taken(Box::new(taken))).unwrap();
    let beat = || is_clear.recv_timeout(LONG).expect("a beat");
    assert!((0..MANY).any(|_| (beat(), tell.is_empty()).1));
    // The beats that are under way by then, and one that begins later: by then the scheduler has it before the request.
    is_clear.try_iter().for_each(drop);
    (0..2).for_each(|_| drop(beat()));
    assert!(scheduler.submit_unconfirmed([JobSpec::new("a", "generic")])[0].is_ok());
    loop {
        let event = events.recv_timeout(LONG).expect("it loses its share");
        match &event.kind {
            EventKind::StoreDown { .. } => break,
            kind => {
                assert!(!matches!(kind, EventKind::Retried { .. } | EventKind::Failed { .. }), "{kind:?}")
            }
        }
    }
    scheduler.shutdown(LONG);
}

#[test]
fn who_runs_when_the_lease_is_over_is_told_to_stop_and_what_he_says_later_is_not_written() {
    let ((asked, _is_asked), (open, gate)) = (unbounded(), unbounded::<()>());
    let ((tell, news), (clear, is_clear)) = (unbounded(), unbounded());
    let (lease, store) = (Arc::new(Lease::default()), MemoryStore::new());
    let fleet = Some(Fleet { desk: Arc::new(Desk(lease.clone())), member: Box::new(Others { news, clear }) });
    let gated = Gated { store: store.clone(), asked, gate, fleet };
    let ((started, starts), (stopped, stops), (end, ends)) = (unbounded(), unbounded(), unbounded::<()>());
    let late = move |ctx: &RunContext| -> Result<(), RunError> {
        started.send(()).ok();
        while ctx.checkpoint().is_ok() {
            ends.recv_timeout(Duration::from_millis(1)).ok();
        }
        stopped.send(()).ok();
        ends.recv().ok();
        Ok(())
    };
    let builder = Scheduler::builder().policies(policies("")).clock(ManualClock::default());
    let scheduler = builder.executor("generic", late).store(gated).start().unwrap();
    drop(open);
    let events = scheduler.subscribe(1_000).unwrap();
    let taken = TakenShare::new(0, 1, 1);
    tell.send(FleetNews::Taken(Box::new(taken))).unwrap();
    let beat = || is_clear.recv_timeout(LONG).expect("a beat");
    assert!((0..MANY).any(|_| (beat(), tell.is_empty()).1));
    is_clear.try_iter().for_each(drop);
    (0..2).for_each(|_| drop(beat()));
    let job = scheduler.submit(JobSpec::new("a", "generic")).unwrap().id();
    starts.recv_timeout(LONG).expect("it runs");
    lease.over.store(true, Relaxed);
    stops.recv_timeout(LONG).expect("it is told to stop");
    end.send(()).unwrap();
    assert!(scheduler.shutdown(LONG).unwrap().abandoned.is_empty(), "it has ended");
    let succeeded = |kind: &EventKind| matches!(kind, EventKind::Succeeded { .. });
    assert!(!events.try_iter().any(|event| succeeded(&event.kind)), "whoever has the share by now says so");
    let written = store.entries();
    let is_it = |entry: &Entry| matches!(entry, Entry::Job(entry) if entry.record.id == job);
    assert!(written.iter().any(is_it), "it is there for the next owner: {written:?}");
}
