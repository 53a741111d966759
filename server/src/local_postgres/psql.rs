//! SQL for the private Postgres, sent through psql. Which SQL that is does not concern it.

use postgresql_commands::CommandBuilder;
use postgresql_commands::psql::PsqlBuilder;
use tokio::process::Command;

use super::Result;
use super::programs::Programs;
use super::run_as::run_command;
use crate::config::Redacted;

/// Runs SQL as psql would from a file; gives the rows, unaligned. The password and the SQL stay out of the argument list.
pub(super) async fn run_psql(
    programs: &Programs,
    port: u16,
    (user, password): (&str, &Redacted),
    database: &str,
    sql: &str,
) -> Result<String> {
    let psql =
        PsqlBuilder::new().program_dir(&programs.folder).no_psqlrc().quiet().tuples_only().no_align().no_password();
    let psql = psql.variable(("ON_ERROR_STOP", "1")).host("127.0.0.1").port(port).username(user).dbname(database);
    let mut command = Command::from(psql.build());
    command.env_clear().env("PGPASSWORD", password.expose()).env("PGCONNECT_TIMEOUT", "10").env("PGSSLMODE", "disable");
    run_command(&mut command, sql).await
}
