//! Files of other versions.

use redb::{Database, ReadableDatabase, TableHandle};
use sched_core::store::StoreError;

use super::fault::Place;
use super::format::{AUDIT, FACTS, FORMAT, FORMAT_KEY, JOBS, META, TERMS, number};

/// A step from one format to the next, in the commit in which the format is written.
type Step = fn(&redb::WriteTransaction) -> Result<(), redb::Error>;

/// The step from format `n` stands at `n - 1`.
const STEPS: [Step; FORMAT as usize - 1] = [];

/// Makes a new file one of the newest format.
pub(super) fn begin(database: &Database, place: &Place) -> Result<(), StoreError> {
    let wrote = |error: redb::Error| place.failed("written", error);
    let begin = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
        transaction.open_table(JOBS)?;
        transaction.open_table(TERMS)?;
        transaction.open_table(FACTS)?;
        transaction.open_table(AUDIT)?;
        transaction.commit()?;
        Ok(())
    };
    begin().map_err(wrote)
}

/// Brings a file to the newest format, or refuses it.
pub(super) fn to_newest(database: &Database, place: &Place) -> Result<(), StoreError> {
    let Some(found) = number(database, place, FORMAT_KEY)? else {
        return Err(place.corrupt("its tables", strange(database)));
    };
    if found > FORMAT {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        return Err(StoreError::Newer { place: place.0.clone(), found, known: FORMAT as u32 });
    }
    if found == 0 {
        return Err(place.corrupt("its format", "0 was never written"));
    }
    let steps = &STEPS[found as usize - 1..];
    if steps.is_empty() {
        return Ok(());
    }
    let migrate = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        for step in steps {
            step(&transaction)?;
        }
        transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
        transaction.commit()?;
        Ok(())
    };
    migrate().map_err(|error| place.failed("written", error))
}

/// What a database is that has no format.
fn strange(database: &Database) -> String {
    let names = || -> Result<Vec<String>, redb::Error> {
        let transaction = database.begin_read()?;
        Ok(transaction.list_tables()?.map(|table| table.name().to_owned()).collect())
    };
    match names() {
        Ok(names) => {
            format!("it does not say its format, and has the tables {names:?}: it is no store of jobs")
        }
        Err(error) => error.to_string(),
    }
}
