//! What a process really moves: [`ProcessIo`].

use std::io;

/// The bytes that a process has read and written, by the kernel's account, as a measure for
/// [`RunContext::measured`](sched_core::RunContext::measured).
///
/// A tool that is paced by its output alone also reads, and may compress or check: what it takes from the disk can be
/// many times what comes out of it. Linux only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessIo {
    pid: Option<u32>,
    started_at: u64,
}

impl ProcessIo {
    /// Of this process, from now on. All its threads count: use it where one backup runs at a time.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn own() -> io::Result<Self> {
        let this = Self { pid: None, started_at: 0 };
        Ok(Self { started_at: this.total()?, ..this })
    }

    /// Of another process, such as the tool that makes the backup, from its start.
    ///
    /// # Errors
    /// When it does not run, belongs to somebody else, or the kernel does not tell.
    pub fn of(pid: u32) -> io::Result<Self> {
        let this = Self { pid: Some(pid), started_at: 0 };
        this.total().map(|_| this)
    }

    /// Bytes that reached the process from storage and storage from it, since it was first asked. Pages that were
    /// in the cache do not count; written ones count when they become dirty.
    ///
    /// # Errors
    /// When the process has ended or the kernel does not tell.
    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.total()?.saturating_sub(self.started_at))
    }

    #[cfg(target_os = "linux")]
    fn total(&self) -> io::Result<u64> {
        use procfs_core::FromRead;
        let path = match self.pid {
            Some(pid) => format!("/proc/{pid}/io"),
            None => "/proc/self/io".into(),
        };
        let text = std::fs::read(&path)?;
        let counters = procfs_core::process::Io::from_read(&text[..]).map_err(io::Error::other)?;
        Ok((counters.read_bytes + counters.write_bytes).saturating_sub(counters.cancelled_write_bytes))
    }

    #[cfg(not(target_os = "linux"))]
    fn total(&self) -> io::Result<u64> {
        let problem = "the bytes of a process are only known on Linux; measure them yourself";
        Err(io::Error::new(io::ErrorKind::Unsupported, problem))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_does_not_exist_is_an_error() {
        assert_eq!(ProcessIo::of(u32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
