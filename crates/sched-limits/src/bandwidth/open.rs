//! Opening and closing the way past the lock: what is set aside, and what is put in the books afterwards.

use sched_core::MonoTime;

use super::tree::{Ix, Tree};
use crate::rate::Rate;

impl Tree {
    /// Lets a job take by itself while nobody waits, and takes `need` bytes and a lease that way if they are there.
    pub(super) fn open_gate(&mut self, ix: Ix, need: u64, now: MonoTime) -> bool {
        let was_open = self.nodes[ix].job_mut().is_none_or(|job| std::mem::replace(&mut job.gate_open, true));
        if !was_open {
            self.gates.push(ix);
            self.on_path(ix, |node| node.open(now));
            let own = match self.nodes[ix].bucket.rate() {
                Rate::Unlimited => u64::MAX,
                Rate::BytesPerSec(_) => self.nodes[ix].opened.unwrap_or(0),
            };
            let limited = |ix: &Ix| self.nodes[*ix].opened.is_some();
            let places = self.path(ix).skip(1).filter(limited).map(|ix| self.nodes[ix].open.clone());
            if let Some(job) = self.nodes[ix].job() {
                job.line.gate.open(own, places);
            }
        }
        self.nodes[ix].job().is_some_and(|job| job.line.gate.take(need, self.lease))
    }

    /// Lets no job take by itself any more. What was taken is put in the books, what is left goes back.
    pub(super) fn close_gates(&mut self, now: MonoTime) {
        let gates = std::mem::take(&mut self.gates);
        // All gates first: a job that is still on its way may yet put back what it took below.
        for ix in &gates {
            let Some(job) = self.nodes[*ix].job_mut() else { continue };
            job.gate_open = false;
            let closed = job.line.gate.close();
            self.nodes[*ix].open.set(closed.own);
            self.enter(*ix, closed.taken, false);
        }
        for ix in gates {
            self.on_path(ix, |node| node.close(now));
        }
    }

    /// Bytes taken by a job, or below a place, that are not in the books yet.
    pub(super) fn unentered(&self, ix: Ix) -> u64 {
        let below = self.gates.iter().filter(|job| self.path(**job).any(|above| above == ix));
        below.filter_map(|job| self.nodes[*job].job()).map(|job| job.line.gate.taken()).sum()
    }
}
