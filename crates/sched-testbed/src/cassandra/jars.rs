//! The jars of Cassandra: from a cache, or by Maven.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{io, write};
use crate::{TestbedError, program};

const POM: &str = include_str!("../../cassandra/pom.xml");
/// Where the jars are, if not in the cache below the user's home.
const VARIABLE: &str = "BACKUP_SCHED_CASSANDRA_JARS";

/// The directory of the jars; they are fetched when it is not there.
pub(super) fn find() -> Result<PathBuf, TestbedError> {
    let jars = match env::var_os(VARIABLE) {
        Some(told) => PathBuf::from(told),
        None => cache().join(format!("cassandra-{}", version())),
    };
    if !jars.is_dir() {
        fetch(&jars)?;
    }
    Ok(jars)
}

fn cache() -> PathBuf {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    cache.unwrap_or_else(env::temp_dir).join("backup-sched-testbed")
}

/// The version that the pom asks for: its second one; the first is its own.
fn version() -> &'static str {
    let mut versions = POM.split("<version>").skip(2);
    versions.next().and_then(|rest| rest.split('<').next()).unwrap_or("unknown")
}

/// Fetches into a directory that gets its name last: tests of several processes may do so at once.
fn fetch(jars: &Path) -> Result<(), TestbedError> {
    let maven = program("mvn", &[], &format!("maven, or put the jars of Cassandra where {VARIABLE} says"))?;
    let parent = jars.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(io(format!("create {}", parent.display())))?;
    let here = tempfile::tempdir_in(parent).map_err(io(format!("write to {}", parent.display())))?;
    write(&here.path().join("pom.xml"), POM)?;
    let fetched = here.path().join("jars");
    let mut command = Command::new(maven);
    command.args(["-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
    command.arg(format!("-DoutputDirectory={}", fetched.display())).current_dir(here.path());
    let output = command.output().map_err(io("run mvn"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        return Err(TestbedError::Failed { program: "mvn dependency:copy-dependencies".into(), said });
    }
    match fs::rename(&fetched, jars) {
        // Somebody else was faster.
        Err(_) if jars.is_dir() => Ok(()),
        renamed => renamed.map_err(io(format!("create {}", jars.display()))),
    }
}
