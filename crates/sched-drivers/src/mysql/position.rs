//! Where the logs stood when a backup was made: [`Position`], pure.

/// What a restored server needs to go on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// The server's own binary log, and the place in it.
    pub(super) log: Option<(String, String)>,
    /// The last global transaction id in the backup, as the server itself logged it.
    pub(super) gtid: Option<String>,
    /// As a replica: where it was in its primary's log.
    pub(super) primary: Option<String>,
}

impl Position {
    /// What it says under the names of a manifest's facts.
    pub(super) fn facts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let log = self
            .log
            .iter()
            .flat_map(|(file, position)| [("binlog_file", file), ("binlog_position", position)]);
        let gtid = self.gtid.iter().map(|gtid| ("gtid", gtid));
        let primary = self.primary.iter().map(|primary| ("primary_position", primary));
        log.chain(gtid).chain(primary).map(|(name, value)| (name, value.as_str()))
    }

    /// Takes a line that mariadb-backup or xtrabackup said.
    pub(super) fn hear(&mut self, line: &str) {
        if let Some((_, rest)) = line.split_once("MySQL binlog position: ") {
            self.log = quoted(rest, "filename '").zip(quoted(rest, "position '"));
            self.gtid = quoted(rest, "GTID of the last change '").filter(|gtid| !gtid.is_empty());
        } else if let Some((_, rest)) = line.split_once("MySQL slave binlog position: ") {
            self.primary = Some(rest.trim().to_owned());
        }
    }

    /// Takes a line of a dump.
    pub(super) fn read(&mut self, line: &str) {
        let change =
            line.starts_with("-- CHANGE MASTER TO ") || line.starts_with("-- CHANGE REPLICATION SOURCE TO ");
        if change && let Some(file) = quoted(line, "_LOG_FILE='") {
            let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
            let position = line.split_once("_LOG_POS=").map(|(_, rest)| digits(rest));
            self.log = Some(file).zip(position);
        } else if line.starts_with("-- SET GLOBAL gtid_slave_pos=")
            || line.starts_with("SET @@GLOBAL.GTID_PURGED=")
        {
            self.gtid = quoted(line, "'").filter(|gtid| !gtid.is_empty());
        }
    }
}

/// What stands between `mark`, which ends in a quote, and the next quote.
fn quoted(text: &str, mark: &str) -> Option<String> {
    let (_, rest) = text.split_once(mark)?;
    rest.split_once('\'').map(|(value, _)| value.to_owned())
}

/// Cuts what is read into lines, of which only the first bytes count: a row of a dump may be long.
#[derive(Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    const KEPT: usize = 1024;

    /// Hands each line that is over to `line`.
    pub(super) fn see(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str)) {
        loop {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            self.0.extend(&part[..part.len().min(Self::KEPT - self.0.len())]);
            let Some(end) = end else { return };
            line(&String::from_utf8_lossy(&self.0));
            self.0.clear();
            bytes = &bytes[end + 1..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_physical_backup_says_where_it_ends() {
        let mut position = Position::default();
        position.hear("[00] 2026-11-29 13:54:45 MySQL binlog position: filename 'bin.000001', position '1225', GTID of the last change '0-1-5'");
        position.hear(
            "[00] x MySQL slave binlog position: master host '10.0.0.1', filename 'bin.000009', position '4'",
        );
        let facts: Vec<_> = position.facts().collect();
        let primary = "master host '10.0.0.1', filename 'bin.000009', position '4'";
        assert_eq!(
            facts,
            [
                ("binlog_file", "bin.000001"),
                ("binlog_position", "1225"),
                ("gtid", "0-1-5"),
                ("primary_position", primary)
            ]
        );
    }

    #[test]
    fn a_dump_says_where_it_was_made() {
        let (mut position, mut lines) = (Position::default(), Lines::default());
        let dump = "-- CHANGE MASTER TO MASTER_USE_GTID=slave_pos;\n-- CHANGE MASTER TO MASTER_LOG_FILE='bin.000001', \
                    MASTER_LOG_POS=1225;\nINSERT\n-- SET GLOBAL gtid_slave_pos='0-1-5';\n";
        for part in dump.as_bytes().chunks(7) {
            lines.see(part, |line| position.read(line));
        }
        assert_eq!(position.log, Some(("bin.000001".into(), "1225".into())));
        assert_eq!(position.gtid.as_deref(), Some("0-1-5"));
    }

    #[test]
    fn a_long_row_takes_no_room() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for _ in 0..100 {
            lines.see(&[b'x'; 1000], |_| {});
        }
        lines.see(b"\nshort\n", |line| seen.push(line.len()));
        assert_eq!(seen, [Lines::KEPT, 5]);
    }
}
