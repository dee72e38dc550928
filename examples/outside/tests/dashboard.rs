//! The dashboard example as its users meet it: in a real browser, and read by a real Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{after, bounded};
use serde_json::Value;

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The example, which `cargo test` builds beside its tests.
struct Dashboard {
    _process: Process,
    _output: BufReader<ChildStdout>,
    /// `127.0.0.1:PORT`.
    address: String,
    /// What it says to open.
    line: String,
}

impl Dashboard {
    fn program() -> Command {
        let tests = std::env::current_exe().unwrap();
        Command::new(tests.parent().unwrap().parent().unwrap().join("examples/dashboard"))
    }

    fn start(args: &[&str]) -> Self {
        let mut command = Self::program();
        command.args(["--port", "0"]).args(args).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        Self { _process: Process(child), _output: output, address, line }
    }

    fn get(&self, path: &str, headers: &[&str]) -> (u16, String) {
        get(&self.address, path, headers)
    }
}

/// The status and body of an answer.
fn get(address: &str, path: &str, headers: &[&str]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SILENT)).unwrap();
    let own = format!("Host: {address}");
    let host = if headers.iter().any(|header| header.starts_with("Host:")) { vec![] } else { vec![&*own] };
    let headers: String = host.iter().chain(headers).map(|header| format!("{header}\r\n")).collect();
    write!(stream, "GET {path} HTTP/1.0\r\n{headers}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Asks until the answer is as wanted.
fn until<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let mut last = String::new();
    for _ in 0..600 {
        match ask() {
            Ok(found) => return found,
            Err(why) => last = why,
        }
        after(Duration::from_millis(200)).recv().unwrap();
    }
    panic!("{what}; last: {last}")
}

#[test]
fn it_answers_only_to_its_own_name_and_token() {
    let dashboard = Dashboard::start(&["--token", "s3cret"]);
    let with = "Authorization: Bearer s3cret";
    for path in ["/api/summary", "/metrics", "/api/events?since=0", "/api/nothing"] {
        assert_eq!(dashboard.get(path, &[]).0, 401, "{path}");
        assert_eq!(dashboard.get(path, &["Authorization: Bearer wrong"]).0, 401, "{path}");
    }
    // The page itself tells nothing.
    assert_eq!(dashboard.get("/", &[]).0, 200);
    assert_eq!(dashboard.get("/api/summary", &[with]).0, 200);
    assert_eq!(dashboard.get("/api/nothing", &[with]).0, 404);
    // A page of another site whose name was bound to this address.
    assert_eq!(dashboard.get("/api/summary", &[with, "Host: evil.example"]).0, 403);
    let (status, jobs) = dashboard.get("/api/jobs", &[with]);
    assert!(status == 200 && jobs.contains("\"next\""), "{jobs}");
}

#[test]
fn a_token_comes_through_the_address_as_it_is() {
    let dashboard = Dashboard::start(&["--token", "a+b/c=&%#"]);
    assert!(dashboard.line.contains("/#token=a%2Bb%2Fc%3D%26%25%23 "), "{}", dashboard.line);
    assert_eq!(dashboard.get("/api/events?since=3", &["Authorization: Bearer a+b/c=&%#"]).0, 200);
    assert_eq!(dashboard.get("/api/events?since=3", &["Authorization: Bearer a+b/c=&%"]).0, 401);
}

#[test]
fn a_token_of_a_file_is_asked_for_and_not_printed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    fs::write(&path, "s3cret\n").unwrap();
    let path = path.to_str().unwrap();
    let dashboard = Dashboard::start(&["--token-file", path]);
    assert!(!dashboard.line.contains("s3cret"), "{}", dashboard.line);
    assert_eq!(dashboard.get("/api/summary", &[]).0, 401);
    assert_eq!(dashboard.get("/api/summary", &["Authorization: Bearer s3cret"]).0, 200);

    // Rather none at all than one without a token.
    let empty = dir.path().join("empty");
    fs::write(&empty, "\n").unwrap();
    let gone = dir.path().join("gone");
    for args in [
        ["--token-file", empty.to_str().unwrap()].as_slice(),
        &["--token-file", gone.to_str().unwrap()],
        &["--token", "s3cret", "--token-file", path],
        &["--token-file", path, "--token", "s3cret"],
    ] {
        let output =
            Dashboard::program().args(["--port", "0", "--seconds", "0"]).args(args).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && told.contains("--token-file"), "{args:?}: {told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
}

#[test]
fn a_client_that_sends_no_body_and_reads_nothing_keeps_nobody_waiting() {
    let dashboard = Dashboard::start(&[]);
    let stuck: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = TcpStream::connect(&dashboard.address).unwrap();
            write!(stream, "POST / HTTP/1.1\r\nHost: evil\r\nContent-Length: 100000\r\n\r\n").unwrap();
            stream
        })
        .collect();
    assert_eq!(dashboard.get("/api/summary", &[]).0, 200);
    drop(stuck);
}

#[test]
fn as_many_connections_as_a_browser_opens_are_answered_at_once() {
    let dashboard = Dashboard::start(&[]);
    // None waits until another is closed: browsers keep them open.
    let all: Vec<_> = (0..32)
        .map(|_| {
            let mut stream = TcpStream::connect(&dashboard.address).unwrap();
            stream.set_read_timeout(Some(SILENT)).unwrap();
            write!(stream, "GET / HTTP/1.1\r\nHost: {}\r\n\r\n", dashboard.address).unwrap();
            stream
        })
        .collect();
    for mut stream in all.iter() {
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
    }
}

