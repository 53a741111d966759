//! `tronch revoke-keys`: all keys of a tenant, or of every one, for the day on which somebody else may have them.

use anyhow::Context as _;
use clap::Args;
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
    for slug in &slugs {
        let tenant = engine.tenant(&operator, slug).await?;
        let line = if arguments.yes {
            revoke(&tenant, of.clone(), made_before, reason.clone()).await?
        } else {
            format!("{slug}: {} would be revoked", keys(count_keys_of(&tenant, &of, made_before).await?))
        };
        lines.push(line);
    }
    if !arguments.yes {
        lines.push("Nothing was changed. With --yes they are revoked, which cannot be undone.".to_owned());
    }
    Ok(lines.join("\n"))
}

async fn revoke(
    tenant: &Tenant,
    of: KeysOf,
    made_before: Option<Timestamp>,
    reason: Option<RevokeReason>,
) -> anyhow::Result<String> {
    let what = revoke_keys_of(tenant, of, made_before, reason).await?;
    let confirmation = confirm_changes(tenant).await?;
    let nodes = confirmation.confirmed.len() + confirmation.unconfirmed.len();
    let mut line = format!("{}: {} revoked", tenant.slug(), keys(what.revoked));
    if nodes > 0 {
        line += &format!(", confirmed by {} of {nodes} nodes", confirmation.confirmed.len());
    }
    for node in confirmation.unconfirmed {
        let until = tronch_core::format_timestamp(node.may_answer_until);
        line += &format!("; {} may answer as before until {until}", node.node);
    }
    Ok(line)
}

fn keys(count: u64) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{count} keys") }
}
