//! Snapshots that restore, and what is left of those that fail.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::Mutex;
use sched_core::{JobSpec, PauseMark, RunControl, RunError};
use sched_drivers::DriverError;
use sched_drivers::destination::LocalDirectory;
use sched_drivers::redis::{LocalRdb, Rdb};
use sched_testbed::{self as testbed, RedisPair};

use super::carts::{
    Client, End, PATIENCE, assert_left_alone, assert_restores, context, no_limits, rdb, reached, spec,
};
use super::rig::{Attempt, Stop, files, full_after};

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn snapshots_under_writes_are_restored_as_of_one_moment() {
    const FILLED: (u32, u32) = (20_000, 1000);
    let mut pair = RedisPair::start().unwrap();
    let mut client = Client::new(&pair.primary);
    client.fill(FILLED.0, FILLED.1);
    client.write(1).unwrap();
    pair.catch_up().unwrap();
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(1));
    let root = tempfile::tempdir().unwrap();
    let replica = reached(&pair.replica);
    let [direct, disk, local] = thread::scope(|scope| {
        scope.spawn(|| {
            for n in 2.. {
                client.write(n).unwrap();
                written.store(n, Relaxed);
                if stop.load(Relaxed) {
                    break;
                }
            }
        });
        let _stop = Stop(&stop);
        super::rig::until("some writes", || written.load(Relaxed) > 100);
        let job = |name: &str| super::rig::still(JobSpec::new(name.to_owned(), "redis"));
        let direct = rdb(replica.clone(), root.path()).make(&job("direct"));
        // A child that has sent all is still there for a moment.
        assert_left_alone(&pair.replica);
        let disk = rdb(replica.clone(), root.path()).over_its_disk().make(&job("disk"));
        assert_left_alone(&pair.replica);
        let known = replica.clone();
        let local = LocalRdb::new(move |_| Some(known.clone()), LocalDirectory::new(root.path()));
        let local = local.limits(no_limits()).make(&job("local"));
        [direct, disk, local].map(Result::unwrap)
    });
    let mut least = 100;
    for done in [direct, disk, local] {
        assert_eq!(done.manifest.facts["role"], "replica");
        assert!(done.manifest.files[0].bytes > 19_000_000, "{:?}", done.manifest.files);
        let last = assert_restores(&done, FILLED);
        assert!(last >= least && last <= written.load(Relaxed), "{least} {last}");
        least = last;
    }
}

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn what_goes_wrong_midway_leaves_nothing_behind() {
    let mut pair = RedisPair::start().unwrap();
    Client::new(&pair.primary).fill(30_000, 1000);
    pair.catch_up().unwrap();
    let (root, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = reached(&pair.replica);
    let direct = rdb(server.clone(), root.path()).spool(spool.path());
    let disk = rdb(server.clone(), root.path()).over_its_disk();
    let whole = direct.make(&context()).unwrap().manifest.files[0].bytes;
    assert_left_alone(&pair.replica);
    std::fs::remove_dir_all(root.path().join("carts")).unwrap();

    // Cancelled while it is taken, while it is brought to its destination, and while it comes from the server's disk.
    for (executor, open_to) in [(&direct, 1 << 20), (&direct, whole + (1 << 20)), (&disk, 1 << 20)] {
        let attempt = Attempt::new(spec(), open_to);
        let error = thread::scope(|scope| {
            let run = scope.spawn(|| executor.make(&attempt.ctx));
            super::rig::until("the dam", || attempt.dam.passed() > open_to);
            attempt.cancel();
            run.join().unwrap().unwrap_err()
        });
        assert_eq!(error.into_run_error(&attempt.ctx), RunError::Cancelled);
        assert!(files(root.path()).is_empty() && files(spool.path()).is_empty());
        assert_left_alone(&pair.replica);
    }

    let full = Rdb::new(move |_| Some(server.clone()), full_after(1 << 20)).limits(no_limits());
    for executor in [full.clone(), full.over_its_disk()] {
        let error = executor.make(&context()).unwrap_err();
        let is_full = |source: &io::Error| source.kind() == io::ErrorKind::StorageFull;
        assert!(matches!(&error, DriverError::Destination { source, .. } if is_full(source)), "{error}");
        assert_left_alone(&pair.replica);
    }

    let attempt = Attempt::new(spec(), 1 << 20);
    let error = thread::scope(|scope| {
        let run = scope.spawn(|| direct.make(&attempt.ctx));
        super::rig::until("the dam", || attempt.dam.passed() > 1 << 20);
        pair.replica.process.kill();
        attempt.dam.open();
        run.join().unwrap().unwrap_err()
    });
    assert!(matches!(error, DriverError::Source { .. }), "{error}");
    assert!(matches!(error.into_run_error(&attempt.ctx), RunError::Retryable(_)));
    assert!(files(root.path()).is_empty() && files(spool.path()).is_empty());
}

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn a_pause_waits_until_the_server_is_no_longer_needed() {
    let server = testbed::RedisServer::start(&[]).unwrap();
    let mut client = Client::new(&server);
    client.fill(5000, 1000);
    client.write(1).unwrap();
    let standing = Arc::new(AtomicBool::new(false));
    let marked = Arc::clone(&standing);
    // Ordered when the server is about to fork; before that it would stand at once.
    let (forks, forked) = mpsc::channel();
    let (orders, ordered) = mpsc::channel();
    let ordered = Mutex::new(ordered);
    let control = RunControl::new(move |mark| marked.store(mark == PauseMark::Standing, Relaxed));
    let control = control.on_phase(move |phase| {
        if phase.name == "fork" {
            forks.send(()).unwrap();
            ordered.lock().recv_timeout(PATIENCE).unwrap();
        }
    });
    let attempt = Attempt::with_control(spec(), u64::MAX, control);
    let root = tempfile::tempdir().unwrap();
    let done = thread::scope(|scope| {
        let (executor, ctx) = (rdb(reached(&server), root.path()), &attempt.ctx);
        let run = scope.spawn(move || executor.make(ctx));
        let _end = End(&attempt);
        forked.recv_timeout(PATIENCE).unwrap();
        attempt.ctx.control().set_paused(true);
        orders.send(()).unwrap();
        super::rig::until("a pause", || standing.load(Relaxed));
        assert!(attempt.dam.passed() > 4_000_000, "all was taken before");
        assert_left_alone(&server);
        attempt.ctx.control().set_paused(false);
        run.join().unwrap().unwrap()
    });
    assert_eq!(assert_restores(&done, (5000, 1000)), 1);
}

#[test]
#[ignore = "needs redis-server and redis-cli"]
fn a_file_that_the_server_did_not_save_is_refused() {
    let server = testbed::RedisServer::start(&[]).unwrap();
    let (root, known) = (tempfile::tempdir().unwrap(), reached(&server));
    let other = root.path().join("other.rdb");
    std::fs::write(&other, "old").unwrap();
    let executor = LocalRdb::new(move |_| Some(known.clone()), LocalDirectory::new(root.path()));
    let error = executor.limits(no_limits()).path(&other).make(&context()).unwrap_err();
    assert!(matches!(error, DriverError::Setting { .. }), "{error}");
    assert!(error.to_string().contains("dbfilename"), "{error}");
    assert_eq!(files(root.path()), [Path::new("other.rdb")]);
}
