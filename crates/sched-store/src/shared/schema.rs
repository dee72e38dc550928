//! The tables, and how they are brought up to date.

use super::connection::{Connection, column};
use super::{SharedConfig, SharedError, share_of_name};

/// The version of the tables that this library writes.
pub(super) const VERSION: i32 = 1;

/// What leads from each version to the next. Columns and tables may be added with defaults, so that the library before
/// goes on working beside this one; whatever else is changed raises `oldest_reader`.
const STEPS: [&str; VERSION as usize] = [include_str!("schema/1.sql")];

/// The oldest version of the library that may work with tables of [`VERSION`].
const OLDEST_READER: i32 = 1;

/// Brings the tables up to date, or makes them. Returns the number of shares of the fleet.
pub(super) fn prepare(connection: &Connection, config: &SharedConfig) -> Result<u32, SharedError> {
    // Without it the table is not found: a role that may not make tables can work with those that are there.
    let found = version(connection, config)?;
    if found < VERSION {
        connection.transaction(|connection| migrate(connection, config))?;
    }
    let row = connection.one("select shares from meta", &[])?;
    let shares: i32 = column(&row, "shares")?;
    let shares = shares.unsigned_abs();
    if shares != config.shares {
        let (found, asked) = (shares.to_string(), config.shares.to_string());
        return Err(SharedError::Different { what: "the number of shares", found, asked });
    }
    Ok(shares)
}

/// The version of the tables, 0 where there are none.
///
/// # Errors
/// When this library is too old for them.
pub(super) fn version(connection: &Connection, config: &SharedConfig) -> Result<i32, SharedError> {
    let there = connection
        .one("select to_regclass($1) is not null as there", &[&format!("{}.meta", config.schema)])?;
    if !column::<bool>(&there, "there")? {
        return Ok(0);
    }
    let row = connection.one("select schema_version, oldest_reader from meta", &[])?;
    let (found, oldest_reader) = (column(&row, "schema_version")?, column(&row, "oldest_reader")?);
    if oldest_reader > VERSION {
        let (schema, ours) = (config.schema.clone(), VERSION);
        let remedy = "upgrade this scheduler, or give it a schema of its own";
        return Err(SharedError::Version { schema, found, oldest_reader, ours, remedy });
    }
    Ok(found)
}

fn migrate(connection: &Connection, config: &SharedConfig) -> Result<(), SharedError> {
    let schema = &config.schema;
    // One at a time. Who comes second finds all done.
    let lock = i64::from(share_of_name(&format!("backup-sched {schema}"), u32::MAX));
    connection.query("select pg_advisory_xact_lock($1)", &[&lock])?;
    connection.batch(&format!("create schema if not exists {schema}"))?;
    let found = version(connection, config)?;
    for step in STEPS.iter().skip(found.unsigned_abs() as usize) {
        connection.batch(step)?;
    }
    if found == 0 {
        let shares = config.shares.cast_signed();
        let first = "insert into meta (one, schema_version, oldest_reader, shares) values (1, $1, $2, $3)";
        connection.execute(first, &[&VERSION, &OLDEST_READER, &shares])?;
        let all = "insert into shares (share, epoch) select n, 0 from generate_series(0, $1 - 1) as n";
        connection.execute(all, &[&shares])?;
    } else if found < VERSION {
        let newer = "update meta set schema_version = $1, oldest_reader = $2";
        connection.execute(newer, &[&VERSION, &OLDEST_READER])?;
    }
    Ok(())
}
