//! The files of a snapshot, where the node has them: [`SnapshotFile`].

use std::fs::{self, DirEntry, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISO_HDLC, Crc, Table};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::tag::Tag;
use crate::DriverError;

/// A checksum has ten digits.
const LONGEST_DIGEST: u64 = 64;

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SnapshotFile {
    /// The folder of its table.
    table: PathBuf,
    /// From there: `snapshots/TAG/FILE`.
    below: PathBuf,
    /// Without the directories of the node: `KEYSPACE/TABLE-ID/FILE`.
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// All files of a snapshot, in the order of their names; the folder of the first data directory is `data`, that of the
/// second `data-2`, and so on.
pub(super) fn of(directories: &[PathBuf], tag: &Tag) -> Result<Vec<SnapshotFile>, DriverError> {
    let mut found = Vec::new();
    for (number, directory) in (1..).zip(directories) {
        let folder = if number == 1 { "data".to_owned() } else { format!("data-{number}") };
        tables(directory, |keyspace, table, path| {
            let name = format!("{folder}/{keyspace}/{table}");
            walk(path, &Path::new("snapshots").join(tag.to_string()), &name, &mut found)
        })
        .map_err(|(path, source)| unreadable(&path, source))?;
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The snapshots that backups took, as the directories have them.
pub(super) fn tags(directories: &[PathBuf]) -> Result<Vec<Tag>, DriverError> {
    let mut found = Vec::new();
    for directory in directories {
        tables(directory, |_, _, path| {
            let snapshots = entries(&path.join("snapshots"))?;
            found.extend(
                snapshots.iter().filter_map(|entry| Tag::parse(&entry.file_name().to_string_lossy())),
            );
            Ok(())
        })
        .map_err(|(path, source)| unreadable(&path, source))?;
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Whether directories can be read, before anything is begun.
pub(super) fn check(directories: &[PathBuf]) -> Result<(), DriverError> {
    for path in directories {
        fs::read_dir(path).map_err(|source| unreadable(path, source))?;
    }
    Ok(())
}

/// Where something went wrong, and what.
type At = (PathBuf, io::Error);

fn tables(directory: &Path, mut each: impl FnMut(&str, &str, &Path) -> Result<(), At>) -> Result<(), At> {
    // Links are followed here: some put keyspaces or tables on other volumes by them.
    for keyspace in entries(directory)?.iter().filter(|entry| entry.path().is_dir()) {
        for table in entries(&keyspace.path())?.iter().filter(|entry| entry.path().is_dir()) {
            let (keyspace, name) = (keyspace.file_name(), table.file_name());
            each(&keyspace.to_string_lossy(), &name.to_string_lossy(), &table.path())?;
        }
    }
    Ok(())
}

/// What a directory holds; nothing when it is gone: tables are dropped at any time.
fn entries(path: &Path) -> Result<Vec<DirEntry>, At> {
    let read = fs::read_dir(path).and_then(Iterator::collect);
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|source| (path.to_owned(), source)),
    }
}

/// Indexes of a table have folders of their own below it. Cassandra makes snapshots of hard links, so that a symbolic link or
/// a pipe there is somebody else's: it could lead to what the node may not read and this process may, or never end.
fn walk(table: &Path, below: &Path, name: &str, found: &mut Vec<SnapshotFile>) -> Result<(), At> {
    for entry in entries(&table.join(below))? {
        let (below, name) =
            (below.join(entry.file_name()), format!("{name}/{}", entry.file_name().to_string_lossy()));
        let metadata = entry.metadata().map_err(|source| (entry.path(), source))?;
        if metadata.is_dir() {
            walk(table, &below, &name, found)?;
        } else if metadata.is_file() {
            found.push(SnapshotFile { table: table.to_owned(), below, name, bytes: metadata.len() });
        } else {
            return Err((entry.path(), strange()));
        }
    }
    Ok(())
}

fn strange() -> io::Error {
    let problem = "is neither a file nor in folders alone, which Cassandra's own snapshots are; look who made it, and remove it";
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Opens a regular file below a table's folder, step by step: nothing on the way is a link, whatever was put there since the
/// files were listed, and nothing is waited for.
fn open_below(table: &Path, below: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(table, flags | OFlags::DIRECTORY, Mode::empty())?;
    let mut steps = below.components().peekable();
    while let Some(step) = steps.next() {
        let kind = if steps.peek().is_some() { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
        at = match rustix::fs::openat(&at, step.as_os_str(), flags | OFlags::NOFOLLOW | kind, Mode::empty()) {
            // How systems say that it is a link.
            Err(Errno::LOOP | Errno::MLINK | Errno::NOTDIR) => return Err(strange()),
            opened => opened?,
        };
    }
    let file = File::from(at);
    if file.metadata()?.is_file() { Ok(file) } else { Err(strange()) }
}

fn unreadable(path: &Path, source: io::Error) -> DriverError {
    let remedy = match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "run as the user of the node, or let this user read its data directories (a group, or `setfacl`)"
        }
        io::ErrorKind::NotFound => {
            "run on the node's host, or say with `CassandraNode::data_directory` where they are mounted"
        }
        _ => return DriverError::Source { what: path.display().to_string(), source },
    };
    DriverError::Setting { what: path.display().to_string(), problem: format!("{source}; {remedy}") }
}

impl SnapshotFile {
    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.table.join(&self.below)
    }

    pub(super) fn open(&self) -> Result<File, DriverError> {
        open_below(&self.table, &self.below).map_err(|source| unreadable_file(&self.path(), source))
    }

    /// The checksum that the node wrote for the data of an SSTable; `None` for other files.
    pub(super) fn expected_crc(&self) -> Option<u32> {
        let below = self.below.to_str()?.strip_suffix("-Data.db")?;
        let digest = open_below(&self.table, Path::new(&format!("{below}-Digest.crc32"))).ok()?;
        let mut text = String::new();
        digest.take(LONGEST_DIGEST).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }
}

fn unreadable_file(path: &Path, source: io::Error) -> DriverError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => unreadable(path, source),
        _ => DriverError::Source { what: path.display().to_string(), source },
    }
}

