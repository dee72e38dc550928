//! Backups in a directory of this machine: [`LocalDirectory`].

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use sched_limits::FileSink;
use serde::{Deserialize, Serialize};

use super::owner::Owner;
use super::{ArtifactWriter, BackupId, BackupSink, Destination, MANIFEST, check_file_name};
use crate::command::ProcessMark;

/// What an attempt writes down before it does it.
pub(super) const RECORD: &str = ".attempt";

/// A directory, also one of a mounted network file system.
///
/// Each backup is a folder `INSTANCE/KIND-TIME-jJOB` in it; files have mode 0600 and folders 0700. Until it is complete
/// the folder's name ends in `.partial-ATTEMPT`; the last step, after all is on disk, takes that away. What a crash
/// leaves is removed by the next backup of the same instance: only files that its attempt wrote down, and only once it
/// is certain that neither the scheduler nor the tools of that attempt run any more.
///
/// ```
/// use std::sync::Arc;
/// use sched_core::{JobSpec, ManualClock, RunContext};
/// use sched_drivers::backup::Backup;
/// use sched_drivers::destination::LocalDirectory;
///
/// # let root = tempfile::tempdir()?;
/// let destination = LocalDirectory::new(root.path());
/// let ctx = RunContext::detached(JobSpec::new("orders", "generic"), Arc::new(ManualClock::default()));
/// let mut backup = Backup::begin(&ctx, &destination)?;
/// backup.store("orders.csv", &b"1,2,3"[..])?;
/// let done = backup.complete()?;
/// assert_eq!(done.manifest.files[0].bytes, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LocalDirectory {
    root: PathBuf,
}

impl LocalDirectory {
    /// Backups below `root`, which is created when it is not there.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl Destination for LocalDirectory {
    fn begin(&self, backup: &BackupId) -> io::Result<Box<dyn BackupSink>> {
        let folder = self.root.join(backup.folder());
        private().recursive(true).create(&folder)?;
        sync_directory(&self.root)?;
        sweep(&folder)?;
        let partial = folder.join(backup.partial_name());
        // Not recursive: what exists belongs to somebody else.
        private().create(&partial)?;
        let record = Record::create(&partial).inspect_err(|_| {
            let _ = fs::remove_file(partial.join(RECORD));
            let _ = fs::remove_dir(&partial);
        })?;
        let complete = folder.join(backup.name());
        Ok(Box::new(Attempt { folder, partial, complete, record: Some(record) }))
    }
}

fn private() -> DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Directories are synced so that names are as durable as contents; where a directory cannot be opened (Windows) the
/// system does that.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// A line of the record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    /// Whose attempt it is.
    Owner(Owner),
    /// A tool that works for it.
    Process(ProcessMark),
    /// A file that it writes.
    File(String),
}

/// What an attempt did so far, on disk before it is done.
struct Record {
    file: File,
}

impl Record {
    fn create(partial: &Path) -> io::Result<Self> {
        let mut record = Self { file: create_private(&partial.join(RECORD))? };
        // Held while the attempt lives, so that also those know who cannot see this process, as in another container.
        // Where the file system has no locks, what is written down must do.
        let _ = record.file.lock();
        record.add(&Entry::Owner(Owner::new()))?;
        sync_directory(partial)?;
        Ok(record)
    }

    fn add(&mut self, entry: &Entry) -> io::Result<()> {
        // Between two line ends: one before it may have been torn by a disk that was full.
        let line = format!("\n{}\n", serde_json::to_string(entry)?);
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()
    }
}

struct Attempt {
    folder: PathBuf,
    partial: PathBuf,
    complete: PathBuf,
    /// Gone when the attempt is over.
    record: Option<Record>,
}

impl Attempt {
    fn begin_file(&mut self, file: &str) -> io::Result<(PathBuf, File)> {
        check_file_name(file)?;
        let path = self.partial.join(file);
        self.note(&Entry::File(file.to_owned()))?;
        if let Some(parent) = path.parent() {
            private().recursive(true).create(parent)?;
        }
        let file = create_private(&path)?;
        Ok((path, file))
    }

    fn note(&mut self, entry: &Entry) -> io::Result<()> {
        let over = || io::Error::other("the attempt is over");
        self.record.as_mut().ok_or_else(over)?.add(entry)
    }

