//! The waiting line: [`JobQueue`] and its default, an indexed 4-ary heap.

use std::fmt::{self, Debug};
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use crate::spec::JobId;

/// Where a job stands in line; the least goes first.
///
/// Compared by class, start-by time, rank of the technology, size and submission, in this order. The key is fixed
/// while the job waits, so that whoever is submitted later than the start-by time of a waiting job plus the largest
/// class boost cannot overtake it. Packed into 24 bytes: three of them share a pair of cache lines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderKey {
    /// Class (2 bits), start-by time (46 bits) and rank (16 bits).
    urgency: u64,
    size_bytes: u64,
    /// The job, earlier submissions first.
    pub id: JobId,
}

impl OrderKey {
    const RANK_BITS: u32 = 16;
    const TIME_BITS: u32 = 46;
    /// The time 0 lies in the middle of what can be told apart.
    const TIME_OFFSET: i64 = 1 << (Self::TIME_BITS - 1);

    /// A key.
    ///
    /// `class` is 0 for critical jobs, 1 for those that operators want now, and 2 (or more) for the rest.
    /// `start_by_ms` is the latest start minus the class boost in milliseconds of Unix time, kept within ± 1,114
    /// years. Lower ranks of a technology go first. `size_bytes` is `u64::MAX` when unknown.
    pub const fn new(class: u8, start_by_ms: i64, technology_rank: u16, size_bytes: u64, id: JobId) -> Self {
        let time = match start_by_ms {
            early if early < -Self::TIME_OFFSET => 0,
            late if late >= Self::TIME_OFFSET => (1 << Self::TIME_BITS) - 1,
            ms => (ms + Self::TIME_OFFSET) as u64,
        };
        let class = if class < 2 { class as u64 } else { 2 };
        let urgency =
            class << (Self::TIME_BITS + Self::RANK_BITS) | time << Self::RANK_BITS | technology_rank as u64;
        Self { urgency, size_bytes, id }
    }

    /// 0 for critical jobs, 1 for those that operators want now, 2 for the rest.
    pub const fn class(&self) -> u8 {
        (self.urgency >> (Self::TIME_BITS + Self::RANK_BITS)) as u8
    }

    /// Whether the job goes before all that are of the last class.
    pub const fn is_strict(&self) -> bool {
        self.class() < 2
    }

    /// Latest start minus class boost, in milliseconds of Unix time.
    pub const fn start_by_ms(&self) -> i64 {
        (self.urgency << 2 >> 2 >> Self::RANK_BITS) as i64 - Self::TIME_OFFSET
    }

    /// Rank of the technology in the configured order; those not named there share the last rank.
    pub const fn technology_rank(&self) -> u16 {
        self.urgency as u16
    }

    /// Size in bytes, smaller first; `u64::MAX` when unknown.
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl Debug for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderKey")
            .field("class", &self.class())
            .field("start_by_ms", &self.start_by_ms())
            .field("technology_rank", &self.technology_rank())
            .field("size_bytes", &self.size_bytes)
            .field("id", &self.id)
            .finish()
    }
}

/// An ordered set of jobs. Implementations must be deterministic.
pub trait JobQueue: Debug + Send {
    /// Adds a job, or moves it to its new place when it is in the queue already.
    fn insert(&mut self, key: OrderKey);

    /// Takes a job out. Returns its key, or `None` when it is not in the queue.
    fn remove(&mut self, id: JobId) -> Option<OrderKey>;

    /// The job that goes first.
    fn first(&self) -> Option<OrderKey>;

    /// Takes the job out that goes first.
    fn pop(&mut self) -> Option<OrderKey> {
        self.remove(self.first()?.id)
    }

    /// How many jobs in the queue go before `key`, which need not be in it; counting stops at `most`.
    fn before(&self, key: &OrderKey, most: usize) -> usize;

    /// Number of jobs.
    fn len(&self) -> usize;

