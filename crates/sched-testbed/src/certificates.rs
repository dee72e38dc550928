//! Certificates for servers that speak TLS: [`Certificates`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::{TestbedError, program};

/// An authority of its own, with a certificate for `127.0.0.1` that serves servers and clients. Made by `openssl`.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes them; they are gone when this is dropped.
    ///
    /// # Errors
    /// When `openssl` is not installed or fails.
    pub fn make() -> Result<Self, TestbedError> {
        let io = |source| TestbedError::Io { what: "make certificates".into(), source };
        let made = Self { directory: tempfile::tempdir().map_err(io)? };
        let root = made.directory.path();
        fs::write(
            root.join("extensions"),
            "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n",
        )
        .map_err(io)?;
        const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let authority =
            ["-x509", "-days", "30", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"];
        openssl(root, "req", &[&KEY[..], &authority].concat())?;
        let request = ["-subj", "/CN=member", "-keyout", "member.key", "-out", "member.csr"];
        openssl(root, "req", &[&KEY[..], &request].concat())?;
        let sign = ["-req", "-in", "member.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        let with = ["-days", "30", "-extfile", "extensions", "-out", "member.pem"];
        openssl(root, "x509", &[&sign[..], &with].concat())?;
        Ok(made)
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The certificate of a server or client.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("member.pem")
    }

    /// Its key.
    pub fn key(&self) -> PathBuf {
        self.directory.path().join("member.key")
    }
}

fn openssl(directory: &Path, what: &str, args: &[&str]) -> Result<(), TestbedError> {
    let mut command = Command::new(program("openssl", &[], "openssl")?);
    command.current_dir(directory).arg(what).args(args).stdin(Stdio::null());
    let output =
        command.output().map_err(|source| TestbedError::Io { what: "run openssl".into(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(TestbedError::Failed { program: "openssl".into(), said })
}
