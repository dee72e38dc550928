//! The scheduler that is obviously right and slow: a list of jobs, looked through from the most urgent on.

use std::collections::{BTreeMap, BTreeSet};

use sched_core::{Calendar, CalendarState, LoadLevel, Priority, Reason, SLOTS, Scope, Stretch};

pub(crate) const EXPECTED_SECS: i64 = 600;
pub(crate) const RETRY_SECS: i64 = 60;

pub(crate) fn weight(tenant: u8) -> u64 {
    u64::from(tenant.max(1))
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) key: (bool, i64, u64, u64),
    pub(crate) instance: u8,
    pub(crate) priority: Priority,
    /// An operator chose it.
    pub(crate) own_class: bool,
    pub(crate) disk: bool,
    pub(crate) size: u64,
    pub(crate) tenant: u8,
    pub(crate) submitted_ms: i64,
    pub(crate) deadline_ms: i64,
    pub(crate) not_before_ms: Option<i64>,
    pub(crate) planned_ms: Option<i64>,
    pub(crate) calendar: Option<u8>,
    pub(crate) opens_when_late: bool,
    /// The latest start in its windows.
    pub(crate) latest_ms: i64,
    pub(crate) scopes: BTreeSet<Scope>,
}

/// What a calendar says for each half hour, over and over: 0 closed, 1 blackout, else open.
#[derive(Clone, Debug)]
pub(crate) struct Cells(pub(crate) Vec<u8>);

pub(crate) const CELL_MS: i64 = 1_800_000;

impl Cells {
    pub(crate) fn at(&self, cell: i64) -> u8 {
        self.0[usize::try_from(cell.rem_euclid(self.0.len() as i64)).unwrap()].min(2)
    }

    pub(crate) fn may_run(&self, cell: i64, late: bool) -> bool {
        self.at(cell) == 2 || late && self.at(cell) == 0
    }
}

impl Calendar for Cells {
    /// Never longer than a round, so that stretches of the same state touch.
    fn at(&self, at: jiff::Timestamp) -> Stretch {
        let cell = at.as_millisecond().div_euclid(CELL_MS);
        let same = |other: &i64| {
            self.at(*other) == self.at(cell)
                && other.div_euclid(self.0.len() as i64) == cell.div_euclid(self.0.len() as i64)
        };
        let from = (0..).map(|n| cell - n).take_while(same).last().unwrap();
        let until = (0..).map(|n| cell + n).find(|cell| !same(cell)).unwrap();
        let edge = |cell: i64| jiff::Timestamp::from_millisecond(cell * CELL_MS).ok();
        let reason = || Reason::new("told by a test");
        let state = match self.at(cell) {
            0 => CalendarState::Closed { reason: reason() },
            1 => CalendarState::Blackout { reason: reason() },
            _ => CalendarState::Open,
        };
        Stretch { from: edge(from), until: edge(until), state }
    }
}

impl Job {
    pub(crate) fn latest_ms(&self) -> i64 {
        self.latest_ms
    }

    pub(crate) fn planned_ms(&self) -> Option<i64> {
        self.planned_ms.filter(|_| self.priority < Priority::High).map(|at| at.min(self.latest_ms))
    }

    /// Half hour by half hour backwards from the latest start that it would have without windows.
    pub(crate) fn heed(&mut self, calendars: &BTreeMap<u8, Cells>) {
        let need = (EXPECTED_SECS + RETRY_SECS) * 1000;
        let natural = self.deadline_ms - need;
        self.latest_ms = natural;
        let Some(cells) = self.calendar.and_then(|calendar| calendars.get(&calendar)) else { return };
        let runs = |cell: i64| cells.may_run(cell, self.opens_when_late);
        let mut cell = natural.div_euclid(CELL_MS);
        if runs(cell) && natural >= self.submitted_ms {
            return;
        }
        while !runs(cell) && (cell + 1) * CELL_MS > self.submitted_ms {
            cell -= 1;
        }
        let end = (cell + 1) * CELL_MS;
        // Ten minutes and a retry are less than half an hour.
        let latest = if runs(cell) { end - need } else { end };
        // The engine keeps whole seconds, and is early rather than late.
        let early_secs = (natural - latest.max(self.submitted_ms).min(natural) + 999) / 1000;
        self.latest_ms = natural - early_secs * 1000;
    }

    pub(crate) fn rekey(&mut self, id: u64) {
        let hours = match self.priority {
            Priority::Low => 0,
            Priority::Normal => 1,
            _ => 4,
        };
        let latest = self.latest_ms().max(self.submitted_ms - 24 * 3_600_000);
        self.key = (self.priority != Priority::Critical, latest - hours * 3_600_000, self.size, id);
    }

