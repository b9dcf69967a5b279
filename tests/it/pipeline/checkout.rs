//! The key `git`: the part of a repository that a job sees.

use crate::support::app::App;
use crate::support::docker;
use crate::support::git_host::{self, GitHost, Repo};
use crate::support::payload::{self, Delivery};

/// Starts a host for public repositories on Docker's bridge, where jobs reach it. Returns its address.
async fn public_host(root: &std::path::Path) -> String {
    let listener = tokio::net::TcpListener::bind((docker::bridge(), 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(git_host::serve).with_state(GitHost::new(root, None));
    #[expect(clippy::disallowed_methods, reason = "ends with the test")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test]
async fn submodules_are_cloned_by_the_job_itself() {
    let app = App::start(&docker::reach_bridge()).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let library = Repo::new(elsewhere.path(), "acme/library");
    library.write("library.txt", "from the library");
    library.commit("Library");
    let host = public_host(elsewhere.path()).await;
    let repo = app.github.repo("acme/styles");
    let modules = format!("[submodule \"library\"]\n\tpath = library\n\turl = {host}/acme/library.git\n");
    repo.write(".gitmodules", &modules);
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},library", library.head())]);
    for (job, (git, script)) in
        [("{}", "grep from library/library.txt"), ("{submodules: false}", "! test -e library/library.txt")]
            .into_iter()
            .enumerate()
    {
        repo.write(".travis.yml", &format!("language: shell\ngit: {git}\nscript: '{script}'\n"));
        repo.git(&["add", ".travis.yml", ".gitmodules"]);
        repo.git(&["commit", "--quiet", "-m", "Use the library"]);
        repo.git(&["push", "--quiet", "--force", "origin", "HEAD"]);
        let sha = repo.head();
        Delivery::new(&format!("push-{job}"), "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
        let end = app.github.wait_for_end(&sha, "trainyard/push").await;
        let log = String::from_utf8(app.log(i64::try_from(job).unwrap() + 1).await).unwrap();
        assert_eq!(end.state, "success", "{git}: {log}");
    }
    app.stop().await;
}

#[tokio::test]
async fn depth_sparse_checkout_and_no_clone() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write("sparse", "/kept\n");
    repo.write("kept/file", "kept");
    repo.write("left/file", "left");
    for n in 0..5 {
        repo.write("n", &n.to_string());
        repo.commit(&format!("Commit {n}"));
    }
    for (number, (git, script)) in [
        ("{}", "test $(git rev-list --count HEAD) = 6"),
        ("{depth: 2}", "test $(git rev-list --count HEAD) = 2"),
        ("{depth: false}", "test $(git rev-list --count HEAD) = 8 && ! test -f .git/shallow"),
        ("{sparse_checkout: sparse}", "test -f kept/file && ! test -e left && ! test -e sparse"),
        (
            "{autocrlf: input, symlinks: false}",
            "test $(git config core.autocrlf) = input && test $(git config core.symlinks) = false",
        ),
        ("{clone: false}", "test -z \"$(ls -A)\""),
    ]
    .into_iter()
    .enumerate()
    {
        repo.write(".travis.yml", &format!("language: shell\ngit: {git}\nscript: '{script}'\n"));
        let sha = repo.commit("Look");
        let delivery = Delivery::new(&format!("push-{number}"), "push", &payload::push(&app.github, &repo, "main"));
        delivery.post(&app.base).await;
        let end = app.github.wait_for_end(&sha, "trainyard/push").await;
        let log = String::from_utf8(app.log(i64::try_from(number).unwrap() + 1).await).unwrap();
        assert_eq!(end.state, "success", "{git}: {log}");
    }
    app.stop().await;
}
