//! Parts of a validation by themselves, for benches.

use crate::Engine;
use crate::keyring::{Tag, TagLabel};
use tronch_core::{PresentedKey, TenantId};

/// A key's tag under the current master secret, for a tenant that is nobody's.
pub struct Internals {
    engine: Engine,
    tag: Tag,
}

const TENANT: TenantId = TenantId::from_uuid(uuid::Uuid::nil());

impl Internals {
    /// Of a key.
    ///
    /// # Panics
    /// When the current master secret is not at hand.
    pub fn of(engine: &Engine, presented: &PresentedKey) -> Self {
        let tag = engine.keyring().tag(TagLabel::Key, TENANT, presented.expose()).expect("a master secret").1;
        Self { engine: engine.clone(), tag }
    }

    /// One HMAC, and a comparison.
    pub fn passes_gate(&self, presented: &PresentedKey) -> bool {
        self.engine.keyring().gate_value(presented.gate_input()) == presented.gate_value()
    }

    /// One HMAC, and a comparison in constant time.
    pub fn tag_matches(&self, presented: &PresentedKey) -> bool {
        let made = self.engine.keyring().tag(TagLabel::Key, TENANT, presented.expose());
        made.is_ok_and(|(_, tag)| tag.matches(&self.tag))
    }
}
