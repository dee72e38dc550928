//! What the configuration adds to a request.

use std::time::Duration;

use sched_core::{BackupKind, JobSpec, TenantName};
use sched_policy::{Policies, PolicyError, Profile, Request};

const FLEET: &str = r#"
[clusters.orders]
technology = "mysql"
destination = "s3"
tenant = "shop"
max_per_destination = 4

[instances.orders-a]
cluster = "orders"
role = "primary"
host = "db-1"
size = "7 GiB"
volume = "/data"
[instances.orders-b]
cluster = "orders"
role = "replica"
ceiling = "30 MB/s"
destination = "tape"
[instances.orders-c]
cluster = "orders"
role = "replica"
[instances.orders-d]
cluster = "orders"
role = "arbiter"

[clusters.sessions]
technology = "cassandra"
[instances.sessions-1]
cluster = "sessions"
[instances.sessions-2]
cluster = "sessions"

[clusters.empty]
technology = "etcd"

[instances.alone]
technology = "sqlite"
"#;

fn fleet() -> Policies {
    Policies::builtin().with_toml("fleet.toml", FLEET).unwrap()
}

fn one(policies: &Policies, spec: JobSpec) -> Request {
    let mut requests = policies.requests(spec).unwrap();
    assert_eq!(requests.len(), 1);
    requests.remove(0)
}

fn limits(request: &Request) -> Vec<(&str, u32)> {
    request.limits.iter().map(|(group, most)| (group.as_str(), *most)).collect()
}

#[test]
fn an_instance_is_where_the_configuration_says() {
    let fleet = fleet();
    let Request { spec, terms, .. } = one(&fleet, JobSpec::new("orders-a", "MySQL"));
    assert_eq!((spec.host.as_str(), spec.technology.as_str()), ("db-1", "mysql"));
    assert_eq!(spec.volume.unwrap().as_str(), "/data");
    assert_eq!(spec.destination.unwrap().as_str(), "s3");
    assert_eq!((spec.tenant.as_str(), spec.size_bytes), ("shop", Some(7 << 30)));
    assert_eq!(terms.expected_duration, Duration::from_secs((7 << 30) / 50_000_000));
    let spec = one(&fleet, JobSpec::new("orders-b", "mysql")).spec;
    // Its host has its own name.
    assert_eq!((spec.host.as_str(), spec.destination.unwrap().as_str()), ("orders-b", "tape"));
    assert_eq!(spec.max_bytes_per_sec, Some(30_000_000));
    // Only a full backup is as large as that.
    assert_eq!(one(&fleet, JobSpec::new("orders-a", "mysql").kind(BackupKind::Log)).spec.size_bytes, None);
}

#[test]
fn what_the_request_says_counts() {
    let asked = JobSpec::new("orders-b", "mysql")
        .host("elsewhere")
        .volume("/v")
        .destination("d")
        .tenant("t")
        .size_bytes(5)
        .max_bytes_per_sec(10);
    let spec = one(&fleet(), asked.clone()).spec;
    assert_eq!(
        (&spec.host, &spec.volume, &spec.destination),
        (&asked.host, &asked.volume, &asked.destination)
    );
    assert_eq!(
        (spec.tenant, spec.size_bytes, spec.max_bytes_per_sec),
        (TenantName::from("t"), Some(5), Some(10))
    );
}

#[test]
fn a_cluster_is_backed_up_from_its_best_member() {
    let Request { spec, terms, host_limits, .. } = one(&fleet(), JobSpec::new("orders", "mysql"));
    let members: Vec<_> = spec.members.iter().map(|m| (m.instance.as_str(), m.host.as_str())).collect();
    assert_eq!(members, [("orders-b", "orders-b"), ("orders-c", "orders-c"), ("orders-a", "db-1")]);
    assert_eq!(spec.patience, Duration::from_secs(600));
    // Whichever it is, its host has room for one.
    let hosts: Vec<_> =
        host_limits.iter().map(|(host, what, most)| (host.as_str(), what.as_str(), *most)).collect();
    assert_eq!(
        hosts,
        [("orders-b", "1 of mysql", 1), ("orders-c", "1 of mysql", 1), ("db-1", "1 of mysql", 1)]
    );
    assert!(terms.demand.iter().any(|(what, amount)| what.as_str() == "1 of mysql" && amount == 1));
}

