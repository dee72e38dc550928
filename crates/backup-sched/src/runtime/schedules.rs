//! What recurs by the policies in force: who is due, what became of it, and how what an outage left behind is levelled.
//! Pure: moments and what happens to jobs go in; turns and answers come out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sched_core::store::ScheduleEntry;
use sched_core::{
    BackupKind, InstanceName, JobId, JobState, JobStatus, MonoTime, Now, Scope, wall_minus, wall_plus,
    wall_until,
};
use sched_policy::{CatchUp, Due, Every, LinkId, Outcome, Overlap, Policies, Recurring, ScheduleId};
use sched_policy::{Timetable, Turn};

use crate::recurring::{NextRun, RecurringStatus};

mod handover;

/// The part of each link that is for what is overdue; the rest is for what becomes due meanwhile.
const CATCH_UP_SHARE: f64 = 0.5;
/// Later than this it is overdue: a dispatcher that is busy is always a little late.
const IN_TIME: Duration = Duration::from_secs(60);
/// A wall that is set back by less makes instances wait until it has caught up.
const NOTICED_STEP: Duration = Duration::from_secs(60);
/// The wall may be set while the dispatcher sleeps on the monotonic clock: it looks after so long.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);

/// What recurs: backups of an instance, or cluster, of one kind.
pub(crate) type Key = (InstanceName, BackupKind);

/// The schedules of the policies in force.
pub(crate) struct Schedules {
    timetable: Timetable,
    ids: BTreeMap<Key, ScheduleId>,
    entries: HashMap<ScheduleId, Scheduled>,
    /// Whose jobs were asked for, or are waited for.
    jobs: BTreeMap<JobId, ScheduleId>,
    /// The newest recovery points that are known, also of what does not recur.
    points: HashMap<Key, Timestamp>,
    catch_up: CatchUp,
    links: BTreeMap<Scope, LinkId>,
    /// What was due while nothing could be made durable, and until when it was put off.
    need_store: BTreeMap<ScheduleId, (Due, Timestamp)>,
    /// Counts what began to recur, or does no more.
    changes: u64,
    /// Other policies are coming into force: nobody is handed out.
    held: bool,
    /// The last look at the wall.
    seen: Now,
    /// What is to be kept of whom; `None` when nobody keeps it.
    unkept: Option<BTreeSet<Key>>,
}

struct Scheduled {
    about: Arc<Recurring>,
    /// The job that was asked for, or is waited for.
    job: Option<JobId>,
    /// A backup of the same is under way, whoever asked for it.
    active: Option<JobId>,
    /// It was due while somebody else's was under way, and is asked for when that has ended.
    after: Option<Due>,
    /// Slots up to then have been dealt with: a job was made of them, or they are left out for good.
    dealt_with: Option<Timestamp>,
    /// It is not due before, whatever its recovery point.
    not_before: Option<Timestamp>,
}

/// Slots that came while the former backup was not done, and are left out.
pub(crate) struct Overlapped {
    pub(crate) key: Key,
    pub(crate) slots: u32,
    pub(crate) job: JobId,
}

/// What differs in what recurs.
pub(crate) enum ScheduleChange {
    Set(Recurring),
    Remove(Key),
}

/// What differs in what recurs between two policies.
pub(crate) fn schedule_changes(old: &Policies, new: &Policies) -> Vec<ScheduleChange> {
    let key = |about: &Recurring| (about.instance.clone(), about.kind);
    let mut before: HashMap<Key, Recurring> =
        old.recurring().into_iter().map(|about| (key(&about), about)).collect();
    let mut changes = Vec::new();
    for about in new.recurring() {
        if before.remove(&key(&about)).as_ref() != Some(&about) {
            changes.push(ScheduleChange::Set(about));
        }
    }
    changes.extend(before.into_keys().map(ScheduleChange::Remove));
    changes
}

