//! Tools that make backups, as processes on a leash: [`ExternalCommand`].

mod deadman;
mod error;
mod leash;
mod mark;
mod output;
mod running;
mod said;
mod watch;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use sched_core::{Cancelled, RunContext};

use self::deadman::DeadManSwitch;
pub use self::error::CommandError;
use self::leash::{Ended, Leash};
pub use self::mark::ProcessMark;
pub use self::output::ToolOutput;
use self::running::Running;
use self::said::{Listener, Said};
use self::watch::Watch;

/// A tool that makes a backup: a program with its arguments, and how it is kept in hand.
///
/// - It runs in a process group of its own, without a shell, with nothing on its standard input and with an environment
///   of `PATH`, `HOME`, `TMPDIR`, `LC_ALL=C` and what [`env`](Self::env) adds: secrets of the host do not leak into it.
/// - When the attempt is cancelled, or a time-out passes, the whole group is told to end, and killed after a grace.
/// - When it is done, or its reader gives up, whatever is left of the group is killed before `run` returns.
/// - On Linux it dies with this process, even of a `kill -9` and even while it is stopped: it is started through
///   `setpriv --pdeathsig` (util-linux). Processes that it starts itself are in its group; those end when their pipes
///   close.
/// - Under a [lease](RunContext::lease) the whole group ends in time when that is not renewed, even while this process is
///   stopped or hangs: a `/bin/sh` beside each tool, in a group of its own, ends it when it has not heard that the lease
///   still holds. Told to end, such a tool has two fifths of [`ends_within`](sched_core::RunLease::ends_within) before it is
///   killed, or the grace if that is shorter.
///
/// ```
/// use std::io::Read;
/// use std::sync::Arc;
/// use sched_core::{JobSpec, ManualClock, RunContext};
/// use sched_drivers::command::ExternalCommand;
///
/// # if which::which("setpriv").is_ok() || !cfg!(target_os = "linux") {
/// let ctx = RunContext::detached(JobSpec::new("files", "generic"), Arc::new(ManualClock::default()));
/// let text = ExternalCommand::new("printf").arg("three").run(&ctx, |stdout| {
///     let mut text = String::new();
///     // Paced: `ctx.reader(stdout)`, or `Backup::store` of this crate.
///     stdout.read_to_string(&mut text)?;
///     Ok(text)
/// })?;
/// assert_eq!(text, "three");
/// # }
/// # Ok::<(), sched_drivers::command::CommandError>(())
/// ```
#[derive(Clone)]
pub struct ExternalCommand {
    program: OsString,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    directory: Option<PathBuf>,
    remedy: String,
    timeout: Option<Duration>,
    grace: Duration,
    stops_for: Option<Duration>,
    niceness: Option<u8>,
    io_class: Option<IoClass>,
    listener: Option<Arc<Listener>>,
    guarded: bool,
}

/// How the kernel ranks the disk requests of a tool; see `ionice(1)`. Most schedulers of fast disks ignore it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoClass {
    /// As others, but after those of a lower number: 0 to 7.
    BestEffort(u8),
    /// Only when nobody else asks.
    Idle,
}

