//! The same said twice is said once; what makes no sense is not remembered.

mod rig;

use rig::{Rig, secs, spec, terms};
use sched_core::{CapacityState, LoadLevel, LoadState, Order, Reason, RunError, SLOTS, Scope};

fn host(name: &str) -> Scope {
    Scope::Host(name.into())
}

/// All that can be configured or published, as it is at `rig`'s beginning.
fn configure(rig: &mut Rig) {
    let now = rig.now();
    let engine = &mut rig.engine;
    let until = "2026-01-06T12:00:00Z".parse().unwrap();
    let order = || Order::new("ana", "test").until(until);
    let link = Scope::Link("uplink".into());
    engine.set_parent(now, &link, &Scope::Fleet).unwrap();
    for name in ["a", "b", "r"] {
        engine.set_parent(now, &host(name), &link).unwrap();
        engine.set_resource(now, &host(name), "disk".into(), 1).unwrap();
    }
    engine.set_resource(now, &Scope::Fleet, SLOTS.into(), 2).unwrap();
    engine.set_limit(now, &Scope::Group("g".into()), Some(1)).unwrap();
    engine.set_limit(now, &host("b"), None).unwrap();
    engine.hold(now, host("r"), order());
    engine.drain(now, Scope::Instance("held".into()), order());
    engine.set_ceiling(now, Scope::Fleet, Some((1_000, order())));
    engine.run_all_now(now, Scope::Instance("urgent".into()), Some(order()));
    engine.set_load(now, host("b"), LoadState::new(LoadLevel::Busy, Reason::new("busy")));
    let full = CapacityState::Closed { reason: Reason::new("full") };
    engine.set_capacity(now, Scope::Destination("bucket".into()), full);
    engine.set_capacity(now, host("a"), CapacityState::Open);
    engine.set_down(now, Scope::Instance("gone".into()), Some(Reason::new("gone")));
    engine.set_down(now, host("a"), None);
}

#[test]
fn an_identical_reload_changes_nothing_and_makes_no_work() {
    let mut rig = Rig::with_slots(2);
    configure(&mut rig);
    let cluster = || spec("cluster").member("gone", "a").member("x", "r").member("y", "b");
    let requests = [
        spec("first").host("a").group("g"),
        spec("second").host("a").group("g"),
        spec("third").host("a"),
        spec("fourth").host("a").volume("v"),
        spec("busy").host("b"),
        spec("bucket").host("a").destination("bucket"),
        spec("held").host("a"),
        spec("urgent").host("a"),
        spec("many").host("a").together_with("b"),
        cluster(),
    ];
    for request in requests {
        rig.submit(request, terms());
    }
    rig.step();
    rig.finish(rig.running()[0], Err(RunError::Retryable("x".into())));
    for waited in [0, 700, 5_000] {
        rig.clock.advance(secs(waited));
        rig.step();
        assert!(!rig.running().is_empty() && rig.engine.pending_count() > 5);
        let before = (rig.engine.moves(), rig.engine.next_wakeup(), rig.engine.status());
        configure(&mut rig);
        assert_eq!(rig.engine.poll_output(), None);
        assert_eq!((rig.engine.moves(), rig.engine.next_wakeup(), rig.engine.status()), before);
        rig.engine.advance(rig.now());
        assert_eq!(rig.engine.poll_output(), None);
        assert_eq!((rig.engine.moves(), rig.engine.next_wakeup(), rig.engine.status()), before);
    }
}

#[test]
fn scopes_whose_names_cannot_be_used_are_ignored() {
    let mut rig = Rig::with_slots(1);
    let now = rig.now();
    let nameless = || host(" ");
    rig.engine.hold(now, nameless(), Order::new("ana", "test"));
    rig.engine.set_load(now, nameless(), LoadState::new(LoadLevel::Peak, Reason::new("p")));
    rig.engine.set_capacity(now, nameless(), CapacityState::Closed { reason: Reason::new("full") });
    rig.engine.set_down(now, nameless(), Some(Reason::new("down")));
    rig.engine.run_all_now(now, nameless(), Some(Order::new("ana", "test")));
    rig.engine.set_ceiling(now, nameless(), Some((1, Order::new("ana", "test"))));
    rig.step();
    assert!(rig.events.is_empty(), "{:?}", rig.events);
    let status = rig.engine.status();
    assert!(status.holds.is_empty() && status.loads.is_empty() && status.shortages.is_empty());
    assert!(!rig.engine.release(now, &nameless()));
    assert!(rig.engine.set_limit(now, &nameless(), Some(1)).is_err());
}
