//! What hosts hand between their threads stays so: nothing that comes into these types may cost them `Send`, `Sync` or
//! `Debug`. Compiling is the test.

use std::fmt::Debug;

use sched_drivers::DriverError;
use sched_drivers::backup::{Completed, Manifest};
use sched_drivers::command::ExternalCommand;
use sched_drivers::destination::{LocalDirectory, Stream};
use sched_drivers::secret::SecretFile;
use sched_drivers::server::{Monitor, MonitorConfig, ServerDetector, ServerMember, ServerProbe};

fn shared<T: Send + Sync + Debug>() {}
fn sent<T: Send + Debug>() {}

#[test]
fn handles_go_between_threads() {
    shared::<LocalDirectory>();
    shared::<Stream>();
    shared::<Completed>();
    shared::<Manifest>();
    shared::<MonitorConfig>();
    shared::<ServerMember>();
    shared::<DriverError>();
    sent::<ExternalCommand>();
    sent::<SecretFile>();
    sent::<Monitor>();
    sent::<ServerDetector>();
    sent::<ServerProbe>();
}

#[cfg(feature = "object-store")]
#[test]
fn object_stores_do() {
    shared::<sched_drivers::destination::ObjectStoreDestination>();
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_does() {
    use sched_drivers::sqlite::{SqliteBackup, SqliteStatus};
    shared::<SqliteBackup>();
    sent::<SqliteStatus>();
}

#[cfg(feature = "etcd")]
#[test]
fn etcd_does() {
    use sched_drivers::etcd::{EtcdCluster, EtcdMembers, EtcdStatus, Snapshot};
    shared::<EtcdCluster>();
    shared::<Snapshot>();
    sent::<EtcdMembers>();
    sent::<EtcdStatus>();
}

#[cfg(all(feature = "redis", unix))]
#[test]
fn redis_does() {
    use sched_drivers::redis::{LocalRdb, Rdb, RedisMembers, RedisServer, RedisStatus};
    shared::<RedisServer>();
    shared::<Rdb>();
    shared::<LocalRdb>();
    sent::<RedisMembers>();
    sent::<RedisStatus>();
}

#[cfg(feature = "postgres")]
#[test]
fn postgresql_does() {
    use sched_drivers::postgres::{BaseBackup, Dump, PostgresMembers, PostgresServer, PostgresStatus};
    shared::<PostgresServer>();
    shared::<BaseBackup>();
    shared::<Dump>();
    sent::<PostgresMembers>();
    sent::<PostgresStatus>();
}

#[cfg(feature = "mysql")]
#[test]
fn mysql_does() {
    use sched_drivers::mysql::{Dump, MySqlMembers, MySqlServer, MySqlStatus, PhysicalBackup};
    shared::<MySqlServer>();
    shared::<Dump>();
    shared::<PhysicalBackup>();
    sent::<MySqlMembers>();
    sent::<MySqlStatus>();
}

#[cfg(feature = "cassandra")]
#[test]
fn cassandra_does() {
    use sched_drivers::cassandra::{
        CassandraBackup, CassandraMembers, CassandraNode, CassandraStatus, CqlConnection,
    };
    shared::<CassandraNode>();
    shared::<CassandraBackup>();
    sent::<CassandraMembers>();
    sent::<CassandraStatus>();
    sent::<CqlConnection>();
}
