//! What a restore must know of a node: [`Place`], [`Known`].

use std::path::PathBuf;

use super::{CassandraNode, CqlConnection};
use crate::DriverError;

/// The first version with virtual tables.
const OLDEST: u32 = 4;

/// The place of a node in its cluster, as it tells.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) version: String,
    pub(super) schema_version: String,
    /// Its tables, as seen from here.
    pub(super) directories: Vec<PathBuf>,
    /// Of its cluster: the same for all of its nodes.
    pub(super) of_cluster: Vec<(&'static str, String)>,
    /// Its own.
    pub(super) of_node: Vec<(&'static str, String)>,
}

/// A node, and where it stands.
pub(super) struct Known {
    pub(super) node: CassandraNode,
    pub(super) place: Place,
}

impl Place {
    /// Asks a node.
    pub(super) fn ask(node: &CassandraNode, cql: &mut CqlConnection) -> Result<Self, DriverError> {
        let nothing = || DriverError::Answer {
            server: node.cql_server(),
            problem: "system.local is empty; the node has not joined its cluster yet".into(),
        };
        let rows = cql.query("SELECT * FROM system.local")?;
        let row = rows.iter().next().ok_or_else(nothing)?;
        let text = |column: &str| row.text(column).unwrap_or_default();
        let version = text("release_version");
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major < OLDEST) {
            let (server, needed) = (node.cql_server(), format!("{OLDEST}.0"));
            return Err(DriverError::TooOld { server, found: version, needed });
        }
        let directories = match node.data_directories.is_empty() {
            true => directories(cql)?,
            false => node.data_directories.clone(),
        };
        Ok(Self {
            version,
            schema_version: text("schema_version"),
            directories,
            of_cluster: vec![("cluster", text("cluster_name")), ("partitioner", text("partitioner"))],
            of_node: vec![
                ("address", text("broadcast_address")),
                ("host_id", text("host_id")),
                ("datacenter", text("data_center")),
                ("rack", text("rack")),
                ("tokens", row.texts("tokens").join(",")),
            ],
        })
    }
}

fn directories(cql: &mut CqlConnection) -> Result<Vec<PathBuf>, DriverError> {
    let asked = "SELECT value FROM system_views.settings WHERE name = 'data_file_directories'";
    let told = cql.query(asked)?.iter().next().and_then(|row| row.text("value")).unwrap_or_default();
    let inner = told.trim_start_matches('[').trim_end_matches(']');
    Ok(inner.split(", ").filter(|path| !path.is_empty()).map(PathBuf::from).collect())
}

/// The statements that make the schema anew, as the node writes them.
pub(super) fn schema(cql: &mut CqlConnection) -> Result<String, DriverError> {
    let described = cql.query("DESCRIBE SCHEMA")?;
    let statements: Vec<String> = described.iter().filter_map(|row| row.text("create_statement")).collect();
    Ok(statements.join("\n\n") + "\n")
}
