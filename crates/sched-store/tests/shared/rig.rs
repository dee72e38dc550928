//! A real server, and engines whose journals lead to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sched_core::store::{
    Entry, Fleet, FleetDesk, FleetMember, FleetNews, FleetReport, JobStore, Request, StoreError, TakenShare,
};
use sched_core::{Clock, Engine, EngineConfig, JobId, JobSpec, JobTerms, ManualClock, Output, SLOTS};
use sched_store::shared::{SharedConfig, SharedStore};
use sched_testbed::Postgres;

/// As short as is allowed: tests wait it out.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

pub(crate) fn config(server: &Postgres) -> SharedConfig {
    let address =
        format!("host={} port={} user={} dbname=postgres", server.host(), server.port(), server.user());
    let config = SharedConfig::new(&address).unwrap().password(server.password().into());
    config.lease(LEASE).grace(Duration::from_millis(200)).beat(Duration::from_millis(100)).shares(8)
}

/// One scheduler of the fleet, beat by beat.
pub(crate) struct Peer {
    pub(crate) store: SharedStore,
    pub(crate) desk: Arc<dyn FleetDesk>,
    member: Box<dyn FleetMember>,
    pub(crate) report: FleetReport,
    pub(crate) owned: BTreeMap<u32, TakenShare>,
    pub(crate) asked: Vec<Request>,
    pub(crate) parts: BTreeMap<String, u64>,
    pub(crate) ended: Vec<FleetNews>,
    pub(crate) unreadable: Vec<StoreError>,
}

impl Peer {
    /// Joins.
    pub(crate) fn new(config: SharedConfig) -> Self {
        let mut store = SharedStore::connect(config).unwrap();
        store.open().unwrap();
        let Fleet { desk, member } = store.fleet().unwrap();
        let (report, owned, asked, parts, ended, unreadable) = Default::default();
        Self { store, desk, member, report, owned, asked, parts, ended, unreadable }
    }

    /// Tells and hears what there is. Shares that it is asked for it gives up at the next beat.
    pub(crate) fn beat(&mut self) -> Result<(), StoreError> {
        let mut news = Vec::new();
        let report = self.report.clone();
        self.report.clear.clear();
        let done = self.member.beat(report, &mut |one| news.push(one));
        for one in news {
            match one {
                FleetNews::Taken(taken) => {
                    self.desk.own(&taken);
                    self.owned.insert(taken.share, *taken);
                }
                FleetNews::GiveUp(shares) => shares.into_iter().for_each(|share| self.give_up(share)),
                FleetNews::Asked(request) => self.asked.push(*request),
                FleetNews::Part(limit, amount) => _ = self.parts.insert(limit, amount),
                FleetNews::Unreadable(error) => self.unreadable.push(error),
                FleetNews::Ended(..) | FleetNews::Refused(..) => self.ended.push(one),
                _ => {}
            }
        }
        done
    }

    pub(crate) fn give_up(&mut self, share: u32) {
        self.desk.disown(share);
        self.owned.remove(&share);
        self.report.clear.insert(share);
    }

    pub(crate) fn leave(&mut self) {
        self.member.leave().unwrap();
    }

    /// Its jobs that have not ended, as the store has them, read without any change.
    pub(crate) fn jobs(&self, server: &Postgres) -> Vec<(u64, i64, String)> {
        let all = "select id, attempt, state from backup_sched.jobs where live order by id";
        let rows = server.sql(all).unwrap();
        let row = |line: &str| {
            let mut fields = line.split('|');
            let mut field = || fields.next().unwrap_or_default().to_owned();
            (field().parse().unwrap(), field().parse().unwrap(), field())
        };
        rows.lines().map(row).collect()
    }
}

/// An engine with a journal that starts whatever it is asked for.
pub(crate) struct Desk {
    pub(crate) engine: Engine,
    pub(crate) clock: ManualClock,
}

impl Desk {
    pub(crate) fn new(range: u64) -> Self {
        let mut config = EngineConfig::default();
        config.first_job = range << 40;
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
    pub(crate) fn changes(&mut self) -> Vec<Entry> {
        let mut changes = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Record(_, record) => changes.push(Entry::from(record)),
                Output::Ended(status) => changes.push(Entry::EndedAs(Box::new((*status).clone()))),
                _ => {}
            }
        }
        changes
    }

    /// Lets the engine start what it can. Returns what has to be written down first.
    pub(crate) fn advance(&mut self) -> Vec<Entry> {
        let mut changes = self.changes();
        while self.engine.next_wakeup().is_some_and(|at| at <= self.clock.now().mono) {
            self.engine.advance(self.clock.now());
            changes.extend(self.changes());
        }
        changes
    }
}
