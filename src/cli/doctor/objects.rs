//! The place where logs and artifacts are kept.

use super::Findings;
use crate::config::Config;
use crate::storage::Objects;

const WHAT: &str = "object storage";

/// Lists the objects, which needs an address, a bucket and a key that work, and changes nothing. Write access is not
/// checked: the first log that is moved shows it, and the pages report it if it fails.
pub(super) async fn check(config: &Config, found: &mut Findings) {
    if config.storage.url.is_empty() {
        let folder = config.server.data_dir.join("objects");
        return match rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
            Ok(()) => found.ok(WHAT, format!("the folder {} is writable", folder.display())),
            Err(rustix::io::Errno::NOENT) => {
                found.ok(WHAT, format!("{} does not exist yet; the first start creates it", folder.display()));
            }
            Err(_) => {
                let advice = "Give it to this user with chown, or run this as the service's user.";
                found.problem(WHAT, format!("{} is not writable for this user", folder.display()), advice);
            }
        };
    }
    let examined = match Objects::open(&config.storage, &config.server.data_dir) {
        Ok(objects) => objects.examine().await,
        Err(error) => Err(error),
    };
    match examined {
        Ok(()) => found.ok(WHAT, format!("{} answers, and its objects can be listed", config.storage.url)),
        Err(error) => {
            let advice = "Check storage.url, endpoint, region and keys: until then, finished logs stay in Postgres and \
                          artifacts are lost.";
            found.problem(WHAT, format!("{} cannot be used: {error:#}", config.storage.url), advice);
        }
    }
}
