//! The waiting queue beside others that could do its work: push, pop, remove and reprioritize, a quarter each, the
//! same seeded sequence for all, in turns.
//!
//! `cargo bench -p sched-benches --bench queue`

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::hint::black_box;

use foldhash::fast::FixedState;
use keyed_priority_queue::KeyedPriorityQueue;
use priority_queue::PriorityQueue;
use sched_benches::{Row, median, quick, timed, write_results};
use sched_core::{IndexedQueue, JobId, JobQueue, OrderKey};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// What all contenders can do.
trait Contender {
    fn push(&mut self, key: OrderKey);
    fn pop(&mut self) -> Option<JobId>;
    fn remove(&mut self, id: JobId) -> bool;
    fn len(&self) -> usize;
}

#[derive(Default)]
struct Ours(IndexedQueue);

impl Contender for Ours {
    fn push(&mut self, key: OrderKey) {
        self.0.insert(key);
    }
    fn pop(&mut self) -> Option<JobId> {
        self.0.pop().map(|key| key.id)
    }
    fn remove(&mut self, id: JobId) -> bool {
        self.0.remove(id).is_some()
    }
    fn len(&self) -> usize {
        self.0.len()
    }
}

#[derive(Default)]
struct PriorityQueueCrate(PriorityQueue<JobId, Reverse<OrderKey>, FixedState>);

impl Contender for PriorityQueueCrate {
    fn push(&mut self, key: OrderKey) {
        self.0.push(key.id, Reverse(key));
    }
    fn pop(&mut self) -> Option<JobId> {
        self.0.pop().map(|(id, _)| id)
    }
    fn remove(&mut self, id: JobId) -> bool {
        self.0.remove(&id).is_some()
    }
    fn len(&self) -> usize {
        self.0.len()
    }
}

#[derive(Default)]
struct Keyed(KeyedPriorityQueue<JobId, Reverse<OrderKey>, FixedState>);

impl Contender for Keyed {
    fn push(&mut self, key: OrderKey) {
        self.0.push(key.id, Reverse(key));
    }
    fn pop(&mut self) -> Option<JobId> {
        self.0.pop().map(|(id, _)| id)
    }
    fn remove(&mut self, id: JobId) -> bool {
        self.0.remove(&id).is_some()
    }
    fn len(&self) -> usize {
        self.0.len()
    }
}

#[derive(Default)]
struct SetAndMap {
    order: BTreeSet<OrderKey>,
    keys: HashMap<JobId, OrderKey, FixedState>,
}

impl Contender for SetAndMap {
    fn push(&mut self, key: OrderKey) {
        if let Some(before) = self.keys.insert(key.id, key) {
            self.order.remove(&before);
        }
        self.order.insert(key);
    }
    fn pop(&mut self) -> Option<JobId> {
        let key = self.order.pop_first()?;
        self.keys.remove(&key.id);
        Some(key.id)
    }
    fn remove(&mut self, id: JobId) -> bool {
        self.keys.remove(&id).is_some_and(|key| self.order.remove(&key))
    }
    fn len(&self) -> usize {
        self.order.len()
    }
}

/// A heap that leaves what is gone where it is, and is cleaned when more than half of it is gone.
#[derive(Default)]
struct LazyHeap {
    heap: BinaryHeap<Reverse<OrderKey>>,
    keys: HashMap<JobId, OrderKey, FixedState>,
}

impl LazyHeap {
    fn clean(&mut self) {
        if self.heap.len() > 2 * self.keys.len() + 1024 {
            self.heap = self.keys.values().copied().map(Reverse).collect();
        }
    }
}

impl Contender for LazyHeap {
    fn push(&mut self, key: OrderKey) {
        self.keys.insert(key.id, key);
        self.heap.push(Reverse(key));
        self.clean();
    }
    fn pop(&mut self) -> Option<JobId> {
        while let Some(Reverse(key)) = self.heap.pop() {
            if self.keys.get(&key.id) == Some(&key) {
                self.keys.remove(&key.id);
                return Some(key.id);
            }
        }
        None
    }
    fn remove(&mut self, id: JobId) -> bool {
        let gone = self.keys.remove(&id).is_some();
        self.clean();
        gone
    }
    fn len(&self) -> usize {
        self.keys.len()
    }
}

type Make = fn() -> Box<dyn Contender>;

/// What is done to every contender alike.
enum Op {
    /// A new entry, or a new place for one that is in the queue.
    Push(OrderKey),
    Pop,
    Remove(JobId),
}

/// Makes the sequence: push, pop, remove and reprioritize in turn, always of entries that are in the queue. It is
/// made before anything is timed, so that nothing but the contenders is.
struct Script {
    random: fastrand::Rng,
    queue: IndexedQueue,
    /// What is in the queue, and where in this list each is.
    alive: Vec<u64>,
    places: HashMap<u64, usize, FixedState>,
    next: u64,
}

impl Script {
    fn new(entries: usize) -> Self {
        let (queue, alive, places) = Default::default();
        let mut script = Self { random: fastrand::Rng::with_seed(11), queue, alive, places, next: 0 };
        for _ in 0..entries {
            script.push();
        }
        script
    }

    fn push(&mut self) -> Op {
        let key = key(self.next, &mut self.random);
        self.places.insert(self.next, self.alive.len());
        self.alive.push(self.next);
        self.next += 1;
        self.queue.insert(key);
        Op::Push(key)
    }

    fn pop(&mut self) -> Op {
        let id = self.queue.pop().expect("it is never empty").id;
        self.forget(id);
        Op::Pop
    }

