//! WAL kept for as long as a backup takes: [`WalHold`].

use super::connection::Connection;
use crate::DriverError;

/// A temporary replication slot: the server keeps all WAL from now on until the connection ends, however that is.
///
/// The copy is paced, so it may take hours, in which the server would remove what the backup needs at its end.
/// `max_slot_wal_keep_size` bounds how much it keeps; beyond that the backup fails and the server goes on.
#[derive(Debug)]
pub(super) struct WalHold {
    /// The slot, or why there is none.
    pub(super) slot: Result<String, String>,
    /// The slot lives as long as this.
    pub(super) connection: Connection,
}

impl WalHold {
    /// Holds WAL where the server lets it. A server that has no slot left may still have the WAL when it is needed.
    pub(super) fn take(connection: Connection) -> Self {
        let slot = reserve(&connection).map_err(|error| error.to_string());
        Self { slot, connection }
    }
}

fn reserve(connection: &Connection) -> Result<String, DriverError> {
    // A session that only holds must not be ended for that. Servers before 14 have no such setting.
    let setting = "select set_config(name, '0', false) from pg_settings where name = 'idle_session_timeout'";
    connection.query(setting, &[])?;
    let row = connection.row(
        "select slot_name::text as name from
         pg_create_physical_replication_slot('backup_sched_' || pg_backend_pid(), true, true)",
    )?;
    connection.column(&row, "name")
}
