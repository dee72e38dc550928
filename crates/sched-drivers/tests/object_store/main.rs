//! Backups in object stores: in memory, in local files, in one that fails, and in a server that speaks as S3 does.

mod faulty;
#[path = "../rig/mod.rs"]
mod rig;

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use faulty::{Ask, Fault, Faulty};
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use rig::{Attempt, still};
use sched_core::JobSpec;
use sched_drivers::DriverError;
use sched_drivers::backup::{Backup, Manifest};
use sched_drivers::destination::{BackupId, Destination, MANIFEST, ObjectStoreDestination};
use sched_testbed::S3Server;

const MIB: usize = 1 << 20;
/// The least.
const PART: usize = 5 * MIB;

fn spec() -> JobSpec {
    JobSpec::new("orders", "generic")
}

fn memory() -> Faulty {
    Faulty::new(Arc::new(InMemory::new()))
}

fn destination(store: &Faulty) -> ObjectStoreDestination {
    ObjectStoreDestination::new(Arc::new(store.clone()), "a/prefix").part_bytes(PART)
}

/// Waits for something of a store beside the destination.
fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}

fn objects(store: &dyn ObjectStore) -> Vec<String> {
    let listed = wait(store.list(None).map(|object| object.map(|o| o.location.to_string())).try_collect());
    let mut objects: Vec<String> = listed.unwrap();
    objects.sort();
    objects
}

fn get(store: &dyn ObjectStore, path: &str) -> Vec<u8> {
    let path = Path::parse(path).unwrap();
    wait(async { store.get(&path).await.unwrap().bytes().await.unwrap() }).to_vec()
}

fn put(store: &dyn ObjectStore, path: &str, text: &str) {
    let path = Path::parse(path).unwrap();
    wait(store.put(&path, text.to_owned().into())).unwrap();
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n / 7 + n / MIB) as u8).collect()
}

fn make(destination: &ObjectStoreDestination, attempt: &Attempt, data: &[u8]) -> Result<String, DriverError> {
    let mut backup = Backup::begin(&attempt.ctx, destination)?;
    backup.store("a/b.tar", data)?;
    backup.complete().map(|done| done.location)
}

fn kind(error: &DriverError) -> ErrorKind {
    let DriverError::Destination { source, .. } = error else { panic!("{error:?}") };
    source.kind()
}

/// A small file, one of a part exactly, one of some parts, and one that ends with a part.
fn keeps_whole_backups(store: Arc<dyn ObjectStore>) {
    let destination = ObjectStoreDestination::new(Arc::clone(&store), "a/prefix").part_bytes(PART);
    let attempt = Attempt::free(spec());
    let files =
        [("empty", 0), ("sub/small", 1000), ("part", PART), ("parts", 2 * PART + 77), ("even", 2 * PART)];
    let mut backup = Backup::begin(&attempt.ctx, &destination).unwrap();
    assert_eq!(objects(&*store).len(), 1, "the claim");
    for (name, length) in files {
        backup.store(name, &bytes(length)[..]).unwrap();
    }
    assert!(!objects(&*store).iter().any(|path| path.ends_with(MANIFEST)));
    let done = backup.complete().unwrap();

    assert!(done.location.starts_with("a/prefix/orders/full-") && done.location.ends_with("-j7-a1"));
    for (name, length) in files {
        assert!(get(&*store, &format!("{}/{name}", done.location)) == bytes(length), "{name}");
    }
    let manifest: Manifest =
        serde_json::from_slice(&get(&*store, &format!("{}/{MANIFEST}", done.location))).unwrap();
    assert_eq!((&manifest, manifest.files.len()), (&done.manifest, files.len()));
    assert_eq!(objects(&*store).len(), files.len() + 1, "{:?}", objects(&*store));
}

#[test]
fn memory_keeps_whole_backups() {
    let store = memory();
    keeps_whole_backups(Arc::new(store.clone()));
    assert_eq!((store.asked(Ask::Part), store.largest_part()), (5, PART));
}

