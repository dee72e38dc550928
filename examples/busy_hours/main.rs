//! What the scheduler learns of a load, and where it would have put the backups: give it a CSV of `timestamp,value`.
//!
//! ```sh
//! cargo run --release --example busy_hours                         # a recorded load that is built in
//! cargo run --release --example busy_hours -- load.csv --hours 3 --zone Europe/Berlin
//! ```
//!
//! It replays the load as the scheduler would have met it, learns from each sample only after that was seen, and plans one
//! backup a day, again at every step until it begins. It prints what the load was while backups ran, beside two habits
//! and the best that could have been known afterwards, and writes a page with the pictures.

use std::error::Error;
use std::path::PathBuf;

use jiff::tz::TimeZone;

mod page;
mod picture;
mod replay;
mod trace;

use replay::{Method, Replay};
use trace::Trace;

const USAGE: &str = "usage: busy_hours [FILE.csv] [--hours N] [--zone ZONE] [--out FILE.html]
  FILE.csv   rows of timestamp,value under a heading, such as 2026-11-25T14:00:00Z,37.5; default: a recorded load
  --hours N  how long a backup takes, 1 to 12; default 2
  --zone Z   whose midnight days begin at, such as Europe/Berlin; default UTC
  --out F    where the page goes; default target/busy_hours.html";

struct Settings {
    file: Option<PathBuf>,
    hours: u32,
    zone: TimeZone,
    out: PathBuf,
}

fn main() {
    if let Err(error) = run() {
        eprintln!("busy_hours: {error}");
        std::process::exit(2);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(settings) = settings(std::env::args().skip(1))? else {
        println!("{USAGE}");
        return Ok(());
    };
    let trace = match &settings.file {
        Some(file) => Trace::read(file)?,
        None => Trace::built_in()?,
    };
    let replay = Replay::run(&trace, settings.zone.clone(), settings.hours);
    println!("{}\n", about(&trace, &replay));
    print(&replay);
    let html = page::html(&trace, &replay, &about(&trace, &replay));
    if let Some(dir) = settings.out.parent() {
        std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    std::fs::write(&settings.out, html).map_err(|error| format!("{}: {error}", settings.out.display()))?;
    println!("\nThe pictures are in {}.", settings.out.display());
    Ok(())
}

/// None where only the usage was asked for.
fn settings(mut args: impl Iterator<Item = String>) -> Result<Option<Settings>, Box<dyn Error>> {
    let out = PathBuf::from("target/busy_hours.html");
    let mut settings = Settings { file: None, hours: 2, zone: TimeZone::UTC, out };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"));
        match arg.as_str() {
            "--help" | "-h" => return Ok(None),
            "--hours" => {
                let text = value()?;
                let hours = text.parse().ok().filter(|hours| (1..=12).contains(hours));
                settings.hours = hours.ok_or_else(|| format!("--hours {text}: 1 to 12 whole hours"))?;
            }
            "--zone" => settings.zone = TimeZone::get(&value()?)?,
            "--out" => settings.out = value()?.into(),
            _ if arg.starts_with('-') => return Err(format!("{arg} is not known\n{USAGE}").into()),
            _ if settings.file.is_some() => return Err(format!("one file at a time\n{USAGE}").into()),
            _ => settings.file = Some(arg.into()),
        }
    }
    Ok(Some(settings))
}

fn about(trace: &Trace, replay: &Replay) -> String {
    let judged = replay.days.iter().filter(|day| day.judged).count();
    format!(
        "{}: {} samples, one in {} min, {} days. One backup of {} h a day; the first {} days only teach, {judged} are \
         judged.",
        trace.name,
        trace.samples.len(),
        trace.step_secs / 60,
        replay.days.len(),
        replay.hours,
        replay::WARM_DAYS,
    )
}

fn print(replay: &Replay) {
    println!("{:<42} {:>22} {:>22}", "when the day's backup starts", "load while it runs", "above the best");
    let best = replay.mean(Method::Hindsight);
    for method in Method::EACH {
        let mean = replay.mean(method);
        let above = if best > 0.0 { (mean / best - 1.0) * 100.0 } else { 0.0 };
        println!("{:<42} {:>22} {above:>20.0} %", method.title(), picture::short(mean));
    }
    println!(
        "\nMean load of all judged days: {}. Alarms: {}, {:.1} a day.",
        picture::short(replay.mean_load()),
        replay.alarms.len(),
        replay.alarms.len() as f64 / replay.days.len().max(1) as f64,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planned_backups_meet_less_load_than_fixed_ones_and_never_less_than_the_best() {
        let trace = Trace::built_in().unwrap();
        let replay = Replay::run(&trace, TimeZone::UTC, 2);
        let of = |method| replay.mean(method);
        assert!(replay.days.iter().filter(|day| day.judged).count() >= 14);
        assert!(
            of(Method::Planned) < of(Method::FixedHour),
            "{} {}",
            of(Method::Planned),
            of(Method::FixedHour)
        );
        assert!(of(Method::Hindsight) <= of(Method::Planned));
        assert!(of(Method::Planned) < 0.9 * replay.mean_load());
        let html = page::html(&trace, &replay, "about");
        assert!(!html.contains("NaN") && html.matches("<svg").count() == 3);
    }

    #[test]
    fn what_cannot_be_read_says_where_and_what_would_be_right() {
        let read = |text: &str| Trace::parse("load.csv", text).unwrap_err().to_string();
        assert_eq!(
            read("timestamp,value\n2026-11-25T00:00:00Z,1\nyesterday,2\n"),
            "load.csv, line 3: \"yesterday\" is no time; write it like 2026-11-25T14:00:00Z"
        );
        assert_eq!(
            read("timestamp,value\n2026-11-25T00:00:00Z,high\n"),
            "load.csv, line 2: \"high\" is no number"
        );
        assert_eq!(read("timestamp,value\n"), "load.csv: 0 samples; a load of some days is needed");
    }

    #[test]
    fn a_constant_load_and_one_with_gaps_are_drawn_too() {
        let constant: String = (0..20 * 24).map(|hour| row(hour, "5")).collect();
        let gaps: String = (0..20 * 24).filter(|hour| hour % 50 < 20).map(|hour| row(hour, "7.5")).collect();
        let zero: String = (0..20 * 24).map(|hour| row(hour, "0")).collect();
        let nan: String =
            (0..20 * 24).map(|hour| row(hour, if hour % 9 == 0 { "NaN" } else { "3" })).collect();
        for text in [constant, gaps, zero, nan] {
            let trace = Trace::parse("load.csv", &format!("timestamp,value\n{text}")).unwrap();
            let replay = Replay::run(&trace, TimeZone::UTC, 3);
            let html = page::html(&trace, &replay, "about");
            assert!(!html.contains("NaN") && !html.contains("inf"));
        }
    }

    fn row(hour: i64, value: &str) -> String {
        let at = jiff::Timestamp::from_second(1_764_000_000 / 86_400 * 86_400 + hour * 3600).unwrap();
        format!("{at},{value}\n")
    }
}
