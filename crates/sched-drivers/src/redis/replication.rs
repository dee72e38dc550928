//! A snapshot as a new replica gets it: [`begin`], [`RdbStream`].

use std::io::{self, Read};
use std::time::Duration;

use super::connection::Connection;
use super::resp;
use crate::DriverError;

/// While a server saves it shows every second that it lives, but not while it forks, nor while a child that sends is
/// starved of its disk or processor. This is what Redis itself allows (`repl-timeout`).
const SILENCE: Duration = Duration::from_secs(60);
/// After so many random bytes a snapshot without a known length ends.
const MARK: usize = 40;
const CHUNK: usize = 128 << 10;

/// Where the server was in its history when the snapshot was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) id: String,
    pub(super) offset: String,
}

/// How the snapshot is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Out of the forked process where the server is set so, which lives as long as that takes.
    Direct,
    /// Saved on the server's disk first.
    OverItsDisk,
}

/// Asks for a snapshot and waits until the server has begun it.
pub(super) fn begin(connection: &mut Connection, way: Way) -> Result<Position, DriverError> {
    // From Redis 7: what is written meanwhile is not kept for us.
    match connection.ask(&[b"REPLCONF", b"rdb-only", b"1"])? {
        resp::Value::Error(error) if way == Way::OverItsDisk => return Err(connection.refused(&error)),
        _ => {}
    }
    if way == Way::Direct {
        connection.call(&[b"REPLCONF", b"capa", b"eof"])?;
    }
    connection.send(&[b"PSYNC", b"?", b"-1"])?;
    connection.silence(SILENCE);
    let line = next_line(connection)?;
    let mut words = line.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some("+FULLRESYNC"), Some(id), Some(offset)) => {
            Ok(Position { id: id.to_owned(), offset: offset.to_owned() })
        }
        _ => Err(match line.strip_prefix('-') {
            Some(error) => connection.refused(error),
            None => connection.strange(format!("PSYNC gave {line:?}")),
        }),
    }
}

/// A line that says something: empty ones only show that the server lives.
fn next_line(connection: &mut Connection) -> Result<String, DriverError> {
    loop {
        match resp::line(connection.stream()) {
            Ok(line) if line.is_empty() => {}
            Ok(line) => return Ok(line),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(connection.gave_up());
            }
            Err(error) => return Err(connection.broken(error)),
        }
    }
}

/// The bytes of a snapshot.
pub(super) struct RdbStream<'a> {
    connection: &'a mut Connection,
    end: End,
}

enum End {
    /// So many bytes are left.
    After(u64),
    /// It ends with this mark. What came last may be the beginning of it.
    Mark { mark: Vec<u8>, held: Vec<u8>, found: bool },
}

impl<'a> RdbStream<'a> {
    /// Waits until the bytes come.
    pub(super) fn begin(connection: &'a mut Connection) -> Result<Self, DriverError> {
        let line = next_line(connection)?;
        let end = match line.strip_prefix('$').map(|rest| (rest.strip_prefix("EOF:"), rest)) {
            Some((Some(mark), _)) if mark.len() == MARK => {
                Some(End::Mark { mark: mark.into(), held: Vec::new(), found: false })
            }
            Some((None, length)) => length.parse().ok().map(End::After),
            _ => None,
        };
        match (end, line.strip_prefix('-')) {
            (Some(end), _) => Ok(Self { connection, end }),
            (None, Some(error)) => Err(connection.refused(error)),
            (None, None) => Err(connection.strange(format!("the snapshot begins with {line:?}"))),
        }
    }

    /// How long it is, where the server knows.
    pub(super) fn length(&self) -> Option<u64> {
        match self.end {
            End::After(left) => Some(left),
            End::Mark { .. } => None,
        }
    }
}

impl Read for RdbStream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let from = self.connection.stream();
        match &mut self.end {
            End::After(left) => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
                if most == 0 {
                    return Ok(0);
                }
                let read = from.read(&mut buf[..most])?;
                *left -= read as u64;
                if read == 0 { Err(cut()) } else { Ok(read) }
            }
            End::Mark { mark, held, found } => {
                while !*found && held.len() <= MARK {
                    let before = held.len();
                    held.resize(before + CHUNK, 0);
                    let read = from.read(&mut held[before..]);
                    held.truncate(before + *read.as_ref().unwrap_or(&0));
                    if read? == 0 {
                        return Err(cut());
                    }
                    // Nothing follows the mark until a replica says that it has all.
                    *found = held.ends_with(mark);
                }
                let count = held.len().saturating_sub(MARK).min(buf.len());
                buf[..count].copy_from_slice(&held[..count]);
                held.drain(..count);
                Ok(count)
            }
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server ended the snapshot early; its log says why")
}
