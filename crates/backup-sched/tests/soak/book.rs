//! How jobs stand and what is wrong with that, without threads: [`Book`].

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use backup_sched::{BackupKind, JobId, JobState, Reason};

/// Complaints that are kept; the first says most.
const MOST: usize = 20;
/// Numbers that may be given between two jobs of which the book hears.
const MOST_NUMBERS: usize = 1_000_000;

/// How a job stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stands {
    #[default]
    Unknown,
    /// It waits or runs.
    Open,
    /// It was told to have ended with its scheduler: the next one has it, or it was to end anyway.
    Kept,
    Ended(JobState),
}

/// A job, in a few bytes: those that have ended are never forgotten, or nobody would see one end twice.
#[derive(Clone, Copy, Default)]
pub(crate) struct Job {
    pub(crate) stands: Stands,
    /// Somebody asked for its end, or it ends with its scheduler, whose permit nobody else can have.
    pub(crate) may_go: bool,
    /// Somebody was told that it is accepted, or its schedule has asked for it.
    promised: bool,
    /// It was cancelled, and nobody had asked for that.
    unasked: bool,
    attempt: u16,
}

#[derive(Default)]
pub(crate) struct Book {
    /// By number.
    jobs: Vec<Job>,
    pub(crate) unended: BTreeSet<JobId>,
    pub(crate) running: HashMap<(String, BackupKind), JobId>,
    /// The scheduler is ending.
    pub(crate) closing: bool,
    /// All its events have come.
    pub(crate) over: bool,
    pub(crate) ended: u64,
    pub(crate) attempts: u64,
    /// Times that a schedule has asked for a backup.
    pub(crate) recurred: u64,
    pub(crate) wrong: Vec<String>,
}

impl Book {
    /// One with room for so many jobs.
    pub(crate) fn new(jobs: usize) -> Self {
        Self { jobs: Vec::with_capacity(jobs), ..Self::default() }
    }

    pub(crate) fn job(&self, job: JobId) -> Job {
        usize::try_from(job.0).ok().and_then(|at| self.jobs.get(at).copied()).unwrap_or_default()
    }

    fn set(&mut self, job: JobId, change: impl FnOnce(&mut Job)) {
        match usize::try_from(job.0).ok().filter(|at| *at < self.jobs.len() + MOST_NUMBERS) {
            Some(at) => {
                if self.jobs.len() <= at {
                    self.jobs.resize(at + 1, Job::default());
                }
                change(&mut self.jobs[at]);
            }
            None => self.complain(format!("the number of {job} cannot have been given")),
        }
    }

    /// A job of a tool ends with its scheduler: nobody else can have its permit.
    pub(crate) fn accept(&mut self, job: JobId, is_tool: bool) {
        let stands = self.job(job).stands;
        if stands != Stands::Unknown {
            self.complain(format!("{job} is accepted and was {stands:?} before"));
        }
        self.set(job, |job| (job.stands, job.may_go) = (Stands::Open, job.may_go || is_tool));
        self.unended.insert(job);
    }

    /// What the store does not take is not accepted: that it is, whoever asks is told when it has taken it.
    pub(crate) fn promise(&mut self, job: JobId) {
        self.set(job, |job| job.promised = true);
        self.check_promise(job, &"before its caller was told of it");
    }

    fn check_promise(&mut self, job: JobId, when: &dyn fmt::Display) {
        let Job { promised, unasked, .. } = self.job(job);
        if promised && unasked {
            self.complain(format!("{job} is cancelled though nobody asked: {when}"));
        }
    }

    pub(crate) fn may_go(&mut self, job: JobId) {
        self.set(job, |job| job.may_go = true);
    }

    pub(crate) fn begin(&mut self, key: (String, BackupKind), job: JobId, attempt: u32) {
        self.attempts += 1;
        let before = self.job(job);
        if let Stands::Ended(state) = before.stands {
            self.complain(format!("attempt {attempt} of {job} begins, which has {state}"));
        }
        if attempt <= u32::from(before.attempt) {
            self.complain(format!("attempt {attempt} of {job} comes after {}", before.attempt));
        }
        self.set(job, |job| job.attempt = u16::try_from(attempt).unwrap_or(u16::MAX - 1));
        if let Some(other) = self.running.insert(key, job) {
            self.complain(format!("{job} and {other} make the same backup at the same time"));
        }
    }

    /// To whoever waits here a job ends with its scheduler, which is not for good.
    pub(crate) fn cancel(&mut self, job: JobId, reason: &Reason) {
        let Job { stands, may_go, .. } = self.job(job);
        if self.closing && matches!(stands, Stands::Open | Stands::Kept) {
            return self.set(job, |job| job.stands = Stands::Kept);
        }
        self.end(job, JobState::Cancelled);
        self.set(job, |job| job.unasked = !may_go);
        self.check_promise(job, reason);
    }

