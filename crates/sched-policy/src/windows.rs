//! Whether windows leave enough time for what is to be backed up in them: [`Policies::check_windows`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sched_core::{
    BackupKind, Calendar, CalendarName, CalendarState, JobSpec, TechnologyName, WindowEnd, wall_plus,
    wall_until,
};

use crate::calendar::WindowRules;
use crate::chain::ChainId;
use crate::config::node::Span;
use crate::config::problem::{Findings, Problems, Severity};
use crate::policies::Policies;
use crate::schedule::Recurrence;
use crate::units::ByteSize;
use crate::values::Effective;

/// How far ahead windows are looked at: five weeks hold every weekly one, and the "first Monday" of a month.
const AHEAD: Duration = Duration::from_secs(35 * 24 * 3600);

/// How many stretches of a calendar are looked at: one that changes every minute is not followed for five weeks.
const MOST_STRETCHES: usize = 10_000;

/// A calendar, and what it was made of if a configuration says.
#[derive(Clone, Debug)]
pub(crate) struct KnownCalendar {
    pub(crate) calendar: Arc<dyn Calendar>,
    pub(crate) rules: Option<WindowRules>,
}

impl KnownCalendar {
    /// The calendar of some rules; none if it never opens, which the checks report.
    pub(crate) fn of(rules: WindowRules) -> Option<Self> {
        let calendar = rules.clone().build().ok()?;
        Some(Self { calendar: Arc::new(calendar), rules: Some(rules) })
    }
}

/// Whether they are made of the same, or are one and the same.
impl PartialEq for KnownCalendar {
    fn eq(&self, other: &Self) -> bool {
        match (&self.rules, &other.rules) {
            (Some(rules), Some(others)) => rules == others,
            _ => Arc::ptr_eq(&self.calendar, &other.calendar),
        }
    }
}

/// What a calendar leaves room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reach {
    /// The longest time that it is open without a break.
    longest_open: Duration,
    /// The longest time that it is not.
    longest_wait: Duration,
}

impl Reach {
    fn of(calendar: &dyn Calendar, from: Timestamp) -> Self {
        let (mut at, end) = (from, wall_plus(from, AHEAD));
        let (mut reach, mut open, mut wait) = (Self::default(), Duration::ZERO, Duration::ZERO);
        for _ in 0..MOST_STRETCHES {
            let stretch = calendar.at(at);
            let until = stretch.until.map_or(end, |until| until.min(end));
            // One that ends before it begins would never be left.
            if until <= at {
                break;
            }
            let lasts = wall_until(at, until);
            (open, wait) = match stretch.state {
                CalendarState::Open => (open + lasts, Duration::ZERO),
                CalendarState::Closed { .. } | CalendarState::Blackout { .. } => {
                    (Duration::ZERO, wait + lasts)
                }
            };
            reach.longest_open = reach.longest_open.max(open);
            reach.longest_wait = reach.longest_wait.max(wait);
            at = until;
        }
        reach
    }
}

/// Somebody whose windows are looked at.
struct Subject {
    path: String,
    spec: JobSpec,
    chain: ChainId,
}

impl Policies {
    /// Whether calendars leave enough time in the five weeks from `from`: windows shorter than the expected backup,
    /// recovery points that the windows cannot meet, and schedules of which no slot falls into a window. What concerns many in the same way is told of the first by name.
    pub fn check_windows(&self, from: Timestamp) -> Problems {
        let reach = |known: &KnownCalendar| Reach::of(&*known.calendar, from);
        let reaches: BTreeMap<_, _> =
            self.calendars.iter().map(|(name, known)| (name, reach(known))).collect();
        let (mut findings, mut seen) = (Findings::default(), BTreeSet::new());
        let mut schedules = BTreeMap::new();
        for Subject { path, spec, chain } in self.subjects() {
            for kind in BackupKind::ALL {
                let effective = self.chains.effective(chain, kind);
                let Some(window) = &effective.window else { continue };
                let Some(reach) = reaches.get(window) else { continue };
                let spec = spec.clone().kind(kind);
                let of_calendar = self.calendars.get(window).map(|known| &*known.calendar);
                let never = schedules.entry((chain, kind)).or_insert_with(|| {
                    let recurrence = effective.recurrence()?;
                    recurrence.is_never_open(of_calendar?, from).then(|| never_open(window, &recurrence))
                });
                let short = short_of_time(window, *reach, effective, &spec);
                for (severity, message) in short.into_iter().chain(never.clone()) {
                    if seen.insert(message.clone()) {
                        let origin = self.said_by(&spec, "window");
                        let message = format!("{message} ({kind} backups; the window is said by {origin})");
                        findings.add(severity, Span::default(), path.clone(), message);
                    }
                }
            }
        }
        findings.problems(None)
    }

