//! etcd: three members, values by key through the JSON gateway of the leader. A snapshot cannot be paced; what is judged
//! is the member it comes from, and the whole.

use std::sync::Arc;
use std::time::Duration;

use backup_sched::JobSpec;
use sched_drivers::destination::Destination;
use sched_drivers::etcd::{EtcdCluster, EtcdStatus, Snapshot};
use sched_drivers::server::{Monitor, MonitorConfig};

use super::{Client, Kind, Technology};
use crate::Failure;
use crate::method::AnyExecutor;

const PAYLOAD: usize = 8 << 10;
/// What etcd reasonably holds beside a foreground on a small machine.
const MOST_BYTES: u64 = 256 << 20;

pub(super) struct Etcd {
    cluster: sched_testbed::EtcdCluster,
    leader: String,
    keys: u64,
}

impl Etcd {
    pub(super) fn start(bytes: u64) -> Result<Self, Failure> {
        let cluster = sched_testbed::EtcdCluster::start()?;
        let leader = cluster.urls()[cluster.leader()?].clone();
        let keys = bytes.min(MOST_BYTES) / PAYLOAD as u64;
        let this = Self { cluster, leader, keys };
        let mut client = EtcdClient::new(&this, 1);
        for key in 0..keys {
            client.put(key)?;
        }
        Ok(this)
    }

    fn known(&self) -> EtcdCluster {
        let urls = self.cluster.urls();
        urls[1..].iter().fold(EtcdCluster::new(&urls[0]), |cluster, url| cluster.endpoint(url))
    }
}

impl Technology for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn versions(&self) -> String {
        "etcd, three members, snapshot through the gateway".into()
    }

    fn client(&self, seed: u64) -> Result<Box<dyn Client>, Failure> {
        Ok(Box::new(EtcdClient::new(self, seed)))
    }

    fn spec(&self) -> JobSpec {
        JobSpec::new("shop", "etcd")
    }

    /// It reads in one transaction, whose pages the server keeps.
    fn holds_what_it_copies(&self) -> bool {
        true
    }

    fn executor(&self, to: Arc<dyn Destination>) -> Result<AnyExecutor, Failure> {
        let cluster = self.known();
        Ok(Arc::new(Snapshot::new(move |_| Some(cluster.clone()), to)))
    }

    fn monitor(&self) -> Option<Monitor> {
        let status = EtcdStatus::new(self.known(), &self.leader);
        Some(Monitor::new("shop", status, MonitorConfig::default()))
    }
}

struct EtcdClient {
    agent: ureq::Agent,
    url: String,
    keys: u64,
    rng: fastrand::Rng,
}

impl EtcdClient {
    fn new(etcd: &Etcd, seed: u64) -> Self {
        let agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).build();
        let (url, rng) = (etcd.leader.clone(), fastrand::Rng::with_seed(seed));
        Self { agent: agent.into(), url, keys: etcd.keys, rng }
    }

    fn put(&mut self, key: u64) -> Result<(), Failure> {
        let value: String =
            std::iter::repeat_with(|| self.rng.alphanumeric()).take(PAYLOAD / 4 * 4).collect();
        // Letters and digits are base64 as they are, in fours.
        self.post("put", &format!("{{\"key\":\"{}\",\"value\":\"{value}\"}}", name(key)))
    }

    fn post(&self, what: &str, body: &str) -> Result<(), Failure> {
        let mut answer = self.agent.post(format!("{}/v3/kv/{what}", self.url)).send(body)?;
        answer.body_mut().read_to_string()?;
        Ok(())
    }
}

/// A key as base64: eight characters that stand for six bytes.
fn name(key: u64) -> String {
    format!("{key:08}")
}

impl Client for EtcdClient {
    fn request(&mut self) -> Result<(), Failure> {
        let key = self.rng.u64(0..self.keys);
        if Kind::draw(&mut self.rng) == Kind::Write {
            return self.put(key);
        }
        self.post("range", &format!("{{\"key\":\"{}\"}}", name(key)))
    }
}
