//! All technologies by name: [`Policies`].

use std::collections::BTreeMap;

use sched_core::{JobSpec, JobTerms, NameError, TechnologyName};
use serde::Serialize;

use crate::builtin;
use crate::profile::Profile;

/// How alike a name must be to be suggested, as Jaro-Winkler similarity.
const ALIKE: f64 = 0.8;

/// The profiles of all technologies. Names are compared in lower case; common other names are understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Policies {
    profiles: BTreeMap<TechnologyName, Profile>,
}

impl Policies {
    /// MySQL, MariaDB, PostgreSQL, Cassandra, etcd, Redis, MongoDB, ClickHouse, SQLite, and `generic`.
    pub fn builtin() -> Self {
        let profiles = builtin::technologies().into_iter();
        Self { profiles: profiles.map(|(name, profile)| (name.into(), profile)).collect() }
    }

    /// With the profile of a technology added or replaced.
    ///
    /// # Errors
    /// When the name cannot be used.
    pub fn with(
        mut self,
        technology: impl Into<TechnologyName>,
        profile: Profile,
    ) -> Result<Self, PolicyError> {
        let name = technology.into();
        name.check().map_err(|source| PolicyError::Name { name: name.clone(), source })?;
        self.profiles.insert(plain(&name), profile);
        Ok(self)
    }

    /// All technologies and their profiles, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&TechnologyName, &Profile)> {
        self.profiles.iter()
    }

    /// The profile of a technology.
    ///
    /// # Errors
    /// When there is none.
    pub fn profile(&self, technology: &TechnologyName) -> Result<&Profile, PolicyError> {
        let name = self.canonical_name(technology)?;
        // The canonical name is one of the keys.
        self.profiles.get(&name).ok_or_else(|| self.unknown(technology))
    }

    /// The name under which a technology is known here: lower case, and the usual one of several.
    ///
    /// # Errors
    /// When there is no such technology.
    pub fn canonical_name(&self, technology: &TechnologyName) -> Result<TechnologyName, PolicyError> {
        let name = plain(technology);
        if self.profiles.contains_key(&name) {
            return Ok(name);
        }
        let alias = builtin::ALIASES.iter().find(|(alias, _)| *alias == name.as_str());
        let usual = alias.map(|(_, usual)| TechnologyName::from(*usual));
        usual.filter(|usual| self.profiles.contains_key(usual)).ok_or_else(|| self.unknown(technology))
    }

    /// The terms under which a request runs.
    ///
    /// # Errors
    /// When its technology is unknown.
    pub fn resolve(&self, spec: &JobSpec) -> Result<JobTerms, PolicyError> {
        self.profile(&spec.technology).map(|profile| profile.terms(spec))
    }

    fn unknown(&self, technology: &TechnologyName) -> PolicyError {
        let name = plain(technology);
        let alike = |known: &TechnologyName| strsim::jaro_winkler(known.as_str(), name.as_str());
        let nearest = self.profiles.keys().map(|known| (alike(known), known));
        let nearest = nearest.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0));
        let known: Vec<_> = self.profiles.keys().map(TechnologyName::as_str).collect();
        PolicyError::UnknownTechnology {
            name: technology.clone(),
            nearest: nearest.map(|(_, known)| known.clone()),
            known: known.join(", "),
        }
    }
}

impl Default for Policies {
    fn default() -> Self {
        Self::builtin()
    }
}

fn plain(name: &TechnologyName) -> TechnologyName {
    name.as_str().trim().to_lowercase().into()
}

/// Why no policy could be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No technology has that name.
    #[error(
        "technology: {name:?} is not known{}; known are {known}; add your own with `Policies::with`",
        match nearest { Some(nearest) => format!(", did you mean {nearest:?}?"), None => String::new() }
    )]
    UnknownTechnology {
        /// The name found.
        name: TechnologyName,
        /// The most similar known name, if one is similar.
        nearest: Option<TechnologyName>,
        /// All known names.
        known: String,
    },
    /// The name of a new technology cannot be used.
    #[error("technology: the name {name:?} cannot be used: {source}")]
    Name {
        /// The name.
        name: TechnologyName,
        /// Why.
        source: NameError,
    },
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::time::Duration;

    use sched_core::{BackupKind, Priority};

    use super::*;

    #[test]
    fn an_unknown_technology_gets_a_suggestion() {
        let policies = Policies::builtin();
        let error = |name: &str| policies.resolve(&JobSpec::new("a", name)).unwrap_err().to_string();
        assert_eq!(
            error("postgress"),
            "technology: \"postgress\" is not known, did you mean \"postgresql\"?; known are cassandra, clickhouse, \
             etcd, generic, mariadb, mongodb, mysql, postgresql, redis, sqlite; add your own with `Policies::with`"
        );
        assert!(!error("zzz").contains("did you mean"));
    }

    #[test]
    fn names_are_understood_in_any_case_and_by_their_other_names() {
        let policies = Policies::builtin();
        let name = |name: &str| policies.canonical_name(&name.into()).unwrap();
        assert_eq!(name("PostgreSQL").as_str(), "postgresql");
        assert_eq!(name("postgres").as_str(), "postgresql");
        assert_eq!(name("Valkey").as_str(), "redis");
        assert!(Policies::builtin().with("", Profile::new()).is_err());
        for (_, usual) in builtin::ALIASES {
            assert!(policies.profile(&usual.into()).is_ok(), "{usual}");
        }
    }

    #[test]
    fn logs_go_first_and_soon() {
        let policies = Policies::builtin();
        for technology in ["mysql", "mariadb", "postgresql", "mongodb"] {
            let terms = policies.resolve(&JobSpec::new("a", technology).kind(BackupKind::Log)).unwrap();
            assert_eq!(terms.priority, Priority::Critical, "{technology}");
            assert!(terms.rpo <= Duration::from_secs(15 * 60), "{technology}");
        }
    }

    #[test]
    fn a_profile_round_trips_and_refuses_unknown_keys() {
        for (_, profile) in Policies::builtin().iter() {
            let json = serde_json::to_string(profile).unwrap();
            assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), *profile);
        }
        assert!(serde_json::from_str::<Profile>(r#"{"priorty":"low"}"#).is_err());
    }

    /// The table that the documentation shows is made from the data.
    #[test]
    fn the_documented_defaults_are_the_real_ones() {
        let hours = |d: Duration| format!("{:.4}", d.as_secs_f64() / 3600.0);
        let trimmed = |text: String| text.trim_end_matches('0').trim_end_matches('.').to_owned();
        let mut table = String::from(
            "\n# Built-in defaults\n\n| technology | kind | class | RPO, h | expected, h | floor, MB/s | may pause |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for (name, profile) in Policies::builtin().iter() {
            let others = profile.kinds.iter().map(|(kind, profile)| (kind.to_string(), profile));
            for (kind, p) in std::iter::once(("any other".to_owned(), profile)).chain(others) {
                let kind = if profile.kinds.is_empty() { "any".into() } else { kind };
                let (rpo, expected) = (trimmed(hours(p.rpo)), trimmed(hours(p.expected_duration)));
                let floor = p.floor_bytes_per_sec / 1_000_000;
                let pause = if p.pausable { "yes" } else { "no" };
                writeln!(
                    table,
                    "| {name} | {kind} | {} | {rpo} | {expected} | {floor} | {pause} |",
                    p.priority
                )
                .unwrap();
            }
        }
        assert_eq!(include_str!("../defaults.md"), table, "write this into defaults.md:\n{table}");
    }
}