#[test]
fn local_files_keep_whole_backups() {
    let root = tempfile::tempdir().unwrap();
    keeps_whole_backups(Arc::new(LocalFileSystem::new_with_prefix(root.path()).unwrap()));
}

#[test]
fn an_abandoned_backup_leaves_nothing_and_takes_no_other() {
    let root = tempfile::tempdir().unwrap();
    let local = LocalFileSystem::new_with_prefix(root.path()).unwrap().with_automatic_cleanup(true);
    for store in [memory(), Faulty::new(Arc::new(local))] {
        make(&destination(&store), &Attempt::free(spec()), b"kept").unwrap();
        let before = objects(&store);
        let second = Attempt::nth(spec(), u64::MAX, 2);
        let destination = destination(&store);
        let mut backup = Backup::begin(&second.ctx, &destination).unwrap();
        backup.store("deep/in/it", &b"lost"[..]).unwrap();
        backup.store("large", &bytes(PART + 1)[..]).unwrap();
        drop(backup);
        assert_eq!(objects(&store), before);
    }
    assert_eq!(rig::files(root.path()).len(), 2);
    let folders = std::fs::read_dir(root.path().join("a/prefix/orders")).unwrap().count();
    assert_eq!(folders, 1);
}

#[test]
fn cancelled_midway_it_aborts_and_leaves_nothing() {
    let store = memory();
    let destination = destination(&store);
    let attempt = Attempt::new(spec(), (PART + MIB) as u64);
    thread::scope(|scope| {
        let made = scope.spawn(|| make(&destination, &attempt, &bytes(3 * PART)));
        rig::until("a part is sent", || store.asked(Ask::Part) == 1 && attempt.dam.passed() > PART as u64);
        attempt.cancel();
        assert!(matches!(made.join().unwrap(), Err(DriverError::Cancelled)));
    });
    assert_eq!((store.asked(Ask::Abort), store.asked(Ask::Finish)), (1, 0));
    assert_eq!(objects(&store), Vec::<String>::new());
}

#[test]
fn a_store_that_is_full_midway_is_the_destinations_fault() {
    for failing in [Ask::Begin, Ask::Part, Ask::Finish] {
        let store = memory();
        let least = if failing == Ask::Part { 2 } else { 1 };
        store.rule(move |ask, _, count| (ask == failing && count >= least).then_some(Fault::Full));
        let attempt = Attempt::free(spec().destination("store"));
        let error = make(&destination(&store), &attempt, &bytes(3 * PART)).unwrap_err();
        assert_eq!(kind(&error), ErrorKind::StorageFull);
        let error = error.into_run_error(&attempt.ctx);
        assert!(matches!(error, sched_core::RunError::Unavailable { .. }), "{error:?}");
        assert_eq!(store.asked(Ask::Abort), usize::from(failing != Ask::Begin));
        assert_eq!(objects(&store), Vec::<String>::new());
    }
}

#[test]
fn a_part_that_hangs_costs_a_time_out() {
    let store = memory();
    store.rule(|ask, _, count| (ask == Ask::Part && count == 2).then_some(Fault::Hang));
    let destination = destination(&store).request_timeout(Duration::from_millis(300));
    let attempt = Attempt::free(spec());
    let error = make(&destination, &attempt, &bytes(3 * PART)).unwrap_err();
    assert_eq!(kind(&error), ErrorKind::TimedOut);
    assert_eq!(store.asked(Ask::Abort), 1);
    assert_eq!(objects(&store), Vec::<String>::new());
}

#[test]
fn a_store_that_hangs_altogether_is_left_and_used_again() {
    let store = memory();
    let destination = destination(&store).request_timeout(Duration::from_millis(200));
    let attempt = Attempt::free(spec());
    let mut backup = Backup::begin(&attempt.ctx, &destination).unwrap();
    backup.store("first", &b"first"[..]).unwrap();
    store.rule(|_, _, _| Some(Fault::Hang));
    assert_eq!(kind(&backup.store("second", &bytes(2 * PART)[..]).unwrap_err()), ErrorKind::TimedOut);
    drop(backup);
    let next = Attempt::nth(spec(), u64::MAX, 2);
    assert_eq!(kind(&make(&destination, &next, b"x").unwrap_err()), ErrorKind::TimedOut);

    store.heal();
    // What could not be removed stays with its record, since this process runs.
    assert_eq!(objects(&store).len(), 2);
    let third = Attempt::nth(spec(), u64::MAX, 3);
    let location = make(&destination, &third, b"x").unwrap();
    assert!(location.ends_with("-a3"));
}

