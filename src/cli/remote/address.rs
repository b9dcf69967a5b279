//! The address of a server.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// The address of a server, with the path below which its pages are. It has no user name, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in crate::cli) struct Address(Url);

impl FromStr for Address {
    type Err = String;

    /// Reads an address. Without a scheme, it is one of HTTPS.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let mut url = Url::parse(&text).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("an address begins with https:// or http://".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("an address has no user name: the server knows you by a token".to_owned());
        }
        url.set_query(None);
        url.set_fragment(None);
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Self(url))
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0.into()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Address {
    /// Returns true if the server is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
            Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
            None => false,
        }
    }

    /// Returns true if others on the way can read what is sent.
    pub(super) fn is_exposed(&self) -> bool {
        self.0.scheme() == "http" && !self.is_loopback()
    }

    /// Returns the URL of a path below the address. Each part of it is escaped, so that none can change the others.
    pub(super) fn at(&self, parts: &[&str]) -> Url {
        let mut url = self.0.clone();
        // It fails for URLs without a host, which no address is.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<Address, String> {
        text.parse()
    }

    #[test]
    fn an_address_has_one_form() {
        for (text, form) in [
            ("ci.example.org", "https://ci.example.org/"),
            ("https://CI.example.org:443/", "https://ci.example.org/"),
            ("http://127.0.0.1:8700/ci?x=1#y", "http://127.0.0.1:8700/ci/"),
        ] {
            assert_eq!(address(text).map(|address| address.to_string()).as_deref(), Ok(form), "{text}");
        }
        for wrong in
            ["", "ftp://ci.example.org", "file:///etc/passwd", "https://anna:secret@ci.example.org", "https://"]
        {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        let exposed = |text: &str| address(text).expect("an address").is_exposed();
        for fine in ["https://ci.example.org", "http://localhost:1", "http://127.1.2.3", "http://[::1]:8700"] {
            assert!(!exposed(fine), "{fine}");
        }
        for seen in ["http://ci.example.org", "http://10.0.0.1", "http://localhost.example.org", "http://[2001:db8::1]"]
        {
            assert!(exposed(seen), "{seen}");
        }
    }

    #[test]
    fn parts_of_a_path_stay_parts() {
        let url = address("https://ci.example.org/ci").expect("an address").at(&["api", "a/../b?c#d", "é"]);
        assert_eq!(url.as_str(), "https://ci.example.org/ci/api/a%2F..%2Fb%3Fc%23d/%C3%A9");
    }
}
