//! The tree of places: who uses what, and what may be moved.

mod rig;

use rig::{Rig, secs, spec, terms};
use sched_core::{JobTerms, Order, PlaceError, Reason, Scope};

fn host(name: &str) -> Scope {
    Scope::Host(name.into())
}

fn link(name: &str) -> Scope {
    Scope::Link(name.into())
}

fn net(amount: u64) -> JobTerms {
    let mut terms = terms();
    terms.demand.add("net", amount);
    terms
}

fn used(rig: &Rig, place: &Scope) -> u64 {
    let all = rig.engine.resources(place);
    all.into_iter().find(|(at, name, _)| at == place && name.as_str() == "net").unwrap().2.used
}

#[test]
fn an_identical_reload_of_the_tree_is_no_error_while_jobs_run() {
    let mut rig = Rig::with_slots(1);
    rig.engine.set_parent(rig.now(), &link("rack"), &Scope::Fleet).unwrap();
    rig.engine.set_parent(rig.now(), &host("a"), &link("rack")).unwrap();
    rig.submit(spec("x").host("a"), terms());
    rig.step();
    rig.engine.set_parent(rig.now(), &link("rack"), &Scope::Fleet).unwrap();
    rig.engine.set_parent(rig.now(), &host("a"), &link("rack")).unwrap();
    let moved = rig.engine.set_parent(rig.now(), &link("rack"), &link("room"));
    assert!(matches!(moved, Err(PlaceError::InUse { jobs: 1, .. })), "{moved:?}");
    rig.finish(rig.running()[0], Ok(()));
    rig.engine.set_parent(rig.now(), &link("rack"), &link("room")).unwrap();
}

#[test]
fn a_host_that_takes_part_stays_where_it_is_until_the_job_has_ended() {
    let mut rig = Rig::with_slots(9);
    let now = rig.now();
    rig.engine.set_parent(now, &host("b"), &link("near")).unwrap();
    rig.engine.set_parent(now, &host("c"), &link("near")).unwrap();
    rig.engine.hold(now, Scope::Fleet, Order::new("ana", "test"));
    rig.submit(spec("x").host("a").together_with("b").together_with("c"), terms());
    for place in [host("b"), link("near"), host("a")] {
        let moved = rig.engine.set_parent(now, &place, &link("far"));
        assert_eq!(moved, Err(PlaceError::InUse { place, jobs: 1 }), "one job, however many of its hosts");
    }
    rig.engine.release(now, &Scope::Fleet);
    rig.step();
    assert!(rig.engine.set_parent(now, &host("b"), &link("far")).is_err());
    rig.finish(rig.running()[0], Ok(()));
    for place in [host("b"), link("near"), host("a")] {
        rig.engine.set_parent(now, &place, &link("far")).unwrap();
    }
}

/// What takes part beside the job's own way depends on that way, and so on the member taken.
#[test]
fn the_link_of_a_host_that_takes_part_counts_whichever_member_is_taken() {
    let mut rig = Rig::with_slots(9);
    let now = rig.now();
    for (name, above) in [("r", "l1"), ("t", "l1"), ("p", "l2")] {
        rig.engine.set_parent(now, &host(name), &link(above)).unwrap();
        rig.engine.set_resource(now, &link(above), "net".into(), 10).unwrap();
    }
    let cluster = || spec("c").member("replica", "r").member("primary", "p").together_with("t");
    rig.submit(cluster(), net(4));
    rig.step();
    assert_eq!([used(&rig, &link("l1")), used(&rig, &link("l2"))], [4, 0], "r and t share l1");
    rig.finish(rig.running()[0], Ok(()));
    rig.engine.set_down(now, host("r"), Some(Reason::new("down")));
    rig.clock.advance(secs(1));
    rig.submit(cluster(), net(4));
    rig.step();
    assert_eq!([used(&rig, &link("l1")), used(&rig, &link("l2"))], [4, 4], "t still hangs under l1");
    rig.finish(rig.running()[0], Ok(()));
    assert_eq!([used(&rig, &link("l1")), used(&rig, &link("l2"))], [0, 0]);
}
