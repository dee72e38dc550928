//! Says what is wrong with a policy file, or what counts for an instance and who said so.
//!
//! `cargo run --example check -- FILE [INSTANCE [KIND]]`

use std::env;
use std::error::Error;
use std::process::ExitCode;

use backup_sched::policy::Policies;
use backup_sched::{BackupKind, Clock, SystemClock};

const USAGE: &str = "usage: check FILE [INSTANCE [KIND]]";

fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let checked = match args[..] {
        ["-h" | "--help"] => Ok(USAGE.to_owned()),
        [file] => check(file, None),
        [file, instance] => check(file, Some((instance, "full"))),
        [file, instance, kind] => check(file, Some((instance, kind))),
        _ => Err(USAGE.into()),
    };
    match checked {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// What there is to say about a file, or about an instance in it.
fn check(file: &str, instance: Option<(&str, &str)>) -> Result<String, Box<dyn Error>> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let policies = Policies::builtin().with_toml(file, &text)?;
    let Some((name, kind)) = instance else {
        let instances = policies.instances().count();
        let sound = format!("{file}: {instances} instances, {} sets of levels", policies.distinct());
        let windows = policies.check_windows(SystemClock.now().wall);
        if windows.has_errors() {
            return Err(windows.into());
        }
        let told = [policies.warnings(), &windows].into_iter().filter(|told| !told.is_empty());
        let told = told.map(|told| format!("{told}\n\n"));
        return Ok(told.chain([sound]).collect());
    };
    let known = BackupKind::ALL.into_iter().find(|known| known.to_string() == kind);
    let kind = known.ok_or_else(|| format!("there is no kind {kind:?} of backup"))?;
    let explanation = policies.explain_instance(&name.into(), kind);
    Ok(explanation.ok_or_else(|| format!("{file} names no instance {name:?}"))?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(name: &str) -> String {
        format!("{}/policies/{name}.toml", env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn it_says_who_said_what_counts() {
        let report = check(&example("fleet"), Some(("orders-2", "full"))).unwrap();
        let line = |key: &str| report.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
        assert!(line("rpo = ").contains("\"6h\""), "{report}");
        assert!(line("rpo = ").contains("# label gold, "), "{report}");
        assert!(line("roles = ").contains("# built-in postgresql, builtin.toml:"), "{report}");
        assert!(line("ceiling = ").contains("# instance orders-2, "), "{report}");
    }

    #[test]
    fn whatever_is_wrong_ends_it_with_what_would_be_right() {
        let error = |file: &str, instance| check(file, instance).unwrap_err().to_string();
        assert!(error("/nowhere.toml", None).starts_with("/nowhere.toml: "));
        assert!(error(&example("fleet"), Some(("order", "full"))).contains("names no instance \"order\""));
        assert!(error(&example("fleet"), Some(("orders-2", "half"))).contains("no kind \"half\""));
    }

    /// Every file that is shown to people is one that works.
    #[test]
    fn all_example_files_are_sound() {
        let mut files = 0;
        for entry in std::fs::read_dir(format!("{}/policies", env!("CARGO_MANIFEST_DIR"))).unwrap() {
            let file = entry.unwrap().path();
            let report = check(file.to_str().unwrap(), None);
            let report = report.unwrap_or_else(|error| panic!("{error}"));
            assert!(!report.contains("warning"), "{report}");
            files += 1;
        }
        assert!(files >= 3);
    }
}
