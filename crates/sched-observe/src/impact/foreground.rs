//! One instance's foreground and the backups that may touch it: [`Foreground`].

use std::time::Duration;

use hdrhistogram::Histogram;
use sched_core::{JobId, MonoTime, Now, PauseMark, wall_minus};

use super::comparable::{Comparable, Unpaired};
use super::compare::{Comparison, Hypotheses, Placebos};
use super::cost::Cost;
use super::ledger::{Backup, PauseRequest, Why};
use super::moment::{Levels, Moment, Moments, Seen, histogram};
use super::pairs::{Pair, Pause, Reservoir};
use super::pauses::Pauses;
use super::report::{BackupImpact, Latencies};
use super::settings::{ImpactSettings, Quantile};
use super::verdict::{LatencyEvent, Tally, Verdict};
use super::watch::{Change, Watch};

/// A pause that lasts longer, and twice as long as was asked for, is not held against what was before it.
const COMPARABLE_FOR: Duration = Duration::from_secs(60);

/// What has come to light.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) events: Vec<LatencyEvent>,
    pub(super) pairs: Vec<Levels>,
}

#[derive(Debug)]
pub(super) struct Foreground {
    settings: ImpactSettings,
    moments: Moments,
    placebos: Placebos,
    watch: Watch,
    pauses: Pauses,
    rng: fastrand::Rng,
    running: Vec<Running>,
    pause: Option<Pause>,
    event: Option<Event>,
    comparable: Comparable,
    unpaired: Unpaired,
    /// Up to here pausing time was earned and spent.
    counted: MonoTime,
    pub(super) heard: MonoTime,
    pub(super) news: News,
}

#[derive(Debug)]
struct Running {
    backup: Backup,
    began: Now,
    standing: bool,
    pairs: Reservoir,
    with: Histogram<u32>,
    without: Histogram<u32>,
    tally: Tally,
}

/// A latency event under way, and who may have caused it.
#[derive(Debug)]
struct Event {
    began: MonoTime,
    causes: Vec<(JobId, Comparison)>,
    decided_after: Option<Duration>,
}

