//! What needs somebody, by HTTP: [`Webhook`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crossbeam_channel::after;
use sched_core::{Event, EventKind};
use serde_json::json;
use ureq::http::{HeaderName, HeaderValue, Uri};

use crate::hook::Hook;

/// What a [`Webhook`] cannot be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The address cannot be used. It may be a secret and is not told.
    #[error(
        "the address of the webhook cannot be used; it must be like http://HOST[:PORT]/PATH, or https:// with the feature \
         webhook-tls"
    )]
    Url,
    /// A header cannot be used. Its value may be a secret and is not told.
    #[error("{name:?} cannot be a header, or its value holds what no header may, such as a line break")]
    Header {
        /// Its name.
        name: String,
    },
}

/// Posts events to an address as JSON: `{"text": …, "event": {…}}`, `text` being a sentence, as chat servers take it.
/// Clones share the counts.
///
/// By default only what needs somebody: failures for good, deadlines at risk, breakers, lost signals, failed laws, a full
/// queue. An event that is not accepted with a status 2xx is sent twice more, after 2 and 10 s, and then is counted
/// as lost and told by `tracing`. Meanwhile events wait in the hook's queue; the scheduler does not. Of the address only the
/// host is ever told: the path of a chat server's webhook is a secret.
///
/// ```
/// use sched_observe::Webhook;
///
/// let pager = Webhook::new("http://127.0.0.1:9093/backups")?.header("authorization", "Bearer s3cret")?;
/// // Scheduler::builder().hook(pager.clone())
/// assert_eq!(pager.lost(), 0);
/// assert!(!format!("{pager:?}").contains("s3cret") && !format!("{pager:?}").contains("/backups"));
/// # Ok::<(), sched_observe::WebhookError>(())
/// ```
#[derive(Clone)]
pub struct Webhook {
    url: String,
    /// With the host alone: the rest of the address may be a secret.
    name: String,
    retry_after: Duration,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    wanted: Arc<dyn Fn(&Event) -> bool + Send + Sync>,
    agent: ureq::Agent,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    lost: AtomicU64,
}

fn needs_somebody(event: &Event) -> bool {
    matches!(
        event.kind,
        EventKind::Failed { .. }
            | EventKind::DoesNotStop { .. }
            | EventKind::RpoAtRisk { .. }
            | EventKind::BreakerTripped { .. }
            | EventKind::SignalLost { .. }
            | EventKind::LawFailed { .. }
            | EventKind::DueRefused { .. }
            | EventKind::StoreDown { .. }
            | EventKind::QueueFull { .. }
    )
}

impl Webhook {
    /// A webhook at this address.
    ///
    /// # Errors
    /// When it is no `http://` address, or `https://` with the feature `webhook-tls`.
    pub fn new(url: impl Into<String>) -> Result<Self, WebhookError> {
        let url = url.into();
        let uri = url.parse::<Uri>().map_err(|_| WebhookError::Url)?;
        let scheme = uri.scheme_str();
        if !(scheme == Some("http") || cfg!(feature = "webhook-tls") && scheme == Some("https")) {
            return Err(WebhookError::Url);
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(WebhookError::Url)?;
        let name = format!("webhook {host}");
        let timeout = Duration::from_secs(5);
        Ok(Self {
            url,
            name,
            retry_after: Duration::from_secs(2),
            headers: Vec::new(),
            timeout,
            wanted: Arc::new(needs_somebody),
            agent: agent(timeout),
            counts: Arc::default(),
        })
    }

    /// Adds a header, such as a token. It is not told by `Debug`.
    ///
    /// # Errors
    /// When name or value cannot be sent.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, WebhookError> {
        let wrong = || WebhookError::Header { name: name.to_owned() };
        let header = HeaderName::try_from(name).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        self.headers.push((header, value));
        Ok(self)
    }

    /// Sets how long the server may take to accept an event. Default 5 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.agent = agent(timeout);
        self
    }

    /// Sets how long it waits before an event that was not accepted is sent again; before the third time five times as
    /// long. Default 2 s.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = wait;
        self
    }

    /// Sends the events for which this is true. Default: what needs somebody.
    #[must_use]
    pub fn only(mut self, wanted: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Self {
        self.wanted = Arc::new(wanted);
        self
    }

    /// Events that were accepted.
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Relaxed)
    }

    /// Events that nobody accepted.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Relaxed)
    }

    fn post(&self, body: &str) -> Result<(), String> {
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = request.send(body).map_err(|error| error.to_string())?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("HTTP status {status}")),
        }
    }
}

