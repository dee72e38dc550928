//! The fleet, and what policies say of it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use backup_sched::core::JobTerms;
use backup_sched::policy::Level;
use backup_sched::{JobSpec, Policies};
use sched_sim::{Fleet, FleetShape, Instance, LEARNED_DAYS, MONDAY, Terms};

use crate::args::Args;

pub(crate) struct Inputs {
    pub(crate) fleet: Fleet,
    pub(crate) terms: Terms,
    /// Where the two come from, for people.
    pub(crate) about: String,
    /// What the policies have to be warned of.
    pub(crate) warnings: Vec<String>,
}

impl Inputs {
    pub(crate) fn load(args: &Args) -> Result<Self, Box<dyn Error>> {
        let mut fleet = match &args.fleet {
            Some(file) => read(file)?,
            None => {
                let mut shape = FleetShape::default();
                shape.seed = args.seed;
                shape.instances = args.instances.unwrap_or(shape.instances);
                shape.generate()
            }
        };
        if let Some(file) = &args.loads {
            let name = file.display().to_string();
            let open = File::open(file).map_err(|error| format!("{name}: {error}"))?;
            fleet.read_loads(&name, BufReader::new(open))?;
        }
        let mut policies = Policies::builtin();
        if let Some(file) = &args.policy {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
            policies = policies.with_toml(&name, &text)?;
        }
        let terms = govern(&policies, &mut fleet)?;
        let windows = policies.check_windows(MONDAY);
        let warnings = [policies.warnings(), &windows].into_iter().filter(|told| !told.is_empty());
        let mut warnings: Vec<String> = warnings.map(ToString::to_string).collect();
        warnings
            .extend(args.loads.as_ref().and_then(|file| known_before(&fleet, args.days, &file.display())));
        let from = |file: &Option<_>, otherwise: String| {
            file.as_ref().map_or(otherwise, |file: &std::path::PathBuf| format!("from {}", file.display()))
        };
        let about = format!(
            "the fleet {}, {}the policies {}",
            from(&args.fleet, format!("generated from seed {}", args.seed)),
            recorded(&fleet, args),
            from(&args.policy, "those built in, with the fleet's own recovery point objectives".into())
        );
        Ok(Self { fleet, terms, about, warnings })
    }
}

fn read(file: &Path) -> Result<Fleet, Box<dyn Error>> {
    let name = file.display().to_string();
    let open = File::open(file).map_err(|error| format!("{name}: {error}"))?;
    Ok(Fleet::read(&name, BufReader::new(open))?)
}

/// Whose loads were recorded, for people.
fn recorded(fleet: &Fleet, args: &Args) -> String {
    let Some(file) = &args.loads else { return String::new() };
    let hosts = fleet.hosts.iter().filter(|host| host.recorded.is_some()).count();
    let all = fleet.hosts.len();
    format!("the loads of {hosts} of {all} hosts as recorded in {}, ", file.display())
}

/// A scheduler that has learned from the very days that it is then shown forecasts better than it would.
fn known_before(fleet: &Fleet, days: u32, file: &impl std::fmt::Display) -> Option<String> {
    let recorded = || fleet.hosts.iter().filter_map(|host| host.recorded.as_ref());
    let known = recorded().filter(|of| of.repeats_after_days() < days + LEARNED_DAYS).count();
    (known > 0).then(|| {
        format!(
            "{file}: {known} of {} recordings are shorter than the {LEARNED_DAYS} days of which the scheduler learns and those that \
             are simulated. They repeat, so it has seen before what comes, and does better than it would.",
            recorded().count()
        )
    })
}

/// The terms of each instance. An RPO that a policy file says counts for the fleet; where only the built-in policies say
/// one, that of the fleet does.
fn govern(policies: &Policies, fleet: &mut Fleet) -> Result<Terms, Box<dyn Error>> {
    let of = |instance: &Instance| -> Result<Arc<JobTerms>, Box<dyn Error>> {
        let host = &fleet.hosts[instance.host as usize].name;
        let spec = JobSpec::new(instance.name.as_str(), &*instance.technology)
            .host(host.as_str())
            .size_bytes(instance.bytes as u64);
        let explained =
            policies.explain(&spec).map_err(|error| format!("instance {:?}: {error}", instance.name))?;
        let rpo =
            explained.values.into_iter().find(|value| value.key == "rpo").and_then(|value| value.origin);
        let mut terms = policies.resolve(&spec)?;
        if rpo.is_none_or(|origin| matches!(origin.level, Level::BuiltIn(_))) {
            terms.rpo = instance.rpo;
        }
        Ok(Arc::new(terms))
    };
    let of = fleet.instances.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    let calendars = policies.calendars().map(|(name, calendar)| (name.clone(), calendar.clone()));
    let terms = Terms::new(of, calendars.collect::<BTreeMap<_, _>>());
    terms.apply(fleet);
    Ok(terms)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fleet(table: &str) -> Fleet {
        Fleet::read("fleet.csv", table.as_bytes()).unwrap()
    }

    #[test]
    fn what_a_policy_file_says_goes_before_the_fleet_and_that_before_what_is_built_in() {
        let mut fleet = fleet("instance,technology,size_gb,rpo_hours\na,mysql,1,30\nb,etcd,1,30\n");
        let file = "[calendars.nights]\nzone = \"UTC\"\nwindows = [\"20:00-06:00\"]\n\
                    [technologies.mysql]\nrpo = \"48h\"\nwindow = \"nights\"\n";
        let policies = Policies::builtin().with_toml("policy.toml", file).unwrap();
        let terms = govern(&policies, &mut fleet).unwrap();
        let hours: Vec<_> = fleet.instances.iter().map(|of| (of.rpo.as_secs() / 3600, of.every)).collect();
        let day = Duration::from_secs(86_400);
        assert_eq!(hours, [(48, day), (30, day)]);
        assert!(terms.of(0).unwrap().window.is_some() && terms.of(1).unwrap().window.is_none());
        assert_eq!(terms.calendars.len(), 1);
    }

    #[test]
    fn recordings_that_are_too_short_to_be_new_are_warned_of() {
        let recorded = |days: u32| {
            let mut fleet = fleet("instance,technology,size_gb\na,mysql,1\nb,etcd,1\n");
            let lines: String = (0..24 * days).map(|hour| format!("a,{hour},.3\n")).collect();
            fleet.read_loads("loads.csv", format!("host,hours,load\n{lines}").as_bytes()).unwrap();
            fleet
        };
        let told = known_before(&recorded(7), 7, &"loads.csv").unwrap();
        assert!(told.starts_with("loads.csv: 1 of 1 recordings are shorter"), "{told}");
        assert_eq!(known_before(&recorded(21), 7, &"loads.csv"), None);
        assert!(known_before(&recorded(21), 14, &"loads.csv").is_some());
    }

    #[test]
    fn an_unknown_technology_is_told_with_its_instance() {
        let mut fleet = fleet("instance,technology,size_gb\na,mysq,1\n");
        let told = govern(&Policies::builtin(), &mut fleet).unwrap_err().to_string();
        assert!(told.starts_with("instance \"a\": ") && told.contains("did you mean"), "{told}");
    }
}
