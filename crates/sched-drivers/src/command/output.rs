//! What a tool writes to its standard output: [`ToolOutput`].

use std::fmt;
use std::io::{self, PipeReader, Read};
use std::process::ChildStdout;

use rustix::event::{PollFd, PollFlags, poll};

/// The standard output of a tool. Reading it fails once the tool was killed, even while a process that left the tool's
/// group, such as a daemon, still holds it.
pub struct ToolOutput {
    stdout: ChildStdout,
    /// Closed when the tool was killed.
    killed: PipeReader,
}

impl ToolOutput {
    pub(super) fn new(stdout: ChildStdout, killed: PipeReader) -> Self {
        Self { stdout, killed }
    }
}

impl Read for ToolOutput {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = PollFlags::IN;
        let mut sources = [PollFd::new(&self.killed, wanted), PollFd::new(&self.stdout, wanted)];
        rustix::io::retry_on_intr(|| poll(&mut sources, None))?;
        if !sources[0].revents().is_empty() {
            return Err(io::Error::other("it was killed"));
        }
        self.stdout.read(buf)
    }
}

impl fmt::Debug for ToolOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolOutput").finish_non_exhaustive()
    }
}
