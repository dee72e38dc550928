//! A scheduler in a process of its own: this very test program, started again.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use backup_sched::{
    Clock, Executor, ManualClock, Policies, RunContext, RunError, Scheduler, Scope, SystemClock,
};
use sched_store::shared::{SharedConfig, SharedStore};
use sched_testbed::{Postgres, ServerProcess};

use crate::tools::{TECHNOLOGY, Tooling};

/// As short as is allowed: tests wait it out.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
pub(crate) const GRACE: Duration = Duration::from_millis(500);
const BEAT: Duration = Duration::from_millis(200);
/// Backups that all schedulers together may make at once.
pub(crate) const SLOTS_OF_ALL: u64 = 4;

pub(crate) fn config(address: &str, password: &str, name: &str) -> SharedConfig {
    let config = SharedConfig::new(address).unwrap().password(password.into()).name(name);
    let config =
        config.lease(LEASE).grace(GRACE).beat(BEAT).shares(16).statement_timeout(Duration::from_secs(1));
    config.limit(Scope::Fleet, "slots", SLOTS_OF_ALL)
}

pub(crate) fn address(server: &Postgres) -> String {
    format!("host={} port={} user={} dbname=postgres", server.host(), server.port(), server.user())
}

/// Writes down when its attempts begin and end, whoever has stopped its process meanwhile.
pub(crate) struct Clerk {
    pub(crate) file: PathBuf,
    pub(crate) takes: Duration,
}

impl Clerk {
    fn write(&self, what: &str, ctx: &RunContext) {
        let line = format!(
            "{} {what} {} {} {} {}\n",
            SystemClock.now().wall.as_millisecond(),
            std::process::id(),
            ctx.job().0,
            ctx.attempt(),
            ctx.spec().instance
        );
        // One write of a short line is not torn.
        let mut file = OpenOptions::new().append(true).create(true).open(&self.file).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

impl Executor for Clerk {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        self.write("begins", ctx);
        let ended = (0..self.takes.as_millis() / 20).try_for_each(|_| {
            std::thread::park_timeout(Duration::from_millis(20));
            ctx.checkpoint()
        });
        self.write(if ended.is_ok() { "done" } else { "stopped" }, ctx);
        Ok(ended?)
    }
}

pub(crate) fn scheduler(store: SharedStore, clerk: Clerk) -> Scheduler {
    let tooling = Tooling { directory: tools(&clerk.file) };
    let builder = Scheduler::builder().executor("generic", clerk).executor(TECHNOLOGY, tooling).store(store);
    builder.max_running(64).start().unwrap()
}

/// Where the tools of schedulers with that history write.
pub(crate) fn tools(history: &Path) -> PathBuf {
    history.with_file_name("tools")
}

const ADDRESS: &str = "FLEET_CHILD_ADDRESS";
const PASSWORD: &str = "FLEET_CHILD_PASSWORD";
const HISTORY: &str = "FLEET_CHILD_HISTORY";
const POLICIES: &str = "FLEET_CHILD_POLICIES";
const CLOCK: &str = "FLEET_CHILD_CLOCK";
/// How often a scheduler looks at what it is told by files.
const LOOKS_EVERY: Duration = Duration::from_millis(5);

/// What recurs in all processes of a fleet, by one clock that is moved by hand.
#[derive(Clone, Debug)]
pub(crate) struct Recurs {
    pub(crate) policies: String,
    /// A file that tells how far the clock has come, in seconds.
    pub(crate) clock: PathBuf,
}

/// The file that has a scheduler shut down and its process end.
pub(crate) fn leave_file(history: &Path, pid: u32) -> PathBuf {
    history.with_file_name(format!("leave-{pid}"))
}

/// Starts a scheduler as a process.
pub(crate) fn spawn(
    server: &Postgres,
    history: &Path,
    number: u32,
    recurs: Option<&Recurs>,
) -> ServerProcess {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::runs_until_it_is_killed", "--nocapture", "--include-ignored"]);
    command.env(ADDRESS, address(server)).env(PASSWORD, server.password()).env(HISTORY, history);
    if let Some(Recurs { policies, clock }) = recurs {
        command.env(POLICIES, policies).env(CLOCK, clock);
    }
    let log = history.with_file_name(format!("child-{number}.log"));
    ServerProcess::start(command, &log).unwrap()
}

/// Moves a clock to where the file says it is.
fn follow(clock: &ManualClock, file: &str) {
    let seconds: u64 = std::fs::read_to_string(file).unwrap().parse().unwrap();
    let so_far = Duration::from_nanos(clock.now().mono.as_nanos());
    clock.advance(Duration::from_secs(seconds).saturating_sub(so_far));
}

/// Not a test by itself: what the others start.
#[test]
#[ignore = "needs postgresql"]
fn runs_until_it_is_killed() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let (password, history) = (std::env::var(PASSWORD).unwrap(), std::env::var(HISTORY).unwrap());
    let name = format!("child {}", std::process::id());
    // The server may be restarting.
    let store = loop {
        match SharedStore::connect(config(&address, &password, &name)) {
            Ok(store) => break store,
            Err(error) if error.is_passing() => std::thread::park_timeout(Duration::from_millis(100)),
            Err(error) => panic!("{error}"),
        }
    };
    let leave = leave_file(Path::new(&history), std::process::id());
    let clerk = |millis| Clerk { file: history.into(), takes: Duration::from_millis(millis) };
    let (Ok(policies), Ok(file)) = (std::env::var(POLICIES), std::env::var(CLOCK)) else {
        let _scheduler = scheduler(store, clerk(300));
        loop {
            std::thread::park();
        }
    };
    let clock = ManualClock::default();
    follow(&clock, &file);
    let policies = Policies::builtin().with_toml("policy.toml", &policies).unwrap();
    let builder = Scheduler::builder().policies(policies).clock(clock.clone());
    let scheduler = builder.executor("generic", clerk(60)).store(store).max_running(64).start().unwrap();
    while !leave.exists() {
        follow(&clock, &file);
        std::thread::park_timeout(LOOKS_EVERY);
    }
    scheduler.shutdown(LEASE);
}
