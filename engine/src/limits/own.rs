//! What callers of the product itself are held to, by the rules that keys are: signing in, signing up, giving the password
//! again, asking for mails, the dashboard by person and the API by service token.
//! Each process counts for itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tronch_core::{Bucket, Cost, LimitId, LimitName, LimitRule, ServiceTokenId, TenantId, UserId};
use uuid::Uuid;

use super::cells::{Cells, KeyLimit};
use super::charge::{Beyond, Charge, Way, Ways, charge};
use super::limit::Limit;
use crate::clock::Moment;
use crate::error::Error;

/// Wrong passwords for one account: ten, then one a minute. Whoever signs in takes nothing.
const ACCOUNT: (u64, u32, u32) = (10, 1, 60);

/// Wrong passwords and setup codes from one address, behind which there may be many people: fifty, then ten a minute.
const ADDRESS: (u64, u32, u32) = (50, 10, 60);

/// Calls of the API by one service token: a thousand at once, then a hundred a second. Validation is not among them.
const API: (u64, u32, u32) = (1_000, 100, 1);

/// Requests of the dashboard by one person, pages and forms: three hundred at once, then ten a second.
const PERSON: (u64, u32, u32) = (300, 10, 1);

/// Mails that somebody asks for without having shown who they are: three to one account, then one in ten minutes; from one address twenty, then
/// one a minute.
const MAIL_TO: (u64, u32, u32) = (3, 1, 600);
const MAIL_FROM: (u64, u32, u32) = (20, 1, 60);

/// The limits, and what was used of them.
pub(crate) struct OwnLimits {
    cells: Cells,
    account: Arc<Limit>,
    address: Arc<Limit>,
    api: Arc<Limit>,
    person: Arc<Limit>,
    mail_to: Arc<Limit>,
    mail_from: Arc<Limit>,
    hashers: [ahash::RandomState; 2],
}

/// Tries of somebody who has yet to show who he is. They are taken when they begin, so that none go beside each other, and given
/// back to whoever was right.
pub(crate) struct Tries {
    taken: Vec<KeyLimit>,
}

impl OwnLimits {
    pub(crate) fn new() -> Result<Self, Error> {
        let limit = |name: &str, (capacity, refill, seconds): (u64, u32, u32)| {
            let bucket = Bucket::new(capacity, refill, seconds).map_err(Error::internal)?;
            let rule = LimitRule::new(Some(bucket), None).map_err(Error::internal)?;
            let (nobody, itself) = (TenantId::from_uuid(Uuid::nil()), LimitId::from_uuid(Uuid::nil()));
            let name = LimitName::parse(name).map_err(Error::internal)?;
            Ok::<_, Error>(Arc::new(Limit::new(nobody, itself, name, (true, false), rule)))
        };
        Ok(Self {
            cells: Cells::default(),
            account: limit("sign-in-account", ACCOUNT)?,
            address: limit("sign-in-address", ADDRESS)?,
            api: limit("api", API)?,
            person: limit("dashboard", PERSON)?,
            mail_to: limit("mail-to-account", MAIL_TO)?,
            mail_from: limit("mail-from-address", MAIL_FROM)?,
            hashers: [ahash::RandomState::new(), ahash::RandomState::new()],
        })
    }

    /// Somebody tries to get in, as whoever that is, from there.
    ///
    /// # Errors
    /// `TooMany` when too many have failed.
    pub(crate) fn begin_try(&self, whose: Option<&str>, address: Option<IpAddr>) -> Result<Tries, Error> {
        let mut tries = Tries { taken: Vec::new() };
        let account = whose.map(|whose| (&self.account, whose.to_owned()));
        let address = address.map(|address| (&self.address, format!("address {}", network(address))));
        for (limit, who) in [address, account].into_iter().flatten() {
            match self.charge(limit, &who) {
                Ok(taken) => tries.taken.push(taken),
                Err(refused) => {
                    tries.give_back();
                    return Err(refused);
                }
            }
        }
        Ok(tries)
    }

