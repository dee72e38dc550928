//! Keeps the measures while the world runs: [`Ledger`].

use std::collections::HashMap;

use super::{Late, MOST_LATE, Measures, TechnologyMeasures};
use crate::fleet::{Fleet, Instance, Life};
use crate::load::SLOT_SECS;
use crate::noise::unit;

const HOUR: f64 = 3600.0;
/// Who starts within this time of the asking was not deferred, in seconds.
const AT_ONCE: f64 = 60.0;
/// A host is in a low-load moment up to so much above the quietest of its week: the tolerance by which Seagull (VLDB
/// 2021) calls a window a right one.
const LOW_LOAD: f32 = 0.10;

/// The recovery point that an instance begins with, in seconds: its creation, or up to seven tenths of its interval back
/// where it was there before.
pub(crate) fn first_point(instance: &Instance) -> f64 {
    if instance.life.created > 0.0 {
        return instance.life.created;
    }
    -0.7 * instance.every.as_secs_f64() * unit(0x9017, instance.seed)
}

#[derive(Debug)]
pub(crate) struct Ledger {
    measures: Measures,
    instances: Vec<Course>,
    load_secs: f64,
    /// When an instance was last backed up for the first time, in seconds.
    last_first: f64,
}

/// What became of an instance since its newest recovery point.
#[derive(Clone, Copy, Debug)]
struct Course {
    point: f64,
    /// When the next backup was asked for, and when it was first started; infinite before.
    asked: f64,
    started: f64,
    host_secs: f32,
    link_secs: f32,
    free_secs: f32,
    low_secs: f32,
    /// Up to this load its host is in a low-load moment, but for a shift.
    low_load: f32,
    failed: u16,
    technology: u16,
    touched: bool,
}

/// A part of a run, within one slot, in which nothing changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) instance: u32,
    pub(crate) host: u32,
    pub(crate) link: u32,
    pub(crate) from: f64,
    pub(crate) secs: f64,
    pub(crate) bytes: f64,
    /// What the foreground used meanwhile, from 0 to 1.
    pub(crate) load: f64,
    /// What the host allowed, in bytes a second.
    pub(crate) allowed: f64,
}

impl Course {
    fn renewed(self, point: f64) -> Self {
        let (asked, started) = (f64::INFINITY, f64::INFINITY);
        let (host_secs, link_secs, free_secs, low_secs) = (0.0, 0.0, 0.0, 0.0);
        Self { point, asked, started, host_secs, link_secs, free_secs, low_secs, failed: 0, ..self }
    }

    /// Time of low load until a moment, in seconds, as a perfect forecast would have it.
    fn low_load(&self, fleet: &Fleet, instance: &Instance, until: f64) -> f64 {
        let (host, from) = (&fleet.hosts[instance.host as usize], self.point.max(0.0));
        let slots_of_hour = 3600 / SLOT_SECS;
        // Recovery points of weeks are as good as all.
        let hours = (from / HOUR) as u32..(until.min(from + 14.0 * 86_400.0) / HOUR).ceil() as u32;
        let within = |hour: u32| {
            let begin = f64::from(hour) * HOUR;
            ((begin + HOUR).min(until) - begin.max(from)).max(0.0)
        };
        let low = |hour: &u32| {
            host.unshifted_mean(hour * slots_of_hour + slots_of_hour / 2) <= f64::from(self.low_load)
        };
        hours.filter(low).map(within).sum()
    }
}

impl Ledger {
    pub(crate) fn new(fleet: &Fleet, hours: usize) -> Self {
        let mut technologies = Vec::<TechnologyMeasures>::new();
        let mut known = HashMap::new();
        let mut instances = Vec::with_capacity(fleet.instances.len());
        for instance in &fleet.instances {
            let technology = *known.entry(&*instance.technology).or_insert_with(|| {
                let name = instance.technology.to_string();
                technologies.push(TechnologyMeasures { name, ..TechnologyMeasures::default() });
                (technologies.len() - 1).min(u16::MAX.into()) as u16
            });
            let blank = Course {
                point: 0.0,
                asked: 0.0,
                started: 0.0,
                host_secs: 0.0,
                link_secs: 0.0,
                free_secs: 0.0,
                low_secs: 0.0,
                low_load: fleet.hosts[instance.host as usize].quietest() as f32 + LOW_LOAD,
                failed: 0,
                technology,
                touched: false,
            };
            instances.push(blank.renewed(first_point(instance)));
        }
        Self {
            measures: Measures { technologies, ..Measures::new(fleet, hours) },
            last_first: 0.0,
            instances,
            load_secs: 0.0,
        }
    }

    /// Hours that are measured.
    pub(crate) fn hours(&self) -> usize {
        self.measures.link_hours.first().map_or(24, Vec::len)
    }

    pub(crate) fn point(&self, instance: u32) -> f64 {
        self.instances[instance as usize].point
    }

    /// The next backup of an instance is wanted from now on.
    pub(crate) fn asked(&mut self, instance: u32, now: f64) {
        let course = &mut self.instances[instance as usize];
        course.asked = course.asked.min(now);
    }

    pub(crate) fn started(&mut self, instance: u32, now: f64) {
        let course = &mut self.instances[instance as usize];
        if course.started.is_finite() {
            return;
        }
        course.started = now;
        course.asked = course.asked.min(now);
        let waited = now - course.asked;
        self.measures.deferred += u64::from(waited > AT_ONCE);
        self.measures.longest_wait_secs = self.measures.longest_wait_secs.max(waited);
    }

