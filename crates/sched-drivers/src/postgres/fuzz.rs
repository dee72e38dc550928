//! What servers and tools send, damaged: read or refused.

use sched_fuzz::Target;

use super::base_tar::BaseTar;
use super::members::name_in;
use super::tool::major;

fn target(name: &str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

#[test]
fn base_backups_are_taken_or_refused_however_they_come() {
    let read = |bytes: &[u8]| {
        let taken = |piece: usize| {
            let (mut tar, mut parts) = (BaseTar::default(), Vec::new());
            for bytes in bytes.chunks(piece) {
                tar.take(bytes, &mut |part| parts.push(part));
            }
            (parts, tar.positions("base.tar").ok())
        };
        assert_eq!(taken(usize::MAX), taken(509));
    };
    target("postgres-tar").run(read);
}

#[test]
fn settings_and_versions_are_read_or_passed_over() {
    let read = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        name_in(&text);
        major(&text);
    };
    target("postgres-said").run(read);
}
