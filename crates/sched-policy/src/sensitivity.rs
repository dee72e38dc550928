//! Which jobs are kept back by which signals: [`Sensitivity`].

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use sched_core::{BackupKind, JobSpec, MAX_NAME_BYTES, SensitivityName, SignalName};

use crate::explain::origin;
use crate::level::{Level, Origin};
use crate::load::LoadLimit;
use crate::policies::Policies;

/// The signals that keep jobs of one [sensitivity](sched_core::JobTerms::sensitivity) back, and from which values on.
///
/// Jobs with the same limits have the same one, whoever said them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sensitivity {
    /// The name that the terms of such jobs have. It follows from the limits alone.
    pub name: SensitivityName,
    /// The limit of each signal.
    pub limits: BTreeMap<SignalName, SaidLimit>,
}

/// A limit, and whose it is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SaidLimit {
    /// From which value on nothing starts, and below which it does again.
    pub limit: LoadLimit,
    /// Who says it, for people: `label gold, policy.toml:12`. Where several say the same, the first, and how many others.
    pub said_by: String,
}

/// The name of what jobs with these limits are sensitive to; `None` where no signal keeps them back.
pub(crate) fn name(load: &BTreeMap<SignalName, Option<LoadLimit>>) -> Option<SensitivityName> {
    let mut name = String::new();
    for (signal, limit) in load {
        let Some(LoadLimit { close_above, open_below }) = limit else { continue };
        let comma = if name.is_empty() { "" } else { ", " };
        let _ = write!(name, "{comma}{signal} {close_above}/{open_below}");
    }
    if name.len() > MAX_NAME_BYTES {
        let mark = fnv1a(name.as_bytes());
        let kept = name.floor_char_boundary(MAX_NAME_BYTES - 20);
        name.truncate(kept);
        let _ = write!(name, "… {mark:016x}");
    }
    (!name.is_empty()).then(|| name.into())
}

/// The same in every version, as names are kept in journals (FNV-1a of 64 bits: Fowler, Noll and Vo).
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

impl Policies {
    /// Every sensitivity that jobs may have under these policies, by name: what a runtime is to hold readings against.
    ///
    /// Looks at each different set of levels once, so its cost follows [`distinct`](Self::distinct).
    pub fn sensitivities(&self) -> Vec<Sensitivity> {
        let mut found: BTreeMap<SensitivityName, BTreeMap<SignalName, (LoadLimit, Vec<Origin>)>> =
            BTreeMap::new();
        let mut seen = vec![false; self.chains.len()];
        let technologies = self.technologies.iter().map(|(name, known)| (name.as_str(), name, known.chain));
        let clusters = self.clusters.iter().map(|(name, it)| (name.as_str(), &it.technology, it.chain));
        // In order of their names, so that the same file says the same.
        let mut first: HashMap<_, _> = HashMap::new();
        for (name, it) in &self.instances {
            let of = first.entry(it.chain).or_insert((name, &it.technology));
            if name < of.0 {
                of.0 = name;
            }
        }
        let mut instances: Vec<_> =
            first.into_iter().map(|(chain, (name, technology))| (name.as_str(), technology, chain)).collect();
        instances.sort_unstable();
        for (name, technology, chain) in technologies.chain(clusters).chain(instances) {
            if std::mem::replace(&mut seen[chain.at()], true) {
                continue;
            }
            let mut layers = None;
            for kind in BackupKind::ALL {
                let effective = self.chains.effective(chain, kind);
                let Some(sensitivity) = effective.sensitivity() else { continue };
                let layers = layers
                    .get_or_insert_with(|| self.layers(&JobSpec::new(name, technology)).unwrap_or_default());
                let limits = found.entry(sensitivity.clone()).or_default();
                for (signal, limit) in &effective.load {
                    let Some(limit) = limit else { continue };
                    let origin = origin(layers, kind, &format!("load.{signal}"), "load").0;
                    let (_, origins) = limits.entry(signal.clone()).or_insert((*limit, Vec::new()));
                    origins.extend(origin.filter(|origin| !origins.contains(origin)));
                }
            }
        }
        let limit = |(signal, (limit, origins)): (SignalName, (LoadLimit, Vec<Origin>))| {
            (signal, SaidLimit { limit, said_by: said_by(&origins) })
        };
        let sensitivity = |(name, limits): (SensitivityName, BTreeMap<_, _>)| Sensitivity {
            name,
            limits: limits.into_iter().map(limit).collect(),
        };
        found.into_iter().map(sensitivity).collect()
    }
}

