//! A fleet from a file of comma-separated values.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::columns::{Columns, Line};
use super::problem::{FleetError, FleetProblem};
use super::{Fleet, Host, Instance, Life, Link, Technology, cadence};
use crate::load::{LevelShift, LoadClass, LoadPattern, SLOTS_OF_DAY};
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
    shift_at_hours: Option<f64>,
    shift_by: Option<f32>,
    created_hours: Option<f64>,
    dropped_hours: Option<f64>,
}

/// The columns, those first that must be there.
const COLUMNS: [&str; 19] = [
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
    "shift_at_hours",
    "shift_by",
    "created_hours",
    "dropped_hours",
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
    /// | `shift_at_hours`, `shift_by` | a step of its host's load that stays: when, in hours from the first midnight, and by how much, from -1 to 1 | none |
    /// | `created_hours`, `dropped_hours` | from when to when it exists, in hours from the first midnight | always |
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
        let columns = Columns::new(&COLUMNS, REQUIRED, &head, &mut error);
        let Some(columns) = columns else { return Err(error) };
        let mut reader = Reader { error, ..Reader::default() };
        for record in table.into_records() {
            match record {
                Ok(record) => reader.line(&Line::new(&columns, &record)),
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

    /// Writes the table that [`read`](Self::read) reads. Recorded loads are not in it.
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
                shift_at_hours: host
                    .shift
                    .map(|shift| f64::from(shift.slot) * 24.0 / f64::from(SLOTS_OF_DAY)),
                shift_by: host.shift.map(|shift| shift.by),
                created_hours: Some(instance.life.created / 3600.0).filter(|hours| *hours > 0.0),
                dropped_hours: Some(instance.life.dropped / 3600.0).filter(|hours| hours.is_finite()),
            })?;
        }
        table.flush()
    }
}

/// A fleet on the way.
#[derive(Debug, Default)]
struct Reader {
    error: FleetError,
    fleet: Fleet,
    technologies: HashMap<String, Technology>,
    hosts: HashMap<String, u32>,
    links: HashMap<String, u32>,
    /// In which line each instance, host and link was first named.
    named: HashMap<(&'static str, String), u64>,
}

impl Line<'_> {
    fn hours(&self, column: &'static str) -> Result<Option<Duration>, FleetProblem> {
        let hours =
            self.number(column, 1.0 / 60.0, 1e5, "a number of hours, from a minute (0.0167) to 100000")?;
        Ok(hours.map(|hours| Duration::from_secs_f64(hours * 3600.0)))
    }

    /// A moment, in hours from the first midnight.
    fn moment(&self, column: &'static str) -> Result<Option<f64>, FleetProblem> {
        self.number(column, 0.0, 1e5, "a number of hours from the first midnight, from 0 to 100000")
    }

    /// When the instance exists.
    fn life(&self) -> Result<Life, FleetProblem> {
        let (created, dropped) = (self.moment("created_hours")?, self.moment("dropped_hours")?);
        let created = created.unwrap_or(0.0);
        if let Some(dropped) = dropped.filter(|dropped| *dropped <= created) {
            let message =
                format!("{dropped} is not after {created}, when it is created; nobody is dropped before");
            return Err(self.problem("dropped_hours", message));
        }
        let dropped = dropped.map_or(f64::INFINITY, |hours| 3600.0 * hours);
        Ok(Life { created: 3600.0 * created, dropped })
    }

    /// The step of the host's load.
    fn shift(&self) -> Result<Option<LevelShift>, FleetProblem> {
        let by = self.number("shift_by", -1.0, 1.0, "a number from -1 to 1")?;
        match (self.moment("shift_at_hours")?, by) {
            (None, None) => Ok(None),
            (Some(at), Some(by)) => {
                let slot = at * f64::from(SLOTS_OF_DAY) / 24.0;
                Ok(Some(LevelShift { slot: slot.floor() as u32, by: by as f32 }))
            }
            (None, Some(_)) => {
                Err(self.problem("shift_at_hours", "it is empty; shift_by needs to know when"))
            }
            (Some(_), None) => {
                Err(self.problem("shift_by", "it is empty; shift_at_hours needs to know by how much"))
            }
        }
    }

