//! What is written of jobs, in groups, by the owner of their share and nobody else: [`Writer`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use sched_core::store::{Ask, Entry, JobEntry, Request};
use sched_core::{JobId, JobStatus};
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::connection::Connection;
use super::desk::{Desk, FactPlace, OwnedShares};
use super::{SharedConfig, SharedError, share_of};

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

/// Makes room for jobs where the row of another stands that this owner of the share has never written, so that its engine
/// does not know of it: nobody can read it, or nobody makes backups of its technology any more. The backup of the same
/// instance and kind that is written now stands for it.
const SUPERSEDE: &str = "
    update jobs set live = false, state = 'superseded', record = null, changed = clock_timestamp()
    from unnest($1::int8[], $2::int4[], $3::int8[], $4::text[], $5::text[], $6::int4[], $7::text[])
        as w(id, share, epoch, instance, kind, attempt, state)
    where jobs.live and jobs.share = w.share and jobs.instance = w.instance and jobs.kind = w.kind
        and jobs.epoch < w.epoch and jobs.id <> all($1)
        and ((jobs.attempt = 0 and w.attempt = 0) or (jobs.state = 'running' and w.state = 'running'))";

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

const ASK: &str = "
    insert into requests (share, ticket, cancels, body)
    select share, ticket, cancels, body
    from unnest($1::int4[], $2::int8[], $3::bool[], $4::text[]) as a(share, ticket, cancels, body)
    on conflict (ticket, cancels) do update set answered = null, job = null, refusal = null
        where excluded.cancels and requests.answered is not null";

const ANSWER: &str = "
    update requests set answered = clock_timestamp(), job = a.job, refusal = a.refusal
    from unnest($1::int8[], $2::int8[], $3::text[]) as a(id, job, refusal)
    where requests.id = a.id and requests.share = any($4::int4[]) and answered is null";

/// Writes entries in groups: one transaction for each, which others see as a whole or not at all. What is written of a
/// share that is not owned any more is left out: it is another's by now.
#[derive(Debug)]
pub(super) struct Writer {
    config: SharedConfig,
    connection: Option<(Connection, Statements)>,
    desk: Arc<Desk>,
}

struct Statements {
    fence: Statement,
    end: Statement,
    supersede: Statement,
    write: Statement,
    answer: Statement,
    ask: Statement,
    keep: Statement,
    forget: Statement,
    audit: Statement,
}

