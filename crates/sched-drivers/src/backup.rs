//! One backup on its way: [`Backup`], [`Manifest`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use jiff::Timestamp;
use sched_core::{BackupKind, InstanceName, RunContext, TechnologyName};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::DriverError;
use crate::command::{CommandError, ExternalCommand};
use crate::destination::{BackupId, BackupSink, Destination, hex};

/// Bytes read, paced and written in one go.
const CHUNK: usize = 128 << 10;

/// One backup on its way from a server to its destination: what goes through it is paced, checksummed and counted.
/// One that is dropped before it is complete is abandoned, and so is one of which a file could not be stored: nothing of
/// it stays.
///
/// Checksums are made on the thread that is paced, between its waits: the rate that was granted is one of bytes read,
/// checked and written.
#[must_use = "a backup that is dropped before it is complete is abandoned"]
pub struct Backup<'a> {
    ctx: &'a RunContext,
    sink: Option<Box<dyn BackupSink>>,
    manifest: Manifest,
    done_bytes: u64,
    total_bytes: u64,
}

/// A complete backup.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Completed {
    /// Where it is, for people.
    pub location: String,
    /// What it holds.
    pub manifest: Manifest,
}

/// What a backup holds, as the JSON file beside it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The version of this format: 1.
    pub format: u32,
    /// Of which instance.
    pub instance: InstanceName,
    /// Of which technology.
    pub technology: TechnologyName,
    /// Of which kind.
    pub kind: BackupKind,
    /// The job.
    pub job: u64,
    /// The attempt that made it, from 1.
    pub attempt: u32,
    /// What made it, with its version.
    pub tool: String,
    /// When the attempt started.
    pub started: Timestamp,
    /// When all was written.
    pub ended: Timestamp,
    /// Its files, in the order in which they were written.
    pub files: Vec<StoredFile>,
    /// What else a restore needs or an operator may ask, such as the position of a log.
    pub facts: BTreeMap<String, String>,
}

impl Manifest {
    /// The bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoredFile {
    /// Its name in the backup.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 digest of its contents in hexadecimal digits, as `sha256sum` prints it.
    pub sha256: String,
}

impl<'a> Backup<'a> {
    /// Begins the backup that an attempt makes.
    ///
    /// # Errors
    /// When the destination takes none.
    pub fn begin(ctx: &'a RunContext, destination: &dyn Destination) -> Result<Self, DriverError> {
        let id = BackupId::of(ctx);
        let what = || format!("{}/{}", id.folder(), id.partial_name());
        let sink =
            destination.begin(&id).map_err(|source| DriverError::Destination { what: what(), source })?;
        let manifest = Manifest {
            format: 1,
            instance: id.instance.clone(),
            technology: ctx.spec().technology.clone(),
            kind: id.kind,
            job: id.job.0,
            attempt: id.attempt,
            tool: String::new(),
            started: id.started,
            ended: id.started,
            files: Vec::new(),
            facts: BTreeMap::new(),
        };
        Ok(Self { ctx, sink: Some(sink), manifest, done_bytes: 0, total_bytes: 0 })
    }

    /// Says what makes it, with its version.
    pub fn tool(&mut self, tool: impl Into<String>) {
        self.manifest.tool = tool.into();
    }

    /// Notes what a restore needs.
    pub fn fact(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.manifest.facts.insert(name.into(), value.into());
    }

    /// Says how much there is in all, where that is known, for progress.
    pub fn expect(&mut self, total_bytes: u64) {
        self.total_bytes = total_bytes;
        self.ctx.progress(self.done_bytes, total_bytes);
    }

    /// Stores all that `from` gives as a file, at the granted rate.
    ///
    /// # Errors
    /// When reading or writing fails, or the attempt is cancelled.
    pub fn store(&mut self, file: &str, from: impl Read) -> Result<&StoredFile, DriverError> {
        let stored = self.copy(file, from).map_err(|fault| fault.into_error(file));
        self.keep(stored)
    }

    /// Runs a tool and stores what it writes to its standard output.
    ///
    /// # Errors
    /// When the tool fails or its output cannot be stored, or the attempt is cancelled.
    pub fn store_output(
        &mut self,
        file: &str,
        command: &ExternalCommand,
    ) -> Result<&StoredFile, DriverError> {
        self.store_output_seen(file, command, |_| {})
    }

    /// As [`store_output`](Self::store_output), with all that is stored shown to `see` when it is read: for what a tool
    /// tells only there, such as the position of a log.
    ///
    /// # Errors
    /// As [`store_output`](Self::store_output).
    pub fn store_output_seen(
        &mut self,
        file: &str,
        command: &ExternalCommand,
        see: impl FnMut(&[u8]),
    ) -> Result<&StoredFile, DriverError> {
        let ctx = self.ctx;
        let mut fault = None;
        let sink = &mut self.sink;
        let (mut done, total) = (self.done_bytes, self.total_bytes);
        let marked = std::cell::RefCell::new(sink);
        let outcome = command.run_marked(
            ctx,
            |mark| marked.borrow_mut().as_mut().map_or(Ok(()), |sink| sink.note_process(mark)),
            |stdout| {
                let seen = Seen { inner: stdout, see };
                copy(ctx, marked.borrow_mut().as_mut(), file, seen, &mut done, total).map_err(|found| {
                    fault = Some(found);
                    io::Error::other("not stored")
                })
            },
        );
        self.done_bytes = done;
        self.keep(match (outcome, fault) {
            // The tool said why its output ended, or the destination why it took no more.
            (Err(CommandError::Reader { .. }), Some(fault)) => Err(fault.into_error(file)),
            (outcome, _) => outcome.map_err(DriverError::from),
        })
    }

