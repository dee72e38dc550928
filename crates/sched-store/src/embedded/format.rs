//! The tables of the file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format`, `last_job` | a number |
//! | `jobs` | number of the job | number of its terms (8 bytes, little endian), then its entry as JSON without terms |
//! | `terms` | number of the terms | the terms as JSON |
//! | `facts` | kind and name as JSON | the entry as JSON |
//! | `audit` | number of the entry | the entry as JSON |

use redb::{Database, ReadableDatabase, TableDefinition, TableError};
use sched_core::store::{Key, StoreError};

use super::fault::Place;

/// The format that is written. It grows when what is there means something else; fields of the JSON may be added without.
pub(super) const FORMAT: u64 = 1;

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const JOBS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("jobs");
pub(super) const TERMS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("terms");
pub(super) const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");
pub(super) const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");

/// In `meta`: the format.
pub(super) const FORMAT_KEY: &str = "format";
/// In `meta`: the largest number that a job ever had.
pub(super) const LAST_JOB: &str = "last_job";

/// Under what a fact stands: its [`Key`] as JSON.
pub(super) fn fact_key(place: &Place, key: &Key) -> Result<String, StoreError> {
    serde_json::to_string(key).map_err(|error| place.io("written", &error))
}

/// A number of `meta`; `None` when it, or the table, is not there.
pub(super) fn number(database: &Database, place: &Place, name: &str) -> Result<Option<u64>, StoreError> {
    let read = |error: redb::Error| place.failed("read", error);
    let transaction = database.begin_read().map_err(|error| read(error.into()))?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(read(error.into())),
    };
    let value = meta.get(name).map_err(|error| read(error.into()))?;
    Ok(value.map(|value| value.value()))
}