    /// A call of the API.
    ///
    /// # Errors
    /// `TooMany` when there were too many of that token.
    pub(crate) fn charge_api(&self, token_id: ServiceTokenId) -> Result<(), Error> {
        self.charge(&self.api, &format!("token {token_id}")).map(drop)
    }

    /// A page or a form of the dashboard.
    ///
    /// # Errors
    /// `TooMany` when there were too many of that person.
    pub(crate) fn charge_person(&self, user_id: UserId) -> Result<(), Error> {
        self.charge(&self.person, &format!("person {user_id}")).map(drop)
    }

    /// A mail that somebody asks for.
    ///
    /// # Errors
    /// `TooMany` when there were too many to that account, or from that address.
    pub(crate) fn charge_mail(&self, account: &str, address: Option<IpAddr>) -> Result<(), Error> {
        if let Some(address) = address {
            self.charge(&self.mail_from, &format!("mail from {}", network(address)))?;
        }
        self.charge(&self.mail_to, &format!("mail to {account}")).map(drop)
    }

    fn charge(&self, limit: &Arc<Limit>, who: &str) -> Result<KeyLimit, Error> {
        let held = self.cells.of(limit, self.hash(who));
        let ways = Ways { rate: Way::Local, total: Way::Fast };
        let now = limit.time(Moment::now());
        let mut charges = [Charge::new(&limit.rule, &held.count.cell, ways, now, Cost::ONE)];
        charge(&mut charges, Beyond::Nothing);
        match charges[0].outcome() {
            Some(Err(refusal)) => {
                metrics::counter!("tronch_own_limits_refused_total", "limit" => limit.name.as_str().to_owned())
                    .increment(1);
                let retry_after = refusal.retry_after_ms.map_or(Duration::from_secs(1), Duration::from_millis);
                Err(Error::TooMany { policy: limit.name.as_str().to_owned(), retry_after })
            }
            _ => Ok(held),
        }
    }

    /// Who is meant, as a number of this process's own: what somebody typed is not kept.
    fn hash(&self, who: &str) -> Uuid {
        let [high, low] = &self.hashers;
        Uuid::from_u64_pair(high.hash_one(who), low.hash_one(who))
    }

    /// Forgets what does not count any more.
    pub(crate) fn forget_idle(&self) -> usize {
        self.cells.forget_idle(Moment::now())
    }
}

impl Tries {
    /// It was the right one.
    pub(crate) fn give_back(self) {
        for taken in &self.taken {
            if let Some(bucket) = taken.limit.rule.bucket() {
                taken.count.cell.change_rate(|_, state| *state = bucket.give_back(*state, 1));
            }
        }
    }
}

/// Whoever has one address of IPv6 has 2⁶⁴ of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(limits: &OwnLimits, account: &str, address: &str) -> bool {
        limits.begin_try(Some(account), address.parse().ok()).is_ok()
    }

    #[test]
    fn wrong_tries_are_counted_by_account_and_by_address_and_right_ones_are_not() {
        let limits = OwnLimits::new().expect("limits");
        for _ in 0..100 {
            limits.begin_try(Some("ada"), "192.0.2.1".parse().ok()).expect("nobody failed").give_back();
        }
        let failed = (0..20).filter(|_| fail(&limits, "ada", "192.0.2.1")).count();
        assert_eq!(failed, 10);
        let refused = limits.begin_try(Some("ada"), None).err().expect("too many");
        let Error::TooMany { policy, retry_after } = refused else { panic!("{refused}") };
        assert_eq!(policy, "sign-in-account");
        assert!((55..=60).contains(&retry_after.as_secs()), "{retry_after:?}");
        // Those that an account refused took nothing from the address.
        let failed = (0..60).filter(|number| fail(&limits, &format!("somebody {number}"), "192.0.2.1")).count();
        assert_eq!(failed, 40);
        assert!(fail(&limits, "somebody else", "192.0.2.2"));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let limits = OwnLimits::new().expect("limits");
        let failed =
            (0..60).filter(|number| fail(&limits, &format!("{number}"), &format!("2001:db8::{number:x}"))).count();
        assert_eq!(failed, 50);
        assert!(fail(&limits, "another", "2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1".parse().expect("an address")).to_string(), "192.0.2.1");
    }
}
