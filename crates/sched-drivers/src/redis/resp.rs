//! The protocol's values (RESP 2): [`Value`].

use std::io::{self, BufRead, Read};

/// No answer that is asked for is longer than this, with all its parts.
const LONGEST: u64 = 64 << 20;
/// What a value takes in memory besides its bytes, and counts for: a list of nothing is not for nothing.
const VALUE_BYTES: u64 = size_of::<Value>() as u64;
const LONGEST_LINE: u64 = 64 << 10;
/// What `COMMAND` says of the keys of subcommands lies eight deep.
const DEEPEST: u32 = 16;

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Simple(String),
    Error(String),
    Number(i64),
    Bulk(Vec<u8>),
    List(Vec<Value>),
    Nothing,
}

impl Value {
    /// Reads one value with all that is in it.
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let mut left = LONGEST;
        Self::read_at(from, 0, &mut left)
    }

    /// As [`read`](Self::read), from what is `left` of the bytes that the whole answer may have.
    fn read_at(from: &mut impl BufRead, depth: u32, left: &mut u64) -> io::Result<Self> {
        let line = line(from)?;
        spend(left, VALUE_BYTES + line.len() as u64)?;
        let mut rest = line.chars();
        let kind = rest.next();
        let rest = rest.as_str();
        match kind {
            Some('+') => Ok(Self::Simple(rest.to_owned())),
            Some('-') => Ok(Self::Error(rest.to_owned())),
            Some(':') => rest.parse().map(Self::Number).map_err(|_| wrong(&line)),
            Some('$') => match length(rest, &line)? {
                None => Ok(Self::Nothing),
                Some(length) => {
                    spend(left, length)?;
                    let mut bytes = Vec::new();
                    from.take(length).read_to_end(&mut bytes)?;
                    let mut end = [0; 2];
                    from.read_exact(&mut end)?;
                    if bytes.len() as u64 == length && end == *b"\r\n" {
                        Ok(Self::Bulk(bytes))
                    } else {
                        Err(wrong(&line))
                    }
                }
            },
            Some('*') if depth < DEEPEST => match length(rest, &line)? {
                None => Ok(Self::Nothing),
                Some(count) => (0..count)
                    .map(|_| Self::read_at(from, depth + 1, left))
                    .collect::<io::Result<_>>()
                    .map(Self::List),
            },
            _ => Err(wrong(&line)),
        }
    }

    /// Its text, where it has one.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Simple(text) => Some(text.clone()),
            Self::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }
}

/// One line without its end.
pub(super) fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
    if bytes.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A request as the list of strings that it is.
pub(super) fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A length: -1 is nothing.
fn length(text: &str, line: &str) -> io::Result<Option<u64>> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(length) => {
            let length = u64::try_from(length).ok().filter(|length| *length <= LONGEST);
            length.map(Some).ok_or_else(|| wrong(line))
        }
        Err(_) => Err(wrong(line)),
    }
}

/// Takes bytes from what an answer may have.
fn spend(left: &mut u64, bytes: u64) -> io::Result<()> {
    *left = left.checked_sub(bytes).ok_or_else(|| {
        let problem = format!("an answer of more than {} MiB is not one of Redis", LONGEST >> 20);
        io::Error::new(io::ErrorKind::InvalidData, problem)
    })?;
    Ok(())
}

fn wrong(line: &str) -> io::Error {
    let start: String = line.chars().take(80).collect();
    io::Error::new(io::ErrorKind::InvalidData, format!("{start:?} is not of the protocol of Redis"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut text: &[u8]) -> io::Result<Value> {
        Value::read(&mut text)
    }

    #[test]
    fn values_are_read_as_they_are_written() {
        assert_eq!(read(b"+OK\r\n").unwrap(), Value::Simple("OK".into()));
        assert_eq!(read(b"-NOAUTH no\r\n").unwrap(), Value::Error("NOAUTH no".into()));
        let list = read(b"*3\r\n$2\r\na\n\r\n:-7\r\n$-1\r\n").unwrap();
        assert_eq!(list, Value::List(vec![Value::Bulk(b"a\n".to_vec()), Value::Number(-7), Value::Nothing]));
        assert_eq!(request(&[b"GET", b"a"]), b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    }

    #[test]
    fn nonsense_is_refused_and_takes_no_memory() {
        for bad in [
            &b"HTTP/1.1 400\r\n"[..],
            b"$99999999999\r\n",
            b"$-2\r\n",
            b"$5\r\nab",
            b"$1\r\nabc",
            b"+OK",
            b":x\r\n",
        ] {
            assert!(read(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert!(read(&b"*1\r\n".repeat(1000)).is_err());
    }

    /// A server that goes on sending, each value small enough by itself.
    #[test]
    fn an_answer_has_one_bound_for_all_that_is_in_it() {
        let megabyte = format!("$1048576\r\n{}\r\n", "x".repeat(1 << 20));
        for (value, times) in [(&*megabyte, 65), ("$-1\r\n", 2_100_000), (":1\r\n", 2_100_000)] {
            let answer = "*67108864\r\n".to_owned() + &value.repeat(times);
            let error = read(answer.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("more than 64 MiB"), "{times} times {value:.8}: {error}");
        }
        let large = format!("*2\r\n{megabyte}{megabyte}");
        assert!(matches!(read(large.as_bytes()).unwrap(), Value::List(parts) if parts.len() == 2));
    }
}
