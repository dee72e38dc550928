//! Where backups go: [`Destination`], [`LocalDirectory`], [`Stream`]; with the feature `object-store` also
//! `ObjectStoreDestination`.
//!
//! A backup is a folder of files with a manifest. It is complete when it has its final name, which it gets last, or
//! its manifest where nothing can be renamed; whatever is on its way carries the attempt in its name, and is removed
//! with it.

mod encode;
mod local;
#[cfg(feature = "object-store")]
mod object;
mod owner;
mod stream;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use sched_core::{BackupKind, InstanceName, JobId, RunContext};

#[cfg(feature = "cassandra")]
pub(crate) use self::encode::component;
pub(crate) use self::encode::hex;
pub use self::local::LocalDirectory;
#[cfg(feature = "object-store")]
pub use self::object::ObjectStoreDestination;
pub use self::stream::Stream;
use crate::command::ProcessMark;
/// The client of object stores that [`ObjectStoreDestination`] takes: of this version, which is a part of what this crate
/// promises. Its features choose the clouds.
#[cfg(feature = "object-store")]
#[doc(no_inline)]
pub use object_store;

/// The name of the file that says what a backup holds.
pub const MANIFEST: &str = "manifest.json";

/// A place for backups.
///
/// Two attempts never share anything: an attempt that was given up cannot write into its successor's backup.
pub trait Destination: Send + Sync + fmt::Debug {
    /// Begins a backup. What earlier attempts left that ended without cleaning up is removed first, where that is
    /// certain.
    ///
    /// # Errors
    /// When nothing can be written there, or when this very attempt has begun already.
    fn begin(&self, backup: &BackupId) -> io::Result<Box<dyn BackupSink>>;
}

impl<D: Destination + ?Sized> Destination for std::sync::Arc<D> {
    fn begin(&self, backup: &BackupId) -> io::Result<Box<dyn BackupSink>> {
        (**self).begin(backup)
    }
}

/// One backup on its way to its destination. One that is dropped is abandoned.
pub trait BackupSink: Send {
    /// Begins a file: relative, `/` between folders, without `.` and `..`.
    ///
    /// # Errors
    /// When the name cannot be used or exists already, or nothing can be written.
    fn create(&mut self, file: &str) -> io::Result<Box<dyn ArtifactWriter>>;

    /// Where a file of this backup can be written in place by something that needs a path, such as an embedded database;
    /// the file is this backup's from then on. `None`, the default: the destination has no paths, and such a file is
    /// made elsewhere first.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    fn path(&mut self, file: &str) -> io::Result<Option<PathBuf>> {
        let _ = file;
        Ok(None)
    }

    /// Notes a process that works for this backup, so that nobody cleans up under it. Default: nothing.
    ///
    /// # Errors
    /// When it cannot be noted.
    fn note_process(&mut self, process: &ProcessMark) -> io::Result<()> {
        let _ = process;
        Ok(())
    }

    /// Writes the manifest and makes the backup complete, durably. Returns where it is, for people.
    ///
    /// # Errors
    /// When that is not certain. The backup is then abandoned, or complete in a folder of which the system does not say
    /// that it lasts.
    fn complete(self: Box<Self>, manifest: &[u8]) -> io::Result<String>;

    /// Removes all that this attempt wrote.
    ///
    /// # Errors
    /// When something stays.
    fn abandon(self: Box<Self>) -> io::Result<()>;
}

/// A file of a backup being written.
pub trait ArtifactWriter: Write + Send {
    /// All is written: makes it durable.
    ///
    /// # Errors
    /// When the last bytes could not be written.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Which backup it is, and which attempt at it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupId {
    /// Of which instance.
    pub instance: InstanceName,
    /// Of which kind.
    pub kind: BackupKind,
    /// When the attempt started.
    pub started: Timestamp,
    /// The job.
    pub job: JobId,
    /// Its attempt, from 1.
    pub attempt: u32,
}

impl BackupId {
    /// The backup that an attempt makes.
    pub fn of(ctx: &RunContext) -> Self {
        Self {
            instance: ctx.instance().clone(),
            kind: ctx.spec().kind,
            started: ctx.started(),
            job: ctx.job(),
            attempt: ctx.attempt(),
        }
    }

    /// The folder of the instance: its name, with what could mean something to a file system encoded.
    pub fn folder(&self) -> String {
        encode::component(self.instance.as_str())
    }

    /// The name of the backup in that folder, such as `full-20261129T134430.250Z-j7`: names sort by time.
    pub fn name(&self) -> String {
        let at = self.started.strftime("%Y%m%dT%H%M%S.%3fZ");
        format!("{}-{at}-j{}", self.kind, self.job.0)
    }

    /// Its name while it is being made.
    pub fn partial_name(&self) -> String {
        format!("{}.partial-{}", self.name(), self.attempt)
    }
}

/// Whether a file's name stays inside its backup.
pub(crate) fn check_file_name(file: &str) -> io::Result<()> {
    let good = |part: &str| {
        !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0', ':']) && part.len() <= 255
    };
    let reserved = file == MANIFEST || file == local::RECORD;
    if file.split('/').all(good) && !reserved && file.len() <= 1024 {
        return Ok(());
    }
    let problem = format!(
        "{file:?} cannot be the name of a file in a backup; right is a relative path without `.`, `..`, `\\` and `:`"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_name_leaves_its_backup() {
        for good in ["base.tar", "node-1/ks/t-8f/nb-1-big-Data.db", "a b", "..a"] {
            assert!(check_file_name(good).is_ok(), "{good}");
        }
        for bad in ["", "/etc/passwd", "a//b", "../x", "a/../b", "a/.", "C:x", "a\\b", "a\0", MANIFEST, "a/"]
        {
            assert!(check_file_name(bad).is_err(), "{bad}");
        }
    }
}
