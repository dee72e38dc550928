//! Ports that nobody uses: [`free_port`].

use std::net::{Ipv4Addr, TcpListener};

use crate::TestbedError;

/// A TCP port of loopback that nobody listens on now.
///
/// # Errors
/// When the system has none.
pub fn free_port() -> Result<u16, TestbedError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .map_err(|source| TestbedError::Io { what: "find a free port".into(), source })?;
    let address = listener
        .local_addr()
        .map_err(|source| TestbedError::Io { what: "find a free port".into(), source })?;
    Ok(address.port())
}
