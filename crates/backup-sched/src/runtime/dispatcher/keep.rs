//! What is to be durable: what goes to the store, who waits for it, and what becomes of both when the store fails.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sched_core::store::{AuditEntry, Entry, JobEntry, StoreError};
use sched_core::{Event, EventKind, JobId, Lsn, MonoTime, Now, Reason, Record};

use super::Dispatcher;
use crate::error::SubmitError;
use crate::handle::Confirmation;
use crate::runtime::left::AUDIT_TOLD;
use crate::runtime::{Keeper, Route, StoreNews};

/// How often what was learned of the load goes to the store; a crash costs as much. A shutdown costs nothing.
const WEEKS_EVERY: Duration = Duration::from_secs(3600);
/// Weeks that are written down between two looks at messages.
const WEEKS_A_TIME: usize = 64;
/// So many records are worth a commit of their own; fewer wait for the others of their round.
const WORTH_WRITING: u64 = 64;
/// How long the last group may take at a shutdown.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// What a dispatcher with a store knows beside the engine.
pub(crate) struct Keeping {
    keeper: Keeper,
    /// Entries of this round.
    outgoing: Vec<Entry>,
    /// Up to this record everything has been handed on …
    upto: Lsn,
    /// … and with this call.
    pub(super) handed_on: u64,
    /// Who waits until what he asked for is durable, the oldest first.
    waiting: VecDeque<Waiting>,
    /// Why nothing can be made durable.
    down: Option<StoreError>,
    /// Jobs of which an attempt was cut off and nobody has cleaned up yet.
    pub(super) unclean: BTreeSet<JobId>,
    /// The newest audit entries, oldest first.
    audit: VecDeque<AuditEntry>,
    audited: u64,
    weeks_at: Option<MonoTime>,
    /// The job that has ended for good last.
    ended: Option<JobId>,
    /// What a former scheduler left is being taken over: nobody gives orders.
    pub(super) taking_over: bool,
}

/// A submission whose record is under way. Dropped, it tells that nobody knows what becomes of it.
struct Waiting {
    upto: Lsn,
    /// Jobs that it has made.
    jobs: Vec<JobId>,
    confirmation: Arc<Confirmation>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.confirmation.tell(Err(SubmitError::Stopped));
    }
}

impl Keeping {
    pub(crate) fn new(keeper: Keeper, unclean: BTreeSet<JobId>, audit: VecDeque<AuditEntry>) -> Self {
        Self {
            keeper,
            outgoing: Vec::new(),
            upto: Lsn::default(),
            handed_on: 0,
            waiting: VecDeque::new(),
            down: None,
            unclean,
            audited: audit.back().map_or(0, |entry| entry.number),
            audit,
            weeks_at: None,
            ended: None,
            taking_over: true,
        }
    }

    pub(super) fn status(&self) -> crate::status::StoreStatus {
        self.keeper.status()
    }

    /// Why nothing can be accepted.
    pub(super) fn down(&self) -> Option<&StoreError> {
        self.down.as_ref()
    }

    /// At most `most` of the newest audit entries, newest first.
    pub(super) fn audit(&self, most: usize) -> Vec<AuditEntry> {
        self.audit.iter().rev().take(most).cloned().collect()
    }

    /// What an operator did, perhaps elsewhere.
    pub(super) fn hear_audit(&mut self, entry: &AuditEntry) {
        if self.audit.contains(entry) {
            return;
        }
        let at = self.audit.partition_point(|other| other.at <= entry.at);
        self.audit.insert(at, entry.clone());
        if self.audit.len() > AUDIT_TOLD {
            self.audit.pop_front();
        }
    }

    pub(super) fn add(&mut self, entry: Entry) {
        self.outgoing.push(entry);
    }

