//! The master secret, what is derived from it, and the gate key. It never writes a secret anywhere: the database holds
//! only ids.

mod masters;

use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tronch_core::TenantId;
use zeroize::Zeroizing;

use crate::db::{Connection, OpenError};
use crate::error::Error;
use crate::schema::{gate_keys, master_keys};

pub use masters::{MasterView, activate_master, keyring_status};

/// One 32-byte master secret. It does not print.
#[derive(Clone)]
pub struct Master(Zeroizing<[u8; 32]>);

impl Master {
    /// Bytes of a secret.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A fresh one, from the operating system.
    ///
    /// # Errors
    /// `Unavailable` when the operating system gives no random bytes.
    pub fn generate() -> Result<Self, Error> {
        Ok(Self::new(crate::random::bytes()?))
    }

    /// Parses 64 hexadecimal digits, either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.trim().as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut bytes = [0_u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))?;
        }
        Some(Self::new(bytes))
    }

    /// 64 hexadecimal digits, for the file that keeps it.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex(self.0.as_slice()))
    }

    /// HKDF-SHA-256 (RFC 5869) with an empty salt and the label as info.
    fn derive<const N: usize>(&self, label: &str) -> [u8; N] {
        let mut okm = [0; N];
        Hkdf::<Sha256>::new(None, self.0.as_slice())
            .expand(label.as_bytes(), &mut okm)
            .expect("at most 255 blocks are asked for");
        okm
    }

    fn id(&self) -> TagKeyId {
        TagKeyId(self.derive("tronch-key-id-v1"))
    }
}

impl std::fmt::Debug for Master {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Master(…)")
    }
}

/// Which master secret a tag was made with: 8 bytes derived from it, not a counter, so two installations never agree by
/// accident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TagKeyId([u8; 8]);

impl TagKeyId {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As it is stored.
    pub(crate) fn of_stored(bytes: &[u8]) -> Result<Self, Error> {
        bytes.try_into().map(Self).map_err(|_| Error::internal("the id of a master secret has 8 bytes"))
    }
}

/// A 32-byte HMAC of a whole credential under the pepper and its tenant.
#[derive(Clone, Copy)]
pub(crate) struct Tag([u8; 32]);

impl Tag {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As it is stored.
    pub(crate) fn of_stored(bytes: &[u8]) -> Result<Self, Error> {
        bytes.try_into().map(Self).map_err(|_| Error::internal("a tag has 32 bytes"))
    }

    /// In constant time: how far two tags agree must not be measurable.
    pub(crate) fn matches(&self, stored: &Self) -> bool {
        use subtle::ConstantTimeEq as _;
        // Eight bytes at a time, and one decision over all of them.
        let words = |tag: &[u8; 32]| -> [u64; 4] {
            std::array::from_fn(|word| u64::from_ne_bytes(std::array::from_fn(|byte| tag[word * 8 + byte])))
        };
        let (ours, theirs) = (words(&self.0), words(&stored.0));
        let difference = (0..4).fold(0, |all, word| all | (ours[word] ^ theirs[word]));
        difference.ct_eq(&0).into()
    }
}

/// What the labels of two kinds of tag keep apart: a token's tag is never a key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TagLabel {
    Key,
    Token,
}

impl TagLabel {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Key => b"tronch-tag-v1",
            Self::Token => b"tronch-token-tag-v1",
        }
    }
}

struct Pepper {
    id: TagKeyId,
    /// With the key taken in already, which is half the work.
    mac: Hmac<Sha256>,
}

/// Stands for a current master secret that is not at hand.
const NOT_AT_HAND: usize = usize::MAX;

/// Every secret a node computes with.
pub(crate) struct Keyring {
    peppers: Vec<Pepper>,
    /// The place of the current one. It moves when another is activated.
    current: AtomicUsize,
    gate_key: Zeroizing<[u8; 32]>,
    session_key: Zeroizing<[u8; 32]>,
}

