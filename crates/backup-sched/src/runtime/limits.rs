//! Load as policies define it: over the limits that they set for a signal, jobs with these limits wait.

use std::collections::{BTreeMap, HashMap};

use sched_core::{LoadLevel, LoadState, Measured, MonoTime, Now, Reason, Scope, SensitivityName, SignalName};
use sched_limits::signal;
use sched_policy::{LoadLimit, SaidLimit, Sensitivity};

use super::signals::Directive;

/// Holds readings against the limits of policies, with hysteresis.
///
/// A limit concerns the jobs that have it, wherever the reading is of: each instance, host or group is closed for them
/// by its own readings. What nobody measures holds nobody back, nor does what was not told for so long that it is lost.
#[derive(Debug, Default)]
pub(crate) struct LoadLimits {
    /// Whom each signal keeps back.
    watches: HashMap<SignalName, Vec<Watch>>,
    /// What is over, by scope and by whom it keeps back there.
    over: BTreeMap<(Scope, SensitivityName), BTreeMap<(SignalName, SignalName), Over>>,
    /// Nothing that is over is lost before.
    first_lost: Option<MonoTime>,
}

#[derive(Debug)]
struct Watch {
    sensitivity: SensitivityName,
    limit: LoadLimit,
    said_by: String,
}

#[derive(Debug)]
struct Over {
    /// As a multiple of what closes: the worst gives the reason.
    by: f64,
    reason: Reason,
    lost: MonoTime,
}

/// A value of a signal.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    /// The probe or detector.
    pub(crate) source: &'a SignalName,
    pub(crate) signal: &'a SignalName,
    pub(crate) scope: &'a Scope,
    /// A share for a signal that tells how much there is.
    pub(crate) value: f64,
    pub(crate) unit: &'a str,
    /// When it counts no more unless it is told again.
    pub(crate) lost: MonoTime,
}

impl LoadLimits {
    pub(crate) fn new(sensitivities: Vec<Sensitivity>) -> Self {
        let mut this = Self::default();
        this.watch(sensitivities);
        this
    }

    /// Puts other limits in the place of those so far. What is over one that stays as it was is still over.
    pub(crate) fn replace(&mut self, sensitivities: Vec<Sensitivity>, directives: &mut Vec<Directive>) {
        self.watch(sensitivities);
        let watched = |(_, sensitivity): &(Scope, SensitivityName)| {
            self.watches.values().flatten().any(|watch| watch.sensitivity == *sensitivity)
        };
        let gone: Vec<_> = self.over.keys().filter(|key| !watched(key)).cloned().collect();
        for key in gone {
            self.over.remove(&key);
            directives.push(calm(key, "no policy has this limit any more"));
        }
    }

    fn watch(&mut self, sensitivities: Vec<Sensitivity>) {
        self.watches.clear();
        for Sensitivity { name, limits, .. } in sensitivities {
            for (signal, SaidLimit { limit, said_by, .. }) in limits {
                let watch = Watch { sensitivity: name.clone(), limit, said_by };
                self.watches.entry(signal).or_default().push(watch);
            }
        }
    }

    /// A signal has a value.
    pub(crate) fn hear(&mut self, told: Told<'_>, directives: &mut Vec<Directive>) {
        let own = self.watches.get(told.signal).into_iter().flatten();
        // `network` stands for `network:eth0` where that has no limit of its own.
        let kind = SignalName::from(signal::kind(told.signal));
        let of_kind = self.watches.get(&kind).filter(|_| kind != *told.signal).into_iter().flatten();
        let own_names: Vec<_> = own.clone().map(|watch| &watch.sensitivity).collect();
        let of_kind = of_kind.filter(|watch| !own_names.contains(&&watch.sensitivity));
        for watch in own.chain(of_kind) {
            let key = (told.scope.clone(), watch.sensitivity.clone());
            let source = (told.source.clone(), told.signal.clone());
            let known = self.over.get(&key);
            let (was_closed, was_over) = (known.is_some(), known.is_some_and(|it| it.contains_key(&source)));
            let LoadLimit { close_above, open_below, .. } = watch.limit;
            let over = if was_over { told.value >= open_below } else { told.value > close_above };
            if over {
                let by = told.value / close_above.abs().max(f64::MIN_POSITIVE);
                let over = Over { by, reason: watch.reason(told), lost: told.lost };
                self.first_lost = Some(self.first_lost.map_or(told.lost, |first| first.min(told.lost)));
                let all = self.over.entry(key.clone()).or_default();
                all.insert(source, over);
                directives.extend(busy(&key, all));
            } else if was_closed && let Some(all) = self.over.get_mut(&key) {
                all.remove(&source);
                if all.is_empty() {
                    self.over.remove(&key);
                    directives.push(calm(key, "every signal is below its limit again"));
                } else {
                    directives.extend(busy(&key, all));
                }
            }
        }
    }

