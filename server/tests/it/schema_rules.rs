//! Rules that the schema itself keeps, so that no later migration forgets one: what belongs to a tenant says so in every
//! way that counts.

use tokio_postgres::Client;

use crate::support::TestDatabase;

/// Tables without a tenant, each for a reason.
const WITHOUT_TENANT: &[(&str, &str)] = &[
    ("__diesel_schema_migrations", "the migrations themselves"),
    ("gate_keys", "of the installation: it guards look-ups for everybody"),
    ("master_keys", "of the installation: ids of master secrets"),
    ("users", "a person may be in several tenants"),
    ("sessions", "of a person"),
    ("password_resets", "of a person"),
    ("setup_codes", "from before there is a tenant"),
    ("key_handles", "every handle ever given out, to whomever"),
    ("usage_incarnations", "of a process, which counts for everybody"),
    ("usage_batches", "of a process, which counts for everybody"),
    ("usage_hours_due", "of a process, which counts for everybody"),
    ("usage_partitions", "of the installation: which partitions there are"),
    ("service_token_handles", "every handle ever given out, to whomever"),
    ("change_log_head", "of the installation: every process follows all changes"),
    ("change_log", "of the installation: every process follows all changes"),
    ("nodes", "of a process, which answers for everybody"),
];

async fn column(client: &Client, sql: &str) -> Vec<String> {
    client.query(sql, &[]).await.expect("an answer").iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_of_a_tenant_is_isolated() {
    let database = TestDatabase::create().await;
    let client = database.connect_as_system().await;
    let tables = column(
        &client,
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')",
    )
    .await;
    let isolated: Vec<&String> =
        tables.iter().filter(|table| !WITHOUT_TENANT.iter().any(|(name, _)| name == table)).collect();
    assert!(isolated.len() >= 6, "{isolated:?}");
    for table in isolated {
        let key = if table == "tenants" { "id" } else { "tenant_id" };
        let not_null = format!(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname = '{key}' AND attnotnull"
        );
        assert_eq!(column(&client, &not_null).await, [key], "{table} has no {key} NOT NULL");
        let first_in_an_index = format!(
            "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid \
             AND a.attnum = i.indkey[0] WHERE i.indrelid = '{table}'::regclass AND a.attname = '{key}' AND i.indpred IS NULL"
        );
        assert!(!column(&client, &first_in_an_index).await.is_empty(), "{table} has no index that begins with {key}");
        let forced = format!(
            "SELECT relname::text FROM pg_class WHERE oid = '{table}'::regclass AND relrowsecurity AND relforcerowsecurity"
        );
        assert_eq!(column(&client, &forced).await, [table.as_str()], "{table} is not under forced row security");
        let policy = format!(
            "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = '{table}'::regclass \
             AND polcmd = '*' AND polpermissive AND polwithcheck IS NULL"
        );
        let policies = column(&client, &policy).await;
        let [policy] = policies.as_slice() else { panic!("{table} has {} policies: {policies:?}", policies.len()) };
        let policy = policy.split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = format!(
            "(({key} = ( SELECT (NULLIF(current_setting('tronch.tenant'::text, true), ''::text))::uuid AS \"nullif\")) \
             OR ( SELECT (current_setting('tronch.scope'::text, true) = 'system'::text)))"
        );
        assert_eq!(policy, expected, "{table}");
    }
    for (table, _) in WITHOUT_TENANT {
        assert!(tables.iter().any(|there| there == table), "{table} is gone; take it off the list");
    }
}

/// A foreign key that leaves out the tenant could tie one tenant's row to another's.
#[tokio::test(flavor = "multi_thread")]
async fn every_foreign_key_between_tenant_tables_holds_the_tenant() {
    let database = TestDatabase::create().await;
    let client = database.connect_as_system().await;
    let loose = column(
        &client,
        "SELECT format('%s on %s', c.conname, c.conrelid::regclass) FROM pg_constraint c \
         WHERE c.contype = 'f' AND c.confrelid <> 'tenants'::regclass \
         AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attname = 'tenant_id') \
         AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.confrelid AND a.attname = 'tenant_id') \
         AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attname = 'tenant_id' \
                         AND a.attnum = ANY (c.conkey))",
    )
    .await;
    assert_eq!(loose, Vec::<String>::new());
}

/// A search under row security may use an index only through operators that leak nothing.
#[tokio::test(flavor = "multi_thread")]
async fn handles_are_compared_byte_by_byte() {
    let database = TestDatabase::create().await;
    let client = database.connect_as_system().await;
    let others = column(
        &client,
        "SELECT format('%s.%s', table_name, column_name) FROM information_schema.columns \
         WHERE table_schema = 'public' AND column_name = 'handle' AND collation_name IS DISTINCT FROM 'C'",
    )
    .await;
    assert_eq!(others, Vec::<String>::new());
}

/// No answer depends on these. Of all others a change must be logged, or processes would go on with what was.
const OF_NO_ANSWER: &[(&str, &[&str])] = &[
    // Which line a key is of is said when it is made, and never changes.
    (
        "keys",
        &["name_folded", "kdf_phc", "updated_at", "revoke_reason", "last_used_at", "ends_at", "used_at", "lineage_id"],
    ),
    ("service_tokens", &["kdf_phc", "last_used_at", "bootstrap", "successor_id"]),
    ("projects", &["name", "grace_default_seconds", "grace_max_seconds", "auto_revoke", "created_at", "updated_at"]),
    // These two follow rows of key_cutoffs and limits, which are logged.
    ("tenants", &["name", "created_at", "demo", "latest_key_cutoff", "has_limits"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_change_that_an_answer_depends_on_is_logged() {
    let database = TestDatabase::create().await;
    let client = database.connect_as_system().await;
    for (table, of_no_answer) in OF_NO_ANSWER {
        let trigger = format!(
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = '{table}'::regclass AND tgname = '{table}_log_change'"
        );
        let definition = column(&client, &trigger).await;
        let [definition] = definition.as_slice() else { panic!("{table}: {definition:?}") };
        assert!(definition.contains("AFTER UPDATE") && definition.contains("INITIALLY DEFERRED"), "{definition}");
        let columns = format!(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped"
        );
        for name in column(&client, &columns).await {
            let is_compared = ["old", "new"].iter().all(|row| {
                definition
                    .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.')
                    .any(|word| word == format!("{row}.{name}"))
            });
            assert_ne!(is_compared, of_no_answer.contains(&name.as_str()), "{table}.{name}");
        }
        let removal = format!(
            "SELECT tgname::text FROM pg_trigger WHERE tgrelid = '{table}'::regclass AND tgtype::int & 8 = 8 AND tgdeferrable"
        );
        assert!(!column(&client, &removal).await.is_empty(), "nobody hears when a row of {table} is gone");
    }
}
