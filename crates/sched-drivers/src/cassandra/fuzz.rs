//! What a node sends, damaged: rows or an error.

use std::io::{self, Read, Write};

use sched_fuzz::Target;

use super::cql::CqlConnection;
use super::tag::Tag;

/// A node that answers everything with the same bytes, and then hangs up.
struct Answers(io::Cursor<Vec<u8>>);

impl Read for Answers {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Answers {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn frames_are_read_or_refused() {
    let read = |bytes: &[u8]| {
        let stream = Box::new(Answers(io::Cursor::new(bytes.to_vec())));
        let mut connection = CqlConnection { server: "node".into(), stream };
        match connection.query("SELECT a FROM b") {
            Ok(rows) => {
                for row in rows.iter() {
                    row.number("load");
                    row.text("host_id");
                    row.texts("tokens");
                }
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    };
    Target::new(env!("CARGO_MANIFEST_DIR"), "cassandra-cql").run(read);
}

#[test]
fn names_of_snapshots_are_ours_or_somebody_elses() {
    let read = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        if let Some(tag) = Tag::parse(&text) {
            assert_eq!(tag.to_string(), text);
            tag.taken_by_another();
        }
    };
    Target::new(env!("CARGO_MANIFEST_DIR"), "cassandra-tags").run(read);
}
