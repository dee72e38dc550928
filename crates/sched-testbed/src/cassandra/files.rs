//! The files that a node of Cassandra is configured by.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{CassandraOptions, io, write};
use crate::TestbedError;

pub(super) const CONFIG: &str = "cassandra.yaml";
pub(super) const LOGGING: &str = "logback.xml";
pub(super) const QUIET: &str = "logback-tools.xml";
pub(super) const JMX_PASSWORDS: &str = "jmx.passwords";
pub(super) const JMX_ACCESS: &str = "jmx.access";
const KEYS: &str = "keys.pem";
const TRUSTED: &str = "trusted.pem";

/// Where a node is, and what it listens on.
pub(super) struct Plan<'a> {
    pub(super) home: &'a Path,
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
    pub(super) storage_port: u16,
    pub(super) options: &'a CassandraOptions,
}

impl Plan<'_> {
    pub(super) fn write(&self) -> Result<(), TestbedError> {
        let tmp = self.home.join("tmp");
        fs::create_dir_all(&tmp).map_err(io(format!("create {}", tmp.display())))?;
        write(&self.home.join(CONFIG), &self.config())?;
        write(&self.home.join(LOGGING), TO_STDOUT)?;
        write(&self.home.join(QUIET), NOTHING)?;
        if let Some((keys, trusted)) = &self.options.tls {
            write(&self.home.join(KEYS), keys)?;
            write(&self.home.join(TRUSTED), trusted)?;
        }
        if let Some((user, password)) = &self.options.jmx_user {
            write(&self.home.join(JMX_ACCESS), &format!("{user} readwrite\n"))?;
            let passwords = self.home.join(JMX_PASSWORDS);
            write(&passwords, &format!("{user} {password}\n"))?;
            // Java refuses one that others can read.
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(&passwords, private)
                .map_err(io(format!("protect {}", passwords.display())))?;
        }
        Ok(())
    }

    // Nodes of a busy machine are late with their gossip, and would be taken for dead by the default of 8.
    fn config(&self) -> String {
        let Self { home, address, port, storage_port, options } = self;
        let authenticator = match options.authenticated {
            true => "PasswordAuthenticator",
            false => "AllowAllAuthenticator",
        };
        let home = home.display();
        let sizes = if options.serving { "" } else { SMALL };
        let tls = match options.tls {
            None => String::new(),
            Some(_) => format!(
                "client_encryption_options:
  enabled: true
  optional: false
  require_client_auth: true
  ssl_context_factory: {{class_name: org.apache.cassandra.security.PEMBasedSslContextFactory}}
  keystore: \"{home}/{KEYS}\"
  truststore: \"{home}/{TRUSTED}\"
"
            ),
        };
        format!(
            "cluster_name: testbed
num_tokens: 4
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: \"127.0.0.1:{storage_port}\"}}]
listen_address: {address}
storage_port: {storage_port}
rpc_address: {address}
native_transport_port: {port}
auto_bootstrap: false
authenticator: {authenticator}
data_file_directories: [\"{home}/data\"]
commitlog_directory: \"{home}/commitlog\"
saved_caches_directory: \"{home}/saved_caches\"
hints_directory: \"{home}/hints\"
commitlog_sync: periodic
commitlog_sync_period: 1s
concurrent_reads: 8
concurrent_writes: 8
auto_snapshot: false
phi_convict_threshold: 12
{sizes}{tls}"
        )
    }
}

const SMALL: &str = "commitlog_segment_size: 4MiB
commitlog_total_space: 64MiB
memtable_heap_space: 64MiB
memtable_offheap_space: 32MiB
file_cache_size: 16MiB
networking_cache_size: 8MiB
";

const TO_STDOUT: &str = r#"<configuration>
  <appender name="STDOUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %date{ISO8601} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="STDOUT"/></root>
</configuration>
"#;

const NOTHING: &str = r#"<configuration><root level="OFF"/></configuration>
"#;