impl Schedules {
    /// What recurs from now on. Of what has a recovery point among `points`, slots since then were missed. `kept` is what
    /// a former scheduler left where somebody keeps that; jobs for which `goes_on` are still to be made.
    pub(crate) fn new(
        now: Now,
        policies: &Policies,
        points: HashMap<Key, Timestamp>,
        kept: Option<HashMap<Key, ScheduleEntry>>,
        goes_on: impl Fn(JobId) -> bool,
    ) -> Self {
        let mut this = Self {
            timetable: Timetable::new(),
            ids: BTreeMap::new(),
            entries: HashMap::new(),
            jobs: BTreeMap::new(),
            points: points.into_iter().map(|(key, at)| (key, at.min(now.wall))).collect(),
            catch_up: CatchUp::new(CATCH_UP_SHARE),
            links: BTreeMap::new(),
            need_store: BTreeMap::new(),
            changes: 0,
            held: false,
            seen: now,
            unkept: kept.is_some().then(BTreeSet::new),
        };
        let mut kept = kept.unwrap_or_default();
        for (key, entry) in &kept {
            if let Some(at) = entry.recovery_point {
                let point = this.points.entry(key.clone()).or_insert(at);
                *point = at.max(*point);
            }
        }
        for about in policies.recurring() {
            let key = (about.instance.clone(), about.kind);
            let point = this.points.get(&key).copied();
            let Some(entry) = kept.remove(&key) else {
                this.add(now.wall, about, point);
                continue;
            };
            let follows_rpo = about.recurrence.every == Every::Rpo;
            let last = if follows_rpo { point } else { entry.dealt_with.max(point) };
            this.add(now.wall, about, last.map(|at| at.min(now.wall)));
            this.go_on(&key, &entry, entry.job.is_some_and(&goes_on));
            // Whoever keeps it has it so.
            this.unkept.iter_mut().for_each(|unkept| _ = unkept.remove(&key));
        }
        this
    }

