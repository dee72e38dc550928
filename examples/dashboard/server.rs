//! The HTTP server: the page, the state as JSON, the metrics.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use backup_sched::observe::impact::Ratio;
use backup_sched::observe::metrics::MetricsCollector;
use backup_sched::{Event, PageCursor, PendingFilter, Rate, Scheduler, Scope, Stopped};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde::Serialize;
use serde_json::{Value, json};
use tiny_http::{Header, Method, Request, Response, StatusCode};

const PAGE: &str = include_str!("page.html");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Waiting jobs on one page.
const PAGE_OF_JOBS: usize = 100;
const WEEK: usize = 7 * 24;

/// Requests that are answered at the same time.
const ANSWERING: usize = 16;
/// Seconds that the chart of the load goes back.
const CHARTED: usize = 300;

/// Serves until it is dropped.
pub(crate) struct Server {
    http: Arc<tiny_http::Server>,
    charting: Option<JoinHandle<()>>,
    stop: Option<Sender<()>>,
    pub(crate) address: SocketAddr,
}

/// Rates and latencies of the last minutes, so that whoever opens the page sees them at once.
type Chart = Arc<Mutex<VecDeque<Value>>>;

struct Site {
    scheduler: Scheduler,
    registry: Registry,
    chart: Chart,
    token: Option<String>,
    port: u16,
}

/// What is answered: a body with its kind, or a status.
type Answer = Result<(&'static str, String), (u16, &'static str)>;

impl Server {
    /// Listens on this machine alone.
    pub(crate) fn start(scheduler: Scheduler, port: u16, token: Option<String>) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let http = Arc::new(tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?);
        let mut registry = Registry::default();
        let read = scheduler.clone();
        let collector = MetricsCollector::new(move || read.metrics().unwrap_or_default());
        registry.register_collector(Box::new(collector));
        let chart = Chart::default();
        let (stop, stopped) = bounded(0);
        let charted = (scheduler.clone(), chart.clone());
        let charting = thread::spawn(move || record(&charted.0, &charted.1, &stopped));
        let site = Arc::new(Site { scheduler, registry, chart, token, port: address.port() });
        // Several, so that a client that sends or reads nothing keeps only itself waiting.
        for _ in 0..ANSWERING {
            let (serving, site) = (http.clone(), site.clone());
            thread::spawn(move || {
                for request in serving.incoming_requests() {
                    // A reader that has gone away is no concern of the others.
                    let _ = site.answer(request);
                }
            });
        }
        Ok(Self { http, charting: Some(charting), stop: Some(stop), address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whoever answers is not waited for: a client may keep it for ever.
        (0..ANSWERING).for_each(|_| self.http.unblock());
        self.stop.take();
        if let Some(charting) = self.charting.take() {
            let _ = charting.join();
        }
    }
}

impl Site {
    fn answer(&self, request: Request) -> io::Result<()> {
        let answer = self.allowed(&request).and_then(|()| self.find(request.method(), request.url()));
        let (status, kind, body) = match answer {
            Ok((kind, body)) => (200, kind, body),
            Err((status, why)) => (status, "text/plain; charset=utf-8", why.to_owned()),
        };
        let mut response = Response::from_string(body).with_status_code(StatusCode(status));
        for (name, value) in [
            ("content-type", kind),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            // All that the page runs and shows is in it; it asks nobody but this server.
            ("content-security-policy", POLICY),
        ] {
            response.add_header(Header::from_bytes(name, value).expect("names and values are ours"));
        }
        request.respond(response)
    }

    /// Only for those who came to this server by its own name, so that no page of another site can read it through a
    /// browser, and who have the token.
    fn allowed(&self, request: &Request) -> Result<(), (u16, &'static str)> {
        let header = |name: &'static str| {
            let found = request.headers().iter().find(|header| header.field.equiv(name));
            found.map(|header| header.value.as_str())
        };
        let port = self.port;
        let own = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
        // Browsers leave out the port that is usual.
        let named =
            |host: &str, own: &str| own == host || port == 80 && own.strip_suffix(":80") == Some(host);
        if !header("host").is_some_and(|host| own.iter().any(|own| named(host, own))) {
            return Err((403, "this server answers to 127.0.0.1 and localhost only"));
        }
        let Some(token) = self.token.as_deref().filter(|_| path(request.url()) != "/") else { return Ok(()) };
        let given = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match given.is_some_and(|given| same(given.as_bytes(), token.as_bytes())) {
            true => Ok(()),
            false => Err((
                401,
                "the token is asked for: Authorization: Bearer TOKEN, or #token=TOKEN in the address of the page",
            )),
        }
    }

