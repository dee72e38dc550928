//! The one thread that owns the engine: takes messages, lets the engine decide, carries out what it says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use sched_core::{Clock, Engine, Event, EventKind, JobId, Now, Output, PauseMark, ResourceName, Scope, Wake};
use sched_observe::{EventSink, HookRunner};

use self::attempts::Running;
use self::closing::Closing;
pub(crate) use self::keep::Keeping;
use self::requests::Jobs;
use self::resume::Resuming;
pub(crate) use self::sharing::Sharing;
use super::impact::Impact;
use super::rates::Rates;
use super::sampler::SamplerEnd;
use super::signals::{Directive, Signals};
use super::worker::Workers;
use super::{Command, Foresight, Keeper, Left, Link, Presence, ROOM, Records, Schedules};
use crate::clock::SystemClock;
use crate::current::Shared;

mod attempts;
mod closing;
mod floors;
mod foresee;
mod impact;
mod keep;
mod recur;
mod requests;
mod resume;
mod sharing;
mod tell;

/// Messages taken between two decisions, so that a flood of submissions cannot keep running jobs from ending.
const BATCH: usize = 256;
/// Steps of the engine between two looks at messages and signals.
const MOVES: usize = 64;

/// What a dispatcher is made of.
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) inbox: Receiver<Command>,
    pub(crate) link: Link,
    pub(crate) current: Shared,
    pub(crate) rates: Rates,
    pub(crate) signals: Signals,
    pub(crate) foresight: Foresight,
    pub(crate) schedules: Schedules,
    pub(crate) impact: Option<Impact>,
    pub(crate) samplers: Vec<Arc<SamplerEnd>>,
    pub(crate) sink: EventSink,
    pub(crate) hooks: HookRunner,
    /// What keeps what must survive, and what a former scheduler left there.
    pub(crate) store: Option<(Keeper, Left)>,
    /// Others share the store.
    pub(crate) sharing: Option<Sharing>,
    /// Last: whoever asked is told that nobody answers when that is final.
    pub(crate) _presence: Presence,
}

pub(crate) struct Dispatcher {
    parts: Parts,
    jobs: Jobs,
    running: BTreeMap<JobId, Running>,
    workers: Workers,
    subscribers: Vec<Sender<Arc<Event>>>,
    missed_by_subscribers: u64,
    records: Records,
    wakeups: u64,
    /// Others run than when laws were told what is promised to them and by how much latencies may grow.
    running_changed: bool,
    /// They run beside others that must not be slowed, or may take another part there.
    others_changed: bool,
    beside: floors::Beside,
    closing: Option<Closing>,
    keeping: Option<Keeping>,
    sharing: Option<Sharing>,
    /// The clock at the last look.
    seen: Now,
    /// The machine goes on after a suspension.
    resuming: Option<Resuming>,
    _waker: Arc<Link>,
}

impl Dispatcher {
    pub(crate) fn new(mut parts: Parts) -> Self {
        let waker = Arc::new(parts.link.clone());
        parts.clock.on_move(Arc::<Link>::downgrade(&waker) as std::sync::Weak<dyn Wake>);
        let workers = Workers::new(parts.link.commands.clone());
        let seen = parts.clock.now();
        let records = Records::new(seen.wall);
        let store = parts.store.take();
        let sharing = parts.sharing.take();
        let mut this = Self {
            parts,
            jobs: Jobs::default(),
            running: BTreeMap::new(),
            workers,
            subscribers: Vec::new(),
            missed_by_subscribers: 0,
            records,
            wakeups: 0,
            running_changed: false,
            others_changed: false,
            beside: floors::Beside::new(),
            closing: None,
            keeping: None,
            sharing: None,
            seen,
            resuming: None,
            _waker: waker,
        };
        if let Some((keeper, left)) = store {
            this.take_over(keeper, left);
        }
        if sharing.is_some() {
            this.sharing = sharing;
            this.begin_sharing(this.parts.clock.now());
        }
        this
    }

