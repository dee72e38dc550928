//! The command line that the examples with a database share.

use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value, ValueExt};
use sched_drivers::secret::SecretString;

/// What was asked for.
pub struct Args {
    /// Which server is backed up.
    pub server: Server,
    /// Where the backup goes; a temporary directory without.
    pub into: Option<PathBuf>,
    /// The most that the backup may move. Default 50 MB/s.
    pub bytes_per_sec: u64,
}

/// Where the server is.
pub enum Server {
    /// One of the example's own, on loopback, with some data.
    Testbed,
    /// One that runs already, and how to log in.
    At(String, Account),
}

/// As whom one logs in.
#[derive(Default)]
pub struct Account {
    /// The user's name; where none is needed, none is given.
    pub user: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
}

impl Args {
    /// The server's address and how to log in; `None` for one of the example's own.
    pub fn address(&self) -> Option<(&str, &Account)> {
        match &self.server {
            Server::Testbed => None,
            Server::At(address, account) => Some((address, account)),
        }
    }
}

pub(crate) fn usage(name: &str, address: &str) -> String {
    format!(
        "usage: {name} --testbed | {address} [--user NAME] [--password-file FILE]\n\n\
         Makes one backup of a server through its driver, verifies it, and prints what was done and why.\n\n  \
         --testbed             starts a server of its own on loopback, from what is installed\n  \
         --user NAME           logs in as NAME\n  \
         --password-file FILE  with the password in FILE\n  \
         --into DIR            keeps the backup in DIR (default: it is removed)\n  \
         --rate BYTES          moves at most so many a second (default: 50000000)"
    )
}

pub(crate) fn parse() -> Result<Option<Args>, lexopt::Error> {
    read(lexopt::Parser::from_env())
}

fn read(mut parser: lexopt::Parser) -> Result<Option<Args>, lexopt::Error> {
    let (mut testbed, mut address, mut account) = (false, None, Account::default());
    let (mut into, mut bytes_per_sec) = (None, 50_000_000);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("testbed") => testbed = true,
            Long("user") => account.user = Some(parser.value()?.string()?),
            Long("password-file") => {
                let file = PathBuf::from(parser.value()?);
                let text =
                    std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                account.password = Some(SecretString::from(text.trim()));
            }
            Long("into") => into = Some(PathBuf::from(parser.value()?)),
            Long("rate") => bytes_per_sec = parser.value()?.parse()?,
            Value(value) if address.is_none() => address = Some(value.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let server = match (testbed, address) {
        (true, None) => Server::Testbed,
        (false, Some(address)) => Server::At(address, account),
        _ => return Err("name a server, or ask for one with --testbed".into()),
    };
    Ok(Some(Args { server, into, bytes_per_sec }))
}

/// Host and port of `HOST` or `HOST:PORT`.
///
/// # Errors
/// When the port is no number.
pub fn host_and_port(address: &str, usual: u16) -> Result<(&str, u16), crate::Failure> {
    match address.rsplit_once(':') {
        Some((host, port)) => {
            let port = port.parse().map_err(|_| format!("{port:?} is no port in {address:?}"))?;
            Ok((host, port))
        }
        None => Ok((address, usual)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(args: &[&str]) -> Result<Option<Args>, lexopt::Error> {
        read(lexopt::Parser::from_args(args))
    }

    #[test]
    fn a_server_is_named_or_asked_for_and_not_both() {
        assert!(of(&["--testbed"]).unwrap().unwrap().address().is_none());
        let args = of(&["db.example.com:5433", "--user", "backup", "--rate", "7"]).unwrap().unwrap();
        let (address, account) = args.address().unwrap();
        assert_eq!(
            (address, account.user.as_deref(), args.bytes_per_sec),
            ("db.example.com:5433", Some("backup"), 7)
        );
        assert!(of(&["--help"]).unwrap().is_none());
        for wrong in [&[][..], &["--testbed", "db"], &["a", "b"], &["a", "--rate", "fast"], &["a", "--fast"]]
        {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_address_has_the_usual_port_or_its_own() {
        assert_eq!(host_and_port("db", 5432).unwrap(), ("db", 5432));
        assert_eq!(host_and_port("db:1", 5432).unwrap(), ("db", 1));
        assert!(host_and_port("db:x", 5432).is_err());
    }
}
