//! The Prometheus probe reads a real Prometheus that scrapes a real node_exporter, both on loopback.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use backup_sched::limits::conformance;
use backup_sched::limits::prometheus::{PrometheusProbe, Query};
use backup_sched::{CapacityProbe, Clock, HostProbe, Reading, Scope, SystemClock};
use crossbeam_channel::after;

const LONG: Duration = Duration::from_secs(120);
const SCRAPE: Duration = Duration::from_secs(1);

/// A process that ends with the test.
struct Server(Child);

impl Server {
    fn start(program: &str, args: &[String], dir: &Path) -> Self {
        let log = fs::File::create(dir.join(format!("{program}.log"))).unwrap();
        let child =
            Command::new(program).args(args).current_dir(dir).stdout(Stdio::null()).stderr(log).spawn();
        Self(
            child.unwrap_or_else(|error| {
                panic!("cannot start {program}, of the package of that name: {error}")
            }),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A port that was free just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Samples until the result is as wanted.
fn sample_until<T>(
    probe: &mut dyn CapacityProbe,
    what: &str,
    mut wanted: impl FnMut(&Result<Vec<Reading>, String>) -> Option<T>,
) -> T {
    let start = SystemClock.now().mono;
    loop {
        let now = SystemClock.now();
        let result = probe.sample(now).map_err(|error| error.to_string());
        if let Some(found) = wanted(&result) {
            return found;
        }
        assert!(now.mono.since(start) < LONG, "{what}; last: {result:#?}");
        after(Duration::from_millis(200)).recv().unwrap();
    }
}

#[test]
#[ignore = "needs prometheus and prometheus-node-exporter"]
fn a_real_prometheus_tells_what_the_host_itself_tells() {
    let dir = tempfile::tempdir().unwrap();
    let (node, port) = (format!("127.0.0.1:{}", free_port()), free_port());
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs: [{{job_name: node, static_configs: [{{targets: ['{node}']}}]}}]\n"
    );
    fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let exporter =
        Server::start("prometheus-node-exporter", &[format!("--web.listen-address={node}")], dir.path());
    let flags = [
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=data".to_owned(),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let server = Server::start("prometheus", &flags, dir.path());

    let selector = format!("instance=\"{node}\"");
    let url = format!("http://127.0.0.1:{port}/");
    let probe = || {
        PrometheusProbe::new("remote", &url)
            .node("db-7", &selector)
            .scrape_interval(SCRAPE)
            .disk_bytes_per_sec(10_000_000_000)
            .network_bytes_per_sec(10_000_000_000)
    };
    let mut remote = probe();
    let readings = sample_until(&mut remote, "an answer to every query", |result| result.clone().ok());
    let names: Vec<_> = readings.iter().map(|reading| reading.signal.as_str()).collect();
    for wanted in ["cpu", "cpu.steal", "memory", "disk", "disk.iops", "disk.queue"] {
        assert!(names.contains(&wanted), "{wanted} of {names:?}");
    }
    match Path::new("/proc/pressure/cpu").exists() {
        true => assert!(names.contains(&"psi.cpu"), "{names:?}"),
        false => println!("this kernel has no /proc/pressure: the signals psi.… are not checked"),
    }
    for reading in &readings {
        reading.check().unwrap();
        assert_eq!(reading.scope, Scope::Host("db-7".into()));
        assert!(reading.age < SCRAPE * 5, "{reading:?}");
        let alone = ["disk.iops", "disk.queue"].contains(&reading.signal.as_str());
        assert_eq!(reading.capacity.is_some(), !alone, "{reading:?}");
    }
    let memory =
        |readings: &[Reading]| readings.iter().find(|r| r.signal.as_str() == "memory").cloned().unwrap();
    let (told, local) =
        (memory(&readings), memory(&HostProbe::new("db-7").sample(SystemClock.now()).unwrap()));
    assert_eq!(told.capacity, local.capacity, "the same machine");
    assert!((told.value - local.value).abs() < 0.25 * local.capacity.unwrap(), "{told:?} {local:?}");
    conformance::Suite::default().deadline(LONG).check(probe()).unwrap();

    let own = Query::new("up", "sum(up)", "targets").of(1.0).stamped_by("timestamp(up)");
    let mut own = PrometheusProbe::new("own", &url).query(own);
    sample_until(&mut own, "one target is up", |result| {
        result.as_ref().ok().filter(|readings| readings[0].utilization() == Some(1.0)).map(drop)
    });
    let wrong =
        PrometheusProbe::new("wrong", &url).query(Query::new("x", "sum(", "x")).sample(SystemClock.now());
    let wrong = wrong.unwrap_err().to_string();
    assert!(wrong.contains("\"sum(\"") && wrong.contains("parse error"), "{wrong}");

    drop(exporter);
    let error = sample_until(&mut remote, "the exporter's end is noticed", |result| result.clone().err());
    assert!(error.contains("node_") && error.contains("it is empty"), "{error}");
    drop(server);
    let error = sample_until(&mut own, "the server's end is noticed", |result| result.clone().err());
    assert!(error.contains("does not answer \"sum(up)\""), "{error}");
}
