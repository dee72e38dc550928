//! Redis: one server, values by key. A fork cannot be paced; what is judged is the whole.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use backup_sched::{JobSpec, RunContext};
use sched_drivers::DriverError;
use sched_drivers::destination::Destination;
use sched_drivers::redis::{Rdb, RedisServer, RedisStatus};
use sched_drivers::server::{Monitor, MonitorConfig};

use super::{Client, Kind, Technology};
use crate::Failure;
use crate::blocks::rest;
use crate::method::AnyExecutor;

const PAYLOAD: u64 = 1000;
/// A server that saves is asked again after so long, and so often.
const AGAIN: Duration = Duration::from_millis(200);
const TRIES: u32 = 300;

pub(super) struct Redis {
    server: sched_testbed::RedisServer,
    keys: u64,
}

impl Redis {
    pub(super) fn start(bytes: u64) -> Result<Self, Failure> {
        let server = sched_testbed::RedisServer::start(&[])?;
        let keys = bytes / (PAYLOAD + 100);
        server.cli(&["DEBUG", "POPULATE", &keys.to_string(), "key", &PAYLOAD.to_string()])?;
        Ok(Self { server, keys })
    }
}

impl Technology for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn versions(&self) -> String {
        let info = self.server.cli(&["INFO", "server"]).unwrap_or_default();
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or_default();
        format!("Redis {}, snapshot as to a replica", version.trim())
    }

    fn client(&self, seed: u64) -> Result<Box<dyn Client>, Failure> {
        let stream = TcpStream::connect(self.server.address())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let (stream, rng) = (BufReader::new(stream), fastrand::Rng::with_seed(seed));
        Ok(Box::new(RedisClient { stream, keys: self.keys, rng, value: vec![b'x'; PAYLOAD as usize] }))
    }

    fn spec(&self) -> JobSpec {
        JobSpec::new("shop", "redis")
    }

    /// The process that was forked for it stays, and with it what has changed since.
    fn holds_what_it_copies(&self) -> bool {
        true
    }

    fn executor(&self, to: Arc<dyn Destination>) -> Result<AnyExecutor, Failure> {
        let server = RedisServer::new(self.server.address());
        let snapshot = Rdb::new(move |_| Some(server.clone()), to).over_its_disk();
        Ok(Arc::new(move |ctx: &RunContext| {
            // One follows the other here; the server may not be done with the last.
            let mut tries = 0..TRIES;
            loop {
                match snapshot.make(ctx) {
                    Err(DriverError::NotReady { .. }) if tries.next().is_some() => rest(AGAIN),
                    made => return made.map(drop).map_err(|error| error.into_run_error(ctx)),
                }
                ctx.checkpoint()?;
            }
        }))
    }

    fn monitor(&self) -> Option<Monitor> {
        let status = RedisStatus::new(RedisServer::new(self.server.address()));
        Some(Monitor::new("shop", status, MonitorConfig::default()))
    }
}

struct RedisClient {
    stream: BufReader<TcpStream>,
    keys: u64,
    rng: fastrand::Rng,
    value: Vec<u8>,
}

impl Client for RedisClient {
    fn request(&mut self) -> Result<(), Failure> {
        let key = format!("key:{}", self.rng.u64(0..self.keys));
        let mut request = Vec::new();
        if Kind::draw(&mut self.rng) == Kind::Write {
            write!(request, "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), self.value.len())?;
            request.extend_from_slice(&self.value);
            request.extend_from_slice(b"\r\n");
        } else {
            write!(request, "*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len())?;
        }
        self.stream.get_mut().write_all(&request)?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        match (line.as_bytes().first(), line.trim()[1..].parse::<i64>()) {
            (Some(b'$'), Ok(length)) if length >= 0 => {
                let mut value = vec![0; length as usize + 2];
                self.stream.read_exact(&mut value)?;
                Ok(())
            }
            (Some(b'$' | b'+'), _) => Ok(()),
            _ => Err(format!("Redis answered {line:?}").into()),
        }
    }
}
