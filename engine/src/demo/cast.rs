//! Who and what a demo tenant is made of: people, customers, projects, words. Tables alone; what happens to them is in
//! `script.rs`.

use std::net::{IpAddr, Ipv4Addr};

use tronch_core::Role;

/// The tenant's name for people.
pub(super) const TENANT_NAME: &str = "Halden Freight (demo)";

/// Somebody of the demo, and where their changes come from.
pub(super) struct Person {
    /// The part of the address before the @.
    pub(super) mailbox: &'static str,
    pub(super) name: &'static str,
    pub(super) role: Role,
    /// Days after the tenant was founded.
    pub(super) joined_after_days: i64,
    pub(super) address: IpAddr,
    pub(super) user_agent: &'static str,
}

/// Who is asked in and has not come yet.
pub(super) const INVITED: &str = "auditor@demo.example";

/// The owner is the first. Addresses are from the ranges for documentation (RFC 5737).
pub(super) const PEOPLE: [Person; 4] = [
    Person {
        mailbox: "owner",
        name: "Noor Haddad",
        role: Role::Owner,
        joined_after_days: 0,
        address: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 17)),
        user_agent: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0",
    },
    Person {
        mailbox: "admin",
        name: "Jonas Weber",
        role: Role::Admin,
        joined_after_days: 1,
        address: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 42)),
        user_agent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    },
    Person {
        mailbox: "developer",
        name: "Mei Tanaka",
        role: Role::Developer,
        joined_after_days: 2,
        address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 8)),
        user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    },
    Person {
        mailbox: "viewer",
        name: "Lucas Moreau",
        role: Role::Viewer,
        joined_after_days: 30,
        address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 90)),
        user_agent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
    },
];

/// Where the token's calls come from.
pub(super) const SCRIPT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 55));
pub(super) const SCRIPT_USER_AGENT: &str = "halden-provisioning/2.3";

/// A project of the demo, and what its keys are for and may hold.
pub(super) struct Project {
    pub(super) slug: &'static str,
    pub(super) name: &'static str,
    pub(super) purposes: &'static [&'static str],
    pub(super) permissions: &'static [&'static [&'static str]],
}

pub(super) const PROJECTS: [Project; 2] = [
    Project {
        slug: crate::tenants::FIRST_PROJECT,
        name: "Default",
        purposes: &["tracking", "orders", "webhooks", "reporting", "mobile app"],
        permissions: &[
            &["shipments.read"],
            &["shipments.read", "orders.read", "orders.write"],
            &["webhooks.*"],
            &["reports.read", "shipments.read"],
            &[],
        ],
    },
    Project {
        slug: "payments",
        name: "Payments",
        purposes: &["checkout", "refunds", "invoices", "payouts"],
        permissions: &[&["payments.read", "payments.write"], &["refunds.*"], &["invoices.read"], &["payouts.read"]],
    },
];

/// A customer of the tenant, to whom it issues keys.
pub(super) struct Customer {
    pub(super) external_id: &'static str,
    pub(super) name: &'static str,
    pub(super) plan: &'static str,
    pub(super) region: &'static str,
}

const fn customer(external_id: &'static str, name: &'static str, plan: &'static str, region: &'static str) -> Customer {
    Customer { external_id, name, plan, region }
}

pub(super) const CUSTOMERS: [Customer; 14] = [
    customer("cus_1001", "Aurora Travel", "enterprise", "eu-north"),
    customer("cus_1004", "Baltic Timber", "pro", "eu-north"),
    customer("cus_1011", "Casa Verde", "pro", "eu-south"),
    customer("cus_1016", "Dunmore & Sons", "starter", "eu-west"),
    customer("cus_1023", "Eastgate Foods", "enterprise", "us-east"),
    customer("cus_1030", "Fjord Marine", "pro", "eu-north"),
    customer("cus_1042", "Granite Tools", "starter", "us-west"),
    customer("cus_1057", "Hoshino Paper", "pro", "ap-east"),
    customer("cus_1063", "Ibis Health", "enterprise", "eu-west"),
    customer("cus_1071", "Jupiter Games", "pro", "us-west"),
    customer("cus_1088", "Kestrel Air", "enterprise", "eu-west"),
    customer("cus_1090", "Łódź Textiles", "starter", "eu-east"),
    customer("cus_1102", "Mango Street", "starter", "ap-south"),
    customer("cus_1119", "Nimbus Energy", "pro", "us-east"),
];