    fn write_down(&mut self, event: &Event) {
        let (what, scope, order) = match &event.kind {
            EventKind::HoldChanged { scope, order } => {
                (if order.is_some() { "hold" } else { "release" }.to_owned(), Some(scope), order)
            }
            EventKind::RunNow { scope, order } => {
                (if order.is_some() { "run now" } else { "no longer now" }.to_owned(), scope.as_ref(), order)
            }
            EventKind::CeilingChanged { scope, bytes_per_sec, order } => {
                let ceiling = bytes_per_sec.map(|rate| format!("ceiling of {rate} bytes/s"));
                (ceiling.unwrap_or_else(|| "no ceiling".into()), Some(scope), order)
            }
            _ => return,
        };
        self.audited += 1;
        let mut entry = AuditEntry::new(self.audited, event.at.wall, what);
        (entry.scope, entry.order) = (scope.cloned(), order.clone());
        entry.job = event.job.as_ref().map(|job| job.id);
        if self.audit.len() == AUDIT_TOLD {
            self.audit.pop_front();
        }
        self.audit.push_back(entry.clone());
        self.outgoing.push(Entry::Audit(Box::new(entry)));
    }
}

impl Dispatcher {
    /// A record of the engine. Without a store everything is as durable as it will be.
    pub(super) fn keep(&mut self, lsn: Lsn, record: Record) {
        let Some(keeping) = &mut self.keeping else {
            return self.parts.engine.committed(self.parts.clock.now(), lsn);
        };
        let entry = match record {
            // Whoever gave the order has written it down. Written again, it would outlive being taken back meanwhile.
            Record::Orders(_) if keeping.taking_over && self.sharing.is_some() => return,
            Record::Job(record) => {
                self.sharing.iter_mut().for_each(|sharing| sharing.place(record.id, &record.spec));
                let known = self.jobs.0.get(&record.id);
                let unclean = keeping.unclean.contains(&record.id);
                let mut job = JobEntry::new(record);
                job.unclean = unclean;
                if let Some(entry) = known {
                    job.asked.clone_from(&entry.asked);
                    job.pull = entry.is_its_hosts();
                }
                Entry::Job(Box::new(job))
            }
            other => {
                if let Record::Ended(job) = &other {
                    keeping.unclean.remove(job);
                    keeping.ended = Some(*job);
                }
                Entry::from(other)
            }
        };
        keeping.add(entry);
    }

    /// Whether the next scheduler goes on with a job that was told to have ended just now.
    pub(super) fn is_kept(&self, job: JobId) -> bool {
        // Its last record comes right before it is told.
        self.keeping.as_ref().is_some_and(|keeping| keeping.ended != Some(job))
    }

    /// An event that is to be remembered as long as orders are.
    pub(super) fn audit(&mut self, event: &Event) {
        if let Some(keeping) = self.keeping.as_mut().filter(|keeping| !keeping.taking_over) {
            keeping.write_down(event);
        }
    }

    /// Hands on what this round has led to, so that it is written together.
    pub(super) fn hand_on(&mut self) {
        if self.keeping.is_none() {
            return;
        }
        let mut news = self.parts.schedules.news();
        news.retain(|entry| self.keeps_schedule(entry));
        let Some(keeping) = &mut self.keeping else { return };
        keeping.outgoing.extend(news);
        let upto = self.parts.engine.journaled();
        if !keeping.outgoing.is_empty() || keeping.upto != upto {
            keeping.upto = upto;
            keeping.handed_on = keeping.keeper.put(&mut keeping.outgoing, upto);
        }
    }

    /// [`hand_on`](Self::hand_on) between two messages of a round: with much to write, the store need not stand still until
    /// all are decided.
    pub(super) fn hand_on_much(&mut self) {
        let journaled = self.parts.engine.journaled();
        let is_much = |keeping: &Keeping| journaled.0 - keeping.upto.0 >= WORTH_WRITING;
        if self.keeping.as_ref().is_some_and(is_much) {
            self.carry_out_all();
        }
    }

    /// What recurs elsewhere is written down by whoever makes it.
    fn keeps_schedule(&mut self, entry: &Entry) -> bool {
        let Entry::Schedule(schedule) = entry else { return true };
        let key = (schedule.instance.clone(), schedule.kind);
        let Some(technology) = self.parts.schedules.technology(&key) else { return true };
        self.keeps_recurring(&key, &technology)
    }

    /// Who asked for these jobs is told when all up to now is durable. `None`: it is as durable as it will be.
    pub(super) fn confirm(&mut self, jobs: Vec<JobId>) -> Option<Arc<Confirmation>> {
        let keeping = self.keeping.as_mut()?;
        let confirmation = Arc::<Confirmation>::default();
        let upto = self.parts.engine.journaled();
        keeping.waiting.push_back(Waiting { upto, jobs, confirmation: Arc::clone(&confirmation) });
        Some(confirmation)
    }

