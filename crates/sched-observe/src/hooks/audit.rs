//! Every event as a line of JSON: [`AuditLog`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use sched_core::Event;

use crate::hook::Hook;

/// When an [`AuditLog`] begins another file, and how many it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// A file that would grow beyond this many bytes is put aside first. Default 64 MiB; at least one line is written
    /// to every file.
    pub max_bytes: u64,
    /// Files kept beside the one that is written. Default 9; with 0 what is full is deleted.
    pub keep: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, keep: 9 }
    }
}

impl Rotation {
    /// Sets the size of a file in bytes.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets how many files are kept beside the one that is written.
    #[must_use]
    pub fn keep(mut self, files: u32) -> Self {
        self.keep = files;
        self
    }
}

/// Why an [`AuditLog`] cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the audit log {path:?} cannot be {what}: {source}; it needs a file that this process may append to")]
#[non_exhaustive]
pub struct AuditError {
    /// Which file.
    pub path: PathBuf,
    /// What could not be done with it.
    pub what: &'static str,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Writes each event as a line of JSON to a file, which is put aside as `NAME.1`, `NAME.2` and so on when it is full.
/// Clones share it.
///
/// A line is written at once and whole. What cannot be written is counted and told by `tracing`, and the next event tries
/// again, with the file opened anew: a disk that was full or a directory that was away costs only the lines of that time.
/// A file that somebody moved or deleted is begun anew; one that cannot be put aside goes on growing. The files that it
/// creates are readable by their owner alone.
///
/// ```
/// use sched_observe::{AuditLog, Rotation};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("backups.jsonl");
/// let audit = AuditLog::open(&path, Rotation::default().keep(30))?;
/// // Scheduler::builder().hook(audit.clone())
/// assert_eq!(audit.lost(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AuditLog {
    inner: Arc<Mutex<Inner>>,
}

// Rotation is ours: file-rotate goes on as if all were well when its file cannot be opened.
#[derive(Debug)]
struct Inner {
    path: PathBuf,
    rotation: Rotation,
    file: Option<File>,
    written: u64,
    lost: u64,
    failing: bool,
}

impl AuditLog {
    /// Opens or creates the file; what is in it is kept.
    ///
    /// # Errors
    /// When it cannot be opened, read or written.
    pub fn open(path: impl AsRef<Path>, rotation: Rotation) -> Result<Self, AuditError> {
        let path = path.as_ref().to_path_buf();
        let mut inner = Inner { path, rotation, file: None, written: 0, lost: 0, failing: false };
        if let Err((what, source)) = inner.reopen() {
            return Err(AuditError { path: inner.path, what, source });
        }
        Ok(Self { inner: Arc::new(Mutex::new(inner)) })
    }

    /// Events that could not be written.
    pub fn lost(&self) -> u64 {
        self.inner.lock().lost
    }
}

impl Inner {
    fn reopen(&mut self) -> Result<(), (&'static str, io::Error)> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&self.path).map_err(|error| ("opened", error))?;
        self.written = end_line(&mut file).map_err(|error| ("read to its end", error))?;
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.is_there() {
            self.reopen().map_err(|(_, error)| error)?;
        }
        let length = line.len() as u64;
        if self.written > 0 && self.written.saturating_add(length) > self.rotation.max_bytes {
            self.file = None;
            let put_aside = self.put_aside();
            self.reopen().map_err(|(_, error)| error)?;
            if let Err(error) = put_aside {
                // A file that grows beyond its size is better than lines that are lost. Tried again after as much more.
                tracing::warn!(path = %self.path.display(), %error, "the audit log cannot be put aside and grows");
                self.written = 0;
            }
        }
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.write_all(line)?;
        self.written += length;
        Ok(())
    }

    /// Whether the file that is open is the one of that name, and not one that was moved or deleted meanwhile.
    fn is_there(&self) -> bool {
        let Some(file) = &self.file else { return false };
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let id = |about: fs::Metadata| (about.dev(), about.ino());
            match (file.metadata().map(id), fs::metadata(&self.path).map(id)) {
                (Ok(open), Ok(named)) => open == named,
                _ => false,
            }
        }
        #[cfg(not(unix))]
        {
            let _ = file;
            self.path.exists()
        }
    }

    /// Renames the files, oldest first, and so deletes the one that is one too many.
    fn put_aside(&self) -> io::Result<()> {
        let aside = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        let there = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        if self.rotation.keep == 0 {
            return there(fs::remove_file(&self.path));
        }
        for number in (1..self.rotation.keep).rev() {
            there(fs::rename(aside(number), aside(number + 1)))?;
        }
        there(fs::rename(&self.path, aside(1)))
    }
}

