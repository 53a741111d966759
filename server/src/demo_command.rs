//! `tronch demo`: its arguments and what it says. What a demo is made of is the engine's business.

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use tronch_core::{EmailAddress, TenantSlug};
use tronch_engine::demo::{self, MadeDemo, NewDemo, Standing};
use tronch_engine::members::Password;
use tronch_engine::{Caller, Engine};
use zeroize::Zeroizing;

/// Without a word of its own: make it.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DemoArguments {
    #[command(flatten)]
    which: Which,
    /// The owner's e-mail address; left out, somebody is made up.
    #[arg(long)]
    pub email: Option<String>,
    /// Read the owner's password from standard input; otherwise it is asked for. Somebody who exists keeps theirs.
    #[arg(long, requires = "email")]
    pub password_stdin: bool,
    /// Remove the demo that is there and make it anew.
    #[arg(long)]
    replace: bool,
    /// Print one line of JSON: tenant, project, people, password, service_token and key.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<DemoCommand>,
}

#[derive(Subcommand)]
enum DemoCommand {
    /// Remove a demo and everything of it. Any other tenant is refused.
    Remove(Which),
}

#[derive(Args)]
struct Which {
    /// The demo's slug.
    #[arg(long, default_value = "demo")]
    tenant: String,
}

/// Makes or removes a demo; returns what is to be said.
///
/// # Errors
/// Each says what to do.
pub async fn run(
    engine: &Engine,
    public_origin: &str,
    arguments: DemoArguments,
    password: Option<Zeroizing<String>>,
) -> anyhow::Result<String> {
    let which = match &arguments.command {
        Some(DemoCommand::Remove(which)) => which,
        None => &arguments.which,
    };
    let slug = TenantSlug::parse(&which.tenant).context("--tenant")?;
    match arguments.command {
        Some(DemoCommand::Remove(_)) => remove(engine, &slug).await,
        None => make(engine, public_origin, slug, arguments, password).await,
    }
}

async fn make(
    engine: &Engine,
    public_origin: &str,
    slug: TenantSlug,
    arguments: DemoArguments,
    password: Option<Zeroizing<String>>,
) -> anyhow::Result<String> {
    let owner = match (&arguments.email, password) {
        (Some(email), Some(password)) => {
            Some((EmailAddress::parse(email).context("--email")?, Password::parse(password, &[email])?))
        }
        _ => None,
    };
    let operator = Caller::operator();
    match (demo::standing(engine, &operator, &slug).await?, arguments.replace) {
        (Standing::Free, _) => {}
        (Standing::Demo, true) => {
            demo::remove_demo(engine, &operator, &slug).await?;
        }
        (Standing::Demo, false) => bail!(
            "the demo {slug} exists already. Remove it with: tronch demo remove --tenant {slug}; or make it anew with: \
             tronch demo --tenant {slug} --replace"
        ),
        (Standing::Tenant, _) => bail!("{slug} is a tenant and no demo. Choose another slug with --tenant"),
    }
    let made = demo::make_demo(engine, &operator, NewDemo { slug: slug.clone(), owner }).await?;
    Ok(if arguments.json { as_json(&slug, made) } else { in_words(&slug, public_origin, made) })
}

fn as_json(slug: &TenantSlug, made: MadeDemo) -> String {
    let people: Vec<_> = made
        .people
        .iter()
        .map(|(email, role, existed)| json!({ "email": email, "role": role.as_str(), "existed": existed }))
        .collect();
    json!({
        "tenant": slug.as_str(),
        "project": made.project,
        "people": people,
        "password": made.password.expose_once(),
        "service_token": made.service_token.expose_once(),
        "key": made.key.expose_once(),
    })
    .to_string()
}

fn in_words(slug: &TenantSlug, public_origin: &str, made: MadeDemo) -> String {
    let people: Vec<String> = made
        .people
        .iter()
        .map(|(email, role, existed)| {
            let password = if *existed { ", who keeps their password" } else { "" };
            format!("  {email} ({role}{password})")
        })
        .collect();
    format!(
        "The demo tenant {slug} has {} keys. What follows is shown only now.\n\n\
         Sign in at {public_origin}/sign-in as one of\n{}\nThe password of those who were made up: {}\n\n\
         Ask about one of its keys:\n\n\
         curl {public_origin}/api/v1/keys/verify -H 'Authorization: Bearer {}' \\\n  \
         -H 'Content-Type: application/json' -d '{{\"key\":\"{}\",\"project\":\"{}\"}}'\n\n\
         Remove it with everything of it: tronch demo remove --tenant {slug}",
        made.keys,
        people.join("\n"),
        made.password.expose_once(),
        made.service_token.expose_once(),
        made.key.expose_once(),
        made.project,
    )
}

async fn remove(engine: &Engine, slug: &TenantSlug) -> anyhow::Result<String> {
    let removed = demo::remove_demo(engine, &Caller::operator(), slug)
        .await
        .with_context(|| format!("the demo {slug} cannot be removed"))?;
    let mut sentence = format!(
        "The demo {slug} is gone, with {} keys, {} people and {} rows of usage and audit log.",
        removed.keys, removed.people, removed.rows
    );
    if !removed.anybody_left {
        sentence.push_str(
            " Nobody is left who can sign in. Start the server again to get a setup code for the sign-up page.",
        );
    }
    Ok(sentence)
}
