//! Snapshots, members and load of Redis, against a real primary with a replica and against servers that lie.

#![cfg(all(feature = "redis", unix))]

mod rig;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rig::{Attempt, Stop, files, full_after};
use sched_core::{Clock, JobSpec, LoadLevel, ManualClock, PauseMark, RunContext, RunControl, RunError};
use sched_drivers::DriverError;
use sched_drivers::backup::Completed;
use sched_drivers::destination::LocalDirectory;
use sched_drivers::redis::{FILE, ForkLimits, LocalRdb, Rdb, RedisMembers, RedisServer, RedisStatus};
use sched_drivers::secret::SecretString;
use sched_drivers::server::{MemberSource, Monitor, MonitorConfig, QueryPattern, ServerMember, StatusSource};
use sched_testbed::{self as testbed, RedisPair, free_port};
use sched_workload::LoadDetector;

const PATIENCE: Duration = Duration::from_secs(60);

fn spec() -> JobSpec {
    JobSpec::new("carts", "redis")
}

fn context() -> RunContext {
    rig::still(spec())
}

fn reached(server: &testbed::RedisServer) -> RedisServer {
    RedisServer::new(server.address()).timeout(Duration::from_secs(20))
}

/// The machine of the tests may have little memory left; what is tested there is tested with numbers of its own.
fn no_limits() -> ForkLimits {
    ForkLimits::default().longest(PATIENCE).free_memory(0.0)
}

fn rdb(server: RedisServer, root: &Path) -> Rdb {
    Rdb::new(move |_| Some(server.clone()), LocalDirectory::new(root)).limits(no_limits())
}

/// A client that sends a line and reads a line.
struct Client(BufReader<TcpStream>);

impl Client {
    fn new(server: &testbed::RedisServer) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn call(&mut self, line: &str) -> io::Result<String> {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        let mut answer = String::new();
        self.0.read_line(&mut answer)?;
        assert!(!answer.starts_with('-'), "{line}: {answer}");
        Ok(answer)
    }

    /// `count` keys of `bytes` each that do not compress.
    fn fill(&mut self, count: u32, bytes: u32) {
        let script = "local r = {} for i = 1, ARGV[2] / 8 do r[i] = string.format('%08x', (i * 2654435761) % 4294967296) end \
                      local s = table.concat(r) for i = 1, ARGV[1] do redis.call('set', 'fill' .. i, i .. s) end return 1";
        self.call(&format!("EVAL \"{script}\" 0 {count} {bytes}")).unwrap();
    }

    /// The n-th of a series of writes: both or none of its keys.
    fn write(&mut self, n: u64) -> io::Result<()> {
        let script =
            "redis.call('set', 'last', ARGV[1]) redis.call('set', 'k' .. ARGV[1] % 50, ARGV[1]) return 1";
        self.call(&format!("EVAL \"{script}\" 0 {n}")).map(drop)
    }
}

