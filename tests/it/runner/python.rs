//! Jobs that ask for a version of Python without an image.

use serde_json::Value;

use super::remote::Yard;
use crate::support::docker;
use crate::support::service::Service;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

async fn get(service: &Service, path: &str) -> String {
    reqwest::get(format!("{}{path}", service.base)).await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nearest_version_runs_with_a_warning_in_the_log_and_on_the_pages() {
    let tag = docker::Tag::new("trainyard/cpu:3.11", "near", "3.11");
    let yard = Yard::new().await;
    let change = format!(
        "limits = {{network = 'none'}}\nimages = {{python = '{}:{{version}}', python_missing = 'nearest'}}",
        tag.repository
    );
    let service = Service::start(PROGRAM.as_ref(), &yard.config("data", &change));
    let travis = "language: python\npython: ['3.10', '3.11', '2.7']\ninstall: skip\n\
                  script: echo \"asked $TRAVIS_PYTHON_VERSION, got $(python --version)\"\n";
    let sha = yard.push(&service.base, "acme/near", travis).await;
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "error", "{}", service.said());
    let warning =
        "Python 3.10, which this job asks for, has no image on this runner: the job runs with Python 3.11.".to_owned();
    let log = async |job| String::from_utf8(yard.log(job).await).unwrap();
    assert!(log(1).await.contains(&warning) && log(1).await.contains("asked 3.10, got Python 3.11."));
    assert!(!log(2).await.contains("has no image") && log(2).await.contains("asked 3.11, got Python 3.11."));
    let refused = "Python 2.7, which this job asks for, has no image on this runner, which has Python 3.11, and none of \
                   it can stand in: choose another version, or build or pull ";
    assert!(log(3).await.contains(refused), "{}", log(3).await);
    assert!(get(&service, "/acme/near/builds/1/jobs/1").await.contains(&warning));
    assert_eq!(get(&service, "/acme/near/builds/1").await.matches(&warning).count(), 1, "of the first job alone");
    let build: Value = serde_json::from_str(&get(&service, "/api/v1/repos/acme/near/builds/1").await).unwrap();
    let jobs = &build["jobs"];
    assert_eq!((&jobs[0]["warning"], &jobs[1]["warning"]), (&warning.into(), &Value::Null), "{build:#}");
    assert_eq!(service.interrupt(), Some(0));
    docker::assert_no_containers(&yard.db).await;
}
