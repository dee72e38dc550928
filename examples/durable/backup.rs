//! A backup that takes a moment, under a name that carries its attempt until it is complete.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use backup_sched::{Executor, RunContext, RunError};

/// Bytes of a backup, and how many of them a second.
const BYTES: u64 = 600_000;
const BYTES_PER_SEC: u64 = 1_500_000;
const CHUNK: u64 = 15_000;

/// Writes a file for each backup. As a stand-in for a real tool it is slow.
pub(crate) struct CopyBackup {
    directory: PathBuf,
}

impl CopyBackup {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    fn partial(&self, ctx: &RunContext, attempt: u32) -> PathBuf {
        self.directory.join(format!("{}.partial-{attempt}", ctx.instance()))
    }
}

impl Executor for CopyBackup {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        println!("{} {}, attempt {}, begins", ctx.job(), ctx.instance(), ctx.attempt());
        let partial = self.partial(ctx, ctx.attempt());
        let mut file = File::create(&partial)?;
        for _ in 0..BYTES / CHUNK {
            ctx.pace(CHUNK)?;
            file.write_all(&vec![7; CHUNK as usize])?;
            crate::nap(std::time::Duration::from_secs(CHUNK) / BYTES_PER_SEC as u32);
        }
        file.sync_all()?;
        // Only now it counts: a partial file never looks complete.
        fs::rename(&partial, self.directory.join(format!("{}.backup", ctx.instance())))?;
        println!("{} {}, attempt {}, is complete", ctx.job(), ctx.instance(), ctx.attempt());
        Ok(())
    }

    /// Called before the first attempt after a crash.
    fn clean_up(&self, ctx: &RunContext) -> Result<(), RunError> {
        for former in 1..ctx.attempt() {
            match fs::remove_file(self.partial(ctx, former)) {
                Ok(()) => println!("{} {}: what attempt {former} left is removed", ctx.job(), ctx.instance()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Backups that are complete, and files that are not.
pub(crate) fn count(directory: &Path) -> io::Result<(usize, usize)> {
    let (mut complete, mut partial) = (0, 0);
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        complete += usize::from(name.ends_with(".backup"));
        partial += usize::from(name.contains(".partial-"));
    }
    Ok((complete, partial))
}
