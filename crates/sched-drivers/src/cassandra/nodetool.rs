//! What a node is told through `nodetool`: [`Nodetool`].

use std::io::{self, Read};
use std::time::Duration;

use sched_core::RunContext;
use secrecy::{ExposeSecret, SecretString};

use super::CassandraNode;
use super::tag::Tag;
use crate::DriverError;
use crate::command::{CommandError, ExternalCommand};
use crate::secret::SecretFile;

/// The list of the snapshots of thousands of tables has some megabytes.
const MOST_BYTES: u64 = 64 << 20;
/// How long a list, or clearing, may take.
const SHORT: Duration = Duration::from_secs(120);

/// One node, and an attempt that works for it. Orders do not reach it: what a node was told it does, whether somebody
/// waits for it or not.
pub(super) struct Nodetool<'a> {
    node: &'a CassandraNode,
    ctx: RunContext,
}

impl<'a> Nodetool<'a> {
    pub(super) fn new(node: &'a CassandraNode, ctx: &RunContext) -> Self {
        Self { node, ctx: ctx.beyond_orders() }
    }

    /// Flushes and takes a snapshot.
    pub(super) fn take(
        &self,
        tag: &Tag,
        keyspaces: &[String],
        expires_after: Option<Duration>,
        timeout: Duration,
    ) -> Result<(), DriverError> {
        let mut args = vec!["snapshot".to_owned(), "-t".into(), tag.to_string()];
        if let Some(after) = expires_after {
            args.extend(["--ttl".into(), format!("{}s", after.as_secs().max(60))]);
        }
        args.push("--".into());
        args.extend(keyspaces.iter().cloned());
        self.run(&args, timeout).map(drop)
    }

    /// Clears a snapshot; one that is not there is fine.
    pub(super) fn clear(&self, tag: &Tag) -> Result<(), DriverError> {
        self.run(&["clearsnapshot".into(), "-t".into(), tag.to_string()], SHORT).map(drop)
    }

    /// The snapshots that were taken by backups.
    pub(super) fn tags(&self) -> Result<Vec<Tag>, DriverError> {
        let listed = self.run(&["listsnapshots".into()], SHORT)?;
        let mut tags: Vec<Tag> =
            listed.lines().filter_map(|line| Tag::parse(line.split_whitespace().next()?)).collect();
        tags.sort();
        tags.dedup();
        Ok(tags)
    }

    fn run(&self, args: &[String], timeout: Duration) -> Result<String, DriverError> {
        let mut words = self.node.nodetool.iter();
        let program = words.next().ok_or_else(|| DriverError::Setting {
            what: "CassandraNode::nodetool".into(),
            problem: "is empty; right is a program, such as `nodetool`".into(),
        })?;
        let mut command = ExternalCommand::new(program)
            .args(words)
            .args(["-h", &self.node.jmx_host, "-p", &self.node.jmx_port.to_string()])
            .remedy("install Cassandra's tools, or give their path with `CassandraNode::nodetool`")
            .run_timeout(timeout);
        // The script finds Java by it.
        if let Some(java) = std::env::var_os("JAVA_HOME") {
            command = command.env("JAVA_HOME", java);
        }
        let secret = self.secret()?;
        if let (Some((user, _)), Some(file)) = (&self.node.jmx_user, &secret) {
            command = command.args(["-u", user]).arg("-pwf").arg(file.path());
        }
        let mut told = Vec::new();
        let ran = command.args(args).run(&self.ctx, |stdout| {
            stdout.by_ref().take(MOST_BYTES).read_to_end(&mut told)?;
            io::copy(stdout, &mut io::sink())
        });
        let told = String::from_utf8_lossy(&told).into_owned();
        match ran {
            Ok(_) => Ok(told),
            Err(error) => Err(explain(&self.node.jmx_server(), error, &told)),
        }
    }

    fn secret(&self) -> Result<Option<SecretFile>, DriverError> {
        let Some((user, password)) = &self.node.jmx_user else { return Ok(None) };
        let line = password_line(user, password)?;
        let failed = |source| DriverError::Source { what: "a file for the password of JMX".into(), source };
        SecretFile::new(&line).map(Some).map_err(failed)
    }
}

