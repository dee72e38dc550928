//! A duration in four bytes.

use std::time::Duration;

/// How long a job is expected to run: to the millisecond up to 24 days, in whole seconds, rounded up, up to 68 years.
/// A fleet's backlog is made of jobs, and each of them has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span(u32);

impl Span {
    /// Set when the rest counts seconds.
    const SECONDS: u32 = 1 << 31;
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        match u32::try_from(duration.as_millis()) {
            Ok(millis) if millis < Self::SECONDS => Self(millis),
            _ => {
                let up = u64::from(duration.subsec_nanos() > 0);
                let seconds = u32::try_from(duration.as_secs().saturating_add(up)).unwrap_or(u32::MAX);
                Self(seconds.min(Self::SECONDS - 1) | Self::SECONDS)
            }
        }
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        match span.0 & !Span::SECONDS {
            seconds if span.0 >= Span::SECONDS => Self::from_secs(seconds.into()),
            millis => Self::from_millis(millis.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_span_is_what_it_was_made_of(millis in 0..2_147_483_647_000_u64) {
            let span = Duration::from(Span::from(Duration::from_millis(millis)));
            let less = if millis < 1 << 31 { 0 } else { 999 };
            let span = u64::try_from(span.as_millis()).unwrap();
            prop_assert!((millis..=millis + less).contains(&span), "{span} of {millis}");
        }
    }

    #[test]
    fn the_longest_span_is_68_years() {
        let longest = Duration::from_secs((1 << 31) - 1);
        assert_eq!(Duration::from(Span::from(longest)), longest);
        assert_eq!(Duration::from(Span::from(Duration::MAX)), longest);
        assert_eq!(Duration::from(Span::from(longest + Duration::from_nanos(1))), longest);
    }
}
