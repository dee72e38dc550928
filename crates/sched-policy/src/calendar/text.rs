//! Reading rules from text.

use jiff::civil::{Date, Weekday};

use super::rule::{DAY, Days, EVERY_DAY, ORDINALS, WEEKDAYS, bit};
use crate::nearest;

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at {at}: {what}")]
#[non_exhaustive]
pub struct RuleError {
    /// Which character, from 1.
    pub at: usize,
    /// What was found, and what would be right.
    pub what: String,
}

/// Where in a text the reader is.
pub(super) struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let mut cursor = Self { text, at: 0 };
        cursor.skip();
        cursor
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn skip(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn fail<T>(&self, at: usize, what: impl Into<String>) -> Result<T, RuleError> {
        let at = self.text[..at].chars().count() + 1;
        Err(RuleError { at, what: what.into() })
    }

    /// Characters as long as they are such.
    fn take(&mut self, such: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let word = &rest[..rest.find(|c| !such(c)).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn found(&mut self, sign: char) -> bool {
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len_utf8() } else { 0 };
        found
    }

    /// The days, every day when the text begins with a time.
    pub(super) fn days(&mut self) -> Result<Days, RuleError> {
        let (begin, rest) = (self.at, self.rest());
        if rest.is_empty() {
            return self.fail(begin, "expected days, a time, or both, as in mon-fri 22:00-06:00");
        }
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            let word = rest.split(char::is_whitespace).next().unwrap_or(rest);
            return if word.contains(':') { Ok(Days::Weekdays(EVERY_DAY)) } else { self.dates() };
        }
        let word = self.take(char::is_alphanumeric);
        if word == "daily" {
            return Ok(Days::Weekdays(EVERY_DAY));
        }
        if let Some((_, nth)) = ORDINALS.iter().find(|(name, _)| *name == word) {
            return self.of_month(*nth);
        }
        self.at = begin;
        self.weekdays()
    }

    fn of_month(&mut self, nth: i8) -> Result<Days, RuleError> {
        self.skip();
        let begin = self.at;
        if nth == -1 && self.rest().starts_with("day") {
            self.at += "day".len();
            return Ok(Days::LastDay);
        }
        let word = self.take(char::is_alphanumeric);
        self.weekday(word, begin).map(|weekday| Days::OfMonth(nth, weekday))
    }

    fn weekdays(&mut self) -> Result<Days, RuleError> {
        let mut set = 0;
        loop {
            let begin = self.at;
            let word = self.take(char::is_alphanumeric);
            let first = self.weekday(word, begin)?;
            let last = if self.found('-') {
                let begin = self.at;
                let word = self.take(char::is_alphanumeric);
                self.weekday(word, begin)?
            } else {
                first
            };
            let mut day = first;
            set |= bit(day);
            while day != last {
                day = day.next();
                set |= bit(day);
            }
            if !self.found(',') {
                return Ok(Days::Weekdays(set));
            }
            self.skip();
        }
    }

    fn weekday(&self, word: &str, at: usize) -> Result<Weekday, RuleError> {
        if let Some(day) = (0..7).find(|day: &i8| WEEKDAYS[usize::from(day.unsigned_abs())] == word)
            && let Ok(weekday) = Weekday::from_monday_zero_offset(day)
        {
            return Ok(weekday);
        }
        // A longer name of a weekday begins like it.
        let begins = WEEKDAYS.into_iter().find(|name| word.starts_with(name));
        match begins.or_else(|| nearest::of(word, WEEKDAYS.into_iter())) {
            Some(nearest) => self.fail(at, format!("{word:?} is no weekday, did you mean {nearest:?}?")),
            None => {
                let ordinals = ORDINALS.map(|(name, _)| name).join(", ");
                self.fail(at, format!("{word:?} is no weekday, date, or one of {ordinals}"))
            }
        }
    }

    fn dates(&mut self) -> Result<Days, RuleError> {
        let begin = self.at;
        let word = self.take(|c| c.is_ascii_digit() || c == '-');
        if word.len() <= 5 {
            let first = self.yearly(word, begin)?;
            let last = if self.found('/') {
                let begin = self.at;
                let word = self.take(|c| c.is_ascii_digit() || c == '-');
                self.yearly(word, begin)?
            } else {
                first
            };
            return Ok(Days::Yearly(first, last));
        }
        let first = self.date(word, begin)?;
        if !self.found('/') {
            return Ok(Days::Dates(first, first));
        }
        let begin = self.at;
        let word = self.take(|c| c.is_ascii_digit() || c == '-');
        let last = self.date(word, begin)?;
        if last < first {
            return self.fail(begin, format!("{last} is before {first}"));
        }
        Ok(Days::Dates(first, last))
    }

    fn date(&self, word: &str, at: usize) -> Result<Date, RuleError> {
        match word.parse() {
            Ok(date) => Ok(date),
            Err(_) => self.fail(at, format!("there is no {word}")),
        }
    }

    fn yearly(&self, word: &str, at: usize) -> Result<(i8, i8), RuleError> {
        // A leap year has them all.
        match format!("2024-{word}").parse::<Date>() {
            Ok(date) => Ok((date.month(), date.day())),
            Err(_) => self.fail(at, format!("no year has a {word}")),
        }
    }

    /// The first minute and how many; the whole day when nothing is left.
    pub(super) fn times(&mut self) -> Result<(u16, u16), RuleError> {
        self.skip();
        if self.rest().is_empty() {
            return Ok((0, DAY));
        }
        let begin = self.at;
        let from = self.time()?;
        if from == DAY {
            return self.fail(begin, "a time begins before 24:00");
        }
        if !self.found('-') {
            return self.fail(self.at, "expected \"-\" and the end of the time, as in 22:00-06:00");
        }
        let to = self.time()?;
        let minutes = if to > from { to - from } else { to + DAY - from };
        Ok((from, minutes))
    }

    fn time(&mut self) -> Result<u16, RuleError> {
        let (hour, at) = (self.number("an hour, as in 22:00")?, self.at);
        if hour.0 > 24 {
            return self.fail(hour.1, format!("the hour {} is over 24", hour.0));
        }
        if !self.found(':') {
            return self.fail(at, "expected \":\" and the minute, as in 22:00");
        }
        let minute = self.number("a minute, as in 22:00")?;
        if minute.0 > 59 {
            return self.fail(minute.1, format!("the minute {} is over 59", minute.0));
        }
        let time = hour.0 * 60 + minute.0;
        if time > DAY { self.fail(hour.1, "no time is later than 24:00") } else { Ok(time) }
    }

    fn number(&mut self, wanted: &str) -> Result<(u16, usize), RuleError> {
        let begin = self.at;
        match self.take(|c| c.is_ascii_digit()).parse() {
            Ok(number) => Ok((number, begin)),
            Err(_) => self.fail(begin, format!("expected {wanted}")),
        }
    }

    pub(super) fn end(&mut self) -> Result<(), RuleError> {
        self.skip();
        match self.rest() {
            "" => Ok(()),
            rest => self.fail(self.at, format!("nothing is expected after the time, found {rest:?}")),
        }
    }
}
