//! What a former scheduler left in the store: [`Left`].

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use sched_core::store::{AuditEntry, Entry, JobEntry, JobStore, ScheduleEntry, StoreError, TakenShare};
use sched_core::{
    Engine, JobId, JobRecord, JobSpec, Now, Record, Renewed, RestoreError, Scope, TechnologyName,
};
use sched_workload::LearnedWeek;

use super::Key;
use crate::current::{Current, Resolved};

/// Audit entries that are told.
pub(crate) const AUDIT_TOLD: usize = 1_000;

/// What a former scheduler left.
#[derive(Default)]
pub(crate) struct Left {
    records: Vec<Record>,
    /// What is known of each job that goes on, beside the engine.
    pub(crate) jobs: BTreeMap<JobId, LeftJob>,
    /// Jobs that end, because whoever made their backup is gone.
    pub(crate) ended: Vec<Entry>,
    pub(crate) schedules: HashMap<Key, ScheduleEntry>,
    pub(crate) weeks: Vec<(Scope, LearnedWeek)>,
    /// The newest, oldest first.
    pub(crate) audit: VecDeque<AuditEntry>,
    last_job: u64,
    /// Jobs that stay in the store, because nobody makes backups of their technology, or their instance is of another.
    pub(crate) left: usize,
}

/// A job that goes on.
pub(crate) struct LeftJob {
    pub(crate) technology: TechnologyName,
    pub(crate) asked: Option<Box<JobSpec>>,
    /// A former attempt was cut off, and nobody has cleaned up after it.
    pub(crate) unclean: bool,
}

impl Left {
    /// Reads a store that is open.
    pub(crate) fn read(store: &mut dyn JobStore, current: &Current) -> Result<Self, StoreError> {
        let mut left = Self::default();
        left.last_job = store.load(&mut |entry| left.take(entry, current))?.0;
        left.leave_outlived();
        Ok(left)
    }

    /// An instance is of one technology at a time, and its newest job says of which. One that had stayed for want of an
    /// executor, while its instance became another, stays on.
    fn leave_outlived(&mut self) {
        let mut newest = HashMap::new();
        let mut outlived = HashSet::new();
        // In ascending order: the newest comes last.
        for record in self.records.iter().rev() {
            let Record::Job(record) = record else { continue };
            let (spec, key) = (&record.spec, (&record.spec.instance, record.spec.kind));
            if *newest.entry(key).or_insert(&spec.technology) != &spec.technology {
                outlived.insert(record.id);
            }
        }
        if !outlived.is_empty() {
            self.left += outlived.len();
            self.jobs.retain(|job, _| !outlived.contains(job));
            self.records.retain(|record| record.job().is_none_or(|job| !outlived.contains(&job)));
        }
    }

    /// What another scheduler left in a share.
    pub(crate) fn of(taken: TakenShare, current: &Current) -> Self {
        let mut left = Self::default();
        taken.facts.into_iter().for_each(|entry| left.take(entry, current));
        taken.jobs.into_iter().for_each(|job| left.take_job(job, current));
        left
    }

    fn take(&mut self, entry: Entry, current: &Current) {
        match entry {
            Entry::Job(job) => self.take_job(*job, current),
            Entry::Schedule(schedule) => {
                let key = (schedule.instance.clone(), schedule.kind);
                self.schedules.insert(key, *schedule);
            }
            Entry::Week(scope, Some(week)) => {
                // One that cannot be read any more is learned anew.
                let week = serde_json::from_str(&week).ok();
                self.weeks.extend(week.map(|week| (scope, week)));
            }
            Entry::Audit(audit) => {
                if self.audit.len() == AUDIT_TOLD {
                    self.audit.pop_front();
                }
                self.audit.push_back(*audit);
            }
            other => self.records.extend(other.into_record()),
        }
    }

