//! Object stores that speak as S3 does: [`S3Server`].

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::{ServerProcess, TestbedError, free_port, program};

const PATIENCE: Duration = Duration::from_secs(60);

/// A `moto_server` with one bucket, which it keeps in memory; any key and secret will do. Dropping it kills it.
#[derive(Debug)]
pub struct S3Server {
    /// The process; stopping and killing it is up to the test.
    pub process: ServerProcess,
    port: u16,
    _directory: TempDir,
}

impl S3Server {
    /// The name of the bucket.
    pub const BUCKET: &str = "bucket";

    /// Starts a server and makes the bucket.
    ///
    /// # Errors
    /// When moto is not installed or does not start.
    pub fn start() -> Result<Self, TestbedError> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |source| TestbedError::Io { what, source }
        };
        let directory = tempfile::tempdir().map_err(io("make a directory"))?;
        let port = free_port()?;
        let mut command =
            Command::new(program("moto_server", &[], "moto[server] of PyPI, and put it into PATH")?);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        let process = ServerProcess::start(command, &directory.path().join("log"))?;
        let mut server = Self { process, port, _directory: directory };
        server.process.wait_until("an answer of moto_server", PATIENCE, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        })?;
        let made = server.ask("PUT", "").map_err(io("make a bucket"))?;
        if !made.starts_with("HTTP/1.1 200") {
            return Err(TestbedError::Failed { program: "moto_server".into(), said: made });
        }
        Ok(server)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The uploads that were begun and neither finished nor aborted, as S3 lists them.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn unfinished_uploads(&self) -> Result<usize, TestbedError> {
        let listed = self.ask("GET", "?uploads");
        let listed =
            listed.map_err(|source| TestbedError::Io { what: "list unfinished uploads".into(), source })?;
        if !listed.contains("ListMultipartUploadsResult") {
            return Err(TestbedError::Failed { program: "moto_server".into(), said: listed });
        }
        Ok(listed.matches("<UploadId>").count())
    }

    /// One request about the bucket, without a signature, which moto does not ask for.
    fn ask(&self, method: &str, query: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let bucket = Self::BUCKET;
        write!(stream, "{method} /{bucket}{query} HTTP/1.1\r\n")?;
        write!(stream, "host: 127.0.0.1:{}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", self.port)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}
