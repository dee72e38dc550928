//! Snapshots, members and load of etcd, against real clusters of three and against a gateway that lies.

#![cfg(feature = "etcd")]

mod rig;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::path::Path;
#[cfg(feature = "etcd-tls")]
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use rig::{Attempt, Stop, files, full_after};
use sched_core::{Clock, JobSpec, LoadLevel, ManualClock, RunContext, RunError};
use sched_drivers::DriverError;
use sched_drivers::destination::LocalDirectory;
use sched_drivers::etcd::{EtcdCluster, EtcdMembers, EtcdRole, EtcdStatus, FILE, Snapshot};
use sched_drivers::secret::SecretString;
use sched_drivers::server::{MemberSource, Monitor, MonitorConfig, QueryPattern, StatusSource};
use sched_testbed::{self as testbed, EtcdServer};
use sched_workload::LoadDetector;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

fn spec() -> JobSpec {
    JobSpec::new("settings", "etcd")
}

fn context() -> RunContext {
    rig::still(spec())
}

fn executor(cluster: EtcdCluster, root: &Path) -> Snapshot {
    Snapshot::new(move |_| Some(cluster.clone()), LocalDirectory::new(root))
}

fn reached(servers: &testbed::EtcdCluster) -> EtcdCluster {
    let mut urls = servers.urls().into_iter();
    let first = EtcdCluster::new(urls.next().unwrap());
    urls.fold(first, EtcdCluster::endpoint).timeout(Duration::from_secs(20))
}

/// A client that writes and reads keys.
#[derive(Clone)]
struct Client {
    agent: ureq::Agent,
    url: String,
}

impl Client {
    fn new(server: &EtcdServer) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build();
        Self { agent: config.into(), url: server.url().to_owned() }
    }

    fn call(&self, what: &str, body: &Value) -> Result<Value, ureq::Error> {
        let mut response = self.agent.post(format!("{}/v3/kv/{what}", self.url)).send(body.to_string())?;
        let text = response.body_mut().with_config().limit(1 << 30).read_to_string()?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    fn put(&self, key: &str, value: &str) -> Result<u64, ureq::Error> {
        let body = json!({ "key": STANDARD.encode(key), "value": STANDARD.encode(value) });
        self.call("put", &body).map(|answer| revision(&answer))
    }

    /// Writes `count` keys of `bytes` each, a hundred at once.
    fn fill(&self, count: usize, bytes: usize) -> u64 {
        let mut last = 0;
        for first in (0..count).step_by(100) {
            let put = |n: usize| {
                let value = STANDARD.encode(filling(n, bytes));
                json!({ "requestPut": { "key": STANDARD.encode(format!("fill/{n:06}")), "value": value } })
            };
            let puts: Vec<Value> = (first..(first + 100).min(count)).map(put).collect();
            last = revision(&self.call("txn", &json!({ "success": puts })).unwrap());
        }
        last
    }

    /// All keys, and the revision they are of.
    fn all(&self) -> (BTreeMap<String, String>, u64) {
        let every = STANDARD.encode([0]);
        let answer = self.call("range", &json!({ "key": every, "range_end": every })).unwrap();
        let text = |value: &Value| {
            String::from_utf8(STANDARD.decode(value.as_str().unwrap_or_default()).unwrap()).unwrap()
        };
        let keys = answer["kvs"].as_array().cloned().unwrap_or_default();
        (keys.iter().map(|kv| (text(&kv["key"]), text(&kv["value"]))).collect(), revision(&answer))
    }
}

fn revision(answer: &Value) -> u64 {
    answer["header"]["revision"].as_str().unwrap().parse().unwrap()
}

fn filling(n: usize, bytes: usize) -> String {
    format!("{n:08}").repeat(bytes / 8)
}

