//! Docker's own view of our containers.

use std::process::Command;

use sqlx::PgPool;

fn docker(args: &[&str]) -> Vec<u8> {
    let output = Command::new("docker").args(args).output().expect("docker runs");
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

async fn filter(db: &PgPool) -> String {
    format!("label=trainyard.instance={}", trainyard::store::instance(db).await.unwrap())
}

/// Returns the container of a job, if Docker has one.
pub async fn container_of(db: &PgPool, job: i64) -> Option<String> {
    let instance = trainyard::store::instance(db).await.unwrap();
    of_name(&["--all"], &format!("trainyard-{}-{job}-[0-9]+", &instance[..8]))
}

/// Returns the running container with this name, a regular expression.
pub fn running(name: &str) -> Option<String> {
    of_name(&[], name)
}

fn of_name(which: &[&str], name: &str) -> Option<String> {
    let filter = format!("name=^/{name}$");
    let listed = docker(&[&["ps", "--no-trunc", "--filter", &filter, "--format", "{{.ID}}"], which].concat());
    String::from_utf8(listed).unwrap().lines().next().map(str::to_owned)
}

/// Lists the names of all containers of this installation.
pub async fn names(db: &PgPool) -> Vec<String> {
    let listed = docker(&["ps", "--all", "--filter", &filter(db).await, "--format", "{{.Names}}"]);
    String::from_utf8(listed).unwrap().lines().map(str::to_owned).collect()
}

/// Removes a container, as an accident would.
pub fn remove(container: &str) {
    docker(&["rm", "--force", container]);
}

/// Stops a container as an engine does at its shutdown: with a signal, and then another one.
pub fn stop(container: &str) {
    docker(&["stop", "--time", "1", container]);
}

/// Returns true if Docker has this container, in any state.
pub fn is_there(container: &str) -> bool {
    !docker(&["ps", "--all", "--quiet", "--filter", &format!("id={container}")]).is_empty()
}

/// Returns everything that a container prints, as `docker logs` reports it. Resolves when the container ends.
pub fn output_when_ended(container: &str) -> impl Future<Output = Vec<u8>> + use<> {
    let container = container.to_owned();
    let followed = tokio::task::spawn_blocking(move || docker(&["logs", "--follow", &container]));
    async move { followed.await.unwrap() }
}

/// Panics when Docker still has a container of this installation a few seconds after its jobs ended.
pub async fn assert_no_containers(db: &PgPool) {
    for _ in 0..100 {
        let left = docker(&["ps", "--all", "--quiet", "--filter", &filter(db).await]);
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!(
        "containers are left: {}",
        String::from_utf8_lossy(&docker(&["ps", "--all", "--filter", &filter(db).await]))
    );
}

/// Returns the container whose network a container uses, if the latter still exists.
pub fn network_of(container: &str) -> Option<String> {
    let output = std::process::Command::new("docker")
        .args(["inspect", "--format", "{{.HostConfig.NetworkMode}}", container])
        .output()
        .unwrap();
    let mode = String::from_utf8(output.stdout).unwrap();
    mode.trim().strip_prefix("container:").map(str::to_owned)
}

/// Returns the part of a configuration that lets jobs reach the host at [`bridge`].
pub fn reach_bridge() -> String {
    format!("limits = {{egress_allow = ['{}']}}", bridge())
}

/// Returns the address of the host on Docker's bridge, where containers reach it. Docker itself is not asked, because
/// it does not know the address between the first start of its daemon and the second.
pub fn bridge() -> String {
    let output =
        std::process::Command::new("ip").args(["-4", "-oneline", "address", "show", "docker0"]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let address = told.split_whitespace().skip_while(|word| *word != "inet").nth(1);
    address.and_then(|address| address.split('/').next()).expect("docker0 has an address").to_owned()
}

/// Lists the ids of the images that this installation has made, the newest first.
pub async fn images(db: &PgPool) -> Vec<String> {
    let listed = docker(&["images", "--quiet", "--no-trunc", "--filter", &filter(db).await]);
    String::from_utf8(listed).unwrap().lines().map(str::to_owned).collect()
}

/// Returns the value of an image's label.
pub fn label_of(image: &str, label: &str) -> String {
    let format = format!("{{{{index .Config.Labels {label:?}}}}}");
    String::from_utf8(docker(&["image", "inspect", "--format", &format, image])).unwrap().trim().to_owned()
}

/// Removes an image, as its operator would.
pub fn remove_image(id: &str) {
    docker(&["rmi", id]);
}

/// A further name of an image, which is removed at the end.
pub struct Tag {
    pub repository: String,
    name: String,
}

impl Tag {
    pub fn new(image: &str, purpose: &str, tag: &str) -> Self {
        let repository = format!("trainyard-test/{purpose}-{}", std::process::id());
        let name = format!("{repository}:{tag}");
        docker(&["tag", image, &name]);
        Self { repository, name }
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        // Another panic must not hide the first one.
        let _ = Command::new("docker").args(["rmi", &self.name]).output();
    }
}