#[test]
fn where_every_member_counts_there_is_a_request_for_each() {
    let requests = fleet().requests(JobSpec::new("sessions", "cassandra")).unwrap();
    let names: Vec<_> = requests.iter().map(|request| request.spec.instance.as_str()).collect();
    assert_eq!(names, ["sessions-1", "sessions-2"]);
    for request in &requests {
        // One at a time, and no member stands for another.
        assert_eq!(limits(request), [("sessions: 1 of cassandra", 1)]);
        assert!(request.spec.members.is_empty());
    }
    // All nodes are frozen together.
    let snapshots =
        fleet().requests(JobSpec::new("sessions", "cassandra").kind(BackupKind::Snapshot)).unwrap();
    assert!(snapshots.iter().all(|request| request.limits.is_empty()));
}

#[test]
fn a_cluster_without_members_says_so() {
    let error = fleet().requests(JobSpec::new("empty", "etcd")).unwrap_err();
    assert!(matches!(error, PolicyError::NoMember { .. }));
    assert!(error.to_string().ends_with("follower, leader"), "{error}");
}

#[test]
fn limits_become_groups() {
    let request = one(&fleet(), JobSpec::new("orders-a", "mysql"));
    let expected = [("orders: 1 of mysql", 1), ("orders: ddl", 1), ("to s3: 4 of mysql", 4)];
    assert_eq!(limits(&request), expected);
    for (group, _) in &request.limits {
        assert!(request.spec.groups.contains(group));
    }
    // A log segment waits for nobody.
    let log = one(&fleet(), JobSpec::new("orders-a", "mysql").kind(BackupKind::Log));
    assert_eq!(limits(&log), [("to s3: 4 of mysql", 4)]);
    assert!(log.host_limits.is_empty());
}

#[test]
fn who_is_alone_needs_no_group_for_what_is_one_at_a_time_anyway() {
    for name in ["alone", "unknown"] {
        let request = one(&fleet(), JobSpec::new(name, "sqlite"));
        assert_eq!(limits(&request), []);
        assert!(request.spec.groups.is_empty());
        // All but log segments are one at a time together.
        assert_eq!(request.terms.apart.to_string(), "incremental, differential, snapshot, upload");
        let log = one(&fleet(), JobSpec::new(name, "sqlite").kind(BackupKind::Log));
        assert!(log.terms.apart.is_empty());
    }
    // What it has together with other kinds keeps them apart, too.
    let file = "[technologies.plain]\nmax_per_cluster = 'none'\n[technologies.plain.full]\nnever_together = ['ddl']\n\
                [technologies.plain.upload]\nnever_together = ['ddl', 'x']\n";
    let policies = Policies::builtin().with_toml("f.toml", file).unwrap();
    let of = |kind| one(&policies, JobSpec::new("a", "plain").kind(kind)).terms.apart.to_string();
    assert_eq!([BackupKind::Full, BackupKind::Upload, BackupKind::Log].map(of), ["upload", "full", ""]);
    // Two of five kinds: that is a limit.
    let file = "[technologies.sqlite]\nmax_per_cluster = 2\n";
    let policies = Policies::builtin().with_toml("f.toml", file).unwrap();
    assert_eq!(limits(&one(&policies, JobSpec::new("a", "sqlite"))), [("a: 2 of sqlite", 2)]);
    let file = "[technologies.sqlite]\nmax_per_cluster = 9\n";
    let policies = Policies::builtin().with_toml("f.toml", file).unwrap();
    assert_eq!(limits(&one(&policies, JobSpec::new("a", "sqlite"))), []);
}

#[test]
fn without_a_configuration_a_request_stays_as_it_is_but_for_limits() {
    let mut profile = Profile::new();
    (profile.all.max_per_cluster, profile.all.never_together) = (Some(None), Some(Vec::new()));
    let policies = Policies::builtin().with("plain", profile).unwrap();
    let asked = JobSpec::new("a", "plain").host("h").group("g");
    let request = one(&policies, asked.clone());
    assert_eq!(request.spec, asked);
    assert_eq!(request.terms, policies.resolve(&asked).unwrap());
}
