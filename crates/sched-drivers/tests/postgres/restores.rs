//! Backups are restored into fresh servers, whose contents are what was committed.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use sched_drivers::backup::Completed;
use sched_drivers::destination::LocalDirectory;
use sched_drivers::postgres::{BaseBackup, Checkpoint, Dump};
use sched_testbed::Postgres;

use crate::rig::{
    Foreground, MONEY, Meddled, at, context, context_that_tells, more_marks, reach, shop, shop_with,
};

/// A handle by which another thread asks the server.
type Asked = Arc<Mutex<Postgres>>;

/// A destination in whose midst the shop goes on for a while.
fn slow(root: &Path, shop: &Asked) -> Meddled {
    let shop = Arc::clone(shop);
    Meddled::once_at(root, 2 << 20, move || more_marks(&shop.lock().unwrap(), 40))
}

fn unpack(done: &Completed, into: &Path) {
    let archive = File::open(Path::new(&done.location).join("base.tar")).unwrap();
    let status = Command::new("tar").arg("--extract").arg("--directory").arg(into).stdin(archive).status();
    assert!(status.unwrap().success());
}

/// What had been committed where the backup ends is in the restored server, and no half of a transaction.
fn assert_restored(shop: &Postgres, done: &Completed) {
    // A copy of a standby would go on as one.
    assert_restored_with(shop, done, |data| drop(fs::remove_file(data.join("standby.signal"))));
}

/// As [`assert_restored`], with what is to be done to the files before the server starts.
fn assert_restored_with(shop: &Postgres, done: &Completed, ready: impl Fn(&Path)) {
    let facts = &done.manifest.facts;
    let (start, end) = (&facts["start_lsn"], &facts["end_lsn"]);
    let unpacked = |data: &Path| {
        unpack(done, data);
        let mut verify = shop.tool("pg_verifybackup");
        if done.manifest.facts["wal"] == "archive" {
            verify.arg("--no-parse-wal");
        }
        let verified = verify.arg(data).output().unwrap();
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        ready(data);
        Ok(())
    };
    let restored = shop.restore(unpacked).unwrap();
    let marked = |range: &str| {
        shop.sql(&format!("select coalesce(string_agg(id::text, ','), '') from marks where {range}")).unwrap()
    };
    let committed = marked(&format!("lsn <= '{end}'"));
    let there = format!("select count(*) from notes where id = any('{{{committed}}}')");
    let count = committed.split(',').count();
    assert!(count > 20, "{count} notes");
    assert_eq!(restored.sql(&there).unwrap(), count.to_string());
    let while_copied = marked(&format!("lsn between '{start}' and '{end}'"));
    assert!(while_copied.split(',').count() >= 20, "written while the copy ran: {while_copied}");
    assert_eq!(restored.sql(MONEY).unwrap(), "2000000");
    assert_eq!(
        restored.sql("select count(*) from marks where id not in (select id from notes)").unwrap(),
        "0"
    );
    assert_eq!(restored.sql("select count(*) from ballast").unwrap(), "200000");
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_base_backup_of_a_primary_holds_all_that_was_committed() {
    let shop = shop();
    let foreground = Foreground::start(&shop);
    let root = tempfile::tempdir().unwrap();
    let server = reach(&shop);
    let shop = Arc::new(Mutex::new(shop));
    let executor = BaseBackup::new(at(server), slow(root.path(), &shop)).checkpoint(Checkpoint::Fast);
    let (phases, told) = channel();
    let ctx = context_that_tells(move |phase| phases.send(phase.to_owned()).unwrap());
    let done = executor.make(&ctx).unwrap();
    let shop = shop.lock().unwrap();
    more_marks(&shop, 5);
    drop(foreground);
    let facts = &done.manifest.facts;
    assert_eq!((&*facts["role"], &*facts["wal_held"], &*facts["wal"]), ("primary", "yes", "included"));
    assert!(done.manifest.tool.starts_with("pg_basebackup (PostgreSQL)"), "{}", done.manifest.tool);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["checkpoint", "copy", "wal"]);
    assert_restored(&shop, &done);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_base_backup_of_a_standby_holds_all_that_was_committed() {
    let shop = shop();
    let standby = shop.standby("two").unwrap();
    let foreground = Foreground::start(&shop);
    shop.wait_for(&standby).unwrap();
    let root = tempfile::tempdir().unwrap();
    let shop = Arc::new(Mutex::new(shop));
    let executor = BaseBackup::new(at(reach(&standby)), slow(root.path(), &shop));
    let done = executor.checkpoint(Checkpoint::Fast).make(&context()).unwrap();
    let shop = shop.lock().unwrap();
    more_marks(&shop, 5);
    drop(foreground);
    assert_eq!((&*done.manifest.facts["role"], &*done.manifest.facts["wal_held"]), ("standby", "yes"));
    assert_restored(&shop, &done);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_base_backup_without_wal_recovers_from_the_archive() {
    let archive = tempfile::tempdir().unwrap();
    let folder = archive.path().display();
    let copies = format!("cp %p {folder}/%f");
    let shop = shop_with(&[("archive_mode", "on"), ("archive_command", &copies)]);
    shop.give(archive.path()).unwrap();
    let foreground = Foreground::start(&shop);
    let root = tempfile::tempdir().unwrap();
    let server = reach(&shop);
    let shop = Arc::new(Mutex::new(shop));
    let executor = BaseBackup::new(at(server), slow(root.path(), &shop)).checkpoint(Checkpoint::Fast);
    let done = executor.without_wal().make(&context()).unwrap();
    drop(foreground);
    assert_eq!(done.manifest.facts["wal"], "archive");
    assert_restored_with(&shop.lock().unwrap(), &done, |data| {
        File::create(data.join("recovery.signal")).unwrap();
        let settings = format!("restore_command = 'cp {folder}/%f %p'\narchive_mode = off\n");
        fs::write(data.join("postgresql.auto.conf"), settings).unwrap();
    });
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_dump_holds_one_moment() {
    let shop = shop();
    let standby = shop.standby("two").unwrap();
    let foreground = Foreground::start(&shop);
    shop.wait_for(&standby).unwrap();
    for source in [&shop, &standby] {
        let before = shop.sql("select string_agg(id::text, ',') from marks").unwrap();
        if !std::ptr::eq(source, &shop) {
            shop.wait_for(source).unwrap();
        }
        let root = tempfile::tempdir().unwrap();
        let done = Dump::new(at(reach(source)), LocalDirectory::new(root.path())).make(&context()).unwrap();
        let restored = Postgres::start().unwrap();
        let mut restore = restored.tool("pg_restore");
        restore.args(["--exit-on-error", "--dbname=postgres"]);
        restore.arg(Path::new(&done.location).join("database.dump"));
        let output = restore.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let there = format!("select count(*) from notes where id = any('{{{before}}}')");
        assert_eq!(restored.sql(&there).unwrap(), before.split(',').count().to_string());
        assert_eq!(restored.sql(MONEY).unwrap(), "2000000");
        let torn = "select count(*) from marks where id not in (select id from notes)";
        assert_eq!(restored.sql(torn).unwrap(), "0");
        assert_eq!(restored.sql("select count(*) from ballast").unwrap(), "200000");
        assert_eq!(done.manifest.facts["database"], "postgres");
    }
    drop(foreground);
}
