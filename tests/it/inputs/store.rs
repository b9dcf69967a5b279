//! The store of a machine, and what is removed from it.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::world::{LOOPBACK, fetch, inputs, noise, sha256};
use crate::support::files::FileServer;

const REPO: &str = "acme/styles";

#[tokio::test]
async fn the_least_used_inputs_go_unless_a_running_job_sees_them() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = inputs(folder.path(), &format!("{LOOPBACK}\nmax_size = '1 MB'\ntotal_size = '1 MB'"));
    let mut fetched = Vec::new();
    for size in [400_000, 400_001, 400_002] {
        let server = FileServer::start(noise(size)).await;
        fetched.push(fetch(&inputs, REPO, &server.url(), Some(&sha256(&noise(size)))).await.unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let later = SystemTime::now() + Duration::from_secs(3600);
    let in_use = HashSet::from([fetched[0].digest.clone()]);
    let removed = inputs.prune(later, || async { Ok(in_use) }).await.unwrap();
    assert_eq!(removed, 1, "there is room for two");
    assert_eq!([0, 1, 2].map(|one: usize| fetched[one].is_here()), [true, false, true]);
    let held = inputs.hold().await;
    let pruning = inputs.prune(later, || async { Ok(HashSet::new()) });
    assert!(tokio::time::timeout(Duration::from_millis(100), pruning).await.is_err(), "a job is about to use one");
    drop(held);
    assert_eq!(inputs.prune(later, || async { Ok(HashSet::new()) }).await.unwrap(), 0);
}
