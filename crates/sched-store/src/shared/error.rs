//! What can go wrong with a store that is shared: [`SharedError`].

use std::time::Duration;

use sched_core::store::StoreError;
use tokio_postgres::error::SqlState;

/// Why the shared store did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedError {
    /// A setting makes no sense.
    #[error("{what}: {problem}")]
    Setting {
        /// Which one.
        what: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The server cannot be reached, or the connection was cut. What was under way may have happened or not.
    #[error("PostgreSQL at {server} is not reachable: {error}")]
    Unreachable {
        /// Its address.
        server: String,
        /// What the connection said.
        error: String,
    },
    /// The server did not answer in time. What was under way may have happened or not.
    #[error("PostgreSQL at {server} did not answer within {limit:?}")]
    TimedOut {
        /// Its address.
        server: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The server refused something.
    #[error("PostgreSQL at {server} refused: {error}")]
    Refused {
        /// Its address.
        server: String,
        /// What it said.
        error: String,
    },
    /// Another scheduler may have taken over: this one's lease has expired, or a share has another owner. Nothing was
    /// written.
    #[error("scheduler {scheduler} has lost its lease, and others may have taken over: nothing was written")]
    Lost {
        /// Which incarnation.
        scheduler: i64,
    },
    /// The tables are of a version that this library does not understand.
    #[error(
        "the tables in schema {schema} have version {found}, which is read from version {oldest_reader} on; this library \
         has version {ours}: {remedy}"
    )]
    Version {
        /// The schema.
        schema: String,
        /// The version of the tables.
        found: i32,
        /// The oldest version that may work with them.
        oldest_reader: i32,
        /// The version of this library.
        ours: i32,
        /// What helps.
        remedy: &'static str,
    },
    /// The fleet was set up with another value.
    #[error(
        "{what} is {found} in this fleet, not {asked}: it is fixed by whoever comes first; ask for {found}"
    )]
    Different {
        /// Which setting.
        what: &'static str,
        /// The fleet's.
        found: String,
        /// What was asked for.
        asked: String,
    },
    /// A row is damaged.
    #[error("{what} cannot be read: {problem}")]
    Damaged {
        /// Which one.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl SharedError {
    /// Whether trying again later may help: the server is away, busy, or restarts.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. })
    }

    /// As a store says it.
    pub(super) fn into_store(self, place: &str) -> StoreError {
        let place = place.to_owned();
        let error = self.to_string();
        match self {
            Self::Lost { .. } => StoreError::Lost { place, reason: error },
            Self::Version { found, ours, .. } => {
                StoreError::Newer { place, found: found.unsigned_abs(), known: ours.unsigned_abs() }
            }
            Self::Damaged { what, problem } => StoreError::Corrupt { place, at: what, problem },
            _ => StoreError::Io { place, what: "reached", error },
        }
    }

    /// What the client library says, in our words. `scheduler` is who asked.
    pub(super) fn from_client(server: &str, scheduler: i64, error: &tokio_postgres::Error) -> Self {
        let server = server.to_owned();
        let Some(said) = error.as_db_error() else {
            return Self::Unreachable { server, error: chain(error) };
        };
        let passing = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::DATABASE_DROPPED,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::QUERY_CANCELED,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::DISK_FULL,
            // A standby that is not promoted yet, where a name leads to whoever is primary.
            SqlState::READ_ONLY_SQL_TRANSACTION,
        ];
        let error = said.message().to_owned();
        match said.code() {
            // How the fence of a transaction says no; see `fence`.
            code if *code == SqlState::DIVISION_BY_ZERO => Self::Lost { scheduler },
            code if passing.contains(code) => Self::Unreachable { server, error },
            _ => Self::Refused { server, error },
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