    fn load(&self, seed: u64) -> Result<LoadPattern, FleetProblem> {
        let share =
            |column, default: f64| Ok(self.number(column, 0.0, 1.0, SHARE)?.unwrap_or(default) as f32);
        let class = self.field("load").unwrap_or("stable");
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
    fn line(&mut self, line: &Line<'_>) {
        if let Err(problem) = self.instance(line) {
            self.error.add(problem);
        }
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
            life: line.life()?,
            seed: self.fleet.instances.len() as u64,
        });
        Ok(())
    }

    fn host(&mut self, line: &Line<'_>, instance: &str) -> Result<u32, FleetProblem> {
        let link = self.link(line)?;
        let name = line.field("host").unwrap_or(instance);
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
            if line.field("link").is_some() && host.link != link {
                return other("link", "link");
            }
            if line.shift()?.is_some_and(|shift| Some(shift) != host.shift) {
                return other("shift_by", "shift");
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
            recorded: None,
            shift: line.shift()?,
        });
        self.hosts.insert(name.to_owned(), number);
        self.named.insert(("host", name.to_owned()), line.number);
        Ok(number)
    }

    fn link(&mut self, line: &Line<'_>) -> Result<u32, FleetProblem> {
        let name = line.field("link").unwrap_or("link");
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
        let shape = FleetShape { instances: 30, per_link: 10, ..FleetShape::default() };
        let fleet = FleetShape { short_lived: 0.5, shifting: 0.5, ..shape }.generate();
        let text = written(&fleet);
        let read = Fleet::read("fleet.csv", text.as_bytes()).unwrap();
        assert_eq!(written(&read), text);
        assert_eq!((read.hosts.len(), read.links.len()), (30, 3));
        let told = |fleet: &Fleet| {
            let lives = fleet.instances.iter().filter(|of| of.life.dropped.is_finite()).count();
            (lives, fleet.hosts.iter().map(|host| host.shift).collect::<Vec<_>>())
        };
        assert_eq!(told(&read), told(&fleet));
        assert!(told(&read).0 > 5);
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
    fn lives_and_shifts_are_said_as_a_whole() {
        let head = "instance,technology,size_gb,host,created_hours,dropped_hours,shift_at_hours,shift_by\n";
        let read = |lines: &str| Fleet::read("f", format!("{head}{lines}").as_bytes());
        let fleet = read("a,etcd,1,h,12,36.5,50.3,-.1\nb,etcd,1,h,,,,\n").unwrap();
        let life = |n: usize| fleet.instances[n].life;
        assert_eq!(life(0), Life { created: 43_200.0, dropped: 131_400.0 });
        assert_eq!(
            (life(1), fleet.hosts[0].shift),
            (Life::default(), Some(LevelShift { slot: 201, by: -0.1 }))
        );
        let wrong = "a,etcd,1,h,12,12,,\nb,etcd,1,i,-1,,,\nc,etcd,1,j,,,3,\nd,etcd,1,k,,,,.2\ne,etcd,1,l,,,3,2\n\
                     f,etcd,1,m,,,3,.1\ng,etcd,1,m,,,4,.1\n";
        let told = read(wrong).unwrap_err().to_string();
        let wanted = [
            "line 2, column 6 (dropped_hours): 12 is not after 12, when it is created",
            "line 3, column 5 (created_hours): \"-1\" is not a number of hours from the first midnight",
            "line 4, column 8 (shift_by): it is empty; shift_at_hours",
            "line 5, column 7 (shift_at_hours): it is empty; shift_by",
            "line 6, column 8 (shift_by): \"2\" is not a number from -1 to 1",
            "line 8, column 8 (shift_by): host \"m\" has another shift in line 7",
        ];
        assert_eq!(told.lines().count(), wanted.len(), "{told}");
        told.lines().zip(wanted).for_each(|(line, wanted)| assert!(line.contains(wanted), "{line}"));
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