    /// How often something began to recur, or did no more.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// What recurs, by name and kind, with the technology.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Key, &sched_core::TechnologyName)> {
        let about = |id: &ScheduleId| self.entries.get(id).map(|entry| &entry.about.technology);
        self.ids.iter().filter_map(move |(key, id)| Some((key, about(id)?)))
    }

    /// The technology of what recurs.
    pub(crate) fn technology(&self, key: &Key) -> Option<sched_core::TechnologyName> {
        let entry = self.ids.get(key).and_then(|id| self.entries.get(id))?;
        Some(entry.about.technology.clone())
    }

    /// How it stands is written down again.
    pub(crate) fn mark_unkept(&mut self, key: &Key) {
        self.unkept.iter_mut().for_each(|unkept| _ = unkept.insert(key.clone()));
    }

    /// What was handed out last, or left out, has been dealt with.
    fn dealt_with(&mut self, id: ScheduleId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.about.recurrence.every == Every::Rpo {
            entry.not_before = self.timetable.due_at(id);
        } else {
            entry.dealt_with = self.timetable.dealt_with(id);
        }
        let key = (entry.about.instance.clone(), entry.about.kind);
        self.mark_unkept(&key);
    }

    fn add(&mut self, wall: Timestamp, about: Recurring, last: Option<Timestamp>) {
        let recurrence = Arc::clone(&about.recurrence);
        let id = self.timetable.add(wall, about.instance.as_str(), recurrence, about.rpo, last);
        self.ids.insert((about.instance.clone(), about.kind), id);
        let dealt_with = self.timetable.dealt_with(id);
        self.mark_unkept(&(about.instance.clone(), about.kind));
        let about = Arc::new(about);
        let none = Scheduled { about, job: None, active: None, after: None, dealt_with, not_before: None };
        self.entries.insert(id, none);
    }

    /// The most that all backups at a place may move together; `None`: not known.
    pub(crate) fn set_link(&mut self, place: &Scope, bytes_per_sec: Option<u64>) {
        match (self.links.get(place), bytes_per_sec.filter(|rate| *rate > 0)) {
            (Some(link), rate) => self.catch_up.set_link(*link, rate.unwrap_or(u64::MAX)),
            (None, Some(rate)) => {
                let link = self.catch_up.link(rate);
                self.links.insert(place.clone(), link);
            }
            (None, None) => {}
        }
    }

    /// Hands nobody out before [`release`](Self::release): a start is by the former policies or by those that follow.
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// Goes on handing out.
    pub(crate) fn release(&mut self) {
        self.held = false;
    }

    /// Something recurs otherwise, or no longer. What was asked for stays.
    pub(crate) fn follow(&mut self, wall: Timestamp, change: ScheduleChange) {
        self.changes += 1;
        match change {
            ScheduleChange::Remove(key) => {
                let Some(id) = self.ids.remove(&key) else { return };
                self.timetable.remove(id);
                self.points.remove(&key);
                self.mark_unkept(&key);
                let job = self.entries.remove(&id).and_then(|entry| entry.job);
                job.map(|job| self.jobs.remove(&job));
            }
            ScheduleChange::Set(about) => {
                let key = (about.instance.clone(), about.kind);
                let point = self.points.get(&key).copied();
                let follows_rpo = about.recurrence.every == Every::Rpo;
                let Some(id) = self.ids.get(&key).copied() else {
                    // Slots begin now: who was not scheduled has missed none.
                    return self.add(wall, about, point.filter(|_| follows_rpo));
                };
                let Some(entry) = self.entries.get_mut(&id) else { return };
                if (&about.recurrence, about.rpo) != (&entry.about.recurrence, entry.about.rpo) {
                    let recurrence = Arc::clone(&about.recurrence);
                    self.timetable.change(wall, id, key.0.as_str(), recurrence, about.rpo, point);
                    entry.not_before = None;
                    entry.dealt_with = self.timetable.dealt_with(id);
                }
                entry.about = Arc::new(about);
                self.mark_unkept(&key);
            }
        }
    }

    /// The time has passed to `now`, by the wall that is believed.
    pub(crate) fn see(&mut self, now: Now) {
        let expected = self.seen.plus(now.mono.since(self.seen.mono)).wall;
        if wall_until(now.wall, expected) > NOTICED_STEP {
            self.timetable.rewind(now.wall);
        }
        self.seen = now;
    }

    /// The next that is due, the most overdue first.
    pub(crate) fn turn(&mut self, wall: Timestamp) -> Option<Turn> {
        if self.held { None } else { self.timetable.turn(wall) }
    }

    /// When [`turn`](Self::turn) has something, or is to look again.
    pub(crate) fn next_look(&self, now: Now) -> Option<MonoTime> {
        let at = self.timetable.next_due().filter(|_| !self.held)?;
        Some(now.mono + wall_until(now.wall, at).min(LONGEST_SLEEP))
    }

    /// What is due.
    pub(crate) fn about(&self, id: ScheduleId) -> Option<Arc<Recurring>> {
        self.entries.get(&id).map(|entry| Arc::clone(&entry.about))
    }

    /// Whether a job makes what was due.
    pub(crate) fn asks_for(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    /// The backup of the same that is under way, asked for by somebody else.
    pub(crate) fn active(&self, id: ScheduleId) -> Option<JobId> {
        self.entries.get(&id)?.active
    }

    /// When a backup that is due should be asked for, so that what is overdue is levelled over the links of its `path`
    /// with a known rate; not after `latest`.
    pub(crate) fn start(
        &mut self,
        wall: Timestamp,
        due: &Due,
        latest: Option<Timestamp>,
        path: impl Iterator<Item = Scope>,
    ) -> Timestamp {
        let Some(about) = self.entries.get(&due.id).map(|entry| &entry.about) else { return wall };
        // One of which nothing is known is as overdue as can be.
        let unknown = about.recurrence.every == Every::Rpo && due.deadline.is_none();
        if due.postponed || (due.late <= IN_TIME && !unknown) {
            return wall;
        }
        let links: Vec<_> = path.filter_map(|place| self.links.get(&place).copied()).collect();
        let start = self.catch_up.start(wall, about.bytes, &links);
        latest.map_or(start, |latest| start.min(latest)).max(wall)
    }

    /// What was handed out is to come again at `until`.
    pub(crate) fn postpone(&mut self, due: &Due, until: Timestamp) {
        self.timetable.postpone(due, until);
    }

    /// What was handed out is to come again when a job has ended.
    pub(crate) fn wait_for(&mut self, due: Due, job: JobId) {
        if let Some(entry) = self.entries.get_mut(&due.id) {
            (entry.job, entry.after) = (Some(job), Some(due));
            self.jobs.insert(job, due.id);
        }
    }

    /// What was handed out is made by a job.
    pub(crate) fn submitted(&mut self, due: &Due, job: JobId) {
        if let Some(entry) = self.entries.get_mut(&due.id) {
            (entry.job, entry.not_before) = (Some(job), None);
            self.jobs.insert(job, due.id);
            self.dealt_with(due.id);
        }
    }

    /// What was handed out is not made.
    pub(crate) fn skip(&mut self, wall: Timestamp, due: &Due) {
        self.timetable.finished(wall, due.id, Outcome::Failed);
        self.dealt_with(due.id);
    }

    /// Slots that came too late are left out.
    pub(crate) fn left_out(&mut self, id: ScheduleId) {
        self.dealt_with(id);
    }

    /// An attempt began.
    pub(crate) fn began(&mut self, key: &Key, job: JobId) {
        if let Some(entry) = self.ids.get(key).and_then(|id| self.entries.get_mut(id)) {
            entry.active = Some(job);
        }
    }

    /// A job has ended. Tells which slots are left out because of it.
    pub(crate) fn ended(&mut self, wall: Timestamp, status: &JobStatus) -> Option<Overlapped> {
        let job = status.job.id;
        let key = (status.job.instance.clone(), status.job.kind);
        self.jobs.remove(&job);
        self.mark_unkept(&key);
        let id = *self.ids.get(&key)?;
        let entry = self.entries.get_mut(&id)?;
        entry.active = entry.active.filter(|active| *active != job);
        let point = (status.state == JobState::Succeeded).then(|| status.started.unwrap_or(wall).min(wall));
        if let Some(point) = point {
            let known = self.points.entry(key.clone()).or_insert(point);
            *known = point.max(*known);
        }
        if entry.job != Some(job) {
            point.map(|point| self.timetable.renewed(wall, id, point));
            return None;
        }
        entry.job = None;
        let outcome = point.map_or(Outcome::Failed, |recovery_point| Outcome::Succeeded { recovery_point });
        let follows_rpo = entry.about.recurrence.every == Every::Rpo;
        match entry.after.take() {
            // The other one will do.
            Some(_) if follows_rpo && point.is_some() => {}
            Some(due) => {
                self.timetable.postpone(&due, wall);
                return None;
            }
            None => {}
        }
        self.timetable.finished(wall, id, outcome);
        self.dealt_with(id);
        let slots = self.timetable.missed(id);
        (slots > 0).then_some(Overlapped { key, slots, job })
    }

    /// There is a backup that this scheduler did not make.
    pub(crate) fn renewed(&mut self, wall: Timestamp, key: Key, point: Timestamp) {
        let point = point.min(wall);
        if let Some(id) = self.ids.get(&key) {
            self.timetable.renewed(wall, *id, point);
        }
        self.mark_unkept(&key);
        let known = self.points.entry(key).or_insert(point);
        *known = point.max(*known);
    }

    /// Those whose backup waits or runs, then the soonest.
    pub(crate) fn next_runs(&self, most: usize) -> Vec<NextRun> {
        let waiting = self.timetable.waiting().map(|(_, id)| id);
        let all = self.jobs.values().copied().chain(waiting);
        all.filter_map(|id| self.next_run(id)).take(most).collect()
    }

    /// Those of an instance, by kind.
    pub(crate) fn next_runs_of(&self, instance: &InstanceName) -> Vec<NextRun> {
        let of = BackupKind::ALL.into_iter().filter_map(|kind| self.ids.get(&(instance.clone(), kind)));
        of.filter_map(|id| self.next_run(*id)).collect()
    }

    fn next_run(&self, id: ScheduleId) -> Option<NextRun> {
        let Scheduled { about, job, .. } = self.entries.get(&id)?;
        let (Recurring { instance, kind, recurrence, .. }, job) = (&**about, *job);
        let key = (instance.clone(), *kind);
        let recovery_point = self.points.get(&key).copied();
        let (instance, kind) = key;
        let (schedule, due) = (recurrence.every.clone(), self.timetable.due_at(id));
        Some(NextRun { instance, kind, schedule, due, job, recovery_point })
    }

    pub(crate) fn status(&self) -> RecurringStatus {
        let (schedules, submitted) = (self.timetable.len(), self.jobs.len());
        RecurringStatus { schedules, submitted, next: self.timetable.next_due() }
    }
}

/// The latest moment to ask for a backup that must be done by `deadline`: twice as long before as it is expected to take.
/// `None` when nothing is to be saved any more.
pub(crate) fn latest(wall: Timestamp, deadline: Timestamp, expected: Duration) -> Option<Timestamp> {
    (deadline > wall).then(|| wall_minus(deadline, expected.saturating_mul(2)))
}

/// By when a backup that is due must be done: by the recovery point, or as long after its slot as that demands.
pub(crate) fn deadline(due: &Due, about: &Recurring) -> Timestamp {
    due.deadline.unwrap_or_else(|| wall_plus(due.at, about.rpo))
}

/// What becomes of a slot that comes while somebody else's backup of the same is under way.
pub(crate) fn is_skipped(about: &Recurring) -> bool {
    about.recurrence.every != Every::Rpo && about.recurrence.overlap == Overlap::Skip
}

#[cfg(test)]
mod tests;
