//! The way in: [`SharedStore`].

use std::sync::Arc;

use sched_core::store::{Entry, Fleet, JobStore, StoreError};
use sched_core::{JobId, JobSpec, JobStatus, Reason};

use super::connection::{Connection, column};
use super::desk::Desk;
use super::fleet::Beats;
use super::member::Member;
use super::writer::Writer;
use super::{FleetStatus, SharedConfig, SharedError, limits, schema, share_of, status};

/// How many jobs a scheduler may number before it must join anew: its range ends there.
const RANGE_BITS: u32 = 40;

/// A store on PostgreSQL that several schedulers share.
///
/// Given to a scheduler it is its [`JobStore`], and the scheduler one of the fleet. Without a scheduler it can be asked how
/// the fleet stands, and pass requests on. Connecting makes the tables, or brings them up to date, where that is needed; a
/// role that may not do that can work with those that somebody else has made.
#[derive(Debug)]
pub struct SharedStore {
    config: SharedConfig,
    shares: u32,
    desk: Arc<Desk>,
    writer: Writer,
    beats: Option<Beats>,
    connection: Option<Connection>,
}

impl SharedStore {
    /// Connects.
    ///
    /// # Errors
    /// When a setting makes no sense or differs from the fleet's, the server cannot be reached or refuses, or the tables
    /// are too new for this library.
    pub fn connect(config: SharedConfig) -> Result<Self, SharedError> {
        config.check()?;
        let connection = Connection::open(&config)?;
        let shares = schema::prepare(&connection, &config)?;
        limits::set(&connection, &config.limits)?;
        let member = Member::new(config.clone(), shares);
        let desk = Arc::new(Desk::new(shares, member.lease().clone()));
        let writer = Writer::new(config.clone(), Arc::clone(&desk));
        let beats = Some(Beats::new(member, config.limits.clone()));
        Ok(Self { config, shares, desk, writer, beats, connection: Some(connection) })
    }

    /// The number of shares of the fleet.
    pub fn shares(&self) -> u32 {
        self.shares
    }

    /// How the fleet stands: who is there, who owns what, what is to do, who may use what.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn status(&mut self) -> Result<FleetStatus, SharedError> {
        self.with(status::read)
    }

    /// Asks for a backup from outside: whoever owns its share takes the request on under its own policies, which is
    /// certain when this returns. `spec` must say where the instance is, cluster or host, as the policies do. Returns what
    /// the request is called from then on.
    ///
    /// # Errors
    /// When the server does not answer: the request may have been made or not.
    pub fn submit(&mut self, spec: &JobSpec) -> Result<JobId, SharedError> {
        let share = share_of(spec, self.shares);
        self.with(|connection| {
            let row = connection.one("select nextval('tickets') as ticket", &[])?;
            let ticket = JobId(column::<i64>(&row, "ticket")?.cast_unsigned());
            let ask = sched_core::store::Ask::Submit(ticket, Box::new(spec.clone()));
            request(connection, share, ticket, false, &ask)?;
            Ok(ticket)
        })
    }

    /// Asks for the end of a job, by its number or by what its request is called. `false` when no such job is known that
    /// has not ended.
    ///
    /// # Errors
    /// When the server does not answer: the request may have been made or not.
    pub fn cancel(&mut self, job: JobId, reason: Reason) -> Result<bool, SharedError> {
        self.with(|connection| {
            let find = "select share from jobs where id = $1 and live
                        union all
                        select r.share from requests r left join jobs j on j.id = r.job
                        where r.ticket = $1 and not r.cancels and r.refusal is null and j.live is not false limit 1";
            let rows = connection.query(find, &[&job.0.cast_signed()])?;
            let Some(row) = rows.first() else { return Ok(false) };
            let share = column::<i32>(row, "share")?.unsigned_abs();
            request(connection, share, job, true, &sched_core::store::Ask::Cancel(job, reason))?;
            Ok(true)
        })
    }

    /// What became of a request that was [submitted](Self::submit).
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn outcome(&mut self, request: JobId) -> Result<Outcome, SharedError> {
        self.with(|connection| {
            let find = "select r.answered is not null as answered, r.refusal, r.job, j.live, j.outcome
                        from requests r left join jobs j on j.id = r.job where r.ticket = $1 and not r.cancels";
            let rows = connection.query(find, &[&request.0.cast_signed()])?;
            let Some(row) = rows.first() else { return Ok(Outcome::Unknown) };
            if !column::<bool>(row, "answered")? {
                return Ok(Outcome::Asked);
            }
            if let Some(refusal) = column(row, "refusal")? {
                return Ok(Outcome::Refused(refusal));
            }
            let Some(job) = column::<Option<i64>>(row, "job")?.map(|job| JobId(job.cast_unsigned())) else {
                return Ok(Outcome::Unknown);
            };
            Ok(match column::<Option<bool>>(row, "live")? {
                Some(true) => Outcome::Accepted(job),
                Some(false) => {
                    let status = column::<Option<&str>>(row, "outcome")?;
                    Outcome::Ended(job, status.and_then(|text| serde_json::from_str(text).ok()))
                }
                None => Outcome::Ended(job, None),
            })
        })
    }

    fn with<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, SharedError>,
    ) -> Result<T, SharedError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.config)?,
        };
        let done = work(&connection);
        if !done.as_ref().is_err_and(SharedError::is_passing) {
            self.connection = Some(connection);
        }
        done
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// There is none of that name, or it was made longer ago than is kept.
    Unknown,
    /// It is certain to be taken on.
    Asked,
    /// Its share's owner refused it, for this reason.
    Refused(String),
    /// It is, or joined, this job.
    Accepted(JobId),
    /// The job has ended, in this way if it is known.
    Ended(JobId, Option<Box<JobStatus>>),
}