    fn remove(&mut self) -> io::Result<()> {
        // Network file systems keep a file that is open, and let nobody read one that is locked.
        self.record = None;
        remove(&self.partial, &read_record(File::open(self.partial.join(RECORD))?)?)
    }
}

impl BackupSink for Attempt {
    fn create(&mut self, file: &str) -> io::Result<Box<dyn ArtifactWriter>> {
        let (_, file) = self.begin_file(file)?;
        Ok(Box::new(LocalFile { sink: FileSink::new(file) }))
    }

    fn path(&mut self, file: &str) -> io::Result<Option<PathBuf>> {
        // Made here, so that it is private before anything is in it.
        self.begin_file(file).map(|(path, _)| Some(path))
    }

    fn note_process(&mut self, process: &ProcessMark) -> io::Result<()> {
        self.note(&Entry::Process(process.clone()))
    }

    fn complete(mut self: Box<Self>, manifest: &[u8]) -> io::Result<String> {
        self.note(&Entry::File(MANIFEST.to_owned()))?;
        let mut file = create_private(&self.partial.join(MANIFEST))?;
        file.write_all(manifest)?;
        file.sync_all()?;
        sync_tree(&self.partial)?;
        if self.complete.exists() {
            let problem = format!("{} exists already", self.complete.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, problem));
        }
        fs::rename(&self.partial, &self.complete)?;
        self.record = None;
        sync_directory(&self.folder)?;
        // The record is needed until the name is final; one that stays does no harm.
        let _ = fs::remove_file(self.complete.join(RECORD));
        Ok(self.complete.display().to_string())
    }

    fn abandon(mut self: Box<Self>) -> io::Result<()> {
        self.remove()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.record.is_some() {
            let _ = self.remove();
        }
    }
}

fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    sync_directory(path)
}

struct LocalFile {
    sink: FileSink,
}

impl Write for LocalFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.sink.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl ArtifactWriter for LocalFile {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.sink.finish().map(drop)
    }
}

/// Removes what attempts left that ended without cleaning up.
fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().contains(".partial-")
            || !entry.file_type().is_ok_and(|kind| kind.is_dir())
        {
            continue;
        }
        let path = entry.path();
        // Without a record it is not known whose it is. Writable, or a network file system takes no lock.
        let Ok(file) = File::options().read(true).write(true).open(path.join(RECORD)) else { continue };
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            continue;
        }
        let Ok(record) = read_record(&file) else { continue };
        let dead = record.iter().all(|entry| match entry {
            Entry::Owner(owner) => owner.is_dead(),
            Entry::Process(process) => !process.runs(),
            Entry::File(_) => true,
        });
        if dead && matches!(record.first(), Some(Entry::Owner(_))) {
            drop(file);
            // What cannot be removed must not keep the next backup from being made.
            let _ = remove(&path, &record);
        }
    }
    Ok(())
}

/// The record of an attempt; a line that was torn counts as not written.
fn read_record(mut file: impl Read) -> io::Result<Vec<Entry>> {
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// Removes the files that an attempt wrote down, then the folders that are empty with that. Anything else stays.
fn remove(partial: &Path, record: &[Entry]) -> io::Result<()> {
    let mut folders = Vec::new();
    for entry in record {
        let Entry::File(file) = entry else { continue };
        let relative = Path::new(file);
        // A record that was tampered with must not lead out of the folder.
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            continue;
        }
        let above = relative.ancestors().skip(1).filter(|path| *path != Path::new(""));
        let above: Vec<PathBuf> = above.map(|folder| partial.join(folder)).collect();
        // A folder that was replaced by a link must not, either.
        if above.iter().any(|folder| folder.is_symlink()) {
            continue;
        }
        match fs::remove_file(partial.join(relative)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        folders.extend(above);
    }
    folders.sort_by_key(|folder| std::cmp::Reverse(folder.components().count()));
    folders.dedup();
    for folder in folders {
        let _ = fs::remove_dir(folder);
    }
    let rest = fs::read_dir(partial)?.filter_map(Result::ok).any(|entry| entry.file_name() != RECORD);
    if rest {
        let problem = format!("{} holds files that its attempt did not write", partial.display());
        return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, problem));
    }
    fs::remove_file(partial.join(RECORD))?;
    fs::remove_dir(partial)
}
