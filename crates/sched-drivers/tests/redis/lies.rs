//! Servers that are not what they say.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use sched_drivers::DriverError;
use sched_drivers::redis::RedisServer;
use sched_testbed::{self as testbed};

use super::carts::{context, rdb, spec};
use super::rig::{Attempt, files};

/// A server that gives these answers by the first words of requests.
fn liar(answers: Vec<(&'static str, Vec<u8>)>) -> RedisServer {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut asked = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut asked) {
                let text = String::from_utf8_lossy(&asked[..read]).into_owned();
                let answer = answers.iter().find(|(word, _)| text.contains(word));
                if stream.write_all(answer.map_or(b"-ERR no\r\n", |(_, answer)| answer)).is_err() {
                    break;
                }
            }
        }
    });
    RedisServer::new(address)
}

fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

#[test]
fn a_snapshot_that_was_changed_or_cut_is_refused() {
    // The snapshot of an empty server, as Redis 7.0 writes it without its time and memory, and a wrong checksum.
    let mut bytes = b"REDIS0010\xfa\x09redis-ver\x067.0.15\xff".to_vec();
    bytes.extend_from_slice(&[1; 8]);
    let begun = b"+FULLRESYNC 0123456789012345678901234567890123456789 77\r\n\n\n".to_vec();
    let mark = "m".repeat(40);
    let sized = [&begun[..], format!("${}\r\n", bytes.len()).as_bytes(), &bytes].concat();
    let marked = [&begun[..], format!("$EOF:{mark}\r\n").as_bytes(), &bytes, mark.as_bytes()].concat();
    for snapshot in [sized, marked] {
        let server = liar(vec![
            ("INFO", bulk("redis_version:7.0.15\r\nrole:master\r\n")),
            ("REPLCONF", b"+OK\r\n".to_vec()),
            ("PSYNC", snapshot),
        ]);
        let root = tempfile::tempdir().unwrap();
        for executor in [rdb(server.clone(), root.path()), rdb(server, root.path()).over_its_disk()] {
            let error = executor.make(&context()).unwrap_err();
            assert!(matches!(error, DriverError::Corrupt { .. }), "{error}");
            assert!(error.to_string().contains("checksum"), "{error}");
            assert!(files(root.path()).is_empty());
        }
    }
}

#[test]
fn an_attempt_that_waits_for_a_silent_server_can_be_cancelled() {
    let asked = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = RedisServer::new(listener.local_addr().unwrap().to_string());
    let heard = Arc::clone(&asked);
    // It forks for ever.
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            let answer = match () {
                () if text.contains("INFO") => bulk("redis_version:7.0.15\r\nrole:master\r\n"),
                () if text.contains("REPLCONF") => b"+OK\r\n".to_vec(),
                () => {
                    heard.store(true, Relaxed);
                    continue;
                }
            };
            stream.write_all(&answer).unwrap();
        }
    });
    let root = tempfile::tempdir().unwrap();
    let attempt = Attempt::free(spec());
    let error = thread::scope(|scope| {
        let run = scope.spawn(|| rdb(server, root.path()).make(&attempt.ctx));
        super::rig::until("the request", || asked.load(Relaxed));
        attempt.cancel();
        // Sooner than the minute for which a server may be silent.
        let patience = Duration::from_secs(30);
        testbed::wait_until("the end", patience, || run.is_finished().then_some(())).unwrap();
        run.join().unwrap().unwrap_err()
    });
    assert!(matches!(error, DriverError::Cancelled), "{error}");
    assert!(files(root.path()).is_empty());
}

#[test]
fn a_server_that_is_too_old_says_which_would_do() {
    let root = tempfile::tempdir().unwrap();
    let old = liar(vec![("INFO", bulk("redis_version:3.2.12\r\nrole:master\r\n"))]);
    let error = rdb(old, root.path()).make(&context()).unwrap_err();
    assert!(matches!(error, DriverError::TooOld { .. }), "{error}");
    // Before 7.0 a slow reader would cost it memory.
    let old = liar(vec![("INFO", bulk("redis_version:6.2.0\r\nrole:master\r\n"))]);
    let error = rdb(old, root.path()).over_its_disk().make(&context()).unwrap_err();
    assert!(matches!(&error, DriverError::TooOld { needed, .. } if needed == "Redis 7.0"), "{error}");
    assert!(error.is_permanent());
    assert!(files(root.path()).is_empty());
}