    /// Whether there is no job.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Children of a heap node. Four keep the tree half as deep as two, and a node's children in about two cache lines.
const ARITY: usize = 4;

/// Up to this length a job is found by looking at all: a dozen cache lines in sequence cost less than keeping an
/// index. Most queues of a fleet are that short.
const SCANNED: usize = 48;

/// The default [`JobQueue`]: a 4-ary heap that knows the place of each job.
///
/// `insert`, `remove` and `pop` cost O(log n), `first` O(1), `before` O(answer).
#[derive(Debug, Default)]
pub struct IndexedQueue {
    heap: Vec<OrderKey>,
    /// Where each job is in the heap; `None` while the heap is short.
    index: Option<Box<Index>>,
}

/// Where each job is. Keys that move in the heap rewrite `positions`, four bytes each and dense, and never the
/// table, which is large and in no cache.
#[derive(Debug, Default)]
struct Index {
    /// The number of each job, found by its id.
    numbers: HashTable<u32>,
    /// The number of the job at each place of the heap.
    numbered: Vec<u32>,
    /// The place of each number.
    positions: Vec<u32>,
    free: Vec<u32>,
}

fn hash(id: JobId) -> u64 {
    FixedState::default().hash_one(id)
}

impl IndexedQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    fn position(&self, id: JobId) -> Option<usize> {
        match &self.index {
            Some(index) => {
                let is_it = |number: &u32| self.heap[index.positions[*number as usize] as usize].id == id;
                index.numbers.find(hash(id), is_it).map(|number| index.positions[*number as usize] as usize)
            }
            None => self.heap.iter().position(|key| key.id == id),
        }
    }

    /// Moves the key at `from` to the free place `to`.
    fn shift(&mut self, from: usize, to: usize) {
        self.heap[to] = self.heap[from];
        if let Some(index) = &mut self.index {
            let number = index.numbered[from];
            index.numbered[to] = number;
            index.positions[number as usize] = to as u32;
        }
    }

    /// Puts `key`, known by `number`, to where it belongs, from the free place `at` upwards.
    fn rise(&mut self, mut at: usize, key: OrderKey, number: u32) {
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if self.heap[parent] <= key {
                break;
            }
            self.shift(parent, at);
            at = parent;
        }
        self.heap[at] = key;
        if let Some(index) = &mut self.index {
            index.numbered[at] = number;
            index.positions[number as usize] = at as u32;
        }
    }

    /// Fills the free place `at` from below; returns the place that is then free, a leaf.
    fn sink_hole(&mut self, mut at: usize) -> usize {
        loop {
            let first = at * ARITY + 1;
            let end = (first + ARITY).min(self.heap.len());
            let Some(mut least) = (first < end).then_some(first) else { return at };
            for child in first + 1..end {
                if self.heap[child] < self.heap[least] {
                    least = child;
                }
            }
            self.shift(least, at);
            at = least;
        }
    }

    fn number_at(&self, at: usize) -> u32 {
        self.index.as_ref().map_or(0, |index| index.numbered[at])
    }

    /// Starts or stops keeping the index, with room between so that it does not flap.
    fn fit_index(&mut self) {
        if self.index.is_none() && self.heap.len() > SCANNED {
            let count = self.heap.len() as u32;
            let mut index =
                Index { numbered: (0..count).collect(), positions: (0..count).collect(), ..Index::default() };
            for (number, key) in self.heap.iter().enumerate() {
                let heap = &self.heap;
                index.numbers.insert_unique(hash(key.id), number as u32, |n| hash(heap[*n as usize].id));
            }
            self.index = Some(Box::new(index));
        } else if self.index.is_some() && self.heap.len() < SCANNED / 2 {
            self.index = None;
        }
    }

    /// Adds a key at the end; returns its number.
    fn append(&mut self, key: OrderKey) -> u32 {
        let at = self.heap.len() as u32;
        if self.index.is_none() && self.heap.len() == self.heap.capacity() {
            // A fleet has very many short queues: room for half as many more, not for twice as many.
            self.heap.reserve_exact((self.heap.len() / 2).max(2));
        }
        self.heap.push(key);
        let Some(index) = &mut self.index else { return 0 };
        let Index { numbers, numbered, positions, free } = &mut **index;
        let number = free.pop().unwrap_or_else(|| {
            positions.push(at);
            positions.len() as u32 - 1
        });
        numbered.push(number);
        positions[number as usize] = at;
        let heap = &self.heap;
        numbers.insert_unique(hash(key.id), number, |n| hash(heap[positions[*n as usize] as usize].id));
        number
    }

    fn take(&mut self, at: usize) -> OrderKey {
        let key = self.heap[at];
        if let Some(index) = &mut self.index {
            let number = index.numbered[at];
            if let Ok(entry) = index.numbers.find_entry(hash(key.id), |other| *other == number) {
                entry.remove();
            }
            index.free.push(number);
        }
        // The last key fills the hole. It most likely belongs near the bottom again, so the hole goes down first,
        // which saves a comparison a level, and the key rises from there.
        let last = self.heap.pop().unwrap_or(key);
        let number = self.index.as_mut().and_then(|index| index.numbered.pop()).unwrap_or_default();
        if at < self.heap.len() {
            let hole = self.sink_hole(at);
            self.rise(hole, last, number);
        }
        self.fit_index();
        key
    }
}

