//! Which server an attempt backs up: [`Target`].

use std::sync::Arc;

use ::mysql::Conn;
use ::mysql::prelude::Queryable;
use sched_core::{InstanceName, RunContext};

use super::server::{Identity, MySqlServer};
use super::{fault, grants};
use crate::DriverError;

type Find = dyn Fn(&InstanceName) -> Option<MySqlServer> + Send + Sync;

/// Where the servers of instances are, as the host knows.
#[derive(Clone)]
pub(super) struct Target(Arc<Find>);

impl Target {
    pub(super) fn new(find: impl Fn(&InstanceName) -> Option<MySqlServer> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    /// The server that holds the instance which the attempt was given.
    pub(super) fn of(&self, ctx: &RunContext) -> Result<MySqlServer, DriverError> {
        (self.0)(ctx.instance()).ok_or_else(|| DriverError::Setting {
            what: ctx.instance().to_string(),
            problem: "no server is known for this instance".into(),
        })
    }
}

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