impl ExternalCommand {
    /// A program, by its name in `PATH` or by its path.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            directory: None,
            remedy: "install it, or give its path".into(),
            timeout: None,
            grace: Duration::from_secs(10),
            stops_for: None,
            niceness: None,
            io_class: None,
            listener: None,
            guarded: true,
        }
    }

    /// Adds an argument. Arguments can be read by every user of the machine: no secrets.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment. Not printed, but readable by this user's other processes: prefer a
    /// [`SecretFile`](crate::secret::SecretFile) for passwords.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Sets where it runs. Default: where this process does.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Says what helps when the program is missing, such as the package that holds it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// Sets how long it may run. Default: as long as the attempt.
    #[must_use]
    pub fn run_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets how long it may take to end by itself once it was told to. Default 10 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Lets it be stopped (`SIGSTOP`) while the attempt is paused, for at most so long at a time; then it goes on
    /// whatever the pause says, and only its output waits. For tools that do no harm while they stand. Default: never
    /// stopped; a tool whose output nobody reads waits by itself.
    #[must_use]
    pub fn stops_for(mut self, at_most: Duration) -> Self {
        self.stops_for = Some(at_most);
        self
    }

    /// Sets how far it stands back for the processor, from 0 to 19; see `nice(1)`. Default 0. Where the kernel weighs whole
    /// sessions (`kernel.sched_autogroup_enabled`, see `sched(7)`), this counts only beside what runs in the same session.
    #[must_use]
    pub fn niceness(mut self, niceness: u8) -> Self {
        self.niceness = Some(niceness.min(19));
        self
    }

    /// Sets how its disk requests rank. Default: as those of this process.
    #[must_use]
    pub fn io_class(mut self, class: IoClass) -> Self {
        self.io_class = Some(class);
        self
    }

    /// Hands each line of its standard error to `listen` when it is said: for tools that tell there how far they are.
    /// That is done on a thread of its own, and all has been heard when [`run`](Self::run) returns, unless that takes
    /// more than a second. `listen` must not panic, and what it waits for the tool waits for, too.
    #[must_use]
    pub fn listener(mut self, listen: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listen));
        self
    }

    /// Runs it even where it cannot be made to die with this process (Linux without `setpriv`). It then ends when it
    /// writes to the pipe that nobody reads any more; a stopped one stays.
    #[must_use]
    pub fn unguarded(mut self) -> Self {
        self.guarded = false;
        self
    }

    /// Runs it, hands its standard output to `read`, and waits for its end.
    ///
    /// `read` should read to the end: a tool whose output is dropped fails. It need not look at orders: when the
    /// attempt is cancelled the tool is ended and its output with it.
    ///
    /// # Errors
    /// When it is missing, cannot be started, fails, is cancelled or takes too long, or `read` fails.
    pub fn run<T>(
        &self,
        ctx: &RunContext,
        read: impl FnOnce(&mut ToolOutput) -> io::Result<T>,
    ) -> Result<T, CommandError> {
        self.run_marked(ctx, |_| Ok(()), read)
    }

    /// As [`run`](Self::run), with the identity of the process told to `record` before anything is read: whoever
    /// cleans up after a crash can then prove that it is gone.
    ///
    /// # Errors
    /// As [`run`](Self::run), and when `record` fails.
    pub fn run_marked<T>(
        &self,
        ctx: &RunContext,
        record: impl FnOnce(&ProcessMark) -> io::Result<()>,
        read: impl FnOnce(&mut ToolOutput) -> io::Result<T>,
    ) -> Result<T, CommandError> {
        ctx.checkpoint().map_err(|_| CommandError::Cancelled { tool: self.name() })?;
        let mut running = self.start(ctx)?;
        let outcome = record(&running.mark).and_then(|()| match running.output.take() {
            Some(mut output) => read(&mut output),
            None => Err(io::Error::other("its output is not a pipe")),
        });
        if outcome.is_err() {
            running.watch.give_up();
        }
        let (status, ended, said) = running.finish().map_err(|source| self.io_error("wait for", source))?;
        match (ended, outcome) {
            (Some(Ended::Cancelled), _) => Err(CommandError::Cancelled { tool: self.name() }),
            (Some(Ended::TimedOut), _) => {
                Err(CommandError::TimedOut { tool: self.name(), limit: self.timeout.unwrap_or_default() })
            }
            (Some(Ended::LeaseOver), _) => Err(CommandError::LeaseOver { tool: self.name() }),
            (Some(Ended::Unguarded), _) => {
                let gone = "what would end it with its lease is gone";
                Err(self.io_error("go on with", io::Error::other(gone)))
            }
            (_, Err(error)) if error.get_ref().is_some_and(|inner| inner.is::<Cancelled>()) => {
                Err(CommandError::Cancelled { tool: self.name() })
            }
            (_, Err(source)) => Err(CommandError::Reader { tool: self.name(), source, said }),
            (_, Ok(read)) if status.success() => Ok(read),
            (_, Ok(_)) => Err(CommandError::Failed { tool: self.name(), status, said }),
        }
    }

    /// Runs it and returns what it wrote to its standard output, at most `limit` bytes of it.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn output(&self, ctx: &RunContext, limit: u64) -> Result<Vec<u8>, CommandError> {
        self.run(ctx, |stdout| {
            let mut kept = Vec::new();
            stdout.by_ref().take(limit).read_to_end(&mut kept)?;
            io::copy(stdout, &mut io::sink())?;
            Ok(kept)
        })
    }

    fn name(&self) -> String {
        Path::new(&self.program).file_name().unwrap_or(&self.program).to_string_lossy().into_owned()
    }

    fn io_error(&self, what: &'static str, source: io::Error) -> CommandError {
        CommandError::Io { tool: self.name(), what, source }
    }

    fn start(&self, ctx: &RunContext) -> Result<Running, CommandError> {
        let mut command = self.command()?;
        if is_over(ctx) {
            return Err(CommandError::LeaseOver { tool: self.name() });
        }
        let guard = |source| self.io_error("guard", source);
        let mut switch = ctx.lease().map(DeadManSwitch::start).transpose().map_err(guard)?;
        let (killed, kills) = io::pipe().map_err(|source| self.io_error("watch", source))?;
        let mut child = command.spawn().map_err(|source| self.io_error("start", source))?;
        let (stderr, group) = (child.stderr.take(), Pid::from_child(&child));
        let mark = ProcessMark::of(child.id());
        let mut leash = Leash::new(ctx.clock().now().mono, self.timeout, self.grace, self.stops_for);
        if let (Some(lease), Some(switch)) = (ctx.lease(), &mut switch) {
            leash = leash.impatient(deadman::patience(lease));
            // The watch looks at once whether this has worked.
            let _ = switch.tell(lease, &mark);
        }
        let watch = match Watch::start(ctx.clone(), (group, mark.clone()), leash, switch, kills) {
            Ok(watch) => watch,
            Err(source) => {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
                let _ = child.wait();
                return Err(self.io_error("watch", source));
            }
        };
        let output = child.stdout.take().map(|stdout| ToolOutput::new(stdout, killed));
        let mut running = Running { child, mark, output, watch, said: Said::default(), reaped: false };
        running.said = Said::listen(stderr, self.listener.clone())
            .map_err(|source| self.io_error("listen to", source))?;
        Ok(running)
    }

    /// The command with what goes before it: each of these replaces itself by the next.
    fn command(&self) -> Result<Command, CommandError> {
        let program = which::which(&self.program)
            .map_err(|_| CommandError::Missing { tool: self.name(), remedy: self.remedy.clone() })?;
        let mut line: Vec<OsString> = Vec::new();
        if cfg!(target_os = "linux") && self.guarded {
            let setpriv = which::which("setpriv").map_err(|_| CommandError::Missing {
                tool: "setpriv".into(),
                remedy: "install util-linux: without it tools outlive a scheduler that is killed".into(),
            })?;
            line.extend([setpriv.into_os_string(), "--pdeathsig".into(), "KILL".into(), "--".into()]);
        }
        if let (Some(niceness), Ok(nice)) = (self.niceness, which::which("nice")) {
            line.extend([nice.into_os_string(), "-n".into(), niceness.to_string().into()]);
        }
        if let (Some(class), Ok(ionice)) = (self.io_class, which::which("ionice")) {
            line.push(ionice.into_os_string());
            line.extend(match class {
                IoClass::BestEffort(level) => {
                    ["-c2".to_owned(), format!("-n{}", level.min(7)), "-t".into()].map(OsString::from)
                }
                IoClass::Idle => ["-c3", "-t", "--"].map(OsString::from),
            });
        }
        line.push(program.into_os_string());
        line.extend(self.args.iter().cloned());
        let mut words = line.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env_clear().envs(inherited()).env("LC_ALL", "C").envs(&self.env);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Ok(command)
    }
}

/// Whether the attempt's lease is over.
fn is_over(ctx: &RunContext) -> bool {
    ctx.lease().is_some_and(|lease| lease.left().is_zero())
}

fn inherited() -> impl Iterator<Item = (&'static str, OsString)> {
    ["PATH", "HOME", "TMPDIR"]
        .into_iter()
        .filter_map(|name| std::env::var_os(name).map(|value| (name, value)))
}

impl fmt::Debug for ExternalCommand {
    /// Without the values of the environment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let env: Vec<&OsStr> = self.env.keys().map(OsString::as_os_str).collect();
        f.debug_struct("ExternalCommand")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &env)
            .finish_non_exhaustive()
    }
}