/// That a snapshot, loaded by a fresh server, holds just what another server holds after the same writes.
fn assert_restores(done: &Completed, filled: (u32, u32)) -> u64 {
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
struct End<'a>(&'a Attempt);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Waits until a server has no replica and no child any more, and looks that nothing of a save lies about.
fn assert_left_alone(server: &testbed::RedisServer) {
    rig::until("a server that is left alone", || {
        let clients = server.cli(&["CLIENT", "LIST", "TYPE", "replica"]).unwrap();
        let info = server.cli(&["INFO", "persistence"]).unwrap();
        clients.trim().is_empty() && info.contains("rdb_bgsave_in_progress:0")
    });
    let temporary = files(&server.data()).into_iter().filter(|name| name.to_string_lossy().contains("temp"));
    assert_eq!(temporary.count(), 0);
}

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn snapshots_under_writes_are_restored_as_of_one_moment() {
    const FILLED: (u32, u32) = (20_000, 1000);
    let mut pair = RedisPair::start().unwrap();
    let mut client = Client::new(&pair.primary);
    client.fill(FILLED.0, FILLED.1);
    client.write(1).unwrap();
    pair.catch_up().unwrap();
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(1));
    let root = tempfile::tempdir().unwrap();
    let replica = reached(&pair.replica);
    let [direct, disk, local] = thread::scope(|scope| {
        scope.spawn(|| {
            for n in 2.. {
                client.write(n).unwrap();
                written.store(n, Relaxed);
                if stop.load(Relaxed) {
                    break;
                }
            }
        });
        let _stop = Stop(&stop);
        rig::until("some writes", || written.load(Relaxed) > 100);
        let job = |name: &str| rig::still(JobSpec::new(name.to_owned(), "redis"));
        let direct = rdb(replica.clone(), root.path()).make(&job("direct"));
        // A child that has sent all is still there for a moment.
        assert_left_alone(&pair.replica);
        let disk = rdb(replica.clone(), root.path()).over_its_disk().make(&job("disk"));
        assert_left_alone(&pair.replica);
        let known = replica.clone();
        let local = LocalRdb::new(move |_| Some(known.clone()), LocalDirectory::new(root.path()));
        let local = local.limits(no_limits()).make(&job("local"));
        [direct, disk, local].map(Result::unwrap)
    });
    let mut least = 100;
    for done in [direct, disk, local] {
        assert_eq!(done.manifest.facts["role"], "replica");
        assert!(done.manifest.files[0].bytes > 19_000_000, "{:?}", done.manifest.files);
        let last = assert_restores(&done, FILLED);
        assert!(last >= least && last <= written.load(Relaxed), "{least} {last}");
        least = last;
    }
}

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn what_goes_wrong_midway_leaves_nothing_behind() {
    let mut pair = RedisPair::start().unwrap();
    Client::new(&pair.primary).fill(30_000, 1000);
    pair.catch_up().unwrap();
    let (root, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = reached(&pair.replica);
    let direct = rdb(server.clone(), root.path()).spool(spool.path());
    let disk = rdb(server.clone(), root.path()).over_its_disk();
    let whole = direct.make(&context()).unwrap().manifest.files[0].bytes;
    assert_left_alone(&pair.replica);
    std::fs::remove_dir_all(root.path().join("carts")).unwrap();

    // Cancelled while it is taken, while it is brought to its destination, and while it comes from the server's disk.
    for (executor, open_to) in [(&direct, 1 << 20), (&direct, whole + (1 << 20)), (&disk, 1 << 20)] {
        let attempt = Attempt::new(spec(), open_to);
        let error = thread::scope(|scope| {
            let run = scope.spawn(|| executor.make(&attempt.ctx));
            rig::until("the dam", || attempt.dam.passed() > open_to);
            attempt.cancel();
            run.join().unwrap().unwrap_err()
        });
        assert_eq!(error.into_run_error(&attempt.ctx), RunError::Cancelled);
        assert!(files(root.path()).is_empty() && files(spool.path()).is_empty());
        assert_left_alone(&pair.replica);
    }

    let full = Rdb::new(move |_| Some(server.clone()), full_after(1 << 20)).limits(no_limits());
    for executor in [full.clone(), full.over_its_disk()] {
        let error = executor.make(&context()).unwrap_err();
        let is_full = |source: &io::Error| source.kind() == io::ErrorKind::StorageFull;
        assert!(matches!(&error, DriverError::Destination { source, .. } if is_full(source)), "{error}");
        assert_left_alone(&pair.replica);
    }

    let attempt = Attempt::new(spec(), 1 << 20);
    let error = thread::scope(|scope| {
        let run = scope.spawn(|| direct.make(&attempt.ctx));
        rig::until("the dam", || attempt.dam.passed() > 1 << 20);
        pair.replica.process.kill();
        attempt.dam.open();
        run.join().unwrap().unwrap_err()
    });
    assert!(matches!(error, DriverError::Source { .. }), "{error}");
    assert!(matches!(error.into_run_error(&attempt.ctx), RunError::Retryable(_)));
    assert!(files(root.path()).is_empty() && files(spool.path()).is_empty());
}

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn a_pause_waits_until_the_server_is_no_longer_needed() {
    let server = testbed::RedisServer::start(&[]).unwrap();
    let mut client = Client::new(&server);
    client.fill(5000, 1000);
    client.write(1).unwrap();
    let standing = Arc::new(AtomicBool::new(false));
    let marked = Arc::clone(&standing);
    // Ordered when the server is about to fork; before that it would stand at once.
    let (forks, forked) = mpsc::channel();
    let (orders, ordered) = mpsc::channel();
    let ordered = Mutex::new(ordered);
    let control = RunControl::new(move |mark| marked.store(mark == PauseMark::Standing, Relaxed));
    let control = control.on_phase(move |phase| {
        if phase.name == "fork" {
            forks.send(()).unwrap();
            ordered.lock().recv_timeout(PATIENCE).unwrap();
        }
    });
    let attempt = Attempt::with_control(spec(), u64::MAX, control);
    let root = tempfile::tempdir().unwrap();
    let done = thread::scope(|scope| {
        let (executor, ctx) = (rdb(reached(&server), root.path()), &attempt.ctx);
        let run = scope.spawn(move || executor.make(ctx));
        let _end = End(&attempt);
        forked.recv_timeout(PATIENCE).unwrap();
        attempt.ctx.control().set_paused(true);
        orders.send(()).unwrap();
        rig::until("a pause", || standing.load(Relaxed));
        assert!(attempt.dam.passed() > 4_000_000, "all was taken before");
        assert_left_alone(&server);
        attempt.ctx.control().set_paused(false);
        run.join().unwrap().unwrap()
    });
    assert_eq!(assert_restores(&done, (5000, 1000)), 1);
}

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn a_file_that_the_server_did_not_save_is_refused() {
    let server = testbed::RedisServer::start(&[]).unwrap();
    let (root, known) = (tempfile::tempdir().unwrap(), reached(&server));
    let other = root.path().join("other.rdb");
    std::fs::write(&other, "old").unwrap();
    let executor = LocalRdb::new(move |_| Some(known.clone()), LocalDirectory::new(root.path()));
    let error = executor.limits(no_limits()).path(&other).make(&context()).unwrap_err();
    assert!(matches!(error, DriverError::Setting { .. }), "{error}");
    assert!(error.to_string().contains("dbfilename"), "{error}");
    assert_eq!(files(root.path()), [Path::new("other.rdb")]);
}

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn a_server_that_cannot_bear_a_fork_is_not_asked_for_one() {
    let mut pair = RedisPair::start().unwrap();
    let root = tempfile::tempdir().unwrap();
    let server = reached(&pair.replica);
    let refused = |limits: ForkLimits| {
        let error = rdb(server.clone(), root.path()).limits(limits).make(&context()).unwrap_err();
        assert!(matches!(error, DriverError::NotReady { .. }), "{error}");
        error.to_string()
    };
    let text = refused(no_limits().free_memory(1e9));
    assert!(text.contains("MiB may be needed"), "{text}");
    let text = refused(no_limits().longest(Duration::ZERO));
    assert!(text.contains("stalls"), "{text}");
    pair.primary.process.kill();
    rig::until("the loss of the primary", || {
        rdb(server.clone(), root.path())
            .make(&context())
            .is_err_and(|error| error.to_string().contains("lost its primary"))
    });
    assert!(files(root.path()).is_empty());
}

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn a_login_needs_its_password_and_few_permissions() {
    let server = testbed::RedisServer::start(&["--requirepass", "richtig"]).unwrap();
    for user in [
        &["ACL", "SETUSER", "backup", "on", ">genau", "+info", "+psync", "+replconf", "+command"][..],
        &["ACL", "SETUSER", "reader", "on", ">genau", "+info"],
    ] {
        server.cli(user).unwrap();
    }
    server.cli(&["SET", "last", "1"]).unwrap();
    let root = tempfile::tempdir().unwrap();
    let secret = SecretString::from;
    let open = || reached(&server);
    for login in [
        open(),
        open().password(secret("falsch")),
        open().login("nobody", secret("richtig")),
        open().login("reader", secret("genau")),
    ] {
        let error = rdb(login, root.path()).make(&context()).unwrap_err();
        assert!(matches!(error, DriverError::Refused { .. }), "{error:?}");
        assert!(!error.to_string().contains("falsch"), "{error}");
        assert!(matches!(error.into_run_error(&context()), RunError::Permanent(_)));
    }
    for (name, login) in
        [("all", open().password(secret("richtig"))), ("few", open().login("backup", secret("genau")))]
    {
        assert_left_alone(&server);
        rdb(login.clone(), root.path()).make(&rig::still(JobSpec::new(name, "redis"))).unwrap();
        RedisStatus::new(login).read(ManualClock::default().now()).unwrap();
    }
    let open = testbed::RedisServer::start(&[]).unwrap();
    let error = rdb(reached(&open).password(secret("unnötig")), root.path()).make(&context()).unwrap_err();
    assert!(matches!(error, DriverError::Refused { .. }), "{error:?}");
}

#[cfg(feature = "redis-tls")]
#[test]
#[ignore = "needs redis-server, redis-cli and openssl"]
fn a_snapshot_comes_over_tls_from_a_server_that_is_trusted() {
    let certificates = testbed::Certificates::make().unwrap();
    let [ca, certificate, key] = [certificates.authority(), certificates.certificate(), certificates.key()];
    let path = |path: &Path| path.display().to_string();
    let port = free_port().unwrap().to_string();
    let server = testbed::RedisServer::start(&[
        "--tls-port",
        &port,
        "--tls-ca-cert-file",
        &path(&ca),
        "--tls-cert-file",
        &path(&certificate),
        "--tls-key-file",
        &path(&key),
    ])
    .unwrap();
    const FILLED: (u32, u32) = (2000, 1000);
    let mut client = Client::new(&server);
    client.fill(FILLED.0, FILLED.1);
    client.write(1).unwrap();
    let read = |path: &Path| std::fs::read(path).unwrap();
    let secret = SecretString::from(String::from_utf8(read(&key)).unwrap());
    let address = || RedisServer::new(format!("127.0.0.1:{port}")).timeout(Duration::from_secs(20));
    let trusted = address().mutual_tls(&read(&ca), &read(&certificate), &secret).unwrap();
    let root = tempfile::tempdir().unwrap();
    let done = rdb(trusted.clone(), root.path()).make(&context()).unwrap();
    assert_eq!(assert_restores(&done, FILLED), 1);
    RedisStatus::new(trusted).read(ManualClock::default().now()).unwrap();

    let other = testbed::Certificates::make().unwrap();
    for stranger in [
        address(),
        address().tls(&read(&ca)).unwrap(),
        address().mutual_tls(&read(&other.authority()), &read(&certificate), &secret).unwrap(),
    ] {
        let error = rdb(stranger, root.path()).make(&context()).unwrap_err();
        assert!(matches!(error, DriverError::Unreachable { .. } | DriverError::Answer { .. }), "{error:?}");
    }
    assert!(address().tls(b"no certificate").is_err());
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    let server = RedisServer::new(format!("127.0.0.1:{}", free_port().unwrap()));
    let root = tempfile::tempdir().unwrap();
    let error = rdb(server.clone(), root.path()).make(&context()).unwrap_err();
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
    assert!(matches!(error.into_run_error(&context()), RunError::Retryable(_)));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent =
        RedisServer::new(silent.local_addr().unwrap().to_string()).timeout(Duration::from_millis(200));
    let error = RedisStatus::new(silent).read(ManualClock::default().now()).unwrap_err();
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
}

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn members_are_told_through_any_of_them() {
    let mut pair = RedisPair::start().unwrap();
    let (primary, replica) = (pair.primary.address(), pair.replica.address());
    let told = |through: &testbed::RedisServer| {
        let members = RedisMembers::new(reached(through)).members().unwrap();
        let one = |m: ServerMember| (m.address, m.role, m.healthy, m.lag.is_some());
        members.into_iter().map(one).collect::<Vec<_>>()
    };
    let expected = |healthy, lag| {
        let primary = (primary.clone(), "primary".to_owned(), healthy, false);
        vec![primary, (replica.clone(), "replica".to_owned(), healthy, lag)]
    };
    // A primary counts on a replica once it has heard of it.
    rig::until("a replica that is known", || {
        told(&pair.replica) == expected(true, true) && told(&pair.primary) == expected(true, true)
    });
    pair.primary.process.kill();
    rig::until("the loss of the primary", || told(&pair.replica) == expected(false, false));
}

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn a_batch_and_a_peak_of_short_reads_are_told_apart_at_equal_requests_a_second() {
    let pair = RedisPair::start().unwrap();
    let mut client = Client::new(&pair.primary);
    let clock = ManualClock::default();
    let config = MonitorConfig::default().busy_at_requests_per_s(4.0);
    let monitor = Monitor::new("carts", RedisStatus::new(reached(&pair.primary)), config);
    let mut detector = monitor.detector();
    detector.detect(clock.now()).unwrap();
    let mut after = |line: &str| {
        for _ in 0..50 {
            client.call(line).unwrap();
        }
        clock.advance(Duration::from_secs(10));
        detector.detect(clock.now()).unwrap().state.level
    };
    // As a report would: some ms of the server's time each.
    let batch = "EVAL \"local s = 0 for i = 1, 400000 do s = s + i end return 1\" 0";
    assert_eq!(after(batch), LoadLevel::Calm);
    assert_eq!(after("EXISTS k"), LoadLevel::Busy);

    let mut status = RedisStatus::new(reached(&pair.primary));
    status.read(clock.now()).unwrap();
    for n in 0..20 {
        client.call(&format!("SET k {n}")).unwrap();
    }
    clock.advance(Duration::from_secs(10));
    let read = status.read(clock.now()).unwrap();
    let workload = read.workload.unwrap();
    assert_eq!((workload.pattern(), workload.writes_per_s), (QueryPattern::Writes, 2.0));
    for reading in &read.health {
        reading.check().unwrap();
    }
    let health = |name: &str| read.health.iter().find(|r| r.signal.as_str() == name).map(|r| r.value);
    assert!(health("latest_fork_ms").unwrap() > 0.0, "it forked for its replica");
    assert!(health("replica_lag").is_some() && health("memory_in_use").unwrap() > 0.0);
    assert_eq!(health("replication_lag"), Some(0.0), "a primary is not late");
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs redis-server and redis-cli"]
fn a_reading_costs_less_than_a_thousandth_of_the_servers_time() {
    let server = testbed::RedisServer::start(&[]).unwrap();
    let mut status = RedisStatus::new(reached(&server));
    let clock = ManualClock::default();
    status.read(clock.now()).unwrap();
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.process.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    const READINGS: u64 = 1000;
    let before = ticks();
    for _ in 0..READINGS {
        clock.advance(Duration::from_secs(5));
        status.read(clock.now()).unwrap();
    }
    // Ticks of 10 ms.
    let ms_each = (ticks() - before) as f64 * 10.0 / READINGS as f64;
    println!("a reading costs {ms_each:.3} ms of the server's processor time");
    assert!(ms_each < 5.0, "{ms_each} ms of 5 s");
}

/// A server that gives these answers by the first words of requests.
fn liar(answers: Vec<(&'static str, Vec<u8>)>) -> RedisServer {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut asked = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut asked) {
                let text = String::from_utf8_lossy(&asked[..read]).into_owned();
                let answer = answers.iter().find(|(word, _)| text.contains(word));
                if stream.write_all(answer.map_or(b"-ERR no\r\n", |(_, answer)| answer)).is_err() {
                    break;
                }
            }
        }
    });
    RedisServer::new(address)
}

fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

#[test]
fn a_snapshot_that_was_changed_or_cut_is_refused() {
    // The snapshot of an empty server, as Redis 7.0 writes it without its time and memory, and a wrong checksum.
    let mut bytes = b"REDIS0010\xfa\x09redis-ver\x067.0.15\xff".to_vec();
    bytes.extend_from_slice(&[1; 8]);
    let begun = b"+FULLRESYNC 0123456789012345678901234567890123456789 77\r\n\n\n".to_vec();
    let mark = "m".repeat(40);
    let sized = [&begun[..], format!("${}\r\n", bytes.len()).as_bytes(), &bytes].concat();
    let marked = [&begun[..], format!("$EOF:{mark}\r\n").as_bytes(), &bytes, mark.as_bytes()].concat();
    for snapshot in [sized, marked] {
        let server = liar(vec![
            ("INFO", bulk("redis_version:7.0.15\r\nrole:master\r\n")),
            ("REPLCONF", b"+OK\r\n".to_vec()),
            ("PSYNC", snapshot),
        ]);
        let root = tempfile::tempdir().unwrap();
        for executor in [rdb(server.clone(), root.path()), rdb(server, root.path()).over_its_disk()] {
            let error = executor.make(&context()).unwrap_err();
            assert!(matches!(error, DriverError::Corrupt { .. }), "{error}");
            assert!(error.to_string().contains("checksum"), "{error}");
            assert!(files(root.path()).is_empty());
        }
    }
}

