//! What is asked of a server before a backup: [`Survey`].

use super::connection::Connection;
use super::{APPLICATION, fault};
use crate::DriverError;

/// The oldest version that is still what the questions of this module expect.
const OLDEST: u32 = 13;

/// A server as it is before a backup.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) major: u32,
    pub(super) version: String,
    pub(super) in_recovery: bool,
    pub(super) may_replicate: bool,
    /// Tablespaces beside the two that every server has.
    pub(super) tablespaces: Vec<String>,
    pub(super) system_identifier: String,
    /// What the tool's session is called: no other on this server is.
    pub(super) session: String,
}

impl Survey {
    pub(super) fn of(connection: &Connection) -> Result<Self, DriverError> {
        let row = connection.row(
            "select current_setting('server_version_num')::int8 as number,
                    current_setting('server_version') as version,
                    pg_is_in_recovery() as in_recovery, pg_backend_pid() as own,
                    (select rolreplication or rolsuper from pg_roles where rolname = current_user)
                        as may_replicate,
                    array(select spcname::text from pg_tablespace
                          where spcname not in ('pg_default', 'pg_global') order by 1) as tablespaces,
                    (select system_identifier::text from pg_control_system()) as system_identifier",
        )?;
        let number: i64 = connection.column(&row, "number")?;
        let version: String = connection.column(&row, "version")?;
        let major = u32::try_from(number / 10_000).unwrap_or_default();
        if major < OLDEST {
            return Err(DriverError::TooOld {
                server: connection.server().address(),
                found: version,
                needed: OLDEST.to_string(),
            });
        }
        let own: i32 = connection.column(&row, "own")?;
        Ok(Self {
            session: format!("{APPLICATION}/{own}"),
            major,
            version,
            in_recovery: connection.column(&row, "in_recovery")?,
            may_replicate: connection.column(&row, "may_replicate")?,
            tablespaces: connection.column(&row, "tablespaces")?,
            system_identifier: connection.column(&row, "system_identifier")?,
        })
    }

    /// What a manifest calls it.
    pub(super) fn role(&self) -> &'static str {
        if self.in_recovery { "standby" } else { "primary" }
    }
}

/// The size of all databases that the user may see; `None` where that cannot be told in time.
pub(super) fn size_bytes(connection: &Connection) -> Option<u64> {
    let row = connection.row(
        "select coalesce(sum(pg_database_size(oid)), 0)::int8 as bytes from pg_database
         where has_database_privilege(oid, 'CONNECT')",
    );
    let bytes: i64 = connection.column(&row.ok()?, "bytes").ok()?;
    u64::try_from(bytes).ok()
}

/// Whether other sessions are shown as they are. Without that permission PostgreSQL shows them as if they did nothing:
/// busy servers would look idle, and synchronous standbys like any other.
pub(super) fn sees_sessions(connection: &Connection) -> Result<(), DriverError> {
    let row = connection.row("select pg_has_role('pg_read_all_stats', 'usage') as sees")?;
    if connection.column::<bool>(&row, "sees")? {
        return Ok(());
    }
    let server = connection.server();
    let user = fault::quoted(&server.user);
    Err(DriverError::Refused {
        server: server.address(),
        error: format!("role {user} cannot see what other sessions do"),
        remedy: format!("run: GRANT pg_monitor TO {user}"),
    })
}
