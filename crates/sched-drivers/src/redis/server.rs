//! How a Redis server is reached: [`RedisServer`].

use std::fmt;
use std::time::Duration;

#[cfg(feature = "redis-tls")]
use crate::DriverError;
use crate::secret::SecretString;

/// How a server is reached: address, login, time-out.
#[derive(Clone)]
pub struct RedisServer {
    pub(super) address: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) timeout: Duration,
    #[cfg(feature = "redis-tls")]
    pub(super) tls: Option<crate::tls::Tls>,
}

impl RedisServer {
    /// The server at `address`, such as `10.0.0.5:6379`, without login.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            user: None,
            password: None,
            timeout: Duration::from_secs(5),
            #[cfg(feature = "redis-tls")]
            tls: None,
        }
    }

    /// Sets the password (`requirepass`).
    #[must_use]
    pub fn password(mut self, password: SecretString) -> Self {
        self.password = Some(password);
        self
    }

    /// Sets user and password (access control lists, from Redis 6).
    #[must_use]
    pub fn login(mut self, user: impl Into<String>, password: SecretString) -> Self {
        self.user = Some(user.into());
        self.password(password)
    }

    /// Sets how long to wait for a connection and for an answer. Default 5 s, at least 100 ms.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(100));
        self
    }

    /// Speaks TLS with it, and trusts the certificates in this PEM text and no others.
    ///
    /// # Errors
    /// When it holds no certificate.
    #[cfg(feature = "redis-tls")]
    pub fn tls(mut self, authority: &[u8]) -> Result<Self, DriverError> {
        self.tls = Some(crate::tls::Tls::new(authority, None)?);
        Ok(self)
    }

    /// As [`tls`](Self::tls), and shows a certificate of its own with its key, both PEM text: what Redis wants by default
    /// (`tls-auth-clients`).
    ///
    /// # Errors
    /// When one of them holds nothing of the kind.
    #[cfg(feature = "redis-tls")]
    pub fn mutual_tls(
        mut self,
        authority: &[u8],
        certificate: &[u8],
        key: &SecretString,
    ) -> Result<Self, DriverError> {
        self.tls = Some(crate::tls::Tls::new(authority, Some((certificate, key)))?);
        Ok(self)
    }

    /// Another server, reached in the same way.
    pub(super) fn at(&self, address: String) -> Self {
        Self { address, ..self.clone() }
    }
}

impl fmt::Debug for RedisServer {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer")
            .field("address", &self.address)
            .field("user", &self.user)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        let server = RedisServer::new("x:1").login("backup", SecretString::from("geheim"));
        let text = format!("{server:?}");
        assert!(text.contains("backup") && !text.contains("geheim"), "{text}");
    }
}
