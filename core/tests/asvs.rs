//! `docs/asvs.md` names tests and files that are in the tree, counts right, and leaves none of the chapters that take a test without one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Whose requirements name a test that fails when the defence is taken out.
const TESTED: [u8; 4] = [3, 6, 7, 8];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A requirement: its id's three numbers, and how it is met.
struct Row {
    id: [u8; 3],
    how: String,
}

fn rows(text: &str) -> Vec<Row> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| V")?.strip_suffix(" |")?.splitn(4, " | ");
        let numbers: Vec<u8> = cells.next()?.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        Some(Row { id: numbers.try_into().ok()?, how: cells.nth(2)?.to_owned() })
    };
    text.lines().filter_map(row).collect()
}

/// What stands in backticks, and what follows each.
fn quoted(how: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = how.split('`').collect();
    (1..parts.len()).step_by(2).map(|at| (parts[at], parts.get(at + 1).copied().unwrap_or_default())).collect()
}

/// Tests that are named, as a file and a name.
fn tests(how: &str) -> Vec<(&str, String)> {
    let quoted = quoted(how);
    let mut found = Vec::new();
    for (at, (file, then)) in quoted.iter().enumerate() {
        if file.ends_with(".rs") && *then == ": " {
            found.push((*file, format!("fn {}(", quoted[at + 1].0)));
        }
        if let (true, Some(title)) = (file.ends_with(".ts"), then.strip_prefix(": \"")) {
            found.push((*file, format!("\"{}\"", title.split('"').next().unwrap_or_default())));
        }
    }
    found
}

#[test]
fn each_requirement_stands_once_and_is_counted() {
    let text = read("docs/asvs.md");
    let rows = rows(&text);
    assert_eq!(rows.len(), 253, "levels 1 and 2 of ASVS 5.0.0");
    assert!(rows.is_sorted_by(|one, next| one.id < next.id), "in order, each once");
    let mut counts: BTreeMap<u8, [usize; 3]> = BTreeMap::new();
    for row in &rows {
        let kinds = ["met: ", "does not apply: ", "not met: "];
        let kind = kinds.iter().position(|kind| row.how.starts_with(kind));
        let kind = kind.unwrap_or_else(|| panic!("{:?} says neither: {}", row.id, row.how));
        counts.entry(row.id[0]).or_default()[kind] += 1;
    }
    for (chapter, [met, absent, unmet]) in counts {
        let counted = format!("| {met} | {absent} | {unmet} | {} |", met + absent + unmet);
        let line =
            text.lines().find(|line| line.starts_with(&format!("| V{chapter} "))).expect("a line of the summary");
        assert!(line.ends_with(&counted), "V{chapter}: {counted}, and not {line}");
    }
}

#[test]
fn what_it_names_is_in_the_tree() {
    for row in rows(&read("docs/asvs.md")) {
        for (path, _) in quoted(&row.how) {
            let is_path = path.contains('/') && Path::new(path).extension().is_some() && !path.contains(' ');
            assert!(!is_path || root().join(path).exists(), "{:?} names {path}, which is not there", row.id);
        }
        for (file, name) in tests(&row.how) {
            assert!(read(file).contains(&name), "{:?} names {name} of {file}, which is not there", row.id);
        }
        // A part of a document is named by its heading.
        for pair in quoted(&row.how).windows(2).filter(|pair| pair[0].0.ends_with(".md") && pair[0].1 == " (") {
            let heading = format!("# {}\n", pair[1].0);
            assert!(read(pair[0].0).contains(&heading), "{:?} names {heading:?} of {}", row.id, pair[0].0);
        }
    }
}

#[test]
fn what_takes_a_test_has_one() {
    for row in rows(&read("docs/asvs.md")) {
        if TESTED.contains(&row.id[0]) && row.how.starts_with("met: ") && !tests(&row.how).is_empty() {
            continue;
        }
        let documented = row.id[1] == 1 && row.how.contains("docs/");
        let excused = !TESTED.contains(&row.id[0]) || !row.how.starts_with("met: ") || documented;
        assert!(excused, "{:?} names no test: {}", row.id, row.how);
    }
}
