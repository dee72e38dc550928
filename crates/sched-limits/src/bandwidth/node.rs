//! A place or a job in the tree: [`Node`].

use std::sync::Arc;

use sched_core::{MonoTime, Scope};

use super::bucket::Bucket;
use super::gate::Open;
use super::line::Line;
use super::tree::Ix;
use crate::rate::Rate;

/// The virtual time that a byte costs a child of weight 1.
const STRIDE: u64 = 1 << 32;

/// A place or a job.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) bucket: Bucket,
    /// What was set aside of the bucket for jobs to take by themselves; `None` when nothing is, or there is no limit.
    pub(super) opened: Option<u64>,
    /// What is left of it.
    pub(super) open: Arc<Open>,
    pub(super) parent: Option<Ix>,
    /// Virtual time up to which it was served, in that of its parent.
    pub(super) tag: u128,
    /// Virtual time of its children: the tag of the last one served.
    pub(super) clock: u128,
    /// Its part against that of the others under its parent, at least 1.
    pub(super) weight: u32,
    /// Virtual time that a byte costs it.
    pub(super) stride: u64,
    /// Bytes that wait at or below.
    pub(super) waiting: u64,
    /// Bytes taken so far, without what was given back.
    pub(super) granted: u64,
    /// Children with bytes that wait.
    pub(super) active: Vec<Ix>,
    pub(super) children: usize,
    /// Jobs at or below.
    pub(super) jobs: u64,
    /// Weights of the children that have jobs.
    pub(super) weights: u64,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// One that nobody set anything for goes with its last child.
    Place(Scope, Configured),
    Job(Job),
}

pub(super) type Configured = bool;

#[derive(Debug)]
pub(super) struct Job {
    pub(super) line: Arc<Line>,
    /// Whether it may take by itself.
    pub(super) gate_open: bool,
    pub(super) floor: Bucket,
    /// Bytes that were put in line since it began, modulo 2⁶⁴.
    pub(super) issued: u64,
    /// Charged and given up before it was let through. It stands at the end of the line and passes when all else has.
    pub(super) given_up: u64,
    /// The most that is let through at once: a chunk, or nothing when a rate on the way is 0.
    pub(super) piece: u64,
    /// The [shape](super::line::Shape) of the tree for which the piece was worked out.
    pub(super) measured: u64,
}

impl Job {
    /// Bytes asked for that were not let through.
    pub(super) fn backlog(&self) -> u64 {
        self.line.missing(self.issued).saturating_sub(self.given_up)
    }

    /// Lets through bytes that were taken.
    pub(super) fn pass(&mut self, bytes: u64) {
        self.line.pass(bytes);
        if self.backlog() == 0 {
            self.line.pass(std::mem::take(&mut self.given_up));
        }
    }
}

impl Node {
    /// Sets aside what jobs may take by themselves, unless that was done or there is no limit.
    pub(super) fn open(&mut self, now: MonoTime) {
        if self.opened.is_none() && self.bucket.rate() != Rate::Unlimited {
            self.bucket.refill(now);
            let bytes = self.bucket.open();
            self.opened = Some(bytes);
            self.open.set(bytes);
        }
    }

    pub(super) fn close(&mut self, now: MonoTime) {
        if let Some(opened) = self.opened.take() {
            self.bucket.close(opened, self.open.close(), now);
        }
    }

    /// Puts back bytes that were taken here and did not move.
    pub(super) fn give_back(&mut self, bytes: u64) {
        self.bucket.give_back(bytes);
        self.granted = self.granted.wrapping_sub(bytes);
    }

    pub(super) fn set_weight(&mut self, weight: u32) {
        (self.weight, self.stride) = (weight.max(1), stride(weight));
    }

    /// Its part of what its parent has when all ask.
    pub(super) fn part(&self, parent: &Self) -> f64 {
        f64::from(self.weight) / parent.weights.max(1) as f64
    }

    pub(super) fn job(&self) -> Option<&Job> {
        match &self.kind {
            Kind::Job(job) => Some(job),
            Kind::Place(..) => None,
        }
    }

    pub(super) fn job_mut(&mut self) -> Option<&mut Job> {
        match &mut self.kind {
            Kind::Job(job) => Some(job),
            Kind::Place(..) => None,
        }
    }
}

pub(super) fn node(rate: Rate, parent: Option<Ix>, weight: u32, now: MonoTime, kind: Kind) -> Node {
    Node {
        bucket: Bucket::new(rate, now),
        opened: None,
        open: Arc::default(),
        parent,
        tag: 0,
        clock: 0,
        weight: weight.max(1),
        stride: stride(weight),
        waiting: 0,
        granted: 0,
        active: Vec::new(),
        children: 0,
        jobs: 0,
        weights: 0,
        kind,
    }
}

fn stride(weight: u32) -> u64 {
    STRIDE / u64::from(weight.max(1))
}
