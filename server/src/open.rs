//! From configuration to an open engine: data directory, Postgres, migrations, master secret. The doors come after.

use anyhow::Context as _;
use tronch_engine::mail::MailSettings;
use tronch_engine::{ArgonCost, Engine, Master, PreparedDatabase, RedisUrl, Settings};
use zeroize::Zeroizing;

use crate::config::{Config, MasterKeySource};
use crate::data_dir::{self, DataDir, DataDirError, DataDirLock};
use crate::local_postgres::LocalPostgres;

/// The file that holds the master secret when nothing else says where it is.
const MASTER_FILE: &str = "master-key";

/// An open engine and what it stands on.
pub struct Opened {
    /// Where verbs are.
    pub engine: Engine,
    /// Where files are.
    pub data_dir: DataDir,
    /// Whether this start made the master secret: then whoever started it is told to back it up.
    pub master_created: bool,
    postgres: Option<LocalPostgres>,
    _lock: Option<DataDirLock>,
}

impl Opened {
    /// What whoever made the first start must be told, once.
    pub fn master_words(&self) -> String {
        master_words(&self.data_dir)
    }

    /// Closes the pools and stops the Postgres that was started here.
    ///
    /// # Errors
    /// When Postgres does not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        self.engine.close();
        match self.postgres {
            Some(postgres) => Ok(postgres.stop().await?),
            None => Ok(()),
        }
    }
}

/// Whether a second process may use the same data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenure {
    /// The server: alone.
    Alone,
    /// A command: beside a running server, or for itself.
    Beside,
}

/// Opens everything below the doors.
///
/// # Errors
/// Each says what to do.
pub async fn open(config: &Config, tenure: Tenure) -> anyhow::Result<Opened> {
    let Ground { data_dir, postgres, url, lock } = Ground::open(config, tenure).await?;
    match open_engine(config, &data_dir, &url).await {
        Ok((engine, master_created)) => Ok(Opened { engine, data_dir, master_created, postgres, _lock: lock }),
        Err(error) => {
            stop(postgres).await;
            Err(error)
        }
    }
}

fn master_words(data_dir: &DataDir) -> String {
    let path = data_dir.join(MASTER_FILE);
    format!("A master secret was created: {}. Back up this file; without it keys cannot be checked.", path.display())
}

/// What was put in the place of a lost master secret.
pub(crate) struct GivenUp {
    /// Its id.
    pub(crate) current: String,
    /// What whoever did it must be told, where a new one was made.
    pub(crate) master_words: Option<String>,
}

/// Puts the master secret at hand, or a new one, in the place of one that is lost.
///
/// # Errors
/// When `lost` is not the one in use, or is at hand after all.
pub(crate) async fn give_up_master(config: &Config, lost: &str) -> anyhow::Result<GivenUp> {
    let Ground { data_dir, postgres, url, lock } = Ground::open(config, Tenure::Beside).await?;
    let given_up = async {
        let prepared = PreparedDatabase::prepare(&settings(config, &url)).await?;
        // First, so that a mistyped id makes no new secret beside the old one.
        prepared.require_current_master(lost).await?;
        let (masters, _, created) = masters(config, &data_dir, false)?;
        let current = prepared.give_up_master(&masters, lost).await?;
        Ok(GivenUp { current, master_words: created.then(|| master_words(&data_dir)) })
    }
    .await;
    stop(postgres).await;
    drop(lock);
    given_up
}

async fn stop(postgres: Option<LocalPostgres>) {
    if let Some(postgres) = postgres
        && let Err(error) = postgres.stop().await
    {
        tracing::warn!(%error, "the private Postgres did not stop");
    }
}

/// The data directory and a Postgres that answers.
struct Ground {
    data_dir: DataDir,
    postgres: Option<LocalPostgres>,
    url: String,
    lock: Option<DataDirLock>,
}