fn browser() -> &'static str {
    let there = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(there)
        .expect("chromium, of the package of that name")
}

/// How long nobody need answer before it counts as silent: a browser on a busy machine takes some seconds.
const SILENT: Duration = Duration::from_secs(60);

/// What the page holds after its scripts have run for some seconds.
fn page(dashboard: &Dashboard, token: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(browser());
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]);
    command.arg("--virtual-time-budget=5000");
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.arg(format!("http://{}/#token={token}", dashboard.address));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let _browser = Process(child);
    let (shown, seen) = bounded(1);
    thread::spawn(move || {
        let mut page = Vec::new();
        let read = output.read_to_end(&mut page).map(|_| String::from_utf8_lossy(&page).into_owned());
        // Nobody waits for one that was given up.
        let _ = shown.send(read);
    });
    seen.recv_timeout(SILENT).expect("the browser has the page within a minute").unwrap()
}

#[test]
#[ignore = "needs chromium"]
fn the_page_shows_what_happens_in_a_real_browser() {
    let dashboard = Dashboard::start(&["--token", "s3cret", "--seed", "3"]);
    let text = until("a backup runs and one with markup in its name is asked for", || {
        let (_, status) = dashboard.get("/api/status", &["Authorization: Bearer s3cret"]);
        let ready = status.contains("<b>") && status.contains("\"state\":\"running\"");
        ready.then(|| page(&dashboard, "s3cret")).ok_or(status)
    });
    for shown in [
        "as of ",
        "logarithmic PI law",
        "class=\"bar\"",
        "host db-1",
        "Waiting, and for what",
        "submitted, to finish by",
    ] {
        assert!(text.contains(shown), "no {shown:?} in\n{text}");
    }
    assert!(text.contains("orders &lt;b&gt;"), "{text}");
    assert!(!text.contains("orders <b>"), "markup of a name became the page's");
    let refused = page(&dashboard, "wrong");
    assert!(
        refused.contains("the token is missing or wrong") && !refused.contains("logarithmic"),
        "{refused}"
    );
}

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

/// The names of metrics in a text, without the endings that a histogram's series have.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let own = words.filter(|word| word.starts_with("backup_sched_"));
    own.map(|word| {
        ["_bucket", "_sum", "_count"].iter().fold(word, |w, end| w.trim_end_matches(end)).to_owned()
    })
    .collect()
}

/// The metrics that a scrape describes, also those without a value so far.
fn described(scraped: &str) -> BTreeSet<String> {
    let types = scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect()
}

#[test]
#[ignore = "needs prometheus"]
fn a_real_prometheus_takes_the_metrics_the_alerts_and_every_query_of_the_panels() {
    let dir = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(&["--seed", "3"]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = format!("127.0.0.1:{port}");
    let rules = docs("alerts.yml");
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{}']\n\
         scrape_configs: [{{job_name: backups, static_configs: [{{targets: ['{}']}}]}}]\n",
        rules.display(),
        dashboard.address
    );
    fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let mut command = Command::new("prometheus");
    command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
    command.arg(format!("--web.listen-address={server}")).current_dir(dir.path());
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let child = command.stdout(Stdio::null()).stderr(log).spawn();
    let _prometheus = Process(
        child.unwrap_or_else(|error| panic!("cannot start prometheus, of the package of that name: {error}")),
    );
    let ask = |path: &str| -> Result<Value, String> {
        if TcpStream::connect(&server).is_err() {
            return Err(fs::read_to_string(dir.path().join("log")).unwrap_or_default());
        }
        let (status, body) = get(&server, path, &[]);
        let answer: Value = serde_json::from_str(&body).map_err(|_| format!("{status}: {body}"))?;
        if answer["status"] == "success" { Ok(answer) } else { Err(format!("{path}: {body}")) }
    };
    let query = |promql: &str| {
        let encoded: String = promql.bytes().map(|byte| format!("%{byte:02X}")).collect();
        ask(&format!("/api/v1/query?query={encoded}"))
    };
    until("a scrape", || {
        let answer = query("sum(backup_sched_attempts_started_total) > 0")?;
        let found = answer["data"]["result"].as_array().is_some_and(|found| !found.is_empty());
        found.then_some(()).ok_or_else(|| answer.to_string())
    });
    // All rules are evaluated, and none is broken.
    until("evaluated rules", || {
        let answer = ask("/api/v1/rules")?;
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
        let fine = rules.len() >= 8 && rules.iter().all(|rule| rule["health"] == "ok");
        fine.then_some(()).ok_or_else(|| answer.to_string())
    });
    // Every query of a panel can be asked, and asks for what there is.
    let (_, scraped) = dashboard.get("/metrics", &[]);
    let known = described(&scraped);
    let grafana: Value = serde_json::from_str(&fs::read_to_string(docs("grafana.json")).unwrap()).unwrap();
    let panels = grafana["panels"].as_array().unwrap();
    let queries: Vec<_> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    assert!(queries.len() >= 14);
    for promql in queries {
        query(&promql.replace("$instance", ".*")).unwrap();
        assert!(metrics(promql).is_subset(&known), "{promql} asks for what no scrape has");
    }
    let alerts = fs::read_to_string(&rules).unwrap();
    let asked = metrics(&alerts);
    assert!(asked.is_subset(&known), "{:?}", asked.difference(&known));
    // What docs/operating.md lists is what there is.
    assert_eq!(metrics(&fs::read_to_string(docs("operating.md")).unwrap()), known);
}
