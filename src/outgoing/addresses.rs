//! The addresses that may be reached: those of the internet, and networks that the operator opens. A `.travis.yml` must not
//! reach what only this machine reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::executor::IpNetwork;

/// Returns true if this address may be reached.
pub fn may_be_reached(address: IpAddr, allowed: &[IpNetwork]) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address) || allowed.iter().any(|network| network.contains(address)),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => may_be_reached(IpAddr::V4(inner), allowed),
            None => is_public_v6(address),
        },
    }
}

/// Networks that are not the internet (IANA's registry of special-purpose IPv4 addresses), with the lengths of their
/// prefixes.
const SPECIAL_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, and what is reserved or broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    // Azure's services for its machines, which look public.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    SPECIAL_V4.iter().all(|(network, length)| (bits ^ u32::from(*network)) >> (32 - length) != 0)
}

/// Returns true for global unicast addresses (2000::/3), without those that are translated, tunneled or for documents.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let is_special = match first {
        // Teredo, ORCHID and others.
        0x2001 => second < 0x0200 || second == 0x0db8,
        0x3fff => second < 0x1000,
        _ => false,
    };
    first & 0xe000 == 0x2000 && !is_special
}

/// Returns the IPv4 address to which an IPv6 address leads: a mapped, compatible, translated or 6to4 one.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let inner = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match [a, b, c, d, e, f] {
        // ::1 and :: among them.
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => Some(inner(g, h)),
        [0x2002, ..] => Some(inner(b, c)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(address: &str, allowed: &[&str]) -> bool {
        let allowed: Vec<IpNetwork> = allowed.iter().map(|network| network.parse().unwrap()).collect();
        may_be_reached(address.parse().unwrap(), &allowed)
    }

    #[test]
    fn only_the_internet_is_reached() {
        for public in ["1.1.1.1", "140.82.121.4", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a01:4f8::1"] {
            assert!(may(public, &[]), "{public}");
        }
        for inner in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001::1",
            "2001:db8::1",
            "100::1",
            "fec0::1",
            "::ffff:0:127.0.0.1",
            "3fff::1",
        ] {
            assert!(!may(inner, &[]), "{inner}");
        }
    }

    #[test]
    fn the_operator_opens_networks() {
        assert!(may("10.1.2.3", &["10.1.0.0/16"]) && may("::ffff:10.1.2.3", &["10.1.0.0/16"]));
        assert!(!may("10.2.2.3", &["10.1.0.0/16"]) && !may("127.0.0.1", &["10.0.0.0/8"]));
        assert!(may("127.0.0.1", &["127.0.0.1"]) && !may("127.0.0.2", &["127.0.0.1"]));
    }
}
