//! The format of keys, held to its published test vectors and to its promises over many keys.

use std::collections::HashSet;

use serde::Deserialize;
use tronch_core::{CredentialKind, Environment, KeyDraft, MalformedReason, PresentedKey, PresentedToken, TenantId};
use uuid::Uuid;

use super::{Keyring, Master, Pepper, TagLabel, hex};
use crate::secret::draft;

#[derive(Deserialize)]
struct Vectors {
    gate_key: String,
    master_secret: String,
    tag_key: String,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    kind: String,
    created_ms: u64,
    random_digits: Vec<u8>,
    tenant: Uuid,
    text: String,
    handle: String,
    gate: String,
    tag: String,
}

/// A keyring out of two secrets, as a node has after loading.
fn keyring(gate_key: &[u8; 32], master: &Master) -> Keyring {
    Keyring {
        peppers: vec![Pepper { id: master.id(), mac: super::keyed(&master.derive::<32>("tronch-pepper-v1")) }],
        current: 0.into(),
        gate_key: (*gate_key).into(),
        session_key: master.derive("tronch-session-v1").into(),
    }
}

fn bytes(text: &str) -> [u8; 32] {
    std::array::from_fn(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).expect("hexadecimal digits"))
}

#[test]
fn the_published_vectors_hold() {
    let published: Vectors =
        serde_json::from_str(include_str!("../../../docs/test-vectors.json")).expect("the vectors");
    assert_eq!(published.vectors.len(), 20);
    let master = Master::from_hex(&published.master_secret).expect("a master secret");
    assert_eq!(hex(master.id().as_bytes()), published.tag_key);
    let keyring = keyring(&bytes(&published.gate_key), &master);
    for vector in published.vectors {
        let (kind, label) = match vector.kind.as_str() {
            "live" => (CredentialKind::Key(Environment::Live), TagLabel::Key),
            "test" => (CredentialKind::Key(Environment::Test), TagLabel::Key),
            _ => (CredentialKind::ServiceToken, TagLabel::Token),
        };
        let s = vector.random_digits[..3].try_into().expect("three digits");
        let k = vector.random_digits[3..].try_into().expect("22 digits");
        let draft = KeyDraft::new(kind, vector.created_ms, s, k).expect("in range");
        assert_eq!(draft.handle().to_string(), vector.handle);
        let gate_value = keyring.gate_value(draft.gate_input());
        let text = draft.finish(gate_value);
        assert_eq!(text, vector.text);
        assert_eq!(&text[text.len() - 4..], vector.gate);
        let tag = keyring.tag(label, TenantId::from_uuid(vector.tenant), &text).expect("the current one").1;
        assert_eq!(hex(tag.as_bytes()), vector.tag);
        let (handle, presented_gate) = match label {
            TagLabel::Key => PresentedKey::parse(&text).map(|key| (key.handle(), key.gate_value())),
            TagLabel::Token => PresentedToken::parse(&text).map(|token| (token.handle(), token.gate_value())),
        }
        .expect("the form of its kind");
        assert_eq!((handle.to_string(), presented_gate), (vector.handle, gate_value));
    }
}

fn generated(keyring: &Keyring, environment: Environment) -> String {
    let (draft, _) = draft(CredentialKind::Key(environment), chrono::Utc::now()).expect("random bytes and a clock");
    let gate_value = keyring.gate_value(draft.gate_input());
    draft.finish(gate_value)
}

/// What validation does before it looks anything up.
fn passes(keyring: &Keyring, text: &str) -> Result<(), MalformedReason> {
    let presented = PresentedKey::parse(text)?;
    if keyring.gate_value(presented.gate_input()) == presented.gate_value() {
        Ok(())
    } else {
        Err(MalformedReason::Gate)
    }
}

#[test]
fn a_hundred_thousand_keys_are_unique_have_52_characters_and_parse() {
    let keyring = keyring(&[1; 32], &Master::new([2; 32]));
    let mut seen = HashSet::new();
    for index in 0..100_000 {
        let environment = Environment::ALL[index % 2];
        let text = generated(&keyring, environment);
        assert_eq!(text.len(), 52);
        assert_eq!(passes(&keyring, &text), Ok(()));
        assert_eq!(PresentedKey::parse(&text).map(|key| key.environment()), Ok(environment));
        assert!(seen.insert(text), "the same key twice");
    }
}

#[test]
fn every_change_of_one_character_is_refused() {
    let keyring = keyring(&[1; 32], &Master::new([2; 32]));
    let tenant = TenantId::from_uuid(Uuid::from_u128(3));
    let characters: Vec<char> = (' '..='~').chain(['é', '\0', '🗝']).collect();
    let mut changes = 0;
    let mut past_the_gate = 0;
    for index in 0..100 {
        let text = generated(&keyring, Environment::ALL[index % 2]);
        let tag = keyring.tag(TagLabel::Key, tenant, &text).expect("the current one").1;
        for (at, original) in text.char_indices() {
            for character in characters.iter().filter(|character| **character != original) {
                let changed = format!("{}{character}{}", &text[..at], &text[at + 1..]);
                changes += 1;
                if passes(&keyring, &changed).is_ok() {
                    past_the_gate += 1;
                    let changed_tag = keyring.tag(TagLabel::Key, tenant, &changed).expect("the current one").1;
                    assert!(!changed_tag.matches(&tag), "{changed} passes for {text}");
                }
            }
        }
    }
    // One in 14.8 million gets past the gate, to be refused by its tag.
    assert!(changes > 480_000 && past_the_gate <= 2, "{past_the_gate} of {changes} got past the gate");
}