/// The checksum of Cassandra's digests; by large tables, since every byte goes through it.
static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// Makes the checksum of what is read.
pub(super) struct Summed<R> {
    from: R,
    crc: crc::Digest<'static, u32, Table<16>>,
}

impl<R> Summed<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, crc: CRC.digest() }
    }

    pub(super) fn crc(self) -> u32 {
        self.crc.finalize()
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buf)?;
        self.crc.update(&buf[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn pipe(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn the_files_of_one_snapshot_are_found_with_those_of_indexes() {
        let root = tempfile::tempdir().unwrap();
        let tag = Tag::parse("backup-sched-full-1-j1").unwrap();
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        for (path, text) in [
            (format!("one/shop/item-8f/snapshots/{tag}/nb-1-big-Data.db"), "abc"),
            (format!("one/shop/item-8f/snapshots/{tag}/nb-1-big-Digest.crc32"), "891568578"),
            (format!("one/shop/item-8f/snapshots/{tag}/.by_name/nb-1-big-Data.db"), "x"),
            (format!("two/shop/item-8f/snapshots/{tag}/nb-2-big-Data.db"), "x"),
            ("one/shop/item-8f/snapshots/backup-sched-full-0-j1/nb-0-big-Data.db".into(), "x"),
            ("one/shop/item-8f/snapshots/mine/nb-0-big-Data.db".into(), "x"),
            ("one/shop/item-8f/nb-1-big-Data.db".into(), "x"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let directories = [one, two, root.path().join("gone")];
        let found = of(&directories, &tag).unwrap();
        let names: Vec<&str> = found.iter().map(|file| file.name.as_str()).collect();
        let expected = [
            "data-2/shop/item-8f/nb-2-big-Data.db",
            "data/shop/item-8f/.by_name/nb-1-big-Data.db",
            "data/shop/item-8f/nb-1-big-Data.db",
            "data/shop/item-8f/nb-1-big-Digest.crc32",
        ];
        assert_eq!(names, expected);
        let mut summed = Summed::new(found[2].open().unwrap());
        assert_eq!(io::copy(&mut summed, &mut io::sink()).unwrap(), 3);
        assert_eq!(found[2].expected_crc(), Some(summed.crc()));
        assert_eq!((found[1].expected_crc(), found[3].expected_crc()), (None, None));
        assert_eq!(tags(&directories).unwrap().len(), 2);
        let error = check(&directories).unwrap_err();
        assert!(error.to_string().contains("CassandraNode::data_directory"), "{error}");
        let error = unreadable(root.path(), io::ErrorKind::PermissionDenied.into());
        assert!(error.is_permanent() && error.to_string().contains("run as the user of the node"), "{error}");
    }

    #[test]
    fn a_link_or_a_pipe_in_a_snapshot_gets_nothing_into_the_backup() {
        let root = tempfile::tempdir().unwrap();
        let tag = Tag::parse("backup-sched-full-1-j1").unwrap();
        let (secret, data) = (root.path().join("secret"), root.path().join("data"));
        let table = data.join("shop/item-8f");
        let folder = table.join("snapshots").join(tag.to_string());
        fs::create_dir_all(&folder).unwrap();
        fs::write(&secret, "geheim").unwrap();
        let refused = |error: DriverError, of: &str| {
            let text = error.to_string();
            assert!(text.contains(of) && text.contains("neither a file"), "{text}");
        };
        std::os::unix::fs::symlink(&secret, folder.join("link.db")).unwrap();
        refused(of(std::slice::from_ref(&data), &tag).unwrap_err(), "link.db");
        fs::remove_file(folder.join("link.db")).unwrap();
        pipe(&folder.join("pipe.db"));
        refused(of(std::slice::from_ref(&data), &tag).unwrap_err(), "pipe.db");

        // What becomes one after it was listed is not opened.
        fs::remove_file(folder.join("pipe.db")).unwrap();
        fs::write(folder.join("a.db"), "abc").unwrap();
        let file = of(std::slice::from_ref(&data), &tag).unwrap().remove(0);
        assert_eq!(io::read_to_string(file.open().unwrap()).unwrap(), "abc");
        fs::remove_file(folder.join("a.db")).unwrap();
        pipe(&folder.join("a.db"));
        refused(file.open().unwrap_err(), "a.db");
        fs::remove_file(folder.join("a.db")).unwrap();
        std::os::unix::fs::symlink(&secret, folder.join("a.db")).unwrap();
        refused(file.open().unwrap_err(), "a.db");
        // A folder on the way, too.
        let elsewhere = root.path().join("elsewhere");
        fs::create_dir_all(elsewhere.join(tag.to_string())).unwrap();
        fs::write(elsewhere.join(tag.to_string()).join("a.db"), "geheim").unwrap();
        fs::remove_dir_all(table.join("snapshots")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, table.join("snapshots")).unwrap();
        refused(file.open().unwrap_err(), "a.db");
        refused(of(std::slice::from_ref(&data), &tag).unwrap().remove(0).open().unwrap_err(), "a.db");
        // A table on another volume is one of the host's, and fine.
        fs::remove_file(table.join("snapshots")).unwrap();
        fs::remove_dir(&table).unwrap();
        let volume = root.path().join("volume");
        fs::create_dir_all(volume.join("snapshots").join(tag.to_string())).unwrap();
        fs::write(volume.join("snapshots").join(tag.to_string()).join("a.db"), "abc").unwrap();
        std::os::unix::fs::symlink(&volume, &table).unwrap();
        let file = of(&[data], &tag).unwrap().remove(0);
        assert_eq!(io::read_to_string(file.open().unwrap()).unwrap(), "abc");
    }
}
