//! Policies from a file: what counts for an instance when all levels are merged, and how the file's errors are told. The file
//! is then broken in five ways, one after the other.
//!
//! `cargo run --release --example policies_from_toml`

use std::process::ExitCode;

use backup_sched::policy::Problems;
use backup_sched::{BackupKind, Policies};

/// A file that works; `check` says the same of yours.
const FILE: &str = include_str!("policies/fleet.toml");
const NAME: &str = "fleet.toml";
const INSTANCE: &str = "orders-2";

/// A way to break it: what is done, and a text of the file with what takes its place.
struct Break {
    what: &'static str,
    from: &'static str,
    to: &'static str,
}

const BREAKS: [Break; 5] = [
    Break {
        what: "a bracket is forgotten: no TOML",
        from: "[technologies.postgresql]",
        to: "[technologies.postgresql",
    },
    Break { what: "a key is misspelt", from: "expected_rate = ", to: "expected_rat = " },
    Break { what: "a value has no unit that is known", from: "\"60 MB/s\"", to: "\"60 megs\"" },
    Break {
        what: "a label is named that nobody defines",
        from: "labels = [\"gold\"]",
        to: "labels = [\"golf\"]",
    },
    Break {
        what: "a window has an hour that no clock shows",
        from: "mon-fri 21:00-06:00",
        to: "mon-fri 21:00-26:00",
    },
];

fn read(text: &str) -> Result<Policies, Problems> {
    Policies::builtin().with_toml(NAME, text)
}

impl Break {
    /// What is said of the broken file.
    fn problems(&self) -> Result<Problems, String> {
        let broken = FILE.replacen(self.from, self.to, 1);
        if broken == FILE {
            return Err(format!("{NAME} holds no {:?}", self.from));
        }
        read(&broken).err().ok_or_else(|| format!("{}: it was read all the same", self.what))
    }
}

fn main() -> ExitCode {
    match show() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<(), String> {
    let policies = read(FILE).map_err(|problems| problems.to_string())?;
    let merged = policies.explain_instance(&INSTANCE.into(), BackupKind::Full);
    let merged = merged.ok_or_else(|| format!("{NAME} names no {INSTANCE}"))?;
    println!("What counts for {INSTANCE}, and who says so:\n\n{merged}");
    for (n, way) in BREAKS.iter().enumerate() {
        let problems = way.problems()?;
        println!("\n{}. {}:\n", n + 1, way.what);
        println!("{problems}");
        for problem in problems.iter() {
            let place = problem.place.as_ref().ok_or("a problem without its place")?;
            println!("(line {}, column {})", place.line, place.column);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_break_it_is_told_where_it_stands() {
        for way in &BREAKS {
            let problems = way.problems().unwrap();
            let broken = FILE.replacen(way.from, way.to, 1);
            let line = 1 + broken[..broken.find(way.to).unwrap()].matches('\n').count();
            let place = problems.iter().next().unwrap().place.clone().unwrap();
            assert_eq!(place.line as usize, line, "{}: {problems}", way.what);
            assert!(
                place.column >= 1
                    && problems.to_string().contains(&format!("{NAME}:{line}:{}", place.column))
            );
        }
    }
}
