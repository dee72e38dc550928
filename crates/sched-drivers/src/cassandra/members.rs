//! The ring: [`CassandraMembers`].

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{CassandraNode, CqlConnection, CqlRow, together};
use crate::DriverError;
use crate::server::{MemberSource, ServerMember};

/// A node that is there answers within this.
const ANSWERS: Duration = Duration::from_secs(2);
/// Nodes that are tried at once.
const AT_ONCE: usize = 16;

/// Tells the nodes of a cluster, as one of them knows them. All are alike: the role is empty, as in the profile, which
/// wants a backup of each.
///
/// The address is the one for clients. A node is healthy when its gossip says `NORMAL` and it can be connected to from
/// here: one that cannot be could not be backed up either.
#[derive(Debug)]
pub struct CassandraMembers {
    node: CassandraNode,
    connection: Option<CqlConnection>,
}

impl CassandraMembers {
    /// Asks a node, which is connected to when it is asked first.
    pub fn new(node: CassandraNode) -> Self {
        Self { node, connection: None }
    }

    fn ask(&mut self) -> Result<Vec<Told>, DriverError> {
        let mut cql = match self.connection.take() {
            Some(connection) => connection,
            None => CqlConnection::open(&self.node)?,
        };
        let own = cql.query("SELECT rpc_address, host_id FROM system.local")?;
        let peers = cql.query("SELECT native_address, native_port, host_id FROM system.peers_v2")?;
        let gossip = cql.query("SELECT host_id, status_with_port, status FROM system_views.gossip_info")?;
        self.connection = Some(cql);
        let own = own.iter().filter_map(|row| address(row, "rpc_address", None, self.node.port));
        let peers = peers
            .iter()
            .filter_map(|row| address(row, "native_address", Some("native_port"), self.node.port));
        let mut told: Vec<Told> = own.chain(peers).collect();
        for row in gossip.iter() {
            let status = row.text("status_with_port").or_else(|| row.text("status")).unwrap_or_default();
            let of = |told: &&mut Told| told.host_id == row.text("host_id");
            if let Some(told) = told.iter_mut().find(of) {
                told.normal = status.starts_with("NORMAL");
            }
        }
        told.sort_by_key(|told| told.address);
        Ok(told)
    }
}

/// A node, as another tells.
struct Told {
    address: SocketAddr,
    host_id: Option<String>,
    normal: bool,
}

fn address(row: CqlRow<'_>, host: &str, port: Option<&str>, else_port: u16) -> Option<Told> {
    let host = row.text(host)?.parse().ok()?;
    let port = port.and_then(|port| row.number(port)).map_or(else_port, |port| port as u16);
    Some(Told { address: SocketAddr::new(host, port), host_id: row.text("host_id"), normal: false })
}

impl MemberSource for CassandraMembers {
    fn members(&mut self) -> Result<Vec<ServerMember>, DriverError> {
        let told = self.ask()?;
        let limit = self.node.timeout.min(ANSWERS);
        let healthy = together::each(&told, AT_ONCE, |told| {
            told.normal && TcpStream::connect_timeout(&told.address, limit).is_ok()
        });
        let member =
            |(told, healthy): (&Told, bool)| ServerMember::new(told.address.to_string(), "").healthy(healthy);
        Ok(told.iter().zip(healthy).map(member).collect())
    }
}
