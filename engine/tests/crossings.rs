//! Reads the engine's sources: whatever touches a tenant's rows begins with a `TenantTx`, or says why it does not. What
//! the statements do is tested through the doors.

use std::fs;
use std::path::{Path, PathBuf};

/// How a function says that it looks past one tenant, or past `Scoped`.
const REASONS: [&str; 2] = ["This crosses tenants because", "This leaves `Scoped` because"];

/// What narrows the table whose name stands after it.
const NARROWED: [&str; 3] = [".of(", ".insert(", ".insert_all("];

/// What hangs a table on what stands before: on something narrowed, or on nothing.
const JOINS: [&str; 2] = [".inner_join(", ".left_join("];

/// SQL as text that reads no table of ours.
const READS_NO_TABLE: [&str; 1] = ["check_server"];

/// A function with the comments above it.
struct Function {
    name: String,
    text: String,
}

/// The functions of a source as rustfmt leaves it, tests apart.
fn functions(source: &str) -> Vec<Function> {
    let lines: Vec<&str> = source.lines().take_while(|line| *line != "#[cfg(test)]").collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let above = lines[..index].iter().rev().take_while(|line| is_above(line)).count();
        let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
        let length = if line.ends_with('}') { Some(0) } else { lines[index..].iter().position(|line| *line == end) };
        let last = length.map_or(lines.len() - 1, |length| index + length);
        found.push(Function { name, text: lines[index - above..=last].join("\n") });
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "fn")?;
    let plain = |word: &&str| word.starts_with("pub") || ["async", "const"].contains(word);
    if !words[..at].iter().all(plain) {
        return None;
    }
    Some(words.get(at + 1)?.chars().take_while(|sign| sign.is_alphanumeric() || *sign == '_').collect())
}

/// Comments and attributes, those of several lines too.
fn is_above(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.ends_with(['{', '}', ';', ','])
        || line.starts_with("//")
        || line.starts_with("clippy::")
        || line.starts_with("reason =")
}

/// The tables whose rows belong to a tenant, from the schema as Diesel sees it.
fn tenant_tables(schema: &str) -> Vec<String> {
    let tables = schema.split("diesel::table! {").skip(1);
    let named = tables.filter_map(|table| Some((table.split_whitespace().next()?.to_owned(), table)));
    named.filter(|(name, table)| name == "tenants" || table.contains("tenant_id ->")).map(|(name, _)| name).collect()
}

/// The names under which a source knows them: `use crate::schema::{projects as project_table}` is another.
fn names_of(tables: &[String], source: &str) -> Vec<String> {
    let alias = |table: &String| {
        let rest = source.split(&format!("{table} as ")).nth(1)?;
        Some(rest.chars().take_while(|sign| sign.is_alphanumeric() || *sign == '_').collect())
    };
    tables.iter().cloned().chain(tables.iter().filter_map(alias)).collect()
}

/// Whether a function names one of the tables otherwise than narrowed.
fn is_bare(text: &str, tables: &[String]) -> bool {
    tables.iter().any(|table| {
        text.match_indices(&format!("{table}::table")).any(|(at, _)| {
            let before = text[..at].trim_end();
            let path = before.strip_suffix("crate::schema::").unwrap_or(before).trim_end();
            let longer_name = text[..at].ends_with(|sign: char| sign.is_alphanumeric() || sign == '_');
            let joined = text.contains(".of(") && JOINS.iter().any(|word| path.ends_with(word));
            !longer_name && !joined && !NARROWED.iter().any(|word| path.ends_with(word))
        })
    })
}

/// The functions that touch a tenant's rows on their own and do not say why.
fn offenders(source: &str, tables: &[String]) -> Vec<String> {
    let tables = names_of(tables, source);
    let offends = |function: &Function| {
        let text_of_sql = function.text.contains("sql_query(") && !READS_NO_TABLE.contains(&function.name.as_str());
        let renamed = function.text.contains("alias!(");
        let unscoped =
            renamed || function.text.contains(".unscoped()") || is_bare(&function.text, &tables) || text_of_sql;
        unscoped && !REASONS.iter().any(|reason| function.text.contains(reason))
    };
    functions(source).into_iter().filter(offends).map(|function| function.name).collect()
}

