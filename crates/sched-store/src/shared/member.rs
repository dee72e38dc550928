//! A scheduler as one of several: [`Member`] joins, renews its lease, takes and gives up shares.

use std::collections::{BTreeMap, BTreeSet};

use sched_core::JobId;
use sched_core::store::{Entry, JobEntry};

use super::connection::{Connection, column};
use super::lease::{BootTime, Lease};
use super::{SharedConfig, SharedError, rebalance, schema};

/// A share that a scheduler owns. The epoch is the fencing number: whoever took it over later has a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owned {
    /// The share.
    pub share: u32,
    /// The number of its owner.
    pub epoch: i64,
}

/// What a member should do so that all have their parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Shares of its own that others lack.
    pub give_up: Vec<u32>,
    /// Shares that nobody owns and it lacks.
    pub take: Vec<u32>,
    /// Shares that nobody has owned for the time of a lease, though somebody else lacks them.
    pub overlooked: Vec<u32>,
}

/// Shares whose owner is gone: its row was swept away, or it has left. That a lease looks over is not enough: a statement
/// that was held up for long sees the row as it was, and not that it was renewed since. Whoever deletes it looks at it as
/// it is.
const GONE: &str = "not exists (select from schedulers m where m.id = owner)";

/// A scheduler as one of several, one question at a time. Every call asks the server and takes no longer than
/// [`SharedConfig::statement_timeout`] and a second. After an error that [is passing](SharedError::is_passing) the next call connects
/// anew; after [`SharedError::Lost`] it must [`join`](Self::join) again.
#[derive(Debug)]
pub struct Member {
    config: SharedConfig,
    connection: Option<Connection>,
    id: i64,
    shares: u32,
    lease: Lease,
    /// Shares that nobody owns and another one should take, and since when that is so.
    overlooked: BTreeMap<u32, BootTime>,
}

impl Member {
    pub(super) fn new(config: SharedConfig, shares: u32) -> Self {
        let lease = Lease::new(config.lease);
        Self { config, connection: None, id: 0, shares, lease, overlooked: BTreeMap::new() }
    }

    /// Its incarnation: another one each time that it joins.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The number of shares of the fleet.
    pub fn shares(&self) -> u32 {
        self.shares
    }

    /// How often [`renew`](Self::renew) should be called.
    pub fn beat(&self) -> std::time::Duration {
        self.config.beat
    }

    /// Where the store is, for people.
    pub(super) fn place(&self) -> String {
        self.config.place()
    }

    /// Its lease, for others to look at.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Joins the fleet under a new incarnation, without any share.
    ///
    /// # Errors
    /// When the server does not do it, or this library is too old for its tables.
    pub fn join(&mut self) -> Result<i64, SharedError> {
        self.lease.lose();
        let asked = BootTime::now();
        let (lease, grace) = (millis(self.config.lease), millis(self.config.grace));
        let weight = self.config.weight.cast_signed();
        let name = self.config.name.clone();
        let id = self.with(|connection, config| {
            schema::version(connection, config)?;
            let row = connection.one(
                "insert into schedulers (id, name, weight, version, expires, grace)
                 values (nextval('incarnations'), $1, $2, $3, clock_timestamp() + $4 * interval '1 ms', $5 * interval '1 ms')
                 returning id",
                &[&name, &weight, &schema::VERSION, &lease, &grace],
            )?;
            column(&row, "id")
        })?;
        self.id = id;
        if let Some(connection) = &mut self.connection {
            connection.scheduler = id;
        }
        self.lease.renew(asked);
        Ok(id)
    }

    /// Gives a sign of life: the lease holds for its full length again.
    ///
    /// # Errors
    /// [`SharedError::Lost`] when the lease has run out by the server's clock: others may have taken over.
    /// [`SharedError::Version`] when the tables were brought to a version that this library is too old for.
    pub fn renew(&mut self) -> Result<(), SharedError> {
        let (id, lease) = (self.id, millis(self.config.lease));
        let asked = BootTime::now();
        let renewed = self.with(|connection, config| {
            schema::version(connection, config)?;
            connection.execute(
                "update schedulers set seen = clock_timestamp(), expires = clock_timestamp() + $2 * interval '1 ms'
                 where id = $1 and expires > clock_timestamp()",
                &[&id, &lease],
            )
        })?;
        if renewed == 0 {
            self.lease.lose();
            return Err(SharedError::Lost { scheduler: id });
        }
        self.lease.renew(asked);
        Ok(())
    }

