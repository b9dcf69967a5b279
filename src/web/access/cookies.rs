//! The cookies: one of the session, and a short-lived one of a login that is under way.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

use crate::store::people::sessions;

/// Maximum length of a cookie's value that is looked at.
const MAX_VALUE: usize = 4096;

/// Names and attributes of the cookies.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct Cookies {
    /// True when browsers reach the service by https alone.
    is_secure: bool,
}

impl Cookies {
    pub(super) fn new(is_secure: bool) -> Self {
        Self { is_secure }
    }

    /// Returns the value of the session's cookie in a request.
    pub(in crate::web) fn session<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        find(headers, self.session_name())
    }

    /// Returns the value of the cookie of a login that is under way.
    pub(in crate::web) fn login<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        find(headers, self.login_name())
    }

    /// Returns the header that gives a browser its session.
    pub(in crate::web) fn set_session(&self, value: &str) -> HeaderValue {
        self.header(self.session_name(), value, sessions::LONGEST)
    }

    /// Returns the header that takes a browser's session away.
    pub(in crate::web) fn end_session(&self) -> HeaderValue {
        self.header(self.session_name(), "", Duration::ZERO)
    }

    /// Returns the header that ties a login to a browser.
    pub(in crate::web) fn set_login(&self, value: &str, age: Duration) -> HeaderValue {
        self.header(self.login_name(), value, age)
    }

    /// Returns the header that ends a login.
    pub(in crate::web) fn end_login(&self) -> HeaderValue {
        self.header(self.login_name(), "", Duration::ZERO)
    }

    // With `__Host-`, browsers take the cookie from this host alone, over https, and for all paths. So no neighbour in
    // the same domain can set it.
    fn session_name(&self) -> &'static str {
        if self.is_secure { "__Host-trainyard" } else { "trainyard" }
    }

    fn login_name(&self) -> &'static str {
        if self.is_secure { "__Host-trainyard-login" } else { "trainyard-login" }
    }

    fn header(&self, name: &str, value: &str, age: Duration) -> HeaderValue {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}", age.as_secs());
        // Values are letters and digits of base64.
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Returns the value of a cookie. A name that comes twice counts as none: one of both is not ours.
fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(its, _)| *its == name).map(|(_, value)| value);
    let value = values.next()?;
    (values.next().is_none() && !value.is_empty() && value.len() <= MAX_VALUE).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(text))])
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let cookies = Cookies::new(true);
        assert_eq!(cookies.session(&cookie("a=b; __Host-trainyard=x; c=d")), Some("x"));
        for other in ["trainyard=x", "x__Host-trainyard=x", "__Host-trainyard-login=x", "__Host-trainyard=", ""] {
            assert_eq!(cookies.session(&cookie(other)), None, "{other}");
        }
        assert_eq!(cookies.session(&cookie("__Host-trainyard=x; __Host-trainyard=y")), None);
    }

    #[test]
    fn a_cookie_is_for_this_host_and_no_script() {
        let told = |cookies: Cookies| cookies.set_session("x").to_str().unwrap().to_owned();
        assert_eq!(
            told(Cookies::new(true)),
            "__Host-trainyard=x; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(told(Cookies::new(false)), "trainyard=x; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax");
    }
}
