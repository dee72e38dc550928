//! How the fleet stands: [`FleetStatus`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::SharedError;
use super::connection::{Connection, column};

/// How the fleet stands, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FleetStatus {
    /// The version of the tables.
    pub schema_version: i32,
    /// Schedulers, oldest first.
    pub members: Vec<MemberStatus>,
    /// Shares that nobody owns, or whose owner is gone.
    pub unowned: Vec<u32>,
    /// Jobs by state: `waiting`, `running`, and for a while those that have ended.
    pub jobs: BTreeMap<String, u64>,
    /// Requests that no owner has taken on yet.
    pub requests: u64,
    /// Limits that span schedulers, by name.
    pub limits: BTreeMap<String, LimitStatus>,
}

/// One scheduler of the fleet.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Its incarnation.
    pub id: i64,
    /// What it calls itself.
    pub name: String,
    /// How much it takes on beside others.
    pub weight: u32,
    /// The version of the tables that it writes.
    pub version: i32,
    /// How long ago it was heard of.
    pub heard: Duration,
    /// Whether its lease holds.
    pub alive: bool,
    /// The shares that it owns.
    pub shares: Vec<u32>,
    /// Its jobs that wait, those among them that a former owner had begun.
    pub waiting: u64,
    /// Its jobs that run.
    pub running: u64,
}

/// A limit that spans schedulers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LimitStatus {
    /// How much there is for all.
    pub total: u64,
    /// By scheduler what it may use, and the most that it may be using still.
    pub parts: BTreeMap<i64, (u64, u64)>,
}

pub(super) fn read(connection: &Connection) -> Result<FleetStatus, SharedError> {
    connection.transaction(|connection| {
        connection.batch("set transaction isolation level repeatable read, read only")?;
        let row = connection.one("select schema_version from meta", &[])?;
        let mut status = FleetStatus {
            schema_version: column(&row, "schema_version")?,
            members: members(connection)?,
            unowned: Vec::new(),
            jobs: BTreeMap::new(),
            requests: 0,
            limits: BTreeMap::new(),
        };
        let places: BTreeMap<i64, usize> =
            status.members.iter().enumerate().map(|(at, member)| (member.id, at)).collect();
        let mut owners = BTreeMap::new();
        for row in &connection.query("select share, owner from shares order by share", &[])? {
            let share = column::<i32>(row, "share")?.unsigned_abs();
            let owner = column::<Option<i64>>(row, "owner")?.and_then(|owner| places.get(&owner).copied());
            match owner {
                Some(at) => {
                    status.members[at].shares.push(share);
                    owners.insert(share, at);
                }
                None => status.unowned.push(share),
            }
        }
        // What ran under a former owner was cut off: the present one makes it again.
        let counted = "select j.share, j.live, count(*) as n,
                           case when j.live and j.epoch < s.epoch then 'waiting' else j.state end as state
                       from jobs j join shares s using (share) group by 1, 2, 4";
        for row in &connection.query(counted, &[])? {
            let (state, live): (String, bool) = (column(row, "state")?, column(row, "live")?);
            let n = column::<i64>(row, "n")?.unsigned_abs();
            if let Some(at) = owners.get(&column::<i32>(row, "share")?.unsigned_abs()).filter(|_| live) {
                let member = &mut status.members[*at];
                let count = if state == "running" { &mut member.running } else { &mut member.waiting };
                *count += n;
            }
            *status.jobs.entry(state).or_default() += n;
        }
        let row = connection.one("select count(*) as n from requests where answered is null", &[])?;
        status.requests = column::<i64>(&row, "n")?.unsigned_abs();
        for row in &connection.query("select name, total from limits", &[])? {
            let total = column::<i64>(row, "total")?.unsigned_abs();
            status.limits.insert(column(row, "name")?, LimitStatus { total, ..LimitStatus::default() });
        }
        for row in &connection.query("select limit_name, scheduler, amount, bound from grants", &[])? {
            let amount = |name| column::<i64>(row, name).map(i64::unsigned_abs);
            if let Some(limit) = status.limits.get_mut(column::<&str>(row, "limit_name")?) {
                limit.parts.insert(column(row, "scheduler")?, (amount("amount")?, amount("bound")?));
            }
        }
        Ok(status)
    })
}

fn members(connection: &Connection) -> Result<Vec<MemberStatus>, SharedError> {
    let members = "select id, name, weight, version, expires > clock_timestamp() as alive,
                       extract(epoch from clock_timestamp() - seen)::float8 as heard
                   from schedulers order by id";
    let rows = connection.query(members, &[])?;
    rows.iter()
        .map(|row| {
            Ok(MemberStatus {
                id: column(row, "id")?,
                name: column(row, "name")?,
                weight: column::<i32>(row, "weight")?.unsigned_abs(),
                version: column(row, "version")?,
                heard: Duration::try_from_secs_f64(column(row, "heard")?).unwrap_or_default(),
                alive: column(row, "alive")?,
                shares: Vec::new(),
                waiting: 0,
                running: 0,
            })
        })
        .collect()
}
