//! The arrows in `docs/architecture.md` are the dependencies in the manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

type Graph = BTreeMap<String, BTreeSet<String>>;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The block that starts with "```crates": lines of the form `a -> b c`.
fn drawn() -> Graph {
    let text = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let block = text.split("```crates\n").nth(1).expect("a block of crates").split("```").next().unwrap();
    let arrow = |line: &str| {
        let (from, to) = line.split_once("->").unwrap_or_else(|| panic!("no arrow in {line:?}"));
        (from.trim().to_owned(), to.split_whitespace().map(str::to_owned).collect())
    };
    block.lines().filter(|line| !line.trim().is_empty()).map(arrow).collect()
}

/// What cargo says of the workspace's packages.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Normal dependencies among the crates of the workspace.
fn real() -> Graph {
    let packages = packages();
    let in_crates = |p: &&Value| text(&p["manifest_path"]).contains("/crates/");
    let ours: BTreeSet<_> = packages.iter().filter(in_crates).map(|p| text(&p["name"])).collect();
    let dependencies = |p: &Value| {
        let all = p["dependencies"].as_array().unwrap().iter();
        let normal = all.filter(|d| d["kind"].is_null()).map(|d| text(&d["name"]));
        normal.filter(|name| ours.contains(name)).collect()
    };
    packages.iter().filter(in_crates).map(|p| (text(&p["name"]), dependencies(p))).collect()
}

#[test]
fn the_drawn_graph_is_the_real_one() {
    let (drawn, real) = (drawn(), real());
    let names = |graph: &Graph| graph.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&drawn), names(&real), "docs/architecture.md (left) must list every crate (right)");
    for (name, dependencies) in &real {
        assert_eq!(&drawn[name], dependencies, "{name}: drawn (left) and real (right) dependencies");
    }
}

#[test]
fn the_graph_has_one_direction_and_the_core_stands_alone() {
    let mut graph = real();
    assert!(graph["sched-core"].is_empty());
    while !graph.is_empty() {
        let free: Vec<_> = graph.iter().filter(|(_, d)| d.is_empty()).map(|(name, _)| name.clone()).collect();
        assert!(!free.is_empty(), "a cycle among {:?}", graph.keys());
        for name in free {
            graph.remove(&name);
            graph.values_mut().for_each(|dependencies| dependencies.retain(|other| *other != name));
        }
    }
}

#[test]
fn whoever_finds_a_crate_in_the_registry_learns_what_it_is() {
    let packages = packages();
    let is_published = |package: &&Value| package["publish"].is_null();
    let published: Vec<_> = packages.iter().filter(is_published).collect();
    assert!(published.len() >= 9);
    for package in &published {
        let name = text(&package["name"]);
        for field in ["description", "license", "readme", "repository", "rust_version"] {
            assert!(package[field].as_str().is_some_and(|said| !said.is_empty()), "{name} has no {field}");
        }
        for field in ["keywords", "categories"] {
            let count = package[field].as_array().unwrap().len();
            assert!((1..=5).contains(&count), "{name} has {count} {field}");
        }
        let folder = root().join("crates").join(&name);
        for file in [folder.join(text(&package["readme"])), folder.join("LICENSE")] {
            assert!(file.is_file(), "{} is not there", file.display());
        }
        // What is behind a feature would be missing from the page of the documentation.
        let has_features = package["features"].as_object().is_some_and(|features| !features.is_empty());
        let all_shown = package["metadata"]["docs"]["rs"]["all-features"] == true;
        assert_eq!(all_shown, has_features, "{name}: `package.metadata.docs.rs`");
    }
}

/// What is not published is named by its path alone, and left out of what is; all else could not be published.
#[test]
fn a_published_crate_depends_on_nothing_that_is_not() {
    let packages = packages();
    let unpublished = |name: &Value| packages.iter().any(|p| p["name"] == *name && !p["publish"].is_null());
    for package in packages.iter().filter(|package| package["publish"].is_null()) {
        for dependency in package["dependencies"].as_array().unwrap() {
            let fits = dependency["kind"] == "dev" && dependency["req"] == "*";
            assert!(!unpublished(&dependency["name"]) || fits, "{}: {dependency}", package["name"]);
        }
    }
}
