//! How a node is reached: [`CassandraNode`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// A node of Cassandra: how it is reached, and where its files are.
///
/// It is asked over CQL what it is and how busy it is, and told over JMX, through `nodetool`, to take and clear
/// snapshots. The files of a snapshot are read where they are: the scheduler runs on the node's host, or has its data
/// directories mounted.
///
/// ```
/// use sched_drivers::cassandra::CassandraNode;
/// use sched_drivers::secret::SecretString;
///
/// let node = CassandraNode::new("orders-1", "10.0.0.1")
///     .login("backup", SecretString::from("geheim"))
///     .jmx("127.0.0.1", 7199);
/// assert!(!format!("{node:?}").contains("geheim"));
/// ```
#[derive(Clone, Debug)]
pub struct CassandraNode {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: Option<(String, SecretString)>,
    pub(super) jmx_host: String,
    pub(super) jmx_port: u16,
    pub(super) jmx_user: Option<(String, SecretString)>,
    pub(super) nodetool: Vec<OsString>,
    pub(super) data_directories: Vec<PathBuf>,
    pub(super) timeout: Duration,
    #[cfg(feature = "cassandra-tls")]
    pub(super) tls: Option<crate::tls::Tls>,
}

impl CassandraNode {
    /// A node that is called `name` in backups, and answers CQL on port 9042 of `host`.
    pub fn new(name: impl Into<String>, host: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            host: host.into(),
            port: 9042,
            user: None,
            jmx_host: "127.0.0.1".into(),
            jmx_port: 7199,
            jmx_user: None,
            nodetool: vec!["nodetool".into()],
            data_directories: Vec::new(),
            timeout: Duration::from_secs(10),
            #[cfg(feature = "cassandra-tls")]
            tls: None,
        }
    }

    /// Sets the port of CQL. Default 9042.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets who asks over CQL. Default nobody: the node lets everybody in.
    #[must_use]
    pub fn login(mut self, user: impl Into<String>, password: SecretString) -> Self {
        self.user = Some((user.into(), password));
        self
    }

    /// Sets where `nodetool` finds the node. Default port 7199 of 127.0.0.1, where Cassandra listens unless told
    /// otherwise.
    #[must_use]
    pub fn jmx(mut self, host: impl Into<String>, port: u16) -> Self {
        self.jmx_host = host.into();
        self.jmx_port = port;
        self
    }

    /// Sets who `nodetool` says it is. Its password goes through a file that nobody else can read. `nodetool` takes neither
    /// with blanks or line ends, so these are refused. Default nobody.
    #[must_use]
    pub fn jmx_login(mut self, user: impl Into<String>, password: SecretString) -> Self {
        self.jmx_user = Some((user.into(), password));
        self
    }

    /// Sets the program and the arguments before `nodetool`'s own, such as its path, or `java` with a class path and
    /// `org.apache.cassandra.tools.NodeTool`. Default `nodetool` in `PATH`.
    #[must_use]
    pub fn nodetool<A: Into<OsString>>(mut self, words: impl IntoIterator<Item = A>) -> Self {
        self.nodetool = words.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a directory of its tables, as seen from here. Default: those that the node says it has.
    #[must_use]
    pub fn data_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.data_directories.push(directory.into());
        self
    }

    /// Sets how long an answer over CQL may take. Default 10 s, at least 100 ms.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(100));
        self
    }

    /// Speaks TLS with it over CQL, and trusts the certificates in this PEM text and no others. For JMX `nodetool` is told
    /// by arguments of its own, such as `--ssl`.
    ///
    /// # Errors
    /// When it holds no certificate.
    #[cfg(feature = "cassandra-tls")]
    pub fn tls(mut self, authority: &[u8]) -> Result<Self, crate::DriverError> {
        self.tls = Some(crate::tls::Tls::new(authority, None)?);
        Ok(self)
    }

    /// As [`tls`](Self::tls), and shows a certificate of its own with its key, both PEM text, as a node wants that
    /// `require_client_auth` is set for.
    ///
    /// # Errors
    /// When one of them holds nothing of the kind.
    #[cfg(feature = "cassandra-tls")]
    pub fn mutual_tls(
        mut self,
        authority: &[u8],
        certificate: &[u8],
        key: &SecretString,
    ) -> Result<Self, crate::DriverError> {
        self.tls = Some(crate::tls::Tls::new(authority, Some((certificate, key)))?);
        Ok(self)
    }

    /// What it is called in backups.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn cql_server(&self) -> String {
        format!("{} ({}:{})", self.name, self.host, self.port)
    }

    pub(super) fn jmx_server(&self) -> String {
        format!("{} (JMX {}:{})", self.name, self.jmx_host, self.jmx_port)
    }
}