impl Statements {
    fn prepare(connection: &Connection) -> Result<Self, SharedError> {
        Ok(Self {
            fence: connection.prepare(FENCE)?,
            end: connection.prepare(END)?,
            supersede: connection.prepare(SUPERSEDE)?,
            write: connection.prepare(WRITE)?,
            answer: connection.prepare(ANSWER)?,
            ask: connection.prepare(ASK)?,
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
    pub(super) fn new(config: SharedConfig, desk: Arc<Desk>) -> Self {
        Self { config, connection: None, desk }
    }

    /// Makes sure that there is a connection.
    pub(super) fn open(&mut self) -> Result<(), SharedError> {
        self.connected().map(drop)
    }

    /// Makes entries durable, all or none; the last one of a key counts. Returns how many were left out.
    ///
    /// # Errors
    /// [`SharedError::Lost`] when the lease has run out or a share was taken over: nothing was written. After an error that
    /// is passing it is not known whether the entries are durable: the same ones can be committed again.
    pub(super) fn commit(&mut self, entries: &[Entry]) -> Result<usize, SharedError> {
        let desk = Arc::clone(&self.desk);
        loop {
            let (group, foreign) = group(&mut desk.owned(), entries, desk.shares)?;
            match self.send(&desk, &group) {
                Ok(()) => return Ok(foreign),
                // What was lost was given up meanwhile, and is nobody's business here.
                Err(SharedError::Lost { .. }) if !group.is_of(&desk.owned()) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self, desk: &Desk, group: &Group) -> Result<(), SharedError> {
        let scheduler = group.scheduler;
        if group.is_empty() {
            return Ok(());
        }
        // A process that was stopped for long goes on here.
        if !desk.lease.holds() && !group.shares.is_empty() {
            return Err(SharedError::Lost { scheduler });
        }
        let (connection, statements) = self.connected()?;
        connection.scheduler = scheduler;
        let sent = match group.send(connection, statements, false) {
            // Rows that this engine does not know may stand in the way.
            Err(SharedError::Refused { .. }) if !group.jobs.ids.is_empty() => {
                group.send(connection, statements, true)
            }
            sent => sent,
        };
        match sent {
            Ok(()) => {
                let mut owned = desk.owned();
                for job in &group.ended.ids {
                    owned.jobs.remove(&JobId(job.cast_unsigned()));
                }
                Ok(())
            }
            Err(error) => {
                if error.is_passing() {
                    self.connection = None;
                }
                Err(error)
            }
        }
    }

    fn connected(&mut self) -> Result<(&mut Connection, &Statements), SharedError> {
        let open = match self.connection.take() {
            Some(open) => open,
            None => {
                let connection = Connection::open(&self.config)?;
                let statements = Statements::prepare(&connection)?;
                (connection, statements)
            }
        };
        let (connection, statements) = self.connection.insert(open);
        Ok((connection, statements))
    }
}

/// What is to be written: of each key the last entry. Returns how many are of shares that are not owned.
fn group(owned: &mut OwnedShares, entries: &[Entry], shares: u32) -> Result<(Group, usize), SharedError> {
    let mut group = Group { scheduler: owned.scheduler, ..Group::default() };
    let mut foreign = 0;
    let mut jobs: HashMap<JobId, (Option<&JobEntry>, Option<&JobStatus>)> =
        HashMap::with_capacity(entries.len());
    let mut facts: BTreeMap<String, &Entry> = BTreeMap::new();
    for entry in entries {
        match entry {
            Entry::Job(job) => _ = jobs.insert(job.record.id, (Some(job), None)),
            Entry::Ended(job) => _ = jobs.insert(*job, (None, None)),
            Entry::EndedAs(status) => _ = jobs.insert(status.job.id, (None, Some(status))),
            Entry::Audit(entry) => group.audit.push(text(entry, "an audit entry")?),
            Entry::Asked(request) => group.asked.push(request)?,
            Entry::Answered(request, answer) if owned.shares.contains_key(&request.share) => {
                group.answers.push(request.number, request.share, answer);
            }
            Entry::Answered(..) => foreign += 1,
            entry => _ = facts.insert(text(&entry.key(), "a key")?, entry),
        }
    }
    let mut live: Vec<(&JobEntry, u32)> = Vec::new();
    for (job, (entry, status)) in jobs {
        let share = match (owned.jobs.get(&job), entry) {
            // A change of the job's groups does not move it: it stays where it was begun.
            (Some(share), _) => *share,
            (None, Some(entry)) => share_of(&entry.record.spec, shares),
            (None, None) => {
                foreign += 1;
                continue;
            }
        };
        match entry {
            _ if !owned.shares.contains_key(&share) => foreign += 1,
            Some(entry) => {
                owned.hold(share, entry);
                live.push((entry, share));
            }
            None => group.ended.push(job, share, status),
        }
    }
    // So that no row stands in the way of the next: who runs no more, then who runs, then who has not begun.
    live.sort_by_key(|(entry, _)| (entry.record.attempt == 0, entry.record.under_way, entry.record.id));
    for (entry, share) in live {
        group.jobs.push(entry, share, owned.shares[&share])?;
    }
    // After the jobs: by the first one of an instance it is known where that is.
    for (key, entry) in facts {
        let share = match owned.place_of_fact(entry, shares) {
            FactPlace::Fleet => None,
            FactPlace::Share(share) => Some(share),
            FactPlace::Foreign => {
                foreign += 1;
                continue;
            }
        };
        group.facts.shares.push(share.map(u32::cast_signed));
        group.facts.facts.push(if entry.removes() { None } else { Some(text(entry, &key)?) });
        group.facts.keys.push(key);
    }
    group.fence_with(&owned.shares);
    Ok((group, foreign))
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
    asked: Asked,
    facts: Facts,
    audit: Vec<String>,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.shares.is_empty()
            && self.facts.keys.is_empty()
            && self.audit.is_empty()
            && self.asked.tickets.is_empty()
    }

    /// Whether all that it is of is still owned as it was.
    fn is_of(&self, owned: &OwnedShares) -> bool {
        let mut shares = self.shares.iter().zip(&self.epochs);
        self.scheduler == owned.scheduler
            && shares.all(|(share, epoch)| owned.shares.get(&share.unsigned_abs()) == Some(epoch))
    }

    /// Takes note of what must be owned for this.
    fn fence_with(&mut self, owned: &BTreeMap<u32, i64>) {
        let facts = self.facts.shares.iter().flatten();
        let all = self.ended.shares.iter().chain(&self.jobs.shares).chain(&self.answers.shares).chain(facts);
        let shares: BTreeSet<i32> = all.copied().collect();
        self.epochs = shares.iter().filter_map(|share| owned.get(&share.unsigned_abs())).copied().collect();
        self.shares = shares.into_iter().collect();
    }

    fn send(
        &self,
        connection: &Connection,
        statements: &Statements,
        supersede: bool,
    ) -> Result<(), SharedError> {
        let Self { ended, jobs, answers, asked, facts, .. } = self;
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
        let [ids, shares, epochs, instances, kinds, attempts, states, _] = write;
        let over: [Value<'_>; 7] = [ids, shares, epochs, instances, kinds, attempts, states];
        let answer: [Value<'_>; 4] = [&answers.ids, &answers.jobs, &answers.refusals, &self.shares];
        let ask: [Value<'_>; 4] = [&asked.shares, &asked.tickets, &asked.cancels, &asked.bodies];
        let keep: [Value<'_>; 3] = [&facts.keys, &facts.shares, &facts.facts];
        let forget: [Value<'_>; 2] = [&facts.keys, &facts.facts];
        let audit: [Value<'_>; 2] = [&self.scheduler, &self.audit];
        let all: [(bool, &Statement, &[Value<'_>]); 9] = [
            (!self.shares.is_empty(), &statements.fence, &fence),
            (!ended.ids.is_empty(), &statements.end, &end),
            (supersede, &statements.supersede, &over),
            (!jobs.ids.is_empty(), &statements.write, &write),
            (!answers.ids.is_empty(), &statements.answer, &answer),
            (!asked.tickets.is_empty(), &statements.ask, &ask),
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
struct Asked {
    shares: Vec<i32>,
    tickets: Vec<i64>,
    cancels: Vec<bool>,
    bodies: Vec<String>,
}

impl Asked {
    fn push(&mut self, request: &Request) -> Result<(), SharedError> {
        let (ticket, cancels) = match &request.ask {
            Ask::Submit(ticket, _) => (ticket, false),
            Ask::Cancel(ticket, _) => (ticket, true),
            // Whatever else may be asked one day is not ours.
            _ => return Ok(()),
        };
        self.shares.push(request.share.cast_signed());
        self.tickets.push(ticket.0.cast_signed());
        self.cancels.push(cancels);
        self.bodies.push(text(&request.ask, "a request")?);
        Ok(())
    }
}

#[derive(Default)]
struct Facts {
    keys: Vec<String>,
    shares: Vec<Option<i32>>,
    facts: Vec<Option<String>>,
}
