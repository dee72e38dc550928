//! Servers that refuse, or must be refused.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use sched_core::{Clock, JobSpec, ManualClock, RunError};
use sched_drivers::DriverError;
use sched_drivers::redis::{ForkLimits, RedisServer, RedisStatus};
use sched_drivers::secret::SecretString;
use sched_drivers::server::StatusSource;
use sched_testbed::{self as testbed, RedisPair, free_port};

use super::carts::{Client, assert_left_alone, assert_restores, context, no_limits, rdb, reached};
use super::rig::files;

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn a_server_that_cannot_bear_a_fork_is_not_asked_for_one() {
    let mut pair = RedisPair::start().unwrap();
    let root = tempfile::tempdir().unwrap();
    let server = reached(&pair.replica);
    let refused = |limits: ForkLimits| {
        let error = rdb(server.clone(), root.path()).limits(limits).make(&context()).unwrap_err();
        assert!(matches!(error, DriverError::NotReady { .. }), "{error}");
        error.to_string()
    };
    let text = refused(no_limits().free_memory(1e9));
    assert!(text.contains("MiB may be needed"), "{text}");
    let text = refused(no_limits().longest(Duration::ZERO));
    assert!(text.contains("stalls"), "{text}");
    pair.primary.process.kill();
    super::rig::until("the loss of the primary", || {
        rdb(server.clone(), root.path())
            .make(&context())
            .is_err_and(|error| error.to_string().contains("lost its primary"))
    });
    assert!(files(root.path()).is_empty());
}

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn a_login_needs_its_password_and_few_permissions() {
    let server = testbed::RedisServer::start(&["--requirepass", "richtig"]).unwrap();
    for user in [
        &["ACL", "SETUSER", "backup", "on", ">genau", "+info", "+psync", "+replconf", "+command"][..],
        &["ACL", "SETUSER", "reader", "on", ">genau", "+info"],
    ] {
        server.cli(user).unwrap();
    }
    server.cli(&["SET", "last", "1"]).unwrap();
    let root = tempfile::tempdir().unwrap();
    let secret = SecretString::from;
    let open = || reached(&server);
    for login in [
        open(),
        open().password(secret("falsch")),
        open().login("nobody", secret("richtig")),
        open().login("reader", secret("genau")),
    ] {
        let error = rdb(login, root.path()).make(&context()).unwrap_err();
        assert!(matches!(error, DriverError::Refused { .. }), "{error:?}");
        assert!(!error.to_string().contains("falsch"), "{error}");
        assert!(matches!(error.into_run_error(&context()), RunError::Permanent(_)));
    }
    for (name, login) in
        [("all", open().password(secret("richtig"))), ("few", open().login("backup", secret("genau")))]
    {
        assert_left_alone(&server);
        rdb(login.clone(), root.path()).make(&super::rig::still(JobSpec::new(name, "redis"))).unwrap();
        RedisStatus::new(login).read(ManualClock::default().now()).unwrap();
    }
    let open = testbed::RedisServer::start(&[]).unwrap();
    let error = rdb(reached(&open).password(secret("unnötig")), root.path()).make(&context()).unwrap_err();
    assert!(matches!(error, DriverError::Refused { .. }), "{error:?}");
}

#[cfg(feature = "redis-tls")]
#[test]
#[ignore = "needs redis-server, redis-cli and openssl"]
fn a_snapshot_comes_over_tls_from_a_server_that_is_trusted() {
    let certificates = testbed::Certificates::make().unwrap();
    let [ca, certificate, key] = [certificates.authority(), certificates.certificate(), certificates.key()];
    let path = |path: &Path| path.display().to_string();
    let port = free_port().unwrap().to_string();
    let server = testbed::RedisServer::start(&[
        "--tls-port",
        &port,
        "--tls-ca-cert-file",
        &path(&ca),
        "--tls-cert-file",
        &path(&certificate),
        "--tls-key-file",
        &path(&key),
    ])
    .unwrap();
    const FILLED: (u32, u32) = (2000, 1000);
    let mut client = Client::new(&server);
    client.fill(FILLED.0, FILLED.1);
    client.write(1).unwrap();
    let read = |path: &Path| std::fs::read(path).unwrap();
    let secret = SecretString::from(String::from_utf8(read(&key)).unwrap());
    let address = || RedisServer::new(format!("127.0.0.1:{port}")).timeout(Duration::from_secs(20));
    let trusted = address().mutual_tls(&read(&ca), &read(&certificate), &secret).unwrap();
    let root = tempfile::tempdir().unwrap();
    let done = rdb(trusted.clone(), root.path()).make(&context()).unwrap();
    assert_eq!(assert_restores(&done, FILLED), 1);
    RedisStatus::new(trusted).read(ManualClock::default().now()).unwrap();

    let other = testbed::Certificates::make().unwrap();
    for stranger in [
        address(),
        address().tls(&read(&ca)).unwrap(),
        address().mutual_tls(&read(&other.authority()), &read(&certificate), &secret).unwrap(),
    ] {
        let error = rdb(stranger, root.path()).make(&context()).unwrap_err();
        assert!(matches!(error, DriverError::Unreachable { .. } | DriverError::Answer { .. }), "{error:?}");
    }
    assert!(address().tls(b"no certificate").is_err());
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    let server = RedisServer::new(format!("127.0.0.1:{}", free_port().unwrap()));
    let root = tempfile::tempdir().unwrap();
    let error = rdb(server.clone(), root.path()).make(&context()).unwrap_err();
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
    assert!(matches!(error.into_run_error(&context()), RunError::Retryable(_)));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent =
        RedisServer::new(silent.local_addr().unwrap().to_string()).timeout(Duration::from_millis(200));
    let error = RedisStatus::new(silent).read(ManualClock::default().now()).unwrap_err();
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
}
