//! What a scheduler does with others at each beat: [`Beats`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use sched_core::JobId;
use sched_core::store::{
    Entry, FleetMember, FleetNews, FleetReport, Key, LimitUse, Request, SharedLimit, StoreError, TakenShare,
};

use super::connection::column;
use super::member::read;
use super::{Member, SharedError, Use, Wish, limits};

/// Jobs of a share that are read at once; the lease is renewed in between.
const PAGE: u32 = 5_000;
/// Requests that are taken on at once, and outcomes that are told.
const REQUESTS: i64 = 1_000;
/// Rows that are thrown away at once.
const PORTION: i64 = 10_000;
/// Audit entries that are told to whoever joins.
const AUDIT: i64 = 1_000;
/// Entries are committed in another order than they are numbered, but nobody waits while so many others are.
const AUDIT_OUT_OF_ORDER: i64 = 100;
/// Beats between two looks for what is to be thrown away.
const SWEEPS_EVERY: u32 = 60;

/// A [`Member`] that does at each beat what there is to do.
#[derive(Debug)]
pub(super) struct Beats {
    member: Member,
    limits: Vec<SharedLimit>,
    joined: bool,
    /// Shares that it owns.
    held: BTreeSet<u32>,
    /// Those of them that it was asked to give up.
    leaving: BTreeSet<u32>,
    /// Those of them that it took because whoever should have did not: others are given up first.
    unwanted: BTreeSet<u32>,
    /// Requests that were told and are not answered yet, with their shares.
    told: HashMap<i64, u32>,
    /// What is known of orders that concern the whole fleet, by key: when it was written.
    orders: BTreeMap<String, i64>,
    /// The newest audit entries that were told, by number.
    audited: BTreeSet<i64>,
    /// Beats until the next look for what is to be thrown away.
    sweeps_in: u32,
}

impl Beats {
    pub(super) fn new(member: Member, limits: Vec<SharedLimit>) -> Self {
        let (joined, held, leaving, unwanted, told, orders, audited, sweeps_in) = Default::default();
        Self { member, limits, joined, held, leaving, unwanted, told, orders, audited, sweeps_in }
    }

    /// Joins if it has not.
    pub(super) fn join(&mut self) -> Result<i64, SharedError> {
        if !self.joined {
            self.member.join()?;
            self.joined = true;
            (self.held, self.leaving, self.unwanted, self.told) = Default::default();
        }
        Ok(self.member.id())
    }

    /// What was learned of the load of places that are in no share.
    pub(super) fn weeks(&mut self) -> Result<Vec<Entry>, SharedError> {
        let weeks = "select fact from facts where share is null and key like '{\"week\"%'";
        let rows = self.member.with(|connection, _| connection.query(weeks, &[]))?;
        // One that cannot be read is learned anew.
        let read = |row| Ok(serde_json::from_str(column::<&str>(row, "fact")?).ok());
        rows.iter().filter_map(|row| read(row).transpose()).collect()
    }

    fn do_all(&mut self, report: &FleetReport, tell: &mut dyn FnMut(FleetNews)) -> Result<(), SharedError> {
        if self.join()? > 0 {
            self.member.renew()?;
        }
        let released: Vec<u32> = report.clear.intersection(&self.held).copied().collect();
        if !released.is_empty() {
            self.member.release(&released)?;
            self.held.retain(|share| !released.contains(share));
            self.leaving.retain(|share| !released.contains(share));
            self.unwanted.retain(|share| !released.contains(share));
            // Who gave them up did not answer. Should they come back, so does what is asked of their owner.
            self.told.retain(|_, share| !released.contains(share));
        }
        let moves = self.member.moves(&self.held)?;
        // Any of its shares will do; those of which nothing runs can move.
        let more = moves.give_up.len().saturating_sub(self.leaving.len());
        let unwanted = &self.unwanted;
        let idle = self.held.iter().rev().filter(|s| !report.busy.contains(s) && !unwanted.contains(s));
        let give_up: Vec<u32> =
            idle.filter(|share| !self.leaving.contains(share)).take(more).copied().collect();
        if !give_up.is_empty() {
            self.leaving.extend(&give_up);
            tell(FleetNews::GiveUp(give_up));
        }
        let free = moves.take.iter().chain(&moves.overlooked).copied();
        let take: Vec<u32> = free.filter(|share| !report.busy.contains(share)).collect();
        for owned in self.member.take(&take)? {
            self.member.keep_up()?;
            self.hand_over(owned, tell)?;
            if moves.overlooked.contains(&owned.share) {
                self.unwanted.insert(owned.share);
            }
        }
        self.tell_orders(tell)?;
        self.tell_audit(tell)?;
        self.tell_requests(tell)?;
        self.tell_outcomes(report, tell)?;
        self.divide(report, tell)?;
        match self.sweeps_in.checked_sub(1) {
            Some(left) => self.sweeps_in = left,
            // Where much ends a portion in a minute would not do.
            None => self.sweeps_in = if self.sweep()? { 0 } else { SWEEPS_EVERY - 1 },
        }
        Ok(())
    }

