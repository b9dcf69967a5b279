//! Checkout images, which have most files of a large repository.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use crate::support::app::App;
use crate::support::docker;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};

/// Number of files: more than the minimum for a checkout image.
const FILES: usize = 2_200;

/// Checks of every job on its checkout, however its files got there. The second index has no times of files, so git
/// reads each file.
const CHECKS: &str = "test -z \"$(git status --porcelain)\" && git fsck --connectivity-only --no-dangling &&
  test \"$(git rev-parse HEAD)\" = \"$TRAVIS_COMMIT\" && git diff-index --quiet HEAD -- &&
  export GIT_INDEX_FILE=/tmp/index && git read-tree HEAD && git diff --quiet && unset GIT_INDEX_FILE";

/// A repository, and pushes to it.
struct Pushes<'a> {
    app: &'a App,
    repo: &'a Repo,
    job: i64,
}

impl Pushes<'_> {
    /// Writes a commit whose job checks its checkout.
    fn commit(&mut self, git: &str, script: &str) -> String {
        self.job += 1;
        self.repo.write("run", &self.job.to_string());
        let script = format!("language: shell\ngit: {git}\nscript:\n- |\n  {CHECKS}\n- {script}\n");
        self.repo.write(".travis.yml", &script);
        self.repo.commit("Change files")
    }

    /// Returns the log of the job, which must pass.
    async fn ended(&self, sha: &str, context: &str) -> String {
        let end = self.app.github.wait_for_end(sha, context).await;
        let log = String::from_utf8(self.app.log(self.job).await).unwrap();
        assert_eq!(end.state, "success", "{log}");
        log
    }

    async fn push(&mut self, branch: &str, git: &str, script: &str) -> String {
        let sha = self.commit(git, script);
        let payload = payload::push(&self.app.github, self.repo, branch);
        Delivery::new(&format!("push-{}", self.job), "push", &payload).post(&self.app.base).await;
        self.ended(&sha, "trainyard/push").await
    }

    /// Pushes until a job starts from a checkout image. Returns the commit of the image, and the job's log.
    async fn push_until_on_base(&mut self) -> (String, String) {
        for _ in 0..100 {
            let log = self.push("main", "{}", "test ! -f .git/shallow").await;
            if let Some((_, rest)) = log.split_once("$ git read-tree -m -u ") {
                return (rest.split(' ').next().unwrap().to_owned(), log);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("no job begins on an image of the files");
    }
}

/// Returns the checkout image, and its commit.
async fn base(app: &App) -> (String, String) {
    let images = docker::images(&app.db).await;
    let [image] = images.as_slice() else { panic!("one image: {images:?}") };
    (image.clone(), docker::label_of(image, "trainyard.checkout_image.commit"))
}

#[tokio::test]
async fn jobs_of_a_large_repository_write_only_what_differs() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    let mut pushes = Pushes { app: &app, repo: &repo, job: 0 };
    for n in 0..FILES {
        repo.write(&format!("data/{:02}/{n}.txt", n % 50), &format!("caption {n}\n"));
    }
    for n in 0..3 {
        repo.write("n", &n.to_string());
        repo.commit(&format!("Commit {n}"));
    }
    // No image is made of a branch other than the default one.
    repo.git(&["checkout", "--quiet", "-b", "feature"]);
    let feature = pushes.push("feature", "{}", "test ! -f .git/shallow").await;
    assert!(feature.contains("$ git checkout -qf "), "{feature}");
    repo.git(&["checkout", "--quiet", "main"]);
    let (base_commit, log) = pushes.push_until_on_base().await;
    assert!(log.contains("Image trainyard/minimal:bookworm (sha256:"), "{log}");
    let (image, commit) = base(&app).await;
    assert_eq!(commit, base_commit);
    assert!(!log.contains(&image), "the log names the job's image: {log}");
    repo.git(&["merge-base", "--is-ancestor", &base_commit, "main"]);

    // Every kind of change to a file.
    repo.write("data/01/1.txt", "another caption\n");
    repo.write("data/new/file.txt", "new\n");
    std::fs::remove_file(repo.work().join("data/02/2.txt")).unwrap();
    std::fs::remove_dir_all(repo.work().join("data/03")).unwrap();
    repo.write("data/03", "a file where a folder was\n");
    symlink("../run", repo.work().join("data/link")).unwrap();
    std::fs::set_permissions(repo.work().join("data/04/4.txt"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let there = "test -x data/04/4.txt -a -f data/03 -a ! -e data/02/2.txt && cat data/link data/new/file.txt";
    let changed = pushes.push("main", "{depth: 3}", &format!("{there} && test $(git rev-list --count HEAD) = 3")).await;
    let head = repo.head();
    assert!(changed.contains(&format!("$ git read-tree -m -u {base_commit} {head}")), "{changed}");
    let all = pushes.push("main", "{depth: false}", "test ! -f .git/shallow && git log --format=%s | tail -1").await;
    assert!(all.contains("git read-tree"), "{all}");

    // A fork's pull request also uses the image if its repository already has the commit.
    let before = repo.head();
    repo.git(&["checkout", "--quiet", "-b", "watercolour"]);
    let head = pushes.commit("{}", "cat data/01/1.txt");
    repo.git(&["checkout", "--quiet", "main"]);
    repo.open_pull_request(7, &before, &head);
    let opened = payload::pull_request(&app.github, &repo, 7, &before, &head);
    Delivery::new("fork", "pull_request", &opened).post(&app.base).await;
    let fork = pushes.ended(&head, "trainyard/pr").await;
    assert!(fork.contains("git read-tree") && fork.contains("another caption"), "{fork}");

    // A job without that commit in its history gets nothing that was not in its repository.
    repo.git(&["checkout", "--quiet", "--orphan", "other"]);
    let other = pushes.push("other", "{}", &format!("test -z \"$(git cat-file -t {base_commit} 2>/dev/null)\"")).await;
    assert!(other.contains("$ git checkout -qf "), "{other}");
    repo.git(&["checkout", "--quiet", "main"]);

    // Neither does a job whose files git would write in another way.
    let plain = pushes.push("main", "{symlinks: true}", "true").await;
    assert!(plain.contains("$ git checkout -qf "), "{plain}");
    repo.write(".gitattributes", "*.txt eol=crlf\n");
    repo.git(&["add", "--renormalize", "."]);
    let crlf = pushes.push("main", "{}", "grep -c $'\\r' data/01/1.txt").await;
    assert!(crlf.contains("$ git checkout -qf "), "{crlf}");
    std::fs::remove_file(repo.work().join(".gitattributes")).unwrap();

    // An image that its operator removed is made again.
    docker::remove_image(&image);
    let gone = pushes.push("main", "{}", "true").await;
    assert!(gone.contains("$ git checkout -qf "), "{gone}");
    let (again, _) = pushes.push_until_on_base().await;
    let (image, commit) = base(&app).await;
    assert!(commit == again && again != base_commit, "{again}");

    let db = app.db.clone();
    app.stop().await;
    docker::assert_no_containers(&db).await;
    docker::remove_image(&image);
}
