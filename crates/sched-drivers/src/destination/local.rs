//! Backups in a directory of this machine: [`LocalDirectory`].

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Component, Path, PathBuf};

use sched_limits::FileSink;
use serde::{Deserialize, Serialize};

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
        sweep(&folder)?;
        let partial = folder.join(backup.partial_name());
        // Not recursive: what exists belongs to somebody else.
        private().create(&partial)?;
        let record = Record::create(&partial);
        let record = record.inspect_err(|_| drop(fs::remove_dir(&partial)))?;
        Ok(Box::new(Attempt { complete: folder.join(backup.name()), folder, partial, record, over: false }))
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
    Owner { host: String, process: ProcessMark },
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
        record.add(&Entry::Owner { host: host(), process: ProcessMark::own() })?;
        sync_directory(partial)?;
        Ok(record)
    }

    fn add(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()
    }
}

fn host() -> String {
    #[cfg(unix)]
    {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }
    #[cfg(not(unix))]
    {
        std::env::var("COMPUTERNAME").unwrap_or_default()
    }
}

struct Attempt {
    folder: PathBuf,
    partial: PathBuf,
    complete: PathBuf,
    record: Record,
    over: bool,
}

impl Attempt {
    fn begin_file(&mut self, file: &str) -> io::Result<(PathBuf, File)> {
        check_file_name(file)?;
        let path = self.partial.join(file);
        self.record.add(&Entry::File(file.to_owned()))?;
        if let Some(parent) = path.parent() {
            private().recursive(true).create(parent)?;
        }
        let file = create_private(&path)?;
        Ok((path, file))
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
        self.record.add(&Entry::Process(process.clone()))
    }

    fn complete(mut self: Box<Self>, manifest: &[u8]) -> io::Result<String> {
        self.record.add(&Entry::File(MANIFEST.to_owned()))?;
        let mut file = create_private(&self.partial.join(MANIFEST))?;
        file.write_all(manifest)?;
        file.sync_all()?;
        sync_tree(&self.partial)?;
        if self.complete.exists() {
            let problem = format!("{} exists already", self.complete.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, problem));
        }
        fs::rename(&self.partial, &self.complete)?;
        self.over = true;
        // The record is needed until the name is final; one that stays does no harm.
        let _ = fs::remove_file(self.complete.join(RECORD));
        sync_directory(&self.folder)?;
        Ok(self.complete.display().to_string())
    }

    fn abandon(mut self: Box<Self>) -> io::Result<()> {
        self.over = true;
        remove(&self.partial, &read_record(&self.partial)?)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.over {
            let _ = read_record(&self.partial).and_then(|record| remove(&self.partial, &record));
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
        let path = entry?.path();
        let partial = path.file_name().is_some_and(|name| name.to_string_lossy().contains(".partial-"));
        if !partial || !path.is_dir() {
            continue;
        }
        // Without a record it is not known whose it is.
        let Ok(record) = read_record(&path) else { continue };
        let dead = record.iter().all(|entry| match entry {
            Entry::Owner { host: of, process } => *of == host() && !process.runs(),
            Entry::Process(process) => !process.runs(),
            Entry::File(_) => true,
        });
        if dead && matches!(record.first(), Some(Entry::Owner { .. })) {
            // What cannot be removed must not keep the next backup from being made.
            let _ = remove(&path, &record);
        }
    }
    Ok(())
}

/// The record of an attempt; a last line that was torn by a crash counts as not written.
fn read_record(partial: &Path) -> io::Result<Vec<Entry>> {
    let reader = BufReader::new(File::open(partial.join(RECORD))?);
    let mut entries = Vec::new();
    for line in reader.lines() {
        match serde_json::from_str(&line?) {
            Ok(entry) => entries.push(entry),
            Err(_) => break,
        }
    }
    Ok(entries)
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
        match fs::remove_file(partial.join(relative)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        folders
            .extend(relative.ancestors().skip(1).filter(|path| *path != Path::new("")).map(Path::to_owned));
    }
    folders.sort_by_key(|folder| std::cmp::Reverse(folder.components().count()));
    folders.dedup();
    for folder in folders {
        let _ = fs::remove_dir(partial.join(folder));
    }
    let rest = fs::read_dir(partial)?.filter_map(Result::ok).any(|entry| entry.file_name() != RECORD);
    if rest {
        let problem = format!("{} holds files that its attempt did not write", partial.display());
        return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, problem));
    }
    fs::remove_file(partial.join(RECORD))?;
    fs::remove_dir(partial)
}
