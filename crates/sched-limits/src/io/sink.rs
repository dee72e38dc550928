//! A file that is written back as it is written: [`FileSink`], [`WriteBack`].

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

/// Bytes after which write-back is started: so little that the disk hardly notices, so much that it is worth a call.
const WRITE_BACK_EVERY: u64 = 2 << 20;
/// Bytes after which the file is synced, or the step where that is more. Each sync commits the file system's journal, and the
/// `fsync` calls of a database on the same disk may wait for that. Beside a log of 300 small writes a second their 99th percentile
/// was 1.0 to 1.5 times that without a backup with a sync every 2 MiB, and .6 to 1.2 times with one every 32 MiB or more and
/// write-back started in between; the log alone varied as much (docs/benchmarks.md).
const SYNC_EVERY: u64 = 64 << 20;
/// The newest bytes may be under way to the disk yet: they are dropped from the cache one write-back later.
const UNDER_WAY: u64 = 4;

/// Keeps the dirty pages of a file from piling up while it is written from begin to end: every few MiB they are sent on
/// their way to the disk.
///
/// Left alone, the kernel gathers them and writes them in bulk, and the `fsync` calls of a database on the same disk
/// wait behind that. On Linux write-back is started without waiting for it, by the advice that the pages will not be needed
/// (`posix_fadvise`), which drops those from the cache that are on the disk already: a backup does not push out what
/// the database reads. Every 64 MiB, and at each step where no such advice is taken, the file is synced, so that more is
/// never dirty, however fast it is written.
///
/// For files that somebody else writes, as a database's library; [`FileSink`] is one that does both.
#[derive(Clone, Debug)]
pub struct WriteBack {
    every: u64,
    dirty: u64,
    /// Where the file stood, and the bytes written since.
    from: u64,
    written: u64,
    unsynced: u64,
    steps: u64,
    syncs: u64,
}

impl Default for WriteBack {
    /// Of a file that is written from its beginning.
    fn default() -> Self {
        Self { every: WRITE_BACK_EVERY, dirty: 0, from: 0, written: 0, unsynced: 0, steps: 0, syncs: 0 }
    }
}

impl WriteBack {
    /// So many bytes more were written. `file` may be another handle than the writer's.
    ///
    /// # Errors
    /// When the disk reports one.
    pub fn wrote(&mut self, file: &File, bytes: u64) -> io::Result<()> {
        self.dirty += bytes;
        self.written += bytes;
        self.unsynced += bytes;
        if self.dirty < self.every {
            return Ok(());
        }
        self.dirty = 0;
        self.steps += 1;
        // What was sent a few steps ago may be on the disk by now and can be dropped.
        let newest = bytes.max(self.every).saturating_mul(UNDER_WAY);
        if !self.not_needed(file, newest) || self.unsynced >= SYNC_EVERY.max(self.every) {
            file.sync_data()?;
            self.synced(file);
        }
        Ok(())
    }

    /// The file is complete: the rest is written back, its metadata too.
    ///
    /// # Errors
    /// When the disk reports one.
    pub fn finish(&mut self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        self.synced(file);
        Ok(())
    }

    /// All is on the disk: what was under way until now can be dropped as well.
    fn synced(&mut self, file: &File) {
        self.syncs += 1;
        self.not_needed(file, self.unsynced);
        self.unsynced = 0;
    }

    /// Whether advice on the newest bytes was taken.
    fn not_needed(&self, file: &File, newest: u64) -> bool {
        let newest = newest.min(self.written);
        not_needed(file, self.from + self.written - newest, newest)
    }

    /// Bytes until the next step.
    fn room(&self) -> u64 {
        self.every - self.dirty
    }
}

/// A file whose dirty pages never pile up, by [`WriteBack`]. To hold it to a rate, pace what goes in:
/// `ctx.writer(FileSink::create(path)?)`.
///
/// ```
/// use std::io::Write;
/// use sched_limits::FileSink;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("copy");
/// let mut sink = FileSink::create(&path)?.write_back_every(1 << 20);
/// sink.write_all(&[7; 3 << 20])?;
/// assert_eq!(sink.write_backs(), 3);
/// sink.finish()?; // on disk, or an error
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct FileSink {
    file: File,
    back: WriteBack,
}

