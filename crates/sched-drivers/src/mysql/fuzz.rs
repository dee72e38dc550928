//! What servers and tools say, damaged: read or passed over.

use sched_fuzz::Target;

use super::grants::lacking;
use super::position::{Lines, Position};
use super::version::ServerVersion;

#[test]
fn what_servers_and_tools_say_is_read_or_passed_over() {
    let read = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let (mut position, mut lines, mut longest) = (Position::default(), Lines::default(), 0);
        for piece in bytes.chunks(7) {
            lines.see(piece, |line| {
                position.hear(line);
                position.read(line);
                longest = longest.max(line.len());
            });
        }
        assert!(longest <= 3 * 1_024, "a line of {longest} bytes is kept");
        assert!(position.facts().all(|(name, _)| !name.is_empty()));
        let said: Vec<String> = text.lines().map(str::to_owned).collect();
        // Nothing that is damaged gives a privilege of another name.
        let needed = ["SELECT", "no such privilege"];
        let lacks = lacking(&said, &["shop".to_owned()], &needed);
        assert!(lacks.len() <= needed.len());
        for version in
            [ServerVersion::of_server(&text, ""), ServerVersion::of_tool(&text)].into_iter().flatten()
        {
            version.to_string();
            version.at_least(10, 5);
        }
    };
    Target::new(env!("CARGO_MANIFEST_DIR"), "mysql-said").run(read);
}
