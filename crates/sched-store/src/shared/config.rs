//! Where the shared store is, and as whom a scheduler joins: [`SharedConfig`].

use std::time::Duration;

use sched_core::store::SharedLimit;
use sched_core::{ResourceName, Scope};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::SharedError;

/// The application name of its connections, which `pg_stat_activity` shows.
const APPLICATION: &str = "backup-sched";
/// What the server is given to say itself that a statement took too long.
const SERVER_SAYS_FIRST: Duration = Duration::from_secs(1);

/// Where the shared store is, and as whom a scheduler joins the fleet. All settings but the address have defaults.
#[derive(Clone, Debug)]
#[must_use = "nothing is connected before `SharedStore::connect`"]
pub struct SharedConfig {
    client: Config,
    #[cfg(feature = "postgres-tls")]
    trusted: Option<std::path::PathBuf>,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) weight: u32,
    pub(super) shares: u32,
    pub(super) lease: Duration,
    pub(super) grace: Duration,
    pub(super) beat: Duration,
    pub(super) retention: Duration,
    pub(super) limits: Vec<SharedLimit>,
    statement_timeout: Duration,
}

impl SharedConfig {
    /// A store at an address such as `postgres://backup@db.example.org/fleet` or
    /// `host=a,b user=backup dbname=fleet target_session_attrs=read-write`. With several hosts, whoever is primary is
    /// found again after a fail-over. The connection must keep its session: a pooler that changes the server between
    /// transactions will not do.
    ///
    /// An address with `sslmode=require` needs [`tls`](Self::tls) (feature `postgres-tls`) beside it, which says whom to trust;
    /// without, [`SharedStore::connect`](super::SharedStore::connect) refuses it rather than connect in clear. With `tls`,
    /// connections are encrypted whatever the address says.
    ///
    /// # Errors
    /// When the address cannot be read.
    pub fn new(address: &str) -> Result<Self, SharedError> {
        // What the library says may repeat a part of the address, which may hold a password.
        let client = address.parse::<Config>().map_err(|_| SharedError::Setting {
            what: "the address of the shared store".into(),
            problem:
                "it cannot be read; right is `postgres://user@host/database` or `host=… user=… dbname=…`"
                    .into(),
        })?;
        Ok(Self {
            client,
            #[cfg(feature = "postgres-tls")]
            trusted: None,
            schema: "backup_sched".into(),
            name: String::new(),
            weight: 1,
            shares: 64,
            lease: Duration::from_secs(15),
            grace: Duration::from_secs(1),
            beat: Duration::from_secs(1),
            retention: Duration::from_secs(3600),
            limits: Vec::new(),
            statement_timeout: Duration::from_secs(5),
        })
    }

    /// The password, where the address has none.
    pub fn password(mut self, password: SecretString) -> Self {
        self.client.password(password.expose_secret());
        self
    }

