//! The key `import`: files of the commit, files of other repositories, and files that a build must not read.

use std::os::unix::fs::symlink;
use std::process::Command;

use sqlx::Row as _;

use crate::support::app::App;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};

/// Content of a private repository, which only some builds may read.
const PRIVATE: &str = "env: {global: [PRIVATE=hunter2]}\nscript: echo private steps\n";

async fn pushed(app: &App, repo: &Repo, config: &str) -> (String, String) {
    repo.write(".travis.yml", config);
    let sha = repo.commit("Push");
    Delivery::new(&sha, "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    (end.state, end.description)
}

/// Lists the errors among the problems of the last build, each with its place.
async fn errors(app: &App) -> Vec<String> {
    let query = "select file, line, message from problem where severity = 'error' \
                 and build_id = (select max(id) from build) order by position";
    let row = |row: sqlx::postgres::PgRow| {
        let (file, line): (Option<String>, Option<i32>) = (row.get(0), row.get(1));
        format!("{}:{}: {}", file.unwrap_or_default(), line.unwrap_or_default(), row.get::<String, _>(2))
    };
    sqlx::query(query).fetch_all(&app.db).await.unwrap().into_iter().map(row).collect()
}

#[tokio::test]
async fn files_of_the_commit_and_of_other_repositories() {
    let app = App::start("").await;
    let (repo, private, public) =
        (app.github.repo("acme/styles"), app.github.repo("acme/shared"), app.github.repo("other/ci"));
    app.github.git.publish("other/ci");
    private.write("ci.yml", PRIVATE);
    private.commit("Steps");
    public.write("ci/one.yml", "import: ./two.yml\nbefore_script: echo of a tag\n");
    public.write("ci/two.yml", "before_install: echo beside it\n");
    public.commit("One");
    public.git(&["tag", "-a", "v1", "-m", "One"]);
    public.git(&["push", "--quiet", "origin", "v1"]);
    public.write("ci/one.yml", "before_script: echo not of the tag\n");
    public.commit("Two");
    repo.write("ci/local.yml", "language: shell\nbefore_script: exit 1\nafter_script: echo of the commit\n");
    let config = "import:\n- other/ci:ci/one.yml@v1\n- acme/shared:ci.yml\n- ci/local.yml\n";
    let (state, description) = pushed(&app, &repo, config).await;
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert_eq!(state, "success", "{description}: {log}");
    for said in ["of a tag\n", "beside it\n", "private steps\n", "of the commit\n"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    assert_eq!(app.github.git.saw_token("acme/shared"), Some(true));
    assert_eq!(app.github.git.saw_token("other/ci"), Some(false), "strangers do not get the token");
    app.stop().await;
}

#[tokio::test]
async fn a_forks_pull_request_reads_no_private_repository() {
    let app = App::start("").await;
    let (repo, private) = (app.github.repo("acme/styles"), app.github.repo("acme/shared"));
    private.write("ci.yml", PRIVATE);
    let commit = private.commit("Steps");
    // The mirror of the private repository has the file, and builds of its owner may read it.
    let (state, description) = pushed(&app, &private, "language: shell\nscript: 'true'\n").await;
    assert_eq!(state, "success", "{description}");
    let (state, description) = pushed(&app, &repo, "language: shell\nimport: acme/shared:ci.yml\n").await;
    assert_eq!(state, "success", "{description}");
    let base = repo.head();
    repo.git(&["checkout", "--quiet", "-b", "watercolour"]);
    let config = format!("language: shell\nimport: [acme/shared:ci.yml, 'acme/shared:ci.yml@{commit}']\n");
    repo.write(".travis.yml", &config);
    let head = repo.commit("Look");
    repo.open_pull_request(7, &base, &head);
    let opened = payload::pull_request(&app.github, &repo, 7, &base, &head);
    Delivery::new("fork", "pull_request", &opened).post(&app.base).await;
    let end = app.github.wait_for_end(&head, "trainyard/pr").await;
    assert_eq!(end.state, "error", "{}", end.description);
    let why = "there is no repository acme/shared, or this build may not read it";
    let errors = errors(&app).await;
    assert_eq!(
        errors,
        [
            format!(".travis.yml:2: acme/shared:ci.yml cannot be imported: {why}"),
            format!(".travis.yml:2: acme/shared:ci.yml@{commit} cannot be imported: {why}"),
        ]
    );
    let told: String =
        sqlx::query_scalar("select string_agg(p::text, '') from problem p").fetch_one(&app.db).await.unwrap();
    assert!(!told.contains("hunter2"), "{told}");
    app.stop().await;
}

#[tokio::test]
async fn imports_that_cannot_be_had_end_in_an_error_that_says_why() {
    let app = App::start("").await;
    let (repo, shared) = (app.github.repo("acme/styles"), app.github.repo("acme/shared"));
    repo.write("real.yml", "language: shell\n");
    symlink("/etc/passwd", repo.work().join("passwd.yml")).unwrap();
    symlink("real.yml", repo.work().join("link.yml")).unwrap();
    shared.write("folder/a.yml", "language: shell\n");
    shared.write("large.yml", &"# filler\n".repeat(200_000));
    symlink("folder/a.yml", shared.work().join("link.yml")).unwrap();
    shared.commit("Shared");
    app.github.repo("acme/empty");
    let none = "the commit has no regular file of that name";
    for (import, why) in [
        ("missing.yml", none),
        ("passwd.yml", none),
        ("link.yml", none),
        (".git/config.yml", "is not a valid import source"),
        ("../../etc/passwd", "is not a valid import source"),
        ("/etc/passwd.yml", "is not a valid import source"),
        ("real.yml@--upload-pack=true", "is not a valid import source"),
        ("acme/shared:a.yml", "there is no such file"),
        ("acme/shared:folder", "it is not a regular file"),
        ("acme/shared:link.yml", "it is not a regular file"),
        ("acme/shared:large.yml", "it is larger than 1000000 bytes"),
        ("acme/shared:folder/a.yml@v9", "acme/shared has no branch or tag v9"),
        ("acme/shared:folder/a.yml@0123456789abcdef0123456789abcdef01234567", "acme/shared has no such commit"),
        ("acme/empty:a.yml", "acme/empty is empty"),
        ("acme/none:a.yml", "there is no repository acme/none, or this build may not read it"),
    ] {
        let (state, _) = pushed(&app, &repo, &format!("script: echo never\nimport: {import}\n")).await;
        let errors = errors(&app).await;
        assert_eq!((state.as_str(), errors.len()), ("error", 1), "{import}: {errors:?}");
        assert!(errors[0].starts_with(".travis.yml:2: ") && errors[0].contains(import), "{errors:?}");
        assert!(errors[0].contains(why), "{errors:?}");
    }
    let jobs: i64 = sqlx::query_scalar("select count(*) from job").fetch_one(&app.db).await.unwrap();
    assert_eq!(jobs, 0, "nothing ran");
    app.stop().await;
}

#[test]
fn the_plan_of_a_folder_reads_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| std::fs::write(folder.path().join(path), text).unwrap();
    std::fs::create_dir(folder.path().join("ci")).unwrap();
    write("ci/base.yml", "import: ./more.yml\nlanguage: python\npython: ['3.10', '3.11']\n");
    write("ci/more.yml", "script: pytest\n");
    symlink("ci", folder.path().join("linked")).unwrap();
    let plan = |config: &str| {
        write(".travis.yml", config);
        let output = Command::new(env!("CARGO_BIN_EXE_trainyard")).arg("plan").arg(folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = plan("import: [ci/base.yml, acme/shared:ci.yml]\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(".travis.yml:1:23: warning: acme/shared:ci.yml is not on this machine"), "{said}");
    assert!(said.contains("python 3.10") && said.contains("python 3.11"), "{said}");
    for (import, why) in [
        ("ci/none.yml", "there is no file"),
        ("linked/base.yml", "is a symbolic link"),
        ("ci/../../base.yml", "is not a valid import source"),
    ] {
        let (code, said) = plan(&format!("import: {import}\n"));
        assert!(code == Some(1) && said.contains(".travis.yml:1:9: error: ") && said.contains(why), "{import}: {said}");
    }
}
