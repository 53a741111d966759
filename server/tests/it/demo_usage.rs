//! The usage of a demo is one that could have been.

use tokio_postgres::Client;

use crate::demo::{number, texts};

/// Each table is the sum of the finer one, a tenant's sums are those of its keys, and nothing is counted as valid that
/// was not.
pub(crate) async fn adds_up(database: &Client) {
    for (finer, coarser, unit, from) in [
        ("usage_minutes", "usage_hours", "hour", "(SELECT min(at) FROM usage_minutes)"),
        ("usage_hours", "usage_days", "day", "'-infinity'"),
    ] {
        let differences = format!(
            "SELECT count(*) FROM (SELECT key_id, date_trunc('{unit}', at, 'UTC') AS at, project_id, environment, code, \
             sum(count) AS count FROM {finer} GROUP BY 1, 2, 3, 4, 5) f FULL JOIN (SELECT * FROM {coarser} \
             WHERE at >= date_trunc('{unit}', {from}::timestamptz, 'UTC')) c USING (key_id, at, project_id, environment, code) \
             WHERE f.count IS DISTINCT FROM c.count"
        );
        assert_eq!(number(database, &differences).await, 0, "{finer} against {coarser}");
    }
    let nil = "'00000000-0000-0000-0000-000000000000'";
    for table in ["usage_minutes", "usage_hours", "usage_days"] {
        let differences = format!(
            "SELECT count(*) FROM (SELECT at, project_id, environment, code, sum(count) AS count FROM {table} \
             WHERE key_id IN (SELECT id FROM keys) GROUP BY 1, 2, 3, 4) k FULL JOIN (SELECT * FROM {table} WHERE key_id = {nil} \
             AND project_id <> {nil}) t USING (at, project_id, environment, code) WHERE k.count IS DISTINCT FROM t.count"
        );
        assert_eq!(number(database, &differences).await, 0, "keys against tenant in {table}");
        let of_limits = format!(
            "SELECT count(*) FROM (SELECT at, code, sum(count) AS count FROM {table} WHERE code IN ('VALID', 'RATE_LIMITED') \
             AND key_id IN (SELECT id FROM keys) AND project_id IN (SELECT project_id FROM limits) GROUP BY 1, 2) k \
             FULL JOIN (SELECT at, code, sum(count) AS count FROM {table} WHERE key_id IN (SELECT id FROM limits) \
             GROUP BY 1, 2) l USING (at, code) WHERE k.count IS DISTINCT FROM l.count"
        );
        assert_eq!(number(database, &of_limits).await, 0, "limits against keys in {table}");
        let early = format!("SELECT count(*) FROM {table} WHERE at > now()");
        assert_eq!(number(database, &early).await, 0, "{table} tells of what is to come");
    }
    let dead = "SELECT count(*) FROM usage_hours JOIN keys ON keys.id = key_id WHERE code = 'VALID' \
                AND (at + interval '1 hour' < created_at OR at > least(revoked_at, ends_at))";
    assert_eq!(number(database, dead).await, 0, "keys that were valid before or after their life");
    let unused = "SELECT count(*) FROM keys WHERE (last_used_at IS NOT NULL) <> \
                  EXISTS (SELECT FROM usage_hours WHERE key_id = keys.id AND code = 'VALID')";
    assert_eq!(number(database, unused).await, 0, "last use and usage disagree");
    let late = "SELECT count(*) FROM keys WHERE last_used_at > least(now(), revoked_at, ends_at) \
                OR last_used_at < created_at";
    assert_eq!(number(database, late).await, 0, "keys used before or after their life");

    let days = number(database, "SELECT count(DISTINCT at) FROM usage_days").await;
    assert!((30..=31).contains(&days), "{days} days");
    let codes = texts(database, "SELECT DISTINCT code FROM usage_days").await;
    for code in [
        "VALID",
        "REVOKED",
        "EXPIRED",
        "DISABLED",
        "INSUFFICIENT_PERMISSIONS",
        "MALFORMED",
        "NOT_FOUND",
        "RATE_LIMITED",
    ] {
        assert!(codes.contains(code), "nothing was {code}: {codes:?}");
    }
    let calls = async |condition: &str| {
        let sql = format!("SELECT sum(count)::bigint FROM usage_hours WHERE key_id = {nil} AND {condition}");
        number(database, &sql).await
    };
    let weekdays = calls("extract(isodow FROM at) < 6").await / 5;
    let weekends = calls("extract(isodow FROM at) > 5").await / 2;
    assert!(weekdays > weekends * 5 / 4, "{weekdays} a weekday, {weekends} a day of a weekend");
    let worst = "SELECT ((now() AT TIME ZONE 'UTC')::date - (at AT TIME ZONE 'UTC')::date)::bigint FROM usage_days \
                 WHERE code <> 'VALID' GROUP BY at ORDER BY sum(count) DESC LIMIT 1";
    assert_eq!(number(database, worst).await, 9, "the incident is not the day of most refusals");
}
