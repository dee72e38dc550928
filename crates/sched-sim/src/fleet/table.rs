//! A fleet from a file of comma-separated values.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::problem::{FleetError, FleetProblem};
use super::{Fleet, Host, Instance, Link, Technology, cadence};
use crate::load::{LoadClass, LoadPattern};
use crate::noise::hash;

/// One line of the file. Its fields are the columns.
#[derive(Debug, Serialize)]
struct Row<'a> {
    instance: &'a str,
    technology: &'a str,
    size_gb: f64,
    host: &'a str,
    link: &'a str,
    growth_per_day: f32,
    rpo_hours: f64,
    every_hours: f64,
    disk_mb_per_sec: f64,
    link_mb_per_sec: f64,
    load: LoadClass,
    load_base: f32,
    load_swing: f32,
    peak_hour: f32,
    noise: f32,
}

/// The columns, those first that must be there.
const COLUMNS: [&str; 15] = [
    "instance",
    "technology",
    "size_gb",
    "host",
    "link",
    "growth_per_day",
    "rpo_hours",
    "every_hours",
    "disk_mb_per_sec",
    "link_mb_per_sec",
    "load",
    "load_base",
    "load_swing",
    "peak_hour",
    "noise",
];
const REQUIRED: usize = 3;
const LOADS: [(&str, LoadClass); 6] = [
    ("stable", LoadClass::Stable),
    ("daily", LoadClass::Daily),
    ("weekly", LoadClass::Weekly),
    ("nightly_batch", LoadClass::NightlyBatch),
    ("erratic", LoadClass::Erratic),
    ("idle", LoadClass::Idle),
];
const LARGE: f64 = 1e9;
const TINY: f64 = 1e-9;
const POSITIVE: &str = "a number over 0 and at most a thousand million";
const SHARE: &str = "a number from 0 to 1";

impl Fleet {
    /// Reads a table with a head. `file` is its name in errors. `instance`, `technology` and `size_gb` must be there; an
    /// empty field, or a column that is not there, means the default:
    ///
    /// | column | meaning | default |
    /// |---|---|---|
    /// | `instance` | its name | |
    /// | `technology` | as policies know it | |
    /// | `size_gb` | what a backup moves, 10⁹ bytes | |
    /// | `host` | the machine it is on | one of its own |
    /// | `link` | the way out that its host shares with others | one for all |
    /// | `growth_per_day` | growth, as a share of the size | 0 |
    /// | `rpo_hours` | recovery point objective | 24 |
    /// | `every_hours` | how often those back it up who go by a clock | [`cadence`] of the RPO |
    /// | `disk_mb_per_sec` | what its host moves when nobody else uses it | 500 |
    /// | `link_mb_per_sec` | what its link carries | 1250: 10 Gbit/s |
    /// | `load` | [`LoadClass`]: `stable`, `daily`, `weekly`, `nightly_batch`, `erratic`, `idle` | `stable` |
    /// | `load_base`, `load_swing` | load at the quietest, and what is added at the busiest, from 0 to 1 | .2, .4 |
    /// | `peak_hour` | the busiest hour, UTC | 11 |
    /// | `noise` | standard deviation of a quarter hour's load | .03 |
    ///
    /// What is said of a host or a link in one line counts in all; another line may say the same or nothing.
    ///
    /// # Errors
    /// Everything that is wrong, each with line and column and what would be right.
    pub fn read(file: &str, table: impl io::Read) -> Result<Self, FleetError> {
        let mut error = FleetError::new(file);
        let mut table = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(table);
        let head = table.headers().cloned();
        let head = head.map_err(|source| error.clone().with(FleetProblem::unreadable(&source)))?;
        let columns = Columns::new(&head, &mut error);
        let Some(columns) = columns else { return Err(error) };
        let mut reader = Reader { columns, error, ..Reader::default() };
        for record in table.into_records() {
            match record {
                Ok(record) => reader.line(&record),
                Err(source) => {
                    reader.error.add(FleetProblem::unreadable(&source));
                    break;
                }
            }
        }
        if reader.fleet.instances.is_empty() && reader.error.is_empty() {
            reader.error.add(FleetProblem::new(2, None, "there is no instance; a line for each is wanted"));
        }
        if reader.error.is_empty() { Ok(reader.fleet) } else { Err(reader.error) }
    }

