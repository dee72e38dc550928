//! A tool at work: [`Running`].

use std::io;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid,
};

use super::leash::Ended;
use super::said::Said;
use super::watch::Watch;
use super::{ProcessMark, ToolOutput};

/// How long what was killed may take to be gone, in ms. Where nobody reaps orphans, as in some containers, their numbers
/// stay for ever.
const DYING_MS: u32 = 100;

/// A tool at work. Dropping it kills its group.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) mark: ProcessMark,
    pub(super) output: Option<ToolOutput>,
    pub(super) watch: Watch,
    pub(super) said: Said,
    pub(super) reaped: bool,
}

impl Running {
    /// How it ended by itself, why it was ended, and what it said.
    pub(super) fn finish(mut self) -> io::Result<(ExitStatus, Option<Ended>, String)> {
        let status = self.reap()?;
        Ok((status, self.watch.ended(), std::mem::take(&mut self.said).text()))
    }

    /// Waits for the end of the tool, ends what it left behind, and only then gives its number back to the system: no
    /// signal can reach a stranger.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.reaped = true;
        let pid = Pid::from_child(&self.child);
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let ended = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), ended));
        self.watch.stop();
        // A host that waits for all its children took the number away: it may be a stranger's by now.
        ended?;
        let _ = kill_process_group(pid, Signal::KILL);
        let status = self.child.wait();
        for _ in 0..DYING_MS {
            if test_kill_process_group(pid).is_err() {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.reap();
        }
    }
}
