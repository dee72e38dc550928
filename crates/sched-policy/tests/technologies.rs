//! The built-in technologies, and how what is said at several levels becomes what counts.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use sched_core::{BackupKind, JobSpec, Priority, RetryPolicy, RunPhase, TechnologyName, WindowEnd};
use sched_policy::{
    Amount, ByteRate, Cluster, Config, Effective, Host, Instance, LoadLimit, Phase, Policies, PolicyError,
    Profile, Technology, Tolerance, WindowRules,
};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn counts(policies: &Policies, technology: &str, kind: BackupKind) -> Effective {
    Effective::clone(policies.technology(&technology.into(), kind).unwrap())
}

#[test]
fn an_unknown_technology_gets_a_suggestion() {
    let policies = Policies::builtin();
    let error = |name: &str| policies.resolve(&JobSpec::new("a", name)).unwrap_err().to_string();
    assert_eq!(
        error("postgress"),
        "technology: \"postgress\" is not known, did you mean \"postgresql\"?; known are cassandra, clickhouse, \
         etcd, generic, mariadb, mongodb, mysql, postgresql, redis, scylladb, sqlite; add your own with \
         `Policies::with`, or as a table such as `[technologies.ledger]` in a policy file"
    );
    assert!(!error("zzz").contains("did you mean"));
}

#[test]
fn names_are_understood_in_any_case_and_by_their_other_names() {
    let policies = Policies::builtin();
    let name = |name: &str| policies.canonical_name(&name.into()).unwrap();
    assert_eq!(name("PostgreSQL").as_str(), "postgresql");
    assert_eq!(name("postgres").as_str(), "postgresql");
    assert_eq!(name("Valkey").as_str(), "redis");
    let other = |technology: &str| {
        let policies = Policies::builtin().with(technology, Profile::new().rpo(secs(7))).unwrap();
        counts(&policies, "postgresql", BackupKind::Full).rpo
    };
    assert_eq!((other("Postgres"), other("PG"), other("mine")), (secs(7), secs(7), secs(24 * 3600)));
    assert!(matches!(Policies::builtin().with("", Profile::new()), Err(PolicyError::Name { .. })));
}

#[test]
fn logs_go_first_and_soon() {
    let policies = Policies::builtin();
    for technology in policies.technologies() {
        let spec = JobSpec::new("a", technology).kind(BackupKind::Log);
        let terms = policies.resolve(&spec).unwrap();
        assert_eq!(terms.priority, Priority::Critical, "{technology}");
        assert!(terms.rpo <= secs(15 * 60), "{technology}");
    }
}

#[test]
fn a_technology_adds_to_what_is_known_of_it_and_a_new_one_is_like_another() {
    let policies = Policies::builtin().with("etcd", Profile::new().rpo(secs(7))).unwrap();
    let etcd = counts(&policies, "etcd", BackupKind::Full);
    assert_eq!((etcd.rpo, etcd.priority, etcd.timeout), (secs(7), Priority::Normal, Some(secs(900))));

    let mut ledger = Technology::default();
    ledger.like = Some("pg".into());
    let config = Config::new().technology("Ledger", ledger, Profile::new().priority(Priority::Low));
    let policies = Policies::builtin().with_config(config).unwrap();
    let full = counts(&policies, "ledger", BackupKind::Full);
    assert_eq!((full.priority, full.floor.0), (Priority::Low, 1_000_000));
    assert_eq!(full.roles, ["async_standby", "primary"]);
    // What is said of a kind is not changed by what is said of all.
    assert_eq!(counts(&policies, "ledger", BackupKind::Log).priority, Priority::Critical);
}

#[test]
fn each_level_goes_before_the_weaker_ones() {
    let say = |n| Profile::new().rpo(secs(n));
    let config = |levels: usize| {
        let [technology, label, own_label, cluster, instance] =
            std::array::from_fn(|at| if at < levels { say(at as u64 + 1) } else { Profile::new() });
        let config = Config::new()
            .technology("postgresql", Technology::default(), technology)
            .label("gold", label)
            .label("big", own_label)
            .cluster("orders", Cluster::new("postgresql").label("gold"), cluster)
            .instance("orders-1", Instance::of_cluster("orders", "replica").label("big"), instance);
        let policies = Policies::builtin().with_config(config).unwrap();
        policies.resolve(&JobSpec::new("orders-1", "postgresql")).unwrap().rpo
    };
    assert_eq!(config(0), secs(24 * 3600));
    for levels in 1..=5 {
        assert_eq!(config(levels), secs(levels as u64), "{levels} levels");
    }
}

