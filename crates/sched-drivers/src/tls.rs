//! TLS for connections of our own: [`Tls`].

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret;

use crate::DriverError;
use crate::secret::SecretString;

/// Whom to trust, and what to show.
#[derive(Clone, Debug)]
pub(crate) struct Tls(pub(crate) Arc<ClientConfig>);

impl Tls {
    /// Trusts what these authorities signed, and shows a certificate where there is one. All are PEM text.
    pub(crate) fn new(
        authority: &[u8],
        certificate: Option<(&[u8], &SecretString)>,
    ) -> Result<Self, DriverError> {
        let what = "the certificates of the authority";
        let mut roots = RootCertStore::empty();
        for certificate in certificates(what, authority)? {
            roots.add(certificate).map_err(|error| wrong(what, &error))?;
        }
        // Said here, so that it does not matter what else of the process uses rustls.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("TLS", &error))?
            .with_root_certificates(roots);
        let config = match certificate {
            None => config.with_no_client_auth(),
            Some((pem, key)) => {
                let chain = certificates("the certificate of the client", pem)?;
                let what = "the key of the client's certificate";
                let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
                    .map_err(|_| wrong(what, &"it is no private key; right is PEM text of one"))?;
                config.with_client_auth_cert(chain, key).map_err(|error| wrong(what, &error))?
            }
        };
        Ok(Self(Arc::new(config)))
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, DriverError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(wrong(what, &"it holds no certificate; right is PEM text of one or more")),
    }
}

fn wrong(what: &str, problem: &dyn std::fmt::Display) -> DriverError {
    DriverError::Setting { what: what.into(), problem: problem.to_string() }
}
