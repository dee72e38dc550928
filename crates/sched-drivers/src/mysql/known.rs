//! What must be known of a server before it is backed up: [`Known`].

use super::server::{Identity, MySqlServer};
use super::{fault, grants};
use crate::DriverError;
use ::mysql::Conn;
use ::mysql::prelude::Queryable;

/// Refuses an account that lacks privileges, before anything is made.
pub(super) fn check_grants(
    connection: &mut Conn,
    server: &str,
    databases: &[String],
    needed: &[&'static str],
) -> Result<(), DriverError> {
    let granted: Vec<String> =
        connection.query("SHOW GRANTS").map_err(|error| fault::of_client(server, error))?;
    let lacking = grants::lacking(&granted, databases, needed).join(", ");
    if lacking.is_empty() {
        return Ok(());
    }
    let error = format!("the account lacks {lacking}");
    Err(DriverError::Refused { server: server.into(), error, remedy: fault::grant_for(Some(&lacking)) })
}

/// A server of whom everything is known that its tool must know.
pub(super) struct Known<'a> {
    pub(super) server: &'a MySqlServer,
    pub(super) connection: Conn,
    pub(super) identity: Identity,
}

impl<'a> Known<'a> {
    pub(super) fn ask(server: &'a MySqlServer) -> Result<Self, DriverError> {
        let mut connection = server.connect()?;
        let identity = server.identify(&mut connection)?;
        Ok(Self { server, connection, identity })
    }
}
