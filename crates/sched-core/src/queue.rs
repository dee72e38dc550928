//! The waiting line: [`JobQueue`] and its default, an indexed 4-ary heap.

use std::collections::HashMap;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::spec::JobId;

/// Where a job stands in line; the least goes first.
///
/// Fields are compared in order of declaration. The key is fixed while the job waits, so that whoever is submitted
/// later than the start-by time of a waiting job plus the largest class boost cannot overtake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderKey {
    /// 0 for critical jobs, which go before all others; 1 for the rest.
    pub class: u8,
    /// Latest start minus class boost, in milliseconds of Unix time.
    pub start_by_ms: i64,
    /// Rank of the technology in the configured order; those not named there share the last rank.
    pub technology_rank: u16,
    /// Size in bytes, smaller first; `u64::MAX` when unknown.
    pub size_bytes: u64,
    /// The job, earlier submissions first.
    pub id: JobId,
}

/// An ordered set of jobs. Implementations must be deterministic.
pub trait JobQueue: Debug + Send {
    /// Adds a job, or moves it to its new place when it is in the queue already.
    fn insert(&mut self, key: OrderKey);

    /// Takes a job out. Returns its key, or `None` when it is not in the queue.
    fn remove(&mut self, id: JobId) -> Option<OrderKey>;

    /// The job that goes first.
    fn first(&self) -> Option<OrderKey>;

    /// How many jobs go before this one; counting stops at `most`. `None` when it is not in the queue.
    fn ahead(&self, id: JobId, most: usize) -> Option<usize>;

    /// Number of jobs.
    fn len(&self) -> usize;

    /// Whether there is no job.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Children of a heap node. Four keep the tree half as deep as two, and a node's children in about two cache lines.
const ARITY: usize = 4;

/// The default [`JobQueue`]: a 4-ary heap that knows the place of each job.
///
/// `insert` and `remove` cost O(log n), `first` O(1), `ahead` O(answer).
#[derive(Debug, Default)]
pub struct IndexedQueue {
    heap: Vec<OrderKey>,
    places: HashMap<JobId, usize>,
}

impl IndexedQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    fn put(&mut self, at: usize, key: OrderKey) {
        self.heap[at] = key;
        self.places.insert(key.id, at);
    }

    /// Moves the key at `at` to where it belongs.
    fn settle(&mut self, mut at: usize) {
        let key = self.heap[at];
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if self.heap[parent] <= key {
                break;
            }
            self.put(at, self.heap[parent]);
            at = parent;
        }
        loop {
            let children = at * ARITY + 1..(at * ARITY + 1 + ARITY).min(self.heap.len());
            match children.min_by_key(|&child| self.heap[child]) {
                Some(least) if self.heap[least] < key => {
                    self.put(at, self.heap[least]);
                    at = least;
                }
                _ => break,
            }
        }
        self.put(at, key);
    }
}

impl JobQueue for IndexedQueue {
    fn insert(&mut self, key: OrderKey) {
        let at = match self.places.get(&key.id) {
            Some(&at) => {
                self.heap[at] = key;
                at
            }
            None => {
                self.heap.push(key);
                self.heap.len() - 1
            }
        };
        self.settle(at);
    }

    fn remove(&mut self, id: JobId) -> Option<OrderKey> {
        let at = self.places.remove(&id)?;
        let key = self.heap.swap_remove(at);
        if at < self.heap.len() {
            self.settle(at);
        }
        Some(key)
    }

    fn first(&self) -> Option<OrderKey> {
        self.heap.first().copied()
    }

    fn ahead(&self, id: JobId, most: usize) -> Option<usize> {
        let key = self.heap[*self.places.get(&id)?];
        // In a heap the keys below a given one form a tree that hangs from the root.
        let mut count = 0;
        let mut open = vec![0];
        while let Some(at) = open.pop() {
            if count < most && self.heap.get(at).is_some_and(|other| *other < key) {
                count += 1;
                open.extend(at * ARITY + 1..=at * ARITY + ARITY);
            }
        }
        Some(count)
    }

    fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn key(id: u64, start_by_ms: i64) -> OrderKey {
        OrderKey { class: 1, start_by_ms, technology_rank: 0, size_bytes: 1, id: JobId(id) }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64, i64),
        Remove(u64),
        Pop,
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            4 => (0..40u64, -5..5i64).prop_map(|(id, at)| Op::Insert(id, at)),
            1 => (0..40u64).prop_map(Op::Remove),
            2 => Just(Op::Pop),
        ];
        prop::collection::vec(op, 0..300)
    }

    proptest! {
        /// Against a sorted set of keys, which is obviously right.
        #[test]
        fn behaves_like_a_sorted_set(ops in ops()) {
            let mut queue = IndexedQueue::new();
            let mut model: BTreeSet<OrderKey> = BTreeSet::new();
            for op in ops {
                match op {
                    Op::Insert(id, at) => {
                        model.retain(|k| k.id != JobId(id));
                        model.insert(key(id, at));
                        queue.insert(key(id, at));
                    }
                    Op::Remove(id) => {
                        let expected = model.iter().find(|k| k.id == JobId(id)).copied();
                        model.retain(|k| k.id != JobId(id));
                        prop_assert_eq!(queue.remove(JobId(id)), expected);
                    }
                    Op::Pop => {
                        let first = model.pop_first();
                        prop_assert_eq!(queue.first(), first);
                        prop_assert_eq!(first.and_then(|k| queue.remove(k.id)), first);
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                for (ahead, k) in model.iter().enumerate() {
                    prop_assert_eq!(queue.ahead(k.id, usize::MAX), Some(ahead));
                    prop_assert_eq!(queue.ahead(k.id, 3), Some(ahead.min(3)));
                }
            }
        }
    }
}