    fn remove(&mut self) -> Op {
        let id = JobId(self.alive[self.random.usize(..self.alive.len())]);
        self.queue.remove(id);
        self.forget(id);
        Op::Remove(id)
    }

    fn move_one(&mut self) -> Op {
        let id = self.alive[self.random.usize(..self.alive.len())];
        let key = key(id, &mut self.random);
        self.queue.insert(key);
        Op::Push(key)
    }

    /// So many operations, a quarter of each kind.
    fn operations(&mut self, count: usize) -> Vec<Op> {
        (0..count / 4).flat_map(|_| [self.push(), self.pop(), self.remove(), self.move_one()]).collect()
    }

    fn forget(&mut self, id: JobId) {
        let at = self.places.remove(&id.0).expect("it is in the queue");
        self.alive.swap_remove(at);
        if let Some(moved) = self.alive.get(at) {
            self.places.insert(*moved, at);
        }
    }
}

/// A contender, and how long it took.
struct Run {
    name: &'static str,
    queue: Box<dyn Contender>,
    bytes: f64,
    /// Medians of a new queue, and of one in use.
    fresh: f64,
    aged: f64,
    times: Vec<f64>,
}

impl Run {
    fn new(name: &'static str, make: Make, entries: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(11);
        let region = Region::new(GLOBAL);
        let mut queue = make();
        (0..entries as u64).for_each(|id| queue.push(key(id, &mut random)));
        let change = region.change();
        let bytes = (change.bytes_allocated - change.bytes_deallocated) as f64 / entries as f64;
        Self { name, queue, bytes, fresh: 0.0, aged: 0.0, times: vec![] }
    }

    /// Nanoseconds for one operation.
    fn operate(&mut self, script: &[Op]) {
        let queue = &mut self.queue;
        let (took, ()) = timed(|| {
            for op in script {
                match op {
                    Op::Push(key) => queue.push(*key),
                    Op::Pop => drop(black_box(queue.pop())),
                    Op::Remove(id) => drop(black_box(queue.remove(*id))),
                }
            }
        });
        self.times.push(took / script.len() as f64);
    }
}

fn key(id: u64, random: &mut fastrand::Rng) -> OrderKey {
    OrderKey::new(2, random.i64(0..1 << 40), random.u16(0..4), random.u64(1 << 20..1 << 40), JobId(id))
}

fn race(entries: usize, operations: usize, rounds: usize) -> Vec<Run> {
    let makers: [(&'static str, Make); 5] = [
        ("IndexedQueue", || Box::<Ours>::default()),
        ("priority-queue", || Box::<PriorityQueueCrate>::default()),
        ("keyed_priority_queue", || Box::<Keyed>::default()),
        ("BTreeSet+HashMap", || Box::<SetAndMap>::default()),
        ("lazy BinaryHeap", || Box::<LazyHeap>::default()),
    ];
    let mut runs: Vec<_> = makers.into_iter().map(|(name, make)| Run::new(name, make, entries)).collect();
    let mut script = Script::new(entries);
    for _ in 0..rounds {
        let operations = script.operations(operations);
        runs.iter_mut().for_each(|run| run.operate(&operations));
    }
    // A queue in use is no new one: as many operations as entries pass, then it is timed again.
    runs.iter_mut().for_each(|run| run.fresh = median(std::mem::take(&mut run.times)));
    for part in (0..entries).step_by(operations) {
        let ageing = script.operations(operations.min(entries - part));
        runs.iter_mut().for_each(|run| run.operate(&ageing));
    }
    runs.iter_mut().for_each(|run| run.times.clear());
    for _ in 0..rounds {
        let operations = script.operations(operations);
        runs.iter_mut().for_each(|run| run.operate(&operations));
    }
    assert!(runs.iter().all(|run| run.queue.len() == script.queue.len()), "all have done the same");
    println!("\n{entries} entries, {rounds} rounds of {operations} operations");
    for run in &mut runs {
        run.aged = median(std::mem::take(&mut run.times));
        println!(
            "{:<22} {:>7.0} ns an operation, {:>7.0} once aged, {:>4.0} bytes an entry, {} left",
            run.name,
            run.fresh,
            run.aged,
            run.bytes,
            run.queue.len()
        );
    }
    runs
}

fn main() {
    let sizes = if quick() { [20_000, 100_000] } else { [1_000_000, 10_000_000] };
    let rounds = if quick() { 3 } else { 7 };
    let mut rows = Vec::new();
    for (entries, [name, aged]) in
        sizes.into_iter().zip([["mix_1m", "mix_1m_aged"], ["mix_10m", "mix_10m_aged"]])
    {
        let runs = race(entries, (entries / 25).min(400_000), rounds);
        let measures = [(name, (|run| run.fresh) as fn(&Run) -> f64), (aged, |run| run.aged)];
        for (name, time) in measures {
            let best = runs[1..].iter().min_by(|a, b| time(a).total_cmp(&time(b))).expect("there are peers");
            rows.push(Row::new(name, (time(&runs[0]), "ns"), (best.name, time(best)), rounds));
        }
        if name == "mix_1m" {
            let least = runs[1..].iter().min_by(|a, b| a.bytes.total_cmp(&b.bytes)).expect("there are peers");
            rows.push(Row::new("bytes_1m", (runs[0].bytes, "bytes"), (least.name, least.bytes), 1));
        }
    }
    let path = write_results("queue", &rows);
    println!("written to {}", path.display());
}
