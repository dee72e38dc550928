//! Recorded loads of a fleet's hosts, from a file of comma-separated values.

use std::collections::{HashMap, HashSet};
use std::io;

use jiff::Timestamp;

use super::Fleet;
use super::columns::{Columns, Line, nearest, shown};
use super::problem::{FleetError, FleetProblem};
use crate::MONDAY;
use crate::load::{RecordingError, Samples};

/// The columns, those first that must be there.
const COLUMNS: [&str; 6] = ["load", "host", "instance", "time", "hours", "minutes"];
const REQUIRED: usize = 1;
/// Of these there is exactly one.
const WHO: [&str; 2] = ["host", "instance"];
const WHEN: [&str; 3] = ["time", "hours", "minutes"];
/// Hours of eight weeks.
const LONGEST_HOURS: f64 = 8.0 * 168.0;

impl Fleet {
    /// Reads recorded loads from a table with a head. `file` is its name in errors. A line is a sample:
    ///
    /// | column | meaning |
    /// |---|---|
    /// | `host`, or `instance` | whose load it is: a host by its name, or that of an instance |
    /// | `time` | when, with its offset: `2026-01-05T10:15:00Z` (RFC 3339) |
    /// | or `hours`, or `minutes` | the same as a number, 0 or more, from the simulation's Monday midnight |
    /// | `load` | the share of the host that its foreground used, from 0 to 1 |
    ///
    /// Lines may stand in any order. Times of the calendar go to the same moment of the week: the simulation begins with
    /// the Monday midnight, UTC, before the first sample of the file. How samples become slots, what fills gaps and what
    /// comes after the end is told at [`Recording`](crate::Recording).
    ///
    /// Each host that is named has its recording from then on, in place of its pattern; the others keep theirs.
    ///
    /// # Errors
    /// Everything that is wrong, each with line and column and what would be right. The fleet has not changed then.
    pub fn read_loads(&mut self, file: &str, table: impl io::Read) -> Result<(), FleetError> {
        let mut error = FleetError::new(file);
        let mut table = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(table);
        let head = table.headers().cloned();
        let head = head.map_err(|source| error.clone().with(FleetProblem::unreadable(&source)))?;
        let Some(columns) = columns(&head, &mut error) else { return Err(error) };
        let mut reader = Reader::new(self, columns.1, columns.2);
        let mut record = csv::StringRecord::new();
        loop {
            match table.read_record(&mut record) {
                Ok(true) => {
                    if let Err(Some(problem)) = reader.line(&Line::new(&columns.0, &record)) {
                        error.add(problem);
                    }
                }
                Ok(false) => break,
                Err(source) => {
                    error.add(FleetProblem::unreadable(&source));
                    break;
                }
            }
        }
        let (samples, calendar) = (reader.samples, columns.2 == "time");
        if samples.is_empty() && error.is_empty() {
            error.add(FleetProblem::new(2, None, "there is no sample; a line for each is wanted"));
        }
        if !error.is_empty() {
            return Err(error);
        }
        let monday = samples.values().map(|of| of.samples.monday()).min().filter(|_| calendar).unwrap_or(0);
        for (host, of) in samples {
            self.hosts[host as usize].recorded = of.samples.finish(monday);
        }
        Ok(())
    }
}

/// The columns, and which of them say who and when.
fn columns(
    head: &csv::StringRecord,
    error: &mut FleetError,
) -> Option<(Columns, &'static str, &'static str)> {
    let columns = Columns::new(&COLUMNS, REQUIRED, head, error)?;
    let mut one_of = |names: &[&'static str]| {
        let there: Vec<&'static str> = names.iter().copied().filter(|name| columns.has(name)).collect();
        let problem = match there[..] {
            [one] => return Some(one),
            [] => format!("one of the columns {} is missing; the first line must name it", names.join(", ")),
            _ => format!("the columns {} say the same; one of them is wanted", there.join(", ")),
        };
        error.add(FleetProblem::new(1, None, problem));
        None
    };
    let (who, when) = (one_of(&WHO), one_of(&WHEN));
    who.zip(when).map(|(who, when)| (columns, who, when))
}

