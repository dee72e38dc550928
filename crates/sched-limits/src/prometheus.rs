//! Remote hosts, as a Prometheus server tells them: [`PrometheusProbe`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use sched_core::{HostName, Now};

use crate::probe::{CapacityProbe, ProbeError};
use crate::reading::Reading;
use crate::signal;
use answer::Series;

mod answer;
mod node;
mod query;

pub use query::{Capacity, Query};

/// How often most Prometheus servers scrape.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(15);
const TIMEOUT: Duration = Duration::from_secs(5);
/// A query that answers with more is not one of single numbers.
const LONGEST_ANSWER: u64 = 4 << 20;

/// Asks a Prometheus server, over HTTP, once a scrape interval.
///
/// ```
/// use sched_limits::prometheus::{PrometheusProbe, Query};
/// use sched_core::Scope;
///
/// let probe = PrometheusProbe::new("prometheus-db-7", "http://prometheus:9090")
///     .node("db-7", r#"instance="db-7:9100""#)
///     .query(
///         Query::new("pg_connections", r#"sum(pg_stat_activity_count{instance="db-7:9187"})"#, "connections")
///             .of(200.0)
///             .scope(Scope::Host("db-7".into()))
///             .stamped_by(r#"timestamp(pg_up{instance="db-7:9187"})"#),
///     );
/// ```
///
/// Every query has to give a finite number. An empty answer or NaN fails the sample with the query's text, unless the
/// query is [optional](Query::optional). One probe is one unit that can fail: give hosts a probe each.
///
/// A value is as old as the sample behind it, by the server's clock, if the query says what it is
/// [stamped by](Query::stamped_by): an exporter that has stopped is noticed although the server still answers. HTTPS
/// needs the feature `prometheus-tls`. Proxies of the environment are not used, and redirects not followed: headers would go
/// along. The address is in errors and in `Debug`: a user or password in it fails every sample with an error that does not
/// repeat it.
pub struct PrometheusProbe {
    name: String,
    url: String,
    period: Duration,
    timeout: Duration,
    headers: Vec<(String, String)>,
    queries: Vec<Query>,
    nodes: Vec<(HostName, String)>,
    disk_bytes_per_sec: Option<f64>,
    network_bytes_per_sec: Option<f64>,
    open: Option<Open>,
}

/// What the settings came to.
struct Open {
    agent: ureq::Agent,
    queries: Vec<Query>,
}

