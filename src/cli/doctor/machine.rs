//! This machine: addresses, the data folder, disks, git.

use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use bytesize::ByteSize;
use rustix::fs::Access;
use url::{Host, Url};

use super::Findings;
use crate::config::Config;
use crate::git;
use crate::storage::Room;

/// First version of git that has all options that we use.
const OLDEST_GIT: (u32, u32) = (2, 29);
/// Multiple of `storage.least_free`: with less free space than this, jobs will soon stop to start.
const LITTLE: u64 = 2;

pub(super) async fn check(config: &Config, found: &mut Findings) {
    public_url(config, found);
    data_folder(&config.server.data_dir, config.storage.least_free, found);
    git_version(found).await;
}

fn public_url(config: &Config, found: &mut Findings) {
    const WHAT: &str = "server.public_url";
    let url = &config.server.public_url;
    let is_github_com = config.github.api_url.host_str() == Some("api.github.com");
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        let advice = "Pages are served at the root: set the address without a path, as in https://ci.example.org.";
        // The URL may hold a password, so it is not shown.
        found.problem(WHAT, "is more than scheme, host and port", advice);
    } else if is_github_com && !is_reachable(url) {
        let advice = "Set the address under which GitHub reaches this server, as in https://ci.example.org.";
        found.warning(WHAT, format!("{url} is not an address that GitHub can reach"), advice);
    } else if url.scheme() == "http" && is_reachable(url) {
        let advice = "Put it behind TLS: otherwise others can read and change the webhooks and pages on the way.";
        found.warning(WHAT, format!("{url} is not encrypted"), advice);
    } else {
        found.ok(WHAT, url.as_str());
    }
}

/// Returns true if the URL can be reached from elsewhere, as far as its host name shows.
fn is_reachable(url: &Url) -> bool {
    let ip = match url.host() {
        Some(Host::Domain(name)) => return name != "localhost" && !name.ends_with(".localhost") && name.contains('.'),
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
        None => return false,
    };
    let is_private = match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    !ip.is_loopback() && !ip.is_unspecified() && !is_private
}

fn data_folder(data: &Path, least_free: ByteSize, found: &mut Findings) {
    const WHAT: &str = "data folder";
    let Some(there) = data.ancestors().find(|folder| folder.exists()) else {
        return found.problem(WHAT, format!("{} cannot be read", data.display()), "Set server.data_dir.");
    };
    let shown = data.display();
    let may_write = rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    match std::fs::metadata(data) {
        _ if !may_write => {
            let advice = "Give it to this user with chown, run this as the service's user, or set server.data_dir.";
            found.problem(WHAT, format!("{} is not writable for this user", there.display()), advice);
        }
        Ok(folder) if !folder.is_dir() => {
            found.problem(WHAT, format!("{shown} is not a folder"), "Move it away, or set server.data_dir.");
        }
        Ok(folder) if folder.mode() & 0o022 != 0 => {
            let advice = format!("Remove that permission: chmod go-w {shown}");
            found.problem(WHAT, format!("{shown} can be written by other users"), &advice);
        }
        Ok(_) => found.ok(WHAT, format!("{shown} is writable for this user only")),
        Err(_) => found.ok(WHAT, format!("{shown} does not exist yet; the first start creates it")),
    }
    seal_key(&data.join("seal.key"), found);
    room("disk of the data folder", there, least_free, found);
}

fn seal_key(path: &Path, found: &mut Findings) {
    const WHAT: &str = "seal.key";
    match std::fs::metadata(path) {
        Ok(file) if file.permissions().mode() & 0o077 != 0 => {
            let advice = format!("Remove that permission: chmod 600 {}", path.display());
            let told = "can be read by other users; it decrypts the secrets of all repositories in the database";
            found.problem(WHAT, told, &advice);
        }
        Ok(_) if rustix::fs::access(path, Access::READ_OK).is_err() => {
            found.problem(WHAT, "is not readable for this user", "Run this, and the service, as the user who owns it.");
        }
        Ok(file) if file.len() != 32 => {
            let advice = "Restore the right file from a backup: without it, no stored secret can be decrypted.";
            found.problem(WHAT, format!("has {} bytes instead of 32", file.len()), advice);
        }
        Ok(_) => found.ok(WHAT, "exists, and only its owner may read it"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            found.ok(WHAT, "does not exist yet; the first start creates it");
        }
        Err(error) => found.problem(WHAT, format!("cannot be checked: {error}"), "Run this as the service's user."),
    }
}

/// Checks that a disk has enough free space. Used for engines' disks too.
pub(super) fn room(what: &str, folder: &Path, least_free: ByteSize, found: &mut Findings) {
    let Ok(disk) = rustix::fs::statvfs(folder) else {
        return found.warning(what, format!("{} cannot be checked", folder.display()), "Check it with df.");
    };
    let bytes = |blocks: u64| ByteSize::b(blocks.saturating_mul(disk.f_frsize));
    let (free, all) = (bytes(disk.f_bavail), bytes(disk.f_blocks));
    let told = format!("{free} of {all} are free under {}", folder.display());
    let advice = "Free some space (logs, artifacts, caches, images and jobs use it), or lower storage.least_free.";
    if free < least_free {
        found.problem(what, format!("{told}: no job starts with less than {least_free}"), advice);
    } else if Room::new(folder.to_owned(), least_free).wanting().is_ok_and(|wanting| wanting.is_some()) {
        let told =
            format!("{} of {} inodes are free under {}: no job starts", disk.f_favail, disk.f_files, folder.display());
        found.problem(what, told, "Remove folders of very many files, or give Docker a disk of its own.");
    } else if free.as_u64() / LITTLE < least_free.as_u64() {
        found.warning(what, told, advice);
    } else {
        found.ok(what, told);
    }
}

async fn git_version(found: &mut Findings) {
    let version = match git::version().await {
        Ok(version) => version,
        Err(error) => return found.problem("git", format!("{error:#}"), "Install the package git."),
    };
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    let known = numbers.next().zip(numbers.next());
    if known.is_some_and(|known| known < OLDEST_GIT) {
        let (major, minor) = OLDEST_GIT;
        found.problem("git", format!("{version} is too old"), &format!("Install git {major}.{minor} or newer."));
    } else {
        found.ok("git", version);
    }
}
