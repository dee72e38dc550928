//! What went wrong, in the words of [`DriverError`]; pure.

use crate::DriverError;
use crate::command::CommandError;

/// Of an error of a connection.
pub(super) fn of_client(server: &str, error: ::mysql::Error) -> DriverError {
    let server = server.to_owned();
    match error {
        ::mysql::Error::MySqlError(error) => {
            let text = error.message;
            match error.code {
                // Wrong user or password, also without one, or by a method that the server does not take.
                1045 | 1251 | 1698 => DriverError::Refused { server, error: text, remedy: LOGIN.into() },
                1130 => DriverError::Refused {
                    server,
                    error: text,
                    remedy: "create the account for this host".into(),
                },
                1044 | 1142 | 1143 | 1227 | 1370 => {
                    let remedy = grant_for(needed(&text));
                    DriverError::Refused { server, error: text, remedy }
                }
                // Too many connections, resources used up, shutting down, host blocked after errors.
                1040 | 1053 | 1129 | 1203 | 1226 => DriverError::NotReady { server, problem: text },
                code => DriverError::Answer { server, problem: format!("error {code}: {text}") },
            }
        }
        ::mysql::Error::FromRowError(_) | ::mysql::Error::FromValueError(_) => {
            DriverError::Answer { server, problem: "a value of another type".into() }
        }
        error => DriverError::Unreachable { server, error: error.to_string() },
    }
}

const LOGIN: &str = "check the user, its password, and that the account may come from this host";
const LOST: [&str; 5] = [
    "Can't connect to",
    "Failed to connect to",
    "Lost connection to",
    "erver has gone away",
    "Connection refused",
];
const WRAPPED: [&str; 4] = [
    "log block numbers mismatch",
    "wrapped around",
    "Was only able to copy log",
    "try increasing innodb_log",
];

/// Of an error of a tool: what it said tells more than that it failed.
pub(super) fn of_tool(server: &str, error: DriverError) -> DriverError {
    let DriverError::Command(CommandError::Failed { tool, status, said }) = error else { return error };
    let (server, says) = (server.to_owned(), |mark: &str| said.lines().find(|line| line.contains(mark)));
    let missing: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_once("missing required privilege ")?.1.split(" on ").next())
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        let error = format!("the account lacks {missing}");
        return DriverError::Refused { server, error, remedy: grant_for(Some(&missing)) };
    }
    if let Some(line) = says("Access denied; you need") {
        return DriverError::Refused { server, error: line.into(), remedy: grant_for(needed(line)) };
    }
    if let Some(line) = says("Access denied for user") {
        return DriverError::Refused { server, error: line.into(), remedy: LOGIN.into() };
    }
    if let Some(line) = WRAPPED.iter().find_map(|mark| says(mark)) {
        let problem = format!(
            "{line}: the redo log was overwritten before it was copied; raise the floor of the phase `copy` or \
             innodb_log_file_size"
        );
        return DriverError::NotReady { server, problem };
    }
    if let Some(line) = LOST.iter().find_map(|mark| says(mark)) {
        return DriverError::Unreachable { server, error: line.into() };
    }
    let said = said.lines().filter(|line| !line.contains("IDENTIFIED ")).collect::<Vec<_>>().join("\n");
    CommandError::Failed { tool, status, said }.into()
}

/// The privilege that a refusal names: the last of those of which one would do is the narrowest.
fn needed(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("the ")?;
    after.split_once(" privilege").map(|(names, _)| names.rsplit(", ").next().unwrap_or(names))
}

/// What an administrator is to do.
pub(super) fn grant_for(privileges: Option<&str>) -> String {
    let privileges = privileges.unwrap_or("the privilege");
    format!("GRANT {privileges} ON *.* to the account")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn said(said: &str) -> DriverError {
        let (tool, status) = ("mariadb-backup".into(), ExitStatus::from_raw(256));
        of_tool("db:3306", CommandError::Failed { tool, status, said: said.into() }.into())
    }

    #[test]
    fn a_refusal_names_the_grant_and_no_hash() {
        let error = said(
            "[00] x Error: missing required privilege RELOAD on *.*\n[00] x Error: missing required privilege PROCESS on \
             *.*\n[00] x   1.GRANT USAGE ON *.* TO `w`@`%` IDENTIFIED BY PASSWORD '*19A4904A'",
        );
        assert_eq!(
            error.to_string(),
            "db:3306 refuses: the account lacks RELOAD, PROCESS; GRANT RELOAD, PROCESS ON *.* to the account"
        );
        assert!(error.is_permanent());
        let error = said(
            "Error: 'Access denied; you need (at least one of) the SUPER, SLAVE MONITOR privilege(s) for",
        );
        assert!(error.to_string().ends_with("GRANT SLAVE MONITOR ON *.* to the account"), "{error}");
        let error = said("GRANT USAGE ON *.* TO `w`@`%` IDENTIFIED BY PASSWORD '*19A4904A'\nodd");
        assert!(!error.to_string().contains("19A4") && error.to_string().ends_with(": odd"), "{error}");
    }

    #[test]
    fn a_lost_server_and_a_lost_log_are_told_apart() {
        assert!(matches!(
            said("mysqldump: Got error: 2013: \"Lost connection to server"),
            DriverError::Unreachable { .. }
        ));
        let error = said("Was only able to copy log from 1 to 2, not 3; try increasing innodb_log_file_size");
        assert!(
            matches!(&error, DriverError::NotReady { .. }) && error.to_string().contains("floor"),
            "{error}"
        );
        assert!(!error.is_permanent());
    }
}