    fn hand_over(&mut self, owned: super::Owned, tell: &mut dyn FnMut(FleetNews)) -> Result<(), SharedError> {
        let (mut jobs, mut unreadable, mut after) = (Vec::new(), Vec::new(), JobId(0));
        loop {
            let page = self.member.jobs(owned.share, after, PAGE)?;
            jobs.extend(page.jobs);
            unreadable.extend(page.unreadable);
            if page.is_last {
                break;
            }
            after = page.last;
            self.member.renew()?;
        }
        let facts = self.member.facts(owned.share, &mut unreadable)?;
        unreadable.into_iter().for_each(|error| self.tell_unreadable(error, tell));
        self.held.insert(owned.share);
        let (share, epoch, owner) = (owned.share, owned.epoch, self.member.id());
        let mut taken = TakenShare::new(share, epoch, owner);
        (taken.jobs, taken.facts) = (jobs, facts);
        tell(FleetNews::Taken(Box::new(taken)));
        Ok(())
    }

    /// One row that cannot be read is no reason to do without the others.
    fn tell_unreadable(&self, error: SharedError, tell: &mut dyn FnMut(FleetNews)) {
        tell(FleetNews::Unreadable(error.into_store(&self.member.place())));
    }

    /// Orders of operators that others have written down.
    fn tell_orders(&mut self, tell: &mut dyn FnMut(FleetNews)) -> Result<(), SharedError> {
        let asked = "select key, fact, (extract(epoch from changed) * 1e6)::int8 as changed from facts
                     where share is null and key like '{\"orders\"%'";
        let rows = self.member.with(|connection, _| connection.query(asked, &[]))?;
        let mut found = BTreeMap::new();
        for row in &rows {
            let (key, changed): (String, i64) = (column(row, "key")?, column(row, "changed")?);
            if self.orders.get(&key) != Some(&changed) {
                match read(key.clone(), column(row, "fact")?) {
                    Ok(entry) => tell(FleetNews::Orders(Box::new(entry))),
                    Err(error) => self.tell_unreadable(error, tell),
                }
            }
            found.insert(key, changed);
        }
        // What is there no longer was taken back.
        for key in self.orders.keys().filter(|key| !found.contains_key(*key)) {
            if let Ok(Key::Orders(scope)) = serde_json::from_str(key) {
                let none = sched_core::StandingOrders::none(scope);
                tell(FleetNews::Orders(Box::new(Entry::Orders(Box::new(none)))));
            }
        }
        self.orders = found;
        Ok(())
    }

    /// What operators did anywhere, once.
    fn tell_audit(&mut self, tell: &mut dyn FnMut(FleetNews)) -> Result<(), SharedError> {
        let new = "select id, entry from audit
                   where id > coalesce($1, (select max(id) from audit) - $2) and id <> all($3) order by id";
        let after = self.audited.last().map(|newest| newest - AUDIT_OUT_OF_ORDER);
        let told: Vec<i64> = self.audited.iter().copied().collect();
        let rows = self.member.with(|connection, _| connection.query(new, &[&after, &AUDIT, &told]))?;
        for row in &rows {
            let number: i64 = column(row, "id")?;
            self.audited.insert(number);
            match read(format!("audit entry {number}"), column(row, "entry")?) {
                Ok(entry) => tell(FleetNews::Audit(Box::new(entry))),
                Err(error) => self.tell_unreadable(error, tell),
            }
        }
        if let Some(newest) = self.audited.last().copied() {
            self.audited.retain(|number| *number > newest - AUDIT_OUT_OF_ORDER);
        }
        Ok(())
    }

    fn tell_requests(&mut self, tell: &mut dyn FnMut(FleetNews)) -> Result<(), SharedError> {
        let shares: Vec<i32> = self.held.iter().map(|share| share.cast_signed()).collect();
        // A job is cancelled once it is known what it is at its owner.
        let open = "select r.id, r.share, r.body, s.job from requests r
                    left join requests s on s.ticket = r.ticket and r.cancels and not s.cancels
                    where r.answered is null and r.share = any($1)
                      and (s.id is null or s.answered is not null)
                    order by r.id limit $2";
        let rows = self.member.with(|connection, _| connection.query(open, &[&shares, &REQUESTS]))?;
        let mut open = HashMap::new();
        for row in &rows {
            let number: i64 = column(row, "id")?;
            let share = column::<i32>(row, "share")?.unsigned_abs();
            open.insert(number, share);
            if self.told.contains_key(&number) {
                continue;
            }
            // One that a later version understands waits for it.
            let mut ask = match read(format!("request {number}"), column(row, "body")?) {
                Ok(ask) => ask,
                Err(error) => {
                    self.tell_unreadable(error, tell);
                    continue;
                }
            };
            let job: Option<i64> = column(row, "job")?;
            if let (sched_core::store::Ask::Cancel(target, _), Some(job)) = (&mut ask, job) {
                *target = JobId(job.cast_unsigned());
            }
            tell(FleetNews::Asked(Box::new(Request { number, share, ask })));
        }
        self.told = open;
        Ok(())
    }

