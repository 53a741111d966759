//! The tables as Diesel sees them, in the order of the migrations. It holds no logic.

diesel::table! {
    gate_keys (range_from_ms) {
        range_from_ms -> BigInt,
        range_until_ms -> BigInt,
        gate_key -> Binary,
    }
}

diesel::table! {
    master_keys (id) {
        id -> Binary,
        current -> Bool,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    users (id) {
        id -> Uuid,
        email -> Text,
        email_normalized -> Text,
        name -> Text,
        password_phc -> Text,
        created_at -> Timestamptz,
        password_changed_at -> Timestamptz,
        failed_sign_ins -> BigInt,
        last_failed_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    tenants (id) {
        id -> Uuid,
        slug -> Text,
        name -> Text,
        created_at -> Timestamptz,
        demo -> Bool,
        offline_lease_seconds -> Integer,
        latest_key_cutoff -> Nullable<Timestamptz>,
        has_limits -> Bool,
        deleted_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    memberships (tenant_id, user_id) {
        tenant_id -> Uuid,
        user_id -> Uuid,
        role -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    projects (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        slug -> Text,
        name -> Text,
        grace_default_seconds -> Integer,
        grace_max_seconds -> Integer,
        auto_revoke -> Bool,
        created_at -> Timestamptz,
        archived_at -> Nullable<Timestamptz>,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    sessions (id_hash) {
        id_hash -> Binary,
        user_id -> Nullable<Uuid>,
        data -> Text,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        id -> Uuid,
        user_agent -> Nullable<Text>,
        address -> Nullable<Text>,
        last_used_at -> Timestamptz,
    }
}

diesel::table! {
    setup_codes (single) {
        single -> Bool,
        code_hash -> Binary,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    audit_events (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        occurred_at -> Timestamptz,
        actor_kind -> Text,
        actor_id -> Text,
        actor_name -> Text,
        action -> Text,
        target_kind -> Text,
        target_id -> Text,
        target_name -> Text,
        before -> Nullable<Jsonb>,
        after -> Nullable<Jsonb>,
        reason -> Nullable<Text>,
        address -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        request_id -> Nullable<Uuid>,
    }
}

diesel::table! {
    keys (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        project_id -> Uuid,
        environment -> Text,
        handle -> Text,
        name -> Text,
        name_folded -> Text,
        owner_external_id -> Nullable<Text>,
        metadata -> Jsonb,
        permissions -> Array<Text>,
        kdf_phc -> Text,
        tag -> Binary,
        tag_key -> Binary,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        expires_at -> Nullable<Timestamptz>,
        disabled_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
        revoke_reason -> Nullable<Text>,
        grace_ends_at -> Nullable<Timestamptz>,
        predecessor_id -> Nullable<Uuid>,
        successor_id -> Nullable<Uuid>,
        last_used_at -> Nullable<Timestamptz>,
        ends_at -> Timestamptz,
        used_at -> Timestamptz,
        lineage_id -> Nullable<Uuid>,
    }
}

diesel::table! {
    key_handles (handle) {
        handle -> Text,
    }
}

diesel::table! {
    service_token_handles (handle) {
        handle -> Text,
    }
}

diesel::table! {
    service_tokens (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        project_id -> Nullable<Uuid>,
        environment -> Nullable<Text>,
        handle -> Text,
        name -> Text,
        permissions -> Array<Text>,
        kdf_phc -> Text,
        tag -> Binary,
        tag_key -> Binary,
        created_at -> Timestamptz,
        expires_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
        last_used_at -> Nullable<Timestamptz>,
        bootstrap -> Bool,
        successor_id -> Nullable<Uuid>,
    }
}

diesel::table! {
    usage_incarnations (id) {
        id -> Uuid,
        started_at -> Timestamptz,
        last_stored_at -> Timestamptz,
        closed_at -> Nullable<Timestamptz>,
        offered -> BigInt,
        stored -> BigInt,
        dropped -> BigInt,
    }
}

diesel::table! {
    usage_batches (incarnation_id, number) {
        incarnation_id -> Uuid,
        number -> BigInt,
        stored_at -> Timestamptz,
        events -> BigInt,
    }
}

diesel::table! {
    idempotency_keys (tenant_id, key_mac) {
        tenant_id -> Uuid,
        key_mac -> Binary,
        body_mac -> Binary,
        result_id -> Uuid,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    usage_hours_due (at, incarnation_id) {
        at -> Timestamptz,
        incarnation_id -> Uuid,
        batches -> BigInt,
    }
}

diesel::table! {
    change_log_head (single) {
        single -> Bool,
        n -> BigInt,
        pruned -> BigInt,
    }
}

diesel::table! {
    change_log (n, kind, subject) {
        n -> BigInt,
        kind -> Text,
        subject -> Text,
        logged_at -> Timestamptz,
    }
}

diesel::table! {
    nodes (id) {
        id -> Uuid,
        name -> Text,
        version -> Text,
        started_at -> Timestamptz,
        renewed_at -> Timestamptz,
        applied -> BigInt,
        master_ids -> Array<Binary>,
    }
}

diesel::table! {
    key_cutoffs (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        project_id -> Nullable<Uuid>,
        environment -> Nullable<Text>,
        owner_external_id -> Nullable<Text>,
        valid_after -> Timestamptz,
        set_at -> Timestamptz,
        reason -> Nullable<Text>,
        revoked_keys -> BigInt,
        is_marked -> Bool,
    }
}

diesel::table! {
    limits (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        key_id -> Nullable<Uuid>,
        owner_external_id -> Nullable<Text>,
        project_id -> Nullable<Uuid>,
        environment -> Nullable<Text>,
        name -> Text,
        counts_as -> Nullable<Uuid>,
        is_automatic -> Bool,
        capacity -> Nullable<BigInt>,
        refill -> Nullable<Integer>,
        refill_seconds -> Nullable<Integer>,
        total -> Nullable<BigInt>,
        window_kind -> Nullable<Text>,
        window_seconds -> Nullable<Integer>,
        time_zone -> Nullable<Text>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        removed_at -> Nullable<Timestamptz>,
        refilled -> Nullable<Text>,
        is_exact -> Bool,
        namespace -> Nullable<Text>,
        identifiers -> Nullable<Text>,
    }
}

diesel::table! {
    invitations (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        email -> Text,
        email_normalized -> Text,
        role -> Text,
        token_hash -> Nullable<Binary>,
        invited_by -> Text,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        accepted_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
        mail_due_at -> Nullable<Timestamptz>,
        mail_attempts -> Integer,
        mail_error -> Nullable<Text>,
        mail_sent_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    password_resets (id) {
        id -> Uuid,
        email_normalized -> Text,
        token_hash -> Nullable<Binary>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        used_at -> Nullable<Timestamptz>,
        mail_due_at -> Nullable<Timestamptz>,
        mail_attempts -> Integer,
        mail_error -> Nullable<Text>,
        mail_sent_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    limit_totals (limit_id, whose, stretches) {
        tenant_id -> Uuid,
        limit_id -> Uuid,
        whose -> Uuid,
        stretches -> Text,
        started_at -> Timestamptz,
        over_at -> Timestamptz,
        used -> BigInt,
        used_before -> BigInt,
        added -> BigInt,
        held -> Nullable<Jsonb>,
        identifier -> Nullable<Text>,
    }
}

diesel::joinable!(memberships -> tenants (tenant_id));
diesel::joinable!(invitations -> tenants (tenant_id));
diesel::joinable!(memberships -> users (user_id));
diesel::joinable!(projects -> tenants (tenant_id));
diesel::joinable!(keys -> projects (project_id));
diesel::joinable!(keys -> tenants (tenant_id));
diesel::joinable!(service_tokens -> tenants (tenant_id));
diesel::joinable!(service_tokens -> projects (project_id));
diesel::allow_tables_to_appear_in_same_query!(
    memberships,
    invitations,
    tenants,
    users,
    projects,
    keys,
    service_tokens,
    sessions,
    change_log_head,
    key_cutoffs,
    limits
);