/// Samples on the way.
struct Reader {
    who: &'static str,
    when: &'static str,
    /// Hosts by the names that the file gives them.
    hosts: HashMap<String, u32>,
    /// What was told to be nobody's already.
    unknown: HashSet<String>,
    samples: HashMap<u32, Of>,
}

/// What a host has so far.
#[derive(Default)]
struct Of {
    samples: Samples,
    /// As whose the first sample came, and in which line.
    name: String,
    line: u64,
}

impl Reader {
    fn new(fleet: &Fleet, who: &'static str, when: &'static str) -> Self {
        let hosts = if who == "host" {
            fleet.hosts.iter().map(|host| host.name.clone()).zip(0..).collect()
        } else {
            fleet.instances.iter().map(|of| (of.name.clone(), of.host)).collect()
        };
        Self { who, when, hosts, unknown: HashSet::new(), samples: HashMap::new() }
    }

    /// Takes a sample in. Who is unknown is told once: an error without a problem after that.
    fn line(&mut self, line: &Line<'_>) -> Result<(), Option<FleetProblem>> {
        let name = line.text(self.who)?;
        let Some(host) = self.hosts.get(name) else {
            let news = self.unknown.insert(name.to_owned());
            return Err(news.then(|| self.nobody(line, name)));
        };
        let secs = self.secs(line)?;
        let text = line.text("load")?;
        let load: f64 = text
            .parse()
            .map_err(|_| line.problem("load", format!("{text:?} is not a number from 0 to 1")))?;
        let of = self.samples.entry(*host).or_insert_with(|| Of {
            name: name.to_owned(),
            line: line.number,
            ..Of::default()
        });
        if of.name != name {
            let message = format!(
                "{name:?} is on the host of {:?}, whose load is in line {}; one load a host is wanted",
                of.name, of.line
            );
            return Err(Some(line.problem(self.who, message)));
        }
        of.samples.add(secs, load).map_err(|problem| {
            let column = if let RecordingError::Load(_) = problem { "load" } else { self.when };
            Some(line.problem(column, problem.to_string()))
        })
    }

    fn nobody(&self, line: &Line<'_>, name: &str) -> FleetProblem {
        let hint = nearest(name, self.hosts.keys().map(String::as_str));
        let hint = hint.map_or_else(
            || {
                let first = self.hosts.keys().min().map_or("", String::as_str);
                format!("its names are such as {first:?}")
            },
            |near| format!("did you mean {near:?}?"),
        );
        line.problem(self.who, format!("{} is no {} of the fleet; {hint}", shown(name), self.who))
    }

