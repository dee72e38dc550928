//! Which server it is, and which tools fit: [`ServerVersion`], [`Product`]; pure.

use std::fmt;

use crate::DriverError;

/// Whose server it is. Percona's is MySQL's here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    /// MariaDB.
    MariaDb,
    /// MySQL, and Percona Server.
    MySql,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        })
    }
}

/// The version of a server, or the one that a tool was built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerVersion {
    /// Whose.
    pub(super) product: Product,
    /// Such as 10 of 10.11.6.
    pub(super) major: u32,
    /// Such as 11 of 10.11.6.
    pub(super) minor: u32,
    /// Such as 6 of 10.11.6.
    pub(super) patch: u32,
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{}.{}", self.product, self.major, self.minor, self.patch)
    }
}

impl ServerVersion {
    /// From what the server says in `@@version` and `@@version_comment`.
    pub(super) fn of_server(version: &str, comment: &str) -> Option<Self> {
        let maria = [version, comment].iter().any(|text| text.to_lowercase().contains("mariadb"));
        // MariaDB before 11 told old clients that it was 5.5.5.
        let numbers = version.strip_prefix("5.5.5-").filter(|_| maria).unwrap_or(version);
        let product = if maria { Product::MariaDb } else { Product::MySql };
        numbers_of(numbers).map(|(major, minor, patch)| Self { product, major, minor, patch })
    }

    /// From what a tool says when it is asked for its version: that of the server which it was built from, as tools
    /// have versions of their own, too.
    pub(super) fn of_tool(said: &str) -> Option<Self> {
        const MARKS: [&str; 6] =
            ["based on MariaDB server ", "based on MySQL server ", "Distrib ", " from ", "Ver ", "version "];
        said.lines().find_map(|line| {
            let after = MARKS.iter().find_map(|mark| line.split_once(mark).map(|(_, after)| after))?;
            let product = if line.contains("MariaDB") { Product::MariaDb } else { Product::MySql };
            numbers_of(after).map(|(major, minor, patch)| Self { product, major, minor, patch })
        })
    }

    /// Whether it is at least of this series.
    pub(super) fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    fn series(&self) -> (Product, u32, u32) {
        (self.product, self.major, self.minor)
    }
}

fn numbers_of(text: &str) -> Option<(u32, u32, u32)> {
    let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let mut parts = numbers.split('.').map(str::parse);
    match (parts.next()?, parts.next()?, parts.next()) {
        (Ok(major), Ok(minor), Some(Ok(patch))) => Some((major, minor, patch)),
        _ => None,
    }
}

/// How near a tool must be to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It reads the server's files: the same series.
    Files,
    /// It asks the server: its product, and no older series.
    Statements,
}

/// Whether a tool works with a server.
pub(super) fn check_fit(
    tool: &str,
    found: ServerVersion,
    server: ServerVersion,
    fit: Fit,
) -> Result<(), DriverError> {
    let fits = match fit {
        Fit::Files => found.series() == server.series(),
        Fit::Statements => found.product == server.product && found.at_least(server.major, server.minor),
    };
    if fits {
        return Ok(());
    }
    let (found, needed) =
        (found.to_string(), format!("{} {}.{}", server.product, server.major, server.minor));
    Err(DriverError::WrongTool { tool: tool.into(), found, needed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(product: Product, major: u32, minor: u32, patch: u32) -> ServerVersion {
        ServerVersion { product, major, minor, patch }
    }

    #[test]
    fn servers_and_tools_say_what_they_are() {
        let maria = version(Product::MariaDb, 10, 11, 19);
        let mysql = version(Product::MySql, 8, 0, 36);
        let server = ServerVersion::of_server;
        assert_eq!(server("10.11.19-MariaDB-0+deb12u1-log", "Debian 12"), Some(maria));
        assert_eq!(server("5.5.5-10.11.19-MariaDB", ""), Some(maria));
        assert_eq!(server("8.0.36-28", "Percona Server (GPL), Release 28"), Some(mysql));
        assert_eq!(server("8.0.36", "MySQL Community Server - GPL"), Some(mysql));
        assert_eq!(server("next", ""), None);
        for (said, is) in [
            ("mariadb-backup based on MariaDB server 10.11.19-MariaDB debian-linux-gnu (x86_64)", maria),
            ("mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)", maria),
            ("mariadb-dump from 10.11.19-MariaDB, client 10.19 for Linux (x86_64)", maria),
            ("mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)", mysql),
            ("2024 x\nxtrabackup version 8.0.35-30 based on MySQL server 8.0.36 Linux (x86_64)", mysql),
        ] {
            assert_eq!(ServerVersion::of_tool(said), Some(is), "{said}");
        }
        assert_eq!(ServerVersion::of_tool("bash: nothing"), None);
    }

    #[test]
    fn a_tool_that_reads_files_is_of_the_servers_series() {
        let server = version(Product::MariaDb, 10, 11, 6);
        let fits = |tool, fit| check_fit("tool", tool, server, fit).is_ok();
        let (same, newer) = (version(Product::MariaDb, 10, 11, 19), version(Product::MariaDb, 11, 4, 2));
        assert!(fits(same, Fit::Files) && !fits(newer, Fit::Files));
        assert!(fits(newer, Fit::Statements) && !fits(version(Product::MariaDb, 10, 6, 1), Fit::Statements));
        assert!(!fits(version(Product::MySql, 10, 11, 6), Fit::Files));
        let error = check_fit("mariadb-backup", newer, server, Fit::Files).unwrap_err();
        assert!(error.is_permanent());
        assert_eq!(
            error.to_string(),
            "mariadb-backup is of MariaDB 11.4.2, and the server needs one of MariaDB 10.11; install that, or give its path"
        );
    }
}