#[test]
fn an_answer_that_is_lost_loses_no_backup() {
    let store = memory();
    store.rule(|ask, path, _| (ask == Ask::Put && path.ends_with(MANIFEST)).then_some(Fault::LoseAnswer));
    let destination = destination(&store).request_timeout(Duration::from_millis(300));
    let location = make(&destination, &Attempt::free(spec()), b"x").unwrap();
    assert_eq!(objects(&store), [format!("{location}/a/b.tar"), format!("{location}/{MANIFEST}")]);
}

#[test]
fn a_manifest_that_is_not_certain_is_taken_back() {
    let store = memory();
    store.rule(|ask, path, _| match ask {
        Ask::Put if path.ends_with(MANIFEST) => Some(Fault::LoseAnswer),
        Ask::Get if path.ends_with(MANIFEST) => Some(Fault::Full),
        _ => None,
    });
    let destination = destination(&store).request_timeout(Duration::from_millis(300));
    let error = make(&destination, &Attempt::free(spec()), b"x").unwrap_err();
    assert_eq!(kind(&error), ErrorKind::TimedOut);
    assert_eq!(objects(&store), Vec::<String>::new());
}

#[test]
fn two_attempts_at_once_share_nothing() {
    let store = memory();
    let destination = destination(&store);
    let attempts = [1, 2, 3].map(|n| Attempt::nth(spec(), u64::MAX, n));
    let mut backups = attempts.each_ref().map(|attempt| Backup::begin(&attempt.ctx, &destination).unwrap());
    for (n, backup) in backups.iter_mut().enumerate() {
        backup.store("x", &[n as u8; 10][..]).unwrap();
    }
    let [first, second, third] = backups;
    drop(second);
    let (first, third) = (first.complete().unwrap(), third.complete().unwrap());
    assert_eq!(get(&store, &format!("{}/x", first.location)), [0; 10]);
    assert_eq!(get(&store, &format!("{}/x", third.location)), [2; 10]);
    assert_eq!(objects(&store).len(), 4);
}

#[test]
fn the_same_attempt_is_not_begun_twice() {
    let store = memory();
    let destination = destination(&store);
    let attempt = Attempt::free(spec());
    let id = BackupId::of(&attempt.ctx);
    let mut first = destination.begin(&id).unwrap();
    first.create("x").unwrap().finish().unwrap();
    assert_eq!(first.create("x").err().unwrap().kind(), ErrorKind::AlreadyExists);
    assert_eq!(destination.begin(&id).err().unwrap().kind(), ErrorKind::AlreadyExists);
    let location = first.complete(b"{}").unwrap();
    assert_eq!(objects(&store), [format!("{location}/{MANIFEST}"), format!("{location}/x")]);
}

#[test]
fn a_complete_backup_is_neither_replaced_nor_deleted() {
    let store = memory();
    let destination = destination(&store);
    let attempt = Attempt::free(spec());
    let location = make(&destination, &attempt, b"first").unwrap();
    let before = objects(&store);
    let error = make(&destination, &attempt, b"second").unwrap_err();
    assert_eq!(kind(&error), ErrorKind::AlreadyExists);
    assert_eq!(objects(&store), before);
    assert_eq!(get(&store, &format!("{location}/a/b.tar")), b"first");
}