    /// Time has passed: signals may be lost.
    pub(crate) fn tick(&mut self, now: Now, directives: &mut Vec<Directive>) {
        if self.first_lost.is_none_or(|first| first > now.mono) {
            return;
        }
        self.over.retain(|key, all| {
            let before = all.len();
            all.retain(|_, over| over.lost > now.mono);
            if all.is_empty() {
                directives.push(calm(key.clone(), "unknown: the signal is lost"));
            } else if all.len() < before {
                directives.extend(busy(key, all));
            }
            !all.is_empty()
        });
        self.first_lost = self.over.values().flat_map(BTreeMap::values).map(|over| over.lost).min();
    }

    /// When [`tick`](Self::tick) may have something to say.
    pub(crate) fn next_look(&self) -> Option<MonoTime> {
        self.first_lost
    }
}

impl Watch {
    fn reason(&self, told: Told<'_>) -> Reason {
        let LoadLimit { close_above, open_below, .. } = self.limit;
        let text = format!(
            "{} of {} keeps starts back from over {close_above} until it is below {open_below}, as {} says",
            told.signal, told.scope, self.said_by
        );
        let (signal, unit) = (told.signal.clone(), told.unit.to_owned());
        // That is what has to be reached now.
        Reason::measured(text, Measured::new(signal, told.value, open_below, unit))
    }
}

fn busy(
    (scope, sensitivity): &(Scope, SensitivityName),
    all: &BTreeMap<(SignalName, SignalName), Over>,
) -> Option<Directive> {
    let worst = all.values().max_by(|a, b| a.by.total_cmp(&b.by))?;
    let state = LoadState::new(LoadLevel::Busy, worst.reason.clone());
    Some(Directive::LoadOf(scope.clone(), sensitivity.clone(), state))
}

