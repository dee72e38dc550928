use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

fn at(minutes: i64) -> Timestamp {
    "2024-03-04T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes)
}

/// Busy by day, with some noise that is the same each time.
fn usual(minutes: i64) -> f64 {
    let day = if (480..1080).contains(&(minutes % 1440)) { 50.0 } else { 10.0 };
    day + (minutes * 7919 % 101) as f64 / 50.0
}

struct Watched {
    week: LearnedWeek,
    peaks: PeakDetector,
}

impl Watched {
    /// Two weeks of the usual, every five minutes.
    fn new(settings: PeakSettings) -> Self {
        let mut watched = Self { week: LearnedWeek::new(), peaks: PeakDetector::new(settings).unwrap() };
        for sample in 0..14 * 288 {
            watched.see(5 * sample, usual(5 * sample), OwnLoad::None);
        }
        watched
    }

    fn see(&mut self, minutes: i64, load: f64, own: OwnLoad) -> Option<LoadLevel> {
        let slot = WeekSlot::new(at(minutes), 0);
        self.peaks.update(&self.week, at(minutes), slot, load, own);
        self.week.update(slot, load, own);
        self.peaks.state(at(minutes)).map(|state| state.level)
    }

    /// The levels of so many samples from a minute of the 15th day on, with this much more than usual.
    fn levels(&mut self, minute: i64, samples: i64, more: f64) -> Vec<LoadLevel> {
        let minute = 14 * 1440 + minute;
        (0..samples)
            .map(|n| minute + 5 * n)
            .map(|m| self.see(m, usual(m) + more, OwnLoad::None).unwrap())
            .collect()
    }
}

#[test]
fn a_burst_is_a_peak_by_its_second_sample_and_ends_within_half_an_hour() {
    let mut watched = Watched::new(PeakSettings::default());
    assert!(watched.levels(0, 12, 0.0).iter().all(|level| *level == LoadLevel::Calm));
    let burst = watched.levels(60, 12, 30.0);
    assert_eq!(burst[1..], [LoadLevel::Peak; 11]);
    let after = watched.levels(120, 7, 0.0);
    assert_eq!(after[0], LoadLevel::Peak, "not believed at once");
    assert_ne!(after[6], LoadLevel::Peak);
}

#[test]
fn what_is_usual_at_this_hour_is_no_peak() {
    let mut watched = Watched::new(PeakSettings::default());
    // 08:00 brings four times the load of 07:59, as every day.
    let levels = watched.levels(0, 288, 0.0);
    assert!(levels.iter().all(|level| *level != LoadLevel::Peak));
    // The same load at 03:00 is one.
    let mut night = Watched::new(PeakSettings::default());
    assert_eq!(night.levels(180, 3, 40.0)[2], LoadLevel::Peak);
}

#[test]
fn a_straggler_is_no_peak_and_a_slight_rise_that_lasts_is_one() {
    let mut watched = Watched::new(PeakSettings::default());
    assert_ne!(watched.levels(0, 1, 40.0)[0], LoadLevel::Peak);
    let after = watched.levels(5, 6, 0.0);
    assert!(after.iter().all(|level| *level != LoadLevel::Peak), "{after:?}");
    let mut slight = Watched::new(PeakSettings::default());
    let rise = slight.levels(0, 24, 1.0);
    assert_eq!(rise[0], LoadLevel::Calm);
    assert!(rise.contains(&LoadLevel::Peak), "{rise:?}");
}

#[test]
fn the_cap_counts_from_the_first_sample_on() {
    let mut new = PeakDetector::new(PeakSettings::default().cap(80.0)).unwrap();
    let week = LearnedWeek::new();
    new.update(&week, at(0), WeekSlot::new(at(0), 0), 20.0, OwnLoad::None);
    let state = new.state(at(0)).unwrap();
    assert_eq!(state.level, LoadLevel::Calm);
    new.update(&week, at(5), WeekSlot::new(at(5), 0), 80.0, OwnLoad::Unknown);
    let state = new.state(at(5)).unwrap();
    assert_eq!((state.level, state.reason.text.as_ref()), (LoadLevel::Peak, "the load is at the cap"));
    let numbers = state.reason.measured.unwrap();
    assert_eq!((numbers.value, numbers.threshold), (80.0, 80.0));
}

