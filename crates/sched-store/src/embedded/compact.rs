//! Giving space back.

use redb::CompactionError;
use sched_core::store::StoreError;

use super::EmbeddedStore;
use super::file::Source;

/// Smaller files are left as they are.
const WORTH_IT: u64 = 16 << 20;
/// A file that is so many times as large as what it holds is compacted when it is opened: pages are half full at worst, and
/// a commit needs room for what it replaces.
const TOO_LARGE: u64 = 4;

impl Source {
    pub(super) fn is_mostly_dead(&self, live: u64) -> bool {
        self.len().is_some_and(|len| len > WORTH_IT && len / TOO_LARGE > live)
    }
}

impl EmbeddedStore {
    /// Makes the file as small as it can be. It must be open; it takes about as long as writing it anew.
    ///
    /// # Errors
    /// When it is not open, or cannot be written. What it holds has not changed then, and it must be opened anew.
    pub fn compact(&mut self) -> Result<(), StoreError> {
        let compacted = self.with_open("compacted", |open, place| {
            // Each pass moves what it can; the last finds nothing.
            while open.database.compact().map_err(|error| match error {
                CompactionError::Storage(error) => place.failed("compacted", error.into()),
                other => place.io("compacted", &other),
            })? {}
            Ok(())
        });
        compacted.inspect_err(|_| self.suspect = true)
    }
}
