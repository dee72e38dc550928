//! What of an answer is looked at before the library reads it: [`check`], pure.
//!
//! The library takes memory for as many columns as an answer says it has, and reads types as deep as they nest: an answer
//! that lies would end the process, where no error can be caught.

use scylla_cql::frame::response::ResponseOpcode;

/// Types of a real schema nest a few levels.
const DEEPEST: usize = 16;
const ROWS: u32 = 2;
const PREPARED: u32 = 4;

/// Refuses what was not asked for, and rows whose columns are not there or nest too deep.
pub(super) fn check(opcode: ResponseOpcode, body: &[u8]) -> Result<(), String> {
    match opcode {
        ResponseOpcode::Result => {}
        ResponseOpcode::Event | ResponseOpcode::Supported => return Err("nobody asked for that".into()),
        _ => return Ok(()),
    }
    let mut left = Left(body);
    match left.int() {
        Some(ROWS) => {
            let columns = left.columns().ok_or("its columns are not what it says, or nest too deep")?;
            left.rows(columns).ok_or_else(|| "its rows are not what it says".into())
        }
        Some(PREPARED) => Err("nothing was to be prepared".into()),
        _ => Ok(()),
    }
}

/// What is still to be looked at; `None` where it ends too early.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn int(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes(2)?.try_into().ok()?))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.short()?;
        self.bytes(length.into())
    }

    /// The columns that rows have. Each takes some bytes, so that a count that lies comes to an end.
    fn columns(&mut self) -> Option<u32> {
        const GLOBAL: u32 = 1;
        const MORE: u32 = 2;
        const NONE: u32 = 4;
        let (flags, count) = (self.int()?, self.int()?);
        if flags & MORE != 0 {
            let length = self.int()?;
            // Below zero: there is none.
            self.bytes(usize::try_from(length.cast_signed()).unwrap_or(0))?;
        }
        if flags & NONE != 0 {
            return (count == 0).then_some(0);
        }
        let has_global = flags & GLOBAL != 0;
        if has_global {
            self.string()?;
            self.string()?;
        }
        for _ in 0..count {
            if !has_global {
                self.string()?;
                self.string()?;
            }
            self.string()?;
            self.column_type(DEEPEST)?;
        }
        Some(count)
    }

    /// As many rows as there are bytes for: each cell begins with its length. Rows of no columns take none, and never end.
    fn rows(&mut self, columns: u32) -> Option<()> {
        let cells = u64::from(self.int()?) * u64::from(columns.max(1));
        let least = if columns == 0 { u64::MAX } else { 4 };
        (cells.saturating_mul(least) <= self.0.len() as u64).then_some(())
    }

    fn column_type(&mut self, deeper: usize) -> Option<()> {
        let deeper = deeper.checked_sub(1)?;
        match self.short()? {
            // The name of a class, with those of its parts in parentheses.
            0x00 => {
                let nested = self.string()?.iter().filter(|byte| **byte == b'(').count();
                (nested <= DEEPEST).then_some(())
            }
            0x20 | 0x22 => self.column_type(deeper),
            0x21 => self.column_type(deeper).and_then(|()| self.column_type(deeper)),
            0x30 => {
                self.string()?;
                self.string()?;
                for _ in 0..self.short()? {
                    self.string()?;
                    self.column_type(deeper)?;
                }
                Some(())
            }
            0x31 => (0..self.short()?).try_for_each(|_| self.column_type(deeper)),
            _ => Some(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of one column, with what comes after its name.
    fn rows(count: u32, types: &[u8]) -> Vec<u8> {
        let head = [ROWS, 1, count].map(u32::to_be_bytes).concat();
        [&head, &b"\0\x01k\0\x01t\0\x01c"[..], types, &[0; 4]].concat()
    }

    fn is_refused(body: &[u8]) -> bool {
        check(ResponseOpcode::Result, body).is_err()
    }

    #[test]
    fn columns_that_are_not_there_are_refused() {
        assert!(!is_refused(&rows(1, &[0, 9])));
        for count in [2, 1_000_000, u32::MAX >> 1, u32::MAX] {
            assert!(is_refused(&rows(count, &[0, 9])), "{count}");
        }
        assert!(is_refused(&rows(1, &[0, 0x30, 0])) && is_refused(&rows(1, &[0])));
        assert!(
            is_refused(&[ROWS, 4, 9].map(u32::to_be_bytes).concat()),
            "columns without a word about them"
        );
    }

    #[test]
    fn rows_that_are_not_there_are_refused() {
        let answer = |columns: u32, rows: u32, cells: &[u8]| {
            let mut body = rows_of(columns);
            body.extend(rows.to_be_bytes());
            body.extend(cells);
            is_refused(&body)
        };
        assert!(!answer(1, 0, &[]) && !answer(0, 0, &[]));
        assert!(!answer(1, 2, &[0, 0, 0, 1, 7, 255, 255, 255, 255]), "a byte, and a null");
        assert!(answer(1, 2, &[0, 0, 0, 1, 7]) && answer(1, u32::MAX, &[0; 100]));
        assert!(answer(0, 1, &[0; 100]) && answer(0, u32::MAX >> 1, &[]), "rows of nothing never end");
    }

    /// An answer up to its rows, of so many columns of numbers.
    fn rows_of(columns: u32) -> Vec<u8> {
        let head = [ROWS, 1, columns].map(u32::to_be_bytes).concat();
        [&head, &b"\0\x01k\0\x01t"[..], &b"\0\x01c\0\x09".repeat(columns as usize)].concat()
    }

    #[test]
    fn types_nest_a_few_levels() {
        let lists = |depth: usize| [[0, 0x20].repeat(depth), vec![0, 9]].concat();
        assert!(!is_refused(&rows(1, &lists(DEEPEST - 1))));
        assert!(is_refused(&rows(1, &lists(DEEPEST))) && is_refused(&rows(1, &lists(1_000_000))));
        let class = "ListType(".repeat(5_000);
        let custom = [&[0, 0][..], &(class.len() as u16).to_be_bytes(), class.as_bytes()].concat();
        assert!(is_refused(&rows(1, &custom)));
    }
}
