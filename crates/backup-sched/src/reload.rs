//! Other policies for a scheduler that runs.
//!
//! What they lead to is worked out on the caller's thread, beside a scheduler that goes on; the dispatcher gets it in
//! portions, between which it does everything else. From the first portion to the last nobody starts, so a start is under
//! the former policies as a whole or under those that follow; and a request that was resolved by the former ones when the
//! others have come into force is resolved again.

use std::collections::BTreeMap;
use std::sync::Arc;

use sched_core::{
    Calendar, CalendarName, EventKind, JobId, JobSpec, NameError, PlaceError, Reason, Renewal, Renewed,
    ResourceName, Scope,
};
use sched_policy::{Changes, Policies};

use crate::builder::check_capacity;
use crate::current::{Current, Resolved};
use crate::error::{ReloadError, Stopped};
use crate::runtime::{Command, Link, PolicySignals, ScheduleChange, schedule_changes};
use crate::scheduler::Scheduler;

/// Jobs or resources in one portion: some hundred microseconds of the dispatcher's time.
const PORTION: usize = 32;
/// Jobs that are listed at once; telling what was asked for costs less than placing anew.
const LISTED: usize = 128;

impl Scheduler {
    /// Puts other policies in force, as a whole or, when they cannot be, not at all. Tells whose terms differ.
    ///
    /// Jobs that wait are placed anew as if they had been asked for under them, under their number and since their
    /// submission. Attempts under way keep what they began with; only the limits that they count against follow, and their
    /// job has the new terms when it waits again. The same holds for a job to which the new policies do not apply, such as
    /// one whose instance is of another technology by now: it keeps its terms. How many there were of each is told by a
    /// [`PolicyReloaded`](EventKind::PolicyReloaded) event.
    ///
    /// Schedules follow as a whole: backups are due by the former ones or by those that follow. Slots of a schedule that is
    /// new or says otherwise begin with the call, so that nothing is made up for; what is due already stays due, and what
    /// was asked for stays asked for, also where the schedule is gone.
    ///
    /// Calendars are installed, exchanged and removed; what hosts and the fleet have of resources follows where the
    /// policies differ in it, and goes back to what [`SchedulerBuilder::resource`](crate::SchedulerBuilder::resource) said
    /// where they say it no longer. Callers at the same time take turns.
    ///
    /// What a file says is read first, and nothing has changed when it is wrong:
    ///
    /// ```
    /// # use backup_sched::{Policies, Scheduler};
    /// # let dir = std::env::temp_dir().join(format!("backup-sched-reload-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir)?;
    /// # let path = dir.join("policy.toml");
    /// # std::fs::write(&path, "[technologies.sqlite]\nrpo = '6h'\n")?;
    /// # let scheduler = Scheduler::builder().start()?;
    /// let policies = Policies::builtin().with_toml("policy.toml", &std::fs::read_to_string(&path)?)?;
    /// let changes = scheduler.reload(policies)?;
    /// assert_eq!(changes.technologies.len(), 1);
    /// # std::fs::remove_dir_all(&dir)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When an executor's technology is unknown to the new policies, a name cannot be used or is the scheduler's own
    /// (`room`), and after a shutdown. But for the latter, nothing has changed then.
    pub fn reload(&self, policies: Policies) -> Result<Changes, ReloadError> {
        self.link().home.check()?;
        let _turn = self.reloads().lock();
        let old = self.current();
        let changes = old.policies.changes(&policies);
        let new = Arc::new(old.followed_by(policies)?);
        let reload = Reload { link: self.link(), calendars: calendars(&new, &changes)?, old, new };
        let resources = reload.resources()?;
        let signals = Box::new(PolicySignals::of(&reload.new.policies));
        let recurring = schedule_changes(&reload.old.policies, &reload.new.policies);
        let mut renewals = Renewals::default();
        reload.work_out(&mut renewals)?;
        let held = Held::begin(self.link())?;
        let suspended = Suspended::begin(self.link())?;
        reload.set_calendars(|calendar| calendar.is_some())?;
        reload.set_resources(resources)?;
        let current = reload.new.clone();
        self.link().ask(|reply| Command::Exchange(current, signals, reply))?;
        // Who was accepted meanwhile, still under the former policies.
        reload.work_out(&mut renewals)?;
        let (placed_anew, keep) = reload.hand_over(renewals)?;
        reload.set_calendars(|calendar| calendar.is_none())?;
        let told = Reason::new(changes.summary());
        suspended.end(EventKind::PolicyReloaded { changes: told, placed_anew, keep })?;
        held.follow(recurring)?;
        Ok(changes)
    }
}

/// The calendars that are to be installed, or removed.
type Calendars = Vec<(CalendarName, Option<Arc<dyn Calendar>>)>;

struct Reload<'s> {
    link: &'s Link,
    old: Arc<Current>,
    new: Arc<Current>,
    calendars: Calendars,
}

/// What jobs are to be given, and the last job that was looked at.
#[derive(Default)]
struct Renewals {
    seen: Option<JobId>,
    renewed: Vec<(JobId, Renewed)>,
    /// To how many the new policies do not apply.
    without: u64,
}

/// A job that has not ended, as its requester described it.
pub(crate) struct Asked {
    pub(crate) job: JobId,
    pub(crate) spec: JobSpec,
    /// Its requester makes the backup.
    pub(crate) pull: bool,
}

fn calendars(new: &Current, changes: &Changes) -> Result<Calendars, NameError> {
    let after: BTreeMap<_, _> = new.policies.calendars().collect();
    let calendar = |name: &CalendarName| {
        name.check()?;
        Ok((name.clone(), after.get(name).map(|calendar| Arc::clone(calendar))))
    };
    changes.calendars.iter().map(calendar).collect()
}

