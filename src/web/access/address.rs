//! The address that a request comes from, for the record and for limits.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::{Extensions, HeaderMap, HeaderName};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Address of the other side of a connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct Peer(pub(in crate::web) IpAddr);

/// Returns the address that a request comes from. A proxy on this machine says for whom it asks, in the last place of
/// the header: what stands before that comes from the client.
pub(in crate::web) fn address(extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
    let Peer(peer) = extensions.get::<Peer>().copied()?;
    let peer = peer.to_canonical();
    if !peer.is_loopback() {
        return Some(peer);
    }
    let told = headers.get_all(&FORWARDED_FOR).iter().next_back().and_then(|value| value.to_str().ok());
    let last = told.and_then(|told| told.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
    Some(last.map_or(peer, |last| last.to_canonical()))
}

/// Returns the address by which a client is counted: for IPv6 its network, since one client has many addresses.
pub(in crate::web) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_a_proxy_on_this_machine_says_for_whom_it_asks() {
        let of = |peer: &str, told: &'static str| {
            let mut extensions = Extensions::new();
            extensions.insert(Peer(peer.parse().unwrap()));
            let headers = HeaderMap::from_iter([(FORWARDED_FOR, HeaderValue::from_static(told))]);
            address(&extensions, &headers).unwrap().to_string()
        };
        assert_eq!(of("127.0.0.1", "10.0.0.9, 203.0.113.7"), "203.0.113.7");
        assert_eq!(of("::ffff:127.0.0.1", "203.0.113.7"), "203.0.113.7");
        assert_eq!(of("127.0.0.1", "nobody"), "127.0.0.1");
        assert_eq!(of("198.51.100.1", "203.0.113.7"), "198.51.100.1");
    }
}