impl Ground {
    async fn open(config: &Config, tenure: Tenure) -> anyhow::Result<Self> {
        let data_dir = data_dir::prepare(&config.data_dir)?;
        let lock = match (data_dir.lock(), tenure) {
            (Ok(lock), _) => Some(lock),
            (Err(DataDirError::InUse { .. }), Tenure::Beside) => None,
            (Err(error), _) => return Err(error.into()),
        };
        let postgres = match (&config.database_url, &lock) {
            (Some(_), _) => None,
            (None, Some(lock)) => Some(LocalPostgres::start(&data_dir, lock, config.pg_bin.as_deref()).await?),
            (None, None) => Some(LocalPostgres::attach(&data_dir).await?),
        };
        let url = match (&config.database_url, &postgres) {
            (Some(url), _) => url.expose().to_owned(),
            (None, Some(postgres)) => postgres.url().expose().to_owned(),
            (None, None) => anyhow::bail!("there is neither DATABASE_URL nor a private Postgres"),
        };
        Ok(Self { data_dir, postgres, url, lock })
    }
}

fn settings(config: &Config, url: &str) -> Settings {
    Settings {
        database_url: url.to_owned(),
        connections: config.database_connections,
        lookup_wait: config.lookup_wait,
        remembered_keys: usize::try_from(config.remembered_keys).unwrap_or(usize::MAX),
        argon: ArgonCost {
            memory_kib: config.argon2.memory_kib,
            iterations: config.argon2.iterations,
            parallelism: config.argon2.parallelism,
        },
        mail: config
            .mail
            .as_ref()
            .and_then(|(url, from)| MailSettings::new(url.expose(), from, &config.public_url.origin()).ok()),
        redis: config.redis_url.as_ref().and_then(|url| RedisUrl::parse(url.expose()).ok()),
    }
}

async fn open_engine(config: &Config, data_dir: &DataDir, url: &str) -> anyhow::Result<(Engine, bool)> {
    let prepared = PreparedDatabase::prepare(&settings(config, url)).await?;
    let (masters, hint, created) = masters(config, data_dir, prepared.has_master().await?)?;
    Ok((prepared.open(&masters, &hint).await?, created))
}

/// The master secrets at hand, where they came from, and whether one was made just now.
fn masters(config: &Config, data_dir: &DataDir, in_use: bool) -> anyhow::Result<(Vec<Master>, String, bool)> {
    match &config.master_key {
        MasterKeySource::Given(keys) => {
            let masters = keys.iter().map(|key| Master::new(*key.expose())).collect();
            Ok((masters, "the environment variable TRONCH_MASTER_KEY".to_owned(), false))
        }
        MasterKeySource::File(path) => {
            let bytes = data_dir::read_secret(path)?
                .with_context(|| format!("TRONCH_MASTER_KEY_FILE names {}, which does not exist", path.display()))?;
            Ok((parse_masters(bytes, &path.display().to_string())?, path.display().to_string(), false))
        }
        MasterKeySource::InDataDir(path) => {
            let hint = path.display().to_string();
            match data_dir.read_secret_file(MASTER_FILE)? {
                Some(bytes) => Ok((parse_masters(bytes, &hint)?, hint, false)),
                // A second master beside a lost one would hide the loss: the engine refuses with the file to put back.
                None if in_use => Ok((Vec::new(), hint, false)),
                None => {
                    let master = Master::generate()?;
                    let text = Zeroizing::new(format!("{}\n", *master.to_hex()));
                    data_dir.write_secret_file(MASTER_FILE, text.as_bytes())?;
                    Ok((vec![master], hint, true))
                }
            }
        }
    }
}

/// One secret a line, 64 hexadecimal digits each.
pub(crate) fn parse_masters(bytes: Vec<u8>, path: &str) -> anyhow::Result<Vec<Master>> {
    let text = Zeroizing::new(String::from_utf8(bytes).with_context(|| format!("{path} is no text"))?);
    let masters: Option<Vec<Master>> =
        text.lines().filter(|line| !line.trim().is_empty()).map(Master::from_hex).collect();
    masters
        .filter(|masters| !masters.is_empty())
        .with_context(|| format!("{path} holds no master secret: 64 hexadecimal digits on a line of their own"))
}
