//! A server, processes on it, and what was done to them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use backup_sched::{Clock, JobSpec, SystemClock};
use rustix::process::Signal;
use sched_store::shared::{FleetStatus, SharedError, SharedStore};
use sched_testbed::{Postgres, ServerProcess, wait_until};

use crate::child::{Recurs, address, config, leave_file, spawn, tools};
use crate::history::{self, Attempt, Fate, History, Job};

/// On a machine that is busy with something else.
pub(crate) const SOON: Duration = Duration::from_secs(120);

pub(crate) struct Rig {
    pub(crate) server: Postgres,
    pub(crate) outside: SharedStore,
    pub(crate) children: Vec<ServerProcess>,
    pub(crate) fates: BTreeMap<u32, Vec<Fate>>,
    started: u32,
    recurs: Option<Recurs>,
    directory: tempfile::TempDir,
}

impl Rig {
    /// A fleet of so many processes that has come to rest.
    pub(crate) fn new(children: usize) -> Self {
        Self::start(children, None)
    }

    /// The same, of processes in which something recurs by a clock that is [moved by hand](Self::set_clock).
    pub(crate) fn recurring(children: usize, policies: String) -> Self {
        Self::start(children, Some(policies))
    }

    fn start(children: usize, policies: Option<String>) -> Self {
        let server = Postgres::start().unwrap();
        let outside = SharedStore::connect(config(&address(&server), server.password(), "outside")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let clock = directory.path().join("clock");
        let recurs = policies.map(|policies| Recurs { policies, clock });
        let (children_of, fates, started) = Default::default();
        let mut rig = Self { server, outside, children: children_of, fates, started, recurs, directory };
        rig.set_clock(Duration::ZERO);
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

    /// Where tools write down how long they live.
    pub(crate) fn tools(&self) -> PathBuf {
        tools(&self.history_file())
    }

    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        history::read(&self.history_file())
    }

    /// What happened, and how the store has it.
    pub(crate) fn history(&self) -> History {
        let lines = |sql: &str| self.sql(sql).lines().map(str::to_owned).collect::<Vec<_>>();
        let asked = lines("select ticket, job from backup_sched.requests where not cancels");
        let asked = asked.iter().map(|line| {
            let (ticket, job) = line.split_once('|').unwrap();
            (ticket.parse().unwrap(), job.parse().ok())
        });
        let jobs = lines("select id, attempt, state = 'succeeded' from backup_sched.jobs");
        let jobs = jobs.iter().map(|line| {
            let [id, attempt, succeeded] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
            (id.parse().unwrap(), Job { attempt: attempt.parse().unwrap(), succeeded: succeeded == "t" })
        });
        let (asked, jobs) = (asked.collect(), jobs.collect());
        History { attempts: self.attempts(), fates: self.fates.clone(), asked, jobs }
    }

    pub(crate) fn spawn(&mut self) {
        self.started += 1;
        self.children.push(spawn(&self.server, &self.history_file(), self.started, self.recurs.as_ref()));
    }

    pub(crate) fn kill(&mut self, at: usize) -> (u32, i64) {
        let mut child = self.children.remove(at);
        let pid = child.pid();
        child.kill();
        let now = now();
        self.fates.entry(pid).or_default().push(Fate::Killed(now));
        (pid, now)
    }

    /// Has the clock of all processes be so far.
    pub(crate) fn set_clock(&self, at: Duration) {
        let Some(Recurs { clock, .. }) = &self.recurs else { return };
        // Nobody reads half of it.
        let new = clock.with_extension("new");
        std::fs::write(&new, at.as_secs().to_string()).unwrap();
        std::fs::rename(&new, clock).unwrap();
    }

    /// Has a process with a clock of that kind shut down its scheduler, and waits for its end.
    pub(crate) fn leave(&mut self, at: usize) {
        let child = self.children.remove(at);
        std::fs::write(leave_file(&self.history_file(), child.pid()), "").unwrap();
        wait_until("it has left", SOON, || (!child.runs()).then_some(())).unwrap();
    }

    /// Has the lease of a process be over, by the server's clock.
    pub(crate) fn lapse(&mut self, pid: u32) {
        self.fates.entry(pid).or_default().push(Fate::Lapsed(now()));
        self.sql(&format!(
            "update backup_sched.schedulers set expires = clock_timestamp() - interval '1 hour' where name = 'child {pid}'"
        ));
    }

    /// Cuts the connections of all.
    pub(crate) fn cut_connections(&mut self) {
        self.cut_off();
        self.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'backup-sched'",
        );
    }

    /// Has the server crash, and come back.
    pub(crate) fn crash_server(&mut self) {
        self.cut_off();
        self.server.crash_and_restart().unwrap();
        self.cut_off();
    }

    fn cut_off(&mut self) {
        for child in &self.children {
            self.fates.entry(child.pid()).or_default().push(Fate::CutOff(now()));
        }
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
        self.ask_for(&JobSpec::new(format!("db-{instance}"), "generic").host(format!("host-{instance}")))
    }

    pub(crate) fn ask_for(&mut self, spec: &JobSpec) -> backup_sched::JobId {
        self.insist(|store| store.submit(spec))
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
