//! Where a server is and how it is reached: [`MySqlServer`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::mysql::prelude::Queryable;
use ::mysql::{Conn, OptsBuilder};
use secrecy::{ExposeSecret, SecretString};

use super::fault;
use super::option_file::OptionFile;
use super::version::{Product, ServerVersion};
use crate::DriverError;
use crate::command::CommandError;
use crate::secret::SecretFile;

/// A server, and the account that makes its backups. Neither errors nor `Debug` show the password.
///
/// ```
/// use sched_drivers::mysql::MySqlServer;
/// use sched_drivers::secret::SecretString;
///
/// let server = MySqlServer::tcp("10.0.0.7", 3306).user("backup").password(SecretString::from("geheim"));
/// assert_eq!(server.address(), "10.0.0.7:3306");
/// assert_eq!(MySqlServer::tcp("::1", 3306).address(), "[::1]:3306");
/// assert!(!format!("{server:?}").contains("geheim"));
/// ```
#[derive(Clone, Debug)]
pub struct MySqlServer {
    place: Place,
    user: String,
    password: SecretString,
    timeout: Duration,
    #[cfg(feature = "mysql-tls")]
    tls: Option<MySqlTls>,
}

#[derive(Clone, Debug)]
enum Place {
    Tcp { host: String, port: u16 },
    Socket(PathBuf),
}

/// How a server is known and its connections are encrypted: its certificate must be for the host that is connected to.
#[cfg(feature = "mysql-tls")]
#[derive(Clone, Debug)]
pub struct MySqlTls {
    ca: PathBuf,
    identity: Option<(PathBuf, PathBuf)>,
}

#[cfg(feature = "mysql-tls")]
impl MySqlTls {
    /// Trusts what the certificates in the PEM file `ca` have signed. The tools trust nothing else; this crate's own
    /// connections also trust the public authorities that their client library brings along (those of Mozilla), which it cannot
    /// be told to leave out. So whoever gets a certificate of one of them *for the server's name* can answer in its place there:
    /// where that counts, reach the server by a name that no public authority signs for, such as `db.internal`, or by a private
    /// address.
    pub fn new(ca: impl Into<PathBuf>) -> Self {
        Self { ca: ca.into(), identity: None }
    }

    /// Shows the server a certificate: the PEM files of its chain and of its key.
    #[must_use]
    pub fn identity(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some((chain.into(), key.into()));
        self
    }
}

/// What a server says of itself.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) version: ServerVersion,
    /// As it says it.
    pub(super) version_text: String,
    pub(super) hostname: String,
    pub(super) data_directory: PathBuf,
    pub(super) binary_log: bool,
}