#[test]
fn what_is_said_of_a_kind_goes_before_what_is_said_of_all_at_whatever_level() {
    let weak = Profile::new().kind(BackupKind::Log, Profile::new().rpo(secs(1)));
    let config = Config::new().technology("generic", Technology::default(), weak).instance(
        "a",
        Instance::new("generic"),
        Profile::new().rpo(secs(2)),
    );
    let policies = Policies::builtin().with_config(config).unwrap();
    let rpo = |kind| policies.resolve(&JobSpec::new("a", "generic").kind(kind)).unwrap().rpo;
    assert_eq!((rpo(BackupKind::Full), rpo(BackupKind::Log)), (secs(2), secs(1)));
}

#[test]
fn a_job_of_a_cluster_that_no_instance_is_named_for_has_the_clusters_policy() {
    let config = Config::new().cluster("orders", Cluster::new("mysql"), Profile::new().rpo(secs(9)));
    let policies = Policies::builtin().with_config(config).unwrap();
    let rpo = |spec: JobSpec| policies.resolve(&spec).unwrap().rpo;
    assert_eq!(rpo(JobSpec::new("orders", "mysql")), secs(9));
    assert_eq!(rpo(JobSpec::new("other", "mysql").group("orders")), secs(9));
    assert_eq!(rpo(JobSpec::new("other", "etcd").group("orders")), secs(12 * 3600));
    assert_eq!(rpo(JobSpec::new("other", "mysql")), secs(24 * 3600));
    let error = policies.resolve(&JobSpec::new("orders", "etcd")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "technology: the configuration says that orders is mysql, the request says etcd"
    );
}

/// Changes one value of a profile.
type Change = fn(Profile) -> Profile;

#[test]
fn every_value_that_terms_have_changes_them() {
    let terms = |profile: Profile, spec: &JobSpec| {
        let nights = WindowRules::default().window("22:00-06:00".parse().unwrap()).build().unwrap();
        let policies = Policies::builtin().with_calendar("nights", Arc::new(nights));
        policies.with("t", profile).unwrap().resolve(spec).unwrap()
    };
    let spec = JobSpec::new("a", "t");
    let sized = JobSpec::new("a", "t").size_bytes(100_000_000_000);
    let changes: [Change; 17] = [
        |p| p.priority(Priority::High),
        |p| p.rpo(secs(7)),
        |p| p.expected_bytes_per_sec(1_000),
        |p| p.expected_duration(secs(7)),
        |p| p.pausable(true),
        |p| p.cancellable(true),
        |p| p.floor_bytes_per_sec(7),
        |p| p.window("nights", WindowEnd::Pause),
        |p| p.open_window_when_late(true),
        |p| p.phases([Phase::new("copy", Tolerance::Pausable, ByteRate(1))]),
        |p| p.timeout(secs(7)),
        |p| p.retry(RetryPolicy::new(1, secs(1), secs(1))),
        |p| p.load("lag", Some(LoadLimit::new(2.0, 1.0))),
        |p| p.latency_factor(1.2),
        |p| p.latency_factor(1.0),
        |p| p.demand("tape", 1),
        |p| p.demand_by_size("tape", Amount { base: 0, per_gib: 1 }),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let changed = |spec| terms(change(Profile::new()), spec) != terms(Profile::new(), spec);
        assert!(changed(&spec) || changed(&sized), "change {n} changed nothing");
    }
}