    pub(super) fn hear_store(&mut self, now: Now, news: StoreNews) {
        let Some(keeping) = &mut self.keeping else { return };
        match news {
            StoreNews::Committed(upto) => {
                while let Some(done) = keeping.waiting.pop_front_if(|waiting| waiting.upto <= upto.record) {
                    done.confirmation.tell(Ok(()));
                }
                self.fleet_committed(now, upto.put);
                self.parts.engine.committed(now, upto.record);
            }
            StoreNews::Down(error) => {
                keeping.down = Some(error.clone());
                let store = keeping.keeper.status().place;
                let told = EventKind::StoreDown { store, error: error.to_string() };
                self.parts.engine.note(now, told);
                self.refuse_waiting(now, &error);
                if let StoreError::Lost { reason, .. } = &error {
                    self.lose_all(now, &error);
                    self.stop_all(now, reason);
                }
            }
            StoreNews::Back(down_for) => {
                keeping.down = None;
                let store = keeping.keeper.status().place;
                self.parts.engine.note(now, EventKind::StoreBack { store, down_for });
                self.answer_postponed(now);
                let wall = self.parts.engine.trusted(now).wall;
                self.parts.schedules.store_is_back(wall);
            }
        }
        self.carry_out_all();
    }

    /// Submissions that are not durable were not accepted: their jobs, of which none has started, are withdrawn.
    pub(super) fn refuse_waiting(&mut self, now: Now, error: &StoreError) {
        let Some(keeping) = &mut self.keeping else { return };
        for waiting in std::mem::take(&mut keeping.waiting) {
            waiting.confirmation.tell(Err(SubmitError::Store(error.clone())));
            for job in &waiting.jobs {
                let executor =
                    self.jobs.0.get(job).is_some_and(|entry| matches!(entry.route, Route::Push(_)));
                if executor && self.parts.schedules.asks_for(*job) {
                    // What is due has joined it, and goes on.
                    continue;
                }
                let reason = Reason::new("it could not be made durable, and was not accepted");
                // It may have been cancelled meanwhile.
                let _ = self.parts.engine.cancel(now, *job, reason);
            }
        }
    }

    /// Others may make these backups by now.
    fn stop_all(&mut self, now: Now, why: &str) {
        let attempts: Vec<_> = self.parts.engine.active_attempts().collect();
        for attempt in attempts {
            let reason = Reason::new(format!("another scheduler has taken over: {why}"));
            let _ = self.parts.engine.interrupt(now, attempt.job, reason, None);
        }
    }

    /// What was learned of the load goes to the store now and then.
    pub(super) fn keep_weeks(&mut self, now: Now, at_once: bool) {
        let Some(keeping) = &mut self.keeping else { return };
        let due = *keeping.weeks_at.get_or_insert(now.mono + WEEKS_EVERY) <= now.mono;
        if !due && !at_once {
            return;
        }
        let most = if at_once { usize::MAX } else { WEEKS_A_TIME };
        for (scope, week) in self.parts.foresight.weeks_to_keep(most) {
            let text = week.map(|week| serde_json::to_string(&week));
            // A week is numbers: they can always be written.
            let Ok(text) = text.transpose() else { continue };
            keeping.add(Entry::Week(scope, text));
        }
        if !self.parts.foresight.has_weeks_to_keep() {
            keeping.weeks_at = Some(now.mono + WEEKS_EVERY);
        }
    }

    /// When [`keep_weeks`](Self::keep_weeks) has something to do.
    pub(super) fn keeps_weeks_at(&self) -> Option<MonoTime> {
        self.keeping.as_ref().filter(|_| self.parts.foresight.has_weeks_to_keep())?.weeks_at
    }

    /// Writes what is left, and closes the store; whether it took everything.
    pub(super) fn stop_keeping(&mut self) -> bool {
        let now = self.parts.clock.now();
        self.keep_weeks(now, true);
        self.hand_on();
        let Some(keeping) = self.keeping.take() else { return true };
        let all = keeping.keeper.close(WRITTEN_WITHIN);
        if all {
            keeping.waiting.iter().for_each(|waiting| waiting.confirmation.tell(Ok(())));
        }
        all
    }
}
