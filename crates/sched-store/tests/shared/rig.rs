//! A real server, and engines whose journals lead to it.

use std::time::Duration;

use sched_core::store::JobEntry;
use sched_core::{Clock, Engine, EngineConfig, JobId, JobSpec, JobTerms, ManualClock, Output, SLOTS};
use sched_store::shared::{Change, Member, Owned, SharedConfig, SharedStore, Writer};
use sched_testbed::Postgres;

/// As short as is allowed: tests wait it out.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

pub(crate) fn config(server: &Postgres) -> SharedConfig {
    let address =
        format!("host={} port={} user={} dbname=postgres", server.host(), server.port(), server.user());
    let password = server.password().to_owned().into();
    let config = SharedConfig::new(&address).unwrap().password(&password);
    config.lease(LEASE).grace(Duration::from_millis(200)).beat(Duration::from_millis(100)).shares(8)
}

pub(crate) fn store(server: &Postgres) -> SharedStore {
    SharedStore::connect(config(server)).unwrap()
}

/// Joins, and takes what it should.
pub(crate) fn join(store: &SharedStore) -> (Member, Writer, Vec<Owned>) {
    let (mut member, mut writer) = store.member();
    member.join().unwrap();
    let owned = take(&mut member, &mut writer);
    (member, writer, owned)
}

pub(crate) fn take(member: &mut Member, writer: &mut Writer) -> Vec<Owned> {
    let moves = member.moves().unwrap();
    let owned = member.take(&moves.take).unwrap();
    for share in &owned {
        let jobs = member.jobs(share.share, JobId(0), 1000).unwrap();
        writer.own(member.id(), *share);
        writer.hold(share.share, &jobs);
    }
    owned
}

/// An engine with a journal that starts whatever it is asked for.
pub(crate) struct Desk {
    pub(crate) engine: Engine,
    pub(crate) clock: ManualClock,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let mut config = EngineConfig::default();
        config.resources.insert(SLOTS.into(), 1_000_000);
        config.journal = true;
        let clock = ManualClock::default();
        Self { engine: Engine::new(config, clock.now()), clock }
    }

    pub(crate) fn submit(&mut self, instance: &str, host: &str) -> JobId {
        let mut terms = JobTerms::default();
        terms.demand.add(SLOTS, 1);
        let spec = JobSpec::new(instance, "postgresql").host(host);
        self.engine.submit(self.clock.now(), spec, terms).unwrap().job()
    }

    /// What has to be written down by now.
    pub(crate) fn changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Record(_, record) => changes.push(Change::Entry(record.into())),
                Output::Ended(status) => changes.push(Change::Ended(Box::new((*status).clone()))),
                _ => {}
            }
        }
        changes
    }

    /// Lets the engine start what it can. Returns what has to be written down first.
    pub(crate) fn advance(&mut self) -> Vec<Change> {
        let mut changes = self.changes();
        while self.engine.next_wakeup().is_some_and(|at| at <= self.clock.now().mono) {
            self.engine.advance(self.clock.now());
            changes.extend(self.changes());
        }
        changes
    }
}

pub(crate) fn ids(jobs: &[JobEntry]) -> Vec<JobId> {
    jobs.iter().map(|job| job.record.id).collect()
}

/// Every job that has not ended, of all shares.
pub(crate) fn all_jobs(member: &mut Member) -> Vec<JobEntry> {
    let shares = 0..member.shares();
    let mut jobs: Vec<_> = shares.flat_map(|share| member.jobs(share, JobId(0), 10_000).unwrap()).collect();
    jobs.sort_by_key(|job| job.record.id);
    jobs
}
