//! A backup is complete or absent, and cleaning up takes nothing that belongs to others.

mod rig;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use rig::{Attempt, files, still};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sched_core::JobSpec;
use sched_drivers::DriverError;
use sched_drivers::backup::{Backup, Manifest};
use sched_drivers::command::ProcessMark;
use sched_drivers::destination::{BackupId, Destination, LocalDirectory, MANIFEST};
use sha2::{Digest, Sha256};

fn spec() -> JobSpec {
    JobSpec::new("orders", "generic")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_complete_backup_is_private_and_says_what_it_holds() {
    let root = tempfile::tempdir().unwrap();
    let ctx = still(spec());
    let data: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    let mut backup = Backup::begin(&ctx, &LocalDirectory::new(root.path())).unwrap();
    backup.tool("test 1");
    backup.fact("position", "0/16B3748");
    backup.store("a/b.tar", &data[..]).unwrap();
    let done = backup.complete().unwrap();

    let folder = Path::new(&done.location);
    assert_eq!(fs::read(folder.join("a/b.tar")).unwrap(), data);
    let digest: String = Sha256::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((done.manifest.files[0].bytes, &done.manifest.files[0].sha256), (300_000, &digest));
    let on_disk: Manifest = serde_json::from_slice(&fs::read(folder.join(MANIFEST)).unwrap()).unwrap();
    assert_eq!(on_disk, done.manifest);
    assert_eq!((on_disk.attempt, &*on_disk.tool, &*on_disk.facts["position"]), (1, "test 1", "0/16B3748"));
    for directory in [folder, &folder.join("a"), folder.parent().unwrap()] {
        assert_eq!(mode(directory), 0o700);
    }
    assert_eq!((mode(&folder.join("a/b.tar")), mode(&folder.join(MANIFEST))), (0o600, 0o600));
    assert_eq!(files(folder).len(), 2, "{:?}", files(folder));
}

#[test]
fn an_abandoned_backup_leaves_nothing_and_takes_no_other() {
    let root = tempfile::tempdir().unwrap();
    let destination = LocalDirectory::new(root.path());
    let ctx = still(spec());
    let mut backup = Backup::begin(&ctx, &destination).unwrap();
    backup.store("kept", &b"kept"[..]).unwrap();
    backup.complete().unwrap();
    let before = files(root.path());

    let second = Attempt::nth(spec(), u64::MAX, 2);
    let mut backup = Backup::begin(&second.ctx, &destination).unwrap();
    backup.store("deep/in/it", &b"lost"[..]).unwrap();
    drop(backup);
    assert_eq!(files(root.path()), before);
    let folders = fs::read_dir(root.path().join("orders")).unwrap().count();
    assert_eq!(folders, 1);
}

#[test]
fn cancelled_midway_it_is_abandoned() {
    let root = tempfile::tempdir().unwrap();
    let attempt = Attempt::new(spec(), 200_000);
    attempt.cancel();
    let mut backup = Backup::begin(&attempt.ctx, &LocalDirectory::new(root.path())).unwrap();
    assert!(matches!(backup.store("x", &[0; 300_000][..]), Err(DriverError::Cancelled)));
    assert!(matches!(backup.complete(), Err(DriverError::Cancelled)));
    assert_eq!(files(root.path()), Vec::<std::path::PathBuf>::new());
}

/// What is left of an attempt whose process died: a partial folder with its record.
fn crashed(root: &Path, attempt: u32, owner: &ProcessMark) -> std::path::PathBuf {
    let earlier = Attempt::nth(spec(), u64::MAX, attempt);
    let mut sink = LocalDirectory::new(root).begin(&BackupId::of(&earlier.ctx)).unwrap();
    sink.create("half/done").unwrap().write_all(b"half").unwrap();
    std::mem::forget(sink);
    let partial = fs::read_dir(root.join("orders"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().ends_with(&format!("partial-{attempt}")))
        .unwrap();
    let record = fs::read_to_string(partial.join(".attempt")).unwrap();
    let own = serde_json::to_string(&ProcessMark::own()).unwrap();
    assert!(record.contains(&own));
    // Written anew: the sink that was forgotten still holds its own.
    fs::remove_file(partial.join(".attempt")).unwrap();
    fs::write(partial.join(".attempt"), record.replace(&own, &serde_json::to_string(owner).unwrap()))
        .unwrap();
    partial
}

fn dead() -> ProcessMark {
    let mut mark = ProcessMark::own();
    mark.started_ticks += 1;
    mark
}

fn begin_next(root: &Path) {
    let next = Attempt::nth(spec(), u64::MAX, 9);
    drop(Backup::begin(&next.ctx, &LocalDirectory::new(root)).unwrap());
}

#[test]
fn what_a_crash_left_is_removed_by_the_next_backup() {
    let root = tempfile::tempdir().unwrap();
    let partial = crashed(root.path(), 1, &dead());
    begin_next(root.path());
    assert!(!partial.exists());
}

#[test]
fn nothing_is_removed_under_a_scheduler_or_a_tool_that_still_runs() {
    let root = tempfile::tempdir().unwrap();
    let of_a_living_scheduler = crashed(root.path(), 1, &ProcessMark::own());
    let with_a_living_tool = crashed(root.path(), 2, &dead());
    let record = with_a_living_tool.join(".attempt");
    let tool = serde_json::json!({ "process": ProcessMark::own() });
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, format!("{text}{tool}\n")).unwrap();
    begin_next(root.path());
    assert!(of_a_living_scheduler.join("half/done").exists());
    assert!(with_a_living_tool.join("half/done").exists());
}

#[test]
fn nothing_is_removed_under_a_scheduler_that_cannot_be_seen_from_here() {
    let root = tempfile::tempdir().unwrap();
    let attempt = Attempt::nth(spec(), u64::MAX, 1);
    let sink = LocalDirectory::new(root.path()).begin(&BackupId::of(&attempt.ctx)).unwrap();
    // As it looks from another container, or from another machine of the same name.
    let record = root.path().join(&files(root.path())[0]);
    let own = serde_json::to_string(&ProcessMark::own()).unwrap();
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace(&own, &serde_json::to_string(&dead()).unwrap())).unwrap();
    begin_next(root.path());
    assert!(record.exists());
    drop(sink);
    assert!(!record.exists());
}

