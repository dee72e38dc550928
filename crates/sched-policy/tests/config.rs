//! Policy files: what is read is what was written, what is wrong is told in full, and no text makes it panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use sched_core::{BackupKind, JobSpec, RetryPolicy};
use sched_policy::{
    Amount, BUILTIN, ByteRate, Cluster, Config, Host, Instance, LoadLimit, Misfire, Overlap, Phase, Policies,
    Problems, Profile, Recurrence, Technology, Tolerance, WindowRules,
};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The TOML files of a directory, by name.
fn files(directory: &str) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(here(directory)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    paths.sort();
    assert!(paths.len() >= 3, "{directory}");
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// What is said about each file of `tests/problems`, as people see it. With `BLESS` in the environment the files are
/// written anew, to be looked at before they are committed.
#[test]
fn problems_are_told_as_people_see_them() {
    for (path, text) in files("tests/problems") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let found = match Policies::builtin().with_toml(name, &text) {
            Ok(policies) => policies.warnings().to_string(),
            Err(problems) => problems.to_string(),
        } + "\n";
        let expected = path.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert!(found == expected, "{name}:\n{found}");
    }
}

/// A configuration in which every key of every table is said.
fn everything() -> Config {
    let limit = LoadLimit::new(2.5, 0.5);
    let phase = |name: &str, tolerates, floor| Phase::new(name, tolerates, ByteRate(floor));
    let mut profile = Profile::new()
        .priority(sched_core::Priority::High)
        .rpo(secs(5400))
        .recurrence(
            Recurrence::new("30 2 * * FRI#L".parse().unwrap())
                .zone("Europe/Berlin".parse().unwrap())
                .jitter(secs(1800))
                .overlap(Overlap::Skip)
                .misfire(Misfire::Within(secs(3600))),
        )
        .expected_bytes_per_sec(32_000)
        .expected_duration(Duration::from_millis(1500))
        .pausable(true)
        .cancellable(true)
        .floor_bytes_per_sec(1 << 20)
        .ceiling_bytes_per_sec(Some(123_456_789))
        .phases([phase("a", Tolerance::Deferrable, 0), phase("b \"b\"", Tolerance::Slowable, 77)])
        .demand("slots", 2)
        .demand("odd name", u64::MAX)
        .demand_by_size("memory", Amount { base: 1, per_gib: 3 << 20 })
        .load("lag", Some(limit))
        .load("cpu.steal", None)
        .roles(["hidden", "secondary"], secs(90))
        .latency_factor(1.25)
        .window("nights", sched_core::WindowEnd::Stop)
        .open_window_when_late(true)
        .timeout(secs(7200))
        .retry(RetryPolicy::new(7, secs(3), secs(30)));
    profile.all.every_member = Some(true);
    profile.all.max_per_cluster = Some(Some(3));
    profile.all.max_per_host = Some(None);
    profile.all.max_per_destination = Some(Some(9));
    profile.all.never_together = Some(vec!["ddl".into()]);
    let of_kinds =
        BackupKind::ALL.into_iter().fold(profile.clone(), |all, kind| all.kind(kind, profile.clone()));
    let mut technology = Technology::default();
    technology.like = Some("mysql".into());
    technology.aliases = Some(vec!["mine-db".into()]);
    let mut cluster = Cluster::new("mine").label("gold").destination("s3");
    cluster.tenant = Some("team".into());
    let mut instance =
        Instance::of_cluster("orders", "primary").host("db 1").label("gold").size_bytes(7 << 40);
    (instance.technology, instance.volume) = (Some("mine-db".into()), Some("/data".into()));
    (instance.tenant, instance.destination) = (Some("team".into()), Some("tape".into()));
    let nights = WindowRules::new("Europe/Berlin".parse().unwrap())
        .window("mon-fri 22:00-06:00".parse().unwrap())
        .window("first sat".parse().unwrap())
        .blackout("12-24".parse().unwrap())
        .business_hours("mon-fri 08:00-18:00".parse().unwrap());
    let mut config = Config::new()
        .calendar("nights", nights)
        .technology("mine", technology, of_kinds.clone())
        .label("gold", Profile::new().rpo(secs(1)))
        .cluster("orders", cluster, profile.clone())
        .host("db 1", Host::default().resource("slots", 5).resource("memory", 1 << 45))
        .instance("orders 1", instance, profile);
    config.fleet = Host::default().resource("tape", 3);
    config
}