    /// Seconds from the simulation's Monday midnight.
    fn secs(&self, line: &Line<'_>) -> Result<f64, FleetProblem> {
        let text = line.text(self.when)?;
        let unit = match self.when {
            "hours" => 3600.0,
            "minutes" => 60.0,
            _ => {
                let at: Timestamp = text.parse().map_err(|_| {
                    let wanted = "is not a time with its offset, such as 2026-01-05T10:15:00Z";
                    line.problem("time", format!("{text:?} {wanted}"))
                })?;
                return Ok(at.duration_since(MONDAY).as_secs_f64());
            }
        };
        let most = LONGEST_HOURS * 3600.0 / unit;
        let wanted = format!("a number of {} from Monday midnight, from 0 to {most}", self.when);
        Ok(line.number(self.when, 0.0, most, &wanted)?.unwrap_or_default() * unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Fleet {
        let text =
            "instance,technology,size_gb,host\norders-1,mysql,1,db-1\norders-2,mysql,1,db-2\nx,etcd,1,db-2\n";
        Fleet::read("fleet.csv", text.as_bytes()).unwrap()
    }

    fn error(text: &str) -> String {
        let mut fleet = fleet();
        let told = fleet.read_loads("loads.csv", text.as_bytes()).unwrap_err().to_string();
        assert!(fleet.hosts.iter().all(|host| host.recorded.is_none()));
        told
    }

    fn loads(text: &str) -> [f64; 4] {
        let mut fleet = fleet();
        fleet.read_loads("loads.csv", text.as_bytes()).unwrap();
        assert!(fleet.hosts[0].recorded.is_none());
        [0, 1, 95, 672].map(|slot| (fleet.hosts[1].load_at(slot) * 100.0).round() / 100.0)
    }

    #[test]
    fn hours_minutes_and_the_calendar_say_the_same() {
        let of = |text: &str| loads(text);
        let hours = of("host,hours,load\ndb-2,0,.2\ndb-2,.25,.4\ndb-2,23.75,.6\n");
        assert_eq!(hours, [0.2, 0.4, 0.6, 0.2]);
        assert_eq!(of("minutes,load,host\n0,.2,db-2\n15,.4,db-2\n1425,.6,db-2\n"), hours);
        let calendar = "instance,time,load\nx,2024-07-01T02:00:00+02:00,.2\nx,2024-07-01T00:15:00Z,.4\n\
                        x,2024-07-01T23:45:00Z,.6\n";
        assert_eq!(of(calendar), hours);
    }

    #[test]
    fn days_of_the_week_stay_what_they_are() {
        let mut fleet = fleet();
        // Of two hosts: a Wednesday, and the Thursday of the week after.
        let text = "host,time,load\ndb-1,2024-07-03T00:00:00Z,.3\ndb-2,2024-07-11T00:00:00Z,.7\n\
                    db-2,2024-07-11T12:00:00Z,.7\ndb-1,2024-07-03T12:00:00Z,.3\n";
        fleet.read_loads("loads.csv", text.as_bytes()).unwrap();
        let first = |host: usize| format!("{:?}", fleet.hosts[host].recorded.as_ref().unwrap());
        assert!(first(0).contains("first: 192,"), "{}", first(0));
        assert!(first(1).contains("first: 960,"), "{}", first(1));
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_column() {
        let told = error(
            "host,hours,load\ndb-22,0,.2\ndb-22,1,.2\ndb-1,-1,.2\ndb-1,0,45\ndb-1,0,high\ndb-1,1345,.1\n,1,.1\nqqqq,1,.1\ndb-1,1",
        );
        let lines: Vec<_> = told.lines().collect();
        let wanted = [
            "line 2, column 1 (host): \"db-22\" is no host of the fleet; did you mean \"db-2\"?",
            "line 4, column 2 (hours): \"-1\" is not a number of hours from Monday midnight, from 0 to 1344",
            "line 5, column 3 (load): 45 is not a number from 0 to 1; if it is in percent, divide by 100",
            "line 6, column 3 (load): \"high\" is not a number from 0 to 1",
            "line 7, column 2 (hours): \"1345\" is not",
            "line 8, column 1 (host): it is empty",
            "line 9, column 1 (host): \"qqqq\" is no host of the fleet; its names are such as \"db-1\"",
            "line 10, column 3 (load): it is empty",
        ];
        assert_eq!(lines.len(), wanted.len(), "{told}");
        for (line, wanted) in lines.iter().zip(wanted) {
            assert!(line.starts_with("loads.csv, ") && line.contains(wanted), "{line}\n{wanted}");
        }
        assert!(error("host,time,load\ndb-1,2024-07-01 10:00,.2\n").contains("such as 2026-01-05T10:15:00Z"));
        let long = "host,time,load\ndb-1,2024-07-01T00:00:00Z,.2\ndb-1,2024-10-01T00:00:00Z,.2\n";
        assert!(error(long).contains("line 3, column 2 (time): this is more than eight weeks"));
        let twice = error("instance,hours,load\nx,0,.2\norders-2,0,.2\n");
        assert!(
            twice.contains("line 3, column 1 (instance): \"orders-2\" is on the host of \"x\""),
            "{twice}"
        );
    }

    #[test]
    fn a_head_says_who_and_when_once() {
        assert!(error("load,hours\n").contains("one of the columns host, instance is missing"));
        assert!(error("load,host\n").contains("one of the columns time, hours, minutes is missing"));
        assert!(error("load,host,time,hours\n").contains("time, hours say the same"));
        assert!(error("host,hour,load\n").contains("did you mean \"hours\"?"));
        assert!(error("host,hours\n").contains("column \"load\" is missing"));
        assert!(error("host;time;load\n").ends_with("separated by ';' here; commas are wanted"));
        let open = format!("host,hours,load\n\"{}", "db-1,0,.2\n".repeat(5_000));
        assert!(error(&open).len() < 400, "a quote that is left open is not shown with all that follows");
        assert!(error("host,hours,load\n").contains("there is no sample"));
    }
}