/// The strongest kind of level is named first: it is what somebody has written himself.
fn said_by(origins: &[Origin]) -> String {
    let own = |origin: &&Origin| !matches!(origin.level, Level::BuiltIn(_));
    let Some(first) = origins.iter().find(own).or(origins.first()) else { return "nobody".into() };
    match origins.len() - 1 {
        0 => first.to_string(),
        others => format!("{first}, and {others} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(load: &[(&str, Option<(f64, f64)>)]) -> BTreeMap<SignalName, Option<LoadLimit>> {
        let limit = |(close_above, open_below)| LoadLimit { close_above, open_below };
        load.iter().map(|(signal, of)| (SignalName::from(*signal), of.map(limit))).collect()
    }

    #[test]
    fn the_name_follows_from_the_limits() {
        assert_eq!(name(&limits(&[])), None);
        assert_eq!(name(&limits(&[("lag", None)])), None, "taken away");
        let lag = name(&limits(&[("lag", Some((60.0, 10.0))), ("cpu", Some((0.5, 0.25))), ("x", None)]));
        assert_eq!(lag, Some("cpu 0.5/0.25, lag 60/10".into()));
        let signals: Vec<_> = (0..40).map(|n| format!("signal-é-{n}")).collect();
        let mut many: Vec<_> = signals.iter().map(|signal| (signal.as_str(), Some((2.0, 1.0)))).collect();
        let long = name(&limits(&many)).unwrap();
        assert_eq!(long.check(), Ok(()));
        many[39].1 = Some((3.0, 1.0));
        assert_ne!(Some(long), name(&limits(&many)), "names that are cut off are told apart");
    }

    #[test]
    fn every_sensitivity_is_found_once_with_whose_it_is() {
        let file = "[labels.gold]\nload.replication_lag = { close_above = 5.0, open_below = 1.0 }\n\
                    [clusters.orders]\ntechnology = 'postgresql'\nlabels = ['gold']\n\
                    [instances.a]\ncluster = 'orders'\n\
                    [instances.b]\ntechnology = 'mongodb'\nlabels = ['gold']\n\
                    [instances.c]\ntechnology = 'sqlite'\nload.wal_mib = 'none'\n";
        let policies = Policies::builtin().with_toml("p.toml", file).unwrap();
        let found = policies.sensitivities();
        let of = |name: &str| found.iter().find(|it| it.name.as_str() == name).unwrap();
        assert_eq!(
            of("replication_lag 5/1").limits[&"replication_lag".into()].said_by,
            "label gold, p.toml:2"
        );
        let lag = &of("replication_lag 60/10").limits[&"replication_lag".into()];
        assert!(lag.said_by.starts_with("built-in mongodb, builtin.toml:"), "{}", lag.said_by);
        assert!(of("history_list_length 1000000/500000, replication_lag 60/10").limits.len() == 2);
        for spec in [JobSpec::new("a", "postgresql"), JobSpec::new("b", "mongodb"), JobSpec::new("x", "etcd")]
        {
            let name = policies.resolve(&spec).unwrap().sensitivity.unwrap();
            assert_eq!(found.iter().filter(|it| it.name == name).count(), 1, "{name}");
        }
        assert_eq!(policies.resolve(&JobSpec::new("c", "sqlite")).unwrap().sensitivity, None);
        let log = JobSpec::new("a", "mysql").kind(BackupKind::Log);
        assert_eq!(Policies::builtin().resolve(&log).unwrap().sensitivity, None, "kinds differ");
    }
}
