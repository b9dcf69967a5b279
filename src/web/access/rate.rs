//! The rate of requests to the API: for each token, each person, and each address of somebody unknown, in memory.
//!
//! The address of an IPv6 client is its network, since one client has many addresses.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::domain::PersonId;
use crate::web::error::Error;

/// Maximum number of addresses that are remembered. Those beyond it share one count.
const MAX_ADDRESSES: usize = 20_000;
/// Pause between two searches for addresses that can be forgotten.
const TIDY_AFTER: Duration = Duration::from_secs(1);
/// Time in which a caller may send as many requests as the setting says, in seconds.
const WINDOW: u32 = 60;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The sender of requests, as they are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    Person(PersonId),
    /// A token that a person has made.
    Token(i64),
    /// A token of `[auth]`, by its name.
    Operator(String),
    Network(IpAddr),
    /// Everybody else: for unknown addresses, and for addresses when there are too many.
    Others,
}

type Limiter = RateLimiter<Caller, HashMapStateStore<Caller>, DefaultClock, StateInformationMiddleware>;

/// Limit on the requests of each caller.
#[derive(Debug, Clone, Default)]
pub struct Rate(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    limiter: Limiter,
    clock: DefaultClock,
    per_minute: NonZeroU32,
    tidied: Mutex<Instant>,
}

/// Requests that a caller has left, for the headers of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    per_minute: u32,
    requests: u32,
    /// Seconds until all are there again.
    full_in: u32,
}

impl Rate {
    /// Returns a limit of so many requests in a minute; 0 for none.
    pub fn per_minute(requests: u32) -> Self {
        let inner = NonZeroU32::new(requests).map(|per_minute| Inner {
            limiter: RateLimiter::hashmap(Quota::per_minute(per_minute)).with_middleware(),
            clock: DefaultClock::default(),
            per_minute,
            tidied: Mutex::new(Instant::now()),
        });
        Self(inner.map(Arc::new))
    }

    /// Counts a request. Returns what is left; `None` without a limit.
    pub(super) fn count(&self, caller: Caller) -> Result<Option<Left>, Error> {
        let Some(inner) = &self.0 else { return Ok(None) };
        let has_room = !matches!(caller, Caller::Network(_)) || inner.has_room();
        let caller = if has_room { caller } else { Caller::Others };
        let per_minute = inner.per_minute.get();
        match inner.limiter.check_key(&caller) {
            Ok(state) => {
                let requests = state.remaining_burst_capacity();
                let full_in = ((per_minute.saturating_sub(requests)) * WINDOW).div_ceil(per_minute);
                Ok(Some(Left { per_minute, requests, full_in }))
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(inner.clock.now());
                Err(Error::TooOften { per_minute, wait: wait.as_secs().saturating_add(1) })
            }
        }
    }
}

impl Inner {
    /// Returns true if one more address can be remembered.
    fn has_room(&self) -> bool {
        if self.limiter.len() < MAX_ADDRESSES {
            return true;
        }
        let mut tidied = self.tidied.lock().unwrap_or_else(PoisonError::into_inner);
        if tidied.elapsed() >= TIDY_AFTER {
            *tidied = Instant::now();
            self.limiter.retain_recent();
        }
        self.limiter.len() < MAX_ADDRESSES
    }
}

impl Left {
    /// Adds the headers of the IETF's draft "RateLimit header fields for HTTP".
    pub(super) fn add_to(self, headers: &mut HeaderMap) {
        let Self { per_minute, requests, full_in } = self;
        let pairs = [
            (POLICY, format!("\"api\";q={per_minute};w={WINDOW}")),
            (LIMIT, format!("\"api\";r={requests};t={full_in}")),
        ];
        for (name, text) in pairs {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_its_own_count() {
        let rate = Rate::per_minute(3);
        let anna = || Caller::Person(PersonId(1));
        let left: Vec<u32> = (0..3).map(|_| rate.count(anna()).unwrap().unwrap().requests).collect();
        assert_eq!(left, [2, 1, 0]);
        let Err(Error::TooOften { per_minute: 3, wait }) = rate.count(anna()) else { panic!("it is one too many") };
        assert!((1..=21).contains(&wait), "{wait}");
        assert!(rate.count(Caller::Token(1)).is_ok() && rate.count(Caller::Operator("1".to_owned())).is_ok());
        assert_eq!(Rate::per_minute(0).count(anna()).unwrap(), None);
    }

    #[test]
    fn many_addresses_take_little_memory_and_share_one_count() {
        let rate = Rate::per_minute(10);
        let network = |number: u32| Caller::Network(IpAddr::from(number.to_be_bytes()));
        let begin = Instant::now();
        let most = u32::try_from(MAX_ADDRESSES).unwrap();
        let refused = (0..most + 2000).filter(|number| rate.count(network(*number)).is_err()).count();
        assert!((1900..=1990).contains(&refused), "the last two thousand share ten: {refused}");
        assert_eq!(rate.0.as_ref().unwrap().limiter.len(), MAX_ADDRESSES + 1);
        assert!(rate.count(Caller::Token(1)).is_ok(), "a token is not among them");
        eprintln!("{:?} for each", begin.elapsed() / (most + 2000));
    }
}
