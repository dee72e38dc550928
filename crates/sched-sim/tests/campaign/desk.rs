//! An engine at work in the simulated world, with a [`Book`] beside it: [`Desk`].

use std::collections::VecDeque;
use std::time::Duration;

use sched_core::{
    AttemptEnd, AttemptId, BackupKind, CapacityState, Engine, EngineConfig, HostName, JobId, JobSpec,
    LoadLevel, LoadState, Lsn, MonoTime, Now, Output, Preemption, Reason, Record, RunError, SLOTS, Scope,
    Submission, WindowEnd, wall_minus, wall_plus,
};
use sched_sim::{Finished, Fleet, MONDAY, Pace, RunId, SLOT_SECS, Strategy, Where, World};

use crate::book::{Book, Entry};
use crate::case::{Case, QUIET, TROUBLED};
use crate::policy::{GROUP, Policies, RATE, TAPE};
use crate::{Checked, DAY, HOUR, ensure, rest};

/// Nobody who has asked waits longer than this once nothing goes wrong any more.
const STARVED: f64 = 30.0 * HOUR;

/// Critical jobs have a share of the whole and may have all of a link: whoever so many of them pass there may wait.
const MANY: u32 = 20;

/// A jump of the wall is larger than this, and is believed after so long, in seconds.
const JUMP: f64 = 300.0;
const BELIEVED_AFTER: f64 = 59.0;

/// Asks the engine for backups, does what it says, and holds it against the book.
pub(crate) struct Desk<'a> {
    pub(crate) case: &'a Case,
    pub(crate) policies: Policies,
    pub(crate) rng: fastrand::Rng,
    pub(crate) engine: Engine,
    pub(crate) book: Book,
    /// Who works, or did when somebody last heard of them.
    pub(crate) runs: Vec<(RunId, AttemptId)>,
    /// Attempts that have ended, of which late reports come.
    pub(crate) over: Vec<AttemptId>,
    /// When executors reach the checkpoint at which they pause; in order of time.
    checkpoints: Vec<(f64, AttemptId)>,
    /// When records are durable, and all records.
    store: VecDeque<(f64, Lsn)>,
    pub(crate) records: Vec<Record>,
    /// When each instance is backed up next of its own accord, by kind.
    next: Vec<(f64, u32, BackupKind)>,
    pub(crate) disturbed_at: f64,
    looked_at: Option<f64>,
    next_change: f64,
    /// By how much the wall is ahead and since when, and by how much the engine believes that it is; in seconds.
    wall: (f64, f64, f64),
    /// Looks at one moment.
    rounds: (f64, u32),
    /// What was said last.
    said: VecDeque<String>,
    broken: Option<String>,
}

pub(crate) fn moment(world: &World<'_>) -> Now {
    let mono = MonoTime::ZERO + Duration::from_secs_f64(world.now());
    let since = Duration::from_secs_f64(world.clock().abs());
    let wall = if world.clock() < 0.0 { wall_minus(MONDAY, since) } else { wall_plus(MONDAY, since) };
    Now { mono, wall }
}

fn config(case: &Case, rng: &mut fastrand::Rng) -> EngineConfig {
    let mut config = EngineConfig::default();
    config.resources = [(SLOTS.into(), rng.u64(2..7)), (TAPE.into(), 2)].into();
    config.limits = [(Scope::Group(GROUP.into()), rng.u32(1..3))].into();
    if rng.u8(..3) == 0 {
        config.limits.insert(Scope::Technology("mysql".into()), rng.u32(1..3));
    }
    config.critical_share_percent = [50, 80, 100][rng.usize(..3)];
    config.preemption = [Preemption::Never, Preemption::Low, Preemption::LowAndNormal][rng.usize(..3)];
    if rng.bool() {
        config.breaker.failures = 0;
    }
    config.journal = case.crashes || !case.faults.stores.is_empty();
    config.seed = case.seed;
    (config.history, config.decisions) = (4, 4);
    config
}