    /// [`renew`](Self::renew)s the lease when a half of what it may use of it has passed.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub(super) fn keep_up(&mut self) -> Result<(), SharedError> {
        let soon = BootTime::now().plus(self.config.lease / 3);
        if self.lease.holds_at(soon) { Ok(()) } else { self.renew() }
    }

    /// What it should take and give up as the fleet stands; `held` are the shares that it knows to be its own. What it owns
    /// beside them, because an answer was lost, counts as free. A share that whoever should have it has not taken for the time of
    /// a lease is anybody's. Rows of members that are long gone are swept away.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn moves(&mut self, held: &BTreeSet<u32>) -> Result<Moves, SharedError> {
        let (id, shares) = (self.id, self.shares);
        let mut overlooked = std::mem::take(&mut self.overlooked);
        let (now, lease) = (BootTime::now(), self.config.lease);
        let moves = self.with(|connection, _| {
            connection.execute("delete from schedulers where expires + grace < clock_timestamp()", &[])?;
            let there = "select id, weight, expires > clock_timestamp() as alive from schedulers";
            let mut members = BTreeMap::new();
            for row in connection.query(there, &[])? {
                if column(&row, "alive")? {
                    members.insert(column(&row, "id")?, column::<i32>(&row, "weight")?.unsigned_abs());
                }
            }
            let mut owners = vec![None; shares as usize];
            // One whose lease has run out keeps its shares through the grace: nobody is asked to take them yet.
            let mut waiting = Vec::new();
            for row in connection.query(&format!("select share, owner, {GONE} as free from shares"), &[])? {
                let share = column::<i32>(&row, "share")?.unsigned_abs();
                let owner: Option<i64> = column(&row, "owner")?;
                let Some(entry) = owners.get_mut(share as usize) else { continue };
                *entry = owner.filter(|owner| *owner != id || held.contains(&share));
                let owner = *entry;
                if owner.is_some_and(|owner| !members.contains_key(&owner)) && !column::<bool>(&row, "free")?
                {
                    waiting.push(share);
                }
            }
            let plan = rebalance(&members, &owners);
            let mine = |share: &u32| owners[*share as usize] == Some(id);
            let free =
                |share: &u32| owners[*share as usize].is_none_or(|owner| !members.contains_key(&owner));
            let give_up =
                plan.iter().filter(|(share, to)| **to != id && mine(share)).map(|(share, _)| *share);
            let take =
                plan.iter().filter(|(share, to)| **to == id && free(share) && !waiting.contains(share));
            let take = take.map(|(share, _)| *share);
            // Whoever should take a share may be unable to, for as long as something of it hangs there.
            let others = |share: &u32| plan.get(share).is_some_and(|to| *to != id);
            let left: Vec<u32> =
                plan.keys().copied().filter(|s| others(s) && free(s) && !waiting.contains(s)).collect();
            overlooked.retain(|share, _| left.contains(share));
            let long = |share: &u32| overlooked.entry(*share).or_insert(now).plus(lease) < now;
            let left = left.into_iter().filter(long).collect();
            Ok(Moves { give_up: give_up.collect(), take: take.collect(), overlooked: left })
        });
        self.overlooked = overlooked;
        moves
    }

    /// Takes those of the shares that nobody else owns, each under its next epoch.
    ///
    /// # Errors
    /// When the server does not do it. It may own shares then without knowing it; [`moves`](Self::moves) finds them.
    pub fn take(&mut self, shares: &[u32]) -> Result<Vec<Owned>, SharedError> {
        if shares.is_empty() {
            return Ok(Vec::new());
        }
        let id = self.id;
        let wanted: Vec<i32> = shares.iter().map(|share| share.cast_signed()).collect();
        // A former owner's transaction may hold a share for as long as it takes to commit: it is taken the next time.
        let lock = "select share from shares where share = any($1) order by share for update skip locked";
        // Whoever owns them by now joined before that, and is seen by a statement that begins after.
        let take = format!(
            "update shares set owner = $1, epoch = epoch + 1, since = clock_timestamp()
             where share = any($2) and (owner = $1 or {GONE})
               and exists (select from schedulers where id = $1 and expires > clock_timestamp())
             returning share, epoch"
        );
        self.with(|connection, _| {
            let rows = connection.transaction(|connection| {
                let locked = connection.query(lock, &[&wanted])?;
                let locked =
                    locked.iter().map(|row| column(row, "share")).collect::<Result<Vec<i32>, _>>()?;
                connection.query(&take, &[&id, &locked])
            })?;
            rows.iter()
                .map(|row| {
                    let share = column::<i32>(row, "share")?.unsigned_abs();
                    Ok(Owned { share, epoch: column(row, "epoch")? })
                })
                .collect()
        })
    }

    /// Gives up shares, for others to take at once. Nothing may be written for them any more, and nothing of them may
    /// run.
    ///
    /// # Errors
    /// When the server does not do it.
    pub fn release(&mut self, shares: &[u32]) -> Result<(), SharedError> {
        let id = self.id;
        let shares: Vec<i32> = shares.iter().map(|share| share.cast_signed()).collect();
        let release = "update shares set owner = null where share = any($2) and owner = $1";
        self.with(|connection, _| connection.execute(release, &[&id, &shares]).map(drop))
    }

    /// Leaves the fleet: its shares are free at once. Nothing of them may run any more.
    ///
    /// # Errors
    /// When the server does not do it. Others will find out by the lease.
    pub fn leave(&mut self) -> Result<(), SharedError> {
        let id = self.id;
        self.lease.lose();
        self.with(|connection, _| {
            connection.transaction(|connection| {
                connection.execute("update shares set owner = null where owner = $1", &[&id])?;
                connection.execute("delete from schedulers where id = $1", &[&id])
            })
        })
        .map(drop)
    }

    /// Jobs of a share that have not ended, at most `most`, in order of number, from the one after `after` on.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(super) fn jobs(&mut self, share: u32, after: JobId, most: u32) -> Result<Page, SharedError> {
        let (share, after, most) = (share.cast_signed(), after.0.cast_signed(), i64::from(most));
        let page = "select id, record from jobs where share = $1 and live and id > $2 order by id limit $3";
        self.with(|connection, _| {
            let rows = connection.query(page, &[&share, &after, &most])?;
            let is_last = (rows.len() as i64) < most;
            let mut page = Page { jobs: Vec::new(), unreadable: Vec::new(), last: JobId(0), is_last };
            for row in &rows {
                let id: i64 = column(row, "id")?;
                page.last = JobId(id.cast_unsigned());
                match read(format!("job {id}"), column(row, "record")?) {
                    Ok(job) => page.jobs.push(job),
                    Err(error) => page.unreadable.push(error),
                }
            }
            Ok(page)
        })
    }

    /// What is kept of a share beside its jobs: what was learned, how recurring backups stand. What cannot be read goes to
    /// `unreadable`.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(super) fn facts(
        &mut self,
        share: u32,
        unreadable: &mut Vec<SharedError>,
    ) -> Result<Vec<Entry>, SharedError> {
        let facts = "select key, fact from facts where share = $1 order by key";
        self.with(|connection, _| {
            let rows = connection.query(facts, &[&share.cast_signed()])?;
            let mut found = Vec::with_capacity(rows.len());
            for row in &rows {
                match read(column(row, "key")?, column(row, "fact")?) {
                    Ok(fact) => found.push(fact),
                    Err(error) => unreadable.push(error),
                }
            }
            Ok(found)
        })
    }

    /// Does something on its connection, and makes one if there is none.
    pub(super) fn with<T>(
        &mut self,
        work: impl FnOnce(&Connection, &SharedConfig) -> Result<T, SharedError>,
    ) -> Result<T, SharedError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = Connection::open(&self.config)?;
                connection.scheduler = self.id;
                connection
            }
        };
        let done = work(&connection, &self.config);
        if !done.as_ref().is_err_and(SharedError::is_passing) {
            self.connection = Some(connection);
        }
        done
    }
}

/// Some of the jobs of a share.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) jobs: Vec<JobEntry>,
    /// Rows among them that cannot be read.
    pub(super) unreadable: Vec<SharedError>,
    /// The number of the last one, readable or not.
    pub(super) last: JobId,
    /// There are no more.
    pub(super) is_last: bool,
}

/// Reads what is kept.
pub(super) fn read<T: serde::de::DeserializeOwned>(
    what: String,
    text: Option<&str>,
) -> Result<T, SharedError> {
    let Some(text) = text else {
        return Err(SharedError::Damaged { what, problem: "there is no record".into() });
    };
    serde_json::from_str(text).map_err(|error| SharedError::Damaged { what, problem: error.to_string() })
}

pub(super) fn millis(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
