//! Backups into anything that can be written to: [`Stream`].

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use super::{ArtifactWriter, BackupId, BackupSink, Destination, MANIFEST, check_file_name};

type Open = dyn Fn(&BackupId, &str) -> io::Result<Box<dyn Write + Send>> + Send + Sync;

/// Writes each file of a backup, and last its manifest, into a writer of the host's own: a pipe, a tape, a connection.
///
/// A backup whose manifest was never asked for was abandoned: removing what was written of it is up to the host.
///
/// ```
/// use sched_drivers::destination::Stream;
///
/// let nowhere = Stream::new(|_backup, _file| Ok(Box::new(std::io::sink())));
/// ```
#[derive(Clone)]
pub struct Stream {
    open: Arc<Open>,
}

impl Stream {
    /// A destination that opens a writer for each file. The manifest's name is [`MANIFEST`].
    pub fn new(
        open: impl Fn(&BackupId, &str) -> io::Result<Box<dyn Write + Send>> + Send + Sync + 'static,
    ) -> Self {
        Self { open: Arc::new(open) }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl Destination for Stream {
    fn begin(&self, backup: &BackupId) -> io::Result<Box<dyn BackupSink>> {
        Ok(Box::new(Streaming { open: Arc::clone(&self.open), backup: backup.clone() }))
    }
}

struct Streaming {
    open: Arc<Open>,
    backup: BackupId,
}

impl BackupSink for Streaming {
    fn create(&mut self, file: &str) -> io::Result<Box<dyn ArtifactWriter>> {
        check_file_name(file)?;
        Ok(Box::new(Flushed((self.open)(&self.backup, file)?)))
    }

    fn complete(self: Box<Self>, manifest: &[u8]) -> io::Result<String> {
        let mut writer = (self.open)(&self.backup, MANIFEST)?;
        writer.write_all(manifest)?;
        writer.flush()?;
        Ok(format!("{}/{}", self.backup.folder(), self.backup.name()))
    }

    fn abandon(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

struct Flushed(Box<dyn Write + Send>);

impl Write for Flushed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl ArtifactWriter for Flushed {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}
