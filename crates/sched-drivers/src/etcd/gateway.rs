//! Requests to one member through its JSON gateway: [`Gateway`].

use std::io::Read;

use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::cluster::EtcdCluster;
use crate::DriverError;
use crate::secret::SecretString;

/// The oldest version whose gateway answers below `/v3`.
const NEEDED: &str = "3.4";
/// No answer but a snapshot is longer than this.
const LONGEST_ANSWER: u64 = 1 << 20;

/// The code of gRPC for what the server's state does not allow, here a login where authentication is not enabled.
const FAILED_PRECONDITION: u32 = 9;
/// How etcd says that a login is missing, wrong, or not enough. Unary calls have codes for that; streams have not.
const NO_ENTRY: [&str; 4] = ["user name is empty", "permission denied", "authentication failed", TOKEN];
/// How it says that a token is no longer known.
const TOKEN: &str = "invalid auth token";

/// Asks members of one cluster, logged in where there is a login.
pub(super) struct Gateway {
    agent: ureq::Agent,
    login: Option<(String, SecretString)>,
    token: Option<SecretString>,
}

/// What a member says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct MemberStatus {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) version: String,
    #[serde(default, rename = "dbSize", deserialize_with = "number")]
    pub(super) db_size: u64,
    #[serde(default, deserialize_with = "number")]
    pub(super) leader: u64,
    #[serde(default, rename = "raftIndex", deserialize_with = "number")]
    pub(super) raft_index: u64,
    #[serde(default, rename = "raftAppliedIndex", deserialize_with = "number")]
    pub(super) applied: u64,
    #[serde(default, rename = "isLearner")]
    pub(super) learner: bool,
    #[serde(default)]
    pub(super) errors: Vec<String>,
}

/// What stands at the head of every answer.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    #[serde(default, deserialize_with = "number")]
    pub(super) cluster_id: u64,
    #[serde(default, deserialize_with = "number")]
    pub(super) member_id: u64,
    #[serde(default, deserialize_with = "number")]
    pub(super) revision: u64,
}

/// A member as the cluster lists it.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    #[serde(rename = "ID", deserialize_with = "number")]
    pub(super) id: u64,
    /// Empty: it was added and has not started yet.
    #[serde(default)]
    pub(super) name: String,
    #[serde(default, rename = "clientURLs")]
    pub(super) urls: Vec<String>,
    #[serde(default, rename = "isLearner")]
    pub(super) learner: bool,
}

/// The gateway writes 64-bit numbers as text, and leaves zeros out.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either<'a> {
        Text(#[serde(borrow)] std::borrow::Cow<'a, str>),
        Number(u64),
    }
    match Either::deserialize(from)? {
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
        Either::Number(number) => Ok(number),
    }
}

impl Gateway {
    pub(super) fn new(cluster: &EtcdCluster) -> Result<Self, DriverError> {
        Ok(Self { agent: cluster.agent()?, login: cluster.login.clone(), token: None })
    }

    pub(super) fn status(&mut self, url: &str) -> Result<MemberStatus, DriverError> {
        self.ask(url, "maintenance/status")
    }

