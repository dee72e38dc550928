//! What a server sends, damaged: read or refused, in the room that it takes itself.

use std::io::Read;

use sched_fuzz::Target;

use super::check::RdbCheck;
use super::info::{Info, NEEDED};
use super::resp::{Value, request};

fn target(name: &str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

/// How many values there are, and the bytes in them.
fn size(value: &Value) -> usize {
    match value {
        Value::Simple(text) | Value::Error(text) => 1 + text.len(),
        Value::Bulk(bytes) => 1 + bytes.len(),
        Value::List(values) => 1 + values.iter().map(size).sum::<usize>(),
        Value::Number(_) | Value::Nothing => 1,
    }
}

#[test]
fn answers_are_read_or_refused() {
    let read = |bytes: &[u8]| {
        let mut from = bytes;
        while let Ok(value) = Value::read(&mut from) {
            let taken = bytes.len() - from.len();
            // A byte that is no text becomes a sign of three.
            assert!(size(&value) <= 3 * taken, "{} of {taken} bytes", size(&value));
            value.text();
            if from.is_empty() {
                break;
            }
        }
        // What is asked for is read as it was meant, whatever is in it.
        let asked = request(&[b"SET", bytes]);
        let expected = Value::List(vec![Value::Bulk(b"SET".to_vec()), Value::Bulk(bytes.to_vec())]);
        assert_eq!(Value::read(&mut &asked[..]).unwrap(), expected);
    };
    target("redis-resp").run(read);
}

#[test]
fn what_a_server_says_of_itself_is_read_or_passed_over() {
    let read = |bytes: &[u8]| {
        let info = Info::parse(&String::from_utf8_lossy(bytes));
        for name in ["used_memory", "used_memory_dataset", "rdb_last_bgsave_time_sec", "maxmemory"] {
            assert!(info.number(name).is_none_or(f64::is_finite));
            info.bytes(name);
        }
        info.replicas();
        info.commands().count();
        // Too old or not: no matter how its version is written.
        let _ = info.check_version("server", NEEDED);
    };
    target("redis-info").run(read);
}

#[test]
fn snapshots_are_whole_or_refused() {
    let whole = include_bytes!("../../tests/corpus/redis-rdb/whole");
    let read = |bytes: &[u8]| {
        let mut check = RdbCheck::new(bytes);
        let mut passed = Vec::new();
        check.read_to_end(&mut passed).unwrap();
        assert_eq!(passed, bytes);
        let is_whole = check.verify("snapshot").is_ok();
        let without_checksum = bytes.ends_with(&[0; 8]);
        assert!(!is_whole || without_checksum || bytes == whole, "a damaged one passes for whole");
        assert!(is_whole || bytes != whole);
    };
    target("redis-rdb").run(read);
}
