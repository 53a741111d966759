//! What can be found wrong without starting: `tronch config check`. It looks at the files that settings name, and leaves
//! nothing behind. Whether a port is free or Postgres answers shows at a start.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::survey::{Source, Survey};
use super::{Config, MasterKeySource};
use crate::data_dir::{self, DataDirError};
use crate::local_postgres::PROGRAMS;
use crate::open::parse_masters;

/// What the private Postgres has room for: a process holds up to twice `database_connections`.
const PRIVATE_POSTGRES_CONNECTIONS_FIT: u32 = 45;

/// Adds to a survey what its files and its settings together get wrong.
pub fn check(mut survey: Survey) -> Survey {
    let found = [
        ("data_dir", survey.are_fine(&["data_dir"]).then(|| check_data_dir(&survey.draft.data_dir))),
        (
            "master_key_file",
            survey.are_fine(&["data_dir", "master_key"]).then(|| check_master_key(&survey.draft.master_key)),
        ),
        ("pg_bin", survey.are_fine(&["pg_bin"]).then(|| check_programs(&survey.draft))),
    ];
    for (name, outcome) in found {
        let setting = survey.settings.iter_mut().find(|setting| setting.name == name && setting.problem.is_none());
        if let (Some(setting), Some(Err(error))) = (setting, outcome) {
            setting.problem = Some(format!("{} cannot be used: {error:#}", setting.lead()));
        }
    }
    let remarks = remarks(&survey);
    survey.warnings.extend(remarks);
    survey
}

/// A directory that is not there yet is made by the first start, in the nearest folder that is.
fn check_data_dir(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        data_dir::prepare(path)?;
        return Ok(());
    }
    let folder = path.ancestors().find(|ancestor| ancestor.exists()).context("there is no such folder")?;
    let probe = folder.join(format!(".tronch-probe-{}", std::process::id()));
    File::create_new(&probe)
        .and_then(|_| fs::remove_file(&probe))
        .with_context(|| format!("it is not there, and it cannot be made in {}", folder.display()))
}

fn check_master_key(source: &MasterKeySource) -> anyhow::Result<()> {
    let (path, must_exist) = match source {
        MasterKeySource::Given(_) => return Ok(()),
        MasterKeySource::File(path) => (path, true),
        // The first start makes it.
        MasterKeySource::InDataDir(path) => (path, false),
    };
    match data_dir::read_secret(path) {
        Ok(Some(bytes)) => parse_masters(bytes, &path.display().to_string()).map(|_| ()),
        Ok(None) if must_exist => anyhow::bail!("there is no such file"),
        Ok(None) => Ok(()),
        // What is wrong with the data directory is said there.
        Err(DataDirError::File { source, .. }) if !must_exist && source.kind() == io::ErrorKind::NotADirectory => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn check_programs(config: &Config) -> anyhow::Result<()> {
    let (Some(folder), None) = (&config.pg_bin, &config.database_url) else { return Ok(()) };
    for program in PROGRAMS {
        let runs = fs::metadata(folder.join(program))
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
        anyhow::ensure!(
            runs,
            "it must hold the programs {}; {program} is missing or cannot be run",
            PROGRAMS.join(", ")
        );
    }
    Ok(())
}

/// What works and is most likely not what was meant.
fn remarks(survey: &Survey) -> Vec<String> {
    let config = &survey.draft;
    let open = |ip: std::net::IpAddr| !ip.is_loopback();
    let url = &config.public_url;
    let table = [
        (
            &["public_url", "allow_insecure_http"][..],
            url.is_https() && config.allow_insecure_http,
            "allow_insecure_http changes nothing, because public_url is https",
        ),
        (
            &["public_url", "allow_insecure_http"],
            !url.is_https() && !url.is_loopback(),
            "public_url is http: passwords and keys cross the network in clear",
        ),
        (
            &["public_url", "trusted_proxies"],
            url.is_https() && config.trusted_proxies.is_empty(),
            "public_url is https, which a proxy must provide, but trusted_proxies names none: the audit log will show the proxy's address as everybody's",
        ),
        (
            &["public_url", "listen"],
            open(config.listen.ip()) && url.is_loopback(),
            "listen is open to the network, but public_url is this machine's own: forms sent from elsewhere will be refused",
        ),
        (
            &["ops_listen"],
            open(config.ops_listen.ip()),
            "ops_listen is open to the network, and nothing there asks who is calling",
        ),
        (
            &["database_url", "database_connections"],
            config.database_url.is_none() && config.database_connections > PRIVATE_POSTGRES_CONNECTIONS_FIT,
            "database_connections above 45 may be more than the private Postgres takes, because a process holds up to twice as many",
        ),
        (
            &["database_url"],
            database_url_is_readable(survey),
            "the configuration file holds database_url and can be read by other users; give it mode 0600",
        ),
    ];
    let holds = table.into_iter().filter(|(names, holds, _)| *holds && survey.are_fine(names));
    holds.map(|(_, _, sentence)| sentence.to_owned()).collect()
}

fn database_url_is_readable(survey: &Survey) -> bool {
    match survey.setting("database_url").map(|setting| &setting.source) {
        Some(Source::File(path)) => fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0),
        _ => false,
    }
}
