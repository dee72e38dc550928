//! Who replicates whom: [`RedisMembers`].

use std::time::Duration;

use super::connection::Connection;
use super::info::Info;
use super::server::RedisServer;
use crate::DriverError;
use crate::server::{MemberSource, ServerMember};

/// Tells a primary and its replicas, asked through any of them: first the primary, then the replicas by address.
///
/// Addresses are those that replicas announce and that they know their primary by (`replica-announce-ip`); login and
/// time-out are the same for all. The lag is the time since the primary heard of the replica.
#[derive(Debug)]
pub struct RedisMembers {
    server: RedisServer,
}

impl RedisMembers {
    /// The members of the group to which `server` belongs.
    pub fn new(server: RedisServer) -> Self {
        Self { server }
    }
}

impl MemberSource for RedisMembers {
    fn members(&mut self) -> Result<Vec<ServerMember>, DriverError> {
        let own = Connection::open(&self.server, None)?.info()?;
        if !own.is_replica() {
            return Ok(group(&self.server.address, &own));
        }
        let address = own.text("master_host").zip(own.text("master_port"));
        let address = address.map(|(host, port)| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        });
        let Some(address) = address else {
            let problem = "a replica that names no primary".into();
            return Err(DriverError::Answer { server: self.server.address.clone(), problem });
        };
        let asked = Connection::open(&self.server.at(address.clone()), None).and_then(|mut c| c.info());
        let linked = own.text("master_link_status") == Some("up");
        let mut members = match asked {
            Ok(primary) => group(&address, &primary),
            Err(_) => vec![ServerMember::new(address, "primary").healthy(linked)],
        };
        // A primary forgets a replica that has lost it, and does not tell when it cannot be asked.
        if !linked || members.len() == 1 {
            members.retain(|member| member.address != self.server.address);
            members.push(ServerMember::new(&self.server.address, "replica").healthy(linked));
        }
        Ok(members)
    }
}

/// A primary and the replicas that it knows.
fn group(address: &str, primary: &Info) -> Vec<ServerMember> {
    let healthy = !primary.flag("loading");
    let replicas = primary.replicas().into_iter().map(|replica| {
        let member = ServerMember::new(replica.address, "replica").healthy(replica.online);
        match replica.lag_s {
            Some(lag) => member.lag(Duration::from_secs(lag)),
            None => member,
        }
    });
    std::iter::once(ServerMember::new(address, "primary").healthy(healthy)).chain(replicas).collect()
}
