//! From snapshots to a backup: what is uploaded, and in which order.

use std::collections::BTreeSet;

use sched_core::{RunContext, RunPhase};

use super::CqlConnection;
use super::files::{self, SnapshotFile, Summed};
use super::place::{self, Known, Place};
use super::tag::Tag;
use crate::DriverError;
use crate::backup::{Backup, Completed};
use crate::destination::component;

/// The name of the schema in a backup: the statements that make all keyspaces and tables anew.
pub const SCHEMA: &str = "schema.cql";

/// Uploads what the nodes have of a snapshot, one node after the other; with `check` each SSTable is compared with the
/// checksum that the node wrote beside it.
pub(super) fn all(
    ctx: &RunContext,
    known: &[Known],
    tag: &Tag,
    mut backup: Backup<'_>,
    check: bool,
) -> Result<Completed, DriverError> {
    ctx.phase(RunPhase::new("upload").pausable());
    describe(&mut backup, known, tag);
    let found = known.iter().map(|known| find_files(known, tag)).collect::<Result<Vec<_>, _>>()?;
    backup.expect(found.iter().flatten().map(|file| file.bytes).sum());
    store_schema(known, &mut backup)?;
    for (known, found) in known.iter().zip(&found) {
        let folder = component(known.node.name());
        for file in found {
            store(&mut backup, &folder, file, check)?;
        }
        // Of a snapshot that was still being taken, or was cleared meanwhile, this would be a part.
        if find_files(known, tag)? != *found {
            let problem = format!("its snapshot {tag} changed while it was uploaded");
            return Err(DriverError::NotReady { server: known.node.name().to_owned(), problem });
        }
    }
    backup.complete()
}

fn store_schema(known: &[Known], backup: &mut Backup<'_>) -> Result<(), DriverError> {
    let Some(first) = known.first() else { return Ok(()) };
    let mut cql = CqlConnection::open(&first.node)?;
    let schema = place::schema(&mut cql)?;
    let version = Place::ask(&first.node, &mut cql)?.schema_version;
    if version != first.place.schema_version {
        let problem = "its schema was changed while the backup began".into();
        return Err(DriverError::NotReady { server: first.node.name().to_owned(), problem });
    }
    backup.store(SCHEMA, schema.as_bytes()).map(drop)
}

fn store(backup: &mut Backup<'_>, folder: &str, file: &SnapshotFile, check: bool) -> Result<(), DriverError> {
    let name = format!("{folder}/{}", file.name);
    let mut summed = Summed::new(file.open()?);
    backup.store(&name, &mut summed)?;
    let found = summed.crc();
    match file.expected_crc().filter(|_| check) {
        Some(expected) if expected != found => Err(DriverError::Corrupt {
            what: file.path().display().to_string(),
            problem: format!(
                "its checksum is {found}, and Cassandra wrote {expected}: the disk has lost something; \
                 `nodetool verify` says what, and a repair brings it back from the other replicas"
            ),
        }),
        _ => Ok(()),
    }
}

/// Whether the files of all nodes can be read here, before anything is begun.
pub(super) fn check_directories(known: &[Known]) -> Result<(), DriverError> {
    let mut seen = BTreeSet::new();
    for known in known {
        files::check(&known.place.directories)?;
        if let Some(twice) = known.place.directories.iter().find(|path| !seen.insert(path.as_path())) {
            return Err(DriverError::Setting {
                what: twice.display().to_string(),
                problem: "is the data directory of two nodes; say with `CassandraNode::data_directory` where those of \
                          other hosts are mounted, or make a job for each node on its own host"
                    .into(),
            });
        }
    }
    Ok(())
}

fn find_files(known: &Known, tag: &Tag) -> Result<Vec<SnapshotFile>, DriverError> {
    let found = files::of(&known.place.directories, tag)?;
    if found.is_empty() {
        return Err(DriverError::NotReady {
            server: known.node.name().to_owned(),
            problem: format!(
                "its data directories {:?} hold nothing of the snapshot {tag}: they are not this node's, or another \
                 cleared it",
                known.place.directories
            ),
        });
    }
    Ok(found)
}

fn describe(backup: &mut Backup<'_>, known: &[Known], tag: &Tag) {
    backup.fact("snapshot", tag.to_string());
    if let Some(first) = known.first() {
        backup.tool(format!("nodetool of Cassandra {}", first.place.version));
        backup.fact("schema_version", first.place.schema_version.as_str());
        for (name, value) in &first.place.of_cluster {
            backup.fact(*name, value.as_str());
        }
    }
    for known in known {
        let folder = component(known.node.name());
        for (name, value) in &known.place.of_node {
            backup.fact(format!("{folder}.{name}"), value.as_str());
        }
    }
}
