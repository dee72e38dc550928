//! What the WAL of a database holds, read from outside: [`WalIndex`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// Bytes of a frame of the WAL beside its page.
const FRAME_HEADER: u64 = 24;

/// The indexes that were looked at. They stay open: when a process closes a file, the system ends all locks that it has
/// on it, also those of SQLite, and those of an index keep writers and checkpoints from each other and from a copy.
static INDEXES: Mutex<BTreeMap<PathBuf, File>> = Mutex::new(BTreeMap::new());

/// What the header of a WAL's index says; see SQLite's "WAL-mode File Format", 2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WalIndex {
    /// Grows by one with each transaction.
    transactions: u32,
    page_bytes: u64,
    /// Frames in use.
    frames: u32,
}

impl WalIndex {
    /// `None` for a database without one.
    pub(super) fn read(database: &Path) -> Option<Self> {
        Self::parse(&index_header(&beside(database, "-shm")).ok()?)
    }

    fn parse(header: &[u8; 48]) -> Option<Self> {
        // In the byte order of the machine, since the index is shared memory.
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let page = u64::from(u16::from_ne_bytes([header[14], header[15]]));
        let initialized = header[12] == 1;
        // A page of 64 KiB is told as 1.
        let page_bytes = if page == 1 { 1 << 16 } else { page };
        initialized.then_some(Self { transactions: word(8), page_bytes, frames: word(16) })
    }

    /// Transactions and pages written since an earlier look.
    pub(super) fn since(self, earlier: Self) -> (f64, f64) {
        let transactions = self.transactions.wrapping_sub(earlier.transactions);
        // The WAL began anew in between: what it held at its end is not known.
        let pages = self.frames.checked_sub(earlier.frames).unwrap_or(self.frames);
        (f64::from(transactions), f64::from(pages))
    }
}

fn index_header(path: &Path) -> io::Result<[u8; 48]> {
    let mut indexes = INDEXES.lock();
    // One that was deleted, as by the last user of a database, has no locks any more.
    let deleted = |index: &File| index.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
    indexes.retain(|_, index| !deleted(index));
    if !indexes.contains_key(path) {
        indexes.insert(path.to_owned(), File::open(path)?);
    }
    let mut header = [0; 48];
    indexes[path].read_exact_at(&mut header, 0)?;
    Ok(header)
}

/// How much of the WAL is in use, or the size of its file where that is not known; 0 without one.
pub(super) fn wal_bytes(database: &Path) -> u64 {
    match WalIndex::read(database) {
        Some(index) => u64::from(index.frames) * (index.page_bytes + FRAME_HEADER),
        None => fs::metadata(beside(database, "-wal")).map_or(0, |metadata| metadata.len()),
    }
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