    pub(crate) fn tolerated(&self, at_ms: i64) -> LoadLevel {
        let slack = (self.latest_ms() - self.submitted_ms).max(0);
        match () {
            () if self.priority >= Priority::High || at_ms >= self.latest_ms() => LoadLevel::Peak,
            () if at_ms >= self.latest_ms() - slack / 4 => LoadLevel::Busy,
            () => LoadLevel::Calm,
        }
    }
}

/// The scheduler that looks through its whole list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reference {
    pub(crate) waiting: BTreeMap<u64, Job>,
    pub(crate) running: BTreeMap<u64, Job>,
    pub(crate) closed: BTreeSet<(u8, Scope)>,
    pub(crate) loads: BTreeMap<(Scope, Option<u8>), LoadLevel>,
    pub(crate) limits: BTreeMap<Scope, u32>,
    pub(crate) totals: BTreeMap<(Scope, &'static str), u64>,
    /// Start tags of the tenants seen so far.
    pub(crate) tenants: BTreeMap<u8, u64>,
    pub(crate) served: u64,
    pub(crate) calendars: BTreeMap<u8, Cells>,
}

impl Reference {
    pub(crate) fn may_start(&self, job: &Job, at_ms: i64) -> bool {
        let in_scope = |scope: &Scope| self.running.values().filter(|j| j.scopes.contains(scope)).count();
        let open = job.scopes.iter().all(|scope| {
            let disks = self.running.values().filter(|j| j.disk && j.scopes.contains(scope)).count() as u64;
            let room = |name, used: u64| self.totals.get(&(scope.clone(), name)).is_none_or(|t| used < *t);
            (0..4).all(|gate| !self.closed.contains(&(gate, scope.clone())))
                && [None, Some(job.instance % 2)].iter().all(|technology| {
                    let load = self.loads.get(&(scope.clone(), *technology));
                    load.is_none_or(|load| *load <= job.tolerated(at_ms))
                })
                && self.limits.get(scope).is_none_or(|limit| in_scope(scope) < *limit as usize)
                && room(SLOTS, in_scope(scope) as u64)
                && (!job.disk || room("disk", disks))
        });
        let cell = at_ms.div_euclid(CELL_MS);
        let late = job.opens_when_late && at_ms >= job.latest_ms();
        let calendar = job.calendar.and_then(|calendar| self.calendars.get(&calendar));
        open && calendar.is_none_or(|cells| cells.may_run(cell, late))
            && job.planned_ms().is_none_or(|at| at <= at_ms)
            && job.not_before_ms.is_none_or(|at| at <= at_ms)
            && self.running.values().all(|other| other.instance != job.instance)
    }

    /// Critical jobs are charged to nobody and go first; otherwise it is the turn of the tenant with the least tag.
    pub(crate) fn turn(&self, job: &Job) -> (bool, u64) {
        let strict = job.priority == Priority::Critical;
        (!strict, if strict { 0 } else { self.tenants[&job.tenant] })
    }

    pub(crate) fn charge(&mut self, job: &Job) {
        if self.tenants.len() > 1 && job.priority != Priority::Critical {
            let tag = self.tenants.get_mut(&job.tenant).unwrap();
            self.served = self.served.max(*tag);
            *tag = self.served + 6 / weight(job.tenant);
        }
    }

    /// Starts whatever may start, in order of turns and urgency; returns it in order.
    pub(crate) fn settle(&mut self, at_ms: i64) -> Vec<u64> {
        let mut started = vec![];
        loop {
            let mut list: Vec<_> = self.waiting.iter().collect();
            list.sort_by_key(|(_, job)| (self.turn(job), job.key));
            let Some(id) = list.into_iter().find(|(_, job)| self.may_start(job, at_ms)).map(|(id, _)| *id)
            else {
                return started;
            };
            let job = self.waiting.remove(&id).unwrap();
            self.charge(&job);
            self.running.insert(id, job);
            started.push(id);
        }
    }

    /// The first moment after `at_ms` at which time alone lets somebody start.
    pub(crate) fn next_act(&self, at_ms: i64) -> Option<i64> {
        let moments = self.waiting.values().flat_map(|job| {
            let slack = (job.latest_ms() - job.submitted_ms).max(0);
            [job.not_before_ms, job.planned_ms(), Some(job.latest_ms() - slack / 4), Some(job.latest_ms())]
        });
        let cell = at_ms.div_euclid(CELL_MS);
        let changes = |cells: &Cells, n: i64| cells.at(cell + n) != cells.at(cell + n - 1);
        let changes = |n: &i64| self.calendars.values().any(|cells| changes(cells, *n));
        let windows = (1..60).filter(changes).map(|n| Some((cell + n) * CELL_MS));
        let mut moments: Vec<_> = moments.chain(windows).flatten().filter(|at| *at > at_ms).collect();
        moments.sort_unstable();
        moments.into_iter().find(|at| self.waiting.values().any(|job| self.may_start(job, *at)))
    }
}
