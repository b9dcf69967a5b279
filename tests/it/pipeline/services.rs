//! Packages, services and hosts that a job requests, in the image that it has.

use crate::support::app::App;
use crate::support::payload::{self, Delivery};

#[tokio::test]
async fn packages_are_installed_and_the_services_in_them_started() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(
        ".travis.yml",
        "language: shell\nservices: [redis, mongodb, docker]\naddons:\n  apt: {packages: [redis-server]}\n  hosts: [style.test]\n\
         script:\n  - redis-cli ping\n  - test \"$(redis-cli ping)\" = PONG\n  - grep '127.0.0.1 style.test' /etc/hosts\n",
    );
    let sha = repo.commit("Ask for things");
    Delivery::new("push", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let end = app.github.wait_for(std::time::Duration::from_secs(150), |p| p.sha == sha && p.state != "pending").await;
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert_eq!(end.state, "success", "{log}");
    assert!(log.contains("The image trainyard/minimal:bookworm has no service `mongodb`"), "{log}");
    assert!(log.contains("Docker is not available in a job"), "{log}");
    app.stop().await;
}

#[tokio::test]
async fn a_package_that_there_is_not_makes_the_job_errored() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(
        ".travis.yml",
        "language: shell\naddons: {apt: {packages: [no-such-package-as-this]}}\nscript: echo never\n",
    );
    let sha = repo.commit("Ask for nonsense");
    Delivery::new("push", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let end = app.github.wait_for(std::time::Duration::from_secs(150), |p| p.sha == sha && p.state != "pending").await;
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert_eq!(end.state, "error", "{log}");
    assert!(end.description.contains("apt-get") && !log.contains("echo never"), "{}\n{log}", end.description);
    app.stop().await;
}
