//! Which servers replicate each other: [`PostgresMembers`].

use std::time::Duration;

use super::PostgresServer;
use super::connection::Connection;
use super::survey::sees_sessions;
use crate::DriverError;
use crate::server::{MemberSource, ServerMember};

/// Who replicates from a server: a row a standby, under the name by which `synchronous_standby_names` knows it.
const STANDBYS: &str = "
select application_name::text as name, coalesce(host(client_addr), 'local') as address,
       sync_state::text as sync_state, state = 'streaming' as streaming,
       extract(epoch from coalesce(replay_lag, interval '0'))::float8 as lag_s
from pg_stat_replication where state in ('streaming', 'catchup', 'startup') order by 1, 2";

/// The name under which a standby streams stands in the settings of its connection.
const OWN: &str = "
select pg_is_in_recovery() as in_recovery,
       (select conninfo::text from pg_stat_wal_receiver) as conninfo,
       (select status = 'streaming' from pg_stat_wal_receiver) as streaming,
       case when pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() then 0::float8
            else extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8 end as lag_s";

/// Tells the members of a replication group, with their roles `primary`, `async_standby` and `sync_standby`.
///
/// Every server is asked which it is. Which standbys are synchronous only the primary knows, by the names under which
/// they stream: give each standby an `application_name` of its own in `primary_conninfo` (`cluster_name` does the same).
/// A standby of another standby is an `async_standby`. Where no primary is among the servers, or it does not answer, the
/// role of its standbys is `standby`, which no built-in policy looks for.
///
/// A server that does not answer is a member without health; its role is then `unknown`. Standbys that the primary
/// knows and nobody named come last, by the address they connect from: PostgreSQL does not tell their ports.
///
/// The role needs `pg_monitor`. One connection for each server is kept.
#[derive(Debug)]
pub struct PostgresMembers {
    servers: Vec<(PostgresServer, Option<Connection>)>,
}

/// What a server says of itself.
struct Own {
    in_recovery: bool,
    streams_as: Option<String>,
    streaming: bool,
    lag: Option<Duration>,
}

/// What a primary says of one of its standbys.
struct Standby {
    name: String,
    address: String,
    sync: bool,
    streaming: bool,
    lag: Duration,
}

impl PostgresMembers {
    /// The members among these servers, and those that a primary among them knows.
    pub fn new(servers: impl IntoIterator<Item = PostgresServer>) -> Self {
        Self { servers: servers.into_iter().map(|server| (server, None)).collect() }
    }
}

impl MemberSource for PostgresMembers {
    fn members(&mut self) -> Result<Vec<ServerMember>, DriverError> {
        let (mut told, mut standbys, mut last_error) = (Vec::new(), Vec::new(), None);
        for (server, kept) in &mut self.servers {
            let own = ask(server, kept, &mut standbys);
            told.push((server.address(), own.map_err(|error| last_error = Some(error)).ok()));
        }
        if let (true, Some(error)) = (told.iter().all(|(_, own)| own.is_none()), last_error) {
            return Err(error);
        }
        let primary = told.iter().any(|(_, own)| own.as_ref().is_some_and(|own| !own.in_recovery));
        let mut members = Vec::new();
        for (address, own) in told {
            members.push(match own {
                None => ServerMember::new(address, "unknown").healthy(false),
                Some(own) if !own.in_recovery => ServerMember::new(address, "primary"),
                Some(own) => {
                    let sync = take(&mut standbys, own.streams_as.as_deref());
                    let member = ServerMember::new(address, if primary { role(sync) } else { "standby" });
                    let member = member.healthy(own.streaming);
                    own.lag.map_or(member.clone(), |lag| member.lag(lag))
                }
            });
        }
        members.extend(standbys.into_iter().map(|standby| {
            ServerMember::new(standby.address, role(standby.sync)).lag(standby.lag).healthy(standby.streaming)
        }));
        Ok(members)
    }
}

/// Strikes a standby from the list; says whether it may be synchronous: of several that share a name, any may.
fn take(standbys: &mut Vec<Standby>, name: Option<&str>) -> bool {
    let named = |standby: &Standby| name.is_some_and(|name| standby.name == name);
    let sync = standbys.iter().any(|standby| named(standby) && standby.sync);
    if let Some(first) = standbys.iter().position(named) {
        standbys.remove(first);
    }
    sync
}

fn role(sync: bool) -> &'static str {
    if sync { "sync_standby" } else { "async_standby" }
}

/// Asks one server over its kept connection; a connection that fails is given up.
fn ask(
    server: &PostgresServer,
    kept: &mut Option<Connection>,
    standbys: &mut Vec<Standby>,
) -> Result<Own, DriverError> {
    let connection = match kept.take() {
        Some(connection) => connection,
        None => {
            let connection = Connection::open(server)?;
            sees_sessions(&connection)?;
            connection
        }
    };
    let row = connection.row(OWN)?;
    let conninfo: Option<String> = connection.column(&row, "conninfo")?;
    let lag: Option<f64> = connection.column(&row, "lag_s")?;
    let own = Own {
        in_recovery: connection.column(&row, "in_recovery")?,
        streams_as: conninfo.as_deref().and_then(name_in),
        streaming: connection.column::<Option<bool>>(&row, "streaming")?.unwrap_or(false),
        lag: lag.and_then(|lag| Duration::try_from_secs_f64(lag.max(0.0)).ok()),
    };
    if !own.in_recovery {
        for row in connection.query(STANDBYS, &[])? {
            let sync: String = connection.column(&row, "sync_state")?;
            let lag: f64 = connection.column(&row, "lag_s")?;
            standbys.push(Standby {
                name: connection.column(&row, "name")?,
                address: connection.column(&row, "address")?,
                sync: sync == "sync" || sync == "quorum",
                streaming: connection.column(&row, "streaming")?,
                lag: Duration::try_from_secs_f64(lag.max(0.0)).unwrap_or_default(),
            });
        }
    }
    *kept = Some(connection);
    Ok(own)
}

/// The name under which a connection with these settings is known.
pub(super) fn name_in(conninfo: &str) -> Option<String> {
    let value = |key: &str| {
        let setting = conninfo.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?;
        Some(setting.trim_matches('\'').to_owned())
    };
    value("application_name").or_else(|| value("fallback_application_name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_is_known_by_its_own_name_or_that_of_its_cluster() {
        let text = "user=r host=h application_name=two fallback_application_name=walreceiver";
        assert_eq!(name_in(text).as_deref(), Some("two"));
        assert_eq!(name_in("host=h fallback_application_name=three").as_deref(), Some("three"));
        assert_eq!(name_in("host=h"), None);
    }
}