fn agent(timeout: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent(concat!("backup-sched/", env!("CARGO_PKG_VERSION")));
    config.build().into()
}

impl Hook for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn lost(&self) -> u64 {
        Webhook::lost(self)
    }

    fn event(&mut self, event: &Event) {
        if !(self.wanted)(event) {
            return;
        }
        let body = json!({ "text": event.to_string(), "event": event }).to_string();
        let mut error = String::new();
        for wait in [Duration::ZERO, self.retry_after, self.retry_after.saturating_mul(5)] {
            // Nobody sends to this: the thread is the hook's own, and what comes meanwhile waits in its queue.
            let _ = after(wait).recv();
            match self.post(&body) {
                Ok(()) => {
                    self.counts.sent.fetch_add(1, Relaxed);
                    return;
                }
                Err(why) => error = why,
            }
        }
        self.counts.lost.fetch_add(1, Relaxed);
        tracing::warn!(hook = self.name, error, "nobody accepts the event: {event}");
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("headers", &headers)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use sched_core::{Clock, ManualClock, Reason};

    use super::*;

    /// A server that answers each request with the next status and hands over what it was sent.
    fn server(statuses: &'static [&'static str]) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let serve = move || {
            let answer = |status: &&str| {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut request, mut part) = (Vec::new(), [0; 4096]);
                let complete = |request: &[u8]| {
                    let text = String::from_utf8_lossy(request);
                    let (head, body) = text.split_once("\r\n\r\n")?;
                    let length = head.lines().find_map(|l| l.strip_prefix("content-length: "))?;
                    (body.len() >= length.parse().unwrap()).then_some(())
                };
                while complete(&request).is_none() {
                    let read = stream.read(&mut part).unwrap();
                    assert!(read > 0, "the request ends before its body does");
                    request.extend(&part[..read]);
                }
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .unwrap();
                String::from_utf8(request).unwrap()
            };
            statuses.iter().map(answer).collect()
        };
        (url, thread::spawn(serve))
    }

    fn event(kind: EventKind) -> Event {
        Event::new(ManualClock::default().now(), None, kind)
    }

    fn lost() -> EventKind {
        EventKind::SignalLost { signal: "cpu".into(), reason: Reason::new("silent") }
    }

    #[test]
    fn what_needs_somebody_is_posted_and_sent_again_when_it_is_refused() {
        let (url, served) = server(&["503 Busy", "204 Fine", "500 A", "500 B", "500 C"]);
        let mut hook = Webhook::new(url).unwrap().header("Authorization", "Bearer abc").unwrap();
        hook = hook.retry_after(Duration::from_millis(1));
        hook.event(&event(EventKind::Started));
        hook.event(&event(lost()));
        assert_eq!((hook.sent(), hook.lost()), (1, 0));
        hook.event(&event(lost()));
        assert_eq!((hook.sent(), hook.lost()), (1, 1));
        let requests = served.join().unwrap();
        assert_eq!(requests.len(), 5);
        let (head, body) = requests[1].split_once("\r\n\r\n").unwrap();
        assert!(head.contains("authorization: Bearer abc"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["text"], "signal cpu is lost: silent");
        assert_eq!(body["event"]["event"], "signal_lost");
    }

    #[test]
    fn nobody_listening_loses_the_event_and_says_so() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut hook = Webhook::new(format!("http://{free}/")).unwrap().only(|_| true);
        hook = hook.retry_after(Duration::from_millis(1));
        hook.event(&event(EventKind::Started));
        assert_eq!((hook.sent(), hook.lost()), (0, 1));
    }

    #[test]
    fn what_is_no_address_or_header_is_refused() {
        for url in ["", "pager", "ftp://host/", "http://", "http:///path", "http://a b/"] {
            assert_eq!(Webhook::new(url).unwrap_err(), WebhookError::Url);
        }
        let hook = Webhook::new("http://127.0.0.1:1/").unwrap();
        assert!(hook.clone().header("a b", "x").is_err());
        let error = hook.header("token", "two\nlines").unwrap_err().to_string();
        assert!(!error.contains("two"), "a secret is told: {error}");
    }
}
