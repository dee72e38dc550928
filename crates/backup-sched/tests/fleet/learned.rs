//! What a scheduler has learned of the load of its shares is there for whoever takes them over.

use std::time::Duration;

use backup_sched::{Clock, Scope};
use sched_store::shared::share_of_name;
use sched_testbed::wait_until;

use crate::inside::Fleet;
use crate::rig::SOON;

const HOUR: Duration = Duration::from_secs(3600);
/// Clusters of one host each.
const CLUSTERS: u32 = 24;
/// Shares of the fleet.
const SHARES: u32 = 16;

#[test]
#[ignore = "needs postgresql"]
fn the_week_of_a_clusters_host_goes_to_the_next_owner_of_the_cluster() {
    let instance = |n| {
        format!(
            "[clusters.cluster-{n}]\ntechnology = 'generic'\n\
             [instances.db-{n}]\ncluster = 'cluster-{n}'\nhost = 'host-{n}'\n"
        )
    };
    let file: String = (0..CLUSTERS).map(instance).collect();
    let mut fleet = Fleet::new(&file, &["a", "b"]);
    let owner = {
        let status = fleet.outside.status().unwrap();
        move |name: &str| {
            let share = share_of_name(name, SHARES);
            let owner = status.members.iter().find(|member| member.shares.contains(&share));
            owner.map(|member| member.name.clone()).unwrap_or_default()
        }
    };
    let apart = |n: &u32| owner(&format!("cluster-{n}")) == "a" && owner(&format!("host-{n}")) == "b";
    let n = (0..CLUSTERS).find(apart).expect("of so many clusters one is apart from its host's name");
    let host = Scope::Host(format!("host-{n}").into());
    // Four days of quiet nights, told to the owner of the cluster alone.
    let now = fleet.clock.now().wall;
    let samples = (1..4 * 24 * 6).rev().map(|tens| {
        let at = now - HOUR / 6 * tens;
        (at, if at.as_second() % 86_400 < 21_600 { 5.0 } else { 80.0 })
    });
    fleet.members["a"].learn(host.clone(), samples.collect::<Vec<_>>()).unwrap();
    let learned = fleet.members["a"].learned_week(host.clone()).unwrap().expect("it has learned");
    assert!(learned.days() > 2);
    // It goes to the store within the hour.
    fleet.clock.advance(HOUR + Duration::from_secs(1));
    let kept = format!("select share from backup_sched.facts where key like '{{\"week\"%\"host-{n}\"%'");
    let share = wait_until("it is written down", SOON, || {
        fleet.clock.advance(Duration::from_secs(1));
        Some(fleet.server.sql(&kept).unwrap()).filter(|share| !share.is_empty())
    })
    .unwrap();
    assert_eq!(share, share_of_name(&format!("cluster-{n}"), SHARES).to_string());
    assert!(fleet.members["b"].learned_week(host.clone()).unwrap().is_none());
    fleet.leave("a");
    let taken = wait_until("the next owner knows it", SOON, || {
        fleet.members["b"].learned_week(host.clone()).unwrap()
    });
    assert_eq!(taken.unwrap().days(), learned.days());
}