    /// Writes the table that [`read`](Self::read) reads.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(&self, file: impl io::Write) -> io::Result<()> {
        let mut table = csv::Writer::from_writer(file);
        for instance in &self.instances {
            let host = &self.hosts[instance.host as usize];
            let link = &self.links[host.link as usize];
            table.serialize(Row {
                instance: &instance.name,
                technology: &instance.technology,
                size_gb: instance.bytes / 1e9,
                host: &host.name,
                link: &link.name,
                growth_per_day: instance.growth_per_day,
                rpo_hours: instance.rpo.as_secs_f64() / 3600.0,
                every_hours: instance.every.as_secs_f64() / 3600.0,
                disk_mb_per_sec: host.bytes_per_sec / 1e6,
                link_mb_per_sec: link.bytes_per_sec / 1e6,
                load: host.load.class,
                load_base: host.load.base,
                load_swing: host.load.swing,
                peak_hour: host.load.peak_hour,
                noise: host.load.noise,
            })?;
        }
        table.flush()
    }
}

/// Where each of [`COLUMNS`] stands in the file.
#[derive(Debug, Default)]
struct Columns([Option<usize>; COLUMNS.len()]);

impl Columns {
    fn new(head: &csv::StringRecord, error: &mut FleetError) -> Option<Self> {
        let mut columns = Self::default();
        for (at, name) in head.iter().enumerate() {
            let problem = |message: String| FleetProblem::new(1, Some((at + 1, name)), message);
            let known = COLUMNS.iter().position(|column| *column == name);
            match known.map(|known| &mut columns.0[known]) {
                Some(place @ None) => *place = Some(at),
                Some(_) => error.add(problem("this column is there twice; once is right".into())),
                None => {
                    let near =
                        COLUMNS.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
                    let near = near.filter(|near| strsim::jaro(near, name) > 0.75);
                    let hint = near.map(|near| format!("did you mean {near:?}?"));
                    let hint = hint.unwrap_or_else(|| format!("known are {}", COLUMNS.join(", ")));
                    error.add(problem(format!("there is no such column; {hint}")));
                }
            }
        }
        for (name, _) in COLUMNS.iter().zip(&columns.0).take(REQUIRED).filter(|(_, at)| at.is_none()) {
            error.add(FleetProblem::new(
                1,
                None,
                format!("column {name:?} is missing; the first line must name it"),
            ));
        }
        error.is_empty().then_some(columns)
    }
}

/// A fleet on the way.
#[derive(Debug, Default)]
struct Reader {
    columns: Columns,
    error: FleetError,
    fleet: Fleet,
    technologies: HashMap<String, Technology>,
    hosts: HashMap<String, u32>,
    links: HashMap<String, u32>,
    /// In which line each instance, host and link was first named.
    named: HashMap<(&'static str, String), u64>,
}

/// A line of the file.
struct Line<'a> {
    columns: &'a Columns,
    record: &'a csv::StringRecord,
    number: u64,
}

impl<'a> Line<'a> {
    /// The column's place in the file, and its field if that is not empty.
    fn field(&self, column: &'static str) -> (usize, Option<&'a str>) {
        let at = COLUMNS.iter().position(|name| *name == column).and_then(|known| self.columns.0[known]);
        (at.map_or(0, |at| at + 1), at.and_then(|at| self.record.get(at)).filter(|field| !field.is_empty()))
    }

    fn problem(&self, column: &'static str, message: impl Into<String>) -> FleetProblem {
        FleetProblem::new(self.number, Some((self.field(column).0, column)), message)
    }

    fn text(&self, column: &'static str) -> Result<&'a str, FleetProblem> {
        self.field(column).1.ok_or_else(|| self.problem(column, "it is empty; something is wanted here"))
    }

    /// A number in these bounds; `None` where the field is empty.
    fn number(
        &self,
        column: &'static str,
        low: f64,
        high: f64,
        wanted: &str,
    ) -> Result<Option<f64>, FleetProblem> {
        let Some(text) = self.field(column).1 else { return Ok(None) };
        let number = text.parse::<f64>().ok().filter(|number| (low..=high).contains(number));
        number.map(Some).ok_or_else(|| self.problem(column, format!("{text:?} is not {wanted}")))
    }

    fn hours(&self, column: &'static str) -> Result<Option<Duration>, FleetProblem> {
        let hours =
            self.number(column, 1.0 / 60.0, 1e5, "a number of hours, from a minute (0.0167) to 100000")?;
        Ok(hours.map(|hours| Duration::from_secs_f64(hours * 3600.0)))
    }

    fn load(&self, seed: u64) -> Result<LoadPattern, FleetProblem> {
        let share =
            |column, default: f64| Ok(self.number(column, 0.0, 1.0, SHARE)?.unwrap_or(default) as f32);
        let class = self.field("load").1.unwrap_or("stable");
        let class =
            LOADS.iter().find(|(name, _)| *name == class).map(|(_, class)| *class).ok_or_else(|| {
                self.problem(
                    "load",
                    format!("{class:?} is none of {}", LOADS.map(|(name, _)| name).join(", ")),
                )
            })?;
        let peak_hour = self.number("peak_hour", 0.0, 24.0, "an hour from 0 to 24")?.unwrap_or(11.0);
        Ok(LoadPattern {
            class,
            base: share("load_base", 0.2)?,
            swing: share("load_swing", 0.4)?,
            peak_hour: peak_hour as f32,
            noise: share("noise", 0.03)?,
            seed: hash(0xf1ee7, seed),
        })
    }
}

impl Reader {
    fn line(&mut self, record: &csv::StringRecord) {
        let number = record.position().map_or(0, csv::Position::line);
        let columns = std::mem::take(&mut self.columns);
        let line = Line { columns: &columns, record, number };
        if let Err(problem) = self.instance(&line) {
            self.error.add(problem);
        }
        self.columns = columns;
    }

