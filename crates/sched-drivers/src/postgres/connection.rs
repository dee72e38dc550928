//! A connection on which nothing takes longer than it may: [`Connection`].

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Socket, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{APPLICATION, PostgresServer, Tls, fault};
use crate::DriverError;
use crate::reactor::Reactor;
use crate::secret::ExposeSecret;

/// What the server is given to say itself that a question took too long.
const SERVER_SAYS_FIRST: Duration = Duration::from_secs(1);

/// A connection that works on the calling thread, and only while it is asked something: a server that hangs costs a
/// time-out, not a thread.
pub(super) struct Connection {
    client: Client,
    server: PostgresServer,
    reactor: Reactor,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When the server does not answer in time, or refuses.
    pub(super) fn open(server: &PostgresServer) -> Result<Self, DriverError> {
        let unreachable = |error: String| DriverError::Unreachable { server: server.address(), error };
        let reactor = Reactor::new().map_err(|error| unreachable(error.to_string()))?;
        let config = config(server);
        let limit = server.connect_timeout;
        let connected = match &server.tls {
            Tls::Off => reactor.within(limit, connect(&config, NoTls)),
            Tls::Verified { ca_file } => reactor.within(limit, connect(&config, trusting(ca_file)?)),
        };
        let client = connected
            .ok_or_else(|| unreachable(format!("no answer within {limit:?}")))?
            .map_err(|error| fault::of_connection(server, &error))?;
        Ok(Self { client, server: server.clone(), reactor })
    }

    /// Whom it is connected to.
    pub(super) fn server(&self) -> &PostgresServer {
        &self.server
    }

    /// Readies a question that is asked again and again.
    pub(super) fn prepare(&self, sql: &str) -> Result<Statement, DriverError> {
        self.wait("a question is readied", self.client.prepare(sql))
    }

    /// Asks for rows.
    pub(super) fn query<Q: ?Sized + tokio_postgres::ToStatement>(
        &self,
        question: &Q,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DriverError> {
        self.wait("a question", self.client.query(question, values))
    }

    /// Asks for one row.
    pub(super) fn row<Q: ?Sized + tokio_postgres::ToStatement>(
        &self,
        question: &Q,
    ) -> Result<Row, DriverError> {
        let problem = || "no row".to_owned();
        let rows = self.query(question, &[])?;
        rows.into_iter()
            .next()
            .ok_or_else(|| DriverError::Answer { server: self.server.address(), problem: problem() })
    }

    /// A column of a row.
    pub(super) fn column<'r, T>(&self, row: &'r Row, name: &str) -> Result<T, DriverError>
    where
        T: tokio_postgres::types::FromSql<'r>,
    {
        row.try_get(name).map_err(|error| DriverError::Answer {
            server: self.server.address(),
            problem: format!("{name}: {}", fault::chain(&error)),
        })
    }

    /// Ends what is left of a tool that failed. A server process that waits for a checkpoint or a lock does not notice
    /// by itself that its client is gone. A server that cannot be asked any more has its own ways.
    pub(super) fn end_session(&self, name: &str) {
        let all = "select pg_terminate_backend(pid) from pg_stat_activity
                   where application_name = $1 and pid <> pg_backend_pid()";
        let _ = self.query(all, &[&name]);
    }

    fn wait<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DriverError> {
        let limit = self.server.statement_timeout + SERVER_SAYS_FIRST;
        let done = self.reactor.within(limit, work).ok_or_else(|| DriverError::TimedOut {
            what: format!("{what} to {}", self.server.address()),
            limit,
        })?;
        done.map_err(|error| fault::of_connection(&self.server, &error))
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

fn config(server: &PostgresServer) -> Config {
    let mut config = Config::new();
    config.host(&server.host).port(server.port).user(&server.user).dbname(&server.database);
    config.application_name(APPLICATION).connect_timeout(server.connect_timeout);
    let millis = server.statement_timeout.as_millis();
    config.options(format!("-c statement_timeout={millis} -c lock_timeout={millis}"));
    config.keepalives_idle(Duration::from_secs(60)).tcp_user_timeout(Duration::from_secs(60));
    config.ssl_mode(match server.tls {
        Tls::Off => tokio_postgres::config::SslMode::Disable,
        Tls::Verified { .. } => tokio_postgres::config::SslMode::Require,
    });
    if let Some(password) = &server.password {
        config.password(password.expose_secret());
    }
    config
}

async fn connect<T>(config: &Config, tls: T) -> Result<Client, tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) = config.connect(tls).await?;
    // How it ended is told to whoever asks next.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

fn trusting(ca_file: &Path) -> Result<MakeRustlsConnect, DriverError> {
    let pem = std::fs::read(ca_file).map_err(|error| DriverError::Setting {
        what: format!("certificates in {}", ca_file.display()),
        problem: format!("{error}; right is a file of certificates in PEM"),
    })?;
    let trusted = crate::tls::Tls::new(&pem, None)?;
    Ok(MakeRustlsConnect::new(Arc::unwrap_or_clone(trusted.0)))
}