#[test]
fn an_attempt_that_waits_for_a_silent_server_can_be_cancelled() {
    let asked = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = RedisServer::new(listener.local_addr().unwrap().to_string());
    let heard = Arc::clone(&asked);
    // It forks for ever.
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            let answer = match () {
                () if text.contains("INFO") => bulk("redis_version:7.0.15\r\nrole:master\r\n"),
                () if text.contains("REPLCONF") => b"+OK\r\n".to_vec(),
                () => {
                    heard.store(true, Relaxed);
                    continue;
                }
            };
            stream.write_all(&answer).unwrap();
        }
    });
    let root = tempfile::tempdir().unwrap();
    let attempt = Attempt::free(spec());
    let error = thread::scope(|scope| {
        let run = scope.spawn(|| rdb(server, root.path()).make(&attempt.ctx));
        rig::until("the request", || asked.load(Relaxed));
        attempt.cancel();
        // Sooner than the minute for which a server may be silent.
        let patience = Duration::from_secs(30);
        testbed::wait_until("the end", patience, || run.is_finished().then_some(())).unwrap();
        run.join().unwrap().unwrap_err()
    });
    assert!(matches!(error, DriverError::Cancelled), "{error}");
    assert!(files(root.path()).is_empty());
}

#[test]
fn a_server_that_is_too_old_says_which_would_do() {
    let root = tempfile::tempdir().unwrap();
    let old = liar(vec![("INFO", bulk("redis_version:3.2.12\r\nrole:master\r\n"))]);
    let error = rdb(old, root.path()).make(&context()).unwrap_err();
    assert!(matches!(error, DriverError::TooOld { .. }), "{error}");
    // Before 7.0 a slow reader would cost it memory.
    let old = liar(vec![("INFO", bulk("redis_version:6.2.0\r\nrole:master\r\n"))]);
    let error = rdb(old, root.path()).over_its_disk().make(&context()).unwrap_err();
    assert!(matches!(&error, DriverError::TooOld { needed, .. } if needed == "Redis 7.0"), "{error}");
    assert!(error.is_permanent());
    assert!(files(root.path()).is_empty());
}
