//! A file that is written back as it is written: [`FileSink`].

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Bytes between two write-backs. With 2 MiB a database beside the file kept its latency in measurements; smaller
/// steps only add journal commits.
const WRITE_BACK_EVERY: u64 = 2 << 20;

/// A file whose dirty pages never pile up: every few MiB they are written to the disk.
///
/// Left alone, the kernel gathers them and writes them in bulk, and the `fsync` calls of a database on the same disk
/// wait behind that. On Linux the pages are then dropped from the cache as well, so that a backup does not push out
/// what the database reads. To hold it to a rate, pace what goes in: `ctx.writer(FileSink::create(path)?)`.
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
    every: u64,
    dirty: u64,
    write_backs: u64,
}

impl FileSink {
    /// A sink that writes `file` from where it stands.
    pub fn new(file: File) -> Self {
        Self { file, every: WRITE_BACK_EVERY, dirty: 0, write_backs: 0 }
    }

    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// As [`File::create`].
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        File::create(path).map(Self::new)
    }

    /// Sets how many bytes may be dirty, at least 1. Default 2 MiB.
    #[must_use]
    pub fn write_back_every(mut self, bytes: u64) -> Self {
        self.every = bytes.max(1);
        self
    }

    /// How often dirty pages were written back so far.
    pub fn write_backs(&self) -> u64 {
        self.write_backs
    }

    /// Writes back the rest, the file's metadata too, and returns the file. Without it the last bytes may be lost in
    /// a crash, and an error on the way to the disk goes unseen.
    ///
    /// # Errors
    /// When the disk reports one.
    pub fn finish(self) -> io::Result<File> {
        self.file.sync_all()?;
        drop_from_cache(&self.file);
        Ok(self.file)
    }

    fn write_back(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        drop_from_cache(&self.file);
        self.dirty = 0;
        self.write_backs += 1;
        Ok(())
    }
}

impl Write for FileSink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let most = buf.len().min(usize::try_from(self.every - self.dirty).unwrap_or(usize::MAX));
        let written = self.file.write(&buf[..most])?;
        self.dirty += written as u64;
        if self.dirty >= self.every {
            self.write_back()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Only advice: a file system that does not take it loses nothing.
#[cfg(target_os = "linux")]
fn drop_from_cache(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn drop_from_cache(_file: &File) {}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    #[test]
    fn every_byte_arrives_and_no_more_than_a_step_is_dirty() {
        let mut sink = FileSink::new(tempfile::tempfile().unwrap()).write_back_every(1000);
        let data: Vec<u8> = (0..10_500_u32).map(|n| n as u8).collect();
        sink.write_all(&data).unwrap();
        assert_eq!((sink.write_backs(), sink.dirty), (10, 500));
        let mut file = sink.finish().unwrap();
        file.rewind().unwrap();
        let mut read = Vec::new();
        file.read_to_end(&mut read).unwrap();
        assert_eq!(read, data);
    }

    #[test]
    fn a_disk_that_is_full_says_so() {
        let Ok(full) = File::options().write(true).open("/dev/full") else { return };
        let error = FileSink::new(full).write_all(&[0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
