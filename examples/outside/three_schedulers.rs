//! Three schedulers share a fleet through one PostgreSQL. One is killed: the others go on with what it had.
//!
//! ```sh
//! cargo run --release -p sched-examples-outside --example three_schedulers                                # starts a PostgreSQL of its own
//! cargo run --release -p sched-examples-outside --example three_schedulers -- "host=db user=me dbname=x"  # PGPASSWORD has the password
//! ```
//!
//! Each scheduler is a process, which is this program called again. With a server of yours the tables are made in a schema
//! `backup_sched_example`, which is yours to drop afterwards.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use backup_sched::{Clock, Executor, JobSpec, RunContext, RunError, Scheduler, Scope, SystemClock};
use sched_store::shared::{FleetStatus, SharedConfig, SharedStore};
use sched_testbed::Postgres;

type Failure = Box<dyn std::error::Error>;

/// Databases that are backed up, each on a host of its own.
const DATABASES: usize = 24;
/// Backups that all schedulers together may make at once.
const AT_ONCE: u64 = 6;
/// How long a scheduler that is not heard keeps what it has. Short, so that you need not wait.
const LEASE: Duration = Duration::from_secs(6);

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [what, name, address] if what == "schedule" => schedule(name, address),
        [address] => watch(address, &std::env::var("PGPASSWORD").unwrap_or_default()),
        _ => {
            println!("starting a PostgreSQL for this example");
            let server = Postgres::start()?;
            let (host, port, user) = (server.host(), server.port(), server.user());
            watch(&format!("host={host} port={port} user={user} dbname=postgres"), server.password())
        }
    }
}

fn config(address: &str, password: &str, name: &str) -> Result<SharedConfig, Failure> {
    let config = SharedConfig::new(address)?.password(password.into()).name(name);
    Ok(config.schema("backup_sched_example").lease(LEASE).limit(Scope::Fleet, "slots", AT_ONCE))
}

/// One of the schedulers: like any other, but for its store.
fn schedule(name: &str, address: &str) -> Result<(), Failure> {
    let store = SharedStore::connect(config(address, &std::env::var("PGPASSWORD")?, name)?)?;
    let _scheduler =
        Scheduler::builder().executor("generic", Pretend(name.to_owned())).store(store).start()?;
    loop {
        std::thread::park();
    }
}

/// A backup that takes three seconds and copies nothing.
struct Pretend(String);

impl Executor for Pretend {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        let again = if ctx.attempt() > 1 { ", again: its scheduler was gone" } else { "" };
        println!("  {} backs up {} (attempt {}{again})", self.0, ctx.spec().instance, ctx.attempt());
        for _ in 0..30 {
            std::thread::park_timeout(Duration::from_millis(100));
            ctx.checkpoint()?;
        }
        Ok(())
    }
}

/// Asks for backups, kills a scheduler, and tells how the fleet stands.
fn watch(address: &str, password: &str) -> Result<(), Failure> {
    let mut fleet = SharedStore::connect(config(address, password, "watcher")?)?;
    let mut schedulers = Killed(Vec::new());
    for name in ["anna", "berta", "clara"] {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.args(["schedule", name, address]).env("PGPASSWORD", password).stdin(Stdio::null());
        schedulers.0.push(command.spawn()?);
    }
    println!("three schedulers join; each takes its part of the {} shares of the fleet", fleet.shares());
    wait(&mut fleet, |status| {
        status.members.len() == 3 && status.members.iter().all(|m| m.shares.len() > 20)
    })?;
    tell(&fleet.status()?);

    println!(
        "{DATABASES} backups are asked for, from a process that is no scheduler; {AT_ONCE} may be made at once by all"
    );
    for n in 1..=DATABASES {
        fleet.submit(&JobSpec::new(format!("db-{n}"), "generic").host(format!("host-{n}")))?;
    }
    let works = |status: &FleetStatus| status.members.iter().any(|m| m.name == "berta" && m.running > 0);
    tell(&wait(&mut fleet, works)?);

    println!("berta is killed. What she had is nobody's until her lease of {LEASE:?} is over");
    schedulers.0[1].kill()?;
    let killed = SystemClock.now().mono;
    let status = wait(&mut fleet, |status| status.members.len() == 2 && status.unowned.is_empty())?;
    let after = SystemClock.now().mono.since(killed);
    println!("{:.1} s after that the others have her shares, and go on with her jobs", after.as_secs_f64());
    tell(&status);

    let done = |status: &FleetStatus| status.jobs.get("succeeded") == Some(&(DATABASES as u64));
    tell(&wait(&mut fleet, done)?);
    println!("every backup was made, and counts once");
    Ok(())
}

fn wait(fleet: &mut SharedStore, what: impl Fn(&FleetStatus) -> bool) -> Result<FleetStatus, Failure> {
    for _ in 0..1_200 {
        let status = fleet.status()?;
        if what(&status) {
            return Ok(status);
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    Err("that takes too long".into())
}

fn tell(status: &FleetStatus) {
    for member in &status.members {
        // A part that is to shrink counts as it was until its scheduler has said that it uses no more.
        let parts = status.limits.values().filter_map(|limit| limit.parts.get(&member.id));
        let (soon, now) = parts.fold((0, 0), |(soon, now), (amount, bound)| (soon + amount, now + bound));
        let change = if soon == now { String::new() } else { format!(" ({soon} soon)") };
        let (name, shares) = (&member.name, member.shares.len());
        let (waiting, running) = (member.waiting, member.running);
        println!(
            "    {name}: {shares} shares, {running} backups run of {now}{change} that may, {waiting} wait"
        );
    }
    println!("    jobs: {:?}", status.jobs);
}

/// Processes that do not outlive this one.
struct Killed(Vec<Child>);

impl Drop for Killed {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