    /// Goes on with what a former scheduler left; the engine has it already.
    fn take_over(&mut self, keeper: Keeper, left: Left) {
        let place = keeper.status().place;
        let told = EventKind::StoreRead {
            store: place,
            jobs: left.jobs.len(),
            interrupted: left.interrupted(),
            left: left.left,
        };
        let unclean = left.jobs.iter().filter(|(_, job)| job.unclean).map(|(job, _)| *job).collect();
        let mut keeping = Keeping::new(keeper, unclean, left.audit);
        left.ended.into_iter().for_each(|entry| keeping.add(entry));
        self.keeping = Some(keeping);
        self.go_on(left.jobs);
        self.parts.engine.note(self.parts.clock.now(), told);
        self.carry_out_all();
        self.keeping.iter_mut().for_each(|keeping| keeping.taking_over = false);
    }

    /// Runs until shut down.
    pub(crate) fn run(mut self) {
        self.settle();
        while !self.closed() {
            let first = self.next_message();
            self.wakeups += 1;
            let begun = SystemClock.now().mono;
            if let Some(message) = first {
                self.take(message);
                self.take_waiting_messages();
            }
            self.parts.link.take_beyond().into_iter().for_each(|command| self.take(command));
            self.settle();
            self.records.round(SystemClock.now().mono.since(begun));
        }
        self.finish();
    }

    /// Waits for a message or for the engine's next moment.
    fn next_message(&self) -> Option<Command> {
        let clock = &self.parts.clock;
        let (engine, now) = (&self.parts.engine, clock.now());
        let foresight = self.parts.foresight.next_look(engine.trusted(now));
        let wakeups = [
            engine.next_wakeup(),
            self.parts.signals.next_look(),
            foresight,
            self.recurs_at(now),
            self.compares_at(),
            self.keeps_weeks_at(),
            self.resuming.as_ref().map(|resuming| resuming.until),
        ];
        let by_clock = wakeups.into_iter().flatten().min().and_then(|at| clock.sleep_for(at));
        let by_closing = self.closing.as_ref().map(|c| c.until.since(SystemClock.now().mono));
        let by_lease = self.sharing.as_ref().and_then(Sharing::next_look);
        match by_clock.into_iter().chain(by_closing).chain(by_lease).min() {
            Some(real) => self.parts.inbox.recv_timeout(real).ok(),
            None => self.parts.inbox.recv().ok(),
        }
    }

    fn take_waiting_messages(&mut self) {
        for _ in 0..BATCH {
            let Ok(message) = self.parts.inbox.try_recv() else { return };
            // What came before is written while this one is decided.
            self.hand_on_much();
            self.take(message);
        }
    }