fn engine() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of the engine") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push((path.clone(), fs::read_to_string(&path).expect("a text file")));
        }
    }
}

#[test]
fn whatever_touches_a_tenants_rows_is_narrowed_or_says_why() {
    let tables = tenant_tables(&fs::read_to_string(engine().join("schema.rs")).expect("the schema"));
    assert!(tables.len() >= 7, "only {tables:?}");
    let mut files = Vec::new();
    sources(&engine(), &mut files);
    let mut seen = 0;
    let mut bare = Vec::new();
    for (path, source) in &files {
        seen += functions(source).len();
        bare.extend(offenders(source, &tables).into_iter().map(|name| format!("{}: {name}", path.display())));
    }
    assert!(seen > 200, "only {seen} functions were found");
    assert!(bare.is_empty(), "say \"This crosses tenants because …\", or begin with `transaction.of`: {bare:#?}");
}

const PLANTED: &str = r#"
use crate::schema::{keys, projects as project_table, key_handles};

/// Forgets the tenant.
pub(crate) async fn forgetful(connection: &mut AsyncPgConnection) -> Result<(), Error> {
    keys::table.filter(keys::id.eq(id)).first(connection).await
}

async fn by_another_name(connection: &mut AsyncPgConnection) -> Result<(), Error> {
    diesel::update(project_table::table).set(project_table::name.eq("x")).execute(connection).await
}

async fn by_its_whole_path(connection: &mut AsyncPgConnection) -> Result<(), Error> {
    diesel::delete(crate::schema::keys::table).execute(connection).await
}

#[expect(
    clippy::disallowed_methods,
    reason = "text"
)]
async fn as_text(connection: &mut AsyncPgConnection) -> Result<(), Error> {
    diesel::sql_query("SELECT 1 FROM usage_days").execute(connection).await
}

async fn by_a_join(connection: &mut AsyncPgConnection) -> Result<(), Error> {
    users::table.inner_join(keys::table).load(connection).await
}

async fn by_an_alias(connection: &mut AsyncPgConnection) -> Result<(), Error> {
    let others = diesel::alias!(keys as others);
    others.load(connection).await
}

async fn past_the_wall(transaction: &mut TenantTx) -> Result<(), Error> {
    helper(transaction.unscoped()).await
}

impl Noun {
    /// Narrowed.
    async fn narrowed(transaction: &mut TenantTx) -> Result<(), Error> {
        transaction
            .of(keys::table)
            .inner_join(project_table::table)
            .first(transaction)
            .await?;
        transaction.insert(
            keys::table,
            row,
        );
        transaction.insert_all(keys::table, rows);
        diesel::insert_into(key_handles::table).execute(connection).await
    }

    fn small(&self) -> usize { 1 }

    async fn also_forgetful(connection: &mut AsyncPgConnection) -> Result<(), Error> {
        let pair = Pair { connection, id };
        keys::table.load(connection).await
    }
}

/// Reads a handle.
///
/// This crosses tenants because whose a handle is becomes known only by reading it.
#[expect(
    clippy::disallowed_methods,
    reason = "text"
)]
async fn with_a_reason(connection: &mut AsyncPgConnection) -> Result<(), Error> {
    diesel::sql_query("SELECT 1").execute(connection).await;
    keys::table.first(connection).await
}
"#;

#[test]
fn a_forgotten_tenant_is_noticed() {
    let tables = ["keys".to_owned(), "projects".to_owned()];
    let expected = [
        "forgetful",
        "by_another_name",
        "by_its_whole_path",
        "as_text",
        "by_a_join",
        "by_an_alias",
        "past_the_wall",
        "also_forgetful",
    ];
    assert_eq!(offenders(PLANTED, &tables), expected);
}

#[test]
fn the_tables_of_tenants_are_read_off_the_schema() {
    let schema = "diesel::table! {\n    keys (id) {\n        tenant_id -> Uuid,\n    }\n}\n\n\
                  diesel::table! {\n    users (id) {\n        id -> Uuid,\n    }\n}\n\n\
                  diesel::table! {\n    tenants (id) {\n        id -> Uuid,\n    }\n}\n";
    assert_eq!(tenant_tables(schema), ["keys", "tenants"]);
}
