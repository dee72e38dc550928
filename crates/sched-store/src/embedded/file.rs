//! The file: how it is made, locked and opened.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError};
use sched_core::store::StoreError;

use super::fault::Place;
use super::migrate;

/// What is kept of the file in memory, in bytes.
const CACHE: usize = 64 << 20;

/// Opens the database, and makes it where that is wanted.
type OpenAnew = dyn FnMut(&Builder) -> Result<Database, DatabaseError> + Send;

/// Where the bytes are.
pub(super) enum Source {
    File(Where),
    /// Where a test keeps them.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests put a faulty disk here"))]
    Other(Box<OpenAnew>),
}

/// A file.
pub(super) struct Where {
    path: PathBuf,
    /// It may be made. Not once it was open: what was acknowledged is in that file and in no other.
    make: bool,
    /// The one that was open.
    known: Option<Identity>,
}

/// What tells a file from another one of its name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    /// Always the same where the system does not tell.
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            Self(metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let identity = Self(0, u64::from(metadata.is_file()));
        Ok(identity)
    }
}

/// The lock of a file, held until it is dropped.
pub(super) struct Lock(#[expect(dead_code, reason = "its drop is what counts")] File);

impl Source {
    pub(super) fn file(path: PathBuf, make: bool) -> Self {
        // Whoever changes his directory later means the same file.
        let path = std::path::absolute(&path).unwrap_or(path);
        Self::File(Where { path, make, known: None })
    }

    /// How large the file is.
    pub(super) fn len(&self) -> Option<u64> {
        match self {
            Self::File(Where { path, .. }) => fs::metadata(path).ok().map(|metadata| metadata.len()),
            Self::Other(_) => None,
        }
    }

    /// Keeps others out, also while the file is being made.
    pub(super) fn lock(&self, place: &Place) -> Result<Option<Lock>, StoreError> {
        let Self::File(Where { path, make, known }) = self else { return Ok(None) };
        if !path.exists() {
            let wrong = match (known.is_some(), make) {
                (true, _) => Some("it is there no longer, and a new one would lack what was acknowledged"),
                (false, false) => Some("there is no such file"),
                _ => path.is_symlink().then_some("it is a link to where no file is"),
            };
            if let Some(wrong) = wrong {
                return Err(place.io("opened", &wrong));
            }
        }
        if path.file_name().is_none() || path.is_dir() {
            return Err(place.io("opened", &"it is no name of a file"));
        }
        let lock = beside(path, "lock");
        let opened = private().truncate(false).open(&lock);
        let mut file = opened.map_err(|error| place.io_error("locked", &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // What another process wrote there is only told.
                let _ = (&file).take(200).read_to_string(&mut holder);
                return Err(place.locked(holder.trim()));
            }
            // Some network file systems have no locks; the library tries its own.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(place.io_error("locked", &error)),
        }
        // For whoever finds it locked: not worth an error.
        let _ = file.set_len(0).and_then(|()| file.rewind());
        let _ = writeln!(file, "process {}", std::process::id());
        Ok(Some(Lock(file)))
    }

    /// Opens the database with all its checksums. Of a `suspect` file what the system remembers is forgotten first.
    pub(super) fn open(&mut self, place: &Place, suspect: bool) -> Result<Database, StoreError> {
        let failed = |error: DatabaseError| place.failed("opened", error.into());
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        match self {
            Self::File(Where { path, make, known }) => {
                if !path.exists() && *make && known.is_none() {
                    create(path, place)?;
                }
                let found = Identity::of(path).map_err(|error| place.io_error("opened", &error))?;
                if known.is_some_and(|known| known != found) {
                    let wrong = "another file has its name by now, and lacks what was acknowledged: put the former \
                                 one back, or start the scheduler anew";
                    return Err(place.io("opened", &wrong));
                }
                if suspect {
                    forget_cached(path);
                }
                let database = builder.open(path).map_err(failed)?;
                *known = Some(found);
                Ok(database)
            }
            Self::Other(open) => open(&builder).map_err(failed),
        }
    }
}

/// Makes a file under another name, and gives it its own when it is complete: an empty or half-made file is never taken for
/// a new one.
fn create(path: &Path, place: &Place) -> Result<(), StoreError> {
    let io = |error: io::Error| place.io_error("made", &error);
    let new = beside(path, "new");
    // What a crash left while a store was made; nobody else makes one, because of the lock.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    drop(private().create_new(true).open(&new).map_err(io)?);
    let database = Builder::new().set_cache_size(CACHE).create(&new);
    let database = database.map_err(|error| place.failed("made", error.into()))?;
    migrate::begin(&database, place)?;
    drop(database);
    // Open for writing: Windows flushes nothing else.
    OpenOptions::new().write(true).open(&new).and_then(|file| file.sync_all()).map_err(io)?;
    fs::rename(&new, path).map_err(io)?;
    sync_directory(path).map_err(io)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The name of a file, with something at its end.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(end);
    path.with_file_name(name)
}

/// Names are to be as durable as contents; where a directory cannot be opened (Windows) the system sees to that.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if cfg!(unix) { File::open(directory.unwrap_or(Path::new(".")))?.sync_all() } else { Ok(()) }
}

/// After a sync that was refused, Linux has pages in memory that are on no disk and counts them as written: read from there,
/// a file looks as if the commit had succeeded, until the power fails. What is not there is read from the disk.
fn forget_cached(path: &Path) {
    #[cfg(target_os = "linux")]
    if let Ok(file) = File::open(path) {
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = path;
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(Where { path, .. }) => write!(f, "{}", path.display()),
            Self::Other(_) => f.write_str("a disk of a test"),
        }
    }
}
