//! Audit events in words: what an action is called, what it did, what changed. It reads events and asks nobody.

use tronch_core::AuditEventView;

use crate::ui::diff::DiffRow;

/// Every action there is: its word in the log, what somebody did, and what happened.
pub(super) const ACTIONS: [(&str, &str, &str); 37] = [
    ("create_key", "created the key", "Key created"),
    ("update_key", "changed the key", "Key changed"),
    ("rotate_key", "rotated the key", "Key rotated"),
    ("finish_rotation", "ended the grace of the key", "Grace of a key ended"),
    ("disable_key", "disabled the key", "Key disabled"),
    ("enable_key", "enabled the key", "Key enabled"),
    ("revoke_key", "revoked the key", "Key revoked"),
    ("revoke_keys", "revoked all keys of", "All keys of something revoked"),
    ("create_limit", "set the limit", "Limit set"),
    ("add_credits", "added credits to the limit", "Credits added"),
    ("update_limit", "changed the limit", "Limit changed"),
    ("remove_limit", "removed the limit", "Limit removed"),
    ("create_token", "created the service token", "Service token created"),
    ("rotate_token", "rotated the service token", "Service token rotated"),
    ("revoke_token", "revoked the service token", "Service token revoked"),
    ("create_project", "created the project", "Project created"),
    ("update_project", "changed the project", "Project changed"),
    ("archive_project", "archived the project", "Project archived"),
    ("restore_project", "restored the project", "Project restored"),
    ("create_tenant", "created the organisation", "Organisation created"),
    ("delete_tenant", "deleted the organisation", "Organisation deleted"),
    ("restore_tenant", "undid deleting the organisation", "Deletion undone"),
    ("export_tenant", "downloaded all of the organisation", "Organisation downloaded"),
    ("update_tenant", "changed the organisation", "Organisation changed"),
    ("add_member", "added the member", "Member added"),
    ("invite_member", "invited", "Somebody invited"),
    ("revoke_invitation", "took back the invitation of", "Invitation taken back"),
    ("accept_invitation", "joined by the invitation of", "Invitation accepted"),
    ("change_role", "changed the role of", "Role changed"),
    ("remove_member", "removed the member", "Member removed"),
    ("leave_tenant", "left the organisation, as", "Member left"),
    ("sign_in", "signed in as", "Signed in"),
    ("sign_in_failed", "gave a wrong password for", "Wrong password given"),
    ("end_session", "ended sessions of", "Sessions ended"),
    ("change_password", "changed the password of", "Password changed"),
    ("transfer_ownership", "handed the organisation over to", "Organisation handed over"),
    ("reset_password", "reset the password of", "Password reset"),
];

/// The action for people; an unknown one is shown as it is.
pub(super) fn verb(event: &AuditEventView) -> String {
    let known = ACTIONS.iter().find(|(action, ..)| *action == event.action);
    known.map_or_else(|| event.action.replace('_', " "), |(_, words, _)| (*words).to_owned())
}

/// What happened, for a filter of it.
pub(super) fn title(action: &str) -> String {
    let known = ACTIONS.iter().find(|(known, ..)| *known == action);
    known.map_or_else(|| action.replace('_', " "), |(.., title)| (*title).to_owned())
}

/// Every field of before and after, those that changed first.
pub(super) fn differences(event: &AuditEventView) -> Vec<DiffRow> {
    let read = |json: &Option<String>| -> serde_json::Map<String, serde_json::Value> {
        json.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    };
    let (before, after) = (read(&event.before_json), read(&event.after_json));
    let mut names: Vec<&String> = after.keys().chain(before.keys().filter(|name| !after.contains_key(*name))).collect();
    names.sort_by_key(|name| (before.get(*name) == after.get(*name), (*name).clone()));
    names.into_iter().map(|name| (name.clone(), before.get(name).map(text), after.get(name).map(text))).collect()
}

/// A field's name for people: `grace_ends_at` as "grace ends".
pub(super) fn field_words(name: &str) -> String {
    name.strip_suffix("_at").unwrap_or(name).replace('_', " ")
}

/// A value for people: a time to the minute, anything else as it is.
pub(super) fn value_words(value: &str) -> String {
    match tronch_core::parse_timestamp(value) {
        Ok(time) => time.format("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => value.to_owned(),
    }
}

fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "none".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) if items.is_empty() => "none".to_owned(),
        serde_json::Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_comes_first_and_missing_sides_stay_missing() {
        let event =
            event(Some(r#"{"a":1,"name":"old","gone":true}"#), Some(r#"{"a":1,"name":"new","list":["x","y"]}"#));
        let some = |text: &str| Some(text.to_owned());
        let expected: Vec<DiffRow> = vec![
            ("gone".to_owned(), some("true"), None),
            ("list".to_owned(), None, some("x, y")),
            ("name".to_owned(), some("old"), some("new")),
            ("a".to_owned(), some("1"), some("1")),
        ];
        assert_eq!(differences(&event), expected);
        assert_eq!(verb(&event), "changed the key");
    }

    #[test]
    fn fields_and_times_are_written_for_people() {
        assert_eq!(field_words("grace_ends_at"), "grace ends");
        assert_eq!(field_words("owner"), "owner");
        assert_eq!(value_words("2027-01-31T12:00:05.123Z"), "2027-01-31 12:00 UTC");
        assert_eq!(value_words("cus_42"), "cus_42");
    }

    fn event(before: Option<&str>, after: Option<&str>) -> AuditEventView {
        AuditEventView {
            id: tronch_core::AuditEventId::generate(tronch_core::Timestamp::UNIX_EPOCH, [0; 10]),
            occurred_at: tronch_core::Timestamp::UNIX_EPOCH,
            actor_kind: "member".to_owned(),
            actor_id: "usr_1".to_owned(),
            actor_name: "Ada".to_owned(),
            action: "update_key".to_owned(),
            target_kind: "key".to_owned(),
            target_id: "key_1".to_owned(),
            target_name: "new".to_owned(),
            before_json: before.map(ToOwned::to_owned),
            after_json: after.map(ToOwned::to_owned),
            address: None,
            user_agent: None,
            request_id: None,
            reason: None,
        }
    }
}