#[test]
fn a_manifest_of_somebody_else_is_left_with_all_beside_it() {
    for completes in [true, false] {
        let store = memory();
        let attempt = Attempt::free(spec());
        let mut sink = destination(&store).begin(&BackupId::of(&attempt.ctx)).unwrap();
        let mut file = sink.create("x").unwrap();
        file.write_all(b"x").unwrap();
        file.finish().unwrap();
        let file = objects(&store).into_iter().find(|path| path.ends_with("/x")).unwrap();
        let manifest = file.replace("/x", "/manifest.json");
        put(&store, &manifest, "theirs");
        let ended = if completes { sink.complete(b"ours").map(drop) } else { sink.abandon() };
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!((get(&store, &manifest), get(&store, &file)), (b"theirs".to_vec(), b"x".to_vec()));
    }
}

#[test]
fn a_file_of_an_attempt_that_is_over_is_not_written_any_more() {
    let store = memory();
    let attempt = Attempt::free(spec());
    let mut sink = destination(&store).begin(&BackupId::of(&attempt.ctx)).unwrap();
    let (mut small, mut large) = (sink.create("small").unwrap(), sink.create("large").unwrap());
    small.write_all(b"late").unwrap();
    large.write_all(&bytes(PART + 1)).unwrap();
    sink.abandon().unwrap();
    assert!(large.write_all(&bytes(PART)).is_err());
    assert!(large.finish().is_err() && small.finish().is_err());
    assert_eq!(objects(&store), Vec::<String>::new());
    assert_eq!((store.asked(Ask::Begin), store.asked(Ask::Abort)), (1, 1));
}

/// What is left of an attempt whose process ended; returns its record.
fn crashed(store: &Faulty, attempt: u32, change: impl Fn(&mut serde_json::Value)) -> String {
    let earlier = Attempt::nth(spec(), u64::MAX, attempt);
    let mut sink = destination(store).begin(&BackupId::of(&earlier.ctx)).unwrap();
    sink.create("half/done").unwrap().finish().unwrap();
    std::mem::forget(sink);
    let suffix = format!("-a{attempt}");
    let found =
        objects(store).into_iter().find(|path| path.contains("/.attempts/") && path.ends_with(&suffix));
    let claim = found.unwrap();
    let mut record = serde_json::from_slice(&get(store, &claim)).unwrap();
    change(&mut record);
    put(store, &claim, &record.to_string());
    claim
}

fn dead(record: &mut serde_json::Value) {
    let ticks = &mut record["process"]["started_ticks"];
    *ticks = (ticks.as_u64().unwrap() + 1).into();
}

#[test]
fn what_a_crash_left_is_removed_by_the_next_backup() {
    let store = memory();
    crashed(&store, 1, dead);
    let location = make(&destination(&store), &Attempt::nth(spec(), u64::MAX, 2), b"x").unwrap();
    assert_eq!(objects(&store), [format!("{location}/a/b.tar"), format!("{location}/{MANIFEST}")]);
}

#[test]
fn nothing_is_removed_that_may_be_at_work() {
    let store = memory();
    let living = crashed(&store, 1, |_| {});
    let elsewhere = crashed(&store, 2, |record| {
        dead(record);
        record["host"] = "another".into();
    });
    let unreadable = crashed(&store, 3, |record| *record = "torn".into());
    let before = objects(&store);
    assert_eq!(before.len(), 6);
    drop(destination(&store).begin(&BackupId::of(&Attempt::nth(spec(), u64::MAX, 9).ctx)).unwrap());
    assert_eq!(objects(&store), before, "{living} {elsewhere} {unreadable}");
}

#[test]
fn a_crash_between_the_manifest_and_the_end_costs_no_backup() {
    let store = memory();
    let claim = crashed(&store, 1, dead);
    let folder = claim.replace("/.attempts", "");
    put(&store, &format!("{folder}/{MANIFEST}"), "{}");
    drop(destination(&store).begin(&BackupId::of(&Attempt::nth(spec(), u64::MAX, 9).ctx)).unwrap());
    assert_eq!(objects(&store), [format!("{folder}/half/done"), format!("{folder}/{MANIFEST}")]);
}