    /// The schema that holds the tables: lower-case letters, digits and `_`. It is made if it is not there. Default
    /// `backup_sched`.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// What the fleet's status calls this scheduler, for people. Default empty.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How much of the fleet it takes on beside others, at least 1. Default 1.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight.max(1);
        self
    }

    /// Into how many shares the fleet is divided, 1 to 4,096: whoever joins first fixes it for good. Some ten for each
    /// scheduler that will ever be there level well. Default 64.
    pub fn shares(mut self, shares: u32) -> Self {
        self.shares = shares;
        self
    }

    /// How long a scheduler that cannot be heard keeps what it has, 3 s to 10 min. Others take over the lease *plus* the
    /// [`grace`](Self::grace) after its last sign of life, so 16 s by default, and never sooner. It stops itself when two
    /// thirds of the lease have passed; its tools are killed when fourteen fifteenths have, even if its process stands
    /// still. The shorter, the sooner others take over, and the shorter an outage of the store that is slept through.
    /// Default 15 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long others wait once this one's [`lease`](Self::lease) has run out, up to 1 min: for what is late. That is what
    /// watches its tools, on a machine that is very busy, and what was killed and is not gone yet. Default 1 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How often it gives a sign of life and looks for requests: 50 ms to a sixth of the lease. Default 1 s.
    pub fn beat(mut self, beat: Duration) -> Self {
        self.beat = beat;
        self
    }

    /// How much there is of a resource for the schedulers together, at the fleet or a link: each has a part, which is divided
    /// anew every few seconds by what they need. What the scheduler is told of that resource and place elsewhere does not
    /// count. All schedulers should say the same; what is said last counts. Default: none, and each scheduler has as much as
    /// it is told.
    pub fn limit(mut self, place: Scope, resource: impl Into<ResourceName>, total: u64) -> Self {
        self.limits.push(SharedLimit::new(place, Some(resource.into()), total));
        self
    }

    /// The bytes a second that all backups of all schedulers together may move at a place, divided like a
    /// [`limit`](Self::limit). One that has no part yet may move a byte a second.
    pub fn rate_limit(mut self, place: Scope, bytes_per_sec: u64) -> Self {
        self.limits.push(SharedLimit::new(place, None, bytes_per_sec));
        self
    }

    /// How long ended jobs and answered requests can be asked for. Default 1 h.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// How long the server may take for one answer before the connection is given up, at least 100 ms. Default 5 s.
    pub fn statement_timeout(mut self, limit: Duration) -> Self {
        self.statement_timeout = limit.max(Duration::from_millis(100));
        self
    }

    /// Connects by TLS alone, to a server whose certificate was signed by one of the authorities in a file (PEM).
    #[cfg(feature = "postgres-tls")]
    pub fn tls(mut self, authorities: impl Into<std::path::PathBuf>) -> Self {
        self.trusted = Some(authorities.into());
        self
    }

    /// Whether it was said whom to trust.
    #[cfg(feature = "postgres-tls")]
    fn encrypted(&self) -> bool {
        self.trusted.is_some()
    }

    #[cfg(not(feature = "postgres-tls"))]
    fn encrypted(&self) -> bool {
        false
    }

    pub(super) fn check(&self) -> Result<(), SharedError> {
        let wrong = |what: &str, problem: &str| {
            Err(SharedError::Setting { what: what.into(), problem: problem.into() })
        };
        if self.client.get_ssl_mode() == SslMode::Require && !self.encrypted() {
            return wrong(
                "`sslmode=require` in the address of the shared store",
                "it does not say whom to trust; right is `SharedConfig::tls` (feature postgres-tls) with the \
                 certificates of the server's authority",
            );
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if self.schema.is_empty() || self.schema.len() > 60 || !self.schema.chars().all(plain) {
            return wrong(
                "the schema of the shared store",
                "right are 1 to 60 lower-case letters, digits and `_`",
            );
        }
        if !(1..=4096).contains(&self.shares) {
            return wrong("the number of shares", "right is 1 to 4,096");
        }
        let (lease, grace) = (self.lease, self.grace);
        if lease < Duration::from_secs(3) || lease > Duration::from_secs(600) {
            return wrong("the lease", "right is 3 s to 10 min");
        }
        if grace > Duration::from_secs(60) {
            return wrong("the grace", "right is at most 1 min");
        }
        if self.beat < Duration::from_millis(50) || self.beat > lease / 6 {
            return wrong("the beat", "right is 50 ms to a sixth of the lease");
        }
        Ok(())
    }

    /// The longest that anything is waited for.
    pub(super) fn longest_wait(&self) -> Duration {
        self.statement_timeout + SERVER_SAYS_FIRST
    }

    #[cfg(feature = "postgres-tls")]
    pub(super) fn trusted(&self) -> Option<&std::path::Path> {
        self.trusted.as_deref()
    }

    /// Where the store is, for people.
    pub(super) fn place(&self) -> String {
        format!("schema {} at {}", self.schema, self.server())
    }

    /// The server's address, for people.
    pub(super) fn server(&self) -> String {
        let host = |host: &Host| match host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        };
        let hosts: Vec<_> = self.client.get_hosts().iter().map(host).collect();
        let port = self.client.get_ports().first().copied().unwrap_or(5432);
        format!("{}:{port}", hosts.join(","))
    }

    /// What the client library is told.
    pub(super) fn client(&self, encrypted: bool) -> Config {
        let mut client = self.client.clone();
        let millis = self.statement_timeout.as_millis();
        client.application_name(APPLICATION).connect_timeout(self.statement_timeout);
        // Each statement sees what was committed before it, whatever the role or the database is set to: what is looked at
        // after a lock was waited for must not be older than the lock.
        client.options(format!(
            "-c search_path={} -c statement_timeout={millis} -c lock_timeout={millis} \
             -c idle_in_transaction_session_timeout={millis} -c timezone=UTC \
             -c default_transaction_isolation=read\\ committed",
            self.schema
        ));
        client.keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(self.longest_wait());
        client.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_encrypted_is_not_sent_in_clear() {
        for address in
            ["postgres://backup@db.example.org/fleet?sslmode=require", "host=db user=backup sslmode=require"]
        {
            let error = SharedConfig::new(address).unwrap().check().unwrap_err();
            assert!(matches!(&error, SharedError::Setting { .. }), "{error:?}");
            assert!(error.to_string().contains("`SharedConfig::tls`"), "{error}");
            #[cfg(feature = "postgres-tls")]
            SharedConfig::new(address).unwrap().tls("/etc/ssl/db-ca.pem").check().unwrap();
        }
        for mode in ["", "?sslmode=disable", "?sslmode=prefer"] {
            SharedConfig::new(&format!("postgres://backup@db/fleet{mode}")).unwrap().check().unwrap();
        }
        // What this client cannot promise is not taken for less.
        assert!(SharedConfig::new("postgres://backup@db/fleet?sslmode=verify-full").is_err());
    }
}
