//! Who replicates whom: [`MySqlMembers`].

use ::mysql::prelude::Queryable;
use ::mysql::{Conn, Row};

use super::server::MySqlServer;
use super::version::{Product, ServerVersion};
use super::{fault, replication};
use crate::DriverError;
use crate::server::{MemberSource, ServerMember};

/// Tells the primary and the replicas that a server knows: itself, the primaries that it follows, and the replicas that
/// follow it and say their address (`report_host`). A server that follows another is a `replica`, others are a
/// `primary`.
///
/// The account needs `REPLICA MONITOR` and `REPLICATION MASTER ADMIN` on MariaDB, `REPLICATION CLIENT` and
/// `REPLICATION SLAVE` on MySQL and on MariaDB before 10.5.
#[derive(Debug)]
pub struct MySqlMembers {
    server: MySqlServer,
    connection: Option<(Conn, ServerVersion)>,
}

impl MySqlMembers {
    /// Asks that server, over one connection, which is made when it is asked first.
    pub fn new(server: MySqlServer) -> Self {
        Self { server, connection: None }
    }

    fn ask(&self, connection: &mut Conn, version: ServerVersion) -> Result<Vec<ServerMember>, DriverError> {
        let server = self.server.address();
        let follows = replication::channels(connection, &server, version)?;
        let own = if follows.is_empty() {
            ServerMember::new(&server, "primary")
        } else {
            // That of the worst; of one that stands nobody knows it.
            let lags: Option<Vec<_>> = follows.iter().map(|channel| channel.lag).collect();
            let lag = lags.and_then(|lags| lags.into_iter().max());
            ServerMember { lag, ..ServerMember::new(&server, "replica").healthy(lag.is_some()) }
        };
        let primaries = follows
            .iter()
            .map(|channel| ServerMember::new(&channel.primary, "primary").healthy(channel.connected));
        let question = match version.product {
            Product::MySql if version.at_least(8, 4) => "SHOW REPLICAS",
            _ => "SHOW SLAVE HOSTS",
        };
        let rows: Vec<Row> = connection.query(question).map_err(|error| fault::of_client(&server, error))?;
        let replicas = rows.iter().map(replication::columns).filter_map(|row| {
            let (host, port) = (row.get("Host")?, row.get("Port")?);
            (!host.is_empty()).then(|| ServerMember::new(format!("{host}:{port}"), "replica"))
        });
        let mut members: Vec<_> = std::iter::once(own).chain(primaries).chain(replicas).collect();
        members.sort_by(|a, b| a.address.cmp(&b.address));
        members.dedup_by(|a, b| a.address == b.address);
        Ok(members)
    }
}

impl MemberSource for MySqlMembers {
    fn members(&mut self) -> Result<Vec<ServerMember>, DriverError> {
        let (mut connection, version) = match self.connection.take() {
            Some(connected) => connected,
            None => {
                let mut connection = self.server.connect()?;
                let version = self.server.identify(&mut connection)?.version;
                (connection, version)
            }
        };
        let members = self.ask(&mut connection, version)?;
        self.connection = Some((connection, version));
        Ok(members)
    }
}
