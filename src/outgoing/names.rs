//! Names and their addresses. The client connects to the addresses that were checked, and asks nobody else: no name can
//! have another address when it is used.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::addresses::may_be_reached;
use crate::executor::IpNetwork;

/// Error: a name has an address that must not be reached.
#[derive(Debug, thiserror::Error)]
#[error("the address is not on the internet, nor in a network that the operator has opened")]
pub struct Forbidden;

/// Addresses of names, each of which may be reached.
pub struct CheckedNames {
    names: Arc<dyn Resolve>,
    allowed: Arc<[IpNetwork]>,
}

impl CheckedNames {
    /// Checks the addresses that `names` has.
    pub fn new(names: Arc<dyn Resolve>, allowed: Arc<[IpNetwork]>) -> Self {
        Self { names, allowed }
    }
}

impl fmt::Debug for CheckedNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedNames").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, allowed) = (self.names.resolve(name), Arc::clone(&self.allowed));
        Box::pin(async move {
            let found: Vec<SocketAddr> = found.await?.collect();
            // A name with an address inside is refused as a whole: the next one could be that of the client's choice.
            if !found.iter().all(|address| may_be_reached(address.ip(), &allowed)) {
                return Err(Forbidden.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The names of the system.
#[derive(Debug)]
pub struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}
