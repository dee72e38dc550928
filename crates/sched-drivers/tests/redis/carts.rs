//! The servers that are backed up, and their clients.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use sched_core::{JobSpec, RunContext};
use sched_drivers::backup::Completed;
use sched_drivers::destination::LocalDirectory;
use sched_drivers::redis::{FILE, ForkLimits, Rdb, RedisServer};
use sched_testbed::{self as testbed};

use super::rig::{Attempt, files};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn spec() -> JobSpec {
    JobSpec::new("carts", "redis")
}

pub(crate) fn context() -> RunContext {
    super::rig::still(spec())
}

pub(crate) fn reached(server: &testbed::RedisServer) -> RedisServer {
    RedisServer::new(server.address()).timeout(Duration::from_secs(20))
}

/// The machine of the tests may have little memory left; what is tested there is tested with numbers of its own.
pub(crate) fn no_limits() -> ForkLimits {
    ForkLimits::default().longest(PATIENCE).free_memory(0.0)
}

pub(crate) fn rdb(server: RedisServer, root: &Path) -> Rdb {
    Rdb::new(move |_| Some(server.clone()), LocalDirectory::new(root)).limits(no_limits())
}

/// A client that sends a line and reads a line.
pub(crate) struct Client(pub(crate) BufReader<TcpStream>);

impl Client {
    pub(crate) fn new(server: &testbed::RedisServer) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn call(&mut self, line: &str) -> io::Result<String> {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        let mut answer = String::new();
        self.0.read_line(&mut answer)?;
        assert!(!answer.starts_with('-'), "{line}: {answer}");
        Ok(answer)
    }

    /// `count` keys of `bytes` each that do not compress.
    pub(crate) fn fill(&mut self, count: u32, bytes: u32) {
        let script = "local r = {} for i = 1, ARGV[2] / 8 do r[i] = string.format('%08x', (i * 2654435761) % 4294967296) end \
                      local s = table.concat(r) for i = 1, ARGV[1] do redis.call('set', 'fill' .. i, i .. s) end return 1";
        self.call(&format!("EVAL \"{script}\" 0 {count} {bytes}")).unwrap();
    }

    /// The n-th of a series of writes: both or none of its keys.
    pub(crate) fn write(&mut self, n: u64) -> io::Result<()> {
        let script =
            "redis.call('set', 'last', ARGV[1]) redis.call('set', 'k' .. ARGV[1] % 50, ARGV[1]) return 1";
        self.call(&format!("EVAL \"{script}\" 0 {n}")).map(drop)
    }
}

/// That a snapshot, loaded by a fresh server, holds just what another server holds after the same writes.
pub(crate) fn assert_restores(done: &Completed, filled: (u32, u32)) -> u64 {
    let restored = testbed::RedisServer::restored(&Path::new(&done.location).join(FILE)).unwrap();
    let last: u64 = restored.cli(&["GET", "last"]).unwrap().trim().parse().unwrap();
    let reference = testbed::RedisServer::start(&[]).unwrap();
    let mut client = Client::new(&reference);
    client.fill(filled.0, filled.1);
    for n in 1..=last {
        client.write(n).unwrap();
    }
    let digest = |server: &testbed::RedisServer| server.cli(&["DEBUG", "DIGEST"]).unwrap();
    assert_eq!(digest(&restored), digest(&reference), "after {last} writes");
    last
}

/// Cancels an attempt at the end of a test, also one that fails while the attempt stands.
pub(crate) struct End<'a>(pub(crate) &'a Attempt);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Waits until a server has no replica and no child any more, and looks that nothing of a save lies about.
pub(crate) fn assert_left_alone(server: &testbed::RedisServer) {
    super::rig::until("a server that is left alone", || {
        let clients = server.cli(&["CLIENT", "LIST", "TYPE", "replica"]).unwrap();
        let info = server.cli(&["INFO", "persistence"]).unwrap();
        clients.trim().is_empty() && info.contains("rdb_bgsave_in_progress:0")
    });
    let temporary = files(&server.data()).into_iter().filter(|name| name.to_string_lossy().contains("temp"));
    assert_eq!(temporary.count(), 0);
}