impl MySqlServer {
    /// A server at a TCP port; the port is usually 3306.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::at(Place::Tcp { host: host.into(), port })
    }

    /// A server of this machine, through its socket.
    pub fn socket(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Socket(path.into()))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            user: "backup".into(),
            password: SecretString::from(""),
            timeout: Duration::from_secs(10),
            #[cfg(feature = "mysql-tls")]
            tls: None,
        }
    }

    /// Sets the account. Default `backup`.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// Sets its password. Default: empty.
    #[must_use]
    pub fn password(mut self, password: SecretString) -> Self {
        self.password = password;
        self
    }

    /// Sets how long connecting, a statement, and each wait for the server may take; tools have their own. Default
    /// 10 s, at least 100 ms.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(100));
        self
    }

    /// Encrypts the connections, the tools' too. Default: not encrypted.
    #[cfg(feature = "mysql-tls")]
    #[must_use]
    pub fn tls(mut self, tls: MySqlTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Its address, for people.
    pub fn address(&self) -> String {
        match &self.place {
            Place::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp { host, port } => format!("{host}:{port}"),
            Place::Socket(path) => path.display().to_string(),
        }
    }

    /// Connects. Every wait has a time-out.
    pub(super) fn connect(&self) -> Result<Conn, DriverError> {
        let timeout = Some(self.timeout);
        let builder = OptsBuilder::new()
            .user(Some(self.user.clone()))
            .pass(Some(self.password.expose_secret().to_owned()))
            // Where it was told to go, and nowhere else.
            .prefer_socket(false)
            .tcp_connect_timeout(timeout)
            .read_timeout(timeout)
            .write_timeout(timeout)
            .stmt_cache_size(0);
        let builder = match &self.place {
            Place::Tcp { host, port } => builder.ip_or_hostname(Some(host.clone())).tcp_port(*port),
            Place::Socket(path) => builder.socket(Some(utf8(path)?)),
        };
        #[cfg(feature = "mysql-tls")]
        let builder = builder.ssl_opts(self.tls.as_ref().map(|tls| {
            let identity = tls.identity.clone();
            let identity = identity.map(|(chain, key)| ::mysql::ClientIdentity::new(chain, key));
            ::mysql::SslOpts::default()
                .with_root_cert_path(Some(tls.ca.clone()))
                .with_client_identity(identity)
        }));
        Conn::new(builder).map_err(|error| fault::of_client(&self.address(), error))
    }

    /// Asks the server what it is.
    pub(super) fn identify(&self, connection: &mut Conn) -> Result<Identity, DriverError> {
        type Row = (String, String, String, String, i64);
        let question = "SELECT @@version, @@version_comment, @@hostname, @@datadir, @@log_bin";
        let row: Option<Row> =
            connection.query_first(question).map_err(|error| fault::of_client(&self.address(), error))?;
        let unexpected = |problem: String| DriverError::Answer { server: self.address(), problem };
        let (version_text, comment, hostname, data_directory, binary_log) =
            row.ok_or_else(|| unexpected("no version".into()))?;
        let version = ServerVersion::of_server(&version_text, &comment)
            .ok_or_else(|| unexpected(format!("the version {version_text:?}")))?;
        let (data_directory, binary_log) = (data_directory.into(), binary_log != 0);
        Ok(Identity { version, version_text, hostname, data_directory, binary_log })
    }

    /// What was wrong when a tool failed. Some end without a word when the server is gone.
    pub(super) fn blame(&self, error: DriverError) -> DriverError {
        match fault::of_tool(&self.address(), error) {
            failed @ DriverError::Command(CommandError::Failed { .. }) => match self.connect() {
                Err(gone @ DriverError::Unreachable { .. }) => gone,
                _ => failed,
            },
            error => error,
        }
    }

    /// What tools need to connect, in a file that only this user reads. It is there for as long as it is kept.
    pub(super) fn option_file(&self, product: Product) -> Result<SecretFile, DriverError> {
        let file =
            OptionFile::client().set("user", &self.user)?.set("password", self.password.expose_secret())?;
        let file = match &self.place {
            // `localhost` would mean the socket.
            Place::Tcp { host, port } => {
                file.set("host", host)?.set("port", &port.to_string())?.set("protocol", "tcp")?
            }
            Place::Socket(path) => file.set("socket", &utf8(path)?)?,
        };
        let file = self.tls_options(file, product)?;
        SecretFile::new(file.text()).map_err(|source| DriverError::Setting {
            what: "the file that holds the password".into(),
            problem: format!("it cannot be written: {source}"),
        })
    }

    #[cfg(feature = "mysql-tls")]
    fn tls_options(&self, file: OptionFile, product: Product) -> Result<OptionFile, DriverError> {
        let Some(tls) = &self.tls else { return Ok(file) };
        let mut file = file.set("ssl-ca", &utf8(&tls.ca)?)?;
        file = match product {
            Product::MariaDb => file.set("ssl", "1")?.set("ssl-verify-server-cert", "1")?,
            Product::MySql => file.set("ssl-mode", "VERIFY_IDENTITY")?,
        };
        match &tls.identity {
            Some((chain, key)) => file.set("ssl-cert", &utf8(chain)?)?.set("ssl-key", &utf8(key)?),
            None => Ok(file),
        }
    }

    #[cfg(not(feature = "mysql-tls"))]
    fn tls_options(&self, file: OptionFile, _product: Product) -> Result<OptionFile, DriverError> {
        Ok(file)
    }
}

fn utf8(path: &Path) -> Result<String, DriverError> {
    path.to_str().map(str::to_owned).ok_or_else(|| DriverError::Setting {
        what: path.display().to_string(),
        problem: "the path is no UTF-8; right is one that is".into(),
    })
}
