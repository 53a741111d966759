//! `tronch revoke-keys`: all keys of a tenant, or of every one, for the day on which somebody else may have them.

use anyhow::Context as _;
use clap::Args;
use tronch_app::confirmed_words;
use tronch_core::{Environment, ExternalId, ProjectSlug, RevokeReason, TenantSlug, Timestamp, parse_timestamp};
use tronch_engine::keys::{KeysOf, count_keys_of, revoke_keys_of};
use tronch_engine::{Caller, Engine, Tenant, confirm_changes, tenants};

/// Which keys, and whether it is meant.
#[derive(Args)]
pub(crate) struct RevokeArguments {
    /// The tenant's slug.
    #[arg(long, required_unless_present = "every_tenant")]
    tenant: Option<String>,
    /// Of every tenant of this installation.
    #[arg(long, conflicts_with_all = ["tenant", "project"])]
    every_tenant: bool,
    /// Those that were issued to this owner.
    #[arg(long)]
    owner: Option<String>,
    /// Those of this project.
    #[arg(long)]
    project: Option<String>,
    /// Those of this environment: `test` or `live`.
    #[arg(long)]
    environment: Option<String>,
    /// Those that were made before, such as 2027-01-31T12:00:00Z; now when left out.
    #[arg(long)]
    made_before: Option<String>,
    /// For the audit log.
    #[arg(long)]
    reason: Option<String>,
    /// Do it. Without this the keys are only counted.
    #[arg(long)]
    yes: bool,
}

/// Counts or revokes, tenant by tenant, and says how many.
pub(crate) async fn run(engine: &Engine, arguments: RevokeArguments) -> anyhow::Result<String> {
    let of = KeysOf {
        project: arguments.project.as_deref().map(ProjectSlug::parse).transpose().context("--project")?,
        environment: arguments
            .environment
            .as_deref()
            .map(str::parse::<Environment>)
            .transpose()
            .context("--environment")?,
        owner: arguments.owner.as_deref().map(ExternalId::parse).transpose().context("--owner")?,
    };
    let made_before = arguments.made_before.as_deref().map(parse_timestamp).transpose().context("--made-before")?;
    let reason = arguments.reason.as_deref().map(RevokeReason::parse).transpose().context("--reason")?;
    let operator = Caller::operator();
    let slugs = match &arguments.tenant {
        Some(slug) => vec![TenantSlug::parse(slug).context("--tenant")?],
        None => tenants::list_tenants(engine, &operator).await?,
    };
    let mut lines = Vec::with_capacity(slugs.len());
    let mut has_failed = false;
    for slug in &slugs {
        let done = async {
            let tenant = engine.tenant(&operator, slug).await?;
            if arguments.yes {
                return revoke(&tenant, of.clone(), made_before, reason.clone()).await;
            }
            Ok(format!("{} would be revoked.", keys(count_keys_of(&tenant, &of, made_before).await?)))
        };
        // Others are not to wait for one that fails.
        let said = done.await.unwrap_or_else(|error: anyhow::Error| {
            has_failed = true;
            format!("FAILED, and nothing was changed here: {error:#}")
        });
        lines.push(format!("{slug}: {said}"));
    }
    if !arguments.yes {
        lines.push("Nothing was changed. With --yes they are revoked, which cannot be undone.".to_owned());
    }
    let lines = lines.join("\n");
    anyhow::ensure!(!has_failed, "{lines}\nThe same command again does what is left.");
    Ok(lines)
}

async fn revoke(
    tenant: &Tenant,
    of: KeysOf,
    made_before: Option<Timestamp>,
    reason: Option<RevokeReason>,
) -> anyhow::Result<String> {
    let revoked = keys(revoke_keys_of(tenant, of, made_before, reason).await?.revoked);
    // They are revoked whatever comes of asking.
    Ok(match confirm_changes(tenant).await {
        Ok(confirmation) if confirmation.confirmed.is_empty() && confirmation.unconfirmed.is_empty() => {
            format!("{revoked} revoked. No node is running.")
        }
        Ok(confirmation) => format!("{revoked} revoked. {}", confirmed_words(&confirmation)),
        Err(error) => format!("{revoked} revoked. The nodes could not be asked whether they have heard of it: {error}"),
    })
}

fn keys(count: u64) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{count} keys") }
}
