//! Which recurring backups a configuration asks for, and when.

use std::time::Duration;

use jiff::Timestamp;
use sched_core::BackupKind;
use sched_policy::{Policies, Recurring};

fn policies(text: &str) -> Policies {
    Policies::builtin().with_toml("policy.toml", text).unwrap()
}

fn recurring(text: &str) -> Vec<Recurring> {
    policies(text).recurring()
}

/// Of whom, of which kind, how often.
fn names(text: &str) -> Vec<String> {
    let name = |it: Recurring| format!("{} {} {}", it.instance, it.kind, it.recurrence.every);
    recurring(text).into_iter().map(name).collect()
}

const FLEET: &str = "
[clusters.orders]
technology = 'postgresql'
[instances.orders-1]
cluster = 'orders'
role = 'primary'
[instances.orders-2]
cluster = 'orders'
role = 'async_standby'
[clusters.sessions]
technology = 'cassandra'
[instances.sessions-1]
cluster = 'sessions'
[instances.sessions-2]
cluster = 'sessions'
[instances.cache]
technology = 'redis'
";

#[test]
fn nobody_is_backed_up_unasked() {
    assert_eq!(names(FLEET), Vec::<String>::new());
}

#[test]
fn one_line_at_any_level_is_enough() {
    let one = |line: &str| names(&format!("{FLEET}\n{line}"));
    let all = ["cache full rpo", "orders full rpo", "sessions-1 full rpo", "sessions-2 full rpo"];
    assert_eq!(
        one("[technologies.generic]\nschedule = 'rpo'"),
        all,
        "a cluster is one backup, or one of each member"
    );
    assert_eq!(
        one("[technologies.cassandra]\nschedule = '6h'"),
        ["sessions-1 full 6h", "sessions-2 full 6h"]
    );
    let labelled = FLEET.replace("technology = 'postgresql'", "technology = 'postgresql'\nlabels = ['gold']");
    assert_eq!(names(&format!("{labelled}\n[labels.gold]\nschedule = 'rpo'")), ["orders full rpo"]);
    let cluster = FLEET.replace("[clusters.orders]", "[clusters.orders]\nschedule = 'rpo'");
    assert_eq!(names(&cluster), ["orders full rpo"]);
    let instance = FLEET.replace("[instances.cache]", "[instances.cache]\nschedule = '0 2 * * *'");
    assert_eq!(names(&instance), ["cache full 0 2 * * *"]);
    let member = FLEET.replace("[instances.orders-2]", "[instances.orders-2]\nschedule = '1day'");
    assert_eq!(names(&member), ["orders-2 full 1day"], "who asks for himself");
}

#[test]
fn a_stronger_level_takes_a_schedule_away_and_kinds_have_their_own() {
    let but = FLEET.replace("[instances.sessions-2]", "[instances.sessions-2]\nschedule = 'none'");
    let but = format!(
        "{but}\n[technologies.cassandra]\nschedule = 'rpo'\n[clusters.orders.log]\nschedule = '5min'"
    );
    assert_eq!(names(&but), ["orders log 5m", "sessions-1 full rpo"]);
}

#[test]
fn a_cluster_without_a_member_to_take_has_none() {
    let nobody = "[clusters.c]\ntechnology = 'clickhouse'\nschedule = 'rpo'\n\
                  [instances.c-1]\ncluster = 'c'\nrole = 'shard'\n";
    assert_eq!(names(nobody), Vec::<String>::new());
}

#[test]
fn where_it_goes_and_how_much_it_moves_are_told() {
    let text = "[clusters.orders]\ntechnology = 'postgresql'\nschedule = 'rpo'\nrpo = '6h'\ndestination = 's3'\n\
                log.schedule = '5min'\n\
                [instances.orders-1]\ncluster = 'orders'\nrole = 'primary'\nsize = '1 TiB'\n\
                [instances.orders-2]\ncluster = 'orders'\nrole = 'async_standby'\nsize = '4 GiB'\n";
    let all = recurring(text);
    let of = |it: &Recurring| (it.kind, it.destination.as_ref().map(ToString::to_string), it.bytes, it.rpo);
    let hours = |n: u64| Duration::from_secs(n * 3600);
    assert_eq!(of(&all[0]), (BackupKind::Full, Some("s3".into()), 4 << 30, hours(6)), "the standby's");
    // A minute at 50 MB/s.
    let quarter = Duration::from_secs(900);
    assert_eq!(of(&all[1]), (BackupKind::Log, Some("s3".into()), 3_000_000_000, quarter), "a log's own");
}

/// Each key of a schedule changes when backups are due, or what becomes of them.
#[test]
fn each_key_counts() {
    let with = |line: &str| {
        let text = format!("[instances.a]\ntechnology = 'redis'\nschedule = '0 2 * * *'\n{line}\n");
        (*recurring(&text)[0].recurrence).clone()
    };
    let noon: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
    let next = |line: &str| with(line).next_after("a", noon).unwrap().to_string();
    assert_eq!(next(""), "2026-11-26T02:00:00Z");
    assert_eq!(next("schedule_zone = 'Europe/Berlin'"), "2026-11-26T01:00:00Z");
    let spread: Timestamp = next("jitter = '3h'").parse().unwrap();
    let [two, five] = ["2026-11-26T02:00:00Z", "2026-11-26T05:00:00Z"].map(|at| at.parse().unwrap());
    assert!(two < spread && spread < five, "{spread}");
    assert_ne!(with("overlap = 'skip'"), with(""));
    assert_ne!(with("misfire = 'skip'"), with("misfire = '6h'"));
}
