//! One of several schedulers that share a store: what it does beside keeping entries.
//!
//! The fleet is divided into shares. A member leases some of them: it alone makes the backups of their hosts and clusters,
//! and writes what becomes of them. Its lease lasts as long as it is heard of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::gate::{Reason, Scope};
use crate::name::{HostName, InstanceName, ResourceName};
use crate::run::RunLease;
use crate::spec::{JobId, JobSpec};
use crate::status::JobStatus;

use super::{AuditEntry, Entry, JobEntry, StoreError};

/// A place in a fleet, of a store that is [shared](super::JobStore::fleet).
#[derive(Debug)]
pub struct Fleet {
    /// For whoever decides.
    pub desk: Arc<dyn FleetDesk>,
    /// For whoever asks the others, which takes its time.
    pub member: Box<dyn FleetMember>,
}

/// What a scheduler may do, known without asking anybody.
pub trait FleetDesk: fmt::Debug + Send + Sync {
    /// The share that a job belongs to.
    fn share_of(&self, spec: &JobSpec) -> u32;

    /// The lease as it stands: what is started now runs under it. Nothing starts when it is over, and what runs is stopped:
    /// others take over a little later. Once it was lost to others it never holds again, and this gives the next one.
    fn lease(&self) -> Arc<dyn RunLease>;

    /// From here on what is written of a share counts.
    fn own(&self, taken: &TakenShare);

    /// From here on what is written of a share is left out.
    fn disown(&self, share: u32);

    /// What is kept of an instance belongs to an owned share, whether it has a job or not, and wherever it was before.
    fn place(&self, instance: &InstanceName, share: u32);

    /// What is learned of a host's load belongs to a share, whoever owns that: its cluster's, where it is in one. Without
    /// this call it is the one that the host's own name says.
    fn place_host(&self, host: &HostName, share: u32);
}

/// What a scheduler does with others.
pub trait FleetMember: fmt::Debug + Send {
    /// How often [`beat`](Self::beat) is called.
    fn every(&self) -> Duration;

    /// The limits that span schedulers.
    fn limits(&self) -> Vec<SharedLimit>;

    /// Gives a sign of life, passes `report` on, and tells what is new.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when others may have taken over: it owns nothing any more, and the next call begins anew. After
    /// another error the next call goes on.
    fn beat(&mut self, report: FleetReport, tell: &mut dyn FnMut(FleetNews)) -> Result<(), StoreError>;

    /// Leaves: others take over at once. Nothing of its shares may run any more, and all is written.
    ///
    /// # Errors
    /// When nobody could be told; they will find out by the lease.
    fn leave(&mut self) -> Result<(), StoreError>;
}

/// What a scheduler tells others at each beat.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct FleetReport {
    /// Shares that it has been asked to give up, or could not keep, and of which nothing is left here: others may have them.
    pub clear: BTreeSet<u32>,
    /// Shares that it does not want to give up or take now: something runs there, or is not written yet.
    pub busy: BTreeSet<u32>,
    /// What it uses of limits that span schedulers, by [name](SharedLimit::name).
    pub uses: BTreeMap<String, LimitUse>,
    /// Jobs that it has asked others for, and of which it has not heard that they ended.
    pub asked: BTreeSet<JobId>,
}

/// What a scheduler hears from others.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FleetNews {
    /// It owns a share from now on.
    Taken(Box<TakenShare>),
    /// It should give up these shares, when nothing runs there.
    GiveUp(Vec<u32>),
    /// Somebody asks for something that is the business of a share's owner.
    Asked(Box<Request>),
    /// An order of an operator stands, or does not any more, for all.
    Orders(Box<Entry>),
    /// Something that an operator did, or that became of an order, as it is written down. It may have been done here.
    Audit(Box<AuditEntry>),
    /// It may use so much of a limit.
    Part(String, u64),
    /// A job that it asked others for has ended; `None`: nobody knows how.
    Ended(JobId, Option<Box<JobStatus>>),
    /// A job that it asked others for was refused.
    Refused(JobId, String),
    /// Something in the store cannot be read. It stays there untouched, and all else goes on.
    Unreadable(StoreError),
}

/// A share that was taken over, with all that is kept of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TakenShare {
    /// The share.
    pub share: u32,
    /// Its fencing number: whoever takes it over later has a larger one.
    pub epoch: i64,
    /// The incarnation of the scheduler that took it.
    pub owner: i64,
    /// Jobs that have not ended.
    pub jobs: Vec<JobEntry>,
    /// What else is kept.
    pub facts: Vec<Entry>,
}

impl TakenShare {
    /// A share of which nothing is kept.
    pub fn new(share: u32, epoch: i64, owner: i64) -> Self {
        Self { share, epoch, owner, jobs: Vec::new(), facts: Vec::new() }
    }
}

/// Something that is asked of the owner of a share, answered once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Counts the requests of a store; 0 before it is written.
    #[serde(default)]
    pub number: i64,
    /// The share.
    #[serde(default)]
    pub share: u32,
    /// What.
    pub ask: Ask,
}

/// What is asked of the owner of a share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ask {
    /// A backup, as it was asked for; whoever asks calls the job by that number, whatever it is at its owner.
    Submit(JobId, Box<JobSpec>),
    /// The end of a job, which whoever asks calls by that number.
    Cancel(JobId, Reason),
}

/// A limit that spans schedulers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedLimit {
    /// The place: the fleet, or a link.
    pub place: Scope,
    /// The resource that jobs demand; `None`: the bytes a second that all may move there together.
    pub resource: Option<ResourceName>,
    /// How much there is for all.
    pub total: u64,
}

impl SharedLimit {
    /// So much of a resource, or without one so many bytes a second, for all at a place.
    pub fn new(place: Scope, resource: Option<ResourceName>, total: u64) -> Self {
        Self { place, resource, total }
    }

    /// What it is called in the store.
    pub fn name(&self) -> String {
        match &self.resource {
            Some(resource) => format!("{} of {}", resource.as_str(), self.place),
            None => format!("rate of {}", self.place),
        }
    }
}

/// What a scheduler uses of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitUse {
    /// The part that it has applied: it starts nothing that would use more.
    pub applied: u64,
    /// What it uses, looked at after that.
    pub used: u64,
    /// All that it could use now.
    pub demand: u64,
    /// What it needs at least to go on: what is used, and all that its most urgent waiting job needs.
    pub least: u64,
    /// How urgent that job is: the less, the more.
    pub key: i64,
}
