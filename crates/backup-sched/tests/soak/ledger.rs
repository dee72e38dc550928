//! What was promised, kept by the soak itself: which jobs were accepted, how each ended, and who runs.
//!
//! It hears of jobs by a hook, which is told every event of a scheduler in its order, and of attempts by the executors.

use std::sync::Arc;
use std::time::Duration;

use backup_sched::{BackupKind, Event, EventKind, Hook, JobError, JobId, JobState, RunContext, Scheduler};
use parking_lot::{Condvar, Mutex};

use crate::book::{Book, Stands};
use crate::fleet::TOOLS;

/// By when an event has come to its hook on a machine that is busy with something else.
const SOON: Duration = Duration::from_secs(30);

/// The jobs of one store.
pub(crate) struct Ledger {
    book: Mutex<Book>,
    changed: Condvar,
}

impl Ledger {
    /// One with room for so many jobs.
    pub(crate) fn new(jobs: usize) -> Self {
        Self { book: Mutex::new(Book::new(jobs)), changed: Condvar::new() }
    }

    /// A scheduler begins. The hook must be its own.
    pub(crate) fn witness(self: &Arc<Self>) -> Witness {
        let mut book = self.book.lock();
        (book.closing, book.over) = (false, false);
        Witness(self.clone())
    }

    /// Holds what a scheduler says against what the one before left: nobody is lost, and no more are there than it told, if it
    /// told.
    pub(crate) fn compare(&self, scheduler: &Scheduler, told: Option<usize>) {
        let kept: Vec<_> = {
            let book = self.book.lock();
            book.unended.iter().copied().filter(|job| book.job(*job).stands == Stands::Kept).collect()
        };
        let mut known = 0;
        for job in kept {
            let found = match scheduler.explain(job) {
                Err(JobError::Unknown(_)) => false,
                Err(stopped) => return self.complain(format!("nobody can be asked for {job}: {stopped}")),
                Ok(_) => true,
            };
            known += usize::from(found);
            self.book.lock().find(job, found);
        }
        if let Some(told) = told.filter(|told| *told != known) {
            self.complain(format!("{told} jobs were told to be kept, and {known} are there"));
        }
    }

    /// The scheduler is to end.
    pub(crate) fn closes(&self) {
        self.book.lock().closing = true;
    }

    /// Waits until all events of the scheduler have come: each of its jobs has ended, or is kept for the next.
    pub(crate) fn is_over(&self) {
        let mut book = self.book.lock();
        self.changed.wait_while_for(&mut book, |book| !book.over, SOON);
        book.close();
    }

    /// No job is left.
    pub(crate) fn is_done(&self) {
        let mut book = self.book.lock();
        if !book.unended.is_empty() {
            let text = format!("{:?} have not ended", book.unended);
            book.complain(text);
        }
    }

    /// Somebody is about to ask for the end of a job.
    pub(crate) fn may_go(&self, job: JobId) {
        self.book.lock().may_go(job);
    }

    /// A caller was told of a job, and perhaps how it has ended: it was, and has, and nothing else.
    pub(crate) fn agrees(&self, job: JobId, told: Option<JobState>) {
        let fits = |stands| match (told, stands) {
            (None, stands) => stands != Stands::Unknown,
            (Some(JobState::Cancelled), Stands::Kept) => true,
            (Some(told), stands) => stands == Stands::Ended(told),
        };
        let undecided = |book: &mut Book| {
            let stands = book.job(job).stands;
            !fits(stands) && !matches!(stands, Stands::Ended(_)) && !book.over
        };
        let mut book = self.book.lock();
        book.promise(job);
        self.changed.wait_while_for(&mut book, undecided, SOON);
        let stands = book.job(job).stands;
        if !fits(stands) {
            book.complain(format!("its caller was told {told:?} of {job}, and its events say {stands:?}"));
        }
    }

    /// An attempt begins; it lasts until what is returned is dropped.
    pub(crate) fn begins(&self, ctx: &RunContext) -> Inside<'_> {
        let key = (ctx.instance().to_string(), ctx.spec().kind);
        self.book.lock().begin(key.clone(), ctx.job(), ctx.attempt());
        Inside { ledger: self, key }
    }

    pub(crate) fn complain(&self, text: String) {
        self.book.lock().complain(text);
    }

    /// What is wrong.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.book.lock().wrong.clone()
    }

    /// Jobs that have ended, attempts that have begun, and what schedules have asked for.
    pub(crate) fn counts(&self) -> [u64; 3] {
        let book = self.book.lock();
        [book.ended, book.attempts, book.recurred]
    }

    fn hear(&self, event: &Event) {
        let mut book = self.book.lock();
        if let EventKind::DueSubmitted { id, .. } = event.kind {
            book.recurred += 1;
            book.promise(id);
        }
        let Some(about) = &event.job else { return };
        match &event.kind {
            EventKind::Submitted { .. } => book.accept(about.id, about.technology.as_str() == TOOLS),
            EventKind::Succeeded { .. } => book.end(about.id, JobState::Succeeded),
            EventKind::Failed { .. } => book.end(about.id, JobState::Failed),
            EventKind::Cancelled { reason } => book.cancel(about.id, reason),
            _ => return,
        }
        drop(book);
        self.changed.notify_all();
    }
}

/// Tells the ledger what it is told.
pub(crate) struct Witness(Arc<Ledger>);

impl Witness {
    pub(crate) const NAME: &str = "witness";
}

impl Hook for Witness {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn event(&mut self, event: &Event) {
        self.0.hear(event);
    }
}

impl Drop for Witness {
    /// Its scheduler has told everything, and closed its store.
    fn drop(&mut self) {
        self.0.book.lock().over = true;
        self.0.changed.notify_all();
    }
}

/// An attempt that is under way.
pub(crate) struct Inside<'l> {
    ledger: &'l Ledger,
    key: (String, BackupKind),
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.ledger.book.lock().running.remove(&self.key);
    }
}
