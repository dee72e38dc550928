//! Where an instance is, where its backups go, whose they are, and which member of a cluster is taken.

use backup_sched::Order;
use backup_sched::{Gate, JobSpec, Scope, SubmitError};

use crate::rig::{Stands, fleet, fleet_with, waits};

const CLUSTER: &str = "[clusters.c]\ntechnology = 'generic'\n\
    [instances.c-1]\ncluster = 'c'\nrole = 'primary'\nhost = 'h-1'\n\
    [instances.c-2]\ncluster = 'c'\nrole = 'replica'\nhost = 'h-2'\n";

/// Whether a hold of `scope` keeps a backup of `a`, without and with what the file says of the instance.
fn held(scope: Scope, key: &str) -> [Stands; 2] {
    ["", key].map(|key| {
        let fleet = fleet(&format!("[instances.a]\ntechnology = 'generic'\n{key}\n"));
        fleet.scheduler.set_limit(scope.clone(), Some(9)).unwrap();
        fleet.scheduler.hold(scope.clone(), Order::new("ana", "test")).unwrap();
        let job = fleet.ask("a");
        fleet.stands(&job)
    })
}

#[test]
fn host() {
    assert_eq!(held(Scope::Host("h".into()), "host = 'h'"), [Stands::Runs, waits(Gate::Hold)]);
}

#[test]
fn volume() {
    let scope = Scope::Volume("a".into(), "/data".into());
    assert_eq!(held(scope, "volume = '/data'"), [Stands::Runs, waits(Gate::Hold)]);
}

#[test]
fn destination() {
    let scope = Scope::Destination("s3".into());
    assert_eq!(held(scope, "destination = 's3'"), [Stands::Runs, waits(Gate::Hold)]);
}

/// Tenants take turns: the second's goes before the third of the first's, though it was asked for last.
#[test]
fn tenant() {
    let order = ["", "tenant = 'shop'"].map(|key| {
        let file = format!("[instances.d]\ntechnology = 'generic'\n{key}\n");
        let fleet = fleet_with(&file, |builder| builder.max_running(1));
        let first = fleet.start("a");
        for name in ["b", "c", "d"] {
            fleet.ask(name);
        }
        first.end();
        fleet.begun().end();
        fleet.begun().instance
    });
    assert_eq!(order, ["c", "d"]);
}

/// The smaller goes first where nothing else tells two apart, and the expected time follows the size.
#[test]
fn size() {
    let durations = ["", "size = '180 GB'", "size = '360 GB'"].map(|key| {
        let fleet = fleet(&format!("[instances.a]\ntechnology = 'generic'\n{key}\n"));
        fleet.ask("a");
        fleet.begun().terms.expected_duration.as_secs()
    });
    assert_eq!(durations, [3_600, 3_600, 7_200]);
}

#[test]
fn capacities_of_hosts_and_the_fleet() {
    let second =
        ["", "[hosts.h]\nresources = { slots = 1 }\n", "[fleet]\nresources = { slots = 1 }\n"].map(|file| {
            let fleet = fleet(file);
            fleet.submit(JobSpec::new("a", "generic").host("h"));
            fleet.begun();
            let job = fleet.submit(JobSpec::new("b", "generic").host("h"));
            fleet.stands(&job)
        });
    let slots = || waits(Gate::Resource("slots".into()));
    assert_eq!(second, [Stands::Runs, slots(), slots()]);
}

#[test]
fn the_scheduler_keeps_its_own_resource() {
    use backup_sched::{Policies, Scheduler};
    let file = "[fleet]\nresources = { room = 1 }\n";
    let policies = Policies::builtin().with_toml("policy.toml", file).unwrap();
    let error = Scheduler::builder().policies(policies).start().unwrap_err();
    assert!(error.to_string().contains("\"room\""), "{error}");
}

pub(crate) fn roles() {
    let taken = ["roles = ['primary', 'replica']", "roles = ['replica', 'primary']", "roles = ['primary']"]
        .map(|key| {
            let fleet = fleet(&CLUSTER.replacen("'generic'\n", &format!("'generic'\n{key}\n"), 1));
            fleet.submit(JobSpec::new("c", "generic"));
            fleet.begun().instance
        });
    assert_eq!(taken, ["c-1", "c-2", "c-1"]);
}

pub(crate) fn every_member() {
    let file =
        CLUSTER.replacen("'generic'\n", "'generic'\nevery_member = true\nmax_per_cluster = 'none'\n", 1);
    let fleet_of_all = fleet(&file);
    let refused = fleet_of_all.scheduler.submit(JobSpec::new("c", "generic")).unwrap_err();
    assert_eq!(refused, SubmitError::SeveralJobs { instance: "c".into(), jobs: 2 });
    let all = fleet_of_all.scheduler.submit_members(JobSpec::new("c", "generic")).unwrap();
    assert_eq!(all.len(), 2);
    let mut taken = [fleet_of_all.begun().instance, fleet_of_all.begun().instance];
    taken.sort();
    assert_eq!(taken, ["c-1", "c-2"]);
    let fleet_of_one = fleet(CLUSTER);
    assert_eq!(fleet_of_one.scheduler.submit_members(JobSpec::new("c", "generic")).unwrap().len(), 1);
}

/// Of a cluster either all members are asked for or none.
#[test]
fn all_members_are_accepted_or_none() {
    let all = "'generic'\nevery_member = true\nmax_per_cluster = 'none'\n";
    let file = CLUSTER.replacen("'generic'\n", all, 1)
        + "demand = { tape = 1 }\n[hosts.h-2]\nresources = { tape = 1 }\n";
    let fleet = fleet(&file);
    // The first has no tape to ask for at its host.
    let spec = || JobSpec::new("c", "generic");
    let refused = fleet.scheduler.submit_members(spec().demand("tape", 1)).unwrap_err();
    assert!(matches!(refused, SubmitError::Refused(_)), "{refused:?}");
    assert_eq!(fleet.scheduler.status().unwrap().engine.waiting, 0);
    fleet.scheduler.submit_members(spec()).unwrap();
    fleet.begun();
    fleet.begun();
}

/// The replica is down for a moment: the primary is taken when patience is over.
pub(crate) fn patience() {
    let taken = ["0s", "1h"].map(|patience| {
        let key = format!("'generic'\nroles = ['replica', 'primary']\npatience = '{patience}'\n");
        let fleet = fleet(&CLUSTER.replacen("'generic'\n", &key, 1));
        fleet.scheduler.hold(Scope::Instance("c-2".into()), Order::new("ana", "test")).unwrap();
        let job = fleet.submit(JobSpec::new("c", "generic"));
        match fleet.stands(&job) {
            Stands::Runs => fleet.begun().instance,
            Stands::Waits(gates) => format!("{gates:?}"),
        }
    });
    assert_eq!(taken, ["c-1", "[Hold]"]);
}