fn tag_under(pepper: &Pepper, label: TagLabel, tenant_id: TenantId, credential: &str) -> Tag {
    let tenant_id = tenant_id.uuid();
    let parts: [&[u8]; 3] = [label.bytes(), tenant_id.as_bytes(), credential.as_bytes()];
    Tag(mac_of(pepper.mac.clone(), &parts))
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn mac_of(mut mac: Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    mac_of(keyed(key), parts)
}

/// The gate of the format (DATA-PLANE: Bytes): the first 8 bytes of an HMAC, big-endian, mod 62⁴.
pub(crate) fn gate_value(gate_key: &[u8; 32], gate_input: &str) -> u32 {
    let mac = hmac(gate_key, &[b"tronch-gate-v1", gate_input.as_bytes()]);
    let mut first = [0; 8];
    first.copy_from_slice(&mac[..8]);
    u32::try_from(u64::from_be_bytes(first) % 62_u64.pow(4)).expect("62⁴ fits")
}

impl Keyring {
    /// Loads the gate key and checks that one of `masters` is the database's current one; the first start registers its
    /// own.
    pub(crate) async fn load(
        connection: &mut Connection,
        masters: &[Master],
        source_hint: &str,
    ) -> Result<Self, OpenError> {
        let current = current_id(connection).await?;
        let peppers: Vec<Pepper> = masters
            .iter()
            .map(|master| Pepper { id: master.id(), mac: keyed(&master.derive::<32>("tronch-pepper-v1")) })
            .collect();
        let position = match &current {
            Some(wanted) => masters.iter().position(|master| master.id().as_bytes() == wanted.as_slice()),
            None => (!masters.is_empty()).then_some(0),
        };
        let Some(position) = position else {
            return Err(OpenError::MasterMissing {
                wanted: current.map_or_else(|| "none yet".to_owned(), |id| hex(&id)),
                source_hint: source_hint.to_owned(),
            });
        };
        let master = &masters[position];
        if current.is_none() {
            register(connection, master.id()).await?;
            // Another node may have registered its own in the same moment; then the one in the table decides.
            if current_id(connection).await?.as_deref() != Some(master.id().as_bytes()) {
                return Err(OpenError::MasterMissing {
                    wanted: "another node's".to_owned(),
                    source_hint: source_hint.to_owned(),
                });
            }
        }
        let gate_key: Vec<u8> = gate_keys::table
            .select(gate_keys::gate_key)
            .order(gate_keys::range_from_ms)
            .first(connection)
            .await
            .map_err(Error::from)?;
        Ok(Self {
            current: AtomicUsize::new(position),
            gate_key: Zeroizing::new(gate_key.try_into().map_err(|_| Error::internal("gate key is not 32 bytes"))?),
            session_key: Zeroizing::new(master.derive("tronch-session-v1")),
            peppers,
        })
    }

    pub(crate) fn gate_value(&self, gate_input: &str) -> u32 {
        gate_value(&self.gate_key, gate_input)
    }

    /// Goes by what the database says is current. Whether that is at hand.
    pub(crate) fn follow(&self, current: &[u8]) -> bool {
        let place = self.peppers.iter().position(|pepper| pepper.id.as_bytes() == current);
        self.current.store(place.unwrap_or(NOT_AT_HAND), Ordering::Relaxed);
        place.is_some()
    }

    /// Of every master secret at hand.
    pub(crate) fn ids(&self) -> Vec<TagKeyId> {
        self.peppers.iter().map(|pepper| pepper.id).collect()
    }

    /// The tag under the current pepper, for a credential being made, and which pepper that is.
    pub(crate) fn tag(&self, label: TagLabel, tenant_id: TenantId, credential: &str) -> Result<(TagKeyId, Tag), Error> {
        let missing = || Error::Unavailable { what: "the current master secret", source: None };
        let pepper = self.peppers.get(AtomicUsize::load(&self.current, Ordering::Relaxed)).ok_or_else(missing)?;
        Ok((pepper.id, tag_under(pepper, label, tenant_id, credential)))
    }

    /// The tag under the pepper a stored one was made with; `None` when that pepper is unknown here.
    pub(crate) fn tag_with(
        &self,
        tag_key: TagKeyId,
        label: TagLabel,
        tenant_id: TenantId,
        credential: &str,
    ) -> Option<Tag> {
        let pepper = self.peppers.iter().find(|pepper| pepper.id == tag_key)?;
        Some(tag_under(pepper, label, tenant_id, credential))
    }

    /// What the database stores in place of a short-lived secret (a session id, a setup code).
    pub(crate) fn fingerprint(&self, what: &str, secret: &[u8]) -> [u8; 32] {
        hmac(self.session_key.as_slice(), &[what.as_bytes(), b"\0", secret])
    }
}

/// The current master's id, or none before the first start.
pub(crate) async fn current_id(connection: &mut Connection) -> Result<Option<Vec<u8>>, Error> {
    Ok(master_keys::table.filter(master_keys::current).select(master_keys::id).first(connection).await.optional()?)
}

async fn register(connection: &mut Connection, id: TagKeyId) -> Result<(), Error> {
    diesel::insert_into(master_keys::table)
        .values((master_keys::id.eq(id.as_bytes()), master_keys::current.eq(true)))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
        text
    })
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_survives_its_text_form_and_refuses_others() {
        let master = Master::new([0xA5; 32]);
        assert_eq!(Master::from_hex(&master.to_hex()).map(|master| master.id()), Some(master.id()));
        assert!(Master::from_hex("a5").is_none());
        assert!(Master::from_hex(&"g".repeat(64)).is_none());
        assert!(Master::from_hex(&"+1".repeat(32)).is_none());
        assert_eq!(format!("{master:?}"), "Master(…)");
    }

    #[test]
    fn hmac_is_the_one_of_rfc_4231_case_2() {
        let mac = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex(&mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
