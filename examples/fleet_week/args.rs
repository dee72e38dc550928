//! What was asked for on the command line.

use std::path::PathBuf;

use lexopt::prelude::*;

pub(crate) const USAGE: &str = "\
What would a policy do to a fleet in a week? Simulates it beside what users have now, and writes a page.

cargo run --release --example fleet_week -- [OPTIONS]

  --fleet FILE      instances as comma-separated values (default: a fleet from the seed)
  --loads FILE      recorded loads of its hosts as comma-separated values
  --policy FILE     policies as TOML, over the built-in ones
  --instances N     instances of the fleet from the seed (10000)
  --seed N          which fleet (1)
  --days N          days that are simulated (7)
  --out FILE        the page (target/results/fleet_week.html)
  -h, --help        this text";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) fleet: Option<PathBuf>,
    pub(crate) loads: Option<PathBuf>,
    pub(crate) policy: Option<PathBuf>,
    pub(crate) out: Option<PathBuf>,
    pub(crate) instances: Option<u32>,
    pub(crate) seed: u64,
    pub(crate) days: u32,
}

impl Args {
    /// `None` when only help was asked for.
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        let mut args =
            Self { fleet: None, loads: None, policy: None, out: None, instances: None, seed: 1, days: 7 };
        while let Some(arg) = parser.next()? {
            match arg {
                Long("fleet") => args.fleet = Some(parser.value()?.into()),
                Long("loads") => args.loads = Some(parser.value()?.into()),
                Long("policy") => args.policy = Some(parser.value()?.into()),
                Long("out") => args.out = Some(parser.value()?.into()),
                Long("instances") => args.instances = Some(number(&mut parser, "--instances", 1, 5_000_000)?),
                Long("seed") => args.seed = parser.value()?.parse()?,
                Long("days") => args.days = number(&mut parser, "--days", 1, 35)?,
                Short('h') | Long("help") => return Ok(None),
                _ => return Err(arg.unexpected()),
            }
        }
        if args.fleet.is_some() && args.instances.is_some() {
            return Err(
                "--instances makes a fleet from the seed; with --fleet the file says which there are".into(),
            );
        }
        Ok(Some(args))
    }
}

fn number(parser: &mut lexopt::Parser, option: &str, least: u32, most: u32) -> Result<u32, lexopt::Error> {
    let value = parser.value()?;
    let number = value.parse::<u32>().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("{option}: {value:?} is not a whole number from {least} to {most}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Option<Args>, String> {
        Args::parse(lexopt::Parser::from_args(args)).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_read_and_nonsense_is_named() {
        let args =
            parse(&["--fleet", "f.csv", "--loads", "l.csv", "--seed=7", "--days", "14"]).unwrap().unwrap();
        assert_eq!((args.fleet, args.seed, args.days), (Some("f.csv".into()), 7, 14));
        assert_eq!(args.loads, Some("l.csv".into()));
        assert_eq!(parse(&["--help"]), Ok(None));
        assert!(parse(&["--days", "0"]).unwrap_err().contains("from 1 to 35"));
        assert!(parse(&["--fleet", "f", "--instances", "3"]).unwrap_err().contains("the file says"));
        assert!(parse(&["fleet.csv"]).is_err());
    }
}
