//! What recurs is asked for once in the whole fleet, whoever owns its share by then.

use std::collections::BTreeMap;
use std::time::Duration;

use backup_sched::{Clock, ManualClock};
use jiff::Timestamp;
use sched_testbed::wait_until;

use crate::child::{GRACE, LEASE};
use crate::inside::Fleet;
use crate::rig::{Rig, SOON};
use crate::slots::{Made, Wrong, check};

const HALF_AN_HOUR: Duration = Duration::from_secs(1_800);
/// Instances that recur.
const INSTANCES: usize = 8;

impl Fleet {
    /// When the backups of each instance began.
    fn starts(&self) -> BTreeMap<String, Vec<Timestamp>> {
        let ended = "select instance, outcome::json->>'started' from backup_sched.jobs
                     where state = 'succeeded' order by 2";
        let mut starts = BTreeMap::<String, Vec<Timestamp>>::new();
        for line in self.server.sql(ended).unwrap().lines() {
            let (instance, at) = line.split_once('|').unwrap();
            starts.entry(instance.to_owned()).or_default().push(at.parse().unwrap());
        }
        starts
    }

    /// Waits until as many backups as that have been made of each instance whose name begins so, and no other is under way.
    fn made(&self, sort: &str, slots: usize) {
        let made = wait_until("every slot has its backup", SOON, || {
            let starts = self.starts();
            let mut made = starts.iter().filter(|(name, _)| name.starts_with(sort));
            let all = made.clone().count() == INSTANCES && made.all(|(_, starts)| starts.len() >= slots);
            (all && self.server.sql("select count(*) from backup_sched.jobs where live").unwrap() == "0")
                .then_some(())
        });
        if let Err(error) = made {
            let facts = self.server.sql("select key, share, fact from backup_sched.facts").unwrap();
            panic!("{error}: {slots} at {}\n{:#?}\n{facts}", self.clock.now().wall, self.starts());
        }
        for (instance, starts) in self.starts().iter().filter(|(name, _)| name.starts_with(sort)) {
            let told = || {
                let facts = format!(
                    "select key, share, fact, changed from backup_sched.facts where key like '%{instance}%'"
                );
                let jobs = format!(
                    "select id, epoch, share, attempt, state, changed, outcome from backup_sched.jobs where instance = '{instance}'"
                );
                let shares = "select * from backup_sched.shares order by 1";
                [facts.as_str(), &jobs, shares].map(|sql| self.server.sql(sql).unwrap()).join("\n")
            };
            assert_eq!(
                starts.len(),
                slots,
                "{instance} by {}: {starts:?}\n{}",
                self.clock.now().wall,
                told()
            );
        }
    }
}

fn file(sort: &str, lines: &str) -> String {
    let instance =
        |n| format!("[instances.{sort}-{n}]\ntechnology = 'generic'\nhost = '{sort}-host-{n}'\n{lines}\n");
    (0..INSTANCES).map(instance).collect()
}

/// What was due while nobody was there is made by whoever comes, as if one scheduler had gone on.
#[test]
#[ignore = "needs postgresql"]
fn a_slot_that_came_while_nobody_was_there_is_not_lost() {
    let file = file("nightly", "schedule = '0 3 * * *'");
    let mut fleet = Fleet::new(&file, &["a"]);
    wait_until("it is written down how they stand, though no backup was made yet", SOON, || {
        let facts = fleet.server.sql("select count(*) from backup_sched.facts").unwrap();
        (facts == INSTANCES.to_string()).then_some(())
    })
    .unwrap();
    fleet.clock.advance(HALF_AN_HOUR);
    fleet.leave("a");
    fleet.clock.advance(HALF_AN_HOUR * 6);
    fleet.join("b");
    fleet.made("nightly", 1);
    // Another one that was there all the time knows no more of the former one's slots than one that came later.
    fleet.join("c");
    fleet.divided();
    fleet.clock.advance(HALF_AN_HOUR * 47);
    fleet.made("nightly", 2);
    fleet.leave("b");
    fleet.divided();
    fleet.clock.advance(HALF_AN_HOUR);
    fleet.made("nightly", 2);
}

