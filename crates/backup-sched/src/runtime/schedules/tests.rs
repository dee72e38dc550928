use super::*;
use sched_core::store::Entry;
use sched_core::{Clock, ManualClock};

fn policies(schedule: &str) -> Policies {
    let file = format!("[instances.a]\ntechnology = 'generic'\nschedule = '{schedule}'\n");
    Policies::builtin().with_toml("policy.toml", &file).unwrap()
}

#[test]
fn nobody_is_handed_out_while_other_policies_come_into_force() {
    let clock = ManualClock::default();
    let (old, new) = (policies("0 2 * * *"), policies("0 4 * * *"));
    let mut schedules = Schedules::new(clock.now(), &old, HashMap::new(), None, |_| false);
    schedules.hold();
    clock.advance(Duration::from_secs(3 * 3600));
    let now = clock.now();
    assert_eq!((schedules.turn(now.wall), schedules.next_look(now)), (None, None));
    schedule_changes(&old, &new).into_iter().for_each(|change| schedules.follow(now.wall, change));
    schedules.release();
    let Some(Turn::Due(due)) = schedules.turn(now.wall) else { panic!("what was due stays due") };
    assert_eq!(due.at, clock.now().wall - Duration::from_secs(3600));
}

#[test]
fn it_looks_when_something_is_due_and_at_the_wall_now_and_then() {
    let clock = ManualClock::default();
    let in_minutes = |schedule: &str| {
        let schedules = Schedules::new(clock.now(), &policies(schedule), HashMap::new(), None, |_| false);
        Some(schedules.next_look(clock.now())?.since(clock.mono()).as_secs() / 60)
    };
    assert_eq!(in_minutes("3 0 * * *"), Some(3));
    assert_eq!(in_minutes("0 2 * * *"), Some(10));
    assert_eq!(in_minutes("none"), None);
}

/// What stands in a fleet's store of the one that recurs.
fn left(dealt_with: Timestamp) -> ScheduleEntry {
    let mut left = ScheduleEntry::new("a".into(), BackupKind::Full);
    left.dealt_with = Some(dealt_with);
    left
}

#[test]
fn a_slot_that_another_one_has_made_is_not_made_again_by_a_wall_that_is_behind() {
    let clock = ManualClock::default();
    let key = ("a".into(), BackupKind::Full);
    let file = policies("0 2 * * *");
    let mut schedules = Schedules::new(clock.now(), &file, HashMap::new(), Some(HashMap::new()), |_| false);
    let slot = clock.now().wall + Duration::from_secs(2 * 3600);
    clock.advance(Duration::from_secs(2 * 3600 - 5));
    schedules.take_over(clock.now().wall, &key, Some(&left(slot)), false);
    clock.advance(Duration::from_secs(3600));
    assert_eq!(schedules.turn(clock.now().wall), None);
    // What was dealt with long before its time was so by a wall that was wrong.
    schedules.take_over(
        clock.now().wall,
        &key,
        Some(&left(slot + 9 * Duration::from_secs(24 * 3600))),
        false,
    );
    clock.advance(Duration::from_secs(24 * 3600));
    assert!(matches!(schedules.turn(clock.now().wall), Some(Turn::Due(_))));
}

#[test]
fn what_waits_for_the_store_is_due_when_that_is_back() {
    let clock = ManualClock::default();
    let mut schedules = Schedules::new(clock.now(), &policies("0 2 * * *"), HashMap::new(), None, |_| false);
    clock.advance(Duration::from_secs(2 * 3600));
    let wall = clock.now().wall;
    let Some(Turn::Due(due)) = schedules.turn(wall) else { panic!("it is due") };
    let until = wall_plus(wall, Duration::from_secs(60));
    schedules.needs_store(&due, until);
    schedules.postpone(&due, until);
    assert_eq!(schedules.turn(wall), None);
    schedules.store_is_back(wall);
    let Some(Turn::Due(again)) = schedules.turn(wall) else { panic!("it is due again") };
    assert_eq!((again.id, again.at), (due.id, due.at));
    // It is made now, and comes no more.
    schedules.submitted(&again, JobId(1));
    schedules.store_is_back(wall);
    assert_eq!(schedules.turn(wall), None);
}

#[test]
fn what_is_not_due_any_more_when_the_store_is_back_does_not_come() {
    let clock = ManualClock::default();
    let mut schedules = Schedules::new(clock.now(), &policies("rpo"), HashMap::new(), None, |_| false);
    clock.advance(Duration::from_secs(24 * 3600));
    let wall = clock.now().wall;
    let Some(Turn::Due(due)) = schedules.turn(wall) else { panic!("it is due") };
    let until = wall_plus(wall, Duration::from_secs(60));
    schedules.needs_store(&due, until);
    schedules.postpone(&due, until);
    // Somebody else has made one.
    schedules.renewed(wall, ("a".into(), BackupKind::Full), wall);
    schedules.store_is_back(wall);
    assert_eq!(schedules.turn(wall), None);
}

/// Of an instance that another scheduler makes, each slot is handed out here as well, and put off again and again.
#[test]
fn what_begins_here_leaves_the_slots_to_others_that_have_passed() {
    for (schedule, first, last) in [("0 2 * * *", 19, 19), ("rpo", 12, 18)] {
        let clock = ManualClock::default();
        let key = ("a".into(), BackupKind::Full);
        let kept = Some(HashMap::new());
        let mut schedules = Schedules::new(clock.now(), &policies(schedule), HashMap::new(), kept, |_| false);
        clock.advance(Duration::from_secs(7 * 3600));
        let wall = clock.now().wall;
        let Some(Turn::Due(due)) = schedules.turn(wall) else { panic!("{schedule} is due") };
        schedules.postpone(&due, wall_plus(wall, Duration::from_secs(30)));
        schedules.begin(wall, &key);
        let after = |hours: u64| wall_plus(wall, Duration::from_secs(hours * 3600));
        assert_eq!(schedules.turn(after(first - 1)), None, "{schedule}");
        // Whoever has its share next goes on from there.
        let Some(Entry::Schedule(entry)) = schedules.news().pop() else { panic!("it is written down") };
        schedules.take_over(wall, &key, Some(&entry), false);
        assert_eq!(schedules.turn(after(first - 1)), None, "{schedule}");
        let Some(Turn::Due(due)) = schedules.turn(after(last)) else { panic!("{schedule} is due again") };
        // One whose job is under way here goes on.
        schedules.submitted(&due, JobId(1));
        schedules.begin(after(last), &key);
        assert!(schedules.asks_for(JobId(1)), "{schedule}");
        assert_eq!(schedules.turn(after(last + 24)), None, "{schedule}");
    }
}