proptest! {
    #[test]
    fn no_instance_name_leaves_the_prefix(name in "[a-z./%é#? ]{1,60}") {
        let store = memory();
        let ctx = still(JobSpec::new(name, "generic"));
        let destination = destination(&store);
        let mut backup = Backup::begin(&ctx, &destination).unwrap();
        backup.store("x", &b"x"[..]).unwrap();
        let found = objects(&store);
        prop_assert!(found.iter().all(|path| path.starts_with("a/prefix/")), "{found:?}");
        let location = backup.complete().unwrap().location;
        prop_assert_eq!(location.split('/').count(), 4);
        prop_assert_eq!(get(&store, &format!("{location}/x")), b"x");
    }
}

fn s3(server: &S3Server) -> Arc<dyn ObjectStore> {
    s3_bucket(server, S3Server::BUCKET)
}

fn s3_bucket(server: &S3Server, bucket: &str) -> Arc<dyn ObjectStore> {
    // The client wants one though nothing here is encrypted; a second one is refused and not needed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = AmazonS3Builder::new()
        .with_endpoint(server.url())
        .with_allow_http(true)
        .with_bucket_name(bucket)
        .with_region("us-east-1")
        .with_access_key_id("key")
        .with_secret_access_key("secret");
    Arc::new(store.build().unwrap())
}

#[test]
#[ignore = "needs moto_server"]
fn s3_keeps_whole_backups_and_nothing_of_others() {
    let server = S3Server::start().unwrap();
    keeps_whole_backups(s3(&server));
    assert_eq!(server.unfinished_uploads().unwrap(), 0);

    let store = s3(&server);
    let destination = ObjectStoreDestination::new(Arc::clone(&store), "a/prefix").part_bytes(PART);
    let before = objects(&*s3(&server));
    let attempt = Attempt::nth(spec(), (PART + MIB) as u64, 2);
    thread::scope(|scope| {
        let made = scope.spawn(|| make(&destination, &attempt, &bytes(3 * PART)));
        rig::until("an upload is begun", || server.unfinished_uploads().unwrap() == 1);
        attempt.cancel();
        assert!(matches!(made.join().unwrap(), Err(DriverError::Cancelled)));
    });
    assert_eq!(server.unfinished_uploads().unwrap(), 0);
    assert_eq!(objects(&*s3(&server)), before);
}

#[test]
#[ignore = "needs moto_server"]
fn s3_takes_backups_at_once_through_one_client_and_each_only_once() {
    let server = S3Server::start().unwrap();
    let destination = ObjectStoreDestination::new(s3(&server), "").part_bytes(PART);
    let attempts = [1, 2, 3].map(|n| Attempt::nth(spec(), u64::MAX, n));
    thread::scope(|scope| {
        let made =
            attempts.each_ref().map(|attempt| scope.spawn(|| make(&destination, attempt, &bytes(2 * PART))));
        for made in made {
            made.join().unwrap().unwrap();
        }
    });
    let store = s3(&server);
    assert_eq!(objects(&*store).len(), 6);
    let error = make(&destination, &attempts[0], b"again").unwrap_err();
    assert_eq!(kind(&error), ErrorKind::AlreadyExists, "{error}");
    assert_eq!(objects(&*store).len(), 6);
}

#[test]
#[ignore = "needs moto_server"]
fn an_s3_that_stops_midway_or_lacks_the_bucket_is_an_error_that_says_so() {
    let server = S3Server::start().unwrap();
    let destination = ObjectStoreDestination::new(s3(&server), "").request_timeout(Duration::from_secs(2));
    let attempt = Attempt::free(spec());
    let mut backup = Backup::begin(&attempt.ctx, &destination).unwrap();
    server.process.signal(rustix::process::Signal::STOP);
    let error = backup.store("x", &b"x"[..]).unwrap_err();
    assert_eq!(kind(&error), ErrorKind::TimedOut, "{error}");
    drop(backup);
    server.process.signal(rustix::process::Signal::CONT);

    let destination = ObjectStoreDestination::new(s3_bucket(&server, "nowhere"), "");
    let error = make(&destination, &attempt, b"x").unwrap_err();
    assert_eq!(kind(&error), ErrorKind::NotFound, "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}
