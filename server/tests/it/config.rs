//! `tronch config` as a process of its own: it says what is in force and what is wrong, all of it, and starts nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::{DataDir, Server, TestDatabase, command, run};

const PASSWORD: &str = "hush-hush-password";

fn config(data_dir: &DataDir, arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String) {
    let arguments = [&["config"], arguments].concat();
    let Output { status, stdout, stderr } = run(command(data_dir, &arguments).envs(settings.iter().copied()), "");
    assert_eq!(String::from_utf8_lossy(&stderr), "");
    let said = String::from_utf8(stdout).expect("text");
    assert!(!said.contains(PASSWORD), "{said}");
    (status.code().expect("an exit code"), said)
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn show_tells_each_value_and_its_source_and_no_secret() {
    let data_dir = DataDir::create();
    let file = data_dir.path().join("tronch.toml");
    write(
        &file,
        &format!("log = \"warn\"\ndatabase_url = \"postgres://me:{PASSWORD}@db.example.com:5432/keys\""),
        0o600,
    );
    let path = file.display().to_string();
    let secret = "ab".repeat(32);
    let settings =
        [("TRONCH_CONFIG", path.as_str()), ("TRONCH_MASTER_KEY", &secret), ("TRONCH_SHUTDOWN_SECONDS", "20")];
    let (code, said) = config(&data_dir, &["show", "--json"], &settings);
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains(&secret), "{said}");
    let shown: Value = serde_json::from_str(&said).expect("one JSON document");
    assert_eq!(shown["file"], path.as_str());
    let list = shown["settings"].as_array().expect("a list");
    assert_eq!(list.len(), 28);
    let find = |name: &str| {
        let setting = list.iter().find(|setting| setting["name"] == name).expect("the setting");
        let text = |field: &str| setting[field].as_str().unwrap_or("null").to_owned();
        assert_eq!(setting["problem"], Value::Null);
        (text("variable"), text("value"), text("source"), text("origin"))
    };
    let expected = [
        ("listen", ("TRONCH_LISTEN", "127.0.0.1:3000", "default", "null")),
        ("log", ("TRONCH_LOG", "warn", "file", &path)),
        ("database_url", ("DATABASE_URL", "postgres://db.example.com:5432/keys", "file", &path)),
        ("shutdown_seconds", ("TRONCH_SHUTDOWN_SECONDS", "20", "environment", "TRONCH_SHUTDOWN_SECONDS")),
        ("master_key", ("TRONCH_MASTER_KEY", "[redacted]", "environment", "TRONCH_MASTER_KEY")),
        ("pg_bin", ("TRONCH_PG_BIN", "null", "default", "null")),
    ];
    for (name, (variable, value, source, origin)) in expected {
        if name != "pg_bin" || find(name).2 == "default" {
            assert_eq!(find(name), (variable.into(), value.into(), source.into(), origin.into()), "{name}");
        }
    }
    let (code, said) = config(&data_dir, &["show"], &settings);
    assert_eq!(code, 0);
    assert!(said.starts_with(&format!("tronch.toml: {path}\n\nsetting ")), "{said}");
    assert_eq!(names(data_dir.path()), ["tronch.toml"], "something was made");
}

#[test]
fn show_works_while_values_are_wrong_and_marks_them() {
    let data_dir = DataDir::create();
    let settings = [("TRONCH_LISTEN", "nowhere"), ("DATABASE_URL", PASSWORD), ("TRONCH_LISTN", "127.0.0.1:1")];
    let (code, said) = config(&data_dir, &["show"], &settings);
    assert_eq!(code, 1, "{said}");
    for line in [
        "  wrong: listen: \"nowhere\" (environment variable TRONCH_LISTEN) is refused; it must be an IP address and a port, such as 127.0.0.1:3000 or [::]:3000.",
        "  wrong: database_url: the value given (environment variable DATABASE_URL) is refused; it must look like postgres://user:password@host:5432/database.",
        "wrong: The environment variable TRONCH_LISTN is no setting; did you mean TRONCH_LISTEN?",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}\nis not in\n{said}");
    }
    let (code, said) = config(&data_dir, &["show", "--json"], &settings);
    assert_eq!(code, 1, "{said}");
    let shown: Value = serde_json::from_str(&said).expect("one JSON document");
    assert_eq!(
        (&shown["settings"][0]["value"], shown["problems"].as_array().map(Vec::len)),
        (&"nowhere".into(), Some(1))
    );
}

