//! The threads that hooks run on.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, bounded, select};
use sched_core::{Event, caught};
use serde::{Deserialize, Serialize};

use crate::hook::Hook;

/// How long a thread that has handled events waits before it looks whether more have come.
const LULL: Duration = Duration::from_millis(1);

/// Calls each hook on a thread of its own, so that a slow one costs no other its events.
#[derive(Debug)]
#[must_use = "`stop` waits until the hooks have dealt with their events, and nothing else does"]
pub struct HookRunner {
    workers: Vec<Worker>,
    /// Events that found the queue in front of all hooks full.
    missed: Arc<AtomicU64>,
}

/// Where events go in. Never blocks, and costs the same however many hooks there are.
#[derive(Clone, Debug)]
pub struct EventSink {
    queue: Option<Sender<Arc<Event>>>,
    missed: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Worker {
    name: String,
    counts: Arc<Counts>,
    /// Disconnected when the thread has ended.
    done: Receiver<()>,
}

#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    dropped: AtomicU64,
    panicked: AtomicU64,
    lost: AtomicU64,
}

/// What became of the events of one hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HookStats {
    /// Which hook, as [`Hook::name`] says, with a number if there are several of that name.
    pub name: String,
    /// Events that it has dealt with.
    pub delivered: u64,
    /// Events that found its queue full.
    pub dropped: u64,
    /// Calls that panicked.
    pub panicked: u64,
    /// Events that it could not keep or hand on, as [`Hook::lost`] says.
    pub lost: u64,
}

impl HookRunner {
    /// Starts a thread for each hook, and one that hands events on if there are several; without hooks there is none.
    /// `capacity` events may wait for each, at least 1.
    ///
    /// # Errors
    /// When a thread cannot be created.
    pub fn start(hooks: Vec<Box<dyn Hook>>, capacity: usize) -> io::Result<(EventSink, Self)> {
        let capacity = capacity.max(1);
        let missed = Arc::<AtomicU64>::default();
        let mut workers = Vec::with_capacity(hooks.len());
        let mut queues = Vec::with_capacity(hooks.len());
        for hook in hooks {
            let (queue, events) = bounded(capacity);
            let name = caught(|| hook.name().to_owned()).unwrap_or_default();
            let name = own_name(&name, &workers);
            let worker = Worker::start(name, hook, events)?;
            queues.push((queue, worker.counts.clone()));
            workers.push(worker);
        }
        let queue = match queues.len() {
            0 => None,
            _ => Some(relay(queues, capacity)?),
        };
        Ok((EventSink { queue, missed: missed.clone() }, Self { workers, missed }))
    }

    /// What became of events so far, for each hook.
    pub fn stats(&self) -> Vec<HookStats> {
        let missed = self.missed.load(Relaxed);
        self.workers.iter().map(|worker| worker.stats(missed)).collect()
    }

    /// Waits until the hooks have dealt with what is queued, for at most `grace` of real time together. All sinks must
    /// have been dropped before. A hook that hangs is left behind. Returns whether all threads have ended.
    pub fn stop(self, grace: Duration) -> bool {
        let late = after(grace);
        self.workers.iter().all(|worker| {
            select! {
                recv(worker.done) -> _ => true,
                recv(late) -> _ => false,
            }
        })
    }
}

impl EventSink {
    /// Hands an event to the hooks, or drops and counts it when they are behind.
    pub fn send(&self, event: Arc<Event>) {
        if let Some(queue) = &self.queue
            && queue.try_send(event).is_err()
        {
            self.missed.fetch_add(1, Relaxed);
        }
    }
}

impl Worker {
    fn start(name: String, mut hook: Box<dyn Hook>, events: Receiver<Arc<Event>>) -> io::Result<Self> {
        let counts = Arc::<Counts>::default();
        let (ended, done) = bounded::<()>(0);
        let counted = counts.clone();
        let run = move || {
            take_all(&events, |event| {
                match caught(|| hook.event(&event)) {
                    Ok(()) => counted.delivered.fetch_add(1, Relaxed),
                    Err(_) => counted.panicked.fetch_add(1, Relaxed),
                };
                counted.lost.store(caught(|| hook.lost()).unwrap_or_default(), Relaxed);
            });
            // What a hook does at its end belongs to its time, and may panic as well.
            drop(caught(|| drop(hook)));
            drop(ended);
        };
        thread::Builder::new().name("backup-hook".into()).spawn(run)?;
        Ok(Self { name, counts, done })
    }

    fn stats(&self, missed: u64) -> HookStats {
        let Counts { delivered, dropped, panicked, lost } = &*self.counts;
        HookStats {
            name: self.name.clone(),
            delivered: delivered.load(Relaxed),
            dropped: dropped.load(Relaxed) + missed,
            panicked: panicked.load(Relaxed),
            lost: lost.load(Relaxed),
        }
    }
}