#[test]
#[ignore = "needs etcd and etcdctl"]
fn a_snapshot_under_writes_is_restored_with_all_that_was_committed() {
    let servers = testbed::EtcdCluster::start().unwrap();
    let client = Client::new(&servers.members[0]);
    let filled = client.fill(2000, 4000);
    let (done, written) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let root = tempfile::tempdir().unwrap();
    let completed = thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                let (key, value) = (format!("k{}", n % 50), n.to_string());
                let revision = client.put(&key, &value).unwrap();
                written.lock().push((revision, key, value));
                if done.load(Relaxed) {
                    break;
                }
            }
        });
        let _stop = Stop(&done);
        rig::until("some writes", || written.lock().len() > 20);
        let executor = executor(reached(&servers), root.path());
        executor.make(&context()).unwrap()
    });
    let facts = &completed.manifest.facts;
    assert_eq!(facts["role"], "follower");
    let stored = &completed.manifest.files[0];
    assert!(stored.bytes > 2000 * 4000 && stored.bytes % 512 == 32, "{stored:?}");

    let restored = EtcdServer::restored(&Path::new(&completed.location).join(FILE)).unwrap();
    let (found, at) = Client::new(&restored).all();
    let least: u64 = facts["revision_at_least"].parse().unwrap();
    assert!(at >= least && least > filled, "{at} {least} {filled}");
    let mut expected: BTreeMap<_, _> =
        (0..2000).map(|n| (format!("fill/{n:06}"), filling(n, 4000))).collect();
    let history = written.into_inner();
    for (_, key, value) in history.iter().filter(|(revision, ..)| *revision <= at) {
        expected.insert(key.clone(), value.clone());
    }
    assert!(found == expected, "{} keys of {}", found.len(), expected.len());
}

#[test]
#[ignore = "needs etcd and etcdctl"]
fn what_goes_wrong_midway_leaves_nothing_behind() {
    let mut servers = testbed::EtcdCluster::start().unwrap();
    Client::new(&servers.members[0]).fill(3000, 8000);
    let leader = servers.leader().unwrap();
    let follower = (leader + 1) % 3;
    let root = tempfile::tempdir().unwrap();
    let preferred = reached(&servers).prefer(servers.members[follower].url());
    let executor = executor(preferred.clone(), root.path());

    // Cancelled while the snapshot stands at the dam.
    let attempt = Attempt::new(spec(), 1 << 20);
    let error = thread::scope(|scope| {
        let run = scope.spawn(|| executor.make(&attempt.ctx));
        rig::until("a megabyte", || attempt.dam.passed() > 1 << 20);
        attempt.cancel();
        run.join().unwrap().unwrap_err()
    });
    assert!(matches!(error, DriverError::Cancelled), "{error}");
    assert_eq!(error.into_run_error(&attempt.ctx), RunError::Cancelled);
    assert!(files(root.path()).is_empty());
    rig::until("the end of the snapshot on the server", || {
        let [started, ended] =
            ["started", "handled"].map(|which| snapshots(&servers.members[follower], which));
        started == 1.0 && ended == 1.0
    });

    let full = Snapshot::new(move |_| Some(preferred.clone()), full_after(1 << 20));
    let error = full.make(&context()).unwrap_err();
    let is_full = |source: &io::Error| source.kind() == io::ErrorKind::StorageFull;
    assert!(matches!(&error, DriverError::Destination { source, .. } if is_full(source)), "{error}");

    // The member is killed while the snapshot stands at the dam.
    let attempt = Attempt::new(spec(), 1 << 20);
    let error = thread::scope(|scope| {
        let run = scope.spawn(|| executor.make(&attempt.ctx));
        rig::until("a megabyte", || attempt.dam.passed() > 1 << 20);
        servers.members[follower].process.kill();
        attempt.dam.open();
        run.join().unwrap().unwrap_err()
    });
    assert!(matches!(error, DriverError::Source { .. } | DriverError::Corrupt { .. }), "{error}");
    assert!(matches!(error.into_run_error(&attempt.ctx), RunError::Retryable(_)));
    assert!(files(root.path()).is_empty());

    // The next attempt takes the other follower.
    let completed = executor.make(&context()).unwrap();
    let other = 3 - leader - follower;
    assert_eq!(completed.manifest.facts["member"], format!("m{}", other + 1));

    let told = EtcdMembers::new(reached(&servers)).members().unwrap();
    let found = |at: usize| {
        let url = servers.members[at].url();
        told.iter().find(|member| member.address == url).map(|member| (member.role.as_str(), member.healthy))
    };
    assert_eq!(found(leader), Some(("leader", true)));
    assert_eq!(found(follower), Some(("follower", false)));
    assert_eq!(found(other), Some(("follower", true)));

    // Without a majority nobody is fit.
    servers.members[leader].process.kill();
    rig::until("the loss of the leader", || {
        let error = executor.make(&context()).err();
        error.is_some_and(|error| {
            matches!(error, DriverError::NotReady { .. }) && error.to_string().contains("no leader")
        })
    });
}