    fn find(&self, method: &Method, url: &str) -> Answer {
        if *method != Method::Get {
            return Err((405, "this server only tells"));
        }
        match path(url) {
            "/" => Ok(("text/html; charset=utf-8", PAGE.to_owned())),
            "/metrics" => {
                let mut text = String::new();
                encode(&mut text, &self.registry).map_err(|_| (500, "the metrics cannot be written"))?;
                Ok(("application/openmetrics-text; version=1.0.0; charset=utf-8", text))
            }
            "/api/summary" => told(self.scheduler.summary()),
            "/api/status" => told(self.scheduler.status()),
            "/api/attempts" => told(self.scheduler.attempts(PAGE_OF_JOBS)),
            "/api/events" => told(self.events(parameter(url, "since").unwrap_or_default())),
            "/api/impact" => told(self.impact()),
            "/api/jobs" => {
                let from = parameter(url, "from").unwrap_or_default();
                let from: PageCursor =
                    serde_json::from_value(json!(from)).map_err(|_| (400, "from is no cursor"))?;
                told(self.scheduler.pending_page(PendingFilter::all(), from, PAGE_OF_JOBS))
            }
            "/api/load" => told(Ok(&*self.chart.lock())),
            "/api/week" => told(self.week()),
            _ => Err((404, "there is no such thing here")),
        }
    }

    /// Events as sentences.
    fn events(&self, since: u64) -> Result<Value, Stopped> {
        let page = self.scheduler.events_since(since, 500)?;
        let told = |event: &Arc<Event>| json!({ "at": event.at.wall, "text": event.to_string() });
        let events: Vec<_> = page.events.iter().map(told).collect();
        Ok(json!({ "events": events, "next": page.next, "missed": page.missed }))
    }

    /// What backups did to the foreground.
    fn impact(&self) -> Result<Value, Stopped> {
        let Some(report) = self.scheduler.impact()? else { return Ok(Value::Null) };
        let tally = report.all.tally;
        let sentence = match tally.backups {
            0 => "no backup has ended yet".to_owned(),
            backups => format!(
                "{backups} backups: {} latency events were caused by them, so at most {:.3} each (95 %); {} were not, and of \
                 {} that cannot be told",
                tally.caused,
                tally.events_per_backup_at_most(),
                tally.not_caused,
                tally.cannot_tell,
            ),
        };
        let shown = |ratio: Option<Ratio>| {
            ratio.map(|of| format!("{:.2} ({:.2} to {:.2})", of.value, of.low, of.high)).unwrap_or_default()
        };
        let backups = report.backups.iter().take(20).map(|backup| {
            json!({
                "name": format!("{}, {} backup, watched at {}", backup.job, backup.kind, backup.instance),
                "verdict": backup.verdict.to_string(),
                "p50": shown(backup.ratios.p50),
                "p95": shown(backup.ratios.p95),
                "p99": shown(backup.ratios.p99),
            })
        });
        Ok(json!({ "sentence": sentence, "backups": backups.collect::<Vec<_>>() }))
    }

    /// The week ahead of every scope of which enough is learned, by the hour, and the starts that are planned by it.
    fn week(&self) -> Result<Value, Stopped> {
        let status = self.scheduler.status()?;
        let mut weeks = Vec::new();
        for scope in status.forecast.scopes.into_iter().filter(|scope| scope.trusted) {
            let hour = Duration::from_secs(3600);
            let Some(week) = self.scheduler.forecast(scope.scope.clone(), hour, WEEK)? else { continue };
            let hours: Vec<_> = week.slots.iter().map(|slot| [slot.mean, slot.spread]).collect();
            weeks.push(json!({ "scope": scope.scope.to_string(), "start": week.start, "hours": hours }));
        }
        let mut starts = Vec::new();
        for job in status.engine.waiting_jobs {
            // One that has ended meanwhile has no plan.
            if let Ok(Some(plan)) = self.scheduler.explain_plan(job.job.id) {
                let (instance, scope) = (job.job.instance, plan.forecast_of.to_string());
                starts.push(json!({ "instance": instance, "scope": scope, "start": plan.plan.start }));
            }
        }
        Ok(json!({ "scopes": weeks, "starts": starts }))
    }
}

/// Keeps rate and latency, once a second, until it is told to stop.
fn record(scheduler: &Scheduler, chart: &Mutex<VecDeque<Value>>, stop: &Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(Duration::from_secs(1)) {
        let Ok(status) = scheduler.status() else { return };
        let fleet = status.rates.iter().find(|rate| rate.place == Scope::Fleet);
        let measured = fleet.and_then(|fleet| fleet.reason.measured.as_ref());
        let rate = match status.rate {
            Rate::BytesPerSec(rate) => Some(rate),
            Rate::Unlimited => None,
        };
        let point = json!({
            "at": status.engine.at,
            "rate": rate,
            "latency": measured.map(|measured| measured.value),
            "goal": measured.map(|measured| measured.threshold),
            "unit": measured.map(|measured| &measured.unit),
            "why": fleet.map(|fleet| &fleet.reason.text),
        });
        let mut chart = chart.lock();
        if chart.len() == CHARTED {
            chart.pop_front();
        }
        chart.push_back(point);
    }
}

fn told<T: Serialize>(answer: Result<T, Stopped>) -> Answer {
    let answer = answer.map_err(|_| (503, "the scheduler has ended"))?;
    let text = serde_json::to_string(&answer).map_err(|_| (500, "the answer cannot be written"))?;
    Ok(("application/json", text))
}

fn path(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

fn parameter(url: &str, name: &str) -> Option<u64> {
    let (_, query) = url.split_once('?')?;
    let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found?.parse().ok()
}

/// Compares in a time that does not tell how much is right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