impl FileSink {
    /// A sink that writes `file` from where it stands.
    pub fn new(mut file: File) -> Self {
        // What has no position, as a pipe, has no pages either.
        let from = file.stream_position().unwrap_or(0);
        Self { file, back: WriteBack { from, ..WriteBack::default() } }
    }

    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// As [`File::create`].
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        File::create(path).map(Self::new)
    }

    /// Sets after how many bytes write-back is started, at least 1. Default 2 MiB.
    #[must_use]
    pub fn write_back_every(mut self, bytes: u64) -> Self {
        self.back.every = bytes.max(1);
        self
    }

    /// How often write-back was started so far.
    pub fn write_backs(&self) -> u64 {
        self.back.steps
    }

    /// How often the file was synced so far.
    pub fn syncs(&self) -> u64 {
        self.back.syncs
    }

    /// Writes back the rest, the file's metadata too, and returns the file. Without it the last bytes may be lost in
    /// a crash, and an error on the way to the disk goes unseen.
    ///
    /// # Errors
    /// When the disk reports one.
    pub fn finish(mut self) -> io::Result<File> {
        self.back.finish(&self.file)?;
        Ok(self.file)
    }
}

impl Write for FileSink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let most = buf.len().min(usize::try_from(self.back.room()).unwrap_or(usize::MAX));
        let written = self.file.write(&buf[..most])?;
        if written as u64 >= self.back.room() {
            // A file that is appended to has moved to its end with the first write.
            let at = self.file.stream_position().unwrap_or(0);
            self.back.from = at.saturating_sub(self.back.written + written as u64);
        }
        self.back.wrote(&self.file, written as u64)?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Starts to write these bytes back where they are dirty, and drops them from the cache where they are not. Whether the
/// advice was taken.
#[cfg(target_os = "linux")]
fn not_needed(file: &File, from: u64, length: u64) -> bool {
    let length = std::num::NonZeroU64::new(length);
    rustix::fs::fadvise(file, from, length, rustix::fs::Advice::DontNeed).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn not_needed(_file: &File, _from: u64, _length: u64) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn every_byte_arrives_and_no_more_than_a_step_is_dirty() {
        let mut sink = FileSink::new(tempfile::tempfile().unwrap()).write_back_every(1000);
        let data: Vec<u8> = (0..10_500_u32).map(|n| n as u8).collect();
        sink.write_all(&data).unwrap();
        assert_eq!((sink.write_backs(), sink.back.dirty), (10, 500));
        let mut file = sink.finish().unwrap();
        file.rewind().unwrap();
        let mut read = Vec::new();
        file.read_to_end(&mut read).unwrap();
        assert_eq!(read, data);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn most_steps_start_write_back_and_few_wait_for_it() {
        let mut sink = FileSink::new(tempfile::tempfile().unwrap()).write_back_every(1 << 20);
        sink.write_all(&vec![1; 130 << 20]).unwrap();
        assert_eq!((sink.write_backs(), sink.syncs()), (130, 2));
        // Steps that are larger than that are synced each: no more is dirty than was asked for.
        let mut back = WriteBack::default();
        let file = tempfile::tempfile().unwrap();
        (0..3).for_each(|_| back.wrote(&file, 1 << 30).unwrap());
        assert_eq!((back.steps, back.syncs), (3, 3));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn where_no_advice_is_taken_each_step_waits() {
        // A pipe has no pages to be written back, and says so.
        let (_reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut sink = FileSink::new(file).write_back_every(10);
        assert_eq!(sink.write_all(&[1; 10]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_file_that_is_appended_to_is_written_back_at_its_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0; 5000]).unwrap();
        let mut sink =
            FileSink::new(File::options().append(true).open(file.path()).unwrap()).write_back_every(100);
        sink.write_all(&[1; 250]).unwrap();
        assert_eq!((sink.back.from, sink.write_backs()), (5000, 2));
    }

    #[test]
    fn a_file_goes_on_from_where_it_stands() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before ").unwrap();
        let mut sink = FileSink::new(file).write_back_every(2);
        sink.write_all(b"after").unwrap();
        let mut file = sink.finish().unwrap();
        file.rewind().unwrap();
        let mut read = String::new();
        file.read_to_string(&mut read).unwrap();
        assert_eq!(read, "before after");
    }

    #[test]
    fn a_disk_that_is_full_says_so() {
        let Ok(full) = File::options().write(true).open("/dev/full") else { return };
        let error = FileSink::new(full).write_all(&[0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
