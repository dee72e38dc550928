//! etcd clusters: [`EtcdCluster`], [`EtcdServer`].

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Certificates, ServerProcess, TestbedError, free_port, program, wait_until};

const PACKAGE_SERVER: &str = "etcd-server";
const PACKAGE_CLIENT: &str = "etcd-client";
const PATIENCE: Duration = Duration::from_secs(60);

/// Three members on loopback.
#[derive(Debug)]
pub struct EtcdCluster {
    /// The members.
    pub members: Vec<EtcdServer>,
}

/// One etcd with its data. Dropping it kills it and removes the data.
#[derive(Debug)]
pub struct EtcdServer {
    /// The process; killing it is up to the test.
    pub process: ServerProcess,
    url: String,
    /// What `etcdctl` needs to be let in.
    login: Vec<String>,
    directory: TempDir,
}

impl EtcdCluster {
    /// Starts three members and waits until they have a leader.
    ///
    /// # Errors
    /// When etcd is not installed or does not start.
    pub fn start() -> Result<Self, TestbedError> {
        let mut plans = Vec::new();
        for number in 1..=3 {
            plans.push((format!("m{number}"), loopback()?, loopback()?));
        }
        let peers: Vec<String> = plans.iter().map(|(name, _, peer)| format!("{name}={peer}")).collect();
        let peers = peers.join(",");
        let mut members = Vec::new();
        for (name, client, peer) in &plans {
            let directory = directory()?;
            let data = directory.path().join("data");
            members.push(EtcdServer::launch(name, client, peer, &peers, directory, &data)?);
        }
        let mut cluster = Self { members };
        for at in 0..3 {
            cluster.members[at].wait_healthy()?;
        }
        Ok(cluster)
    }

    /// The addresses of the members for clients.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| member.url.clone()).collect()
    }

    /// The place of the leader among the members.
    ///
    /// # Errors
    /// When there is none for long.
    pub fn leader(&self) -> Result<usize, TestbedError> {
        wait_until("a leader of etcd", PATIENCE, || {
            self.members.iter().position(|member| {
                let status = member.ctl(&["endpoint", "status", "-w", "json"]).ok();
                status.is_some_and(|text| number(&text, "leader") == number(&text, "member_id"))
            })
        })
    }
}

impl EtcdServer {
    /// Starts a server of its own from a snapshot.
    ///
    /// # Errors
    /// When the snapshot cannot be restored, or etcd does not start.
    pub fn restored(snapshot: &Path) -> Result<Self, TestbedError> {
        let (client, peer, directory) = (loopback()?, loopback()?, directory()?);
        let data = directory.path().join("data");
        let peers = format!("restored={peer}");
        let mut restore = Command::new(program("etcdctl", &[], PACKAGE_CLIENT)?);
        restore.env("ETCDCTL_API", "3").args(["snapshot", "restore"]).arg(snapshot);
        restore.args(["--name", "restored", "--initial-cluster", &peers]);
        restore.args(["--initial-advertise-peer-urls", &peer, "--data-dir"]).arg(&data);
        finish(restore)?;
        let mut server = Self::launch("restored", &client, &peer, &peers, directory, &data)?;
        server.wait_healthy()?;
        Ok(server)
    }

    /// Starts a server of its own that speaks TLS, and wants certificates of its clients.
    ///
    /// # Errors
    /// When etcd is not installed or does not start.
    pub fn secured(certificates: &Certificates) -> Result<Self, TestbedError> {
        let (client, peer, directory) = (loopback()?, loopback()?, directory()?);
        let client = client.replace("http:", "https:");
        let data = directory.path().join("data");
        let file = |path: PathBuf| path.display().to_string();
        let (ca, cert, key) =
            (file(certificates.authority()), file(certificates.certificate()), file(certificates.key()));
        let server =
            ["--client-cert-auth", "--trusted-ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
        let peers = format!("secured={peer}");
        let mut server = Self::launch_with("secured", &client, &peer, &peers, directory, &data, &server)?;
        server.login = ["--cacert", &ca, "--cert", &cert, "--key", &key].map(str::to_owned).to_vec();
        server.wait_healthy()?;
        Ok(server)
    }

    fn launch(
        name: &str,
        client: &str,
        peer: &str,
        peers: &str,
        directory: TempDir,
        data: &Path,
    ) -> Result<Self, TestbedError> {
        Self::launch_with(name, client, peer, peers, directory, data, &[])
    }

    fn launch_with(
        name: &str,
        client: &str,
        peer: &str,
        peers: &str,
        directory: TempDir,
        data: &Path,
        settings: &[&str],
    ) -> Result<Self, TestbedError> {
        let mut command = Command::new(program("etcd", &[], PACKAGE_SERVER)?);
        command.args(["--name", name, "--initial-cluster", peers, "--data-dir"]).arg(data);
        command.args(["--listen-client-urls", client, "--advertise-client-urls", client]);
        command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
        command.args(settings);
        // A busy machine must not cost the leader its place.
        command.args(["--heartbeat-interval", "300", "--election-timeout", "3000", "--logger", "zap"]);
        // Elsewhere etcd starts only when it is told that this is known to be untried.
        if !cfg!(target_arch = "x86_64") {
            command.env(
                "ETCD_UNSUPPORTED_ARCH",
                if cfg!(target_arch = "aarch64") { "arm64" } else { std::env::consts::ARCH },
            );
        }
        let process = ServerProcess::start(command, &directory.path().join("log"))?;
        Ok(Self { process, url: client.to_owned(), login: Vec::new(), directory })
    }

    /// Its address for clients.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its data are.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Runs `etcdctl` against it and returns what it wrote.
    ///
    /// # Errors
    /// When it fails.
    pub fn ctl(&self, args: &[&str]) -> Result<String, TestbedError> {
        let mut command = Command::new(program("etcdctl", &[], PACKAGE_CLIENT)?);
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url]).args(&self.login).args(args);
        let output = finish(command)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn wait_healthy(&mut self) -> Result<(), TestbedError> {
        let found = wait_until("a healthy etcd", PATIENCE, || {
            let healthy = self.ctl(&["endpoint", "health"]).is_ok();
            // One that ended is not waited for.
            (healthy || !self.process.runs()).then_some(healthy)
        });
        match found {
            Ok(true) => Ok(()),
            _ => Err(TestbedError::TimedOut {
                what: "a healthy etcd".into(),
                limit: PATIENCE,
                said: self.process.said(),
            }),
        }
    }
}

fn loopback() -> Result<String, TestbedError> {
    Ok(format!("http://127.0.0.1:{}", free_port()?))
}

fn directory() -> Result<TempDir, TestbedError> {
    tempfile::tempdir().map_err(|source| TestbedError::Io { what: "make a directory".into(), source })
}

fn finish(mut command: Command) -> Result<Output, TestbedError> {
    let io = |source| TestbedError::Io { what: "run etcdctl".into(), source };
    let output = command.stdin(Stdio::null()).output().map_err(io)?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(TestbedError::Failed { program: "etcdctl".into(), said })
}

/// The number after `"name":` in JSON text, without a library for one number.
fn number<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = text.split(&format!("\"{name}\":")).nth(1)?;
    rest.split([',', '}']).next()
}