impl PrometheusProbe {
    /// A probe that asks the server at `url`, such as `http://prometheus:9090`, nothing yet. Who logs in does so by a
    /// [`header`](Self::header), not in the address.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            period: SCRAPE_INTERVAL,
            timeout: TIMEOUT,
            headers: Vec::new(),
            queries: Vec::new(),
            nodes: Vec::new(),
            disk_bytes_per_sec: None,
            network_bytes_per_sec: None,
            open: None,
        }
    }

    /// Asks for what node_exporter tells of a host, under the names of [`HostProbe`](crate::HostProbe)'s signals:
    /// `cpu`, `cpu.steal`, `memory`, `psi.…`, `disk`, `disk.iops`, `disk.queue` and `network:<device>`.
    ///
    /// `selector` is the label matchers of the host's series, such as `instance="db-7:9100"`. Pressure and stolen time
    /// are left out where the host does not tell them.
    #[must_use]
    pub fn node(mut self, host: impl Into<HostName>, selector: impl Into<String>) -> Self {
        self.nodes.push((host.into(), selector.into()));
        self
    }

    /// Asks a query of your own.
    #[must_use]
    pub fn query(mut self, query: Query) -> Self {
        self.queries.push(query);
        self
    }

    /// How often the server scrapes its targets, and so how often it is asked. Default 15 s.
    #[must_use]
    pub fn scrape_interval(mut self, interval: Duration) -> Self {
        self.period = interval;
        self
    }

    /// How long to wait for one answer. Default 5 s. After the first that does not come no more are waited for.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a header with every request, such as `Authorization`.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Says how fast the disks of every [`node`](Self::node) are together. Default: unknown.
    #[must_use]
    pub fn disk_bytes_per_sec(mut self, capacity: u64) -> Self {
        self.disk_bytes_per_sec = Some(capacity as f64);
        self
    }

    /// Says how fast each link of every [`node`](Self::node) is that does not tell its speed, in one direction.
    /// Default: unknown.
    #[must_use]
    pub fn network_bytes_per_sec(mut self, capacity: u64) -> Self {
        self.network_bytes_per_sec = Some(capacity as f64);
        self
    }

    fn open(&self) -> Result<Open, ProbeError> {
        if self.url_without_user() != self.url {
            let what = format!("the address {}", self.url_without_user());
            let problem = "it has a user before the host; right is one without, and `PrometheusProbe::header` with \
                           `Authorization`";
            return Err(ProbeError::Parse { what, problem: problem.into() });
        }
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(self.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("backup-sched/", env!("CARGO_PKG_VERSION")));
        let nodes = self.nodes.iter().flat_map(|(host, selector)| {
            let speeds = node::Speeds { disk: self.disk_bytes_per_sec, network: self.network_bytes_per_sec };
            node::queries(host, selector, self.period, speeds)
        });
        let queries = nodes.chain(self.queries.iter().cloned()).collect();
        Ok(Open { agent: config.build().into(), queries })
    }

    /// The address without what stands before an `@` in the part of the host.
    fn url_without_user(&self) -> String {
        let start = self.url.find("//").map_or(0, |at| at + 2);
        let (scheme, rest) = self.url.split_at(start);
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        match rest[..end].rfind('@') {
            None => self.url.clone(),
            Some(at) => format!("{scheme}{}", &rest[at + 1..]),
        }
    }

    /// What the server answers to `promql`.
    fn ask(&self, agent: &ureq::Agent, promql: &str) -> Result<Vec<Series>, ProbeError> {
        let failed =
            |problem: String| ProbeError::Parse { what: format!("the answer to {promql:?}"), problem };
        let unreachable = |error: ureq::Error| {
            ProbeError::unavailable(format!("{} does not answer {promql:?}: {error}", self.url))
        };
        let url = format!("{}/api/v1/query", self.url.trim_end_matches('/'));
        let mut request = agent.get(url).query("query", promql);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut response = request.call().map_err(unreachable)?;
        let body = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string();
        let status = response.status();
        answer::parse(&body.map_err(unreachable)?).map_err(|problem| {
            let told = if status.is_success() { String::new() } else { format!("HTTP status {status}: ") };
            failed(told + &problem)
        })
    }

    /// What a query of time stamps tells, asked once a sample; of several the oldest, as a sum is as old as its oldest
    /// part.
    fn stamp(&self, agent: &ureq::Agent, stamps: &mut Stamps, promql: &str) -> Result<f64, ProbeError> {
        if let Some(known) = stamps.get(promql) {
            return Ok(*known);
        }
        let told = self.ask(agent, promql)?;
        let oldest = told.iter().map(|series| series.value).min_by(f64::total_cmp).ok_or_else(|| {
            ProbeError::Parse {
                what: format!("the answer to {promql:?}"),
                problem: "it is empty: nothing tells how old the values are".into(),
            }
        })?;
        stamps.insert(promql.to_owned(), oldest);
        Ok(oldest)
    }

    fn answer(
        &self,
        agent: &ureq::Agent,
        stamps: &mut Stamps,
        query: &Query,
    ) -> Result<Vec<Reading>, ProbeError> {
        let failed = |problem: String| ProbeError::Parse {
            what: format!("the answer to {:?}", query.promql),
            problem,
        };
        let series = self.ask(agent, &query.promql)?;
        let Some(first) = series.first() else {
            return if query.optional { Ok(vec![]) } else { Err(failed("it is empty".into())) };
        };
        let age = match &query.stamped_by {
            None => Duration::ZERO,
            Some(promql) => {
                let taken = self.stamp(agent, stamps, promql)?;
                Duration::try_from_secs_f64((first.at - taken).max(0.0)).unwrap_or(Duration::MAX)
            }
        };
        let capacities = match &query.capacity {
            Some(Capacity::Query(promql)) => self.ask(agent, promql)?,
            _ => vec![],
        };
        query.readings(&series, &capacities, age).map_err(failed)
    }
}

