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

/// Normal dependencies among the crates of the workspace.
fn real() -> Graph {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
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