#[test]
fn a_record_that_was_torn_anywhere_counts_as_far_as_it_goes() {
    let root = tempfile::tempdir().unwrap();
    let partial = crashed(root.path(), 1, &dead());
    let record = partial.join(".attempt");
    let whole = fs::read(&record).unwrap();
    let entry = "{\"file\":\"größer\"}\n".as_bytes();
    fs::remove_dir_all(&partial).unwrap();
    for torn in 0..entry.len() {
        fs::create_dir_all(partial.join("half")).unwrap();
        fs::write(partial.join("half/done"), b"half").unwrap();
        fs::write(&record, [&whole[..], &entry[..torn]].concat()).unwrap();
        begin_next(root.path());
        assert!(!partial.exists(), "torn at byte {torn}");
    }
}

#[test]
fn a_folder_that_became_a_link_leads_nowhere() {
    let root = tempfile::tempdir().unwrap();
    let outside = root.path().join("outside");
    fs::create_dir_all(outside.join("half")).unwrap();
    fs::write(outside.join("done"), b"x").unwrap();
    fs::write(outside.join("half/done"), b"x").unwrap();

    let partial = crashed(root.path(), 1, &dead());
    fs::remove_dir_all(partial.join("half")).unwrap();
    symlink(&outside, partial.join("half")).unwrap();
    begin_next(root.path());
    assert!(outside.join("done").exists());

    fs::copy(partial.join(".attempt"), outside.join(".attempt")).unwrap();
    fs::remove_dir_all(&partial).unwrap();
    symlink(&outside, &partial).unwrap();
    begin_next(root.path());
    assert!(outside.join("half/done").exists());
}

const NO_ROOM: &str = "SCHED_DRIVERS_TEST_NO_ROOM";

