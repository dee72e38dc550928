//! What is written of jobs, in groups, by the owner of their share and nobody else: [`Writer`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sched_core::store::{Entry, JobEntry};
use sched_core::{InstanceName, JobId, JobStatus, Scope};
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::connection::Connection;
use super::lease::Lease;
use super::{Owned, SharedConfig, SharedError, share_of, share_of_name};

/// Something that must survive.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// What any store keeps.
    Entry(Entry),
    /// A job has ended in this way, for whoever asks.
    Ended(Box<JobStatus>),
    /// A request led to a job, or to nothing, for the reason given.
    Answered(i64, Result<JobId, String>),
}

/// Proof that this scheduler owns what it is about to write: its shares under their epochs, and a lease that holds. Without
/// it the division fails, and with it the transaction. The rows stay locked until the commit, so that nobody takes a share
/// over in between.
const FENCE: &str = "
    select 1 / (case when count(*) = cardinality($1::int4[]) then 1 else 0 end) from (
        select s.share from shares s join unnest($1::int4[], $2::int8[]) as mine(share, epoch)
            on s.share = mine.share and s.epoch = mine.epoch
        where s.owner = $3 and exists (select from schedulers m where m.id = $3 and m.expires > clock_timestamp())
        order by s.share for share of s
    ) as held";

const END: &str = "
    update jobs set live = false, state = e.state, outcome = e.outcome, record = null, changed = clock_timestamp()
    from unnest($1::int8[], $2::text[], $3::text[]) as e(id, state, outcome)
    where jobs.id = e.id and jobs.share = any($4::int4[]) and live";

const WRITE: &str = "
    insert into jobs (id, share, epoch, instance, kind, attempt, state, live, record)
    select id, share, epoch, instance, kind, attempt, state, true, record
    from unnest($1::int8[], $2::int4[], $3::int8[], $4::text[], $5::text[], $6::int4[], $7::text[], $8::text[])
        as w(id, share, epoch, instance, kind, attempt, state, record)
    on conflict (id) do update set epoch = excluded.epoch, attempt = excluded.attempt, state = excluded.state,
        record = excluded.record, changed = clock_timestamp()
    where jobs.share = excluded.share and jobs.live";

const KEEP: &str = "
    insert into facts (key, share, fact) select key, share, fact
    from unnest($1::text[], $2::int4[], $3::text[]) as k(key, share, fact) where fact is not null
    on conflict (key) do update set share = coalesce(excluded.share, facts.share), fact = excluded.fact,
        changed = clock_timestamp()";

const FORGET: &str = "
    delete from facts using unnest($1::text[], $2::text[]) as k(key, fact) where facts.key = k.key and k.fact is null";

const AUDIT: &str =
    "insert into audit (scheduler, entry) select $1, entry from unnest($2::text[]) as a(entry)";

const ANSWER: &str = "
    update requests set answered = clock_timestamp(), job = a.job, refusal = a.refusal
    from unnest($1::int8[], $2::int8[], $3::text[]) as a(id, job, refusal)
    where requests.id = a.id and requests.share = any($4::int4[]) and answered is null";

/// Writes changes in groups: one transaction for each, which others see as a whole or not at all.
///
/// Which shares are owned is told in the order of the changes, so that what was decided under an earlier epoch is never
/// written under a later one.
#[derive(Debug)]
pub struct Writer {
    config: SharedConfig,
    connection: Option<(Connection, Statements)>,
    scheduler: i64,
    lease: Lease,
    shares: u32,
    owned: BTreeMap<u32, i64>,
    /// The shares of jobs that have not ended.
    jobs: HashMap<JobId, u32>,
    /// The shares of instances that had a job.
    instances: HashMap<InstanceName, u32>,
    /// The shares of requests that are not answered.
    asked: HashMap<i64, u32>,
}

struct Statements {
    fence: Statement,
    end: Statement,
    write: Statement,
    answer: Statement,
    keep: Statement,
    forget: Statement,
    audit: Statement,
}

