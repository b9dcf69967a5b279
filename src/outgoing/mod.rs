//! Requests to addresses that anyone may write who can push: they reach the internet, and networks that the operator
//! opens.

mod addresses;
mod names;

pub use addresses::may_be_reached;
pub use names::{CheckedNames, Forbidden, SystemNames};

use std::error::Error as _;
use std::net::IpAddr;

use url::{Host, Url};

use crate::executor::IpNetwork;

/// Returns true if the host of an address is not known to be forbidden. A name is checked when it is resolved.
pub fn is_host_allowed(url: &Url, allowed: &[IpNetwork]) -> bool {
    // The client does not ask for the name of an address.
    let literal = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        _ => None,
    };
    literal.is_none_or(|address| may_be_reached(address, allowed))
}

/// Returns true if the port of an address is one of web servers. Other services have the other ports below 1024.
pub fn is_port_allowed(url: &Url) -> bool {
    matches!(url.port_or_known_default(), Some(80 | 443 | 1024..))
}

/// Returns true if a request failed because its name has an address that must not be reached.
pub fn was_forbidden(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<Forbidden>() {
            return true;
        }
        cause = inner.source();
    }
    false
}