impl Reload<'_> {
    /// How much there is by now of resources of which the policies say something else than before; `None` where they say
    /// nothing any more.
    fn resources(&self) -> Result<Vec<(Scope, ResourceName, Option<u64>)>, ReloadError> {
        let of = |current: &Current| -> BTreeMap<(Scope, ResourceName), u64> {
            let all = current.policies.capacities();
            all.map(|(place, name, total)| ((place, name.clone()), total)).collect()
        };
        let (before, after) = (of(&self.old), of(&self.new));
        for (place, name) in after.keys() {
            check_capacity(name).map_err(|_| ReloadError::Reserved { name: name.clone() })?;
            place.check().map_err(|source| PlaceError::Name { place: place.clone(), source })?;
            name.check().map_err(|source| PlaceError::Resource { name: name.clone(), source })?;
        }
        let gone = before.keys().filter(|key| !after.contains_key(key)).cloned();
        let gone: Vec<_> = gone.map(|(place, name)| (place, name, None)).collect();
        let set = after.into_iter().filter(|(key, total)| before.get(key) != Some(total));
        Ok(set.map(|((place, name), total)| (place, name, Some(total))).chain(gone).collect())
    }

    /// Works out what the jobs that were accepted since the last call are to be given.
    fn work_out(&self, renewals: &mut Renewals) -> Result<(), Stopped> {
        loop {
            let listed = self.link.ask(|reply| Command::Asked(renewals.seen, LISTED, reply))?;
            let Some(last) = listed.last() else { return Ok(()) };
            renewals.seen = Some(last.job);
            for Asked { job, spec, pull } in listed {
                let Ok(after) = self.new.resolve_one(spec.clone(), pull) else {
                    renewals.without += 1;
                    continue;
                };
                if self.old.resolve_one(spec, pull).as_ref() != Ok(&after) {
                    let Resolved { spec, terms, needs, .. } = after;
                    renewals.renewed.push((job, Renewed { spec, terms, needs }));
                }
            }
        }
    }

    fn set_calendars(&self, which: impl Fn(&Option<Arc<dyn Calendar>>) -> bool) -> Result<(), Stopped> {
        for (name, calendar) in self.calendars.iter().filter(|(_, calendar)| which(calendar)).cloned() {
            self.link.engine(move |engine, now| {
                let set = engine.set_calendar(now, name, calendar);
                debug_assert!(set.is_ok(), "its name was checked: {set:?}");
            })?;
        }
        Ok(())
    }

    fn set_resources(&self, all: Vec<(Scope, ResourceName, Option<u64>)>) -> Result<(), Stopped> {
        in_portions(all, |portion| {
            self.link.engine(move |engine, now| {
                for (place, name, total) in portion {
                    let set = match total {
                        Some(total) => engine.set_resource(now, &place, name, total),
                        None => engine.unset_resource(now, &place, &name),
                    };
                    debug_assert!(set.is_ok(), "place and name were checked: {set:?}");
                }
            })
        })
    }

    /// Returns how many jobs were placed anew, and how many keep their terms.
    fn hand_over(&self, renewals: Renewals) -> Result<(u64, u64), Stopped> {
        let (mut placed_anew, mut keep) = (0, renewals.without);
        in_portions(renewals.renewed, |mut portion| {
            // What jobs had before comes back and is freed here: an allocator may put off what freeing costs until it is
            // asked for something larger, and the dispatcher would pay for all portions at once.
            let (became, _former) = self.link.engine(move |engine, now| {
                let all = portion.iter_mut().map(|(job, renewed)| engine.renew(now, *job, renewed));
                let became: Vec<_> = all.collect();
                (became, portion)
            })?;
            for became in became {
                match became {
                    Ok(Renewal::PlacedAnew) => placed_anew += 1,
                    Ok(Renewal::Ended) => {}
                    Ok(Renewal::AfterAttempt) | Err(_) => keep += 1,
                }
            }
            Ok(())
        })?;
        Ok((placed_anew, keep))
    }
}

fn in_portions<T>(
    all: Vec<T>,
    mut hand_over: impl FnMut(Vec<T>) -> Result<(), Stopped>,
) -> Result<(), Stopped> {
    let mut all = all.into_iter();
    loop {
        let portion: Vec<_> = all.by_ref().take(PORTION).collect();
        if portion.is_empty() {
            return Ok(());
        }
        hand_over(portion)?;
    }
}

/// Nobody is asked for by a schedule before it is dropped.
struct Held<'s>(&'s Link);

impl<'s> Held<'s> {
    fn begin(link: &'s Link) -> Result<Self, Stopped> {
        link.schedules(|schedules, _| schedules.hold())?;
        Ok(Self(link))
    }

    fn follow(self, changes: Vec<ScheduleChange>) -> Result<(), Stopped> {
        in_portions(changes, |portion| {
            self.0.schedules(move |schedules, wall| {
                portion.into_iter().for_each(|change| schedules.follow(wall, change));
            })
        })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // A scheduler that has ended asks for nobody.
        let _ = self.0.schedules(|schedules, _| schedules.release());
    }
}

/// Nobody starts before it ends, or is dropped.
struct Suspended<'s>(&'s Link);

impl<'s> Suspended<'s> {
    fn begin(link: &'s Link) -> Result<Self, Stopped> {
        link.engine(|engine, now| engine.suspend_starts(now, true))?;
        Ok(Self(link))
    }

    fn end(self, told: EventKind) -> Result<(), Stopped> {
        self.0.engine(move |engine, now| engine.note(now, told))
    }
}

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        // A scheduler that has ended starts nobody.
        let _ = self.0.engine(|engine, now| engine.suspend_starts(now, false));
    }
}