/// A name that no other hook has, so that their counts are not mixed up.
fn own_name(name: &str, others: &[Worker]) -> String {
    let free = |name: &String| others.iter().all(|other| other.name != *name);
    let numbered = (2..).map(|number| format!("{name} {number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(free).unwrap_or_default()
}

/// Handles events until all senders are gone. While events come, it looks for more only once a millisecond: waking a thread
/// that waits costs the sender more than all else about an event.
fn take_all(events: &Receiver<Arc<Event>>, mut handle: impl FnMut(Arc<Event>)) {
    while let Ok(first) = events.recv() {
        handle(first);
        loop {
            events.try_iter().for_each(&mut handle);
            let _ = after(LULL).recv();
            if events.is_empty() {
                break;
            }
        }
    }
}

/// Hands events on to the queues of hooks. One hook's own queue needs nobody in between.
fn relay(
    mut queues: Vec<(Sender<Arc<Event>>, Arc<Counts>)>,
    capacity: usize,
) -> io::Result<Sender<Arc<Event>>> {
    if let [_] = queues[..] {
        return Ok(queues.remove(0).0);
    }
    let (queue, events) = bounded::<Arc<Event>>(capacity);
    let run = move || {
        take_all(&events, |event| {
            for (queue, counts) in &queues {
                if queue.try_send(event.clone()).is_err() {
                    counts.dropped.fetch_add(1, Relaxed);
                }
            }
        });
    };
    thread::Builder::new().name("backup-hooks".into()).spawn(run)?;
    Ok(queue)
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, EventKind, ManualClock};

    use super::*;
    use crate::hook::FnHook;

    fn event() -> Arc<Event> {
        Arc::new(Event::new(ManualClock::default().now(), None, EventKind::Started))
    }

    #[test]
    fn a_panicking_hook_is_counted_and_others_are_served() {
        let (seen, all) = bounded(16);
        let hooks: Vec<Box<dyn Hook>> = vec![
            Box::new(FnHook(|_: &Event| panic!("on purpose"))),
            Box::new(FnHook(move |e: &Event| drop(seen.send(e.clone())))),
        ];
        let (sink, runner) = HookRunner::start(hooks, 16).unwrap();
        (0..3).for_each(|_| sink.send(event()));
        assert_eq!((0..3).filter(|_| all.recv().is_ok()).count(), 3);
        let counts = runner.workers[0].counts.clone();
        drop(sink);
        assert!(runner.stop(Duration::from_secs(10)));
        assert_eq!((counts.panicked.load(Relaxed), counts.delivered.load(Relaxed)), (3, 0));
    }

    #[test]
    fn a_blocked_hook_loses_events_exactly_and_cannot_hold_up_the_end() {
        let (release, blocked) = bounded::<()>(0);
        let (entered, first) = bounded(16);
        let hook = FnHook(move |_: &Event| {
            let _ = (entered.send(()), blocked.recv());
        });
        let (sink, runner) = HookRunner::start(vec![Box::new(hook)], 2).unwrap();
        sink.send(event());
        first.recv().unwrap();
        (0..5).for_each(|_| sink.send(event()));
        assert_eq!(runner.stats()[0].dropped, 3, "one is being handled, two wait");
        drop(sink);
        assert!(!runner.stop(Duration::from_millis(1)));
        drop(release);
    }

    #[test]
    fn a_blocked_hook_costs_others_nothing() {
        let (release, blocked) = bounded::<()>(0);
        let (entered, first) = bounded(1);
        let (seen, all) = bounded(100);
        let hooks: Vec<Box<dyn Hook>> = vec![
            Box::new(FnHook(move |_: &Event| {
                let _ = (entered.try_send(()), blocked.recv());
            })),
            Box::new(FnHook(move |e: &Event| drop(seen.send(e.clone())))),
        ];
        let (sink, runner) = HookRunner::start(hooks, 2).unwrap();
        for number in 0..50 {
            sink.send(event());
            all.recv().unwrap();
            if number == 0 {
                first.recv().unwrap();
            }
        }
        // The first has one in hand and two wait; whatever came after is lost to it alone.
        let stats = runner.stats();
        assert_eq!((stats[0].dropped, stats[1].dropped), (47, 0));
        drop((sink, release));
        assert!(runner.stop(Duration::from_secs(10)));
    }

    #[test]
    fn without_hooks_there_is_no_thread() {
        let (sink, runner) = HookRunner::start(vec![], 1).unwrap();
        (0..5).for_each(|_| sink.send(event()));
        assert_eq!(runner.stats(), []);
        assert!(runner.stop(Duration::ZERO));
    }
}
