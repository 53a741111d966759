//! Networks, by which proxies are trusted. What a proxy says is read at the door.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::str::FromStr;

/// A network such as `10.0.0.0/8`; a bare address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix_bits: u8,
}

impl Cidr {
    pub fn contains(&self, address: IpAddr) -> bool {
        // A dual-stack socket reports IPv4 peers as ::ffff:a.b.c.d.
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()) & v4_mask(self.prefix_bits) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()) & v6_mask(self.prefix_bits) == 0
            }
            _ => false,
        }
    }
}

impl Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.network, self.prefix_bits)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let refused =
            || format!("must be networks such as 10.0.0.0/8 or fd00::/8, separated by commas; {text:?} is none");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let network: IpAddr = address.parse().map_err(|_| refused())?;
        let bits_max = if network.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Ok(bits_max), str::parse).map_err(|_| refused())?;
        if prefix_bits > bits_max {
            return Err(refused());
        }
        // 10.1.2.3/8 would trust far more than its author had in mind.
        let begins_at_its_network = match network {
            IpAddr::V4(network) => network.to_bits() & !v4_mask(prefix_bits) == 0,
            IpAddr::V6(network) => network.to_bits() & !v6_mask(prefix_bits) == 0,
        };
        begins_at_its_network.then_some(Cidr { network, prefix_bits }).ok_or_else(refused)
    }
}

fn v4_mask(prefix_bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix_bits)).unwrap_or(0)
}

fn v6_mask(prefix_bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0)
}