#[test]
fn what_is_written_is_read_back_in_any_format() {
    let config = everything();
    let toml = toml::to_string(&config).unwrap();
    assert_eq!(Config::from_toml("a.toml", &toml).unwrap(), config, "{toml}");
    assert_eq!(toml::from_str::<Config>(&toml).unwrap(), config);
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    // And is as good as what was said in code.
    let written = Policies::builtin().with_toml("a.toml", &toml).unwrap();
    let said = Policies::builtin().with_config(config).unwrap();
    assert!(said.changes(&written).is_empty());
    let spec = JobSpec::new("orders 1", "mine");
    assert_eq!(said.resolve(&spec).unwrap(), written.resolve(&spec).unwrap());
}

#[test]
fn other_formats_tell_all_errors_by_their_keys() {
    let json = r#"{"instances":{"a":{"technology":"mysql","rpo":"1 hor"},"b":{"tecnology":"mysql"}}}"#;
    let error = serde_json::from_str::<Config>(json).unwrap_err().to_string();
    assert!(error.contains("instances.a.rpo: \"1 hor\" is not a duration"), "{error}");
    assert!(
        error.contains("instances.b: there is no key `tecnology` here; did you mean `technology`?"),
        "{error}"
    );
}

/// What is set in code is held to the same rules.
#[test]
fn code_is_told_what_is_wrong_too() {
    let config = Config::new()
        .instance("a", Instance::new("postgress"), Profile::new().rpo(Duration::ZERO))
        .instance("b", Instance::new("mysql"), Profile::new().ceiling_bytes_per_sec(Some(1)));
    let problems = Policies::builtin().with_config(config).unwrap_err();
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "error: instances.a.rpo: 0 cannot be met; give a positive duration",
            "error: instances.a.technology: there is no technology \"postgress\"; did you mean \"postgresql\"?",
            "error: instances.b.ceiling: the floor of 4 MB/s is above the ceiling of 1 B/s (full backups)",
        ]
    );
}

#[test]
fn the_built_in_file_put_over_itself_changes_nothing() {
    let builtin = Policies::builtin();
    let again = builtin.clone().with_toml("again.toml", BUILTIN).unwrap();
    assert!(again.warnings().is_empty(), "{}", again.warnings());
    let changes = builtin.changes(&again);
    // What is built in holds no resource that nobody has; what somebody writes does.
    let changed: Vec<_> = changes
        .technologies
        .iter()
        .map(|(name, keys)| (name.as_str(), keys.values().next().unwrap().clone()))
        .collect();
    assert_eq!(changed, [("redis", vec!["demand"])]);
}

