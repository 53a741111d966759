//! Tests of the views: what the world sees, as snapshots. No rules.

use uuid::Uuid;

use super::*;
use crate::key::CredentialKind;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + seconds, 0).expect("in range")
}

/// A key that works, for the tests of whatever is said about keys.
pub(crate) fn a_key() -> KeyView {
    let handle: Handle = "0Uz3kQ9aB12".parse().expect("a handle");
    KeyView {
        id: KeyId::from_uuid(Uuid::from_u128(1)),
        handle,
        display_handle: CredentialKind::Key(Environment::Live).display_handle(handle),
        name: KeyName::parse("Zoë's key").expect("a name"),
        tenant: TenantSlug::parse("acme").expect("a slug"),
        project: ProjectSlug::parse("default").expect("a slug"),
        environment: Environment::Live,
        owner: Some(OwnerView { external_id: ExternalId::parse("cus_42").expect("an id") }),
        metadata_json: "{}".to_owned(),
        permissions: vec![KeyPermission::parse("invoices.*").expect("a permission")],
        state: KeyState::Active,
        created_at: at(0),
        updated_at: at(1),
        expires_at: None,
        disabled_at: None,
        revoked_at: None,
        revoke_reason: None,
        rotation: RotationView::of(Some(KeyId::from_uuid(Uuid::from_u128(2))), None, None),
        grace_ends_at: None,
        last_used_at: Some(at(2)),
    }
}

#[test]
fn a_key_looks_like_this() {
    let page = Page { items: vec![a_key()], next_cursor: None };
    insta::assert_json_snapshot!(page.map(|key_view| key_view), @r#"
    {
      "items": [
        {
          "id": "key_00000000000000000000000001",
          "handle": "0Uz3kQ9aB12",
          "display_handle": "tronch_sk_live_0Uz3kQ9aB12…",
          "name": "Zoë's key",
          "tenant": "acme",
          "project": "default",
          "environment": "live",
          "owner": {
            "external_id": "cus_42"
          },
          "permissions": [
            "invoices.*"
          ],
          "state": "active",
          "created_at": "2027-01-15T08:00:00.000Z",
          "updated_at": "2027-01-15T08:00:01.000Z",
          "expires_at": null,
          "disabled_at": null,
          "revoked_at": null,
          "revoke_reason": null,
          "rotation": {
            "role": "successor",
            "predecessor_id": "key_00000000000000000000000002"
          },
          "grace_ends_at": null,
          "last_used_at": "2027-01-15T08:00:02.000Z"
        }
      ],
      "next_cursor": null
    }
    "#);
}

#[test]
fn usage_looks_like_this() {
    let point = UsagePoint { at: at(0), counts: vec![(VerdictCode::Valid, 3), (VerdictCode::RateLimited, 1)] };
    insta::assert_compact_json_snapshot!(point, @r#"{"at": "2027-01-15T08:00:00.000Z", "counts": [["VALID", 3], ["RATE_LIMITED", 1]]}"#);
}

#[test]
fn a_secret_does_not_print_and_comes_out_once() {
    let secret = SecretOnce::new("tronch_sk_live_x".to_owned());
    assert_eq!(format!("{secret:?}"), "SecretOnce(…)");
    assert_eq!(secret.expose_once(), "tronch_sk_live_x");
}