impl Statements {
    fn prepare(connection: &Connection) -> Result<Self, SharedError> {
        Ok(Self {
            fence: connection.prepare(FENCE)?,
            end: connection.prepare(END)?,
            write: connection.prepare(WRITE)?,
            answer: connection.prepare(ANSWER)?,
            keep: connection.prepare(KEEP)?,
            forget: connection.prepare(FORGET)?,
            audit: connection.prepare(AUDIT)?,
        })
    }
}

impl std::fmt::Debug for Statements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Statements")
    }
}

impl Writer {
    pub(super) fn new(config: SharedConfig, lease: Lease, shares: u32) -> Self {
        let (owned, jobs, instances, asked) = Default::default();
        Self { config, connection: None, scheduler: 0, lease, shares, owned, jobs, instances, asked }
    }

    /// From here on a share is owned, by that incarnation.
    pub fn own(&mut self, scheduler: i64, owned: Owned) {
        self.scheduler = scheduler;
        self.owned.insert(owned.share, owned.epoch);
    }

    /// A share that is owned holds these jobs.
    pub fn hold<'a>(&mut self, share: u32, jobs: impl IntoIterator<Item = &'a JobEntry>) {
        for JobEntry { record, .. } in jobs {
            self.jobs.insert(record.id, share);
            self.instances.insert(record.spec.instance.clone(), share);
        }
    }

    /// From here on a share is not owned any more. What still comes of it is left out.
    pub fn disown(&mut self, share: u32) {
        self.owned.remove(&share);
        self.jobs.retain(|_, place| *place != share);
        self.instances.retain(|_, place| *place != share);
        self.asked.retain(|_, place| *place != share);
    }

    /// A request of a share was taken on, and will be answered.
    pub fn ask(&mut self, request: i64, share: u32) {
        self.asked.insert(request, share);
    }

    /// Makes changes durable, all or none; the last one of a key counts. Changes of shares that are not owned any more are
    /// left out: they are others' by now. Returns how many were.
    ///
    /// # Errors
    /// [`SharedError::Lost`] when the lease has run out or a share was taken over: nothing was written, and nothing will be
    /// under this incarnation. After an error that is passing it is not known whether the changes are durable: the
    /// same ones can be committed again.
    pub fn commit(&mut self, changes: &[Change]) -> Result<usize, SharedError> {
        let (group, foreign) = self.group(changes)?;
        if group.is_empty() {
            return Ok(foreign);
        }
        // A process that was stopped for long goes on here.
        if !self.lease.holds() {
            return Err(SharedError::Lost { scheduler: self.scheduler });
        }
        let (connection, statements) = self.connected()?;
        match group.send(connection, statements) {
            Ok(()) => {
                for job in &group.ended.ids {
                    self.jobs.remove(&JobId(job.cast_unsigned()));
                }
                for request in &group.answers.ids {
                    self.asked.remove(request);
                }
                Ok(foreign)
            }
            Err(error) => {
                if error.is_passing() {
                    self.connection = None;
                }
                Err(error)
            }
        }
    }

    /// What is to be written: of each key the last change.
    fn group(&mut self, changes: &[Change]) -> Result<(Group, usize), SharedError> {
        let mut group = Group { scheduler: self.scheduler, ..Group::default() };
        let mut foreign = 0;
        let mut jobs: HashMap<JobId, Option<&JobEntry>> = HashMap::with_capacity(changes.len());
        let mut ends: HashMap<JobId, &JobStatus> = HashMap::new();
        let mut facts: BTreeMap<String, (Option<u32>, &Entry)> = BTreeMap::new();
        for change in changes {
            match change {
                Change::Entry(Entry::Job(job)) => _ = jobs.insert(job.record.id, Some(job)),
                Change::Entry(Entry::Ended(job)) => _ = jobs.insert(*job, None),
                Change::Entry(Entry::Audit(entry)) => group.audit.push(text(entry, "an audit entry")?),
                Change::Entry(entry) => {
                    _ = facts.insert(text(&entry.key(), "a key")?, (self.share_of_fact(entry), entry));
                }
                Change::Ended(status) => {
                    jobs.insert(status.job.id, None);
                    ends.insert(status.job.id, status);
                }
                Change::Answered(request, answer) => match self.asked.get(request) {
                    Some(share) => group.answers.push(*request, *share, answer),
                    None => foreign += 1,
                },
            }
        }
        let mut live: Vec<(&JobEntry, u32)> = Vec::new();
        for (job, entry) in jobs {
            let share = match (self.jobs.get(&job), entry) {
                // A change of the job's groups does not move it: it stays where it was begun.
                (Some(share), _) => *share,
                (None, Some(entry)) => share_of(&entry.record.spec, self.shares),
                (None, None) => {
                    foreign += 1;
                    continue;
                }
            };
            match entry {
                _ if !self.owned.contains_key(&share) => foreign += 1,
                Some(entry) => {
                    self.hold(share, [entry]);
                    live.push((entry, share));
                }
                None => group.ended.push(job, share, ends.get(&job).copied()),
            }
        }
        // So that no row stands in the way of the next: who runs no more, then who runs, then who has not begun.
        live.sort_by_key(|(entry, _)| (entry.record.attempt == 0, entry.record.under_way, entry.record.id));
        for (entry, share) in live {
            group.jobs.push(entry, share, self.owned[&share])?;
        }
        for (key, (share, entry)) in facts {
            if share.is_some_and(|share| !self.owned.contains_key(&share)) {
                foreign += 1;
                continue;
            }
            group.facts.shares.push(share.map(u32::cast_signed));
            group.facts.facts.push(if entry.removes() { None } else { Some(text(entry, &key)?) });
            group.facts.keys.push(key);
        }
        group.fence_with(&self.owned);
        Ok((group, foreign))
    }

    /// The share that a fact belongs to; `None` where it concerns the fleet.
    fn share_of_fact(&self, entry: &Entry) -> Option<u32> {
        let instance = match entry {
            Entry::Estimate(record) => &record.instance,
            Entry::Schedule(schedule) => &schedule.instance,
            Entry::Week(Scope::Instance(instance), _) => instance,
            Entry::Week(Scope::Group(group), _) => return Some(share_of_name(group.as_str(), self.shares)),
            Entry::Week(Scope::Host(host), _) => return Some(share_of_name(host.as_str(), self.shares)),
            _ => return None,
        };
        self.instances.get(instance).copied()
    }

    fn connected(&mut self) -> Result<(&Connection, &Statements), SharedError> {
        let open = match self.connection.take() {
            Some(open) => open,
            None => {
                let connection = Connection::open(&self.config)?;
                let statements = Statements::prepare(&connection)?;
                (connection, statements)
            }
        };
        let (connection, statements) = self.connection.insert(open);
        connection.scheduler = self.scheduler;
        Ok((connection, statements))
    }
}