/// How many calls for snapshots a member has started or handled.
fn snapshots(server: &EtcdServer, which: &str) -> f64 {
    let mut response = ureq::get(format!("{}/metrics", server.url())).call().unwrap();
    let text = response.body_mut().with_config().limit(1 << 24).read_to_string().unwrap();
    let family = format!("grpc_server_{which}_total{{");
    let wanted = |line: &&str| line.starts_with(&family) && line.contains("\"Snapshot\"");
    text.lines().filter(wanted).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
#[ignore = "needs etcd and etcdctl"]
fn a_login_needs_the_role_root_and_its_password() {
    let servers = testbed::EtcdCluster::start().unwrap();
    let one = &servers.members[0];
    Client::new(one).fill(100, 100);
    for args in [
        &["user", "add", "root:richtig"][..],
        &["user", "add", "reader:richtig"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        one.ctl(args).unwrap();
    }
    let root = tempfile::tempdir().unwrap();
    let back_up = |cluster: EtcdCluster| executor(cluster, root.path()).make(&context());
    let login = |user: &str, password: &str| reached(&servers).login(user, SecretString::from(password));
    for cluster in [reached(&servers), login("root", "falsch"), login("reader", "richtig")] {
        let error = back_up(cluster).unwrap_err();
        assert!(matches!(error, DriverError::Refused { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("role root") && !text.contains("falsch"), "{text}");
        assert!(matches!(error.into_run_error(&context()), RunError::Permanent(_)));
    }
    back_up(login("root", "richtig")).unwrap();
    let mut status = EtcdStatus::new(reached(&servers), one.url());
    assert!(status.read(ManualClock::default().now()).is_ok(), "metrics need no login");
}

#[cfg(feature = "etcd-tls")]
#[test]
#[ignore = "needs etcd, etcdctl and openssl"]
fn a_snapshot_comes_over_tls_from_a_member_that_is_trusted() {
    let certificates = testbed::Certificates::make().unwrap();
    let server = EtcdServer::secured(&certificates).unwrap();
    server.ctl(&["put", "k", "v"]).unwrap();
    let read = |path: PathBuf| std::fs::read(path).unwrap();
    let secret = SecretString::from(String::from_utf8(read(certificates.key())).unwrap());
    let cluster = || EtcdCluster::new(server.url()).timeout(Duration::from_secs(20));
    let shown = |authority: PathBuf| {
        cluster().mutual_tls(&read(authority), &read(certificates.certificate()), &secret).unwrap()
    };
    let trusted = shown(certificates.authority());
    let root = tempfile::tempdir().unwrap();
    let done = executor(trusted.clone(), root.path()).make(&context()).unwrap();
    assert_eq!(done.manifest.facts["role"], "leader", "it is alone");
    let restored = EtcdServer::restored(&Path::new(&done.location).join(FILE)).unwrap();
    assert_eq!(restored.ctl(&["get", "k", "--print-value-only"]).unwrap().trim(), "v");
    EtcdStatus::new(trusted, server.url()).read(ManualClock::default().now()).unwrap();

    let other = testbed::Certificates::make().unwrap();
    for stranger in
        [cluster(), cluster().tls(&read(certificates.authority())).unwrap(), shown(other.authority())]
    {
        let error = executor(stranger, root.path()).make(&context()).unwrap_err();
        assert!(matches!(error, DriverError::Unreachable { .. }), "{error:?}");
    }
    assert!(cluster().tls(b"no certificate").is_err());
}

#[test]
fn a_cluster_that_nobody_answers_for_is_unreachable() {
    let url = format!("http://127.0.0.1:{}", testbed::free_port().unwrap());
    let root = tempfile::tempdir().unwrap();
    let executor = executor(EtcdCluster::new(&url), root.path());
    let error = executor.make(&context()).unwrap_err();
    assert!(matches!(&error, DriverError::Unreachable { server, .. } if *server == url), "{error}");
    assert!(matches!(error.into_run_error(&context()), RunError::Retryable(_)));
    let error = EtcdStatus::new(EtcdCluster::new(&url), &url).read(ManualClock::default().now()).unwrap_err();
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
}

#[test]
#[ignore = "needs etcd and etcdctl"]
fn a_batch_and_a_peak_of_short_reads_are_told_apart_at_equal_requests_a_second() {
    let servers = testbed::EtcdCluster::start().unwrap();
    let server = &servers.members[0];
    let client = Client::new(server);
    client.fill(4000, 120);
    let clock = ManualClock::default();
    let config = MonitorConfig::default().busy_at_requests_per_s(4.0);
    let monitor = Monitor::new("settings", EtcdStatus::new(reached(&servers), server.url()), config);
    let mut detector = monitor.detector();
    detector.detect(clock.now()).unwrap();
    let every = STANDARD.encode([0]);
    let point = json!({ "key": STANDARD.encode("fill/000007") });
    let batch = json!({ "key": every, "range_end": every });
    let mut after = |body: &Value| {
        for _ in 0..50 {
            client.call("range", body).unwrap();
        }
        // The detector waits a while before it calls a load calm again, so the peak comes last.
        clock.advance(Duration::from_secs(10));
        detector.detect(clock.now()).unwrap().state.level
    };
    assert_eq!(after(&batch), LoadLevel::Calm);
    assert_eq!(after(&point), LoadLevel::Busy);

    let mut status = EtcdStatus::new(reached(&servers), server.url());
    status.read(clock.now()).unwrap();
    for n in 0..20 {
        client.put("k", &n.to_string()).unwrap();
    }
    clock.advance(Duration::from_secs(10));
    let read = status.read(clock.now()).unwrap();
    let workload = read.workload.unwrap();
    assert_eq!((workload.pattern(), workload.writes_per_s), (QueryPattern::Writes, 2.0));
    for reading in &read.health {
        reading.check().unwrap();
    }
    let health = |name: &str| read.health.iter().find(|r| r.signal.as_str() == name).map(|r| r.value);
    assert!(health("wal_fsync_p99_ms").unwrap() > 0.0, "20 writes were synced");
    assert!(health("backend_commit_p99_ms").is_some());
    assert_eq!(health("leader_missing"), Some(0.0));
    assert_eq!(health("leader_changes"), Some(0.0));
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs etcd and etcdctl"]
fn a_reading_costs_less_than_a_thousandth_of_the_servers_time() {
    let servers = testbed::EtcdCluster::start().unwrap();
    let server = &servers.members[0];
    let mut status = EtcdStatus::new(reached(&servers), server.url());
    let clock = ManualClock::default();
    status.read(clock.now()).unwrap();
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.process.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    const READINGS: u64 = 60;
    // The best of some rounds: the member works for itself too, and a shared machine makes all work slower.
    let round = || {
        let before = ticks();
        for _ in 0..READINGS {
            clock.advance(Duration::from_secs(5));
            status.read(clock.now()).unwrap();
        }
        (ticks() - before) as f64 * 10.0 / READINGS as f64
    };
    let ms_each = std::iter::repeat_with(round).take(5).fold(f64::INFINITY, f64::min);
    println!("a reading costs {ms_each:.2} ms of the server's processor time");
    let cores = thread::available_parallelism().unwrap().get() as f64;
    assert!(ms_each < 5.0 * cores, "{ms_each} ms of 5 s on {cores} processors");
}

/// A gateway that answers with these texts by the end of the path.
fn gateway(answers: Vec<(&'static str, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let own = url.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut asked = Vec::new();
            let mut byte = [0];
            while !asked.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                asked.push(byte[0]);
            }
            let mut body = [0; 2];
            if asked.starts_with(b"POST") && stream.read_exact(&mut body).is_err() {
                continue;
            }
            let path = String::from_utf8_lossy(&asked).split(' ').nth(1).unwrap_or_default().to_owned();
            let answer = answers.iter().find(|(end, _)| path.ends_with(end));
            let (status, body) = match answer {
                Some((_, body)) => ("200 OK", body.replace("OWN", &own)),
                None => ("404 Not Found", "Not Found".into()),
            };
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        }
    });
    url
}

#[test]
fn a_snapshot_whose_digest_is_wrong_is_refused() {
    let piece = STANDARD.encode([7; 4096]);
    let snapshot = format!(
        "{{\"result\":{{\"remaining_bytes\":\"0\",\"blob\":\"{piece}\"}}}}\n{{\"result\":{{\"blob\":\"{}\"}}}}\n",
        STANDARD.encode([0; 32])
    );
    let header = r#""header":{"member_id":"5","revision":"9"}"#;
    let list = format!(r#"{{{header},"members":[{{"ID":"5","name":"m","clientURLs":["OWN"]}}]}}"#);
    let status = format!(r#"{{{header},"leader":"6","raftIndex":"9","raftAppliedIndex":"9"}}"#);
    let url = gateway(vec![("member/list", list), ("status", status), ("snapshot", snapshot)]);
    let members = EtcdMembers::new(EtcdCluster::new(&url)).states().unwrap();
    assert_eq!(members[0].role, EtcdRole::Follower);
    let root = tempfile::tempdir().unwrap();
    let executor = executor(EtcdCluster::new(&url), root.path());
    let error = executor.make(&context()).unwrap_err();
    assert!(matches!(error, DriverError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("digest"), "{error}");
    assert!(files(root.path()).is_empty());
}

#[test]
fn a_server_that_is_too_old_says_which_would_do() {
    let url = gateway(vec![("/version", r#"{"etcdserver":"3.3.25","etcdcluster":"3.3.0"}"#.into())]);
    let root = tempfile::tempdir().unwrap();
    let executor = executor(EtcdCluster::new(&url), root.path());
    let error = executor.make(&context()).unwrap_err();
    assert!(matches!(&error, DriverError::TooOld { found, .. } if found == "3.3.25"), "{error}");
    assert!(error.to_string().contains("3.4"), "{error}");
}

/// Whoever can change the list of members, or advertises wrongly, does not get the token in clear.
#[cfg(feature = "etcd-tls")]
#[test]
fn a_cluster_that_is_reached_by_https_is_asked_nowhere_else() {
    let header = r#""header":{"member_id":"5","revision":"9"}"#;
    let list = format!(r#"{{{header},"members":[{{"ID":"5","name":"m","clientURLs":["OWN/"]}}]}}"#);
    let status = format!(r#"{{{header},"leader":"6","raftIndex":"9","raftAppliedIndex":"9"}}"#);
    let url = gateway(vec![("member/list", list), ("status", status)]);
    let told = |cluster: &EtcdCluster| EtcdMembers::new(cluster.clone()).states().unwrap().remove(0);
    let member = told(&EtcdCluster::new(&url));
    assert!(member.state.is_some() && member.not_asked.is_empty(), "{member:?}");
    // The list itself comes from the address that the host names.
    let cluster = EtcdCluster::new(&url).endpoint("https://127.0.0.1:1");
    let member = told(&cluster);
    assert!(member.state.is_none() && member.url == url, "{member:?}");
    assert_eq!(member.not_asked, [format!("{url}/")]);
    let root = tempfile::tempdir().unwrap();
    let error = executor(cluster.clone(), root.path()).make(&context()).unwrap_err();
    assert!(error.to_string().contains(&format!("--advertise-client-urls, not {url}")), "{error}");
    assert!(!EtcdMembers::new(cluster).members().unwrap()[0].healthy);
}
