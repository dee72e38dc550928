//! What `docs/faults.md` names as shown is shown: every test of that page is in the sources.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_fault_has_tests_and_every_test_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/faults.md")).unwrap();
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert_eq!(rows.len(), 25, "a fault a row");
    let mut named = BTreeSet::new();
    for row in &rows {
        let tests: Vec<_> = row.split('`').filter_map(|word| word.split_once(".rs::")).collect();
        assert!(!tests.is_empty(), "nothing shows {row}");
        for (file, test) in tests {
            let file = root.join("crates").join(format!("{file}.rs"));
            let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
            let is_there = text.split(&format!("fn {test}(")).next().is_some_and(|before| {
                // Its attribute, and perhaps that it needs a server.
                let above = before.trim_end().rsplit("\n\n").next().unwrap_or_default();
                before.len() < text.len() && above.contains("#[test]")
            });
            assert!(is_there, "{file:?} has no test {test}");
            named.insert(test);
        }
    }
    assert!(named.len() >= 80, "{}", named.len());
}
