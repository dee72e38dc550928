//! The HTTP server: the page, the state as JSON, the metrics.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use backup_sched::observe::impact::Ratio;
use backup_sched::observe::metrics::MetricsCollector;
use backup_sched::{Event, PageCursor, PendingFilter, Rate, Scheduler, Scope, Stopped};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;

const PAGE: &str = include_str!("page.html");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Waiting jobs on one page.
const PAGE_OF_JOBS: usize = 100;
const WEEK: usize = 7 * 24;

/// Requests that are answered at the same time; others wait. Connections are no matter: a client that sends or reads
/// nothing keeps only itself waiting.
const ANSWERING: usize = 16;
/// Seconds that the chart of the load goes back.
const CHARTED: usize = 300;

/// Serves until it is dropped.
pub(crate) struct Server {
    serving: Option<Runtime>,
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
type Answer = Result<(&'static str, String), (StatusCode, &'static str)>;

impl Server {
    /// Listens on this machine alone.
    pub(crate) fn start(scheduler: Scheduler, port: u16, token: Option<String>) -> io::Result<Self> {
        let serving = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(ANSWERING)
            .enable_all()
            .build()?;
        let listener = serving.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, port)))?;
        let address = listener.local_addr()?;
        let mut registry = Registry::default();
        let read = scheduler.clone();
        let collector = MetricsCollector::new(move || read.metrics().unwrap_or_default());
        registry.register_collector(Box::new(collector));
        let chart = Chart::default();
        let (stop, stopped) = bounded(0);
        let charted = (scheduler.clone(), chart.clone());
        let charting = thread::spawn(move || record(&charted.0, &charted.1, &stopped));
        let site = Arc::new(Site { scheduler, registry, chart, token, port: address.port() });
        let router = Router::new().fallback(answer).with_state(site);
        serving.spawn(axum::serve(listener, router).into_future());
        Ok(Self { serving: Some(serving), charting: Some(charting), stop: Some(stop), address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whoever is being answered is not waited for: a client may keep that for ever.
        if let Some(serving) = self.serving.take() {
            serving.shutdown_background();
        }
        self.stop.take();
        if let Some(charting) = self.charting.take() {
            let _ = charting.join();
        }
    }
}

/// A scheduler is asked on a thread that may wait for it.
async fn answer(State(site): State<Arc<Site>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let found = spawn_blocking(move || site.answer(&method, &uri, &headers)).await;
    found.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

impl Site {
    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
        let (status, kind, body) = match self.allowed(uri, headers).and_then(|()| self.find(method, uri)) {
            Ok((kind, body)) => (StatusCode::OK, kind, body),
            Err((status, why)) => (status, "text/plain; charset=utf-8", why.to_owned()),
        };
        let headers = [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            // All that the page runs and shows is in it; it asks nobody but this server.
            (header::CONTENT_SECURITY_POLICY, POLICY),
        ];
        (status, headers, body).into_response()
    }

    /// Only for those who came to this server by its own name, so that no page of another site can read it through a
    /// browser, and who have the token.
    fn allowed(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let port = self.port;
        let own = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
        // Browsers leave out the port that is usual.
        let named =
            |host: &str, own: &str| own == host || port == 80 && own.strip_suffix(":80") == Some(host);
        if !header(header::HOST).is_some_and(|host| own.iter().any(|own| named(host, own))) {
            return Err((StatusCode::FORBIDDEN, "this server answers to 127.0.0.1 and localhost only"));
        }
        let Some(token) = self.token.as_deref().filter(|_| uri.path() != "/") else { return Ok(()) };
        let given = header(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        match given.is_some_and(|given| same(given.as_bytes(), token.as_bytes())) {
            true => Ok(()),
            false => Err((
                StatusCode::UNAUTHORIZED,
                "the token is asked for: Authorization: Bearer TOKEN, or #token=TOKEN in the address of the page",
            )),
        }
    }

    fn find(&self, method: &Method, uri: &Uri) -> Answer {
        if *method != Method::GET {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "this server only tells"));
        }
        match uri.path() {
            "/" => Ok(("text/html; charset=utf-8", PAGE.to_owned())),
            "/metrics" => {
                let mut text = String::new();
                encode(&mut text, &self.registry)
                    .map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"))?;
                Ok(("application/openmetrics-text; version=1.0.0; charset=utf-8", text))
            }
            "/api/summary" => told(self.scheduler.summary()),
            "/api/status" => told(self.scheduler.status()),
            "/api/attempts" => told(self.scheduler.attempts(PAGE_OF_JOBS)),
            "/api/events" => told(self.events(parameter(uri, "since").unwrap_or_default())),
            "/api/impact" => told(self.impact()),
            "/api/jobs" => {
                let from = parameter(uri, "from").unwrap_or_default();
                let from: PageCursor = serde_json::from_value(json!(from))
                    .map_err(|_| (StatusCode::BAD_REQUEST, "from is no cursor"))?;
                told(self.scheduler.pending_page(PendingFilter::all(), from, PAGE_OF_JOBS))
            }
            "/api/load" => told(Ok(&*self.chart.lock())),
            "/api/week" => told(self.week()),
            _ => Err((StatusCode::NOT_FOUND, "there is no such thing here")),
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
    let answer = answer.map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, "the scheduler has ended"))?;
    let text = serde_json::to_string(&answer)
        .map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written"))?;
    Ok(("application/json", text))
}

fn parameter(uri: &Uri, name: &str) -> Option<u64> {
    let found = uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found?.parse().ok()
}

/// Compares in a time that does not tell how much is right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
