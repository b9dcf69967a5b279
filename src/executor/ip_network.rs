//! Networks that the configuration opens or closes to jobs.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::Deserialize;

/// An IPv4 address, or an IPv4 network such as `10.1.2.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct IpNetwork {
    address: Ipv4Addr,
    length: u8,
}

impl IpNetwork {
    /// Returns true if the address is in the network.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let differing = u32::from(address) ^ u32::from(self.address);
        differing.checked_shr(32 - u32::from(self.length)).unwrap_or(0) == 0
    }
}

impl FromStr for IpNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, length) = text.split_once('/').unwrap_or((text, "32"));
        let parsed = address.parse().ok().zip(length.parse().ok().filter(|length| *length <= 32));
        let (address, length) = parsed.ok_or_else(|| format!("{text:?} is not a network such as \"10.1.2.3/32\""))?;
        Ok(Self { address, length })
    }
}

impl TryFrom<String> for IpNetwork {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_taken_and_nothing_else() {
        let shown = |text: &str| text.parse::<IpNetwork>().map(|network| network.to_string());
        assert_eq!(shown("10.1.2.3").as_deref(), Ok("10.1.2.3/32"));
        assert_eq!(shown("10.1.0.0/16").as_deref(), Ok("10.1.0.0/16"));
        for wrong in ["10.1.2", "10.1.2.3/33", "10.1.2.3/", "::1", "proxy", "10.1.2.3/32 0.0.0.0/0"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }
}
