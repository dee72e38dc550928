//! What would this policy do to my fleet next week? The scheduler beside what users have now, on simulated time: a table,
//! and a page with pictures. See docs/simulation.md.
//!
//! `cargo run --release --example fleet_week -- [--fleet fleet.csv] [--loads loads.csv] [--policy policy.toml]`

mod args;
mod inputs;
mod page;
mod race;
mod table;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use args::{Args, USAGE};
use inputs::Inputs;
use page::Page;

fn main() -> ExitCode {
    sched_examples::run(USAGE, Args::parse(lexopt::Parser::from_env()), |args| run(&args))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let out = out(args)?;
    let inputs = Inputs::load(args)?;
    for warning in &inputs.warnings {
        eprintln!("{warning}\n");
    }
    let (instances, links) = (inputs.fleet.instances.len(), inputs.fleet.links.len());
    let about = format!(
        "{} day{} of {} instance{} on {links} link{}: {}.",
        args.days,
        plural(args.days as usize),
        table::number(instances as f64, 0),
        plural(instances),
        plural(links),
        inputs.about
    );
    println!("{about}\n");
    let contenders = race::race(&inputs, args.days);
    let lowest = sched_sim::lowest_peaks(&inputs.fleet, Some(&inputs.terms), 24 * args.days as usize);
    let groups = table::groups(&contenders, &lowest);
    println!("{}", table::text(&contenders, &groups));
    println!("{}\n", table::verdict(&contenders));
    println!("{MODEL}\n");
    let page = Page {
        fleet: &inputs.fleet,
        contenders: &contenders,
        groups: &groups,
        lowest: &lowest,
        about: &about,
    };
    std::fs::write(&out, page.html()).map_err(|error| format!("{}: {error}", out.display()))?;
    println!("The page:  {}", out.display());
    Ok(())
}

fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// What the figures rest on.
pub(crate) const MODEL: &str = "Simulated in fluid time: rates are constant between events, a paced backup gets at once what its \
control law comes to rest at, and plans change at events. Backup time and bytes agree within 5 % with a simulation in which \
the laws look at noisy readings every second (a test holds that on hundreds of instances). Nothing fails in this week.";

/// Where the page goes; told before the work is done if it cannot go there.
fn out(args: &Args) -> Result<PathBuf, Box<dyn Error>> {
    let out = match &args.out {
        Some(out) => out.clone(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/results/fleet_week.html"),
    };
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let name = out.file_name().ok_or_else(|| format!("--out: {} is no file", out.display()))?;
    Ok(folder.canonicalize()?.join(name))
}
