//! How an etcd cluster is reached: [`EtcdCluster`].

use std::fmt;
use std::time::Duration;

use crate::DriverError;
use crate::secret::SecretString;

/// How an etcd cluster is reached: addresses, login, certificates, time-outs.
#[derive(Clone)]
pub struct EtcdCluster {
    pub(super) endpoints: Vec<String>,
    pub(super) login: Option<(String, SecretString)>,
    pub(super) preferred: Option<String>,
    pub(super) timeout: Duration,
    #[cfg(feature = "etcd-tls")]
    tls: Option<ureq::tls::TlsConfig>,
}

impl EtcdCluster {
    /// A cluster that answers at `url`, such as `http://10.0.0.1:2379`, without login.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            endpoints: vec![trimmed(&url.into())],
            login: None,
            preferred: None,
            timeout: Duration::from_secs(5),
            #[cfg(feature = "etcd-tls")]
            tls: None,
        }
    }

    /// Adds the address of another member: the cluster is found as long as one of them answers. What the members
    /// themselves advertise to clients must be reachable from here, and be `https://` if one of these addresses is: others
    /// are not asked then, since they would get the token in clear.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoints.push(trimmed(&url.into()));
        self
    }

    /// Prefers a member, by the address that it advertises to clients, as long as it is a caught-up follower.
    #[must_use]
    pub fn prefer(mut self, url: impl Into<String>) -> Self {
        self.preferred = Some(trimmed(&url.into()));
        self
    }

    /// Sets user and password. Where authentication is enabled a snapshot needs the role `root`.
    #[must_use]
    pub fn login(mut self, user: impl Into<String>, password: SecretString) -> Self {
        self.login = Some((user.into(), password));
        self
    }

    /// Sets how long to wait for a connection, for an answer, and for each next piece of a snapshot. Default 5 s, at
    /// least 100 ms.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(100));
        self
    }

    /// Trusts the certificates in this PEM text, and no others, where addresses begin with `https://`. Default: those of
    /// public authorities.
    ///
    /// # Errors
    /// When it holds no certificate.
    #[cfg(feature = "etcd-tls")]
    pub fn tls(mut self, authority: &[u8]) -> Result<Self, DriverError> {
        self.tls = Some(trusting(authority, None)?);
        Ok(self)
    }

    /// As [`tls`](Self::tls), and shows a certificate of its own with its key, both PEM text: what etcd wants with
    /// `--client-cert-auth`.
    ///
    /// # Errors
    /// When one of them holds nothing of the kind.
    #[cfg(feature = "etcd-tls")]
    pub fn mutual_tls(
        mut self,
        authority: &[u8],
        certificate: &[u8],
        key: &SecretString,
    ) -> Result<Self, DriverError> {
        use crate::secret::ExposeSecret;
        use ureq::tls::{ClientCert, PrivateKey};

        let chain = certificates("the certificate of the client", certificate)?;
        let key = PrivateKey::from_pem(key.expose_secret().as_bytes()).map_err(|_| DriverError::Setting {
            what: "the key of the client's certificate".into(),
            problem: "it is no private key; right is PEM text of one".into(),
        })?;
        let shown = ClientCert::new_with_certs(&chain, key);
        self.tls = Some(trusting(authority, Some(shown))?);
        Ok(self)
    }

    /// An agent with this cluster's time-outs and certificates.
    pub(super) fn agent(&self) -> Result<ureq::Agent, DriverError> {
        let known = |url: &&String| {
            url.starts_with("http://") || cfg!(feature = "etcd-tls") && url.starts_with("https://")
        };
        if let Some(url) = self.endpoints.iter().find(|url| !known(url)) {
            return Err(DriverError::Setting {
                what: format!("the address {url:?}"),
                problem: "right is http://HOST:PORT, or https:// with the feature etcd-tls".into(),
            });
        }
        let config = ureq::Agent::config_builder()
            .timeout_resolve(Some(self.timeout))
            .timeout_connect(Some(self.timeout))
            .timeout_send_request(Some(self.timeout))
            .timeout_recv_response(Some(self.timeout))
            .timeout_per_read(Some(self.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("backup-sched/", env!("CARGO_PKG_VERSION")));
        #[cfg(feature = "etcd-tls")]
        let config = match &self.tls {
            Some(tls) => config.tls_config(tls.clone()),
            None => config,
        };
        Ok(config.build().into())
    }
}

#[cfg(feature = "etcd-tls")]
fn trusting(
    authority: &[u8],
    shown: Option<ureq::tls::ClientCert>,
) -> Result<ureq::tls::TlsConfig, DriverError> {
    let roots = certificates("the certificates of the authority", authority)?;
    let roots = ureq::tls::RootCerts::new_with_certs(&roots);
    Ok(ureq::tls::TlsConfig::builder().root_certs(roots).client_cert(shown).build())
}

#[cfg(feature = "etcd-tls")]
fn certificates(what: &str, pem: &[u8]) -> Result<Vec<ureq::tls::Certificate<'static>>, DriverError> {
    use ureq::tls::PemItem;

    let wrong = || DriverError::Setting {
        what: what.into(),
        problem: "it holds no certificate; right is PEM text of one or more".into(),
    };
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| wrong())? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(wrong()) } else { Ok(found) }
}

pub(super) fn trimmed(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

impl fmt::Debug for EtcdCluster {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdCluster")
            .field("endpoints", &self.endpoints)
            .field("user", &self.login.as_ref().map(|(user, _)| user))
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_its_scheme_is_refused_with_what_would_be_right() {
        let error = EtcdCluster::new("10.0.0.1:2379").agent().unwrap_err().to_string();
        assert!(error.contains("10.0.0.1:2379") && error.contains("http://HOST:PORT"), "{error}");
        assert!(EtcdCluster::new("http://10.0.0.1:2379/").agent().is_ok());
    }

    #[test]
    fn a_password_is_not_printed() {
        let cluster = EtcdCluster::new("http://x").login("root", SecretString::from("geheim"));
        let text = format!("{cluster:?}");
        assert!(text.contains("root") && !text.contains("geheim"), "{text}");
    }
}