    fn take(&mut self, message: Command) {
        let now = self.parts.clock.now();
        self.watch_for_suspension(now);
        if self.is_from_before(now, &message) {
            return;
        }
        let engine = &mut self.parts.engine;
        // A caller that no longer waits for its reply is no concern of the dispatcher's.
        match message {
            Command::Submit(epoch, requests, reply) => {
                let in_force = self.parts.current.read().epoch == epoch;
                let accepted = in_force.then(|| self.submit_each(requests));
                if let Err(Some(unread)) = reply.send(accepted) {
                    self.leave_unread(unread);
                }
            }
            Command::Engine(call) => {
                call(engine, now);
                // Whoever asks next sees what it led to.
                self.carry_out_all();
            }
            Command::Status(reply) => drop(reply.send(self.status())),
            Command::Summary(reply) => {
                // What is counted as ended is in the backlog of the store, or written.
                self.carry_out_all();
                let _ = reply.send(self.summary());
            }
            Command::Metrics(reply) => drop(reply.send(self.measured())),
            Command::Records(ask) => ask(&self.records),
            Command::Subscribe(events, reply) => {
                self.subscribers.push(events);
                let _ = reply.send(());
            }
            Command::Mark(attempt, mark) => {
                match mark {
                    PauseMark::Standing => engine.paused(now, attempt),
                    PauseMark::Moving => engine.resumed(now, attempt),
                };
                self.run_moves(now, attempt, mark);
                self.run_stands(now, attempt, mark);
            }
            Command::Phase(attempt, phase) => self.phase(now, attempt, phase),
            Command::Progress(attempt, progress) => _ = engine.progress(now, attempt, progress),
            Command::Ended(attempt, end) => {
                if end.result.is_err() {
                    // It may have ended with the lease before anybody here has looked; then it has not failed.
                    self.watch_lease(now);
                }
                self.ended(now, attempt, end);
            }
            Command::Sample(probe, result) => {
                let tells = result.is_ok();
                let Parts { signals, engine, rates, .. } = &mut self.parts;
                let directives = signals.sample(now, probe, result, rates, engine);
                self.follow_signal(now, directives);
                if tells {
                    self.answered(now, probe);
                }
            }
            Command::Load(detector, _, result) => {
                let tells = result.is_ok();
                self.learn(now, detector, &result);
                self.hear(now, detector, &result);
                let Parts { signals, rates, .. } = &mut self.parts;
                let directives =
                    signals.load(now, detector, result.map_err(|error| error.to_string()), rates);
                self.follow_signal(now, directives);
                if tells {
                    self.answered(now, self.parts.signals.asked_as(detector));
                }
            }
            Command::Leave(job, reply) => drop(reply.send(self.leave(job))),
            Command::Bandwidth(place, rate, reply) => {
                let set = self.parts.rates.set(&place, rate);
                if set.is_ok() {
                    self.widen(&place, rate);
                }
                self.wake_all();
                drop(reply.send(set));
            }
            Command::Parent(child, parent, reply) => {
                let set = self.parts.rates.set_parent(engine, now, &child, &parent);
                self.parts.foresight.outdate();
                self.running_changed = true;
                drop(reply.send(set));
            }
            Command::Impact(reply) => {
                drop(reply.send(self.parts.impact.as_ref().map(Impact::snapshot)));
            }
            Command::Asked(after, most, reply) => drop(reply.send(self.asked(after, most))),
            Command::Exchange(current, signals, reply) => {
                let before = self.take_places_of_recurring();
                *self.parts.current.write() = current;
                self.place_recurring_anew(now, &before);
                self.parts.foresight.outdate();
                let directives = self.parts.signals.follow_policies(now, *signals);
                self.follow(directives);
                let _ = reply.send(());
            }
            Command::Shutdown(grace, reply) => self.close(grace, Some(reply)),
            Command::Foresight(call) => {
                let (foresight, engine, trusted) = self.parts.foresight(now);
                call(foresight, engine, trusted);
            }
            Command::Schedules(call) => {
                let Parts { schedules, engine, .. } = &mut self.parts;
                call(schedules, engine.trusted(now).wall);
            }
            Command::Store(news) => self.hear_store(now, news),
            Command::Fleet(message) => self.hear_fleet(now, message),
            Command::Cancel(job, reason, reply) => {
                let _ = reply.send(self.cancel(now, job, &reason));
                // Whoever asks next sees what it led to.
                self.carry_out_all();
            }
            Command::CancelAll(jobs, reason, reply) => {
                let cancelled = jobs.into_iter().map(|job| self.cancel(now, job, &reason)).collect();
                drop(reply.send(cancelled));
                // Whoever asks next sees what it led to.
                self.carry_out_all();
            }
            Command::CleanedUp(job) => {
                self.keeping.iter_mut().for_each(|keeping| _ = keeping.unclean.remove(&job));
            }
            Command::Audit(most, reply) => {
                let audit = self.keeping.as_ref().map(|keeping| keeping.audit(most));
                drop(reply.send(audit.unwrap_or_default()));
            }
            Command::Look => self.wake_all(),
        }
    }

    /// Lets the engine decide until it has nothing more to do now, and carries out what it says.
    fn settle(&mut self) {
        loop {
            let now = self.parts.clock.now();
            // Whoever ordered the end with a grace keeps it, though nobody else is left.
            if self.parts.link.was_left() && self.closing.is_none() {
                self.close(Duration::ZERO, None);
            }
            self.watch_for_suspension(now);
            self.watch_lease(now);
            let directives = self.parts.signals.tick(now);
            self.follow(directives);
            self.foresee(now);
            for _ in 0..MOVES {
                self.parts.engine.advance(now);
                if self.parts.engine.next_wakeup().is_none_or(|at| at > now.mono) {
                    break;
                }
            }
            // By the wall that the engine believes by now.
            self.recur(now);
            self.keep_weeks(now, false);
            self.carry_out_all();
            if std::mem::take(&mut self.running_changed) {
                self.parts.signals.allow(self.growth());
                self.parts.signals.promise(self.promised());
                self.others_changed = true;
            }
            self.compare(now);
            let directives = self.parts.signals.publish();
            self.follow(directives);
            if std::mem::take(&mut self.others_changed) {
                self.hold_others();
            }
            self.step_closing();
            let due = self.parts.engine.next_wakeup().is_some_and(|at| at <= now.mono)
                || self.plans_on(now)
                || self.recurs_at(now).is_some_and(|at| at <= now.mono);
            // Messages come between two bounded steps of a long settlement.
            if !due || !self.parts.inbox.is_empty() {
                return;
            }
        }
    }

