//! What servers and tools say, as errors that name a remedy.

use tokio_postgres::error::SqlState;

use super::PostgresServer;
use crate::DriverError;
use crate::command::CommandError;

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// Why a connection or a question failed.
pub(super) fn of_connection(server: &PostgresServer, error: &tokio_postgres::Error) -> DriverError {
    let address = server.address();
    let Some(said) = error.as_db_error() else {
        let error = chain(error);
        return match error.contains("password") || error.contains("authentication") {
            true => DriverError::Refused { server: address, error, remedy: password_remedy(server) },
            false => DriverError::Unreachable { server: address, error },
        };
    };
    let error = said.message().to_owned();
    let code = said.code();
    if *code == SqlState::INVALID_PASSWORD {
        DriverError::Refused { server: address, error, remedy: password_remedy(server) }
    } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        DriverError::Refused { server: address, error, remedy: entry_remedy(server, "all") }
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        let remedy = format!("grant {} what is missing", quoted(&server.user));
        DriverError::Refused { server: address, error, remedy }
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        let what = format!("database {:?} of {address}", server.database);
        DriverError::Setting { what, problem: format!("{error}; name one that exists") }
    } else if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE {
        DriverError::TimedOut { what: format!("a question to {address}"), limit: server.statement_timeout }
    } else if *code == SqlState::CANNOT_CONNECT_NOW
        || *code == SqlState::TOO_MANY_CONNECTIONS
        || *code == SqlState::CONFIGURATION_LIMIT_EXCEEDED
    {
        DriverError::NotReady { server: address, problem: error }
    } else if code.code().starts_with("57P") || code.code().starts_with("08") {
        DriverError::Unreachable { server: address, error }
    } else {
        DriverError::Answer { server: address, problem: format!("{error} ({})", code.code()) }
    }
}

/// Why a tool failed, where its words are known; anything else stays as it is.
pub(super) fn of_tool(server: &PostgresServer, error: DriverError) -> DriverError {
    let DriverError::Command(CommandError::Failed { said, .. }) = &error else { return error };
    let address = server.address();
    let has = |any: &[&str]| any.iter().any(|words| said.contains(words));
    let (problem, text) = (said.clone(), said.clone());
    let refused = |remedy| DriverError::Refused { server: address.clone(), error: text, remedy };
    if has(&["password authentication failed", "no password supplied"]) {
        refused(password_remedy(server))
    } else if has(&["no pg_hba.conf entry", "pg_hba.conf rejects"]) {
        let database = if said.contains("replication connection") { "replication" } else { "all" };
        refused(entry_remedy(server, database))
    } else if has(&["replication role", "to start WAL sender", "REPLICATION attribute"]) {
        refused(replication_remedy(server))
    } else if has(&["permission denied"]) {
        refused(format!("run: GRANT pg_read_all_data TO {}", quoted(&server.user)))
    } else if has(&["has already been removed"]) {
        let problem = format!("{problem}; raise max_slot_wal_keep_size or wal_keep_size");
        DriverError::NotReady { server: address, problem }
    } else if has(&["conflict with recovery"]) {
        let problem = format!(
            "{problem}; raise max_standby_streaming_delay or set hot_standby_feedback on the standby"
        );
        DriverError::NotReady { server: address, problem }
    } else if has(&["exceeds max_wal_senders", "too many clients", "slots are reserved", "starting up"]) {
        DriverError::NotReady { server: address, problem }
    } else if has(&[
        "connection to server",
        "server closed the connection",
        "could not translate host",
        "shutting down",
        "terminating connection",
    ]) {
        DriverError::Unreachable { server: address, error: problem }
    } else {
        error
    }
}

/// What a role needs for base backups.
pub(super) fn replication_remedy(server: &PostgresServer) -> String {
    format!("run: ALTER ROLE {} REPLICATION", quoted(&server.user))
}

fn password_remedy(server: &PostgresServer) -> String {
    format!("give the right password of role {}", quoted(&server.user))
}

fn entry_remedy(server: &PostgresServer, database: &str) -> String {
    let kind = match (&server.tls, server.host.starts_with('/')) {
        (_, true) => "local",
        (super::Tls::Off, _) => "host",
        _ => "hostssl",
    };
    let from = if kind == "local" { "" } else { " ADDRESS-OF-THIS-HOST" };
    let user = quoted(&server.user);
    format!("add to pg_hba.conf and reload: {kind} {database} {user}{from} scram-sha-256")
}

/// A name as SQL and `pg_hba.conf` take it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn said(said: &str) -> String {
        let status = ExitStatus::from_raw(256);
        let error = CommandError::Failed { tool: "pg_dump".into(), status, said: said.into() };
        of_tool(&PostgresServer::new("db", "me"), error.into()).to_string()
    }

    #[test]
    fn known_words_of_tools_come_with_a_remedy() {
        let entry = "FATAL:  no pg_hba.conf entry for replication connection from host \"10.0.0.1\"";
        assert!(said(entry).contains("host replication \"me\" ADDRESS-OF-THIS-HOST scram-sha-256"));
        assert!(said("must be superuser or replication role").contains("ALTER ROLE \"me\" REPLICATION"));
        assert!(said("permission denied for table t").contains("GRANT pg_read_all_data TO \"me\""));
        assert!(
            said("connection to server at \"x\" failed: Connection refused").contains("cannot be reached")
        );
        assert!(said("canceling statement due to conflict with recovery").contains("max_standby_streaming"));
        assert!(said("something else").starts_with("pg_dump failed"));
    }
}