    /// Everybody that has a policy, those with a size where the configuration tells one.
    fn subjects(&self) -> Vec<Subject> {
        let subject =
            |table: &str, name: &str, technology: &TechnologyName, chain, size: Option<ByteSize>| {
                let mut spec = JobSpec::new(name, technology);
                spec.size_bytes = size.map(|size| size.0);
                Subject { path: format!("{table}.{name}"), spec, chain }
            };
        let technologies = self
            .technologies
            .iter()
            .map(|(name, known)| subject("technologies", name.as_str(), name, known.chain, None));
        let clusters = self.clusters.iter().map(|(name, cluster)| {
            subject("clusters", name.as_str(), &cluster.technology, cluster.chain, None)
        });
        let mut instances: Vec<_> = self.instances.iter().collect();
        instances.sort_by_key(|(name, _)| *name);
        let instances = instances.into_iter().map(|(name, instance)| {
            let size = instance.entry.about.size;
            subject("instances", name.as_str(), &instance.technology, instance.chain, size)
        });
        technologies.chain(clusters).chain(instances).collect()
    }
}

fn never_open(window: &CalendarName, recurrence: &Recurrence) -> (Severity, String) {
    let (every, ahead) = (recurrence.every.to_string(), AHEAD.as_secs() / 86_400);
    let message = format!(
        "no slot of {every:?} in {ahead} days falls into a window of {window}: each backup waits for the next one"
    );
    (Severity::Warning, message)
}

fn short_of_time(
    window: &CalendarName,
    Reach { longest_open, longest_wait }: Reach,
    effective: &Effective,
    spec: &JobSpec,
) -> Vec<(Severity, String)> {
    let size = spec.size_bytes.filter(|_| spec.kind == BackupKind::Full);
    let takes = effective.estimate(size);
    let shown = |duration: Duration| humantime::format_duration(Duration::from_secs(duration.as_secs()));
    let mut found = Vec::new();
    if longest_open.is_zero() {
        let ahead = AHEAD.as_secs() / 86_400;
        found.push((Severity::Error, format!("calendar {window} is not open within {ahead} days")));
        return found;
    }
    if takes > longest_open {
        let then = match effective.window_end {
            WindowEnd::Pause | WindowEnd::Stop => "so it takes several of them",
            _ => "so it runs on after its end",
        };
        let (takes, open) = (shown(takes), shown(longest_open));
        let message = format!(
            "a backup is expected to take {takes}, longer than any window of {window} ({open}), {then}"
        );
        found.push((Severity::Warning, message));
    }
    if effective.open_window_when_late {
        return found;
    }
    let (rpo, wait) = (shown(effective.rpo), shown(longest_wait));
    if longest_wait > effective.rpo {
        let message = format!(
            "the recovery point of {rpo} cannot be met: {window} is closed for {wait}; widen it, or let it open when late"
        );
        found.push((Severity::Error, message));
    } else if longest_wait + takes > effective.rpo {
        let takes = shown(takes);
        let message = format!(
            "the recovery point of {rpo} is missed now and then: {window} is closed for {wait}, and a backup takes {takes}"
        );
        found.push((Severity::Warning, message));
    }
    found
}

#[cfg(test)]
mod tests {
    use sched_core::{Reason, Stretch};

    use super::*;

    const HOUR: i64 = 3600;

    /// Open for some hours of each day, by UTC, but not on the days before `first`.
    #[derive(Debug)]
    struct Daily {
        open: i64,
        first: i64,
    }

    impl Calendar for Daily {
        fn at(&self, at: Timestamp) -> Stretch {
            let second = at.as_second();
            let day = second.div_euclid(24 * HOUR);
            let (begin, end) = (day * 24 * HOUR, (day + 1) * 24 * HOUR);
            let closes = if day < self.first { begin } else { begin + self.open * HOUR };
            let (from, until, is_open) =
                if second < closes { (begin, closes, true) } else { (closes, end, false) };
            let state = if is_open {
                CalendarState::Open
            } else {
                CalendarState::Closed { reason: Reason::new("it is day") }
            };
            let moment = |second| Timestamp::from_second(second).ok();
            Stretch { from: moment(from), until: moment(until), state }
        }
    }