impl<'a> Desk<'a> {
    pub(crate) fn new(case: &'a Case, fleet: &Fleet) -> Self {
        let mut rng = fastrand::Rng::with_seed(case.seed ^ 0xde5c);
        let mut policies = if case.governed {
            Policies::random(fleet, case.seed, case.most_a_link)
        } else {
            Policies::plain(fleet)
        };
        if case.faults.hanging > 0.0 {
            policies.give_up();
        }
        let config = config(case, &mut rng);
        let kinds = |n: usize| policies.of[n].kinds.iter().map(move |kind| (n as u32, *kind));
        let all = (0..fleet.instances.len()).flat_map(kinds);
        let next = all.map(|(n, kind)| (2.0 * HOUR * rng.f64(), n, kind)).collect();
        let disturbed_at = case.disturbed.unwrap_or(f64::INFINITY);
        let engine = Engine::new(config.clone(), Now { mono: MonoTime::ZERO, wall: MONDAY });
        Self {
            case,
            policies,
            rng,
            engine,
            book: Book::new(config),
            runs: Vec::new(),
            over: Vec::new(),
            checkpoints: Vec::new(),
            store: VecDeque::new(),
            records: Vec::new(),
            next,
            disturbed_at,
            looked_at: None,
            next_change: 0.0,
            wall: (0.0, 0.0, 0.0),
            rounds: (0.0, 0),
            said: VecDeque::new(),
            broken: None,
        }
    }

    pub(crate) fn verdict(self) -> Checked {
        self.broken.map_or(Ok(()), Err)
    }

    pub(crate) fn is_quiet(&self, now: f64) -> bool {
        now >= f64::from(TROUBLED) * DAY
    }

    /// Says which places there are, and how much each has.
    pub(crate) fn set_up(&mut self, world: &World<'_>) {
        let (fleet, now) = (world.fleet(), moment(world));
        self.book.totals.clear();
        for (name, total) in &self.book.config.resources {
            let name = if name.as_str() == SLOTS { SLOTS } else { TAPE };
            self.book.totals.insert((Scope::Fleet, name), *total);
        }
        let mut set = |engine: &mut Engine, place: Scope, total: u64| {
            engine.set_resource(now, &place, SLOTS.into(), total).expect("it is a place");
            self.book.totals.insert((place, SLOTS), total);
        };
        let links: Vec<Scope> =
            fleet.links.iter().map(|link| Scope::Link(link.name.as_str().into())).collect();
        links.iter().for_each(|link| set(&mut self.engine, link.clone(), self.case.most_a_link));
        for (n, host) in fleet.hosts.iter().enumerate() {
            let place = Scope::Host(host.name.as_str().into());
            self.engine
                .set_parent(now, &place, &links[host.link as usize])
                .expect("a host goes under a link");
            if n % 3 > 0 {
                set(&mut self.engine, place, (self.case.most_a_link).min(1 + n as u64 % 3));
            }
        }
        for (name, calendar) in &self.policies.calendars {
            self.engine.set_calendar(now, name.clone(), Some(calendar.clone())).expect("the name is good");
        }
    }

    /// Whom signals and orders concern that concern an instance.
    fn scopes(&self, world: &World<'_>, instance: u32) -> Vec<Scope> {
        let of = &world.fleet().instances[instance as usize];
        let host = &world.fleet().hosts[of.host as usize];
        let mut scopes = vec![
            Scope::Fleet,
            Scope::Link(world.fleet().links[host.link as usize].name.as_str().into()),
            Scope::Host(host.name.as_str().into()),
            Scope::Technology((&*of.technology).into()),
            Scope::Instance(of.name.as_str().into()),
        ];
        if self.policies.of[instance as usize].grouped {
            scopes.push(Scope::Group(GROUP.into()));
        }
        scopes
    }

    /// Asks for a backup, which may be asked for already.
    pub(crate) fn ask(&mut self, world: &World<'_>, instance: u32, kind: BackupKind) -> Checked {
        let now = moment(world);
        let (of, policy) =
            (&world.fleet().instances[instance as usize], &self.policies.of[instance as usize]);
        let host: HostName = world.fleet().hosts[of.host as usize].name.as_str().into();
        let mut spec = JobSpec::new(of.name.as_str(), &*of.technology).kind(kind).host(host);
        spec = spec.size_bytes(world.told_bytes(instance) as u64);
        if policy.grouped {
            spec = spec.group(GROUP);
        }
        let mut entry = Entry::new(instance, kind, policy.terms.clone());
        if self.rng.u8(..3) == 0 {
            entry.not_before = Some(now.plus(Duration::from_secs_f64(2.0 * HOUR * self.rng.f64())).wall);
            spec = spec.not_before(entry.not_before.expect("it was set"));
        }
        let too_much = policy.terms.demand.iter().any(|(name, amount)| {
            let total = |((_, of), total): (&(Scope, &str), &u64)| (*of == name.as_str()).then_some(*total);
            self.book.totals.iter().filter_map(total).any(|total| amount > total)
        });
        let twin = self.book.jobs.iter().find(|(_, other)| {
            (other.instance, other.kind) == (instance, kind) && other.waits() && other.attempt == 0
        });
        let twin = twin.map(|(id, _)| *id);
        entry.scopes = self.scopes(world, instance);
        match self.engine.submit(now, spec, entry.terms.clone()) {
            Ok(Submission::New(id)) => {
                ensure(twin.is_none(), || format!("{id} is made although {twin:?} waits for the same"))?;
                self.book.jobs.insert(id, entry);
            }
            Ok(Submission::Coalesced(id)) => {
                let joined = self.book.jobs.get_mut(&id);
                let Some(joined) = joined.filter(|of| (of.instance, of.kind) == (instance, kind)) else {
                    return Err(format!("a request joins {id}, which is for something else"));
                };
                ensure(joined.waits(), || format!("a request joins {id}, which has begun"))?;
                joined.priority = joined.priority.max(entry.priority);
                joined.not_before = joined.not_before.zip(entry.not_before).map(|(a, b)| a.min(b));
            }
            Err(refused) => ensure(too_much, || format!("a request is refused: {refused}"))?,
        }
        Ok(())
    }

