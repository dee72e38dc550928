//! How a server is reached: [`PostgresServer`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::DriverError;
use crate::command::ExternalCommand;
use crate::secret::{ExposeSecret, SecretFile, SecretString};

/// Whether what goes over the network is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tls {
    /// No: for sockets of this machine and networks that are private. The password itself is never sent in the clear
    /// where the server asks for `scram-sha-256`.
    #[default]
    Off,
    /// Always, and only with a server whose certificate names its host and was signed by one of these: libpq's
    /// `verify-full`.
    Verified {
        /// A file of certificates in PEM. A server that signed for itself is taken, unless its certificate is one for
        /// signing (`CA:TRUE`).
        ca_file: PathBuf,
    },
}

/// How a server is reached, and as whom. Tools get the password through a file that only this user can read.
///
/// ```
/// use sched_drivers::postgres::PostgresServer;
/// use sched_drivers::secret::SecretString;
///
/// let server = PostgresServer::new("db1", "backup").port(5433).password(SecretString::from("geheim"));
/// assert!(!format!("{server:?}").contains("geheim"));
/// ```
#[derive(Clone, Debug)]
pub struct PostgresServer {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) password: Option<SecretString>,
    pub(super) tls: Tls,
    pub(super) connect_timeout: Duration,
    pub(super) statement_timeout: Duration,
    pub(super) tools: Option<PathBuf>,
}

impl PostgresServer {
    /// A server by its host: a name, an address, or the absolute path of the folder of its socket.
    pub fn new(host: impl Into<String>, user: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: 5432,
            user: user.into(),
            database: "postgres".into(),
            password: None,
            tls: Tls::Off,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(10),
            tools: None,
        }
    }

    /// Sets the port. Default 5432.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets the database that is connected to, which is also the one that [`Dump`](super::Dump) dumps. Default
    /// `postgres`.
    #[must_use]
    pub fn database(mut self, database: impl Into<String>) -> Self {
        self.database = database.into();
        self
    }

    /// Sets the password. Default: none, for servers that know the user in another way, such as `peer`.
    #[must_use]
    pub fn password(mut self, password: SecretString) -> Self {
        self.password = Some(password);
        self
    }

    /// Sets the encryption. Default [`Tls::Off`].
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// Sets how long a connection may take, log-in and all. Default 10 s, at least 1 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout.max(Duration::from_secs(1));
        self
    }

    /// Sets how long one of this crate's own questions may take; backups are not meant. Default 10 s, at least 100 ms.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout.max(Duration::from_millis(100));
        self
    }

    /// Sets the folder of `pg_basebackup` and `pg_dump`. Default: those of the server's version or the next newer one
    /// where distributions put them, then `PATH`.
    #[must_use]
    pub fn tools(mut self, folder: impl Into<PathBuf>) -> Self {
        self.tools = Some(folder.into());
        self
    }

    /// Its address, for people, and as [`PostgresMembers`](super::PostgresMembers) tells it.
    pub fn address(&self) -> String {
        match self.host.starts_with('/') {
            true => format!("{}/.s.PGSQL.{}", self.host, self.port),
            false if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// A tool that connects to it, under a name that tells its session from others. The second part must live as long
    /// as the tool runs.
    pub(super) fn command(
        &self,
        program: &Path,
        session: &str,
    ) -> Result<(ExternalCommand, Option<SecretFile>), DriverError> {
        let seconds = self.connect_timeout.as_secs().max(2);
        let mut command = ExternalCommand::new(program)
            .env("PGHOST", &self.host)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", &self.user)
            .env("PGDATABASE", &self.database)
            .env("PGAPPNAME", session)
            .env("PGCONNECT_TIMEOUT", seconds.to_string());
        command = match &self.tls {
            Tls::Off => command.env("PGSSLMODE", "disable"),
            Tls::Verified { ca_file } => {
                command.env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", ca_file)
            }
        };
        let Some(password) = &self.password else { return Ok((command, None)) };
        let file = password_file(password)?;
        Ok((command.env("PGPASSFILE", file.path()), Some(file)))
    }
}

fn password_file(password: &SecretString) -> Result<SecretFile, DriverError> {
    let password = password.expose_secret();
    if password.contains(['\n', '\r', '\0']) {
        let problem = "cannot hold the end of a line: tools read it from a line of a file; set another one";
        return Err(DriverError::Setting { what: "the password".into(), problem: problem.into() });
    }
    let line = SecretString::from(password_line(password));
    SecretFile::new(&line)
        .map_err(|source| DriverError::Source { what: "a file for the password".into(), source })
}

/// A line of a password file, for whatever is connected to.
fn password_line(password: &str) -> String {
    format!("*:*:*:*:{}\n", password.replace('\\', "\\\\").replace(':', "\\:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_a_password_file_is_escaped() {
        assert_eq!(password_line(r"a:b\c"), "*:*:*:*:a\\:b\\\\c\n");
    }

    #[test]
    fn a_password_of_two_lines_is_refused_and_not_shown() {
        let error = password_file(&SecretString::from("ge\nheim")).unwrap_err().to_string();
        assert!(error.contains("another one") && !error.contains("heim"), "{error}");
    }

    #[test]
    fn addresses_read_as_people_write_them() {
        let address = |host: &str| PostgresServer::new(host, "u").address();
        assert_eq!(address("db"), "db:5432");
        assert_eq!(address("::1"), "[::1]:5432");
        assert_eq!(address("/run/postgresql"), "/run/postgresql/.s.PGSQL.5432");
    }
}
