//! The socket to a server, with TLS or without: [`Socket`].

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::server::RedisServer;

/// A read returns after this long without bytes, so that orders are looked at.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// A connected socket whose reads give up after [`LOOK`].
pub(super) enum Socket {
    Plain(TcpStream),
    #[cfg(feature = "redis-tls")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Socket {
    /// Connects to the first address of a server that answers.
    pub(super) fn connect(server: &RedisServer) -> io::Result<Self> {
        let stream = connect(&server.address, server.timeout)?;
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(server.timeout))?;
        stream.set_nodelay(true)?;
        #[cfg(feature = "redis-tls")]
        if let Some(tls) = &server.tls {
            return super::tls::secure(stream, tls, server).map(|stream| Self::Tls(Box::new(stream)));
        }
        Ok(Self::Plain(stream))
    }
}

fn connect(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name leads nowhere");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            #[cfg(feature = "redis-tls")]
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buf),
            #[cfg(feature = "redis-tls")]
            Self::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            #[cfg(feature = "redis-tls")]
            Self::Tls(stream) => stream.flush(),
        }
    }
}
