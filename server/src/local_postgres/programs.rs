//! Where the programs of Postgres are, and which major version they are of. Nothing is installed and no cluster touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::{LocalPostgresError, Result};

/// The newest first: a new cluster takes the first that is installed.
const MAJORS: [u32; 4] = [18, 17, 16, 15];
/// Where Debian, Red Hat, Alpine and Homebrew put the programs; `{}` is the major version.
const PROGRAM_FOLDERS: [&str; 5] = [
    "/usr/lib/postgresql/{}/bin",
    "/usr/pgsql-{}/bin",
    "/usr/libexec/postgresql{}",
    "/opt/homebrew/opt/postgresql@{}/bin",
    "/usr/local/opt/postgresql@{}/bin",
];
const PROGRAMS: [&str; 4] = ["initdb", "pg_ctl", "postgres", "psql"];

/// The folder with `initdb`, `pg_ctl`, `postgres` and `psql` of one major version.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    pub(super) folder: PathBuf,
    pub(super) major: u32,
}

impl Programs {
    pub(super) async fn find(cluster_folder: &Path, made_by: Option<&str>, pg_bin: Option<&Path>) -> Result<Programs> {
        let found = match pg_bin {
            Some(folder) => Programs::in_folder(folder).await.into_iter().collect(),
            None => Programs::installed().await,
        };
        let majors: Vec<String> = found.iter().map(|programs| programs.major.to_string()).collect();
        let fitting = |programs: &Programs| made_by.is_none_or(|made_by| made_by == programs.major.to_string());
        match (found.into_iter().find(fitting), made_by) {
            (Some(programs), _) => Ok(programs),
            (None, Some(made_by)) if !majors.is_empty() => Err(LocalPostgresError::OtherMajor {
                folder: cluster_folder.to_owned(),
                made_by: made_by.to_owned(),
                found: majors.join(", "),
            }),
            (None, _) => Err(LocalPostgresError::NotFound(pg_bin.map(Path::to_owned))),
        }
    }

    async fn installed() -> Vec<Programs> {
        let mut found = Vec::new();
        for major in MAJORS {
            for pattern in PROGRAM_FOLDERS {
                found.extend(Programs::in_folder(Path::new(&pattern.replace("{}", &major.to_string()))).await);
            }
        }
        // The shell knows the PATH, so that only `config.rs` reads the environment.
        let which = Command::new("sh").args(["-c", "command -v initdb"]).stdin(Stdio::null()).output().await;
        let initdb =
            which.ok().and_then(|output| fs::canonicalize(String::from_utf8_lossy(&output.stdout).trim()).ok());
        if let Some(folder) = initdb.as_deref().and_then(Path::parent) {
            found.extend(Programs::in_folder(folder).await);
        }
        found
    }

    async fn in_folder(folder: &Path) -> Option<Programs> {
        let folder = fs::canonicalize(folder).ok()?;
        if !PROGRAMS.iter().all(|program| folder.join(program).is_file()) {
            return None;
        }
        let output = Command::new(folder.join("initdb")).arg("--version").stdin(Stdio::null()).output().await.ok()?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout)).filter(|major| MAJORS.contains(major))?;
        Some(Programs { folder, major })
    }
}

/// The major version in "initdb (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)".
pub(super) fn major_of(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