    /// Does what the engine has said, once it is noted down and held against what is known.
    fn hear(&mut self, world: &mut World<'_>) -> Checked {
        while let Some(output) = self.engine.poll_output() {
            self.book.hear(&self.engine, &self.policies, &output)?;
            if self.rounds.1 > 990 {
                self.said.push_back(format!("{output:?}"));
                self.said.drain(..self.said.len().saturating_sub(8));
            }
            let now = moment(world);
            match output {
                Output::Start(order) => {
                    let entry = self.book.jobs.get_mut(&order.attempt.job).expect("the book knows it");
                    let pace = Pace::Fixed(RATE * (0.7 + 0.8 * self.rng.f64()));
                    let run = world.start(entry.instance, pace);
                    let active = entry.active.as_mut().expect("it was admitted");
                    active.begin(world.now(), run);
                    self.runs.push((run, order.attempt));
                    ensure(self.engine.started(now, order.attempt), || {
                        format!("{:?} is unknown", order.attempt)
                    })?;
                }
                Output::Pause(attempt) => {
                    // Some take long, and some longer than they may.
                    let secs = [1.0, 25.0, 40.0, 4_000.0][self.rng.usize(..4)];
                    self.checkpoints.push((world.now() + secs, attempt));
                    self.active(attempt).into_iter().for_each(|run| run.pausing = Some(world.now()));
                }
                Output::Resume(attempt) => {
                    self.checkpoints.retain(|(_, other)| *other != attempt);
                    let run_of = self.runs.iter().find(|(_, of)| *of == attempt).map(|(run, _)| *run);
                    let Some(active) = self.active(attempt) else { continue };
                    let stood = std::mem::take(&mut active.stands);
                    // Who was asked to make room and did not in time is not asked again.
                    active.deaf |= !stood;
                    active.pausing = None;
                    active.moves(world.now(), true);
                    run_of.into_iter().filter(|_| stood).for_each(|run| world.pause(run, false));
                    let heard = self.engine.resumed(now, attempt);
                    ensure(heard == stood, || format!("{attempt:?} goes on: {heard}, it stood: {stood}"))?;
                }
                Output::Cancel(attempt, reason) => {
                    if let Some(active) = self.active(attempt) {
                        (active.stopping, active.timed_out) = (true, reason.text.contains("time-out"));
                        active.moves(world.now(), false);
                    }
                    let run = self.runs.iter().find(|(_, of)| *of == attempt).map(|(run, _)| *run);
                    if let Some(stopped) = run.and_then(|run| world.stop(run)) {
                        self.end(world, &stopped)?;
                    }
                }
                Output::Record(lsn, record) => {
                    let at = self.store.back().map_or(0.0, |(at, _)| *at).max(world.durable_at());
                    self.store.push_back((at, lsn));
                    self.records.push(record);
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn active(&mut self, attempt: AttemptId) -> Option<&mut crate::book::Active> {
        let entry = self.book.jobs.get_mut(&attempt.job).filter(|entry| entry.attempt == attempt.number);
        entry.and_then(|entry| entry.active.as_mut())
    }

    /// An executor is done.
    fn end(&mut self, world: &World<'_>, finished: &Finished) -> Checked {
        let Some(at) = self.runs.iter().position(|(run, _)| *run == finished.run) else { return Ok(()) };
        let (_, attempt) = self.runs.swap_remove(at);
        self.checkpoints.retain(|(_, other)| *other != attempt);
        let entry = self.book.jobs.get_mut(&attempt.job).ok_or_else(|| format!("{attempt:?} is unknown"))?;
        let active = entry.active.take().unwrap_or_default();
        entry.failures += u32::from(!finished.ok && (active.timed_out || !active.stopping));
        let result = match finished.unavailable {
            _ if finished.ok => Ok(()),
            Some(Where::Fleet) => Err(Scope::Fleet),
            Some(Where::Link(_)) => Err(entry.scopes[1].clone()),
            Some(Where::Host(_)) => Err(entry.scopes[2].clone()),
            None => Err(Scope::Instance("nobody".into())),
        };
        let result = result.map_err(|what| match what {
            Scope::Instance(_) if active.stopping => RunError::Cancelled,
            Scope::Instance(_) => RunError::Retryable("it failed".into()),
            what => RunError::Unavailable { what, error: "it does not answer".into() },
        });
        if finished.ok {
            let (rpo, n) = (entry.terms.rpo.as_secs_f64(), entry.instance);
            self.next.push((world.now() + rpo * 0.5 * self.rng.f64(), n, entry.kind));
        }
        let end = AttemptEnd::new(finished.bytes as u64, result);
        ensure(self.engine.ended(moment(world), attempt, end), || format!("{attempt:?} ends unheard"))?;
        self.book.read_moments(&self.engine);
        self.over.push(attempt);
        Ok(())
    }

    /// Reports what probes and watchers see.
    pub(crate) fn look(&mut self, world: &World<'_>) {
        let now = moment(world);
        for host in 0..world.fleet().hosts.len() as u32 {
            let scope = Scope::Host(world.fleet().hosts[host as usize].name.as_str().into());
            let known = world.probe(host).filter(|read| world.now() - read.at <= f64::from(SLOT_SECS));
            let level = match known.map(|read| read.load) {
                Some(load) if (0.0..0.5).contains(&load) => LoadLevel::Calm,
                Some(load) if (0.7..=1.0).contains(&load) => LoadLevel::Peak,
                _ => LoadLevel::Busy,
            };
            let before = self.book.loads.insert(scope.clone(), level).unwrap_or_default();
            let state = LoadState::new(level, Reason::new("as its probe says"));
            self.engine.set_load(now, scope.clone(), state);
            if level < before {
                self.book.opened(&scope);
            }
            let (lost, full) = (world.is_lost(host), world.is_full(host));
            self.engine.set_down(now, scope.clone(), lost.then(|| Reason::new("it does not answer")));
            let closed = CapacityState::Closed { reason: Reason::new("the destination is full") };
            self.engine.set_capacity(now, scope.clone(), if full { closed } else { CapacityState::Open });
            let set = |of: &mut std::collections::BTreeSet<Scope>, is: bool| {
                if is { of.insert(scope.clone()) } else { of.remove(&scope) }
            };
            let opened =
                (set(&mut self.book.down, lost) && !lost) | (set(&mut self.book.short, full) && !full);
            if opened {
                self.book.opened(&scope);
            }
        }
    }

    fn step(&mut self, world: &mut World<'_>) -> Result<f64, String> {
        if self.looked_at.is_none() {
            self.set_up(world);
        }
        self.rounds = (world.now(), if self.rounds.0 == world.now() { self.rounds.1 + 1 } else { 0 });
        ensure(self.rounds.1 < 1_000, || format!("it goes round and round: {:#?}", self.said))?;
        let (now, slot) = (world.now(), (world.now() / f64::from(SLOT_SECS)).floor());
        if self.looked_at != Some(slot) || now >= self.next_change {
            (self.looked_at, self.next_change) = (Some(slot), world.next_change());
            self.look(world);
        }
        let mut durable = None;
        while let Some((_, lsn)) = self.store.pop_front_if(|(at, _)| *at <= now) {
            durable = Some(lsn);
        }
        if let Some(lsn) = durable {
            self.book.durable = lsn;
            self.engine.committed(moment(world), lsn);
        }
        let reached: Vec<_> = self.checkpoints.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, attempt) in reached {
            self.reach(world, attempt)?;
        }
        let due: Vec<_> = self.next.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, instance, kind) in due {
            self.ask(world, instance, kind)?;
        }
        if now >= self.disturbed_at {
            self.disturb(world)?;
        }
        for round in 0..2_000 {
            self.rounds.1 = self.rounds.1.max(round / 2);
            self.hear(world)?;
            self.engine.advance(moment(world));
            self.hear(world)?;
            if self.engine.next_wakeup().is_none_or(|at| at > moment(world).mono) {
                rest::check(&mut self.book, &self.engine, &self.policies, now)?;
                self.check_wall(world)?;
                return self.check_starved(world).map(|()| self.next_step(world));
            }
        }
        Err(format!("the engine does not come to rest: {:#?}", self.said))
    }

    /// An executor stands at a checkpoint.
    fn reach(&mut self, world: &mut World<'_>, attempt: AttemptId) -> Checked {
        let run = self.runs.iter().find(|(_, of)| *of == attempt).map(|(run, _)| *run);
        let Some((run, active)) = run.zip(self.active(attempt)) else { return Ok(()) };
        if active.stopping || active.pausing.is_none() {
            return Ok(());
        }
        (active.stands, active.holds) = (true, false);
        active.moves(world.now(), false);
        world.pause(run, true);
        ensure(self.engine.paused(moment(world), attempt), || format!("{attempt:?} stands, unheard"))
    }

    /// Another process knows nothing but what is durable.
    pub(crate) fn start_over(&mut self, world: &World<'_>) {
        self.engine = Engine::new(self.book.config.clone(), moment(world));
        self.store.clear();
        self.checkpoints.clear();
        self.book.restarted();
        self.set_up(world);
        self.look(world);
    }

    fn next_step(&self, world: &World<'_>) -> f64 {
        let engine = self.engine.next_wakeup().map_or(f64::INFINITY, |at| at.as_nanos() as f64 * 1e-9);
        let slot = f64::from(SLOT_SECS);
        let checkpoints = self.checkpoints.iter().map(|(at, _)| *at);
        let asked = self.next.iter().map(|(at, ..)| *at);
        let all = checkpoints.chain(asked).chain(self.store.front().map(|(at, _)| *at));
        let all = all.chain([engine.max(world.now() + 1e-3), self.disturbed_at, self.next_change]);
        all.fold(((world.now() / slot).floor() + 1.0) * slot, f64::min)
    }

    /// A wall that jumps is not believed before that has lasted for a minute.
    fn check_wall(&mut self, world: &World<'_>) -> Checked {
        if self.case.faults.jumps.is_empty() {
            return Ok(());
        }
        let (now, ahead) = (world.now(), world.clock() - world.now());
        if (ahead - self.wall.0).abs() > JUMP {
            (self.wall.0, self.wall.1, self.book.jumped_at) = (ahead, now, now);
        }
        let believed = self.engine.status().at.duration_since(MONDAY).as_secs_f64() - now;
        let moved = (believed - std::mem::replace(&mut self.wall.2, believed)).abs();
        ensure(moved <= JUMP || now - self.wall.1 >= BELIEVED_AFTER, || {
            format!("a wall that has jumped by {ahead:.0} s is believed after {:.0} s", now - self.wall.1)
        })
    }

    /// At the end of the quiet days nobody waits who has waited all the time.
    fn check_starved(&self, world: &World<'_>) -> Checked {
        if world.now() < f64::from(TROUBLED) * DAY + STARVED || STARVED > f64::from(QUIET) * DAY {
            return Ok(());
        }
        let since = wall_plus(MONDAY, Duration::from_secs_f64(f64::from(TROUBLED) * DAY));
        // Who begins anew in each window may never end.
        let splits =
            |entry: &Entry| entry.terms.window.is_some() && entry.terms.window_end == WindowEnd::Stop;
        let old = |(_, of): &(&JobId, &Entry)| {
            of.submitted < since && of.waits() && !splits(of) && of.passed < MANY
        };
        match self.book.jobs.iter().find(old) {
            Some((id, entry)) => {
                let closed = self.engine.explain(*id).map(|explained| explained.closed);
                let share = self.book.config.critical_share_percent;
                Err(format!(
                    "{id}, {}, waits since {}, for {closed:?}; share {share}",
                    entry.priority, entry.submitted
                ))
            }
            None => Ok(()),
        }
    }
}

impl Strategy for Desk<'_> {
    fn name(&self) -> String {
        "the engine, looked at".into()
    }

    fn wake(&mut self, world: &mut World<'_>) -> f64 {
        if self.broken.is_some() {
            return f64::INFINITY;
        }
        self.step(world).unwrap_or_else(|broken| {
            self.broken = Some(format!("{broken} (hour {:.4})", world.now() / HOUR));
            f64::INFINITY
        })
    }

    fn finished(&mut self, world: &mut World<'_>, finished: &Finished) {
        if let Err(broken) = self.end(world, finished) {
            self.broken.get_or_insert(broken);
        }
    }
}