fn text(value: &impl serde::Serialize, what: &str) -> Result<String, SharedError> {
    serde_json::to_string(value)
        .map_err(|error| SharedError::Damaged { what: what.into(), problem: error.to_string() })
}

type Value<'a> = &'a (dyn ToSql + Sync);

/// The rows of one transaction, by column.
#[derive(Default)]
struct Group {
    scheduler: i64,
    shares: Vec<i32>,
    epochs: Vec<i64>,
    ended: Ended,
    jobs: Jobs,
    answers: Answers,
    facts: Facts,
    audit: Vec<String>,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.shares.is_empty() && self.facts.keys.is_empty() && self.audit.is_empty()
    }

    /// Takes note of what must be owned for this.
    fn fence_with(&mut self, owned: &BTreeMap<u32, i64>) {
        let facts = self.facts.shares.iter().flatten();
        let all = self.ended.shares.iter().chain(&self.jobs.shares).chain(&self.answers.shares).chain(facts);
        let shares: BTreeSet<i32> = all.copied().collect();
        // A request may have come for a share that is gone since: it has no epoch, and the fence refuses.
        let epoch = |share: &i32| owned.get(&share.unsigned_abs()).copied().unwrap_or(-1);
        self.epochs = shares.iter().map(epoch).collect();
        self.shares = shares.into_iter().collect();
    }

    fn send(&self, connection: &Connection, statements: &Statements) -> Result<(), SharedError> {
        let Self { ended, jobs, answers, facts, .. } = self;
        let fence: [Value<'_>; 3] = [&self.shares, &self.epochs, &self.scheduler];
        let end: [Value<'_>; 4] = [&ended.ids, &ended.states, &ended.outcomes, &self.shares];
        let write: [Value<'_>; 8] = [
            &jobs.ids,
            &jobs.shares,
            &jobs.epochs,
            &jobs.instances,
            &jobs.kinds,
            &jobs.attempts,
            &jobs.states,
            &jobs.entries,
        ];
        let answer: [Value<'_>; 4] = [&answers.ids, &answers.jobs, &answers.refusals, &self.shares];
        let keep: [Value<'_>; 3] = [&facts.keys, &facts.shares, &facts.facts];
        let forget: [Value<'_>; 2] = [&facts.keys, &facts.facts];
        let audit: [Value<'_>; 2] = [&self.scheduler, &self.audit];
        let all: [(bool, &Statement, &[Value<'_>]); 7] = [
            (true, &statements.fence, &fence),
            (!ended.ids.is_empty(), &statements.end, &end),
            (!jobs.ids.is_empty(), &statements.write, &write),
            (!answers.ids.is_empty(), &statements.answer, &answer),
            (!facts.keys.is_empty(), &statements.keep, &keep),
            (facts.facts.iter().any(Option::is_none), &statements.forget, &forget),
            (!self.audit.is_empty(), &statements.audit, &audit),
        ];
        let needed: Vec<_> =
            all.iter().filter(|(needed, ..)| *needed).map(|(_, sql, values)| (*sql, *values)).collect();
        connection.together(&needed).map(drop)
    }
}

#[derive(Default)]
struct Ended {
    ids: Vec<i64>,
    shares: Vec<i32>,
    states: Vec<String>,
    outcomes: Vec<Option<String>>,
}

impl Ended {
    fn push(&mut self, job: JobId, share: u32, outcome: Option<&JobStatus>) {
        self.ids.push(job.0.cast_signed());
        self.shares.push(share.cast_signed());
        self.states.push(outcome.map_or_else(|| "ended".into(), |status| status.state.to_string()));
        self.outcomes.push(outcome.and_then(|status| serde_json::to_string(status).ok()));
    }
}

#[derive(Default)]
struct Jobs {
    ids: Vec<i64>,
    shares: Vec<i32>,
    epochs: Vec<i64>,
    instances: Vec<String>,
    kinds: Vec<String>,
    attempts: Vec<i32>,
    states: Vec<&'static str>,
    entries: Vec<String>,
}

impl Jobs {
    fn push(&mut self, entry: &JobEntry, share: u32, epoch: i64) -> Result<(), SharedError> {
        let record = &entry.record;
        self.entries.push(text(entry, "a job")?);
        self.ids.push(record.id.0.cast_signed());
        self.shares.push(share.cast_signed());
        self.epochs.push(epoch);
        self.instances.push(record.spec.instance.to_string());
        self.kinds.push(record.spec.kind.to_string());
        self.attempts.push(record.attempt.cast_signed());
        self.states.push(if record.under_way { "running" } else { "waiting" });
        Ok(())
    }
}

#[derive(Default)]
struct Answers {
    ids: Vec<i64>,
    shares: Vec<i32>,
    jobs: Vec<Option<i64>>,
    refusals: Vec<Option<String>>,
}

impl Answers {
    fn push(&mut self, request: i64, share: u32, answer: &Result<JobId, String>) {
        self.ids.push(request);
        self.shares.push(share.cast_signed());
        self.jobs.push(answer.as_ref().ok().map(|job| job.0.cast_signed()));
        self.refusals.push(answer.as_ref().err().cloned());
    }
}

#[derive(Default)]
struct Facts {
    keys: Vec<String>,
    shares: Vec<Option<i32>>,
    facts: Vec<Option<String>>,
}
