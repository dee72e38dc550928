//! One connection to a server: [`Connection`].

use std::io::{self, BufReader, Read, Write};
use std::time::Duration;

use sched_core::{Cancelled, RunContext};
use secrecy::ExposeSecret;

use super::info::Info;
use super::resp::{self, Value};
use super::server::RedisServer;
use super::socket::{LOOK, Socket};
use crate::DriverError;

/// One connection, logged in.
pub(super) struct Connection {
    address: String,
    stream: BufReader<Wire>,
}

/// The socket, with a limit to its silence.
pub(super) struct Wire {
    socket: Socket,
    silence: Duration,
    ctx: Option<RunContext>,
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        let mut waited = Duration::ZERO;
        loop {
            if self.ctx.as_ref().is_some_and(RunContext::is_cancelled) {
                return Err(io::Error::other(Cancelled));
            }
            match self.socket.read(buf) {
                Err(error) if matches!(error.kind(), WouldBlock | TimedOut) => {
                    waited += LOOK;
                    if waited >= self.silence {
                        let problem = format!("the server was silent for {:?}", self.silence);
                        return Err(io::Error::new(TimedOut, problem));
                    }
                }
                Err(error) if error.kind() == Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Connection {
    /// Connects and logs in. With a context, whoever waits for an answer notices that the attempt is cancelled.
    pub(super) fn open(server: &RedisServer, ctx: Option<&RunContext>) -> Result<Self, DriverError> {
        let unreachable = |error: io::Error| DriverError::Unreachable {
            server: server.address.clone(),
            error: error.to_string(),
        };
        let socket = Socket::connect(server).map_err(unreachable)?;
        let wire = Wire { socket, silence: server.timeout, ctx: ctx.cloned() };
        let mut connection =
            Self { address: server.address.clone(), stream: BufReader::with_capacity(128 << 10, wire) };
        connection.log_in(server)?;
        Ok(connection)
    }

    fn log_in(&mut self, server: &RedisServer) -> Result<(), DriverError> {
        let Some(password) = &server.password else { return Ok(()) };
        let password = password.expose_secret().as_bytes();
        match &server.user {
            Some(user) => self.call(&[b"AUTH", user.as_bytes(), password])?,
            None => self.call(&[b"AUTH", password])?,
        };
        Ok(())
    }

    /// Sends a request and returns the answer; an error that the server answers is one here.
    pub(super) fn call(&mut self, words: &[&[u8]]) -> Result<Value, DriverError> {
        match self.ask(words)? {
            Value::Error(error) => Err(self.refused(&error)),
            value => Ok(value),
        }
    }

    /// As [`call`](Self::call), with errors that the server answers as values.
    pub(super) fn ask(&mut self, words: &[&[u8]]) -> Result<Value, DriverError> {
        self.send(words)?;
        Value::read(&mut self.stream).map_err(|error| self.broken(error))
    }

    pub(super) fn send(&mut self, words: &[&[u8]]) -> Result<(), DriverError> {
        let sent = self.stream.get_mut().socket.write_all(&resp::request(words));
        sent.map_err(|error| self.broken(error))
    }

    pub(super) fn info(&mut self) -> Result<Info, DriverError> {
        let answer = self.call(&[b"INFO", b"all"])?;
        let text = answer.text().ok_or_else(|| self.strange("INFO gave no text"))?;
        Ok(Info::parse(&text))
    }

    /// How long the server may be silent from now on.
    pub(super) fn silence(&mut self, limit: Duration) {
        self.stream.get_mut().silence = limit;
    }

    /// What comes, as it comes.
    pub(super) fn stream(&mut self) -> &mut BufReader<Wire> {
        &mut self.stream
    }

    pub(super) fn strange(&self, problem: impl Into<String>) -> DriverError {
        DriverError::Answer { server: self.address.clone(), problem: problem.into() }
    }

    /// It ended the connection instead of giving a snapshot.
    pub(super) fn gave_up(&self) -> DriverError {
        let problem =
            "it gave up the snapshot; its log says why: often no memory to fork, or a full disk".into();
        DriverError::NotReady { server: self.address.clone(), problem }
    }

    /// What a failure of the connection means.
    pub(super) fn broken(&self, error: io::Error) -> DriverError {
        let server = self.address.clone();
        if error.get_ref().is_some_and(|inner| inner.is::<Cancelled>()) {
            DriverError::Cancelled
        } else if error.kind() == io::ErrorKind::InvalidData {
            DriverError::Answer { server, problem: error.to_string() }
        } else {
            DriverError::Unreachable { server, error: error.to_string() }
        }
    }

    /// What an error that the server answers means, and what would help.
    pub(super) fn refused(&self, error: &str) -> DriverError {
        let server = self.address.clone();
        let error = error.to_owned();
        let code = error.split(' ').next().unwrap_or_default();
        let refused = |remedy: &str| DriverError::Refused {
            server: server.clone(),
            error: error.clone(),
            remedy: remedy.into(),
        };
        match code {
            "NOAUTH" | "WRONGPASS" => {
                refused("give its password, with a user where it has access control lists")
            }
            "NOPERM" => refused("grant the user this command (ACL SETUSER)"),
            "ERR" if error.contains("invalid password") || error.contains("AUTH") => {
                refused("give its password, and none where it has none")
            }
            "ERR" if error.contains("unknown command") => {
                refused("the command may be renamed or forbidden there")
            }
            "LOADING" | "MASTERDOWN" | "NOMASTERLINK" | "BUSY" | "MISCONF" => {
                DriverError::NotReady { server, problem: error }
            }
            _ => DriverError::Answer { server, problem: error },
        }
    }
}