#[test]
fn an_answer_that_nobody_takes_is_an_error_and_no_panic() {
    let data_dir = DataDir::create();
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a full device");
    let output = command(&data_dir, &["config", "show"]).stdout(full).output().expect("the binary");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("tronch: standard output cannot be written: No space left on device"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn check_finds_nothing_where_nothing_is_wrong_and_makes_nothing() {
    let data_dir = DataDir::create();
    let path = data_dir.path().join("not/there/yet").display().to_string();
    assert_eq!(config(&data_dir, &["check"], &[("TRONCH_DATA_DIR", &path)]), (0, "all 28 settings are fine\n".into()));
    assert_eq!(names(data_dir.path()), Vec::<String>::new(), "something was made");
    write(&data_dir.path().join("master-key"), &"0a".repeat(32), 0o600);
    assert_eq!(config(&data_dir, &["check"], &[]), (0, "all 28 settings are fine\n".into()));
    assert_eq!(names(data_dir.path()), ["master-key"], "something was made");
}

#[test]
fn check_names_every_problem_at_once() {
    let data_dir = DataDir::create();
    let at = |name: &str| data_dir.path().join(name).display().to_string();
    let (file, key_file, tronch_toml) = (at("a-file"), at("key"), at("tronch.toml"));
    write(Path::new(&file), "in the way", 0o644);
    write(Path::new(&key_file), &"0a".repeat(32), 0o644);
    write(Path::new(&tronch_toml), &format!("log_fromat = \"json\"\nmaster_key_file = {key_file:?}"), 0o644);
    let folder = format!("{file}/data");
    let settings = [
        ("TRONCH_CONFIG", tronch_toml.as_str()),
        ("TRONCH_DATA_DIR", &folder),
        ("TRONCH_PG_BIN", "/nonexistent"),
        ("TRONCH_SHUTDOWN_SECONDS", "1000"),
        ("TRONCH_PUBLIC_URL", "http://keys.example.com"),
        ("TRONCH_LOGFORMAT", "json"),
    ];
    let (code, said) = config(&data_dir, &["check"], &settings);
    let expected = [
        "The environment variable TRONCH_LOGFORMAT is no setting; did you mean TRONCH_LOG_FORMAT?".to_owned(),
        format!("{tronch_toml} has the unknown key log_fromat; did you mean log_format?"),
        "public_url: \"http://keys.example.com\" (environment variable TRONCH_PUBLIC_URL) is refused; it must be https unless the host is loopback, because passwords and keys would cross the network in clear; set TRONCH_ALLOW_INSECURE_HTTP=true to accept that.".to_owned(),
        format!("data_dir: {folder:?} (environment variable TRONCH_DATA_DIR) cannot be used: it is not there, and it cannot be made in {file}: Not a directory (os error 20)"),
        "pg_bin: \"/nonexistent\" (environment variable TRONCH_PG_BIN) cannot be used: it must hold the programs initdb, pg_ctl, postgres; initdb is missing or cannot be run".to_owned(),
        format!("master_key_file: {key_file:?} ({tronch_toml}, key master_key_file) cannot be used: The secret file {key_file} can be read by other users; run: chmod 600 {key_file}"),
        "shutdown_seconds: \"1000\" (environment variable TRONCH_SHUTDOWN_SECONDS) is refused; it must be a whole number from 1 to 300.".to_owned(),
    ];
    let mut lines: Vec<&str> = said.lines().collect();
    lines[..2].sort_unstable_by_key(|line| !line.starts_with("The environment"));
    assert_eq!(lines, expected);
    assert_eq!(code, 1);
}

#[test]
fn check_reads_the_master_key() {
    let data_dir = DataDir::create();
    let path = data_dir.path().join("master-key").display().to_string();
    let lead = |setting: &str| format!("master_key_file: {path:?} ({setting}) cannot be used: ");
    let environment = [("TRONCH_MASTER_KEY_FILE", path.as_str())];
    let named = lead("environment variable TRONCH_MASTER_KEY_FILE");
    assert_eq!(config(&data_dir, &["check"], &environment), (1, format!("{named}there is no such file\n")));
    let empty = format!("{path} holds no master secret: 64 hexadecimal digits on a line of their own");
    write(Path::new(&path), "0a0a", 0o600);
    assert_eq!(config(&data_dir, &["check"], &environment), (1, format!("{named}{empty}\n")));
    assert_eq!(config(&data_dir, &["check"], &[]), (1, format!("{}{empty}\n", lead("default"))));
    write(Path::new(&path), &"0a".repeat(32), 0o640);
    let open = format!("The secret file {path} can be read by other users; run: chmod 600 {path}");
    assert_eq!(config(&data_dir, &["check"], &[]), (1, format!("{}{open}\n", lead("default"))));
}

#[test]
fn check_warns_of_what_works_and_was_hardly_meant() {
    let data_dir = DataDir::create();
    let file = data_dir.path().join("tronch.toml");
    write(&file, &format!("database_url = \"postgres://me:{PASSWORD}@db/keys\""), 0o644);
    let file = file.display().to_string();
    let table: [(&[(&str, &str)], &str); 7] = [
        (
            &[
                ("TRONCH_PUBLIC_URL", "https://k.example"),
                ("TRONCH_TRUSTED_PROXIES", "::1"),
                ("TRONCH_ALLOW_INSECURE_HTTP", "1"),
            ],
            "allow_insecure_http changes nothing",
        ),
        (&[("TRONCH_PUBLIC_URL", "http://k.example"), ("TRONCH_ALLOW_INSECURE_HTTP", "1")], "public_url is http"),
        (&[("TRONCH_PUBLIC_URL", "https://k.example")], "trusted_proxies names none"),
        (&[("TRONCH_LISTEN", "0.0.0.0:3000")], "listen is open to the network"),
        (&[("TRONCH_OPS_LISTEN", "0.0.0.0:9464")], "ops_listen is open to the network"),
        (&[("TRONCH_DATABASE_CONNECTIONS", "46")], "database_connections above 45"),
        (&[("TRONCH_CONFIG", &file)], "can be read by other users; give it mode 0600"),
    ];
    for (settings, words) in table {
        let (code, said) = config(&data_dir, &["check"], settings);
        let (warning, rest) = said.split_once('\n').expect("two lines");
        assert!(warning.starts_with("warning: ") && warning.contains(words), "{said}");
        assert_eq!((code, rest), (0, "all 28 settings are fine\n"), "{settings:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_refuses_a_mistyped_variable_and_says_which_it_ignores() {
    let (database, data_dir) = (TestDatabase::create().await, DataDir::create());
    let output = run(command(&data_dir, &["serve"]).env("TRONCH_TRUSTED_PROXY", "::1"), "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    let expected =
        "tronch: The environment variable TRONCH_TRUSTED_PROXY is no setting; did you mean TRONCH_TRUSTED_PROXIES?\n";
    assert_eq!(said, expected);
    let settings = [("DATABASE_URL", database.url()), ("TRONCH_SERVICE_HOST", "10.0.0.1".to_owned())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let log = Server::start(&data_dir, &settings).await.stop();
    let line: Value = serde_json::from_str(log.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        (&line["level"], &line["fields"]["environment.variables"]),
        (&"WARN".into(), &"TRONCH_SERVICE_HOST".into())
    );
}
