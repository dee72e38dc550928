//! Where PostgreSQL's tools are, and whether they are new enough: [`Tool`].

use std::path::PathBuf;
use std::time::Duration;

use sched_core::RunContext;

use super::PostgresServer;
use super::survey::Survey;
use crate::DriverError;
use crate::command::ExternalCommand;

/// Where distributions put the tools of a version: Debian, Red Hat, Homebrew.
const FOLDERS: [(&str, &str); 3] =
    [("/usr/lib/postgresql/", "/bin"), ("/usr/pgsql-", "/bin"), ("/opt/homebrew/opt/postgresql@", "/bin")];
/// Tools of so many newer versions are looked for.
const NEWER: u32 = 8;

/// A tool that was found, and can speak with the server.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) program: PathBuf,
    /// What it calls itself, such as `pg_dump (PostgreSQL) 15.18`.
    pub(super) version: String,
}

impl Tool {
    /// Finds a tool of the server's major version or a newer one.
    pub(super) fn find(
        ctx: &RunContext,
        name: &'static str,
        server: &PostgresServer,
        survey: &Survey,
    ) -> Result<Self, DriverError> {
        let package = format!("postgresql-client-{}", survey.major);
        let program = place(name, server, survey.major);
        let remedy = format!("install {package} or newer, or name the folder with `PostgresServer::tools`");
        let asking = ExternalCommand::new(&program)
            .arg("--version")
            .remedy(remedy)
            .run_timeout(Duration::from_secs(30));
        let version = String::from_utf8_lossy(&asking.output(ctx, 1024)?).trim().to_owned();
        match major(&version) {
            Some(found) if found >= survey.major => Ok(Self { program, version }),
            _ => Err(DriverError::TooOld {
                server: name.into(),
                found: version,
                needed: format!("{} (of package {package})", survey.major),
            }),
        }
    }
}

fn place(name: &str, server: &PostgresServer, major: u32) -> PathBuf {
    if let Some(folder) = &server.tools {
        return folder.join(name);
    }
    let versions = major..=major + NEWER;
    let mut known = versions.flat_map(|version| {
        FOLDERS.map(|(before, after)| PathBuf::from(format!("{before}{version}{after}")).join(name))
    });
    known.find(|path| path.is_file()).unwrap_or_else(|| name.into())
}

/// The 15 of `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
pub(super) fn major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_the_first_number() {
        assert_eq!(major("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major("pg_basebackup (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major("pg_basebackup (EnterpriseDB) 15"), None);
    }
}
