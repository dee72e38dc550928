//! How many may run at once, and what they hold.

use backup_sched::{BackupKind, Gate, JobSpec};

use crate::rig::{Stands, fleet, waits};

/// How a second backup stands beside a first, for what the file says of the technology in each of two ways.
fn beside(files: [&str; 2], first: JobSpec, second: JobSpec) -> [Stands; 2] {
    files.map(|file| {
        let fleet = fleet(file);
        fleet.submit(first.clone());
        fleet.begun();
        let job = fleet.submit(second.clone());
        fleet.stands(&job)
    })
}

fn two_of_a_cluster(key: &str) -> String {
    format!(
        "[clusters.c]\ntechnology = 'generic'\n{key}\n\
         [instances.a]\ncluster = 'c'\n[instances.b]\ncluster = 'c'\n"
    )
}

pub(crate) fn max_per_cluster() {
    let files = ["max_per_cluster = 2", "max_per_cluster = 1"].map(two_of_a_cluster);
    let stands = beside([&files[0], &files[1]], JobSpec::new("a", "generic"), JobSpec::new("b", "generic"));
    assert_eq!(stands, [Stands::Runs, waits(Gate::Limit)]);
}

/// An instance alone is a cluster of one: two kinds of its backups are two runs.
#[test]
fn max_per_cluster_of_an_instance_alone() {
    let files =
        ["max_per_cluster = 2", "max_per_cluster = 1"].map(|key| format!("[technologies.generic]\n{key}\n"));
    let stands = beside(
        [&files[0], &files[1]],
        JobSpec::new("a", "generic"),
        JobSpec::new("a", "generic").kind(BackupKind::Incremental),
    );
    assert_eq!(stands, [Stands::Runs, waits(Gate::Overlap)]);
}

/// What one at a time means for an instance alone needs no group.
#[test]
fn an_instance_alone_has_no_group() {
    let fleet = fleet("[technologies.generic]\nnever_together = ['ddl']\n");
    fleet.ask("a");
    assert!(fleet.begun().spec.groups.is_empty());
}

pub(crate) fn max_per_host() {
    let files = ["", "[technologies.generic]\nmax_per_host = 1\n"];
    let stands =
        beside(files, JobSpec::new("a", "generic").host("h"), JobSpec::new("b", "generic").host("h"));
    assert_eq!(stands, [Stands::Runs, waits(Gate::Resource("1 of generic".into()))]);
}

pub(crate) fn max_per_destination() {
    let files = ["", "[technologies.generic]\nmax_per_destination = 1\n"];
    let stands = beside(
        files,
        JobSpec::new("a", "generic").destination("s3"),
        JobSpec::new("b", "generic").destination("s3"),
    );
    assert_eq!(stands, [Stands::Runs, waits(Gate::Limit)]);
}

pub(crate) fn never_together() {
    let files = ["", "never_together = ['ddl']"]
        .map(|key| two_of_a_cluster(&format!("max_per_cluster = 'none'\n{key}")));
    let stands = beside([&files[0], &files[1]], JobSpec::new("a", "generic"), JobSpec::new("b", "generic"));
    assert_eq!(stands, [Stands::Runs, waits(Gate::Limit)]);
}

pub(crate) fn demand() {
    let file = |demand| {
        format!(
            "[fleet]\nresources = {{ tape = 1 }}\n[technologies.generic]\ndemand = {{ tape = {demand} }}\n"
        )
    };
    let files = [file(0), file(1)];
    let stands = beside([&files[0], &files[1]], JobSpec::new("a", "generic"), JobSpec::new("b", "generic"));
    assert_eq!(stands, [Stands::Runs, waits(Gate::Resource("tape".into()))]);
}