    fn from() -> Timestamp {
        "2026-01-05T00:00:00Z".parse().unwrap()
    }

    fn nights(open: i64) -> Arc<dyn Calendar> {
        Arc::new(Daily { open, first: 0 })
    }

    fn told(instance: &str, nights: Arc<dyn Calendar>) -> Vec<String> {
        let text = format!(
            "[labels.l]\nwindow = \"nights\"\n[instances.a]\ntechnology = \"sqlite\"\nlabels = [\"l\"]\n{instance}"
        );
        let policies = Policies::builtin().with_calendar("nights", nights);
        let policies = policies.with_toml("p.toml", &text).unwrap();
        policies.check_windows(from()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_a_calendar_leaves_room_for_is_found() {
        let hours = |n: i64| Duration::from_secs((n * HOUR).unsigned_abs());
        let of = |calendar: &dyn Calendar| Reach::of(calendar, from());
        let nightly = Reach { longest_open: hours(8), longest_wait: hours(16) };
        assert_eq!(of(&Daily { open: 8, first: 0 }), nightly);
        // Days that touch are one window.
        assert_eq!(of(&Daily { open: 24, first: 0 }), Reach { longest_open: AHEAD, longest_wait: hours(0) });
        let day = from().as_second() / (24 * HOUR);
        let later = Daily { open: 8, first: day + 2 };
        assert_eq!(of(&later), Reach { longest_open: hours(8), longest_wait: hours(48) });
    }

    #[test]
    fn enough_time_is_no_problem() {
        assert_eq!(told("", nights(8)), Vec::<String>::new());
    }

    #[test]
    fn windows_that_are_too_short_or_too_seldom_are_told_of() {
        // Log segments cannot wait for the night; nor can a recovery point of 12 h.
        let log = "error: instances.a: the recovery point of 15m cannot be met: nights is closed for 16h; widen it, or \
                   let it open when late (log backups; the window is said by label l, p.toml:2)";
        let with_log = told("log.rpo = \"15min\"\nlog.window = \"nights\"", nights(8));
        assert_eq!(with_log, [log.replace("label l, p.toml:2", "instance a, p.toml:7")]);
        let rpo = told("rpo = \"17h\"\nexpected_duration = \"2h\"", nights(8));
        assert_eq!(
            rpo,
            [
                "warning: instances.a: the recovery point of 17h is missed now and then: nights is closed for 16h, and a \
             backup takes 2h (full backups; the window is said by label l, p.toml:2)"
            ]
        );
        assert_eq!(
            told("rpo = \"17h\"\nexpected_duration = \"2h\"\nopen_window_when_late = true", nights(8)).len(),
            0
        );
        let size = told("size = \"2 TiB\"\nrpo = \"3days\"\nwindow_end = \"stop\"", nights(8));
        assert_eq!(size, [
            "warning: instances.a: a backup is expected to take 12h 13m 0s, longer than any window of nights (8h), so \
             it takes several of them (full backups; the window is said by label l, p.toml:2)"
        ].map(|text| text.replace("12h 13m 0s", &humantime::format_duration(Duration::from_secs((2 << 40) / 50_000_000)).to_string())));
    }

    #[test]
    fn a_schedule_without_a_slot_in_the_windows_is_told_of() {
        // Open from midnight to 8.
        let noon = told("schedule = '0 12 * * *'", nights(8));
        assert_eq!(
            noon,
            [
                "warning: instances.a: no slot of \"0 12 * * *\" in 35 days falls into a window of nights: each backup \
             waits for the next one (full backups; the window is said by label l, p.toml:2)"
            ]
        );
        for fits in ["0 7,12 * * *", "12h", "rpo"] {
            assert_eq!(told(&format!("schedule = '{fits}'"), nights(8)), Vec::<String>::new(), "{fits}");
        }
        // Spread over the night.
        assert_eq!(told("schedule = '0 23 * * *'\njitter = '2h'", nights(8)).len(), 0);
        assert_eq!(told("schedule = '0 23 * * *'\njitter = '59min'", nights(8)).len(), 1);
        assert_eq!(told("schedule = '1day'\njitter = '0s'", nights(8)).len(), 0);
    }

    #[test]
    fn a_calendar_that_is_never_open_is_an_error() {
        assert!(told("", nights(0))[0].contains("calendar nights is not open within 35 days"));
    }
}
