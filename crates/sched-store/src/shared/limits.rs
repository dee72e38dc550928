//! Limits that span schedulers, in the store: the pure [`Division`] between reading and writing.

use std::collections::BTreeMap;

use sched_core::store::SharedLimit;

use super::connection::{Connection, column};
use super::{Division, Part, SharedError, Use, Wish};

/// How often a limit is divided anew.
const DIVIDED_EVERY_MS: f64 = 2_000.0;

/// Makes limits known. What is said last counts for all.
pub(super) fn set(connection: &Connection, limits: &[SharedLimit]) -> Result<(), SharedError> {
    let set = "insert into limits (name, total) values ($1, $2)
               on conflict (name) do update set total = excluded.total where limits.total <> excluded.total";
    for limit in limits {
        let total = i64::try_from(limit.total).unwrap_or(i64::MAX);
        connection.execute(set, &[&limit.name(), &total])?;
    }
    Ok(())
}

/// Takes note of what a member uses, divides anew what has not been for a while, and tells what the member may use.
pub(super) fn hear(
    connection: &Connection,
    member: i64,
    uses: &BTreeMap<String, Use>,
) -> Result<BTreeMap<String, u64>, SharedError> {
    let names: Vec<&str> = uses.keys().map(String::as_str).collect();
    connection.transaction(|connection| {
        // In order of name, and one at a time: whoever divides sees what all others have written.
        let lock = "select name, total, divided < clock_timestamp() - $2 * interval '1 ms' as due
                    from limits where name = any($1) order by name for update";
        let limits = connection.query(lock, &[&names, &DIVIDED_EVERY_MS])?;
        // Nobody sweeps it away before the commit. One that was swept away before has no part that others know of.
        let there = "select from schedulers where id = $1 for key share";
        if connection.query(there, &[&member])?.is_empty() {
            return Err(SharedError::Lost { scheduler: member });
        }
        let mut told = BTreeMap::new();
        for row in &limits {
            let name: String = column(row, "name")?;
            let Some(told_use) = uses.get(&name) else { continue };
            let mut division = read(connection, &name, column::<i64>(row, "total")?.unsigned_abs())?;
            let before = division.clone();
            division.hear(member, *told_use);
            if column(row, "due")? {
                division.divide();
                connection
                    .execute("update limits set divided = clock_timestamp() where name = $1", &[&name])?;
            }
            write(connection, &name, &before, &division)?;
            told.insert(name, division.parts[&member].amount);
        }
        Ok(told)
    })
}

/// A limit as it stands: of the members that are there. One whose lease and the grace after it are over counts until its
/// row is swept away: only then is it certain that it was not renewed meanwhile.
fn read(connection: &Connection, name: &str, total: u64) -> Result<Division, SharedError> {
    let alive = "select scheduler, amount, bound, demand, least, key from grants where limit_name = $1";
    let mut parts = BTreeMap::new();
    for row in &connection.query(alive, &[&name])? {
        let amount = |name| column::<i64>(row, name).map(i64::unsigned_abs);
        let wish = Wish { demand: amount("demand")?, least: amount("least")?, key: column(row, "key")? };
        let part = Part { amount: amount("amount")?, bound: amount("bound")?, wish };
        parts.insert(column(row, "scheduler")?, part);
    }
    Ok(Division { total, parts })
}

fn write(
    connection: &Connection,
    name: &str,
    before: &Division,
    after: &Division,
) -> Result<(), SharedError> {
    let set = "insert into grants (limit_name, scheduler, amount, bound, demand, least, key)
               select $1, $2, $3, $4, $5, $6, $7 where exists (select from schedulers where id = $2)
               on conflict (limit_name, scheduler) do update set amount = excluded.amount, bound = excluded.bound,
                   demand = excluded.demand, least = excluded.least, key = excluded.key";
    let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    for (member, part) in &after.parts {
        if before.parts.get(member) != Some(part) {
            let Part { amount, bound, wish: Wish { demand, least, key } } = part;
            let [amount, bound, demand, least] = [amount, bound, demand, least].map(|n| signed(*n));
            connection.execute(set, &[&name, member, &amount, &bound, &demand, &least, key])?;
        }
    }
    Ok(())
}
