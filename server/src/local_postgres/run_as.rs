//! Programs of Postgres run as a user that Postgres accepts. What they are told and what it means is the caller's.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::{LocalPostgresError, Result, START_SECONDS_MAX};
use crate::config::runs_as_root;

const COMMAND_SECONDS_MAX: u64 = START_SECONDS_MAX + 60;

/// The user under whom Postgres runs: ourselves, or another one when we are root.
#[derive(Debug, Clone)]
pub(super) struct RunAs {
    other: Option<(u32, u32)>,
    name: String,
}

impl RunAs {
    pub(super) fn for_folder(folder: &Path) -> Result<RunAs> {
        if !runs_as_root() {
            return Ok(RunAs { other: None, name: String::new() });
        }
        // Postgres insists on owning its folder, and numbers differ between images: an existing owner wins.
        if let Some(owner) = fs::metadata(folder).ok().filter(|metadata| metadata.uid() != 0) {
            return Ok(RunAs { other: Some((owner.uid(), owner.gid())), name: format!("number {}", owner.uid()) });
        }
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let account = ["postgres", "nobody"].into_iter().find_map(|name| Some((name, ids_of(&accounts, name)?)));
        let (name, ids) = account.ok_or(LocalPostgresError::NoUser)?;
        Ok(RunAs { other: Some(ids), name: name.to_owned() })
    }

    /// Postgres's own message, "could not access directory", would not say which folder on the way is closed.
    pub(super) fn check_way_to(&self, folder: &Path) -> Result<()> {
        let Some((uid, gid)) = self.other else { return Ok(()) };
        for step in folder.ancestors() {
            let metadata =
                fs::metadata(step).map_err(|source| LocalPostgresError::File { path: step.to_owned(), source })?;
            let needed = if metadata.uid() == uid {
                0o100
            } else if metadata.gid() == gid {
                0o010
            } else {
                0o001
            };
            if metadata.mode() & needed == 0 {
                return Err(LocalPostgresError::Closed { folder: step.to_owned(), user: self.name.clone() });
            }
        }
        Ok(())
    }

    pub(super) fn own(&self, path: &Path) -> Result<()> {
        let Some((uid, gid)) = self.other else { return Ok(()) };
        chown(path, Some(uid), Some(gid)).map_err(|source| LocalPostgresError::File { path: path.to_owned(), source })
    }

    pub(super) async fn run(&self, command: std::process::Command) -> Result<()> {
        let mut command = Command::from(command);
        if let Some((uid, gid)) = self.other {
            command.uid(uid).gid(gid);
        }
        run_command(command.env_clear()).await
    }
}

async fn run_command(command: &mut Command) -> Result<()> {
    let path = PathBuf::from(command.as_std().get_program());
    let program = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A group of its own, so that Ctrl-C in a terminal reaches us alone and we stop Postgres in our own order. The other
    // user may not be allowed into our working folder. The messages have to be in the language we look for.
    command.process_group(0).current_dir("/").env("LC_ALL", "C").kill_on_drop(true).stdin(Stdio::null());
    let finished = tokio::time::timeout(Duration::from_secs(COMMAND_SECONDS_MAX), command.output()).await;
    let Output { status, stdout, stderr } = match finished {
        Ok(output) => output.map_err(|source| LocalPostgresError::File { path, source })?,
        Err(_) => {
            let status = format!("no end after {COMMAND_SECONDS_MAX} seconds");
            return Err(LocalPostgresError::Command { program, status, said: String::new() });
        }
    };
    if !status.success() {
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        return Err(LocalPostgresError::Command { program, status: status.to_string(), said: said.trim().to_owned() });
    }
    Ok(())
}

fn ids_of(accounts: &str, name: &str) -> Option<(u32, u32)> {
    let fields: Vec<&str> =
        accounts.lines().map(|line| line.split(':').collect()).find(|fields: &Vec<&str>| fields[0] == name)?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs::DirBuilder;
    use std::os::unix::fs::DirBuilderExt;

    use super::*;

    #[test]
    fn a_closed_folder_on_the_way_is_named_with_the_chmod_to_run() {
        let folder = PathBuf::from(format!("/tmp/tronch-postgres-{}-closed", std::process::id()));
        DirBuilder::new().mode(0o700).create(&folder).unwrap();
        let stranger = RunAs { other: Some((4_000_000, 4_000_000)), name: "stranger".into() };
        let error = stranger.check_way_to(&folder).unwrap_err().to_string();
        fs::remove_dir(&folder).unwrap();
        assert!(error.contains(&format!("chmod o+x {}", folder.display())), "{error}");
    }

    #[test]
    fn accounts_are_read_as_they_are_written() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104::/:/bin/sh\nbad";
        assert_eq!((ids_of(accounts, "postgres"), ids_of(accounts, "bad")), (Some((101, 104)), None));
    }
}