    fn tell_outcomes(
        &mut self,
        report: &FleetReport,
        tell: &mut dyn FnMut(FleetNews),
    ) -> Result<(), SharedError> {
        if report.asked.is_empty() {
            return Ok(());
        }
        let asked: Vec<i64> = report.asked.iter().map(|job| job.0.cast_signed()).collect();
        // One that is not there any more has ended longer ago than is kept. Jobs that were passed on with their shares have
        // no request.
        let ended = "select r.ticket, r.refusal, j.outcome from requests r left join jobs j on j.id = r.job
                     where r.ticket = any($1) and not r.cancels and r.answered is not null
                       and (j.id is null or not j.live)
                     union all
                     select id as ticket, null as refusal, outcome from jobs where id = any($1) and not live";
        let rows = self.member.with(|connection, _| connection.query(ended, &[&asked]))?;
        for row in &rows {
            let ticket = JobId(column::<i64>(row, "ticket")?.cast_unsigned());
            let refusal: Option<String> = column(row, "refusal")?;
            let outcome: Option<&str> = column(row, "outcome")?;
            tell(match refusal {
                Some(refusal) => FleetNews::Refused(ticket, refusal),
                // One that a later version wrote may not be readable.
                None => FleetNews::Ended(ticket, outcome.and_then(|text| serde_json::from_str(text).ok())),
            });
        }
        Ok(())
    }

    fn divide(&mut self, report: &FleetReport, tell: &mut dyn FnMut(FleetNews)) -> Result<(), SharedError> {
        if self.limits.is_empty() {
            return Ok(());
        }
        let id = self.member.id();
        let uses = self.limits.iter().map(|limit| {
            let LimitUse { applied, used, demand, least, key } =
                report.uses.get(&limit.name()).copied().unwrap_or_default();
            (limit.name(), Use { applied, used, wish: Wish { demand, least, key } })
        });
        let uses: BTreeMap<String, Use> = uses.collect();
        let parts = self.member.with(|connection, _| limits::hear(connection, id, &uses))?;
        parts.into_iter().for_each(|(limit, amount)| tell(FleetNews::Part(limit, amount)));
        Ok(())
    }

    /// Throws away what nobody will ask for any more, a portion at a time; whether there may be more.
    fn sweep(&mut self) -> Result<bool, SharedError> {
        self.member.with(|connection, config| {
            let keep = super::member::millis(config.retention);
            let jobs = connection.execute(
                "delete from jobs where id in (select id from jobs where not live
                     and changed < clock_timestamp() - $1 * interval '1 ms' limit $2)",
                &[&keep, &PORTION],
            )?;
            let requests = connection.execute(
                "delete from requests where id in (select id from requests r
                     where answered < clock_timestamp() - $1 * interval '1 ms'
                         and not exists (select from jobs j where j.id = r.job) limit $2)",
                &[&keep, &PORTION],
            )?;
            let most = i64::try_from(sched_core::store::AUDIT_KEPT).unwrap_or(i64::MAX);
            connection.execute("delete from audit where id <= (select max(id) from audit) - $1", &[&most])?;
            Ok(jobs.max(requests) >= PORTION.unsigned_abs())
        })
    }
}

impl FleetMember for Beats {
    fn every(&self) -> Duration {
        self.member.beat()
    }

    fn limits(&self) -> Vec<SharedLimit> {
        self.limits.clone()
    }

    fn beat(&mut self, report: FleetReport, tell: &mut dyn FnMut(FleetNews)) -> Result<(), StoreError> {
        let place = self.member.place();
        let done = self.do_all(&report, tell);
        if let Err(SharedError::Lost { .. } | SharedError::Version { .. }) = done {
            self.joined = false;
            self.member.lease().lose();
        }
        done.map_err(|error| error.into_store(&place))
    }

    fn leave(&mut self) -> Result<(), StoreError> {
        let place = self.member.place();
        if !std::mem::take(&mut self.joined) {
            return Ok(());
        }
        self.member.leave().map_err(|error| error.into_store(&place))
    }
}
