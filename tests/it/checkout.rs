//! The key `git`: how much of a repository a job sees.

use crate::support::app::App;
use crate::support::payload::{self, Delivery};

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