    fn carry_out_all(&mut self) {
        while let Some(output) = self.parts.engine.poll_output() {
            self.carry_out(output);
        }
        self.hand_on();
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Start(order) => self.start(order),
            Output::Pause(attempt) => self.with_control(attempt, |control| control.set_paused(true)),
            Output::Resume(attempt) => self.with_control(attempt, |control| control.set_paused(false)),
            Output::Cancel(attempt, reason) => self.with_control(attempt, |control| control.cancel(reason)),
            Output::Ceiling(attempt, rate) => {
                if let Some(running) = self.running.get_mut(&attempt.job).filter(|r| r.attempt == attempt) {
                    running.ordered_ceiling = rate;
                    self.limit(attempt.job);
                }
            }
            Output::PlaceCeiling(place, ceiling) => {
                self.parts.rates.order(&place, ceiling);
                self.wake_all();
            }
            Output::Event(event) => self.publish(&event),
            Output::Ended(status) => self.forget(&status),
            Output::LetGo(job) => self.gone(job),
            Output::Record(lsn, record) => self.keep(lsn, record),
        }
    }

    fn publish(&mut self, event: &Arc<Event>) {
        self.plan_by_event(event);
        self.audit(event);
        self.records.event(event);
        self.subscribers.retain(|subscriber| match subscriber.try_send(event.clone()) {
            Ok(()) => true,
            Err(e) if e.is_full() => {
                self.missed_by_subscribers += 1;
                true
            }
            Err(_) => false,
        });
        self.parts.sink.send(event.clone());
    }

    /// Follows what a signal has led to, then holds the number of jobs against the rates by now.
    fn follow_signal(&mut self, now: Now, directives: Vec<Directive>) {
        self.follow(directives);
        let Parts { signals, engine, rates, .. } = &mut self.parts;
        let directives = signals.feed(now, rates, engine);
        self.follow(directives);
    }

    fn follow(&mut self, directives: Vec<Directive>) {
        let now = self.parts.clock.now();
        self.hold_first(&directives);
        for directive in directives {
            match directive {
                Directive::Load(scope, technology, state) => {
                    self.parts.engine.set_load_for(now, scope, technology, state);
                }
                Directive::LoadOf(scope, sensitivity, state) => {
                    self.parts.engine.set_load_of(now, scope, sensitivity, state);
                }
                Directive::Capacity(scope, state) => self.parts.engine.set_capacity(now, scope, state),
                Directive::Room(scope, jobs, because) => {
                    let (name, total) = (ResourceName::from(ROOM), u64::from(jobs));
                    let set = self.parts.engine.set_resource_because(now, &scope, name, total, Some(because));
                    debug_assert!(set.is_ok(), "room is measured only where there may be resources: {set:?}");
                }
                Directive::Rate(place, rate) => {
                    self.parts.rates.steer(&place, rate);
                    self.wake_all();
                }
                Directive::Others(place, None) => {
                    self.parts.rates.give_way(&place, None);
                    self.others_changed = true;
                }
                // Held by now.
                Directive::Others(_, Some(_)) => {}
                Directive::Note(kind) => self.parts.engine.note(now, kind),
            }
        }
    }

    /// By how much the foreground's latency may grow at each place: the least that the policy of a job says that has an
    /// attempt under way there.
    fn growth(&self) -> BTreeMap<Scope, f64> {
        let mut growth = BTreeMap::new();
        for running in self.running.values() {
            let Some(ppm) = running.latency_growth_ppm else { continue };
            for place in self.parts.rates.path(&running.place) {
                let least = growth.entry(place).or_insert(ppm);
                *least = ppm.min(*least);
            }
        }
        growth.into_iter().map(|(place, ppm)| (place, 1.0 + f64::from(ppm) / 1e6)).collect()
    }

    fn wake_all(&self) {
        self.running.values().for_each(|running| running.control.wake());
    }
}
