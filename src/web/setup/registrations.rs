//! Registrations of a GitHub App that are under way, in memory: the browser is at GitHub meanwhile. After a restart they
//! begin again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::web::access::secret;

/// Time for a registration.
const LASTS: Duration = Duration::from_secs(30 * 60);

/// A registration that is under way.
#[derive(Debug)]
pub(super) struct Begun {
    state: String,
    until: Instant,
    /// Number of the App that the new one takes the place of.
    pub(super) replaces: Option<i64>,
}

/// Registrations by the session of the browser that has begun them: one for each.
#[derive(Debug, Clone, Default)]
pub(super) struct Registrations(Arc<Mutex<HashMap<i64, Begun>>>);

impl Registrations {
    /// Begins a registration. Returns the state with which GitHub has to send the browser back.
    pub(super) fn begin(&self, session: i64, replaces: Option<i64>) -> anyhow::Result<String> {
        let state = secret::new()?;
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.retain(|_, begun| begun.until > Instant::now());
        begun.insert(session, Begun { state: state.clone(), until: Instant::now() + LASTS, replaces });
        Ok(state)
    }

    /// Ends the registration that this browser has begun, if GitHub sends it back with the right state, in time, and for
    /// the first time. A wrong state ends nothing: any site can send a browser here with one.
    pub(super) fn take(&self, session: i64, state: &str) -> Option<Begun> {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |it: &Begun| it.until > Instant::now() && secret::is_same(state, &it.state);
        begun.get(&session).is_some_and(is_it).then(|| begun.remove(&session)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_good_once_in_its_browser_for_a_while() {
        let registrations = Registrations::default();
        let state = registrations.begin(1, Some(7)).unwrap();
        assert!(registrations.take(2, &state).is_none(), "another browser");
        assert!(registrations.take(1, "wrong").is_none());
        assert_eq!(registrations.take(1, &state).unwrap().replaces, Some(7));
        assert!(registrations.take(1, &state).is_none(), "a second time");
        let state = registrations.begin(1, None).unwrap();
        registrations.0.lock().unwrap().get_mut(&1).unwrap().until = Instant::now();
        assert!(registrations.take(1, &state).is_none(), "too late");
        let old = registrations.begin(1, None).unwrap();
        let new = registrations.begin(1, None).unwrap();
        assert!(registrations.take(1, &old).is_none(), "another was begun");
        assert!(registrations.take(1, &new).is_some());
    }
}