impl Foreground {
    pub(super) fn new(now: MonoTime, settings: ImpactSettings, mut rng: fastrand::Rng) -> Self {
        Self {
            moments: Moments::new(settings.moment, settings.settle),
            placebos: Placebos::default(),
            watch: Watch::new(settings.event),
            pauses: Pauses::new(&settings, rng.fork()),
            rng,
            running: Vec::new(),
            pause: None,
            event: None,
            comparable: Comparable::default(),
            unpaired: Unpaired::default(),
            counted: now,
            heard: now,
            news: News::default(),
            settings,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn set_load(&mut self, load: f64) {
        self.comparable.set_load(load);
    }

    pub(super) fn set_window(&mut self, now: Now, window: Duration) {
        self.count(now.mono);
        self.pauses.set_length(self.settings.pause_of(window));
        self.look_ahead(now.mono);
    }

    pub(super) fn begin(&mut self, now: Now, backup: Backup) {
        self.turn(now, |this| {
            this.give_up_pause();
            if this.running.is_empty() {
                this.unpaired = Unpaired::default();
            }
            this.running.push(Running::new(now, backup));
        });
    }

    pub(super) fn set_pausable(&mut self, now: Now, job: JobId, pausable: bool) {
        self.count(now.mono);
        if let Some(running) = self.running.iter_mut().find(|running| running.backup.job == job) {
            running.backup.pausable = pausable;
        }
        self.look_ahead(now.mono);
    }

    pub(super) fn mark(&mut self, now: Now, job: JobId, mark: PauseMark, why: Why) {
        let standing = mark == PauseMark::Standing;
        if !self.running.iter().any(|running| running.backup.job == job && running.standing != standing) {
            return;
        }
        self.turn(now, |this| {
            if standing {
                this.stands(now, job, why);
            }
            for running in this.running.iter_mut().filter(|running| running.backup.job == job) {
                running.standing = standing;
            }
            let all_move = this.running.iter().all(|running| !running.standing);
            if let Some(pause) = this.pause.as_mut().filter(|_| all_move) {
                pause.resumed = true;
                if now.mono.since(pause.began) > COMPARABLE_FOR.max(2 * this.pauses.length()) {
                    this.pause = None;
                }
            }
        });
    }

    /// A backup has ended; what it cost.
    pub(super) fn end(&mut self, now: Now, job: JobId) -> Option<BackupImpact> {
        let place = self.running.iter().position(|running| running.backup.job == job)?;
        let mut ended = None;
        self.turn(now, |this| {
            this.give_up_pause();
            let last = this.running.len() == 1;
            if last {
                this.close_event(now);
                this.comparable.close_visit(&mut this.unpaired);
            }
            let event = this.event.as_mut().and_then(|event| event.drop_cause(job));
            let mut running = this.running.swap_remove(place);
            if let Some(verdict) = event {
                running.tally.count(verdict);
            }
            running.tally.ended(running.tally.caused > 0);
            ended = Some(this.cost_of(&running, Some(now)).impact());
        });
        ended
    }

    /// Requests of one latency.
    pub(super) fn record(&mut self, now: Now, latency: Duration, samples: u32) {
        self.heard = now.mono;
        if let Some(seen) = self.moments.record(now.mono, latency, samples) {
            self.see(now, seen);
        }
    }

    /// Requests that were recorded between two moments.
    pub(super) fn window(
        &mut self,
        now: Now,
        from: MonoTime,
        latencies: impl Iterator<Item = (Duration, u32)>,
    ) {
        self.heard = now.mono;
        if let Some(seen) = self.moments.window((from, now.mono), latencies) {
            self.see(now, seen);
        }
    }

    /// Whom to pause now.
    pub(super) fn tick(&mut self, now: Now) -> Option<PauseRequest> {
        self.count(now.mono);
        if self.pause.is_some() || !self.pauses.due(now.mono) {
            return None;
        }
        let undecided = |job: JobId| self.event.as_ref().is_none_or(|event| event.is_open(job));
        let can = |running: &&Running| running.backup.pausable && !running.standing;
        let mut jobs: Vec<JobId> = self.running.iter().filter(can).map(|r| r.backup.job).collect();
        if jobs.iter().any(|job| undecided(*job)) {
            jobs.retain(|job| undecided(*job));
        }
        let job = *jobs.get(self.pauses.one_of(jobs.len()))?;
        Some(PauseRequest { job, length: self.pauses.length() })
    }

    pub(super) fn next_look(&self, now: MonoTime) -> Option<MonoTime> {
        self.pauses.next_look(now).filter(|_| self.pause.is_none())
    }

    /// What the running backups have cost so far.
    pub(super) fn under_way(&self) -> impl Iterator<Item = Cost> {
        self.running.iter().map(|running| self.cost_of(running, None))
    }

    /// Ends the stretch, lets something change, and begins the next one.
    fn turn(&mut self, now: Now, change: impl FnOnce(&mut Self)) {
        self.count(now.mono);
        if let Some(seen) = self.moments.end(now.mono) {
            self.see(now, seen);
        }
        change(self);
        let moment = match &self.running[..] {
            [] => Moment::Without,
            all if all.iter().any(|running| running.standing) => Moment::Paused,
            _ => Moment::With,
        };
        self.moments.begin(now.mono, moment);
        self.look_ahead(now.mono);
    }

    /// A moment is complete.
    fn see(&mut self, now: Now, seen: Seen) {
        self.placebos.add(self.moments.iter().rev());
        self.comparable.see(now, &seen, &mut self.unpaired);
        match (seen.moment, &mut self.pause) {
            (Moment::Paused, Some(pause)) => {
                pause.amid(&seen);
                for running in self.running.iter_mut().filter(|r| pause.stood.contains(&r.backup.job)) {
                    add(&mut running.without, self.moments.complete());
                }
            }
            (Moment::With, Some(pause)) => {
                for running in self.running.iter_mut().filter(|r| pause.stood.contains(&r.backup.job)) {
                    add(&mut running.with, self.moments.complete());
                }
                if pause.after(&seen) {
                    self.close_pause(now.mono);
                }
            }
            _ => {}
        }
        let explained = self.event.as_ref().is_none_or(|event| event.verdict() == Verdict::NotCaused);
        match self.watch.see(self.moments.iter().rev(), &self.placebos, explained) {
            Some(Change::Began(began)) => {
                self.close_event(now);
                self.open_event(now.mono, began);
            }
            Some(Change::Ended) => self.close_event(now),
            None => {}
        }
    }

    fn open_event(&mut self, now: MonoTime, began: MonoTime) {
        self.comparable.event();
        let ImpactSettings { inflation, error, event, .. } = self.settings;
        let shown = self.moments.iter().next_back().map_or(0, |seen| seen.shown(event.quantile));
        let hypotheses = Hypotheses::new(inflation, error);
        let causes: Vec<_> = self
            .running
            .iter()
            .map(|r| (r.backup.job, Comparison::new(hypotheses, shown, &self.placebos)))
            .collect();
        if !causes.is_empty() {
            self.event = Some(Event { began, causes, decided_after: None });
            if self.pause.is_none() && self.can_pause() {
                // One pair decides nothing.
                self.pauses.hurry(now, 1);
            }
        }
    }

    fn close_event(&mut self, now: Now) {
        let Some(Event { began, causes, decided_after }) = self.event.take() else { return };
        if self.pause.is_none() && self.can_pause() {
            self.pauses.settle_down(now.mono);
        }
        let judged: Vec<_> = causes
            .into_iter()
            .map(|(job, comparison)| {
                let unpaired = !comparison.has_pairs() && self.cannot_pause(job);
                let verdict = if unpaired { self.comparable.verdict() } else { comparison.verdict() };
                (job, verdict, comparison.ratio())
            })
            .collect();
        for (job, verdict, _) in &judged {
            for running in self.running.iter_mut().filter(|running| running.backup.job == *job) {
                running.tally.count(*verdict);
            }
        }
        let verdict = Verdict::of_all(judged.iter().map(|(_, verdict, _)| *verdict));
        let guilty = |(_, one, _): &&(JobId, Verdict, _)| verdict != Verdict::Caused || *one == verdict;
        let lasted = now.mono.since(began);
        let Some(instance) = self.running.first().map(|running| running.backup.instance.clone()) else {
            return;
        };
        self.news.events.push(LatencyEvent {
            instance,
            began: wall_minus(now.wall, lasted),
            lasted,
            verdict,
            jobs: judged.iter().filter(guilty).map(|(job, ..)| *job).collect(),
            ratio: judged
                .iter()
                .filter(guilty)
                .filter_map(|(.., ratio)| *ratio)
                .max_by(|a, b| a.low.total_cmp(&b.low)),
            decided_after,
        });
    }

    /// A backup has come to stand.
    fn stands(&mut self, now: Now, job: JobId, why: Why) {
        let random = why == Why::Comparison;
        match &mut self.pause {
            Some(pause) if !pause.resumed => {
                pause.stood.push(job);
                pause.random &= random;
            }
            over => {
                if over.is_some() {
                    self.close_pause(now.mono);
                }
                let since = self.moments.iter().next_back().map(|seen| seen.since);
                let before = self.moments.iter().rev();
                let before = before.take_while(|s| s.moment == Moment::With && Some(s.since) == since);
                self.pause = Some(Pause::new(now.mono, (job, random), before));
                for running in self.running.iter_mut().filter(|r| random && r.backup.job == job) {
                    add(&mut running.with, self.moments.complete());
                }
            }
        }
        self.pauses.begun(now.mono);
    }

    /// The pause and what followed it are a pair, as far as they go.
    fn close_pause(&mut self, now: MonoTime) {
        let Some(Pair { stood, began, levels }) = self.pause.take().and_then(Pause::pair) else {
            return;
        };
        self.news.pairs.push(levels);
        for running in self.running.iter_mut().filter(|running| stood.contains(&running.backup.job)) {
            running.pairs.add(&levels, &mut self.rng);
        }
        if let Some(event) = self.event.as_mut().filter(|event| began >= event.began) {
            event.add(now, &stood, &levels);
        }
        self.look_ahead(now);
        if self.can_pause() && self.event.as_ref().is_some_and(|event| event.decided_after.is_none()) {
            self.pauses.hurry(now, 0);
        }
    }

    /// What runs is no longer what ran around the pause.
    fn give_up_pause(&mut self) {
        self.pause = None;
    }

    /// Sets the time of the next routine pause if none is set and one is possible.
    fn look_ahead(&mut self, now: MonoTime) {
        match self.can_pause() {
            true if self.pause.is_none() && !self.pauses.is_set() => self.pauses.settle_down(now),
            true => {}
            false => self.pauses.rest(),
        }
    }

    fn can_pause(&self) -> bool {
        self.running.iter().any(|running| running.backup.pausable && !running.standing)
    }

    fn cannot_pause(&self, job: JobId) -> bool {
        self.running.iter().any(|running| running.backup.job == job && !running.backup.pausable)
    }

    /// Earns and spends pausing time up to now.
    fn count(&mut self, now: MonoTime) {
        let passed = now.since(self.counted);
        self.counted = self.counted.max(now);
        if self.running.iter().any(|running| running.standing) {
            self.pauses.spend(passed, self.pause.as_ref().is_some_and(|pause| pause.random));
            return;
        }
        self.pauses.all_move();
        if self.can_pause() {
            self.pauses.earn(passed);
        }
    }

    fn cost_of(&self, running: &Running, ended: Option<Now>) -> Cost {
        let Running { backup, began, pairs, with, without, tally, .. } = running;
        Cost {
            job: backup.job,
            instance: backup.instance.clone(),
            kind: backup.kind,
            began: began.wall,
            ended: ended.map(|now| now.wall),
            pairs: pairs.clone(),
            unpaired: self.unpaired.clone(),
            with: latencies(with),
            without: latencies(without),
            tally: *tally,
            watched: self.moments.iter().any(|seen| seen.to >= began.mono),
            quantile: self.settings.event.quantile,
            inflation: self.settings.inflation,
        }
    }
}

impl Running {
    fn new(began: Now, backup: Backup) -> Self {
        Self {
            backup,
            began,
            standing: false,
            pairs: Reservoir::default(),
            with: histogram(),
            without: histogram(),
            tally: Tally::default(),
        }
    }
}

impl Event {
    fn add(&mut self, now: MonoTime, stood: &[JobId], differences: &Levels) {
        for (_, comparison) in self.causes.iter_mut().filter(|(job, _)| stood.contains(job)) {
            comparison.add(differences);
        }
        if self.verdict() != Verdict::CannotTell {
            self.decided_after.get_or_insert(now.since(self.began));
        }
    }

    fn verdict(&self) -> Verdict {
        Verdict::of_all(self.causes.iter().map(|(_, comparison)| comparison.verdict()))
    }

    /// Whether it is not known yet what the job has to do with it.
    fn is_open(&self, job: JobId) -> bool {
        let open = |(_, comparison): &&(JobId, Comparison)| comparison.verdict() == Verdict::CannotTell;
        self.causes.iter().filter(open).any(|(cause, _)| *cause == job)
    }

    /// The job has ended before the event did; what is known of it by now.
    fn drop_cause(&mut self, job: JobId) -> Option<Verdict> {
        let cause = self.causes.iter().find(|(cause, _)| *cause == job)?;
        Some(cause.1.verdict())
    }
}

fn add(to: &mut Histogram<u32>, from: &Histogram<u32>) {
    let added = to.add(from);
    debug_assert!(added.is_ok(), "histograms of the same bounds add up");
}

fn latencies(of: &Histogram<u32>) -> Latencies {
    let at = |quantile: Quantile| Duration::from_micros(of.value_at_quantile(quantile.share()));
    Latencies { samples: of.len(), p50: at(Quantile::P50), p95: at(Quantile::P95), p99: at(Quantile::P99) }
}