impl JobQueue for IndexedQueue {
    fn insert(&mut self, key: OrderKey) {
        match self.position(key.id) {
            Some(at) => {
                let number = self.number_at(at);
                let from = if key <= self.heap[at] { at } else { self.sink_hole(at) };
                self.rise(from, key, number);
            }
            None => {
                let number = self.append(key);
                self.rise(self.heap.len() - 1, key, number);
                self.fit_index();
            }
        }
    }

    fn remove(&mut self, id: JobId) -> Option<OrderKey> {
        let at = self.position(id)?;
        Some(self.take(at))
    }

    fn first(&self) -> Option<OrderKey> {
        self.heap.first().copied()
    }

    fn pop(&mut self) -> Option<OrderKey> {
        (!self.heap.is_empty()).then(|| self.take(0))
    }

    fn before(&self, key: &OrderKey, most: usize) -> usize {
        // In a heap the keys below a given one form a tree that hangs from the root.
        let mut count = 0;
        let mut open = vec![0];
        while let Some(at) = open.pop() {
            if count < most && self.heap.get(at).is_some_and(|other| other < key) {
                count += 1;
                open.extend(at * ARITY + 1..=at * ARITY + ARITY);
            }
        }
        count
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
        OrderKey::new(2, start_by_ms, 0, 1, JobId(id))
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64, i64),
        Remove(u64),
        Pop,
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            4 => (0..90u64, -5..5i64).prop_map(|(id, at)| Op::Insert(id, at)),
            1 => (0..90u64).prop_map(Op::Remove),
            2 => Just(Op::Pop),
        ];
        prop::collection::vec(op, 0..400)
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
                        prop_assert_eq!(queue.pop(), first);
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                for (ahead, k) in model.iter().enumerate() {
                    prop_assert_eq!(queue.before(k, usize::MAX), ahead);
                    prop_assert_eq!(queue.before(k, 3), ahead.min(3));
                }
            }
        }
    }

    #[test]
    fn keys_keep_what_they_were_made_of() {
        for ms in [0, -1, 1, 1_900_000_000_000, -9_000_000_000_000] {
            let key = OrderKey::new(2, ms, 7, 42, JobId(3));
            let parts = (key.class(), key.start_by_ms(), key.technology_rank(), key.size_bytes(), key.id.0);
            assert_eq!(parts, (2, ms, 7, 42, 3));
        }
        let (early, late) =
            (OrderKey::new(2, i64::MIN, 0, 0, JobId(1)), OrderKey::new(2, i64::MAX, 0, 0, JobId(1)));
        assert!(early < key(1, 0) && key(1, 0) < late);
        let wanted = OrderKey::new(1, i64::MAX, u16::MAX, u64::MAX, JobId(9));
        let critical = OrderKey::new(0, i64::MAX, u16::MAX, u64::MAX, JobId(9));
        assert!(critical < wanted && wanted < early, "class goes first");
        assert_eq!(size_of::<OrderKey>(), 24);
    }
}
