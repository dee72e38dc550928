//! Who says how busy each scope is, and the worst of it. Pure.

use std::collections::HashMap;

use sched_core::{LoadLevel, LoadState, Reason, Scope, TechnologyName};

use super::signals::Directive;

/// Who says how busy a scope is; of several that say the same the first is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The detector of this number.
    Detector(usize),
    /// Thresholds of probes.
    Probes,
    /// Business hours of calendars.
    Hours,
    /// What is usual at this hour.
    Usual,
}

/// A scope, for all that are there or as one technology feels it.
pub(super) type Subject = (Scope, Option<TechnologyName>);

/// What is said of each scope that somebody finds busy. Who finds it calm is not kept: a scope of which nobody says
/// anything is calm. Nothing here costs more the more scopes there are.
#[derive(Debug, Default)]
pub(super) struct Loads(HashMap<Subject, Vec<(Source, LoadState)>>);

impl Loads {
    /// Somebody says how busy a scope is. Tells the worst that is said of it if that is another now, be it in its
    /// numbers.
    pub(super) fn say(
        &mut self,
        source: Source,
        subject: Subject,
        state: &LoadState,
        directives: &mut Vec<Directive>,
    ) {
        let busy = state.level > LoadLevel::Calm;
        if !busy && !self.0.contains_key(&subject) {
            return;
        }
        let said = self.0.entry(subject.clone()).or_default();
        let before = worst(said).cloned();
        said.retain(|(by, _)| *by != source);
        if busy {
            let at = said.partition_point(|(by, _)| *by < source);
            said.insert(at, (source, state.clone()));
        }
        let after = worst(said).cloned();
        if after.is_none() {
            self.0.remove(&subject);
        }
        if after != before {
            let (scope, technology) = subject;
            directives.push(Directive::Load(scope, technology, after.unwrap_or_else(|| state.clone())));
        }
    }

    /// Somebody says it of several.
    pub(super) fn say_all(
        &mut self,
        source: Source,
        said: impl IntoIterator<Item = (Subject, LoadState)>,
        directives: &mut Vec<Directive>,
    ) {
        said.into_iter().for_each(|(subject, state)| self.say(source, subject, &state, directives));
    }
}

/// Neither busy nor a peak, for that reason.
pub(super) fn calm(why: &'static str) -> LoadState {
    LoadState::new(LoadLevel::Calm, Reason::new(why))
}

fn worst(said: &[(Source, LoadState)]) -> Option<&LoadState> {
    let states = said.iter().map(|(_, state)| state);
    states.reduce(|worst, state| if state.level > worst.level { state } else { worst })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(loads: &mut Loads, source: Source, host: &str, level: LoadLevel, why: &str) -> Vec<String> {
        let mut directives = Vec::new();
        let state = LoadState::new(level, Reason::new(why.to_owned()));
        loads.say(source, (Scope::Host(host.into()), None), &state, &mut directives);
        let text = |directive| match directive {
            Directive::Load(scope, None, state) => format!("{scope} {}: {}", state.level, state.reason),
            _ => panic!("another directive"),
        };
        directives.into_iter().map(text).collect()
    }

    #[test]
    fn the_worst_counts_its_numbers_are_told_and_who_is_calm_is_not_kept() {
        use LoadLevel::{Busy, Calm, Peak};
        let mut loads = Loads::default();
        let (first, second) = (Source::Detector(0), Source::Detector(1));
        assert!(say(&mut loads, first, "a", Calm, "quiet").is_empty(), "nobody took it for busy");
        assert_eq!(say(&mut loads, Source::Usual, "a", Busy, "twice"), ["host a busy: twice"]);
        assert_eq!(say(&mut loads, second, "a", Peak, "90 ms"), ["host a peak: 90 ms"]);
        assert!(say(&mut loads, second, "a", Peak, "90 ms").is_empty(), "once");
        assert_eq!(say(&mut loads, second, "a", Peak, "80 ms"), ["host a peak: 80 ms"]);
        assert_eq!(say(&mut loads, first, "a", Peak, "slow"), ["host a peak: slow"], "the first of equals");
        assert!(say(&mut loads, second, "a", Calm, "fast").is_empty());
        assert!(say(&mut loads, first, "b", Calm, "quiet").is_empty());
        assert_eq!(say(&mut loads, first, "a", Calm, "quiet"), ["host a busy: twice"]);
        assert_eq!(say(&mut loads, Source::Usual, "a", Calm, "unknown"), ["host a calm: unknown"]);
        assert!(loads.0.is_empty());
    }
}
