//! The thread that owns the store, and the backlog of what it is to write.
//!
//! The dispatcher puts entries into the backlog and never waits. The thread takes all that has gathered and writes it as
//! one group, so the slower the store, the larger its groups. In the backlog the last entry of a key stands for those
//! before it: however long the store is away, no more gathers than there are jobs, scopes and schedules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender};
use parking_lot::{Condvar, Mutex};
use sched_core::store::{AUDIT_KEPT, Entry, JobStore, Key, StoreError};
use sched_core::{Clock, Lsn, MonoTime, caught};

use super::Command;
use crate::clock::SystemClock;
use crate::status::StoreStatus;

/// The first pause before a store that failed is opened anew; each is twice as long as the one before …
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// … up to this. What is not going to pass by itself is looked at as rarely.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often a thread whose news nobody takes looks whether anybody will.
const UNHEARD: Duration = Duration::from_millis(100);

/// What the thread tells the dispatcher.
#[derive(Debug)]
pub(crate) enum StoreNews {
    /// All that was put in up to there is durable.
    Committed(Mark),
    /// A group could not be written: nothing that was not told to be durable is.
    Down(StoreError),
    /// It works again, after so long.
    Back(Duration),
}

/// How far what was put in has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    /// The newest record of the engine.
    pub(crate) record: Lsn,
    /// Calls of [`Keeper::put`]: not all that is put in is a record.
    pub(crate) put: u64,
}

/// The dispatcher's end of the thread. Dropped, the thread writes what is left, as well as it can, and ends.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something was put in, or the end has come.
    work: Condvar,
    /// The thread has ended.
    over: Condvar,
}

#[derive(Debug)]
struct State {
    backlog: Backlog,
    closing: bool,
    ended: bool,
    status: StoreStatus,
    /// Since when it fails, on the real clock.
    down_since: Option<MonoTime>,
    /// Since when the oldest entry of the backlog, or of the group being written, waits.
    waits_since: Option<MonoTime>,
}

/// What is to be written: the last entry of each key.
#[derive(Debug, Default)]
struct Backlog {
    entries: BTreeMap<Key, Entry>,
    /// Up to there it is complete.
    upto: Mark,
    is_news: bool,
}

impl Backlog {
    fn put(&mut self, entry: Entry) {
        let key = entry.key();
        let is_audit = matches!(key, Key::Audit(_));
        self.entries.insert(key, entry);
        if is_audit {
            self.bound_audit();
        }
    }

    /// What could not be written goes back, beneath what is newer.
    fn put_back(&mut self, group: Vec<Entry>) {
        for entry in group {
            self.entries.entry(entry.key()).or_insert(entry);
        }
        self.bound_audit();
        self.is_news = true;
    }

    /// Of the audit no more gathers than a store would keep.
    fn bound_audit(&mut self) {
        while let Some((Key::Audit(newest), _)) = self.entries.last_key_value()
            && let Some((Key::Audit(oldest), _)) = self.entries.range(Key::Audit(0)..).next()
            && newest - oldest >= AUDIT_KEPT
        {
            let oldest = Key::Audit(*oldest);
            self.entries.remove(&oldest);
        }
    }

    fn take(&mut self) -> (Vec<Entry>, Mark) {
        self.is_news = false;
        (std::mem::take(&mut self.entries).into_values().collect(), self.upto)
    }
}

impl Keeper {
    /// Starts the thread for a store that is open.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(store: Box<dyn JobStore>, commands: Sender<Command>) -> std::io::Result<Self> {
        let status = StoreStatus::new(store.place());
        let state = State {
            backlog: Backlog::default(),
            closing: false,
            ended: false,
            status,
            down_since: None,
            waits_since: None,
        };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), over: Condvar::new() });
        let mut writer = Writer { store, shared: Arc::clone(&shared), commands };
        let run = move || {
            let _ends = Ends(Arc::clone(&writer.shared));
            writer.run();
            // Closed before its end is told: whoever waits for that may open it.
            drop(writer);
        };
        let thread = thread::Builder::new().name("backup-sched-store".into()).spawn(run)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has entries written together, and with them all that came before; `record` is the newest record by then. Returns
    /// which call this is.
    pub(crate) fn put(&self, entries: &mut Vec<Entry>, record: Lsn) -> u64 {
        let mut state = self.shared.state.lock();
        if entries.is_empty() && record == state.backlog.upto.record {
            return state.backlog.upto.put;
        }
        if state.waits_since.is_none() {
            state.waits_since = Some(SystemClock.mono());
        }
        let backlog = &mut state.backlog;
        entries.drain(..).for_each(|entry| backlog.put(entry));
        let put = backlog.upto.put + 1;
        (backlog.upto, backlog.is_news) = (Mark { record, put }, true);
        drop(state);
        self.shared.work.notify_one();
        put
    }

    pub(crate) fn status(&self) -> StoreStatus {
        let state = self.shared.state.lock();
        let mut status = state.status.clone();
        status.backlog = state.backlog.entries.len() + status.writing;
        let since = |at: Option<MonoTime>| at.map(|at| SystemClock.mono().since(at));
        (status.waits_for, status.down_for) = (since(state.waits_since), since(state.down_since));
        status
    }

    /// Writes what is left and closes the store; whether all was written within the time.
    pub(crate) fn close(mut self, within: Duration) -> bool {
        let mut state = self.shared.state.lock();
        state.closing = true;
        self.shared.work.notify_one();
        self.shared.over.wait_while_for(&mut state, |state| !state.ended, within);
        let (ended, empty) = (state.ended, state.backlog.entries.is_empty());
        drop(state);
        // One that hangs is left behind.
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            let _ = thread.join();
        }
        ended && empty
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.state.lock().closing = true;
        self.shared.work.notify_one();
    }
}

