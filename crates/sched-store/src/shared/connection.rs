//! A connection on which nothing takes longer than it may: [`Connection`].

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Socket, Statement, ToStatement};

use super::{SharedConfig, SharedError};

/// Values of a statement.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A connection that works on the calling thread, and only while it is asked something: a server that hangs costs a
/// time-out, not a thread. After an error that is passing it is of no more use.
pub(super) struct Connection {
    client: Client,
    reactor: Reactor,
    server: String,
    limit: Duration,
    /// Whose it is, for what errors say.
    pub(super) scheduler: i64,
}

impl Connection {
    pub(super) fn open(config: &SharedConfig) -> Result<Self, SharedError> {
        let (server, limit) = (config.server(), config.longest_wait());
        let reactor = Reactor::new()
            .map_err(|error| SharedError::Unreachable { server: server.clone(), error: error.to_string() })?;
        let connected = connect(config, &reactor)?;
        let client = connected
            .ok_or_else(|| SharedError::TimedOut { server: server.clone(), limit })?
            .map_err(|error| SharedError::from_client(&server, 0, &error))?;
        Ok(Self { client, reactor, server, limit, scheduler: 0 })
    }

    pub(super) fn prepare(&self, sql: &str) -> Result<Statement, SharedError> {
        self.wait(self.client.prepare(sql))
    }

    pub(super) fn query<Q: ?Sized + ToStatement>(
        &self,
        sql: &Q,
        values: Values<'_>,
    ) -> Result<Vec<Row>, SharedError> {
        self.wait(self.client.query(sql, values))
    }

    pub(super) fn one<Q: ?Sized + ToStatement>(
        &self,
        sql: &Q,
        values: Values<'_>,
    ) -> Result<Row, SharedError> {
        self.wait(self.client.query_one(sql, values))
    }

    pub(super) fn execute<Q: ?Sized + ToStatement>(
        &self,
        sql: &Q,
        values: Values<'_>,
    ) -> Result<u64, SharedError> {
        self.wait(self.client.execute(sql, values))
    }

    pub(super) fn batch(&self, sql: &str) -> Result<(), SharedError> {
        self.wait(self.client.batch_execute(sql))
    }

    /// Does all that `work` does in one transaction. Should it fail, nothing was done.
    pub(super) fn transaction<T>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, SharedError>,
    ) -> Result<T, SharedError> {
        self.batch("begin")?;
        match work(self) {
            Ok(done) => self.batch("commit").map(|()| done),
            Err(error) => {
                // If it cannot be told, the connection is gone, and the transaction with it.
                drop(self.batch("rollback"));
                Err(error)
            }
        }
    }

    /// Statements of one transaction, sent together: the server works through them without waiting for us in between.
    /// Returns how many rows each has changed. If one fails none counts.
    pub(super) fn together(&self, statements: &[(&Statement, Values<'_>)]) -> Result<Vec<u64>, SharedError> {
        let client = &self.client;
        let all = async {
            let begin = client.batch_execute("begin");
            let done = futures_util::future::join_all(
                statements.iter().map(|(statement, values)| client.execute(*statement, values)),
            );
            let commit = client.batch_execute("commit");
            let (begun, done, committed) = futures_util::future::join3(begin, done, commit).await;
            begun?;
            let done: Vec<u64> = done.into_iter().collect::<Result<_, _>>()?;
            committed.map(|()| done)
        };
        self.wait(all)
    }

    fn wait<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, SharedError> {
        let (server, limit) = (self.server.clone(), self.limit);
        let done = self.reactor.within(limit, work).ok_or(SharedError::TimedOut { server, limit })?;
        done.map_err(|error| SharedError::from_client(&self.server, self.scheduler, &error))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

/// A column of a row.
pub(super) fn column<'r, T>(row: &'r Row, name: &str) -> Result<T, SharedError>
where
    T: tokio_postgres::types::FromSql<'r>,
{
    row.try_get(name)
        .map_err(|error| SharedError::Damaged { what: format!("column {name}"), problem: error.to_string() })
}

/// `None` when the time is up.
type Connected = Option<Result<Client, tokio_postgres::Error>>;

#[cfg(not(feature = "postgres-tls"))]
fn connect(config: &SharedConfig, reactor: &Reactor) -> Result<Connected, SharedError> {
    Ok(reactor.within(config.longest_wait(), connect_with(&config.client(false), NoTls)))
}

#[cfg(feature = "postgres-tls")]
fn connect(config: &SharedConfig, reactor: &Reactor) -> Result<Connected, SharedError> {
    match config.trusted() {
        None => Ok(reactor.within(config.longest_wait(), connect_with(&config.client(false), NoTls))),
        Some(authorities) => {
            let tls = super::tls::trusting(authorities)?;
            Ok(reactor.within(config.longest_wait(), connect_with(&config.client(true), tls)))
        }
    }
}

async fn connect_with<T>(config: &Config, tls: T) -> Result<Client, tokio_postgres::Error>
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

/// A runtime that works on the calling thread, only while somebody waits for something, and never waits for its end:
/// resolving a name may take as long as it likes.
#[derive(Debug)]
struct Reactor(Option<Runtime>);

impl Reactor {
    fn new() -> std::io::Result<Self> {
        Builder::new_current_thread().enable_io().enable_time().build().map(|runtime| Self(Some(runtime)))
    }

    fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let runtime = self.0.as_ref()?;
        runtime.block_on(async { tokio::time::timeout(limit, work).await.ok() })
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
