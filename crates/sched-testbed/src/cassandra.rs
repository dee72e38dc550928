//! Cassandra from its Maven artifacts: [`Cassandra`], [`CassandraNode`].

mod files;
mod jars;

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::run;
use crate::{ServerProcess, TestbedError, free_port, program};

/// How long a node may take to start: on two busy cores a minute is not rare.
const START_LIMIT: Duration = Duration::from_secs(240);
/// Cassandra reaches into the runtime's own packages; those are what its start script for this Java opens.
const OPENED: [&str; 27] = [
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
    "--add-exports=java.base/java.lang.ref=ALL-UNNAMED",
    "--add-exports=java.management/com.sun.jmx.remote.security=ALL-UNNAMED",
    "--add-exports=java.management.rmi/com.sun.jmx.remote.internal.rmi=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.server=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.transport.tcp=ALL-UNNAMED",
    "--add-exports=java.sql/java.sql=ALL-UNNAMED",
    "--add-exports=jdk.unsupported/sun.misc=ALL-UNNAMED",
    "--add-exports=jdk.compiler/com.sun.tools.javac.file=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.module=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.loader=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.math=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.module=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.reflect=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.util.jar=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.rmi/sun.rmi.transport.tcp=ALL-UNNAMED",
    "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
];
/// Starts in half the time of what suits a server that runs for weeks.
const QUICK: [&str; 3] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"];
const SMALL: [&str; 4] = ["-Xms320M", "-Xmx320M", "-Xss512k", "-XX:MaxDirectMemorySize=128M"];
/// What suits a server that answers many: its own start script's choice, with a heap for a few GB of rows.
const SERVING: [&str; 5] =
    ["-Xms2G", "-Xmx2G", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=300", "-XX:+AlwaysPreTouch"];

/// How a cluster is started. Default: one node, nobody is asked for a password.
#[derive(Clone, Debug)]
pub struct CassandraOptions {
    /// How many nodes, at most 200. Each takes about 700 MB of memory and 10 s.
    pub nodes: u8,
    /// Whether clients must say who they are; `cassandra` with the password `cassandra` then may do all.
    pub authenticated: bool,
    /// Who may use JMX, with which password. Default: everybody on this machine.
    pub jmx_user: Option<(String, String)>,
    /// The key and the certificate, as one PEM text, that nodes show to clients, who must speak TLS then and show one
    /// that the authority, another PEM text, signed. Default: no TLS.
    pub tls: Option<(String, String)>,
    /// Whether nodes have the memory and the compilers of a server that answers many requests: 2 GB of heap, and memtables
    /// and a log of Cassandra's own sizes. Default: they are small, start quickly, and are slow.
    pub serving: bool,
}

impl Default for CassandraOptions {
    fn default() -> Self {
        Self { nodes: 1, authenticated: false, jmx_user: None, tls: None, serving: false }
    }
}

/// A cluster on loopback: its nodes listen on 127.0.0.1, 127.0.0.2 and so on, all on the same ports but for JMX. Needs
/// Java 17 and, where its jars are not cached yet, Maven.
#[derive(Debug)]
pub struct Cassandra {
    jars: PathBuf,
    java: PathBuf,
    options: CassandraOptions,
    nodes: Vec<CassandraNode>,
    directory: TempDir,
}

/// A node of a [`Cassandra`].
#[derive(Debug)]
pub struct CassandraNode {
    address: Ipv4Addr,
    port: u16,
    jmx_port: u16,
    home: PathBuf,
    process: ServerProcess,
}

impl Cassandra {
    /// Starts a single node.
    ///
    /// # Errors
    /// When Java or the jars are missing, or it does not start.
    pub fn start() -> Result<Self, TestbedError> {
        Self::start_with(&CassandraOptions::default())
    }

    /// Starts a cluster, a node after the other.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(options: &CassandraOptions) -> Result<Self, TestbedError> {
        let java = program("java", &[], "openjdk-17-jre-headless")?;
        let jars = jars::find()?;
        let directory = tempfile::tempdir().map_err(io("make a temporary directory"))?;
        let mut cluster = Self { jars, java, options: options.clone(), nodes: Vec::new(), directory };
        let (port, storage_port) = (free_port()?, free_port()?);
        for number in 1..=options.nodes.min(200) {
            let address = Ipv4Addr::new(127, 0, 0, number);
            let home = cluster.directory.path().join(format!("node-{number}"));
            let jmx_port = free_port()?;
            let plan = files::Plan { home: &home, address, port, storage_port, options };
            plan.write()?;
            let process = cluster.launch(&home, jmx_port)?;
            cluster.nodes.push(CassandraNode { address, port, jmx_port, home, process });
            if let Some(node) = cluster.nodes.last_mut() {
                node.wait()?;
            }
        }
        Ok(cluster)
    }

    fn launch(&self, home: &Path, jmx_port: u16) -> Result<ServerProcess, TestbedError> {
        let mut command = Command::new(&self.java);
        if self.options.serving {
            command.args(SERVING);
        } else {
            command.args(SMALL).args(QUICK);
        }
        command.args(OPENED);
        command.arg("-Djdk.attach.allowAttachSelf=true").arg("-Dcassandra-foreground=yes");
        let file = |name: &str| home.join(name).display().to_string();
        command.arg(format!("-Dcassandra.config=file://{}", file(files::CONFIG)));
        command.arg(format!("-Dlogback.configurationFile={}", file(files::LOGGING)));
        command.arg(format!("-Dcassandra.storagedir={}", home.display()));
        command.arg(format!("-Djava.io.tmpdir={}", file("tmp")));
        command.arg(format!("-Dcassandra.jmx.local.port={jmx_port}"));
        // A cluster whose nodes all start now need not wait for gossip to become quiet.
        command.args(["-Dcassandra.skip_wait_for_gossip_to_settle=0", "-Dcassandra.ring_delay_ms=500"]);
        command
            .args(["-Dcassandra.superuser_setup_delay_ms=0", "-Dcassandra.consistent.rangemovement=false"]);
        if self.options.jmx_user.is_some() {
            command.arg("-Dcom.sun.management.jmxremote.authenticate=true");
            command
                .arg(format!("-Dcom.sun.management.jmxremote.password.file={}", file(files::JMX_PASSWORDS)));
            command.arg(format!("-Dcom.sun.management.jmxremote.access.file={}", file(files::JMX_ACCESS)));
        }
        command.arg("-cp").arg(self.jars.join("*")).arg("org.apache.cassandra.service.CassandraDaemon");
        command.current_dir(home);
        ServerProcess::start(command, &home.join("log"))
    }

    /// Its nodes, the seed first.
    pub fn nodes(&self) -> &[CassandraNode] {
        &self.nodes
    }

    /// Its nodes, the seed first, to be stopped and killed.
    pub fn nodes_mut(&mut self) -> &mut [CassandraNode] {
        &mut self.nodes
    }

    /// Starts a node anew that was killed, with its data.
    ///
    /// # Errors
    /// As [`start`](Self::start), and when there is no such node.
    pub fn restart(&mut self, number: usize) -> Result<(), TestbedError> {
        let found = self.nodes.get(number).map(|node| (node.home.clone(), node.jmx_port));
        let (home, jmx_port) = found.ok_or_else(|| TestbedError::Failed {
            program: "the testbed".into(),
            said: format!("there is no node {number}"),
        })?;
        let process = self.launch(&home, jmx_port)?;
        let node = &mut self.nodes[number];
        node.process = process;
        node.wait()
    }

    /// What `nodetool` answers of one node; its first is 0.
    ///
    /// # Errors
    /// When it fails, or there is no such node.
    pub fn ask(&self, number: usize, args: &[&str]) -> Result<String, TestbedError> {
        let node = self.nodes.get(number).ok_or_else(|| TestbedError::Failed {
            program: "the testbed".into(),
            said: format!("there is no node {number}"),
        })?;
        let words = self.nodetool();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("-p").arg(node.jmx_port.to_string()).args(args);
        run(&mut command)
    }

    /// The program and the arguments that are `nodetool` here: what follows are its own.
    pub fn nodetool(&self) -> Vec<OsString> {
        let mut words = vec![self.java.clone().into_os_string(), "-Xmx64M".into()];
        words.extend(QUICK.into_iter().chain(OPENED).map(OsString::from));
        // It keeps a history in the user's home.
        words.push(format!("-Duser.home={}", self.directory.path().display()).into());
        let quiet = self.directory.path().join("node-1").join(files::QUIET);
        words.push(format!("-Dlogback.configurationFile={}", quiet.display()).into());
        words.extend(["-cp".into(), self.jars.join("*").into_os_string()]);
        words.push("org.apache.cassandra.tools.NodeTool".into());
        words
    }
}

impl CassandraNode {
    /// The address of all its services.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The port of its clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of `nodetool`, on 127.0.0.1.
    pub fn jmx_port(&self) -> u16 {
        self.jmx_port
    }

    /// Where its tables are.
    pub fn data_directory(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Its process.
    pub fn process(&mut self) -> &mut ServerProcess {
        &mut self.process
    }

    fn wait(&mut self) -> Result<(), TestbedError> {
        // It listens for clients last.
        let address = SocketAddr::from((self.address, self.port));
        let answers = || TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok();
        let what = format!("the start of Cassandra on {address}");
        self.process.wait_until(&what, START_LIMIT, answers).map(drop)
    }
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> TestbedError {
    let what = what.into();
    move |source| TestbedError::Io { what, source }
}

fn write(path: &Path, text: &str) -> Result<(), TestbedError> {
    fs::write(path, text).map_err(io(format!("write {}", path.display())))
}