/// Not a test of its own: a process whose files cannot grow, as on a disk that is full, and then can again.
#[test]
fn process_without_room() {
    let Some(root) = std::env::var_os(NO_ROOM) else { return };
    let room = |bytes| {
        let limit = Rlimit { current: bytes, ..getrlimit(Resource::Fsize) };
        setrlimit(Resource::Fsize, limit).unwrap();
    };
    let id = BackupId::of(&still(spec()));
    for bytes in (0..500).step_by(7) {
        room(Some(bytes));
        let begun = LocalDirectory::new(&root).begin(&id);
        let written = begun.and_then(|mut sink| {
            let first = sink.create("deep/in/it").and_then(|mut file| file.write_all(&[0; 300]));
            room(None);
            sink.create("once/there/was/room")?;
            first
        });
        room(None);
        assert!(written.is_err() || bytes > 300, "{bytes}");
        let left: Vec<_> = fs::read_dir(Path::new(&root).join("orders")).unwrap().collect();
        assert!(left.is_empty(), "with room for {bytes} bytes: {left:?}");
    }
}

#[test]
fn an_attempt_that_ran_out_of_room_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    // Without that signal the system says that there is no room, as a full disk would.
    let ran = Command::new("env")
        .arg("--ignore-signal=XFSZ")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "process_without_room"])
        .env(NO_ROOM, root.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
}

#[test]
fn a_backup_with_a_file_that_could_not_be_stored_is_never_complete() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("broken"))
        }
    }
    let root = tempfile::tempdir().unwrap();
    let ctx = still(spec());
    let mut backup = Backup::begin(&ctx, &LocalDirectory::new(root.path())).unwrap();
    backup.store("whole", &b"whole"[..]).unwrap();
    let half = std::io::Read::chain(&b"half"[..], Broken);
    assert!(matches!(backup.store("half", half), Err(DriverError::Source { .. })));
    assert!(matches!(backup.complete(), Err(DriverError::Destination { .. })));
    assert_eq!(files(root.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn files_that_no_attempt_wrote_down_stay() {
    let root = tempfile::tempdir().unwrap();
    let partial = crashed(root.path(), 1, &dead());
    fs::write(partial.join("a stranger's"), b"x").unwrap();
    let outside = root.path().join("outside");
    fs::write(&outside, b"x").unwrap();
    let record = partial.join(".attempt");
    let text = fs::read_to_string(&record).unwrap();
    let escape = serde_json::json!({ "file": "../../outside" });
    // The last line was torn by the crash.
    fs::write(&record, format!("{text}{escape}\n{{\"file\":\"to")).unwrap();
    let next = Attempt::nth(spec(), u64::MAX, 9);
    // Whatever the sweep says of it: the stranger's file is not its own, and the next backup is made.
    drop(Backup::begin(&next.ctx, &LocalDirectory::new(root.path())).unwrap());
    assert!(partial.join("a stranger's").exists());
    assert!(outside.exists());
}

#[test]
fn a_destination_that_is_full_is_the_destinations_fault() {
    let attempt = Attempt::free(spec().destination("store"));
    let full = rig::full_after(1000);
    let mut backup = Backup::begin(&attempt.ctx, &full).unwrap();
    let error = backup.store("x", &[0; 5000][..]).unwrap_err();
    assert!(
        matches!(&error, DriverError::Destination { source, .. } if source.kind() == std::io::ErrorKind::StorageFull)
    );
    let error = error.into_run_error(&attempt.ctx);
    assert!(matches!(error, sched_core::RunError::Unavailable { .. }), "{error:?}");
}

#[test]
fn a_backup_that_exists_is_never_replaced() {
    let root = tempfile::tempdir().unwrap();
    let ctx = still(spec());
    let make = |text: &[u8]| {
        let mut backup = Backup::begin(&ctx, &LocalDirectory::new(root.path()))?;
        backup.store("x", text)?;
        backup.complete()
    };
    let first = make(b"first").unwrap();
    assert!(make(b"second").is_err());
    assert_eq!(fs::read(Path::new(&first.location).join("x")).unwrap(), b"first");
}

proptest! {
    #[test]
    fn no_instance_name_leaves_the_root(name in "[a-z./%é ]{1,60}") {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("inner");
        let ctx = still(JobSpec::new(name, "generic"));
        let mut backup = Backup::begin(&ctx, &LocalDirectory::new(&inner)).unwrap();
        backup.store("x", &b"x"[..]).unwrap();
        let done = backup.complete().unwrap();
        prop_assert!(Path::new(&done.location).canonicalize().unwrap().starts_with(inner.canonicalize().unwrap()));
        prop_assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
