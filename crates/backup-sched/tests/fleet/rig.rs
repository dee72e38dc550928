//! A server, processes on it, and what was done to them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use backup_sched::{Clock, JobSpec, SystemClock};
use rustix::process::Signal;
use sched_store::shared::{FleetStatus, SharedError, SharedStore};
use sched_testbed::{Postgres, ServerProcess, wait_until};

use crate::child::{address, config, spawn};
use crate::history::{Fate, History};

/// On a machine that is busy with something else.
pub(crate) const SOON: Duration = Duration::from_secs(120);

pub(crate) struct Rig {
    pub(crate) server: Postgres,
    pub(crate) outside: SharedStore,
    pub(crate) children: Vec<ServerProcess>,
    pub(crate) fates: BTreeMap<u32, Vec<Fate>>,
    started: u32,
    directory: tempfile::TempDir,
}

impl Rig {
    /// A fleet of so many processes that has come to rest.
    pub(crate) fn new(children: usize) -> Self {
        let server = Postgres::start().unwrap();
        let outside = SharedStore::connect(config(&address(&server), server.password(), "outside")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (children_of, fates, started) = Default::default();
        let mut rig = Self { server, outside, children: children_of, fates, started, directory };
        (0..children).for_each(|_| rig.spawn());
        wait_until("all have their parts", SOON, || {
            let status = rig.outside.status().ok()?;
            let least = status.shares_of_least();
            (status.unowned.is_empty() && status.members.len() == children && least >= 16 / children)
                .then_some(())
        })
        .unwrap();
        rig
    }

    pub(crate) fn history_file(&self) -> PathBuf {
        self.directory.path().join("history")
    }

    pub(crate) fn history(&self) -> History {
        History::read(&self.history_file())
    }

    pub(crate) fn spawn(&mut self) {
        self.started += 1;
        self.children.push(spawn(&self.server, &self.history_file(), self.started));
    }

    pub(crate) fn kill(&mut self, at: usize) -> (u32, i64) {
        let mut child = self.children.remove(at);
        let pid = child.pid();
        child.kill();
        let now = now();
        self.fates.entry(pid).or_default().push(Fate::Killed(now));
        (pid, now)
    }

    /// Stops a process for longer than its lease.
    pub(crate) fn freeze(&mut self, at: usize, within: Duration) {
        let pid = self.children[at].pid();
        self.fates.entry(pid).or_default().push(Fate::Stopped(now()));
        self.children[at].signal(Signal::STOP);
        std::thread::park_timeout(within);
        self.children[at].signal(Signal::CONT);
    }

    /// Asks from outside, again and again while the server is away.
    pub(crate) fn ask(&mut self, instance: u32) -> backup_sched::JobId {
        let spec = JobSpec::new(format!("db-{instance}"), "generic").host(format!("host-{instance}"));
        self.insist(|store| store.submit(&spec))
    }

    pub(crate) fn insist<T>(
        &mut self,
        mut what: impl FnMut(&mut SharedStore) -> Result<T, SharedError>,
    ) -> T {
        let outside = &mut self.outside;
        wait_until("the store answers", SOON, || match what(outside) {
            Ok(answer) => Some(answer),
            Err(error) if error.is_passing() => None,
            Err(error) => panic!("{error}"),
        })
        .unwrap()
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.sql(sql).unwrap()
    }
}

pub(crate) fn now() -> i64 {
    SystemClock.now().wall.as_millisecond()
}

pub(crate) trait Least {
    /// How many shares the member has that has fewest.
    fn shares_of_least(&self) -> usize;
}

impl Least for FleetStatus {
    fn shares_of_least(&self) -> usize {
        self.members.iter().map(|member| member.shares.len()).min().unwrap_or(0)
    }
}