/// Ends a line that a crash has torn, so that the next one can be read. Returns the length of the file.
fn end_line(file: &mut File) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        return Ok(0);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(length);
    }
    file.write_all(b"\n")?;
    Ok(length + 1)
}

impl Hook for AuditLog {
    fn name(&self) -> &str {
        "audit"
    }

    fn lost(&self) -> u64 {
        AuditLog::lost(self)
    }

    fn event(&mut self, event: &Event) {
        let mut inner = self.inner.lock();
        let line = serde_json::to_vec(event).map_err(io::Error::from);
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            inner.write(&line)
        });
        match written {
            Ok(()) => inner.failing = false,
            Err(error) => {
                inner.file = None;
                inner.lost += 1;
                if !std::mem::replace(&mut inner.failing, true) {
                    tracing::warn!(path = %inner.path.display(), %error, "events are not written to the audit log");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, EventKind, ManualClock};

    use super::*;

    fn event(pending: usize) -> Event {
        Event::new(ManualClock::default().now(), None, EventKind::QueueFull { pending })
    }

    fn read(path: &Path) -> Vec<usize> {
        let text = fs::read_to_string(path).unwrap();
        let number = |line: &str| match serde_json::from_str::<Event>(line).unwrap().kind {
            EventKind::QueueFull { pending } => pending,
            other => panic!("{other:?}"),
        };
        text.lines().map(number).collect()
    }

    #[test]
    fn files_are_put_aside_when_full_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let line = serde_json::to_string(&event(0)).unwrap().len() as u64 + 1;
        let rotation = Rotation::default().max_bytes(2 * line).keep(2);
        let mut log = AuditLog::open(&path, rotation).unwrap();
        (0..9).for_each(|number| log.event(&event(number)));
        let aside = |number| dir.path().join(format!("audit.jsonl.{number}"));
        assert_eq!((read(&path), read(&aside(1)), read(&aside(2))), (vec![8], vec![6, 7], vec![4, 5]));
        assert!(!aside(3).exists());
        // Another process goes on in the file that is begun.
        let mut again = AuditLog::open(&path, rotation).unwrap();
        again.event(&event(9));
        assert_eq!(read(&path), [8, 9]);
    }

    #[test]
    fn a_line_longer_than_a_file_is_written_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut log = AuditLog::open(&path, Rotation::default().max_bytes(1).keep(0)).unwrap();
        (0..3).for_each(|number| log.event(&event(number)));
        assert_eq!((read(&path), log.lost()), (vec![2], 0));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        fs::write(&path, "{\"at\":").unwrap();
        AuditLog::open(&path, Rotation::default()).unwrap().event(&event(1));
        let text = fs::read_to_string(&path).unwrap();
        let whole: Vec<_> = text.lines().filter(|line| serde_json::from_str::<Event>(line).is_ok()).collect();
        assert_eq!((text.lines().count(), whole.len()), (2, 1));
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_next_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("there");
        fs::create_dir(&home).unwrap();
        let path = home.join("audit.jsonl");
        let mut log = AuditLog::open(&path, Rotation::default()).unwrap();
        log.event(&event(0));
        fs::remove_dir_all(&home).unwrap();
        log.event(&event(1));
        log.event(&event(2));
        assert_eq!(log.lost(), 2, "what is written to a file without a name is lost");
        fs::create_dir(&home).unwrap();
        log.event(&event(3));
        assert_eq!((read(&path), log.lost()), (vec![3], 2));
        // As other programs rotate logs.
        fs::rename(&path, home.join("moved")).unwrap();
        log.event(&event(4));
        assert_eq!((read(&path), read(&home.join("moved")), log.lost()), (vec![4], vec![3], 2));
    }

    #[test]
    fn a_file_that_cannot_be_put_aside_grows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut log = AuditLog::open(&path, Rotation::default().max_bytes(1).keep(1)).unwrap();
        // A directory with something in it is in the way.
        fs::create_dir_all(dir.path().join("audit.jsonl.1/x")).unwrap();
        (0..3).for_each(|number| log.event(&event(number)));
        assert_eq!((read(&path), log.lost()), (vec![0, 1, 2], 0));
    }

    #[test]
    fn a_directory_is_no_log() {
        let dir = tempfile::tempdir().unwrap();
        let error = AuditLog::open(dir.path(), Rotation::default()).unwrap_err().to_string();
        assert!(error.contains("cannot be opened") && error.contains("may append to"), "{error}");
    }
}