    pub(crate) fn end(&mut self, job: JobId, state: JobState) {
        let stands = self.job(job).stands;
        if !matches!(stands, Stands::Open | Stands::Kept) {
            self.complain(format!("{job} has {state} and was {stands:?} before"));
        }
        self.set(job, |job| job.stands = Stands::Ended(state));
        self.unended.remove(&job);
        self.ended += 1;
    }

    /// The next scheduler has a job that was kept, or has not.
    pub(crate) fn find(&mut self, job: JobId, is_known: bool) {
        let Job { stands, may_go, promised, .. } = self.job(job);
        match (stands, is_known) {
            (Stands::Kept, true) => self.set(job, |job| job.stands = Stands::Open),
            (Stands::Kept, false) if may_go || !promised => self.end(job, JobState::Cancelled),
            (Stands::Kept, false) => self.complain(format!("{job} has not ended, and is lost")),
            // It has ended meanwhile.
            _ => {}
        }
    }

    /// All events of a scheduler have come: each of its jobs has ended or is kept.
    pub(crate) fn close(&mut self) {
        if !self.over {
            self.complain("a scheduler was told to end and has not".into());
        }
        let open = self.unended.iter().filter(|job| self.job(**job).stands == Stands::Open);
        let open: Vec<_> = open.copied().collect();
        if !open.is_empty() {
            self.complain(format!("{open:?} neither ended nor are kept, and their scheduler is gone"));
        }
        if !self.running.is_empty() {
            self.complain(format!("{:?} run, and their scheduler is gone", self.running));
        }
    }

    pub(crate) fn complain(&mut self, text: String) {
        if self.wrong.len() < MOST {
            self.wrong.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId(7);

    fn wrong(history: impl FnOnce(&mut Book)) -> usize {
        let mut book = Book::default();
        history(&mut book);
        book.wrong.len()
    }

    fn key() -> (String, BackupKind) {
        ("orders".into(), BackupKind::Full)
    }

    fn kept(book: &mut Book) {
        book.accept(JOB, false);
        book.promise(JOB);
        book.closing = true;
        book.cancel(JOB, &Reason::new("the end"));
        book.over = true;
        book.close();
        (book.closing, book.over) = (false, false);
    }

    #[test]
    fn what_is_right_is_no_complaint() {
        let history = |book: &mut Book| {
            kept(book);
            book.find(JOB, true);
            book.begin(key(), JOB, 1);
            book.running.clear();
            book.begin(key(), JOB, 2);
            book.running.clear();
            book.end(JOB, JobState::Succeeded);
            book.over = true;
            book.close();
            assert_eq!((book.ended, book.attempts, book.unended.len()), (1, 2, 0));
        };
        assert_eq!(wrong(history), 0);
    }

    #[test]
    fn what_is_wrong_is_one() {
        let end = |book: &mut Book| book.end(JOB, JobState::Succeeded);
        assert_eq!(wrong(end), 1, "never accepted");
        let twice = |book: &mut Book| {
            book.accept(JOB, false);
            end(book);
            end(book);
        };
        assert_eq!(wrong(twice), 1, "ended twice");
        let lost = |book: &mut Book| {
            kept(book);
            book.find(JOB, false);
        };
        assert_eq!(wrong(lost), 1, "lost");
        let again = |book: &mut Book| {
            book.accept(JOB, false);
            end(book);
            book.begin(key(), JOB, 1);
        };
        assert_eq!(wrong(again), 1, "made again");
        let together = |book: &mut Book| {
            book.begin(key(), JOB, 1);
            book.begin(key(), JobId(8), 1);
        };
        assert_eq!(wrong(together), 1, "two at once");
        let number = |book: &mut Book| {
            book.begin(key(), JOB, 2);
            book.running.clear();
            book.begin(key(), JOB, 2);
        };
        assert_eq!(wrong(number), 1, "a number twice");
        let unasked = |book: &mut Book| {
            book.accept(JOB, false);
            book.cancel(JOB, &Reason::new("no reason"));
            assert!(book.wrong.is_empty(), "the store may not have taken it");
            book.promise(JOB);
        };
        assert_eq!(wrong(unasked), 1, "cancelled by nobody");
        let forgotten = |book: &mut Book| {
            book.accept(JOB, false);
            book.over = true;
            book.close();
        };
        assert_eq!(wrong(forgotten), 1, "neither ended nor kept");
    }
}
