//! The command line. Each command opens what it needs, calls one verb and says what it did.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tronch_core::{EmailAddress, PersonName, Role, TenantSlug, format_timestamp};
use tronch_engine::members::{self, AddedMember, Password};
use tronch_engine::tenants::{self, DeletedTenant, FIRST_PROJECT};
use tronch_engine::tokens;
use tronch_engine::{Caller, MasterView, confirm_changes};
use zeroize::Zeroizing;

use crate::config::{self, Config, Survey};
use crate::demo_command::{self, DemoArguments};
use crate::doors::Open;
use crate::logging::{self, Logging};
use crate::open::{Opened, Tenure, give_up_master, open};
use crate::revoke_command::{self, RevokeArguments};
use crate::serve::serve;
use crate::terminal::{password, say, tell};

/// TRONCH issues, checks, rotates and revokes API keys. One binary and Postgres.
#[derive(Parser)]
#[command(name = "tronch", version)]
struct Cli {
    /// A tronch.toml; the environment wins over it.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the dashboard and the API until stopped.
    Serve {
        /// `verify` serves validation and probes alone, beside processes that serve everything.
        #[arg(long, value_enum, default_value = "all")]
        doors: Open,
    },
    /// Make a tenant with its owner, and a service token with every permission. Repeated, it replaces the token it made
    /// before and changes nothing else.
    Bootstrap(Bootstrap),
    /// Add people and reset passwords.
    #[command(subcommand)]
    Member(MemberCommand),
    /// What a tenant may have of its own.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Revoke all keys of a tenant, or of every one, at once; or those of an owner, a project or an environment.
    RevokeKeys(RevokeArguments),
    /// Make a tenant to look around in, with keys in every state and a month of usage; or remove it again.
    Demo(DemoArguments),
    /// The master secrets: which are in use, and putting another in the place of one.
    #[command(subcommand)]
    Keyring(KeyringCommand),
    /// Show and check the settings. Nothing is started.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Subcommand)]
enum KeyringCommand {
    /// Print every master secret by its id: whether it is current and at hand, what depends on it, which nodes have it.
    Status {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Make another master secret the current one. Every running node must have it already.
    Rotate {
        /// Its id, as `status` prints it.
        #[arg(long)]
        to: String,
    },
    /// Give up the master secret in use, because it is lost: the one at hand takes its place, or a new one is made. Each
    /// key and token is then proven by its slow hash, once; everybody signs in again.
    Lost {
        /// The id of the lost one, as the refused start prints it.
        #[arg(long)]
        id: String,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print every setting: its name, its environment variable, the value in force and where it came from. Secrets are
    /// left out. It fails when a value is refused.
    Show {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Check whatever can be checked without starting, the files that settings name included. Run it as the server's
    /// user.
    Check,
}

#[derive(Subcommand)]
enum TenantCommand {
    /// Undo the deletion of a tenant, within a week. Without a name it lists those that can be had back.
    Restore {
        /// The tenant's slug.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Set for how long the tenant's keys are answered from memory while Postgres is out of reach: a key that is revoked
    /// meanwhile may pass on a process that is cut off for so long.
    OfflineLease {
        /// The tenant's slug.
        #[arg(long)]
        tenant: String,
        /// 0 to 300.
        #[arg(long)]
        seconds: u64,
    },
}

#[derive(Subcommand)]
enum MemberCommand {
    /// Add a person to a tenant. Somebody who exists keeps their password.
    Add(AddMember),
    /// Set a person's password and end their sessions.
    Password(SetPassword),
}

#[derive(Args)]
struct Bootstrap {
    /// The owner's e-mail address.
    #[arg(long)]
    email: String,
    /// The tenant's slug.
    #[arg(long)]
    tenant: String,
    /// Read the owner's password from standard input; otherwise it is asked for. Somebody who exists keeps theirs.
    #[arg(long)]
    password_stdin: bool,
    /// Print one line of JSON: tenant, project and service_token.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct AddMember {
    /// The tenant's slug.
    #[arg(long)]
    tenant: String,
    /// How they sign in.
    #[arg(long)]
    email: String,
    /// Their name; the part of the address before the @ when left out.
    #[arg(long)]
    name: Option<String>,
    /// owner, admin, developer or viewer.
    #[arg(long)]
    role: String,
    /// Read the password from standard input; otherwise it is asked for.
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Args)]
struct SetPassword {
    /// Whose.
    #[arg(long)]
    email: String,
    /// Read the password from standard input; otherwise it is asked for.
    #[arg(long)]
    password_stdin: bool,
}

/// Runs the command of the process's arguments.
pub async fn run() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli).await {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// The last word of a command that failed. Where standard error is full or gone, the exit code alone says it.
fn complain(error: &anyhow::Error) {
    tell(&format!("tronch: {error:#}"));
}

async fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    let path = cli.config.as_deref();
    match cli.command {
        Command::Serve { doors } => {
            let (config, logging) = prepare(path)?;
            serve(&config, logging.lost(), doors).await
        }
        Command::Bootstrap(arguments) => {
            let ask = asking(&arguments.email, arguments.password_stdin);
            beside(path, ask, async |_, opened, password| bootstrap(opened, arguments, password).await).await
        }
        Command::Member(MemberCommand::Add(arguments)) => {
            let ask = asking(&arguments.email, arguments.password_stdin);
            beside(path, ask, async |_, opened, password| add_member(opened, arguments, password).await).await
        }
        Command::Member(MemberCommand::Password(arguments)) => {
            let ask = asking(&arguments.email, arguments.password_stdin);
            beside(path, ask, async |_, opened, password| set_password(opened, arguments, password).await).await
        }
        Command::Tenant(TenantCommand::OfflineLease { tenant, seconds }) => {
            beside(path, || Ok(()), async |_, opened, ()| set_offline_lease(opened, &tenant, seconds).await).await
        }
        Command::Tenant(TenantCommand::Restore { tenant }) => {
            beside(path, || Ok(()), async |_, opened, ()| restore_tenant(opened, tenant.as_deref()).await).await
        }
        Command::RevokeKeys(arguments) => {
            beside(path, || Ok(()), async |_, opened, ()| revoke_command::run(&opened.engine, arguments).await).await
        }
        Command::Demo(arguments) => {
            let ask = arguments.email.as_deref().map(|email| asking(email, arguments.password_stdin));
            let ask = || ask.map(|ask| ask()).transpose();
            beside(path, ask, async |config, opened, password| demo(config, opened, arguments, password).await).await
        }
        Command::Keyring(KeyringCommand::Status { json }) => {
            beside(path, || Ok(()), async |_, opened, ()| keyring_status(opened, json).await).await
        }
        Command::Keyring(KeyringCommand::Rotate { to }) => {
            beside(path, || Ok(()), async |_, opened, ()| keyring_rotate(opened, &to).await).await
        }
        Command::Keyring(KeyringCommand::Lost { id }) => keyring_lost(path, &id).await,
        // Asked what is wrong, they must answer while something is.
        Command::Config(ConfigCommand::Show { json }) => return show_config(path, json),
        Command::Config(ConfigCommand::Check) => return check_config(path),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// What every command that does something begins with.
fn prepare(path: Option<&Path>) -> anyhow::Result<(Config, Logging)> {
    let config = Config::from_process(path)?;
    let logging = logging::start(&config)?;
    Ok((config, logging))
}

fn show_config(path: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    let survey = Survey::of_process(path);
    say(if json { serde_json::to_string_pretty(&survey)? } else { survey.table() }.trim_end())?;
    Ok(verdict_on(&survey))
}

fn check_config(path: Option<&Path>) -> anyhow::Result<ExitCode> {
    let survey = config::check(Survey::of_process(path));
    survey.all_problems().try_for_each(say)?;
    survey.warnings.iter().try_for_each(|warning| say(&format!("warning: {warning}")))?;
    if survey.all_problems().next().is_none() {
        say(&format!("all {} settings are fine", survey.settings.len()))?;
    }
    Ok(verdict_on(&survey))
}

fn verdict_on(survey: &Survey) -> ExitCode {
    if survey.all_problems().next().is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whose password is needed, and where it comes from.
fn asking(of: &str, from_stdin: bool) -> impl FnOnce() -> anyhow::Result<Zeroizing<String>> + use<> {
    let of = of.to_owned();
    move || password(&of, from_stdin)
}

/// Runs a command on the running server's Postgres, or on one that is started for it, and says what it answers. What it
/// has to `ask` it asks before anything is started.
async fn beside<Answer>(
    path: Option<&Path>,
    ask: impl FnOnce() -> anyhow::Result<Answer>,
    command: impl AsyncFnOnce(&Config, &Opened, Answer) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let (config, _logging) = prepare(path)?;
    let answer = ask()?;
    let opened = open(&config, Tenure::Beside).await?;
    if opened.master_created {
        tell(&opened.master_words());
    }
    let outcome = command(&config, &opened, answer).await;
    let closed = opened.close().await;
    say(&outcome?)?;
    closed
}

async fn bootstrap(opened: &Opened, arguments: Bootstrap, password: Zeroizing<String>) -> anyhow::Result<String> {
    let email = EmailAddress::parse(&arguments.email).context("--email")?;
    let slug = TenantSlug::parse(&arguments.tenant).context("--tenant")?;
    tenants::found_tenant(&opened.engine, &email, &slug, password).await?;
    let tenant = opened.engine.tenant(&Caller::operator(), &slug).await?;
    let (_, secret) = tokens::replace_bootstrap_token(&tenant).await?;
    // Running servers go by it before it is said to be done.
    if let Err(error) = confirm_changes(&tenant).await {
        tracing::warn!(%error, "running servers could not be asked whether they have heard of the new token");
    }
    let (project, secret) = (FIRST_PROJECT, secret.expose_once());
    Ok(if arguments.json {
        serde_json::json!({ "tenant": slug.as_str(), "project": project, "service_token": secret }).to_string()
    } else {
        format!("{email} owns {slug}. Its service token, shown only now: {secret}")
    })
}

async fn add_member(opened: &Opened, arguments: AddMember, password: Zeroizing<String>) -> anyhow::Result<String> {
    let email = EmailAddress::parse(&arguments.email).context("--email")?;
    let name = arguments.name.as_deref().unwrap_or_else(|| email.local_part());
    let name = PersonName::parse(name).context("--name")?;
    let role: Role = arguments.role.parse().context("--role")?;
    let slug = TenantSlug::parse(&arguments.tenant).context("--tenant")?;
    let password = Password::parse(password, &[email.as_str()])?;
    let tenant = opened.engine.tenant(&Caller::operator(), &slug).await?;
    Ok(match members::add_member(&tenant, &email, &name, role, password).await? {
        AddedMember::NewUser => format!("{email} was added to {slug} as {role}."),
        AddedMember::ExistingUser => {
            format!("{email} exists and keeps their password; they are now {role} in {slug}.")
        }
    })
}

async fn set_password(opened: &Opened, arguments: SetPassword, password: Zeroizing<String>) -> anyhow::Result<String> {
    let email = EmailAddress::parse(&arguments.email).context("--email")?;
    let password = Password::parse(password, &[email.as_str()])?;
    let ended = members::reset_password(&opened.engine, &Caller::operator(), &email, password).await?;
    Ok(format!("{email} has a new password; {ended} of their sessions were ended."))
}

async fn restore_tenant(opened: &Opened, tenant: Option<&str>) -> anyhow::Result<String> {
    if let Some(tenant) = tenant {
        let slug = TenantSlug::parse(tenant).context("--tenant")?;
        tenants::restore_tenant(&opened.engine, &Caller::operator(), &slug).await?;
        return Ok(format!("{slug} is there again, with everything it had."));
    }
    let deleted = tenants::my_deleted_tenants(&opened.engine, &Caller::operator()).await?;
    let line = |one: &DeletedTenant| {
        format!("{} ({}) can be had back until {}", one.slug, one.name, format_timestamp(one.removed_at))
    };
    let lines: Vec<String> = deleted.iter().map(line).collect();
    Ok(if lines.is_empty() { "No tenant was deleted within a week.".to_owned() } else { lines.join("\n") })
}

async fn set_offline_lease(opened: &Opened, tenant: &str, seconds: u64) -> anyhow::Result<String> {
    let slug = TenantSlug::parse(tenant).context("--tenant")?;
    let tenant = opened.engine.tenant(&Caller::operator(), &slug).await?;
    let before = tenants::set_offline_lease(&tenant, Duration::from_secs(seconds)).await?;
    Ok(format!("Without Postgres, keys of {slug} are answered for {seconds} s; before it was {} s.", before.as_secs()))
}

async fn keyring_status(opened: &Opened, json: bool) -> anyhow::Result<String> {
    let masters = tronch_engine::keyring_status(&opened.engine, &Caller::operator()).await?;
    if json {
        let object = |master: &MasterView| {
            serde_json::json!({
                "id": master.id, "current": master.is_current, "at_hand": master.is_at_hand, "keys": master.keys,
                "service_tokens": master.tokens, "nodes_with": master.nodes_with, "nodes_without": master.nodes_without,
            })
        };
        return Ok(serde_json::to_string_pretty(&masters.iter().map(object).collect::<Vec<_>>())?);
    }
    let line = |master: &MasterView| {
        let current = if master.is_current { "current" } else { "" };
        let at_hand = if master.is_at_hand { "here" } else { "not here" };
        let nodes =
            format!("{} of {} nodes", master.nodes_with.len(), master.nodes_with.len() + master.nodes_without.len());
        let (id, keys, tokens) = (&master.id, master.keys, master.tokens);
        format!("{id}  {current:<7}  {at_hand:<8}  {nodes:<14}  {keys} keys, {tokens} service tokens")
    };
    Ok(masters.iter().map(line).collect::<Vec<_>>().join("\n"))
}

async fn keyring_rotate(opened: &Opened, to: &str) -> anyhow::Result<String> {
    tronch_engine::activate_master(&opened.engine, &Caller::operator(), to).await?;
    Ok(format!(
        "{to} is current: new keys are tagged with it. Keep the other one until `tronch keyring status` shows that no key \
         depends on it."
    ))
}

async fn keyring_lost(path: Option<&Path>, id: &str) -> anyhow::Result<()> {
    let (config, _logging) = prepare(path)?;
    let given_up = give_up_master(&config, id).await?;
    if let Some(words) = &given_up.master_words {
        tell(words);
    }
    say(&format!("{id} is given up; {} has taken its place.", given_up.current))
}

async fn demo(
    config: &Config,
    opened: &Opened,
    arguments: DemoArguments,
    password: Option<Zeroizing<String>>,
) -> anyhow::Result<String> {
    demo_command::run(&opened.engine, &config.public_url.origin(), arguments, password).await
}
