//! Schedulers in this process: [`Fleet`].

use std::collections::BTreeMap;

use backup_sched::{ManualClock, Policies, RunContext, RunError, Scheduler};
use sched_store::shared::SharedStore;
use sched_testbed::{Postgres, wait_until};

use crate::child::{address, config};
use crate::rig::SOON;

/// Schedulers in this process, by one clock that is moved by hand, on a real server.
pub(crate) struct Fleet {
    pub(crate) server: Postgres,
    pub(crate) outside: SharedStore,
    pub(crate) clock: ManualClock,
    pub(crate) members: BTreeMap<String, Scheduler>,
    pub(crate) policies: Policies,
}

impl Fleet {
    pub(crate) fn new(file: &str, members: &[&str]) -> Self {
        let server = Postgres::start().unwrap();
        let outside = SharedStore::connect(config(&address(&server), server.password(), "outside")).unwrap();
        let policies = Policies::builtin().with_toml("policy.toml", file).unwrap();
        let clock = ManualClock::default();
        let mut fleet = Self { server, outside, clock, members: BTreeMap::new(), policies };
        members.iter().for_each(|name| fleet.join(name));
        fleet.divided();
        fleet
    }

    pub(crate) fn join(&mut self, name: &str) {
        let store = SharedStore::connect(config(&address(&self.server), self.server.password(), name));
        let at_once = |_: &RunContext| -> Result<(), RunError> { Ok(()) };
        let builder = Scheduler::builder().policies(self.policies.clone()).clock(self.clock.clone());
        let builder = builder.executor("generic", at_once).store(store.unwrap()).max_running(64);
        self.members.insert(name.to_owned(), builder.start().unwrap());
    }

    pub(crate) fn leave(&mut self, name: &str) {
        self.members.remove(name).unwrap().shutdown(SOON);
    }

    pub(crate) fn divided(&mut self) {
        let (outside, count) = (&mut self.outside, self.members.len());
        wait_until("all have their parts", SOON, || {
            let status = outside.status().ok()?;
            let apart = status.members.iter().all(|member| member.shares.len() >= 16 / count);
            (status.unowned.is_empty() && status.members.len() == count && apart).then_some(())
        })
        .unwrap();
    }
}
