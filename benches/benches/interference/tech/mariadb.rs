//! MariaDB: one server, a table by key, each update committed to disk.

use std::sync::Arc;

use backup_sched::JobSpec;
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use sched_drivers::destination::Destination;
use sched_drivers::mysql::{MySqlServer, MySqlStatus, PhysicalBackup};
use sched_drivers::secret::SecretString;
use sched_drivers::server::{Monitor, MonitorConfig};
use sched_testbed::MariaDb;

use super::{Client, Kind, Technology};
use crate::Failure;
use crate::method::AnyExecutor;

const PAYLOAD: u64 = 1000;
const PASSWORD: &str = "for the bench";

pub(super) struct Maria {
    server: MariaDb,
    rows: i64,
}

impl Maria {
    pub(super) fn start(bytes: u64) -> Result<Self, Failure> {
        let options = ["--innodb-buffer-pool-size=256M", "--innodb-log-file-size=512M"];
        let server = MariaDb::start_with(1, &options)?;
        let rows = (bytes / (PAYLOAD + 100)) as i64;
        server.sql(&format!(
            "create database shop; use shop;
             create table item (id bigint primary key, stock bigint not null, data varbinary(1000) not null);
             insert into item select seq, 0, random_bytes({PAYLOAD}) from seq_0_to_{last};
             create user bench@'127.0.0.1' identified by '{PASSWORD}';
             grant all on *.* to bench@'127.0.0.1';",
            last = rows - 1
        ))?;
        Ok(Self { server, rows })
    }

    fn account(&self) -> MySqlServer {
        MySqlServer::tcp("127.0.0.1", self.server.port()).user("bench").password(SecretString::from(PASSWORD))
    }
}

impl Technology for Maria {
    fn name(&self) -> &'static str {
        "mariadb"
    }

    fn versions(&self) -> String {
        let version = self.server.sql("select version()").unwrap_or_default();
        format!("MariaDB {}, mariadb-backup", version.trim())
    }

    fn client(&self, seed: u64) -> Result<Box<dyn Client>, Failure> {
        let options = OptsBuilder::new()
            .ip_or_hostname(Some("127.0.0.1"))
            .tcp_port(self.server.port())
            .user(Some("bench"))
            .pass(Some(PASSWORD))
            .db_name(Some("shop"));
        let connection = Conn::new(options)?;
        Ok(Box::new(MariaClient { connection, rows: self.rows, rng: fastrand::Rng::with_seed(seed) }))
    }

    fn spec(&self) -> JobSpec {
        JobSpec::new("shop", "mariadb")
    }

    /// At its end it holds a lock that all who write wait for.
    fn holds_what_it_copies(&self) -> bool {
        true
    }

    fn executor(&self, to: Arc<dyn Destination>) -> Result<AnyExecutor, Failure> {
        let account = self.account();
        Ok(Arc::new(PhysicalBackup::new(move |_| Some(account.clone()), to)))
    }

    fn monitor(&self) -> Option<Monitor> {
        Some(Monitor::new("shop", MySqlStatus::new(self.account()), MonitorConfig::default()))
    }
}

struct MariaClient {
    connection: Conn,
    rows: i64,
    rng: fastrand::Rng,
}

impl Client for MariaClient {
    fn request(&mut self) -> Result<(), Failure> {
        let id = self.rng.i64(0..self.rows);
        match Kind::draw(&mut self.rng) {
            Kind::Read => {
                let read = "select stock from item where id = ?";
                self.connection.exec_first::<i64, _, _>(read, (id,))?;
            }
            Kind::Scan => {
                let scan = "select cast(sum(stock) as signed) from item where id between ? and ? + 40";
                self.connection.exec_first::<Option<i64>, _, _>(scan, (id, id))?;
            }
            Kind::Write => {
                self.connection.exec_drop("update item set stock = stock + 1 where id = ?", (id,))?
            }
        }
        Ok(())
    }
}