/// Time stamps by the query that tells them: many queries share one.
type Stamps = BTreeMap<String, f64>;

impl CapacityProbe for PrometheusProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn period(&self) -> Duration {
        self.period
    }

    fn sample(&mut self, _: Now) -> Result<Vec<Reading>, ProbeError> {
        if self.open.is_none() {
            self.open = Some(self.open()?);
        }
        let Some(open) = &self.open else { return Ok(vec![]) };
        let mut stamps = Stamps::new();
        let mut readings = Vec::with_capacity(open.queries.len());
        for query in &open.queries {
            readings.extend(self.answer(&open.agent, &mut stamps, query)?);
        }
        Ok(readings)
    }
}

impl fmt::Debug for PrometheusProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers hold secrets, and so would a user in the address.
        f.debug_struct("PrometheusProbe")
            .field("name", &self.name)
            .field("url", &self.url_without_user())
            .field("nodes", &self.nodes)
            .field("queries", &self.queries)
            .finish_non_exhaustive()
    }
}

/// The signal of a series: the query's, with the label's value where it tells series apart.
fn signal_of(query: &Query, series: &Series) -> sched_core::SignalName {
    match query.per.as_ref().and_then(|label| series.labels.get(label)) {
        Some(value) => signal::on(query.signal.as_str(), value),
        None => query.signal.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use sched_core::{Clock, ManualClock};

    use super::*;

    /// A server that gives these answers in their order, each on a connection of its own, and returns what was asked.
    fn server(answers: &[&str]) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers: Vec<String> = answers.iter().map(|&answer| answer.to_owned()).collect();
        let serve = move || {
            let reply = |answer: &String| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = Vec::new();
                let mut byte = [0];
                while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    asked.push(byte[0]);
                }
                let (status, body) = answer.split_once('|').unwrap_or(("200 OK", answer));
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                )
                .ok();
                String::from_utf8(asked).unwrap()
            };
            answers.iter().map(reply).collect()
        };
        (url, std::thread::spawn(serve))
    }

    fn vector(at: f64, value: &str) -> String {
        let series = format!(r#"{{"metric":{{}},"value":[{at},"{value}"]}}"#);
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#)
    }

    const EMPTY: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;

    fn sample(probe: &mut PrometheusProbe) -> Result<Vec<Reading>, String> {
        probe.sample(ManualClock::default().now()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_is_as_old_as_its_time_stamp_says() {
        let (url, served) = server(&[&vector(1000.5, "3"), &vector(1000.5, "984.25"), &vector(1000.5, "4")]);
        let stamped =
            |name: &str| Query::new(name, format!("{name}_total"), "things").stamped_by("timestamp(up)");
        let mut probe = PrometheusProbe::new("remote", url).query(stamped("a")).query(stamped("b"));
        probe = probe.header("Authorization", "Bearer secret");
        let readings = sample(&mut probe).unwrap();
        let seen: Vec<_> =
            readings.iter().map(|r| (r.signal.as_str(), r.value, r.age.as_secs_f64())).collect();
        assert_eq!(seen, [("a", 3.0, 16.25), ("b", 4.0, 16.25)], "one stamp for both");
        let asked = served.join().unwrap();
        assert!(asked[0].starts_with("GET /api/v1/query?query=a_total "), "{}", asked[0]);
        assert!(asked[0].to_lowercase().contains("authorization: bearer secret"));
        assert!(!format!("{probe:?}").contains("secret"));
    }

    #[test]
    fn what_is_no_number_is_an_error_that_names_the_query() {
        let bad = [
            (EMPTY, "it is empty"),
            (&vector(1.0, "NaN"), "NaN"),
            (&vector(1.0, "+Inf"), "inf"),
            ("not json", "expected"),
            ("503 Unavailable|busy", "HTTP status 503"),
            (
                r#"400 Bad|{"status":"error","errorType":"bad_data","error":"parse error: oops"}"#,
                "parse error: oops",
            ),
        ];
        for (answer, problem) in bad {
            let (url, served) = server(&[answer]);
            let mut probe = PrometheusProbe::new("remote", url).query(Query::new("a", "sum(up)", "things"));
            let error = sample(&mut probe).unwrap_err();
            assert!(error.contains("\"sum(up)\"") && error.contains(problem), "{error}");
            served.join().unwrap();
        }
    }

    #[test]
    fn a_value_of_unknown_age_is_an_error() {
        let (url, served) = server(&[&vector(1000.0, "3"), EMPTY]);
        let query = Query::new("a", "a_total", "things").stamped_by("timestamp(up)");
        let error = sample(&mut PrometheusProbe::new("remote", url).query(query)).unwrap_err();
        assert!(error.contains("timestamp(up)") && error.contains("how old"), "{error}");
        served.join().unwrap();
    }

    #[test]
    fn an_optional_query_may_be_empty() {
        let (url, served) = server(&[EMPTY, &vector(1.0, "2")]);
        let query = |name| Query::new(name, name, "things");
        let mut probe = PrometheusProbe::new("remote", url).query(query("a").optional()).query(query("b"));
        assert_eq!(sample(&mut probe).unwrap(), [Reading::new("b", 2.0, "things")]);
        served.join().unwrap();
    }

    #[test]
    fn a_server_that_does_not_answer_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let probe = PrometheusProbe::new("remote", &url).timeout(Duration::from_millis(50));
        let error = sample(&mut probe.query(Query::new("a", "up", "things"))).unwrap_err();
        assert!(error.contains(&url) && error.contains("timeout"), "{error}");
        drop(silent);
        let error =
            sample(&mut PrometheusProbe::new("r", url).query(Query::new("a", "up", "things"))).unwrap_err();
        assert!(error.contains("\"up\""), "{error}");
    }

    #[test]
    fn a_redirect_is_not_followed_and_gets_no_headers() {
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        let target = format!("http://{}/", elsewhere.local_addr().unwrap());
        let (url, served) = server(&[&format!("302 Found\r\nlocation: {target}|moved")]);
        let mut probe = PrometheusProbe::new("remote", url).query(Query::new("a", "sum(up)", "things"));
        probe = probe.header("X-Scope-OrgID", "s3cret").timeout(Duration::from_secs(2));
        let error = sample(&mut probe).unwrap_err();
        assert!(error.contains("HTTP status 302"), "{error}");
        served.join().unwrap();
        assert!(elsewhere.accept().is_err(), "the other server was asked");
    }

    #[test]
    fn a_user_in_the_address_is_refused_and_not_repeated() {
        for url in ["http://backup:s3cret@127.0.0.1:1", "http://s3cret@127.0.0.1:1/p", "s3cret@127.0.0.1:1"] {
            let mut probe = PrometheusProbe::new("remote", url).query(Query::new("a", "up", "things"));
            let error = sample(&mut probe).unwrap_err();
            assert!(error.contains("127.0.0.1:1") && error.contains("PrometheusProbe::header"), "{error}");
            assert!(!error.contains("s3cret") && !format!("{probe:?}").contains("s3cret"), "{error}");
        }
        let probe = PrometheusProbe::new("remote", "http://h/a@b");
        assert!(format!("{probe:?}").contains("http://h/a@b"), "an `@` in a path is none of a user");
    }
}