/// Tells that the thread has ended, however it did.
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.over.notify_all();
    }
}

/// What the thread works with.
struct Writer {
    store: Box<dyn JobStore>,
    shared: Arc<Shared>,
    commands: Sender<Command>,
}

impl Writer {
    fn run(&mut self) {
        while let Some((group, upto)) = self.next() {
            if let Err(error) = self.write(group, upto)
                && !self.recover(error)
            {
                return;
            }
        }
    }

    /// All that has gathered; `None` when nothing more will come.
    fn next(&self) -> Option<(Vec<Entry>, Mark)> {
        let mut state = self.shared.state.lock();
        self.shared.work.wait_while(&mut state, |state| !state.backlog.is_news && !state.closing);
        if !state.backlog.is_news {
            return None;
        }
        let (group, upto) = state.backlog.take();
        state.status.writing = group.len();
        Some((group, upto))
    }

    fn write(&mut self, group: Vec<Entry>, upto: Mark) -> Result<(), StoreError> {
        let begun = SystemClock.mono();
        // An empty group has nothing to be made durable.
        let written =
            if group.is_empty() { Ok(()) } else { self.ask("written", |store| store.commit(&group)) };
        let now = SystemClock.mono();
        let mut state = self.shared.state.lock();
        state.status.writing = 0;
        if let Err(error) = written {
            state.backlog.put_back(group);
            return Err(error);
        }
        let status = &mut state.status;
        status.groups += u64::from(!group.is_empty());
        status.entries += group.len() as u64;
        status.last_commit = Some(now.since(begun));
        // What has come meanwhile waits since then, or shorter.
        state.waits_since = state.backlog.is_news.then_some(begun);
        drop(state);
        self.tell(StoreNews::Committed(upto));
        Ok(())
    }

    /// Opens the store anew until it has taken what is left; `false` when the end comes first. One that can be opened may
    /// take nothing all the same, on a full disk for example.
    fn recover(&mut self, error: StoreError) -> bool {
        let began = SystemClock.mono();
        {
            let mut state = self.shared.state.lock();
            state.down_since = Some(began);
            state.status.error = Some(error.to_string());
            state.status.failures += 1;
        }
        // What is lost to others concerns what was owned; there may be more at once.
        let soon = error.may_pass() || matches!(error, StoreError::Lost { .. });
        let mut pause = if soon { FIRST_PAUSE } else { LONGEST_PAUSE };
        self.tell(StoreNews::Down(error));
        loop {
            let mut state = self.shared.state.lock();
            let closing = state.closing;
            if !closing {
                self.shared.work.wait_while_for(&mut state, |state| !state.closing, pause);
            }
            drop(state);
            match self.ask("opened", |store| store.open()).and_then(|()| self.write_all()) {
                Ok(()) => break,
                // One last try was made.
                Err(_) if closing => return false,
                Err(error) => {
                    self.shared.state.lock().status.error = Some(error.to_string());
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        let mut state = self.shared.state.lock();
        (state.down_since, state.status.error) = (None, None);
        drop(state);
        self.tell(StoreNews::Back(SystemClock.mono().since(began)));
        true
    }

    fn write_all(&mut self) -> Result<(), StoreError> {
        let mut state = self.shared.state.lock();
        let (group, upto) = state.backlog.take();
        state.status.writing = group.len();
        drop(state);
        self.write(group, upto)
    }

    /// Calls the store. One that panics has failed.
    fn ask(
        &mut self,
        what: &'static str,
        call: impl FnOnce(&mut dyn JobStore) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        caught(|| call(&mut *self.store)).unwrap_or_else(|error| {
            let place = self.shared.state.lock().status.place.clone();
            Err(StoreError::Io { place, what, error })
        })
    }

    fn tell(&self, news: StoreNews) {
        let mut news = Command::Store(news);
        // A dispatcher that has ended needs no news, and one that closes the store waits for this thread alone.
        while let Err(SendTimeoutError::Timeout(unheard)) = self.commands.send_timeout(news, UNHEARD) {
            if self.shared.state.lock().closing {
                return;
            }
            news = unheard;
        }
    }
}