    pub(crate) fn overridden(&mut self) {
        self.measures.overridden += 1;
    }

    pub(crate) fn ran(&mut self, fleet: &Fleet, of: Stretch) {
        let Stretch { secs, bytes, load, .. } = of;
        self.measures.backup_secs += secs;
        self.load_secs += load * secs;
        let hours = &mut self.measures.link_hours[of.link as usize];
        let hour = ((of.from / HOUR) as usize).min(hours.len() - 1);
        hours[hour] += bytes;
        let host = &fleet.hosts[of.host as usize];
        let course = &mut self.instances[of.instance as usize];
        // Rates are rounded to bins that are 9 % apart.
        let spent_on = if of.allowed < 0.02 * host.bytes_per_sec {
            &mut course.host_secs
        } else if bytes < 0.85 * of.allowed * secs {
            &mut course.link_secs
        } else {
            &mut course.free_secs
        };
        *spent_on += secs as f32;
        // Quiet is what is quiet at the level to which the load has shifted.
        let shifted = host.shifted((of.from / f64::from(SLOT_SECS)) as u32);
        if load - shifted <= f64::from(course.low_load) {
            course.low_secs += secs as f32;
        }
    }

    pub(crate) fn harmed(&mut self, secs: f64) {
        self.measures.harm_secs += secs;
    }

    /// An attempt's time-out has passed; that it failed is told besides.
    pub(crate) fn timed_out(&mut self) {
        self.measures.timed_out += 1;
    }

    pub(crate) fn failed(&mut self, instance: u32) {
        self.measures.failed += 1;
        let course = &mut self.instances[instance as usize];
        course.failed = course.failed.saturating_add(1);
        // What an attempt that failed did at a good time is nobody's gain.
        course.low_secs = 0.0;
    }

    pub(crate) fn succeeded(&mut self, fleet: &Fleet, number: u32, started: f64, now: f64) {
        self.measures.succeeded += 1;
        let instance = &fleet.instances[number as usize];
        let (course, rpo) = (self.instances[number as usize], instance.rpo.as_secs_f64());
        let due = course.point + rpo;
        if now <= due {
            let tenth = ((due - now) / rpo * 10.0).clamp(0.0, 9.0) as usize;
            self.measures.slack_tenths[tenth] += 1;
        }
        self.settle(fleet, number, due, now, true);
        let possible = course.low_load(fleet, instance, due).min(now - started);
        self.measures.low_load_possible_secs += possible;
        self.measures.low_load_secs += f64::from(course.low_secs).min(possible);
        if !course.touched {
            self.last_first = now;
        }
        self.instances[number as usize] = Course { touched: true, ..course }.renewed(started);
    }

    /// A recovery point was replaced, or the time is over.
    fn settle(&mut self, fleet: &Fleet, instance: u32, due: f64, now: f64, replaced: bool) {
        let course = &self.instances[instance as usize];
        let (measures, by_secs) = (&mut self.measures, now - due);
        let technology = &mut measures.technologies[usize::from(course.technology)];
        let in_time = u64::from(by_secs <= 0.0);
        technology.due += 1;
        technology.in_time += in_time;
        let rpo = fleet.instances[instance as usize].rpo.as_secs_f64();
        // The sum until the end.
        technology.slack += (-by_secs / rpo).max(0.0);
        measures.due += 1;
        measures.in_time += in_time;
        measures.late_secs += by_secs.max(0.0);
        measures.longest_late_secs = measures.longest_late_secs.max(by_secs);
        let asked = course.asked.min(now);
        let started = course.started.min(now);
        measures.worst.push(Late {
            instance,
            by_secs,
            by_rpos: by_secs / rpo,
            due,
            replaced,
            unasked_secs: asked - course.point,
            waited_secs: started - asked,
            failed: course.failed,
            tried_secs: now - started,
            host_secs: course.host_secs.into(),
            link_secs: course.link_secs.into(),
            free_secs: course.free_secs.into(),
        });
        if measures.worst.len() >= 40 * MOST_LATE {
            self.measures.keep_worst();
        }
    }

    /// What is overdue at the end, or was when its instance was dropped, counts as missed; what is not due yet does not
    /// count.
    pub(crate) fn close(mut self, fleet: &Fleet, now: f64) -> Measures {
        let mut all_touched = true;
        for (n, instance) in fleet.instances.iter().enumerate() {
            let (due, life) = (self.instances[n].point + instance.rpo.as_secs_f64(), instance.life);
            let end = now.min(life.dropped);
            if due < end {
                self.settle(fleet, n as u32, due, end, false);
            }
            // Who is short-lived, and is not there long enough for a backup to fall due, need not have one.
            all_touched &= self.instances[n].touched || (life != Life::default() && due >= end);
        }
        let measures = &mut self.measures;
        measures.makespan_secs = all_touched.then_some(self.last_first);
        measures.keep_worst();
        if measures.backup_secs > 0.0 {
            measures.load_while_running = self.load_secs / measures.backup_secs;
        }
        measures.technologies.iter_mut().filter(|of| of.due > 0).for_each(|of| of.slack /= of.due as f64);
        self.measures
    }
}