    fn instance(&mut self, line: &Line<'_>) -> Result<(), FleetProblem> {
        let name = line.text("instance")?;
        if let Some(first) = self.named.insert(("instance", name.to_owned()), line.number) {
            return Err(line.problem(
                "instance",
                format!("{name:?} is there already, in line {first}; each instance has one line"),
            ));
        }
        let technology = line.text("technology")?;
        let size = line.number("size_gb", TINY, LARGE, POSITIVE)?;
        let size =
            size.ok_or_else(|| line.problem("size_gb", format!("it is empty; {POSITIVE} is wanted here")))?;
        let growth = line.number("growth_per_day", -1.0, 10.0, "a number from -1 to 10")?;
        let rpo = line.hours("rpo_hours")?.unwrap_or(Duration::from_secs(86_400));
        let every = line.hours("every_hours")?.unwrap_or_else(|| cadence(rpo));
        let host = self.host(line, name)?;
        let known = self.technologies.entry(technology.to_owned()).or_insert_with(|| Arc::from(technology));
        self.fleet.instances.push(Instance {
            name: name.to_owned(),
            technology: known.clone(),
            host,
            bytes: size * 1e9,
            growth_per_day: growth.unwrap_or(0.0) as f32,
            rpo,
            every,
            seed: self.fleet.instances.len() as u64,
        });
        Ok(())
    }

    fn host(&mut self, line: &Line<'_>, instance: &str) -> Result<u32, FleetProblem> {
        let link = self.link(line)?;
        let name = line.field("host").1.unwrap_or(instance);
        let disk = line.number("disk_mb_per_sec", TINY, LARGE, POSITIVE)?.map(|rate| rate * 1e6);
        if let Some(known) = self.hosts.get(name) {
            let host = &self.fleet.hosts[*known as usize];
            let first = self.named.get(&("host", name.to_owned())).copied().unwrap_or_default();
            let other = |column, what: &str| {
                Err(line.problem(
                    column,
                    format!(
                        "host {name:?} has another {what} in line {first}; say the same or leave it empty"
                    ),
                ))
            };
            if disk.is_some_and(|disk| disk != host.bytes_per_sec) {
                return other("disk_mb_per_sec", "disk");
            }
            if line.field("link").1.is_some() && host.link != link {
                return other("link", "link");
            }
            return Ok(*known);
        }
        let number = self.fleet.hosts.len() as u32;
        let load = line.load(number.into())?;
        self.fleet.hosts.push(Host {
            name: name.to_owned(),
            link,
            bytes_per_sec: disk.unwrap_or(500e6),
            load,
        });
        self.hosts.insert(name.to_owned(), number);
        self.named.insert(("host", name.to_owned()), line.number);
        Ok(number)
    }