/// Slots for which shares move.
const SLOTS: u32 = 24;
/// The recovery point objective of what recurs: as long after its slot a job of it is to be done.
const RPO: Duration = Duration::from_secs(24 * 3600);

/// Processes join, leave, are killed and stopped, lose their leases and connections, and with each slot all have to come to
/// the same result: made, once.
#[test]
#[ignore = "needs postgresql"]
fn every_slot_is_made_once_while_shares_move() {
    let seed = std::env::var("FLEET_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("FLEET_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut rig = Rig::recurring(3, file("often", "schedule = '30m'\njitter = '0s'\nrpo = '24h'"));
    let instances = (0..INSTANCES).map(|n| format!("often-{n}")).collect();
    let mut slots = Vec::new();
    for round in 1..=SLOTS {
        rig.set_clock(HALF_AN_HOUR * round);
        slots.push(ManualClock::default().now().wall + HALF_AN_HOUR * round);
        std::thread::park_timeout(Duration::from_millis(random.u64(0..400)));
        let what = disturb(&mut rig, &mut random);
        println!("{round} at {}: {what}", crate::rig::now());
        let wrong = || check(&instances, &slots, &made(&rig));
        let all = wait_until("every slot is made", SOON, || {
            let live = rig.sql("select count(*) from backup_sched.jobs where live");
            (live == "0" && !wrong().iter().any(|wrong| matches!(wrong, Wrong::Never(..)))).then_some(())
        });
        let wrong: Vec<String> = wrong().iter().map(ToString::to_string).collect();
        if !wrong.is_empty() || all.is_err() {
            panic!("{all:?}\n{}\n{}", wrong.join("\n"), all_of_it(&rig));
        }
    }
    rig.history().check();
}

/// Has shares move, in some way.
fn disturb(rig: &mut Rig, random: &mut fastrand::Rng) -> String {
    let at = random.usize(0..rig.children.len());
    let pid = rig.children[at].pid();
    match random.u32(0..7) {
        0 => {
            rig.kill(at);
            rig.spawn();
            format!("kills {pid}")
        }
        1 => {
            rig.freeze(at, LEASE + GRACE + Duration::from_secs(2));
            format!("stopped {pid}")
        }
        2 => {
            rig.leave(at);
            rig.spawn();
            format!("{pid} has left")
        }
        3 if rig.children.len() < 5 => {
            rig.spawn();
            "another one joins".into()
        }
        3 | 4 => {
            // As if the server's clock had jumped for this one.
            rig.lapse(pid);
            format!("the lease of {pid} is over")
        }
        5 => {
            rig.cut_connections();
            "connections are cut".into()
        }
        _ if rig.children.len() > 2 => {
            rig.leave(at);
            format!("{pid} has left, for good")
        }
        _ => "nothing".into(),
    }
}

/// What was made, in the end, of which slots.
fn made(rig: &Rig) -> Vec<Made> {
    let ended =
        "select id, instance, outcome::json->>'deadline' from backup_sched.jobs where state = 'succeeded'";
    let made = |line: &str| {
        let [job, instance, by] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let due = by.parse::<Timestamp>().unwrap() - RPO;
        Made { job: job.parse().unwrap(), instance: instance.to_owned(), due }
    };
    rig.sql(ended).lines().map(made).collect()
}

fn all_of_it(rig: &Rig) -> String {
    let told = [
        "select key, share, fact, changed from backup_sched.facts order by key",
        "select id, share, epoch, instance, attempt, state, changed, outcome from backup_sched.jobs order by changed",
        "select * from backup_sched.shares order by 1",
        "select * from backup_sched.schedulers order by 1",
    ];
    told.map(|sql| rig.sql(sql)).join("\n\n")
}
