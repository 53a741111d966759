//! Limits on what is no key: those of one namespace, and which of them an identifier is held to. Of limits with one name the nearest
//! counts (`core/src/identifier.rs`).

use std::collections::HashMap;
use std::sync::Arc;

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use sha2::{Digest as _, Sha256};
use tronch_core::{Identifier, IdentifierPattern, LimitName, Namespace, PatternNearness, TenantId};
use uuid::Uuid;

use super::cells::{Cells, KeyLimit};
use super::effective::SetLimit;
use super::limit::Limit;
use crate::error::Error;
use crate::schema::limits;

/// The limits of a namespace. Overrides of single identifiers may be many and are found at once; patterns are tried one by one.
#[derive(Debug, Default)]
pub(crate) struct NamespaceLimits {
    of_one: HashMap<Identifier, Vec<(PatternNearness, Arc<Limit>)>>,
    of_several: Vec<(IdentifierPattern, Arc<Limit>)>,
}

impl NamespaceLimits {
    /// Reads them.
    ///
    /// This leaves `Scoped` because a service asks, which is let in by its token alone; the tenant is that token's.
    pub(crate) async fn read(
        connection: &mut AsyncPgConnection,
        cells: &Cells,
        tenant_id: TenantId,
        namespace: &Namespace,
    ) -> Result<Self, Error> {
        let rows: Vec<(Option<String>, SetLimit)> = limits::table
            .filter(limits::tenant_id.eq(tenant_id.uuid()))
            .filter(limits::namespace.eq(namespace.as_str()))
            .filter(limits::removed_at.is_null())
            .select((limits::identifiers, SetLimit::as_select()))
            .load(connection)
            .await?;
        let mut found = Self::default();
        for (pattern, row) in rows {
            let pattern = IdentifierPattern::parse(&pattern.unwrap_or_default()).map_err(Error::internal)?;
            found.add(pattern, cells.limit(row.limit()?))?;
        }
        Ok(found)
    }

    fn add(&mut self, pattern: IdentifierPattern, limit: Arc<Limit>) -> Result<(), Error> {
        if pattern.is_exact() {
            let identifier = Identifier::parse(pattern.as_str()).map_err(Error::internal)?;
            let nearness = pattern.nearness(&identifier).ok_or_else(|| Error::internal("it does not fit itself"))?;
            self.of_one.entry(identifier).or_default().push((nearness, limit));
        } else {
            self.of_several.push((pattern, limit));
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.of_one.is_empty() && self.of_several.is_empty()
    }

    /// What an identifier is held to, in the order in which calls charge.
    pub(crate) fn of(&self, cells: &Cells, identifier: &Identifier) -> Box<[KeyLimit]> {
        let whose = whose(identifier);
        let found = self.nearest(identifier).into_values();
        let mut found: Vec<KeyLimit> =
            found.map(|(_, limit)| cells.of_identifier(limit, whose, Some(identifier))).collect();
        found.sort_unstable_by_key(KeyLimit::counts_as);
        found.into()
    }

    /// Of each name the nearest.
    fn nearest(&self, identifier: &Identifier) -> HashMap<&LimitName, (PatternNearness, &Arc<Limit>)> {
        let of_one = self.of_one.get(identifier).into_iter().flatten().map(|(near, limit)| (*near, limit));
        let of_several =
            self.of_several.iter().filter_map(|(pattern, limit)| Some((pattern.nearness(identifier)?, limit)));
        let mut nearest: HashMap<&LimitName, (PatternNearness, &Arc<Limit>)> = HashMap::new();
        for (near, limit) in of_one.chain(of_several) {
            let held = nearest.entry(&limit.name).or_insert((near, limit));
            if held.0 < near {
                *held = (near, limit);
            }
        }
        nearest
    }
}

/// Under which an identifier's calls are counted: like a key's id, it is of one length.
pub(super) fn whose(identifier: &Identifier) -> Uuid {
    let hash = Sha256::digest(identifier.as_str().as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use tronch_core::{Bucket, LimitId, LimitRule};

    use super::*;

    #[test]
    fn an_identifier_is_held_to_the_nearest_limit_of_each_name() {
        let (cells, mut limits) = (Cells::default(), NamespaceLimits::default());
        let set = [
            (1, "rate", "*"),
            (2, "rate", "*@example.com"),
            (3, "rate", "ada@example.com"),
            (4, "daily", "*"),
            (5, "night", "bob@*"),
        ];
        for (id, name, pattern) in set {
            let rule = LimitRule::new(Some(Bucket::new(id, 1, 1).expect("a bucket")), None).expect("a rule");
            let name = LimitName::parse(name).expect("a name");
            let (tenant_id, id) = (TenantId::from_uuid(Uuid::from_u128(9)), Uuid::from_u128(id.into()));
            let limit = Limit::new(tenant_id, LimitId::from_uuid(id), name, (true, false), rule);
            let pattern = IdentifierPattern::parse(pattern).expect("a pattern");
            limits.add(pattern, cells.limit(limit)).expect("it fits");
        }
        for (identifier, expected) in [
            ("ada@example.com", vec![3, 4]),
            ("bob@example.com", vec![2, 4, 5]),
            ("bob@example.org", vec![1, 4, 5]),
            ("198.51.100.7", vec![1, 4]),
        ] {
            let identifier = Identifier::parse(identifier).expect("an identifier");
            let held_to = limits.of(&cells, &identifier);
            let ids: Vec<u128> = held_to.iter().map(|limit| limit.counts_as().uuid().as_u128()).collect();
            assert_eq!(ids, expected, "{identifier}");
            assert!(held_to.iter().all(|limit| limit.count.identifier.as_deref() == Some(&identifier)));
            let again = limits.of(&cells, &identifier);
            assert!(held_to.iter().zip(&again).all(|(one, other)| Arc::ptr_eq(&one.count, &other.count)));
        }
    }
}