fn calm((scope, sensitivity): (Scope, SensitivityName), why: &'static str) -> Directive {
    let state = LoadState::new(LoadLevel::Calm, Reason::new(why));
    Directive::LoadOf(scope, sensitivity, state)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use sched_core::{Clock, JobSpec, ManualClock};
    use sched_policy::Policies;

    use super::*;

    const LOST: Duration = Duration::from_secs(50);

    struct Rig {
        clock: ManualClock,
        limits: LoadLimits,
    }

    fn policies(file: &str) -> Policies {
        Policies::builtin().with_toml("p.toml", file).unwrap()
    }

    fn sensitivity(policies: &Policies, instance: &str, technology: &str) -> SensitivityName {
        policies.resolve(&JobSpec::new(instance, technology)).unwrap().sensitivity.unwrap()
    }

    impl Rig {
        fn new(policies: &Policies) -> Self {
            Self { clock: ManualClock::default(), limits: LoadLimits::new(policies.sensitivities()) }
        }

        /// Who is busy or calm after a value of a source.
        fn say(&mut self, source: &str, signal: &str, of: &str, value: f64) -> Vec<String> {
            let mut directives = Vec::new();
            let lost = self.clock.now().mono + LOST;
            let (source, signal) = (&source.into(), &signal.into());
            let scope = &Scope::Instance(of.into());
            self.limits.hear(Told { source, signal, scope, value, unit: "s", lost }, &mut directives);
            said(directives)
        }

        fn pass(&mut self, time: Duration) -> Vec<String> {
            let mut directives = Vec::new();
            self.clock.advance(time);
            self.limits.tick(self.clock.now(), &mut directives);
            said(directives)
        }
    }

    fn said(directives: Vec<Directive>) -> Vec<String> {
        let text = |directive| match directive {
            Directive::LoadOf(scope, sensitivity, state) => {
                format!("{scope}: {sensitivity}: {}", state.level)
            }
            _ => panic!("only loads are said"),
        };
        directives.into_iter().map(text).collect()
    }

    const TWO: &str = "[technologies.a]\nload.lag = { close_above = 60.0, open_below = 10.0 }\n\
                       [technologies.b]\nload.lag = { close_above = 30.0, open_below = 20.0 }\n";

    #[test]
    fn each_limit_closes_and_opens_by_itself_with_a_gap_between() {
        let mut rig = Rig::new(&policies(TWO));
        assert!(rig.say("probe", "lag", "x", 30.0).is_empty(), "not over");
        assert_eq!(rig.say("probe", "lag", "x", 31.0), ["instance x: lag 30/20: busy"]);
        let both = ["instance x: lag 30/20: busy", "instance x: lag 60/10: busy"];
        assert_eq!(rig.say("probe", "lag", "x", 61.0), both);
        assert_eq!(rig.say("probe", "lag", "x", 20.0), both, "each stays closed down to its own");
        let one = ["instance x: lag 30/20: calm", "instance x: lag 60/10: busy"];
        assert_eq!(rig.say("probe", "lag", "x", 19.9), one);
        assert_eq!(rig.say("probe", "lag", "y", 19.9), Vec::<String>::new(), "another instance is another");
        assert_eq!(rig.say("probe", "lag", "x", 9.9), ["instance x: lag 60/10: calm"]);
        assert!(rig.say("probe", "other", "x", 1e9).is_empty());
        assert_eq!(rig.limits.next_look(), Some(rig.clock.now().mono + LOST));
        assert!(rig.pass(LOST).is_empty());
        assert_eq!(rig.limits.next_look(), None);
    }

    #[test]
    fn a_lost_signal_holds_nobody_back_and_other_sources_go_on() {
        let mut rig = Rig::new(&policies(TWO));
        rig.say("one", "lag", "x", 40.0);
        rig.pass(LOST / 2);
        rig.say("two", "lag", "x", 35.0);
        assert_eq!(rig.pass(LOST / 2), ["instance x: lag 30/20: busy"], "of two sources one is left");
        assert_eq!(rig.pass(LOST / 2), ["instance x: lag 30/20: calm"]);
    }

    #[test]
    fn the_reason_says_value_threshold_and_whose_it_is() {
        let file = "[labels.gold]\nload.lag = { close_above = 5.0, open_below = 1.0 }\n\
                    [instances.x]\ntechnology = 'sqlite'\nlabels = ['gold']\n";
        let mut rig = Rig::new(&policies(file));
        let (source, signal, scope) = (&"probe".into(), &"lag".into(), &Scope::Fleet);
        let mut directives = Vec::new();
        let told = Told { source, signal, scope, value: 7.0, unit: "s", lost: MonoTime::MAX };
        rig.limits.hear(told, &mut directives);
        let Some(Directive::LoadOf(_, _, state)) = directives.pop() else { panic!("busy") };
        assert_eq!(
            state.reason.to_string(),
            "lag of fleet keeps starts back from over 5 until it is below 1, as label gold, p.toml:2 says \
             (lag 7 s, threshold 1)"
        );
    }

    #[test]
    fn a_kind_of_signal_stands_for_those_without_a_limit_of_their_own() {
        let file = "[technologies.a.load]\nnetwork = { close_above = 0.5, open_below = 0.4 }\n\
                    'network:eth1' = { close_above = 0.9, open_below = 0.8 }\n";
        let policies = policies(file);
        let mut rig = Rig::new(&policies);
        let name = sensitivity(&policies, "x", "a");
        assert_eq!(rig.say("host", "network:eth0", "x", 0.6), [format!("instance x: {name}: busy")]);
        assert!(rig.say("host", "network:eth1", "y", 0.6).is_empty());
        assert_eq!(rig.say("host", "network:eth1", "y", 0.95), [format!("instance y: {name}: busy")]);
    }

    #[test]
    fn other_policies_let_go_of_what_they_do_not_limit_and_keep_the_rest_closed() {
        let mut rig = Rig::new(&policies(TWO));
        rig.say("probe", "lag", "x", 100.0);
        let mut directives = Vec::new();
        let only_a = policies("[technologies.a]\nload.lag = { close_above = 60.0, open_below = 10.0 }\n");
        rig.limits.replace(only_a.sensitivities(), &mut directives);
        assert_eq!(said(directives), ["instance x: lag 30/20: calm"]);
        assert_eq!(rig.say("probe", "lag", "x", 15.0), ["instance x: lag 60/10: busy"], "as before");
        assert_eq!(rig.say("probe", "lag", "x", 5.0), ["instance x: lag 60/10: calm"]);
    }

    proptest! {
        /// Beside one that keeps a flag for each limit, and forgets it when a source has been silent.
        #[test]
        fn agrees_with_a_naive_model(
            steps in prop::collection::vec((0..2_usize, 0..2_usize, 0.0..80.0_f64, 0..40_u64), 1..60)
        ) {
            let mut rig = Rig::new(&policies(TWO));
            let limits = [("lag 60/10", 60.0, 10.0), ("lag 30/20", 30.0, 20.0)];
            // By limit, source and instance: closed since the last value, which was told then.
            let mut model: BTreeMap<(usize, usize, usize), Duration> = BTreeMap::new();
            let mut busy: BTreeMap<String, bool> = BTreeMap::new();
            let mut at = Duration::ZERO;
            let follow = |busy: &mut BTreeMap<String, bool>, told: Vec<String>| {
                for told in told {
                    let (who, level) = told.rsplit_once(": ").unwrap();
                    busy.insert(who.to_owned(), level == "busy");
                }
            };
            for (source, instance, value, pause) in steps {
                let pause = Duration::from_secs(pause);
                at += pause;
                follow(&mut busy, rig.pass(pause));
                model.retain(|_, told| at < *told + LOST);
                follow(&mut busy, rig.say(["p", "q"][source], "lag", ["x", "y"][instance], value));
                for (n, (_, close, open)) in limits.iter().enumerate() {
                    let key = (n, source, instance);
                    let was = model.contains_key(&key);
                    if (was && value >= *open) || (!was && value > *close) {
                        model.insert(key, at);
                    } else {
                        model.remove(&key);
                    }
                }
                for (n, (name, ..)) in limits.iter().enumerate() {
                    for (i, instance) in ["x", "y"].iter().enumerate() {
                        let expected = (0..2).any(|source| model.contains_key(&(n, source, i)));
                        let who = format!("instance {instance}: {name}");
                        prop_assert_eq!(busy.get(&who).copied().unwrap_or(false), expected, "{}", who);
                    }
                }
            }
        }
    }
}