    pub(super) fn members(&mut self, url: &str) -> Result<Vec<Listed>, DriverError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            members: Vec<Listed>,
        }
        Ok(self.ask::<Answer>(url, "cluster/member/list")?.members)
    }

    /// Begins a snapshot; what comes is a stream of JSON objects.
    pub(super) fn snapshot(&mut self, url: &str) -> Result<impl Read + use<>, DriverError> {
        let response = self.post(url, "maintenance/snapshot")?;
        Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
    }

    fn ask<T: DeserializeOwned>(&mut self, url: &str, what: &str) -> Result<T, DriverError> {
        let mut response = self.post(url, what)?;
        parse(url, what, &mut response)
    }

    fn post(&mut self, url: &str, what: &str) -> Result<ureq::http::Response<ureq::Body>, DriverError> {
        let known = self.token.is_some();
        if !known {
            self.log_in(url)?;
        }
        match self.send(url, what, "{}".into()) {
            // Tokens last for minutes, and not beyond a restart.
            Err(Failure::Said(problem)) if known && problem.error.contains(TOKEN) => {
                self.token = None;
                self.log_in(url)?;
                self.send(url, what, "{}".into()).map_err(|failure| self.told(url, failure))
            }
            sent => sent.map_err(|failure| self.told(url, failure)),
        }
    }

    fn log_in(&mut self, url: &str) -> Result<(), DriverError> {
        #[derive(Deserialize)]
        struct Answer {
            token: String,
        }
        let Some((user, password)) = &self.login else { return Ok(()) };
        let body = json!({ "name": user, "password": password.expose_secret() }).to_string();
        match self.send(url, "auth/authenticate", body) {
            Ok(mut response) => {
                let answer: Answer = parse(url, "auth/authenticate", &mut response)?;
                self.token = Some(SecretString::from(answer.token));
                Ok(())
            }
            // Not enabled there: the login does no harm.
            Err(Failure::Said(problem)) if problem.code == FAILED_PRECONDITION => Ok(()),
            Err(failure) => Err(self.told(url, failure)),
        }
    }

    fn send(&self, url: &str, what: &str, body: String) -> Result<ureq::http::Response<ureq::Body>, Failure> {
        let mut request = self.agent.post(format!("{url}/v3/{what}")).content_type("application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", token.expose_secret());
        }
        let mut response = request.send(body.as_bytes()).map_err(Failure::Silent)?;
        match response.status().as_u16() {
            200 => Ok(response),
            404 => Err(Failure::NotThere),
            status => {
                let text = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string();
                let text = text.map_err(Failure::Silent)?;
                Err(Failure::Said(Problem::parse(status, &text)))
            }
        }
    }

    /// What a failure means, and what would help.
    fn told(&self, url: &str, failure: Failure) -> DriverError {
        let server = url.to_owned();
        match failure {
            Failure::Silent(error) => DriverError::Unreachable { server, error: error.to_string() },
            Failure::NotThere => match self.version(url) {
                Some(found) => DriverError::TooOld { server, found, needed: NEEDED.into() },
                None => DriverError::Answer {
                    server,
                    problem:
                        "nothing is at /v3; right is the address for clients of an etcd with its gateway \
                              (--enable-grpc-gateway)"
                            .into(),
                },
            },
            Failure::Said(Problem { error, .. }) if NO_ENTRY.iter().any(|text| error.contains(text)) => {
                let remedy = "give user and password of a user with the role root".into();
                DriverError::Refused { server, error, remedy }
            }
            Failure::Said(Problem { error, .. }) => DriverError::NotReady { server, problem: error },
        }
    }

    fn version(&self, url: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Answer {
            etcdserver: String,
        }
        let mut response = self.agent.get(format!("{url}/version")).call().ok()?;
        parse(url, "version", &mut response).ok().map(|answer: Answer| answer.etcdserver)
    }
}

fn parse<T: DeserializeOwned>(
    url: &str,
    what: &str,
    response: &mut ureq::http::Response<ureq::Body>,
) -> Result<T, DriverError> {
    let unreachable =
        |error: ureq::Error| DriverError::Unreachable { server: url.to_owned(), error: error.to_string() };
    let text = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string();
    serde_json::from_str(&text.map_err(unreachable)?)
        .map_err(|error| DriverError::Answer { server: url.to_owned(), problem: format!("{what}: {error}") })
}

/// Why there is no answer.
enum Failure {
    /// Nothing came.
    Silent(ureq::Error),
    /// No such path.
    NotThere,
    /// The gateway says no.
    Said(Problem),
}

pub(super) struct Problem {
    error: String,
    code: u32,
}

impl Problem {
    /// Unary calls put text and code side by side, streams into an object of their own.
    pub(super) fn parse(status: u16, text: &str) -> Self {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Stream {
                error: InStream,
            },
            Unary {
                error: String,
                #[serde(default)]
                code: u32,
            },
            Message {
                message: String,
                #[serde(default)]
                code: u32,
            },
        }
        #[derive(Deserialize)]
        struct InStream {
            message: String,
            #[serde(default)]
            grpc_code: u32,
        }
        match serde_json::from_str(text) {
            Ok(Said::Stream { error }) => Self { error: error.message, code: error.grpc_code },
            Ok(Said::Unary { error, code } | Said::Message { message: error, code }) => Self { error, code },
            Err(_) => Self { error: format!("HTTP status {status}"), code: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_read_in_each_of_its_forms() {
        let said = |text: &str| {
            let problem = Problem::parse(500, text);
            (problem.error, problem.code)
        };
        let told = |error: &str, code| (error.to_owned(), code);
        assert_eq!(said(r#"{"error":"no","message":"no","code":9}"#), told("no", 9));
        assert_eq!(said(r#"{"code":16,"message":"no","details":[]}"#), told("no", 16));
        assert_eq!(
            said(r#"{"error":{"grpc_code":2,"http_code":500,"message":"auth: no"}}"#),
            told("auth: no", 2)
        );
        assert_eq!(said("<html>"), told("HTTP status 500", 0));
    }
}