    fn take_job(&mut self, job: JobEntry, current: &Current) {
        let JobEntry { record, asked, pull, unclean, .. } = job;
        let technology = record.spec.technology.clone();
        if pull {
            self.ended.push(Entry::Ended(record.id));
        } else if current.executor(&technology).is_err() {
            self.left += 1;
        } else {
            let unclean = unclean || record.under_way;
            self.jobs.insert(record.id, LeftJob { technology, asked, unclean });
            self.records.push(Record::Job(record));
        }
    }

    /// Jobs whose attempt was cut off.
    pub(crate) fn interrupted(&self) -> usize {
        self.jobs.values().filter(|job| job.unclean).count()
    }

    /// Has an engine go on, under the policies in force. What they need is set before.
    pub(crate) fn hand_over(
        &mut self,
        engine: &mut Engine,
        now: Now,
        current: &Current,
    ) -> Result<(), RestoreError> {
        // The largest number that was given is not given again, whether its job is there or not.
        let last = Record::Ended(JobId(self.last_job));
        self.pass(engine, now, current, |engine, records| {
            engine.restore(now, std::iter::once(last).chain(records)).map(drop)
        })
    }

    /// Has an engine that runs go on.
    pub(crate) fn take_over(
        &mut self,
        engine: &mut Engine,
        now: Now,
        current: &Current,
    ) -> Result<(), RestoreError> {
        self.pass(engine, now, current, |engine, records| engine.take_over(now, records).map(drop))
    }

    fn pass(
        &mut self,
        engine: &mut Engine,
        now: Now,
        current: &Current,
        take: impl FnOnce(&mut Engine, Vec<Record>) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        let records = std::mem::take(&mut self.records);
        let mut renewed = Vec::new();
        let mut provided = HashSet::new();
        for record in &records {
            let Record::Job(record) = record else { continue };
            let asked = self.jobs.get(&record.id).and_then(|job| job.asked.as_deref().cloned());
            let asked = asked.unwrap_or_else(|| plain(&record.spec));
            // A job to which the policies no longer apply keeps its terms, as with a reload.
            let Ok(resolved) = current.resolve_one(asked, false) else { continue };
            provide(engine, now, &resolved, &mut provided);
            if differs(record, &resolved) {
                let Resolved { spec, terms, needs, .. } = resolved;
                renewed.push((record.id, Renewed { spec, terms, needs }));
            }
        }
        take(engine, records)?;
        for (job, mut renewed) in renewed {
            // What cannot be renewed keeps its terms, too.
            _ = engine.renew(now, job, &mut renewed);
        }
        Ok(())
    }
}

/// What was asked for when nothing but that is known.
fn plain(spec: &JobSpec) -> JobSpec {
    JobSpec::new(&spec.instance, &spec.technology).kind(spec.kind)
}

/// Sets what a job needs, once for all that need the same.
fn provide(engine: &mut Engine, now: Now, resolved: &Resolved, provided: &mut HashSet<(Scope, String)>) {
    for (group, limit) in &resolved.needs.limits {
        let scope = Scope::Group(group.clone());
        if provided.insert((scope.clone(), String::new())) {
            // A name that cannot be used limits nobody.
            _ = engine.set_limit(now, &scope, Some(*limit));
        }
    }
    for (host, name, total) in &resolved.needs.resources {
        let scope = Scope::Host(host.clone());
        if provided.insert((scope.clone(), name.as_str().to_owned())) {
            _ = engine.set_resource(now, &scope, name.clone(), *total);
        }
    }
}

/// Whether the policies in force say something else of a job than those that it was accepted under. Class, deadline, size
/// and start are the job's own by now.
fn differs(record: &JobRecord, resolved: &Resolved) -> bool {
    let (is, asked) = (&record.spec, &resolved.spec);
    record.terms != resolved.terms
        || (is.members.is_empty() && is.host != asked.host)
        || is.volume != asked.volume
        || is.destination != asked.destination
        || is.tenant != asked.tenant
        || is.groups != asked.groups
        || is.members != asked.members
        || is.together != asked.together
        || is.demand != asked.demand
        || is.max_bytes_per_sec != asked.max_bytes_per_sec
}
