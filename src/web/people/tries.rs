//! Limits on logins that fail: for each name and for each address, in memory. The address of an IPv6 client is its
//! network, since one client has many addresses.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::web::access::network;
use crate::web::error::Error;

/// Time after which tries are forgotten.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Number of tries for one name, and from one address.
const MAX_FOR_NAME: u32 = 10;
const MAX_FROM_ADDRESS: u32 = 40;
/// Number of names and addresses that are remembered.
const MAX_KEYS: usize = 20_000;
/// Maximum length of a name that is remembered, in bytes.
const MAX_NAME: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Name(String),
    Address(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Count {
    tries: u32,
    since: Instant,
}

/// Logins that were tried lately and did not succeed.
#[derive(Debug, Clone, Default)]
pub struct Tries(Arc<Mutex<HashMap<Key, Count>>>);

impl Tries {
    /// Counts a try before it is made, so that many at once count, too.
    pub(super) fn begin(&self, name: &str, address: Option<IpAddr>) -> Result<(), Error> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_KEYS {
            counts.retain(|_, count| count.since.elapsed() < WINDOW);
        }
        if counts.len() >= MAX_KEYS {
            counts.clear();
        }
        let mut is_allowed = true;
        for (key, most) in keys(name, address) {
            let count = counts.entry(key).or_insert_with(|| Count { tries: 0, since: Instant::now() });
            if count.since.elapsed() >= WINDOW {
                *count = Count { tries: 0, since: Instant::now() };
            }
            count.tries = count.tries.saturating_add(1);
            is_allowed &= count.tries <= most;
        }
        if is_allowed { Ok(()) } else { Err(Error::TooManyTries) }
    }

    /// Takes a try back that has succeeded.
    pub(super) fn succeed(&self, name: &str, address: Option<IpAddr>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, _) in keys(name, address) {
            match key {
                Key::Name(_) => drop(counts.remove(&key)),
                // Whoever knows one password must not try others without end.
                Key::Address(_) => {
                    if let Some(count) = counts.get_mut(&key) {
                        count.tries = count.tries.saturating_sub(1);
                    }
                }
            }
        }
    }
}

/// Returns what a try counts for. A login at GitHub has no name.
fn keys(name: &str, address: Option<IpAddr>) -> impl Iterator<Item = (Key, u32)> {
    let name = name.get(..MAX_NAME).unwrap_or(name).to_lowercase();
    let by_name = (!name.is_empty()).then_some((Key::Name(name), MAX_FOR_NAME));
    by_name.into_iter().chain(address.map(|address| (Key::Address(network(address)), MAX_FROM_ADDRESS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_an_address_have_limits() {
        let address = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
        let tries = Tries::default();
        for last in 0..10 {
            assert!(tries.begin("Anna", address(last)).is_ok());
        }
        assert!(tries.begin("anna", address(99)).is_err(), "another address, the same name");
        assert!(tries.begin("bob", address(99)).is_ok());
        tries.succeed("anna", address(99));
        assert!(tries.begin("anna", address(99)).is_ok());
        let tries = Tries::default();
        let of = |name: u32| tries.begin(&format!("name-{name}"), Some("2001:db8::1".parse().unwrap()));
        assert_eq!((0..50).filter(|name| of(*name).is_ok()).count(), 40, "another name, the same address");
        assert!(tries.begin("x", Some("2001:db8::2".parse().unwrap())).is_err(), "the same network");
        assert!(tries.begin("x", Some("2001:db8:0:1::1".parse().unwrap())).is_ok());
    }
}
