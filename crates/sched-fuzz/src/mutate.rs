//! Inputs that are nearly right: [`Mutator`].

use std::collections::BTreeSet;
use std::ops::Range;

use fastrand::Rng;

/// Changes that are made of one input at most.
const MOST_CHANGES: usize = 4;
/// No input gets longer than this: what is wrong with length is wrong with less.
const LONGEST: usize = 256 << 10;
/// Words that are taken from a corpus.
const MOST_WORDS: usize = 2_000;
const LONGEST_WORD: usize = 40;
/// Bytes that mean something in one of the formats.
const TELLING: &[u8] = b"\0\x01\x7f\x80\xff\n\r\t \"'\\#=,.:;-+*$/()[]{}<>%@0169aZ";
/// Numbers at which something ends.
const NUMBERS: &[&str] = &[
    "",
    "-1",
    "0",
    "00",
    "1",
    "255",
    "256",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "1e9",
    "1e999",
    "-1e308",
    "0.1",
    "NaN",
    "inf",
    "99999999999999999999999999999999999999",
];

/// Makes inputs of others.
pub(crate) struct Mutator<'a> {
    seeds: &'a [Vec<u8>],
    /// What stands between blanks and punctuation in them.
    words: Vec<&'a [u8]>,
    random: Rng,
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(seeds: &'a [Vec<u8>], seed: u64) -> Self {
        let split = |seed: &'a Vec<u8>| seed.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
        let words: BTreeSet<&[u8]> =
            seeds.iter().flat_map(split).filter(|word| (1..=LONGEST_WORD).contains(&word.len())).collect();
        Self { seeds, words: words.into_iter().take(MOST_WORDS).collect(), random: Rng::with_seed(seed) }
    }

    /// Another input.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.any_seed().to_vec();
        for _ in 0..self.random.usize(1..=MOST_CHANGES) {
            self.change(&mut bytes);
            bytes.truncate(LONGEST);
        }
        bytes
    }

    fn any_seed(&mut self) -> &'a [u8] {
        &self.seeds[self.random.usize(..self.seeds.len())]
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        match self.random.u8(..13) {
            0 => self.flip(bytes),
            1 => {
                let byte = TELLING[self.random.usize(..TELLING.len())];
                self.overwrite(bytes, &[byte]);
            }
            2 => {
                let byte = TELLING[self.random.usize(..TELLING.len())];
                self.insert(bytes, &[byte]);
            }
            3 => drop(bytes.drain(self.piece(bytes.len()))),
            4 => self.repeat(bytes),
            5 => bytes.truncate(self.random.usize(..=bytes.len())),
            6 => self.splice(bytes),
            7 => self.word(bytes, false),
            8 => self.word(bytes, true),
            9 => self.number(bytes),
            10 => self.binary_number(bytes),
            11 => self.swap_lines(bytes),
            _ => {
                let noise: Vec<u8> = (0..self.random.usize(1..9)).map(|_| self.random.u8(..)).collect();
                self.insert(bytes, &noise);
            }
        }
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        if !bytes.is_empty() {
            bytes[self.random.usize(..bytes.len())] ^= 1 << self.random.u8(..8);
        }
    }

    fn insert(&mut self, bytes: &mut Vec<u8>, what: &[u8]) {
        let at = self.random.usize(..=bytes.len());
        bytes.splice(at..at, what.iter().copied());
    }

    fn overwrite(&mut self, bytes: &mut [u8], what: &[u8]) {
        let at = self.random.usize(..=bytes.len());
        for (byte, new) in bytes[at..].iter_mut().zip(what) {
            *byte = *new;
        }
    }

    /// A piece, mostly a short one.
    fn piece(&mut self, len: usize) -> Range<usize> {
        let from = self.random.usize(..=len);
        let most = if self.random.bool() { 16 } else { len };
        from..(from + self.random.usize(..=most)).min(len)
    }

    /// A piece again and again: what nests deep, and lists that are long.
    fn repeat(&mut self, bytes: &mut Vec<u8>) {
        let piece = self.piece(bytes.len());
        let times = 1 << self.random.u32(..12);
        let again = bytes[piece.clone()].repeat(times.min(LONGEST / piece.len().max(1)));
        bytes.splice(piece.end..piece.end, again);
    }

    /// The head of this with the end of another.
    fn splice(&mut self, bytes: &mut Vec<u8>) {
        let other = self.any_seed();
        bytes.truncate(self.random.usize(..=bytes.len()));
        bytes.extend_from_slice(&other[self.random.usize(..=other.len())..]);
    }

    fn word(&mut self, bytes: &mut Vec<u8>, over: bool) {
        if self.words.is_empty() {
            return;
        }
        let word = self.words[self.random.usize(..self.words.len())];
        if over { self.overwrite(bytes, word) } else { self.insert(bytes, word) }
    }

    /// A number that is written in digits becomes another.
    fn number(&mut self, bytes: &mut Vec<u8>) {
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let begins: Vec<usize> =
            (0..bytes.len()).filter(|at| digit(*at) && (*at == 0 || !digit(*at - 1))).collect();
        let Some(&from) = begins.get(self.random.usize(..begins.len().max(1))) else { return };
        let to = (from..bytes.len()).find(|at| !digit(*at)).unwrap_or(bytes.len());
        let new = NUMBERS[self.random.usize(..NUMBERS.len())];
        bytes.splice(from..to, new.bytes());
    }

    /// A number of two to eight bytes becomes one at which something ends, or a little more or less than it was.
    fn binary_number(&mut self, bytes: &mut [u8]) {
        let width = [2, 4, 8][self.random.usize(..3)];
        if bytes.len() < width {
            return;
        }
        let at = self.random.usize(..=bytes.len() - width);
        let place = &mut bytes[at..at + width];
        let high = 1_u64 << (8 * width as u32 - 1);
        let end = [0, 1, high - 1, high, high - 1 + high, high / 256][self.random.usize(..6)];
        let mut new = end.to_le_bytes();
        let new = &mut new[..width];
        if self.random.bool() {
            new.reverse();
        }
        place.copy_from_slice(new);
    }

    fn swap_lines(&mut self, bytes: &mut Vec<u8>) {
        let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        if lines.len() < 2 {
            return;
        }
        let (one, other) = (self.random.usize(..lines.len()), self.random.usize(..lines.len()));
        lines.swap(one, other);
        *bytes = lines.concat();
    }
}
