//! Reads the workspace's sources and holds the style rules that a machine can hold. It judges nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file beyond this many lines wants a reason.
const LINES_MAX: usize = 500;

/// Files that are long for a reason.
const LONG_FOR_A_REASON: &[&str] = &["engine/src/schema.rs"];

/// Where the command line is.
const COMMANDS: [&str; 3] = ["server/src/commands.rs", "server/src/demo_command.rs", "server/src/revoke_command.rs"];

/// Folders that tools write.
const NOT_OURS: &[&str] = &["target", "node_modules"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("core stands in the workspace").to_owned()
}

fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for member in ["core", "engine", "app", "server", "frontend", "xtask"] {
        collect(&root().join(member), &mut found);
    }
    assert!(found.len() > 30, "the walk found only {} files", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if !NOT_OURS.iter().any(|name| path.ends_with(name)) {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).expect("inside the workspace").display().to_string();
            found.push((name, fs::read_to_string(&path).expect("a text file")));
        }
    }
}

fn refuse(rule: &str, broken: impl Fn(&str, &str) -> bool) {
    let names: Vec<String> =
        sources().into_iter().filter(|(name, text)| broken(name, text)).map(|(name, _)| name).collect();
    assert!(names.is_empty(), "{rule}: {names:?}");
}

#[test]
fn every_file_says_what_it_is() {
    refuse("a file opens with //!", |_, text| !text.starts_with("//!"));
}

#[test]
fn files_stay_short() {
    refuse("a file over 500 lines wants a reason", |name, text| {
        !LONG_FOR_A_REASON.contains(&name) && text.lines().count() > LINES_MAX
    });
}

#[test]
fn features_are_named_in_one_file() {
    // A line that holds both words, so that negations and combinations count too.
    let word = concat!("feature", " = ");
    refuse("Cargo features are named in app/src/lib.rs only", |name, text| {
        name != "app/src/lib.rs" && text.lines().any(|line| line.contains("cfg") && line.contains(word))
    });
}

#[test]
fn the_environment_is_read_in_one_file() {
    let word = concat!("env", "::var");
    let may = |name: &str| name == "server/src/config/mod.rs" || name.starts_with("xtask/") || name.contains("/tests/");
    refuse("only config/mod.rs reads the environment", |name, text| !may(name) && text.contains(word));
}

#[test]
fn sql_stands_in_the_engine() {
    let words = [concat!("sql", "_query"), concat!("diesel", "::")];
    refuse("SQL is the engine's", |name, text| {
        !name.starts_with("engine/") && words.iter().any(|word| text.contains(word))
    });
    for member in ["core", "app", "server", "frontend", "xtask"] {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).expect("a manifest");
        assert!(!manifest.contains("diesel"), "{member} depends on Diesel");
    }
}

/// The launcher makes the role and the database of its own cluster; nothing of ours stands in them yet. Diesel's connections over TLS are
/// made by the driver.
#[test]
fn the_driver_is_used_by_the_launcher_and_by_tests() {
    let word = concat!("tokio_", "postgres::");
    let may = |name: &str| {
        name.starts_with("server/src/local_postgres/") || name.contains("/tests/") || name == "engine/src/db.rs"
    };
    refuse("SQL goes through the engine's pools", |name, text| !may(name) && text.contains(word));
}

#[test]
fn the_engine_goes_by_the_products_time() {
    let word = concat!("Utc::", "now()");
    let may = |name: &str| name == "engine/src/clock.rs" || name == "engine/src/keyring/vectors.rs";
    refuse("the time is clock::now()", |name, text| {
        name.starts_with("engine/src/") && !may(name) && text.contains(word)
    });
}

#[test]
fn the_operator_stands_at_the_command_line_only() {
    let word = concat!("Caller::", "operator()");
    let may = |name: &str| COMMANDS.contains(&name) || name.starts_with("engine/") || name.contains("/tests/");
    refuse("only the command line is the operator", |name, text| !may(name) && text.contains(word));
}

#[test]
fn the_nouns_stand_on_no_runtime_and_no_io() {
    // Its crates and theirs, as Cargo would build this crate alone; the first line is the crate itself.
    let tree = ["tree", "--package", "tronch-core", "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    let asked = Command::new(env!("CARGO")).args(tree).args(["--locked", "--offline"]).current_dir(root()).output();
    let asked = asked.expect("cargo runs");
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let text = String::from_utf8(asked.stdout).expect("cargo writes text");
    let crates: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(["tronch-core", "serde", "uuid"].iter().all(|name| crates.contains(name)), "this is no tree: {text}");
    let refused =
        ["async", "futures", "tokio", "mio", "socket", "libc", "rand", "getrandom", "hyper", "axum", "diesel"];
    let found: Vec<&&str> = crates.iter().filter(|name| refused.iter().any(|word| name.starts_with(word))).collect();
    assert!(found.is_empty(), "core stands on {found:?}");
}

#[test]
fn no_module_is_a_drawer_for_everything() {
    refuse("utils, helpers and common are no nouns", |name, _| {
        ["utils", "helpers", "common"].iter().any(|word| name.contains(&format!("/{word}")))
    });
}

#[test]
fn no_test_is_switched_off() {
    let words =
        [concat!("#[", "ignore"), concat!("#[should", "_panic"), concat!("todo", "!("), concat!("unimplemented", "!(")];
    refuse("a test runs or is not there", |_, text| words.iter().any(|word| text.contains(word)));
}
