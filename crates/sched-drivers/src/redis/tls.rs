//! TLS for the connection to a server: [`Tls`].

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use secrecy::ExposeSecret;

use super::server::RedisServer;
use super::socket::LOOK;
use crate::DriverError;
use crate::secret::SecretString;

/// Whom to trust, and what to show.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Trusts what these authorities signed, and shows a certificate where there is one. All are PEM text.
    pub(super) fn new(
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

/// Agrees on TLS with the server.
pub(super) fn secure(
    mut stream: TcpStream,
    tls: &Tls,
    server: &RedisServer,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let host = server.address.rsplit_once(':').map_or(server.address.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let mut connection = ClientConnection::new(Arc::clone(&tls.0), name).map_err(io::Error::other)?;
    let mut waited = Duration::ZERO;
    while connection.is_handshaking() {
        match connection.complete_io(&mut stream) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                waited += LOOK;
                if waited >= server.timeout {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer in TLS"));
                }
            }
            other => drop(other?),
        }
    }
    Ok(StreamOwned::new(connection, stream))
}
