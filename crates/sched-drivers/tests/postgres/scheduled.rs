//! A primary and its standby under a scheduler: detector, probe, executor and members as a host wires them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use backup_sched::core::JobStatus;
use backup_sched::policy::{Config, Instance};
use backup_sched::{
    Event, EventKind, Executor, Gate, JobHandle, JobSpec, JobState, LoadLevel, Policies, Profile, RunContext,
    RunError, Scheduler, Scope, Subscription,
};
use sched_core::InstanceName;
use sched_drivers::backup::Completed;
use sched_drivers::destination::LocalDirectory;
use sched_drivers::postgres::{BaseBackup, Checkpoint, PostgresMembers, PostgresServer, PostgresStatus};
use sched_drivers::server::{MemberSource, Monitor, MonitorConfig, ServerMember};
use sched_testbed::{Postgres, wait_until};
use tempfile::TempDir;

use crate::rig::{Foreground, LONG, reach, shop};

/// As the profile says it, but for a lag that a test can wait for.
const POLICY: &str = "
[clusters.orders]
technology = 'postgresql'
load.replication_lag = { close_above = 3.0, open_below = 2.0 }
";

/// For a host that would rather load its primary than wait for its standby.
const IMPATIENT: &str = "patience = '1s'\n";

/// Hands on what a backup was.
struct Telling(BaseBackup, Sender<Completed>);

impl Executor for Telling {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        let made = self.0.make(ctx).map_err(|error| error.into_run_error(ctx))?;
        self.1.send(made).map_err(|error| RunError::Permanent(error.to_string()))
    }
}

/// Two servers of which the host knows the names, and a scheduler that watches both.
struct Fleet {
    shop: Postgres,
    standby: Postgres,
    scheduler: Scheduler,
    events: Subscription,
    made: Receiver<Completed>,
    _foreground: Foreground,
    _root: TempDir,
}

impl Fleet {
    fn start() -> Self {
        let shop = shop();
        let standby = shop.standby("two").unwrap();
        shop.wait_for(&standby).unwrap();
        let foreground = Foreground::start(&shop);
        let servers = [("orders-1", reach(&shop)), ("orders-2", reach(&standby))];

        let root = tempfile::tempdir().unwrap();
        let known = servers.clone();
        let find = move |instance: &InstanceName| -> Option<PostgresServer> {
            known.iter().find(|(name, _)| instance.as_str() == *name).map(|(_, server)| server.clone())
        };
        let executor = BaseBackup::new(find, LocalDirectory::new(root.path())).checkpoint(Checkpoint::Fast);
        let (tell, made) = channel();
        let config = || MonitorConfig::default().period(Duration::from_secs(2));
        let mut builder = Scheduler::builder().executor("postgresql", Telling(executor, tell));
        for (name, server) in servers {
            let monitor = Monitor::new(name, PostgresStatus::new(server), config());
            builder = builder.detector(monitor.detector()).probe(monitor.probe());
        }
        let policies = policies("", &shop, &standby);
        let scheduler = builder.policies(policies).start().unwrap();
        let events = scheduler.subscribe(10_000).unwrap();
        Self { shop, standby, scheduler, events, made, _foreground: foreground, _root: root }
    }

    /// Has the standby stand still until the scheduler knows that it is behind.
    fn fall_behind(&self) {
        self.standby.sql("select pg_wal_replay_pause()").unwrap();
        let level = |event: Arc<Event>| match &event.kind {
            EventKind::LoadChanged { scope, sensitivity: Some(_), state, .. }
                if *scope == Scope::Instance("orders-2".into()) =>
            {
                Some(state.level)
            }
            _ => None,
        };
        let last = || self.events.try_iter().filter_map(level).last();
        wait_until("the scheduler knows", LONG, || (last()? == LoadLevel::Busy).then_some(())).unwrap();
    }

    fn submit(&self) -> JobHandle {
        self.scheduler.submit(JobSpec::new("orders", "postgresql")).unwrap()
    }

    /// Of which member a job's backup is.
    fn taken(&self, job: &JobHandle) -> (String, String) {
        let JobStatus { state, .. } = job.wait_timeout(LONG).unwrap();
        assert_eq!(state, JobState::Succeeded, "{:?}", job.explain());
        let manifest = self.made.recv_timeout(LONG).unwrap().manifest;
        (manifest.instance.to_string(), manifest.facts["role"].clone())
    }
}

/// What a host makes of its members: it knows their addresses, and the policies which role is whose.
fn policies(more: &str, shop: &Postgres, standby: &Postgres) -> Policies {
    let mut members = PostgresMembers::new([shop, standby].map(reach));
    let both = |members: &Vec<ServerMember>| members.iter().all(|member| member.healthy);
    let members = wait_until("both are members", LONG, || members.members().ok().filter(both)).unwrap();
    let config =
        ["orders-1", "orders-2"].iter().zip(&members).fold(Config::new(), |config, (name, member)| {
            config.instance(*name, Instance::of_cluster("orders", &*member.role), Profile::default())
        });
    Policies::builtin()
        .with_toml("policy.toml", &format!("{POLICY}{more}"))
        .unwrap()
        .with_config(config)
        .unwrap()
}

#[test]
#[ignore = "needs PostgreSQL"]
fn the_standby_is_taken_waited_for_while_it_is_behind_and_left_when_patience_ends() {
    let fleet = Fleet::start();
    assert_eq!(fleet.taken(&fleet.submit()), ("orders-2".into(), "standby".into()));

    fleet.fall_behind();
    let job = fleet.submit();
    let closed = job.explain().unwrap().closed;
    let gates: Vec<_> = closed.iter().map(|closed| (&closed.gate, &closed.scope)).collect();
    assert_eq!(gates, [(&Gate::Load, &Scope::Instance("orders-2".into()))]);
    let text = closed[0].to_string();
    assert!(text.contains("replication_lag") && text.contains("policy.toml"), "{text}");
    fleet.standby.sql("select pg_wal_replay_resume()").unwrap();
    fleet.shop.wait_for(&fleet.standby).unwrap();
    assert_eq!(fleet.taken(&job), ("orders-2".into(), "standby".into()));

    fleet.fall_behind();
    fleet.scheduler.reload(policies(IMPATIENT, &fleet.shop, &fleet.standby)).unwrap();
    assert_eq!(fleet.taken(&fleet.submit()), ("orders-1".into(), "primary".into()));
    assert!(fleet.scheduler.shutdown(LONG).is_some());
}
