//! Examples of `backup-sched` that talk to databases and object stores, each a program of its own beside this directory. Here
//! is what those with a database share: where its server is, one backup under the policy of its technology, and what there
//! is to tell of it.

mod args;
mod made;

use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use backup_sched::core::RetryPolicy;
use backup_sched::{JobSpec, JobState, Policies, Priority, Profile, RunContext, RunError, Scheduler};
use parking_lot::Mutex;
use sched_drivers::DriverError;
use sched_drivers::backup::Completed;
use sched_drivers::destination::LocalDirectory;
use sched_drivers::server::Monitor;
use sched_testbed::TestbedError;

pub use args::{Account, Args, Server, host_and_port};

/// Why an example failed.
pub type Failure = Box<dyn Error>;

/// The instance that is backed up.
pub const INSTANCE: &str = "shop";

/// Values of a policy that are printed, of some thirty.
const SHOWN: [&str; 8] =
    ["priority", "rpo", "pausable", "floor", "ceiling", "max_running", "max_per_host", "window"];

/// Restores a backup from its folder, and says what was found there.
pub type Restore<'a> = Box<dyn FnOnce(&Path) -> Result<String, Failure> + 'a>;

/// What is backed up, and how.
pub struct Subject<'a> {
    /// The technology, as the policies call it.
    pub technology: &'static str,
    /// Load and health of the server, which the scheduler follows.
    pub monitor: Monitor,
    /// What the driver itself checks before it calls a backup complete.
    pub checked: &'static str,
    /// Restores what was made, where that can be done beside the example: on a server of the testbed.
    pub restore: Option<Restore<'a>>,
}

/// Runs an example with what was asked for on the command line. `address` says how its server is named there.
pub fn run(name: &str, address: &str, example: impl FnOnce(Args) -> Result<(), Failure>) -> ExitCode {
    sched_examples::run(&args::usage(name, address), args::parse(), example)
}

/// Makes one backup of [`INSTANCE`] under the policy of its technology, verifies what was written, and prints all of it.
/// `driver` makes the backup in the directory that it is given.
///
/// # Errors
/// When the scheduler does not start, the backup is not made, or what was written is not what its manifest says.
pub fn back_up<M>(
    args: &Args,
    subject: Subject<'_>,
    driver: impl FnOnce(LocalDirectory) -> M,
) -> Result<(), Failure>
where
    M: Fn(&RunContext) -> Result<Completed, DriverError> + Send + Sync + 'static,
{
    let Subject { technology, monitor, checked, restore } = subject;
    let temporary = tempfile::tempdir()?;
    let directory = args.into.as_deref().unwrap_or(temporary.path());
    // One attempt: somebody sits here and waits. The built-in policy tries again, later and later.
    let once = Profile::new().retry(RetryPolicy::new(1, Duration::ZERO, Duration::ZERO));
    let policies = Policies::builtin().with(technology, once)?;
    let spec = JobSpec::new(INSTANCE, technology).priority(Priority::High);
    println!("The policy of {technology}:");
    for line in policies.explain(&spec)?.to_string().lines() {
        if SHOWN.iter().any(|key| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = "))) {
            println!("  {line}");
        }
    }

    let completed = Arc::new(Mutex::new(None));
    let make = driver(LocalDirectory::new(directory));
    let executor = {
        let completed = completed.clone();
        move |ctx: &RunContext| -> Result<(), RunError> {
            let made = make(ctx).map_err(|error| error.into_run_error(ctx))?;
            *completed.lock() = Some(made);
            Ok(())
        }
    };
    let scheduler = Scheduler::builder()
        .policies(policies)
        .executor(technology, executor)
        .rate_ceiling(args.bytes_per_sec)
        .detector(monitor.detector())
        .probe(monitor.probe())
        .start()?;
    let handle = scheduler.submit(spec)?;
    println!("\nAsked for, and where it is:\n{}", made::indented(&handle.explain()?.to_string()));
    let status = handle.wait();
    println!("\nWhat was decided, and why:");
    for event in scheduler.decisions(handle.id())? {
        println!("  {event}");
    }
    scheduler.shutdown(Duration::from_secs(5));
    if status.state != JobState::Succeeded {
        return Err(status.error.unwrap_or_else(|| status.state.to_string()).into());
    }
    let made = completed.lock().take().ok_or("the executor succeeded and made nothing")?;
    made::tell(&made, checked)?;
    if let Some(restore) = restore {
        println!("  restored: {}", restore(Path::new(&made.location))?);
    }
    let seconds = status.ran.as_secs_f64();
    println!("\n{technology}: {} in {seconds:.2} s, verified", made::amount(made.manifest.bytes()));
    if args.into.is_none() {
        println!("It was an example: the backup is removed. With --into DIR it stays.");
    }
    Ok(())
}

/// Runs a tool that a restore takes.
///
/// # Errors
/// When it cannot be run or fails, with what it said.
pub fn tool(command: &mut Command) -> Result<(), TestbedError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |said: String| TestbedError::Failed { program: program.clone(), said };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}
