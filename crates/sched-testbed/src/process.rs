//! A server as a process: [`ServerProcess`].

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

/// Why a server is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestbedError {
    /// A program is not installed.
    #[error("{program} is not there; install {package}")]
    Missing {
        /// Which one.
        program: String,
        /// Debian's package that holds it, or what else helps.
        package: String,
    },
    /// The system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Its reason.
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// Which one.
        program: String,
        /// What it said.
        said: String,
    },
    /// A server did not become what was waited for.
    #[error("{what} did not happen within {limit:?}: {said}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// The end of the server's log.
        said: String,
    },
}

/// The path of a program in `PATH` or in one of the directories.
///
/// # Errors
/// When it is nowhere, with the package that holds it.
pub fn program(name: &str, directories: &[&str], package: &str) -> Result<PathBuf, TestbedError> {
    let there =
        directories.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.exists());
    there
        .or_else(|| which::which(name).ok())
        .ok_or_else(|| TestbedError::Missing { program: name.into(), package: package.into() })
}

/// Asks again and again until `ready` gives something, for real servers cannot be told by a hand-moved clock.
///
/// # Errors
/// When that takes longer than `limit`.
#[expect(clippy::disallowed_methods, reason = "a real server takes real time, and so may each question")]
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> Option<T>,
) -> Result<T, TestbedError> {
    const STEP: Duration = Duration::from_millis(20);
    let begun = Instant::now();
    loop {
        if let Some(found) = ready() {
            return Ok(found);
        }
        if begun.elapsed() >= limit {
            return Err(TestbedError::TimedOut { what: what.into(), limit, said: String::new() });
        }
        thread::park_timeout(STEP);
    }
}

/// A server in a process group of its own, with its output in a file. Dropping it kills it.
#[derive(Debug)]
pub struct ServerProcess {
    /// Gone once it was waited for: its number may be a stranger's from then on.
    child: Option<Child>,
    pid: Pid,
    log: PathBuf,
}

impl ServerProcess {
    /// Starts a server whose output goes into the file `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command, log: &Path) -> Result<Self, TestbedError> {
        let io = |source| TestbedError::Io { what: format!("start {command:?}"), source };
        let out = File::options().create(true).append(true).open(log).map_err(io)?;
        let err = out.try_clone().map_err(io)?;
        let what = format!("start {command:?}");
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = command.spawn().map_err(|source| TestbedError::Io { what, source })?;
        Ok(Self { pid: Pid::from_child(&child), child: Some(child), log: log.to_owned() })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Whether it still runs.
    pub fn runs(&self) -> bool {
        // Its number is kept: what it started is still to be killed.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.child.is_some() && matches!(waitid(WaitId::Pid(self.pid), ended), Ok(None))
    }

    /// The end of what it wrote.
    pub fn said(&self) -> String {
        let text = fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Waits until `ready` gives something; fails at once when the server ends before.
    ///
    /// # Errors
    /// When that takes longer than `limit` or the server ends, with the end of its log.
    pub fn wait_until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T, TestbedError> {
        let found = wait_until(what, limit, || match ready() {
            Some(found) => Some(Some(found)),
            None if !self.runs() => Some(None),
            None => None,
        });
        match found {
            Ok(Some(found)) => Ok(found),
            Ok(None) | Err(_) => Err(TestbedError::TimedOut { what: what.into(), limit, said: self.said() }),
        }
    }

    /// Sends a signal to the server alone: to stop it, to let it go on, or to have it end in its own way.
    pub fn signal(&self, signal: Signal) {
        if self.child.is_some() {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Kills it and all it started, as a power cut would, and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = child.wait();
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_server_is_its_own_until_the_last_signal_was_sent() {
        let directory = tempfile::tempdir().unwrap();
        let mut server = ServerProcess::start(Command::new("true"), &directory.path().join("log")).unwrap();
        let taken = Path::new("/proc").join(server.pid().to_string());
        wait_until("its end", Duration::from_secs(60), || (!server.runs()).then_some(())).unwrap();
        assert!(taken.exists());
        server.kill();
        assert!(!taken.exists() && !server.runs());
    }
}

/// Runs a program to its end; what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String, TestbedError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| TestbedError::Io { what: format!("run {program}"), source })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(TestbedError::Failed { program, said: text(&output.stdout) + &text(&output.stderr) }),
    }
}