/// `nodetool` reads a file of passwords word by word, whatever the line: what is after a blank or a line end in one of them
/// would be another user or password.
fn password_line(user: &str, password: &SecretString) -> Result<SecretString, DriverError> {
    for (which, word) in [("user", user), ("password", password.expose_secret())] {
        if word.is_empty() || word.contains(|c: char| c == ' ' || c.is_control()) {
            return Err(DriverError::Setting {
                what: format!("the {which} of `CassandraNode::jmx_login`"),
                problem: "right is one word, without blanks, line ends and other control characters".into(),
            });
        }
    }
    Ok(SecretString::from(format!("{user} {}\n", password.expose_secret())))
}

/// What `nodetool` says in words, as an error of its own. It complains on its standard output, and on its standard error
/// with the stack of calls that led there.
fn explain(server: &str, error: CommandError, told: &str) -> DriverError {
    let CommandError::Failed { tool, said, .. } = &error else { return error.into() };
    let said = format!("{told}\n{said}");
    let complaint = |of: &str| said.lines().map(str::trim).find(|line| line.contains(of)).map(str::to_owned);
    let server = server.to_owned();
    if let Some(error) = [
        "Invalid username or password",
        "Authentication failed",
        "Credentials required",
        "SecurityException",
        "Access denied",
    ]
    .into_iter()
    .find_map(complaint)
    {
        let remedy =
            "give the user of JMX and its password with `CassandraNode::jmx_login`; it needs `readwrite`";
        return DriverError::Refused { server, error, remedy: remedy.into() };
    }
    if let Some(error) =
        ["Failed to connect", "ConnectException", "NoSuchObjectException", "ServerCommunicatorAdmin"]
            .into_iter()
            .find_map(complaint)
    {
        return DriverError::Unreachable { server, error };
    }
    if said.contains("Unable to find java") || said.contains("java: not found") {
        let remedy = "install a Java that its Cassandra supports, or set JAVA_HOME".into();
        return CommandError::Missing { tool: format!("the java of {tool}"), remedy }.into();
    }
    if let Some(error) = complaint("Could not find or load main class") {
        let remedy = format!("{error}; give the right class path with `CassandraNode::nodetool`");
        return CommandError::Missing { tool: "NodeTool".into(), remedy }.into();
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn failed(said: &str) -> CommandError {
        CommandError::Failed { tool: "nodetool".into(), status: ExitStatus::from_raw(256), said: said.into() }
    }

    #[test]
    fn a_user_or_password_of_jmx_is_one_word_and_not_shown() {
        let line = |user: &str, password: &str| password_line(user, &SecretString::from(password));
        assert_eq!(line("backup", "ge#heim\\1").unwrap().expose_secret(), "backup ge#heim\\1\n");
        for (user, password) in [
            ("backup", "geheim\nroot x"),
            ("backup", "geheim\r"),
            ("backup", "geheim x"),
            ("back\nup", "geheim"),
            ("a\tb", "geheim"),
            ("", "geheim"),
        ] {
            let error = line(user, password).unwrap_err();
            assert!(error.is_permanent() && error.to_string().contains("jmx_login"), "{error}");
            assert!(!format!("{error:?}").contains("geheim"), "{error}");
        }
    }

    #[test]
    fn what_it_says_in_words_becomes_an_error_of_its_own() {
        let told =
            "nodetool: Failed to connect to '127.0.0.1:7199' - ConnectException: 'Connection refused'.";
        let error = explain("a", failed(""), told);
        assert!(matches!(&error, DriverError::Unreachable { error, .. } if error == told), "{error}");
        let told =
            "nodetool: Failed to connect to '127.0.0.1:7199' - SecurityException: 'Authentication failed!'.";
        assert!(matches!(explain("a", failed(""), told), DriverError::Refused { .. }));
        let said = "error: Invalid username or password\n-- StackTrace --\njavax.security.auth.login.FailedLoginException";
        assert!(matches!(explain("a", failed(said), ""), DriverError::Refused { .. }));
        let error = explain("a", failed("Unable to find java executable. Check JAVA_HOME"), "");
        assert!(error.is_permanent(), "{error}");
        let error = explain("a", failed("java.io.IOException: No space left on device"), "");
        assert!(
            matches!(&error, DriverError::Command(_)) && error.to_string().contains("No space"),
            "{error}"
        );
    }
}
