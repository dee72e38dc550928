//! TLS for the connection to a server.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::server::RedisServer;
use super::socket::LOOK;
use crate::tls::Tls;

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