    /// Stores a file that `make` writes at a path of its own, for what cannot be streamed: in place where the destination
    /// has paths, else in a temporary directory first. It is then read back at the granted rate for its checksum.
    ///
    /// # Errors
    /// What `make` says, or when the file cannot be read back or stored.
    pub fn store_made(
        &mut self,
        file: &str,
        make: impl FnOnce(&Path) -> Result<(), DriverError>,
    ) -> Result<&StoredFile, DriverError> {
        let stored = self.make(file, make);
        self.keep(stored)
    }

    fn make(
        &mut self,
        file: &str,
        make: impl FnOnce(&Path) -> Result<(), DriverError>,
    ) -> Result<StoredFile, DriverError> {
        let at = |source| DriverError::Destination { what: file.to_owned(), source };
        let sink = self.sink.as_mut().ok_or_else(|| at(abandoned()))?;
        let stored = match sink.path(file).map_err(at)? {
            Some(path) => {
                make(&path)?;
                let made = File::open(&path).map_err(at)?;
                let (done, total) = (&mut self.done_bytes, self.total_bytes);
                let stored = transfer(self.ctx, file, &made, io::sink(), done, total);
                made.sync_all().map_err(at)?;
                stored
            }
            None => {
                let staging = tempfile::tempdir().map_err(at)?;
                let path = staging.path().join("made");
                make(&path)?;
                self.copy(file, File::open(&path).map_err(at)?)
            }
        };
        stored.map_err(|fault| fault.into_error(file))
    }

    fn copy(&mut self, file: &str, from: impl Read) -> Result<StoredFile, Fault> {
        copy(self.ctx, self.sink.as_mut(), file, from, &mut self.done_bytes, self.total_bytes)
    }

    /// Without one of its files it never becomes complete.
    fn keep(&mut self, stored: Result<StoredFile, DriverError>) -> Result<&StoredFile, DriverError> {
        let stored = stored.inspect_err(|_| self.abandon())?;
        self.manifest.files.push(stored);
        Ok(&self.manifest.files[self.manifest.files.len() - 1])
    }

    fn abandon(&mut self) {
        if let Some(sink) = self.sink.take() {
            // What stays is removed before the next backup of the instance.
            let _ = sink.abandon();
        }
    }

    /// The directory-like place behind it, for what cannot be streamed; `None` once a file could not be stored.
    pub fn sink(&mut self) -> Option<&mut (dyn BackupSink + 'static)> {
        self.sink.as_deref_mut()
    }

    /// Writes the manifest and makes the backup complete.
    ///
    /// # Errors
    /// When it is not certain to last, or the attempt was cancelled.
    pub fn complete(mut self) -> Result<Completed, DriverError> {
        self.ctx.checkpoint()?;
        let mut manifest = self.manifest.clone();
        manifest.ended = self.ctx.clock().now().wall;
        let fail = |source: io::Error| DriverError::Destination { what: "the manifest".into(), source };
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| fail(error.into()))?;
        let Some(sink) = self.sink.take() else {
            return Err(fail(abandoned()));
        };
        let location = sink.complete(&text).map_err(fail)?;
        Ok(Completed { location, manifest })
    }
}

impl Drop for Backup<'_> {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl std::fmt::Debug for Backup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}

/// Shows what is read.
struct Seen<R, S> {
    inner: R,
    see: S,
}

impl<R: Read, S: FnMut(&[u8])> Read for Seen<R, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        (self.see)(&buf[..read]);
        Ok(read)
    }
}

/// On which side a copy failed.
enum Fault {
    Source(io::Error),
    Destination(io::Error),
    Cancelled,
}

impl Fault {
    fn into_error(self, file: &str) -> DriverError {
        match self {
            Self::Source(source) => DriverError::Source { what: file.to_owned(), source },
            Self::Destination(source) => DriverError::Destination { what: file.to_owned(), source },
            Self::Cancelled => DriverError::Cancelled,
        }
    }
}

fn abandoned() -> io::Error {
    io::Error::other("the backup was given up when a file of it could not be stored")
}

fn copy(
    ctx: &RunContext,
    sink: Option<&mut Box<dyn BackupSink>>,
    file: &str,
    from: impl Read,
    done_bytes: &mut u64,
    total_bytes: u64,
) -> Result<StoredFile, Fault> {
    let sink = sink.ok_or_else(|| Fault::Destination(abandoned()))?;
    let mut to = sink.create(file).map_err(Fault::Destination)?;
    let stored = transfer(ctx, file, from, &mut to, done_bytes, total_bytes)?;
    to.finish().map_err(Fault::Destination)?;
    Ok(stored)
}

/// Reads, paces, checks and writes, chunk after chunk.
fn transfer(
    ctx: &RunContext,
    file: &str,
    mut from: impl Read,
    mut to: impl Write,
    done_bytes: &mut u64,
    total_bytes: u64,
) -> Result<StoredFile, Fault> {
    let mut buffer = vec![0; CHUNK];
    let (mut bytes, mut digest) = (0, Sha256::new());
    loop {
        ctx.checkpoint().map_err(|_| Fault::Cancelled)?;
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::Source(error)),
        };
        ctx.pace(read as u64).map_err(|_| Fault::Cancelled)?;
        digest.update(&buffer[..read]);
        to.write_all(&buffer[..read]).map_err(Fault::Destination)?;
        bytes += read as u64;
        *done_bytes += read as u64;
        // A whole that grew while it was copied is no longer known.
        ctx.progress(*done_bytes, if *done_bytes > total_bytes { 0 } else { total_bytes });
    }
    Ok(StoredFile { name: file.to_owned(), bytes, sha256: hex(&digest.finalize()) })
}
