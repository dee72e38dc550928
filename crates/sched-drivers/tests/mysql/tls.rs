//! Encrypted connections, of the driver and of the tools.

use std::path::{Path, PathBuf};
use std::process::Command;

use mysql::prelude::Queryable;
use sched_drivers::DriverError;
use sched_drivers::destination::LocalDirectory;
use sched_drivers::mysql::MySqlTls;
use sched_testbed::MariaDb;

use super::rig::Attempt;
use super::shop;

fn openssl(directory: &Path, arguments: &str) {
    let status = Command::new("openssl").args(arguments.split_whitespace()).current_dir(directory).output();
    let output = status.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An authority and a server's certificate for `127.0.0.1`, signed by it.
fn certificates(directory: &Path) -> PathBuf {
    const AUTHORITY: &str = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority";
    openssl(directory, &format!("{AUTHORITY} -keyout ca.key -out ca.pem"));
    openssl(directory, &format!("{AUTHORITY} -keyout stranger.key -out stranger.pem"));
    openssl(directory, "req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr");
    std::fs::write(directory.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        directory,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(directory.join("server.key"), readable).unwrap();
    std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    directory.join("ca.pem")
}

#[test]
#[ignore = "needs mariadb-server, mariadb-client, mariadb-backup and openssl"]
fn an_account_that_must_encrypt_makes_backups_of_a_server_that_is_who_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let ca = certificates(directory.path());
    let option = |name: &str, file: &str| format!("--ssl-{name}={}", directory.path().join(file).display());
    let options = [option("ca", "ca.pem"), option("cert", "server.pem"), option("key", "server.key")];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let server = MariaDb::start_with(1, &options).unwrap();
    shop::fill(&server);
    shop::root(&server).query_drop("ALTER USER backup@'%' REQUIRE SSL").unwrap();

    let backups = tempfile::tempdir().unwrap();
    let ctx = Attempt::free(shop::spec()).ctx;
    let to = || LocalDirectory::new(backups.path());
    let plain = shop::dump(&shop::account(&server), to()).make(&ctx).unwrap_err();
    assert!(matches!(&plain, DriverError::Refused { .. }), "{plain:?}");
    let account = shop::account(&server).tls(MySqlTls::new(&ca));
    shop::dump(&account, to()).make(&ctx).unwrap();
    let made = shop::physical(&account, to()).make(&Attempt::nth(shop::spec(), u64::MAX, 2).ctx).unwrap();
    assert!(made.manifest.bytes() > 0);

    let stranger = shop::account(&server).tls(MySqlTls::new(directory.path().join("stranger.pem")));
    let error = shop::dump(&stranger, to()).make(&ctx).unwrap_err();
    assert!(matches!(&error, DriverError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
}