#[test]
fn nothing_is_known_before_a_day_without_samples_or_when_they_are_old() {
    let mut new = PeakDetector::new(PeakSettings::default()).unwrap();
    assert_eq!(new.state(at(0)), None);
    new.update(&LearnedWeek::new(), at(0), WeekSlot::new(at(0), 0), 5.0, OwnLoad::None);
    assert_eq!(new.state(at(0)), None, "nothing usual is learned");
    let mut watched = Watched::new(PeakSettings::default());
    watched.levels(0, 1, 0.0);
    let now = 14 * 1440;
    assert!(watched.peaks.state(at(now + 15)).is_some());
    assert_eq!(watched.peaks.state(at(now + 16)), None);
    assert!(watched.peaks.state(at(now - 15)).is_some());
    assert_eq!(watched.peaks.state(at(now - 16)), None, "what a wrong clock told of times to come");
}

#[test]
fn after_a_clock_that_was_wrong_it_goes_on() {
    let mut watched = Watched::new(PeakSettings::default());
    assert_eq!(watched.levels(20 * 1440, 6, 30.0)[5], LoadLevel::Peak);
    let after = watched.levels(60, 8, 0.0);
    assert_eq!((after[0], after[7]), (LoadLevel::Peak, LoadLevel::Calm), "{after:?}");
    // What comes late by less is no news.
    let before = watched.peaks.clone();
    watched.see(14 * 1440 + 85, 90.0, OwnLoad::None);
    assert_eq!(watched.peaks, before);
}

#[test]
fn the_own_backup_is_no_peak() {
    for own in [OwnLoad::Known(40.0), OwnLoad::Unknown] {
        let mut watched = Watched::new(PeakSettings::default());
        for sample in 0..24 {
            let minute = 14 * 1440 + 60 + 5 * sample;
            let level = watched.see(minute, usual(minute) + 40.0, own);
            assert_ne!(level, Some(LoadLevel::Peak), "{own:?} {sample}");
        }
    }
}

#[test]
fn a_peak_ends_beside_a_backup_and_none_begins() {
    let beside = |more: f64| {
        let mut watched = Watched::new(PeakSettings::default());
        assert_eq!(watched.levels(60, 6, 30.0)[5], LoadLevel::Peak);
        let minutes = (0..48).map(|n| 14 * 1440 + 90 + 5 * n);
        let levels = minutes.map(|m| watched.see(m, usual(m) + more, OwnLoad::Unknown).unwrap());
        levels.collect::<Vec<_>>()
    };
    let quiet = beside(0.0);
    assert_eq!((quiet[0], quiet[6]), (LoadLevel::Peak, LoadLevel::Calm), "{quiet:?}");
    // How much of this is the backup's own is not known: three hours later nothing speaks for a peak any more.
    let loud = beside(30.0);
    assert_eq!((loud[30], loud[40]), (LoadLevel::Peak, LoadLevel::Calm), "{loud:?}");
}

#[test]
fn contradictions_are_refused() {
    let refused = |change: fn(&mut PeakSettings)| {
        let mut settings = PeakSettings::default();
        change(&mut settings);
        PeakDetector::new(settings).is_err()
    };
    assert!(refused(|s| s.median_below = 2.4));
    assert!(refused(|s| s.sum_above = 30.0));
    assert!(refused(|s| s.sum_below = f32::NAN));
    assert!(refused(|s| s.median_above = f32::INFINITY));
    assert!(refused(|s| s.least_deviation = 0.0));
    assert!(refused(|s| s.cap = Some(f32::NAN)));
    assert!(refused(|s| s.stale_after = Duration::ZERO));
    assert!(!refused(|_| {}));
}

proptest! {
    #[test]
    fn any_samples_leave_numbers(samples in prop::collection::vec((-500..40_000_i64, any::<f64>()), 0..200)) {
        let mut watched = Watched::new(PeakSettings::default());
        for (minute, load) in samples {
            watched.see(minute, load, OwnLoad::None);
            if let Some(state) = watched.peaks.state(at(minute)) {
                let numbers = state.reason.measured.unwrap();
                prop_assert!(numbers.value.is_finite() && numbers.threshold.is_finite());
            }
        }
    }
}