    fn link(&mut self, line: &Line<'_>) -> Result<u32, FleetProblem> {
        let name = line.field("link").1.unwrap_or("link");
        let rate = line.number("link_mb_per_sec", TINY, LARGE, POSITIVE)?.map(|rate| rate * 1e6);
        if let Some(known) = self.links.get(name) {
            let first = self.named.get(&("link", name.to_owned())).copied().unwrap_or_default();
            if rate.is_some_and(|rate| rate != self.fleet.links[*known as usize].bytes_per_sec) {
                let what =
                    format!("link {name:?} has another rate in line {first}; say the same or leave it empty");
                return Err(line.problem("link_mb_per_sec", what));
            }
            return Ok(*known);
        }
        let number = self.fleet.links.len() as u32;
        self.fleet.links.push(Link { name: name.to_owned(), bytes_per_sec: rate.unwrap_or(1250e6) });
        self.links.insert(name.to_owned(), number);
        self.named.insert(("link", name.to_owned()), line.number);
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::super::FleetShape;
    use super::*;

    fn written(fleet: &Fleet) -> String {
        let mut text = Vec::new();
        fleet.write(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn error(text: &str) -> String {
        Fleet::read("fleet.csv", text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_table_round_trips() {
        let fleet = FleetShape { instances: 30, per_link: 10, ..FleetShape::default() }.generate();
        let text = written(&fleet);
        let read = Fleet::read("fleet.csv", text.as_bytes()).unwrap();
        assert_eq!(written(&read), text);
        assert_eq!((read.hosts.len(), read.links.len()), (30, 3));
    }

    #[test]
    fn three_columns_are_enough() {
        let fleet =
            Fleet::read("x", "technology,instance,size_gb\netcd,a,1\nmysql, b ,20\n".as_bytes()).unwrap();
        assert_eq!((fleet.hosts.len(), fleet.links.len()), (2, 1));
        assert_eq!(fleet.instances[1].name, "b");
        assert_eq!(fleet.instances[1].every, Duration::from_secs(12 * 3600));
    }

    #[test]
    fn hosts_and_links_are_said_once() {
        let head = "instance,technology,size_gb,host,disk_mb_per_sec,link,link_mb_per_sec\n";
        let fleet = Fleet::read("x", format!("{head}a,etcd,1,h,100,l,50\nb,etcd,1,h,,,\n").as_bytes());
        let error =
            error(&format!("{head}a,etcd,1,h,100,l,50\nb,etcd,1,h,200,l,\nc,etcd,1,h,,m,\nd,etcd,1,i,,l,60"));
        assert!(
            error.contains("line 3, column 5 (disk_mb_per_sec): host \"h\" has another disk in line 2"),
            "{error}"
        );
        assert!(error.contains("line 4, column 6 (link): host \"h\" has another link"), "{error}");
        assert!(error.contains("line 5, column 7 (link_mb_per_sec): link \"l\" has another rate"), "{error}");
        assert_eq!(fleet.unwrap().hosts.len(), 1);
    }

    #[test]
    fn everything_that_is_wrong_is_said_with_line_and_column() {
        let head = "instance,technology,size_gb,rpo_hours,load\n";
        let told =
            error(&format!("{head}a,etcd,1,-4,\na,etcd,1,,\nb,etcd,NaN,,\nc,,1,,\nd,etcd,1,,daly\ne,etcd"));
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines.len(), 6, "{told}");
        assert_eq!(
            lines[0],
            "fleet.csv, line 2, column 4 (rpo_hours): \"-4\" is not a number of hours, from a minute (0.0167) to 100000"
        );
        assert!(
            lines[1].contains("line 3, column 1 (instance): \"a\" is there already, in line 2"),
            "{told}"
        );
        assert!(lines[2].contains("column 3 (size_gb): \"NaN\" is not a number over 0"), "{told}");
        assert!(lines[3].contains("column 2 (technology): it is empty"), "{told}");
        assert!(lines[4].contains("\"daly\" is none of stable, daily"), "{told}");
        assert!(lines[5].contains("line 7, column 3 (size_gb): it is empty"), "{told}");
    }

    #[test]
    fn a_head_that_is_wrong_is_told_alone() {
        let told = error("instance,technology,size_gb,rpo_hour,colour\na,etcd,-1,1,2\n");
        assert_eq!(told.lines().count(), 2, "{told}");
        assert!(
            told.contains(
                "line 1, column 4 (rpo_hour): there is no such column; did you mean \"rpo_hours\"?"
            )
        );
        assert!(told.contains("known are instance, technology"), "{told}");
        assert!(error("instance,technology\n").contains("column \"size_gb\" is missing"));
        assert!(error("").contains("column \"instance\" is missing"));
        assert!(error("instance,technology,size_gb\n").contains("there is no instance"));
        let bad =
            Fleet::read("f", &b"instance,technology,size_gb\n\xff,etcd,1\n"[..]).unwrap_err().to_string();
        assert!(bad.starts_with("f, line 2: "), "{bad}");
    }

    #[test]
    fn of_many_problems_the_first_are_told() {
        let lines: String = (0..90).map(|n| format!("i{n},etcd,0\n")).collect();
        let told = error(&format!("instance,technology,size_gb\n{lines}"));
        assert!(told.ends_with("and 70 more"), "{told}");
    }
}