/// The examples of the documentation are good ones.
#[test]
fn documented_files_are_read() {
    let mut found = 0;
    for page in ["../../docs/policies.md", "../../docs/guide.md"] {
        let page = fs::read_to_string(here(page)).unwrap();
        for example in page.split("```toml\n").skip(1) {
            let text = example.split("```").next().unwrap();
            let policies =
                Policies::builtin().with_toml("example.toml", text).unwrap_or_else(|e| panic!("{e}"));
            assert!(policies.warnings().is_empty(), "{}", policies.warnings());
            found += 1;
        }
    }
    assert!(found > 0);
    for (path, text) in files("../../examples/policies") {
        let read = Policies::builtin().with_toml("example.toml", &text);
        read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// A file that is wrong in each of its lines is told about in bounded space, and soon.
#[test]
fn many_problems_are_counted() {
    let text: String = (0..5_000).map(|n| format!("[instances.a-{n}]\ntechnology = \"x\"\n")).collect();
    let problems = Policies::builtin().with_toml("many.toml", &text).unwrap_err();
    assert_eq!(problems.len(), 5_000);
    assert_eq!(problems.iter().count(), 1_000);
    assert!(problems.to_string().ends_with("and 4000 more"));
}

/// Where a value was said is where it stands.
#[test]
fn origins_name_level_file_and_line() {
    let text = "[labels.gold]\n\nrpo = \"6h\"\n[clusters.orders]\ntechnology = \"postgresql\"\nlabels = [\"gold\"]\n\
                [clusters.orders.full]\nload.replication_lag = { close_above = 9, open_below = 1 }\n\
                [instances.orders-1]\ncluster = \"orders\"\n";
    let policies = Policies::builtin().with_toml("p.toml", text).unwrap();
    let policies = policies.with("postgresql", Profile::new().pausable(true)).unwrap();
    let explanation = policies.explain_instance(&"orders-1".into(), BackupKind::Full).unwrap();
    let origin = |key: &str| {
        let value = explanation.values.iter().find(|value| value.key == key).unwrap();
        value.origin.as_ref().unwrap().to_string()
    };
    assert_eq!(origin("rpo"), "label gold, p.toml:3");
    assert_eq!(origin("load.replication_lag"), "cluster orders, p.toml:8");
    assert_eq!(origin("pausable"), "technology postgresql");
    let builtin: Vec<_> = BUILTIN.lines().collect();
    for (key, level) in [("roles", "built-in postgresql"), ("patience", "built-in generic")] {
        let origin = origin(key);
        let (said, line) = origin.rsplit_once(':').unwrap();
        assert_eq!(said, format!("{level}, builtin.toml"));
        let line = builtin[line.parse::<usize>().unwrap() - 1];
        assert!(line.starts_with(&format!("{key} = ")), "{key}: {line}");
    }
}

/// What `explain` says is what counts: read as TOML it gives the same policy.
#[test]
fn an_explanation_is_a_policy() {
    let policies = Policies::builtin();
    for technology in policies.technologies() {
        let explanation = policies.explain(&JobSpec::new("a", technology)).unwrap();
        let text = format!("[instances.a]\ntechnology = \"generic\"\n{explanation}\n");
        let said = Policies::builtin().with_toml("said.toml", &text).unwrap_or_else(|e| panic!("{e}"));
        let said = said.effective(&JobSpec::new("a", "generic")).unwrap();
        assert_eq!(*said, *policies.effective(&JobSpec::new("a", technology)).unwrap(), "{technology}");
    }
}

#[test]
fn a_change_tells_whose_terms_differ_and_in_what() {
    let base = "[labels.gold]\nrpo = \"6h\"\n[instances.a]\ntechnology = \"mysql\"\nlabels = [\"gold\"]\n\
                [instances.b]\ntechnology = \"mysql\"\n[instances.c]\ntechnology = \"etcd\"\nhost = \"one\"\n";
    let read = |text: &str| Policies::builtin().with_toml("p.toml", text).unwrap();
    let old = read(base);
    let told = |text: &str| old.changes(&read(text)).to_string();
    let tail = "\njobs that wait are placed anew; jobs that run keep what they started with";
    assert_eq!(told(base), "nothing differs");
    // The same from elsewhere in the file is the same.
    assert_eq!(told(&format!("\n\n{base}")), "nothing differs");
    assert_eq!(
        told(&base.replace("\"6h\"", "\"5h\"")),
        format!("instance a: of full, incremental, differential, snapshot, upload backups rpo{tail}")
    );
    assert_eq!(told(&base.replace("one", "two")), format!("instance c: its host{tail}"));
    let etcd = format!("{base}[technologies.etcd.log]\npatience = \"1s\"\nroles = []\n");
    let keys = "of log backups roles, patience";
    assert_eq!(told(&etcd), format!("technology etcd: {keys}\ninstance c: {keys}{tail}"));
    let generic = format!("{base}[technologies.generic]\nlatency_factor = 1.5\n");
    let changes = old.changes(&read(&generic));
    assert_eq!((changes.technologies.len(), changes.instances.len()), (11, 3));
    assert!(changes.to_string().starts_with("technology cassandra: latency_factor\n"), "{changes}");
    let nights = |windows: &str| read(&format!("{base}[calendars.nights]\nwindows = [\"{windows}\"]\n"));
    assert_eq!(old.changes(&nights("22:00-06:00")).to_string(), format!("calendar nights{tail}"));
    assert!(nights("22:00-06:00").changes(&nights("22:00-06:00")).is_empty());
    assert!(!nights("22:00-06:00").changes(&nights("22:00-05:00")).is_empty());
    // Who is named with nothing of his own has what he had.
    assert_eq!(told(&format!("{base}[instances.d]\ntechnology = \"etcd\"\n")), "nothing differs");
    let new = format!("{base}[instances.d]\ntechnology = \"etcd\"\npausable = true\n");
    assert_eq!(told(&new), format!("instance d: pausable{tail}"));
    // The other way round it is the same.
    assert_eq!(read(&new).changes(&old).to_string(), format!("instance d: pausable{tail}"));
    let gone = told(&base.replace("labels = [\"gold\"]\n", ""));
    assert!(gone.starts_with("instance a: of full"), "{gone}");
}

#[test]
fn what_cannot_be_used_leaves_the_old_as_it_was() {
    let old = Policies::builtin().with("ledger", Profile::new().rpo(secs(9))).unwrap();
    let error = old.clone().with_toml("p.toml", "[technologies.ledger]\nrpo = \"8s\"\nx = 1\n");
    assert!(error.is_err());
    assert_eq!(old.resolve(&JobSpec::new("a", "ledger")).unwrap().rpo, secs(9));
}

/// Each place lies in the text and shows the line it speaks of.
fn places_are_right(text: &str, problems: &Problems) -> Result<(), TestCaseError> {
    let lines: Vec<_> = text.split('\n').collect();
    for problem in problems.iter() {
        let place = problem.place.as_ref();
        prop_assert!(place.is_some(), "{}", problem);
        let place = place.unwrap();
        prop_assert!(place.line >= 1 && place.line as usize <= lines.len(), "{problem}");
        let line = lines[place.line as usize - 1];
        prop_assert_eq!(&*place.text, line.trim_end_matches('\r'));
        prop_assert!(place.column >= 1 && place.column as usize <= line.chars().count() + 1, "{problem}");
        prop_assert!(place.width >= 1);
    }
    Ok(())
}

/// A change of a text as people make them by mistake, and worse.
#[derive(Clone, Debug)]
enum Mutation {
    Drop(prop::sample::Index, usize),
    Insert(prop::sample::Index, String),
    Swap(prop::sample::Index, prop::sample::Index),
    Repeat(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let pieces = [
        "[",
        "]",
        "[[",
        "{",
        "}",
        "=",
        "\"",
        "'''",
        ".",
        ",",
        "\n",
        "#",
        "\\",
        "\u{0}",
        "é",
        "\t",
        "none",
        "-1",
        "1e400",
        "0x",
        "99999999999999999999",
        "nan",
        "1979-05-27",
        "[instances.a]\n",
        "rpo = \"1h\"\n",
        "log.",
        "[]",
        "{}",
    ];
    let piece = prop::sample::select(pieces.to_vec()).prop_map(str::to_owned);
    prop_oneof![
        (any::<prop::sample::Index>(), 1_usize..20).prop_map(|(at, n)| Mutation::Drop(at, n)),
        (any::<prop::sample::Index>(), prop_oneof![3 => piece, 1 => ".{1,8}"])
            .prop_map(|(at, text)| Mutation::Insert(at, text)),
        any::<(prop::sample::Index, prop::sample::Index)>().prop_map(|(a, b)| Mutation::Swap(a, b)),
        any::<prop::sample::Index>().prop_map(Mutation::Repeat),
    ]
}

fn mutate(text: &str, mutation: &Mutation) -> String {
    let mut chars: Vec<_> = text.chars().collect();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    match mutation {
        _ if chars.is_empty() || lines.is_empty() => return text.to_owned(),
        Mutation::Drop(at, n) => {
            let from = at.index(chars.len());
            chars.drain(from..(from + n).min(chars.len()));
            return chars.into_iter().collect();
        }
        Mutation::Insert(at, piece) => {
            let at = at.index(chars.len());
            return chars[..at]
                .iter()
                .copied()
                .chain(piece.chars())
                .chain(chars[at..].iter().copied())
                .collect();
        }
        Mutation::Swap(a, b) => {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
        }
        Mutation::Repeat(at) => {
            let at = at.index(lines.len());
            lines.insert(at, lines[at].clone());
        }
    }
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn no_text_makes_it_panic_and_every_problem_has_its_place(
        which in any::<prop::sample::Index>(),
        mutations in prop::collection::vec(mutation(), 0..6),
    ) {
        let mut texts: Vec<_> = files("../../examples/policies").into_iter().map(|(_, text)| text).collect();
        texts.push(BUILTIN.to_owned());
        texts.push(toml::to_string(&everything()).unwrap());
        let text = mutations.iter().fold(texts[which.index(texts.len())].clone(), |text, m| mutate(&text, m));
        match Policies::builtin().with_toml("fuzzed.toml", &text) {
            Ok(policies) => places_are_right(&text, policies.warnings())?,
            Err(problems) => {
                prop_assert!(problems.has_errors());
                places_are_right(&text, &problems)?;
                // It can be shown.
                prop_assert!(problems.to_string().starts_with("error: "));
            }
        }
    }
}
