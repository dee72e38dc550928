//! Policy files that are damaged anyhow: read, or refused with what is wrong and where; never a panic.

use sched_core::{BackupKind, JobSpec};
use sched_fuzz::Target;
use sched_policy::{Place, Policies, Problems};

/// A place is one that an editor can go to.
fn is_in(text: &str, place: &Place) {
    let line = text.split('\n').nth(place.line as usize - 1);
    let line = line.unwrap_or_else(|| panic!("line {} of {}", place.line, text.split('\n').count()));
    assert_eq!(place.text.trim_end_matches('\r'), line.trim_end_matches('\r'), "line {}", place.line);
    let (from, chars) = (place.column as usize - 1, place.text.chars().count());
    assert!(place.width > 0 && from + place.width as usize <= chars + 1, "{place:?} of {chars} characters");
}

fn can_be_shown(text: &str, problems: &Problems) {
    for problem in problems.iter() {
        assert!(!problem.message.is_empty(), "{problem:?}");
        is_in(text, problem.place.as_ref().expect("it was read from a text"));
    }
    assert_eq!(problems.to_string().is_empty(), problems.is_empty());
}

#[test]
fn fuzzed_policies_are_read_or_refused_with_a_place() {
    let read = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let policies = match Policies::builtin().with_toml("policy.toml", &text) {
            Ok(policies) => policies,
            Err(problems) => {
                assert!(problems.has_errors(), "refused for nothing");
                return can_be_shown(&text, &problems);
            }
        };
        can_be_shown(&text, policies.warnings());
        // What was accepted has terms, and can be asked what recurs.
        policies.recurring();
        for (name, instance) in policies.instances().take(20) {
            let Some(technology) = instance.technology.clone() else { continue };
            let spec = JobSpec::new(name.clone(), technology);
            for kind in [BackupKind::Full, BackupKind::Log] {
                // A kind that it does not have is an error of its own.
                let _ = policies.resolve(&spec.clone().kind(kind));
            }
        }
    };
    Target::new(env!("CARGO_MANIFEST_DIR"), "policies").cost(5).run(read);
}