fn request(
    connection: &Connection,
    share: u32,
    ticket: JobId,
    cancels: bool,
    ask: &sched_core::store::Ask,
) -> Result<(), SharedError> {
    let body = serde_json::to_string(ask)
        .map_err(|error| SharedError::Damaged { what: "a request".into(), problem: error.to_string() })?;
    let ask = "insert into requests (share, ticket, cancels, body) values ($1, $2, $3, $4)
               on conflict (ticket, cancels) do update set answered = null, job = null, refusal = null
                   where excluded.cancels and requests.answered is not null";
    connection.execute(ask, &[&share.cast_signed(), &ticket.0.cast_signed(), &cancels, &body]).map(drop)
}

impl JobStore for SharedStore {
    fn place(&self) -> String {
        self.config.place()
    }

    fn open(&mut self) -> Result<(), StoreError> {
        let place = self.place();
        if let Some(beats) = &mut self.beats {
            beats.join().map_err(|error| error.into_store(&place))?;
        }
        self.writer.open().map_err(|error| error.into_store(&place))
    }

    /// What was learned of the load of no single share; all else that is kept comes with the shares that are taken, and
    /// orders with the first beat. The number is the one before this scheduler's range.
    fn load(&mut self, take: &mut dyn FnMut(Entry)) -> Result<JobId, StoreError> {
        let place = self.place();
        let id = match &mut self.beats {
            Some(beats) => {
                let joined = beats.join().and_then(|id| Ok((id, beats.weeks()?)));
                let (id, weeks) = joined.map_err(|error| error.into_store(&place))?;
                weeks.into_iter().for_each(take);
                id
            }
            None => 0,
        };
        Ok(JobId((id.cast_unsigned() << RANGE_BITS).saturating_sub(1)))
    }

    fn commit(&mut self, group: &[Entry]) -> Result<(), StoreError> {
        self.writer.commit(group).map(drop).map_err(|error| error.into_store(&self.config.place()))
    }

    fn fleet(&mut self) -> Option<Fleet> {
        let beats = self.beats.take()?;
        Some(Fleet { desk: self.desk.clone(), member: Box::new(beats) })
    }
}