#[test]
fn the_request_wins_over_the_policy_and_adds_to_its_demand() {
    let profile = Profile::new().priority(Priority::Low).demand("tape", 1);
    let policies = Policies::builtin().with("t", profile).unwrap();
    let spec = JobSpec::new("a", "t")
        .priority(Priority::Critical)
        .rpo(secs(5))
        .expected_duration(secs(6))
        .demand("tape", 2);
    let terms = policies.resolve(&spec).unwrap();
    assert_eq!(terms.priority, Priority::Critical);
    assert_eq!((terms.rpo, terms.expected_duration), (secs(5), secs(6)));
    assert_eq!(terms.demand.iter().map(|(_, amount)| amount).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn durations_and_demands_follow_from_the_size_where_it_is_known() {
    let memory = Amount { base: 10, per_gib: 3 };
    let profile = Profile::new().expected_bytes_per_sec(1_000_000).demand_by_size("memory", memory);
    let policies = Policies::builtin().with("t", profile).unwrap();
    let of = |spec: JobSpec| {
        let terms = policies.resolve(&spec).unwrap();
        let demand =
            terms.demand.iter().find(|(name, _)| name.as_str() == "memory").map(|(_, amount)| amount);
        (terms.expected_duration, demand.unwrap())
    };
    let spec = JobSpec::new("a", "t");
    assert_eq!(of(spec.clone().size_bytes(3_600_000_000)), (secs(3600), 22));
    assert_eq!(of(spec.clone().size_bytes(1)), (secs(10), 13));
    assert_eq!(of(spec), (secs(3600), 10));
}

/// The engine refuses what no place has: a built-in demand waits until somebody says how much there is.
#[test]
fn a_built_in_demand_counts_where_the_resource_is_known() {
    let spec = JobSpec::new("cache", "redis").size_bytes(8 << 30);
    let memory = |policies: &Policies| {
        let terms = policies.resolve(&spec).unwrap();
        terms.demand.iter().find(|(name, _)| name.as_str() == "memory").map(|(_, amount)| amount)
    };
    assert_eq!(memory(&Policies::builtin()), None);
    let config = Config::new().host("db-1", Host::default().resource("memory", 64 << 30));
    assert_eq!(memory(&Policies::builtin().with_config(config).unwrap()), Some(8 << 30));
    let own = Profile::new().demand("memory", 5);
    assert_eq!(memory(&Policies::builtin().with("redis", own).unwrap()), Some(5));
}

#[test]
fn whoever_has_the_same_levels_shares_what_counts() {
    let gold = || Profile::new().rpo(secs(3600));
    let mut config = Config::new().label("gold", gold());
    for n in 0..100 {
        config = config.instance(format!("a-{n}"), Instance::new("mysql"), Profile::new());
        config = config.instance(format!("b-{n}"), Instance::new("mysql").label("gold"), Profile::new());
        // Whose own levels say the same have the same too.
        config = config.instance(format!("c-{n}"), Instance::new("mysql"), Profile::new().rpo(secs(7)));
    }
    let base = Policies::builtin().distinct();
    let policies = Policies::builtin().with_config(config).unwrap();
    assert_eq!(policies.distinct(), base + 2);
    let of = |name: &str| policies.effective(&JobSpec::new(name, "mysql")).unwrap();
    assert!(Arc::ptr_eq(of("b-1"), of("b-99")));
    assert!(Arc::ptr_eq(of("c-1"), of("c-99")));
    assert!(Arc::ptr_eq(of("a-1"), policies.technology(&"mysql".into(), BackupKind::Full).unwrap()));
}

#[test]
fn a_profile_round_trips_and_refuses_unknown_keys() {
    let profile = Profile::new().rpo(secs(90)).timeout(secs(5)).demand("tape", 1 << 40).latency_factor(1.25);
    let profile = profile.kind(BackupKind::Log, Profile::new().priority(Priority::High));
    let json = serde_json::to_string(&profile).unwrap();
    assert_eq!(
        json,
        r#"{"rpo":"1m 30s","demand":{"tape":"1 TiB"},"latency_factor":1.25,"timeout":"5s","log":{"priority":"high"}}"#
    );
    assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
    let error = serde_json::from_str::<Profile>(r#"{"priorty":"low"}"#).unwrap_err().to_string();
    assert!(error.contains("there is no key `priorty` here; did you mean `priority`?"), "{error}");
}

#[test]
fn phases_are_announced_as_the_policy_has_them() {
    let phase =
        |technology: &str, name: &str| counts(&Policies::builtin(), technology, BackupKind::Full).phase(name);
    assert_eq!(phase("mysql", "copy"), Some(RunPhase::new("copy").floor(4_000_000)));
    assert_eq!(phase("mysql", "lock"), Some(RunPhase::new("lock").floor(u64::MAX)));
    assert_eq!(phase("cassandra", "upload"), Some(RunPhase::new("upload").pausable()));
    assert_eq!(phase("cassandra", "lock"), None);
}

/// The table that the documentation shows is made from the data.
#[test]
fn the_documented_defaults_are_the_real_ones() {
    let policies = Policies::builtin();
    let duration = |d: Duration| humantime::format_duration(d).to_string();
    let mut table = String::from(
        "\n# Built-in defaults\n\n\
         | technology | kind | class | RPO | expected | floor | may pause | in a cluster, on a host | roles |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let row = |table: &mut String, name: &TechnologyName, kind: &str, p: &Effective| {
        let limit = |n: Option<u32>| n.map_or("–".into(), |n| n.to_string());
        let roles = if p.every_member { "every member".into() } else { p.roles.join(", ") };
        writeln!(
            table,
            "| {name} | {kind} | {} | {} | {} | {} | {} | {}, {} | {} |",
            p.priority,
            duration(p.rpo),
            duration(p.expected_duration),
            p.floor,
            if p.pausable { "yes" } else { "no" },
            limit(p.max_per_cluster),
            limit(p.max_per_host),
            if roles.is_empty() { "any" } else { &roles },
        )
        .unwrap();
    };
    for name in policies.technologies() {
        let full = counts(&policies, name.as_str(), BackupKind::Full);
        row(&mut table, name, "any other", &full);
        for kind in BackupKind::ALL {
            let own = counts(&policies, name.as_str(), kind);
            if own != full {
                row(&mut table, name, &kind.to_string(), &own);
            }
        }
    }
    assert_eq!(include_str!("../defaults.md"), table, "write this into defaults.md:\n{table}");
}
