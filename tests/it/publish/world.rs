//! A train job that has passed, and a publisher for it, without a service around them.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use trainyard::domain::{AttemptId, JobId, Verdict};
use trainyard::github::Client;
use trainyard::lora::series::{Point, Series};
use trainyard::permits::PublishConfig;
use trainyard::publisher::Publisher;
use trainyard::storage::{Keys, Objects, StorageConfig};
use trainyard::store::output::artifacts::NewArtifact;
use trainyard::store::output::reports::Reports;
use trainyard::store::publications::{self, Publication};
use trainyard::store::queue::{self, Finish};

use crate::support::database;
use crate::support::github::{self, GitHub};
use crate::support::hub::HubServer;
use crate::support::s3::S3;
use crate::support::trouble::Trouble;

pub(super) const JOB: JobId = JobId(1);
pub(super) const TARGET: &str = "acme/ink";

pub(super) struct World {
    pub(super) hub: HubServer,
    pub(super) github: GitHub,
    pub(super) s3: S3,
    /// Trouble with the requests to all of them.
    pub(super) trouble: Trouble,
    pub(super) db: PgPool,
    pub(super) publisher: Publisher,
    pub(super) objects: Objects,
    /// URL of the database, and the data folder.
    pub(super) url: String,
    pub(super) folder: tempfile::TempDir,
}

/// Returns the files of a usual training: weights in three parts, and things that are not published.
pub(super) fn usual() -> Vec<(&'static str, Vec<u8>)> {
    let weights: Vec<u8> = (0..2_500_000_u32).map(|n| (n % 251) as u8).collect();
    vec![
        ("ink.safetensors", weights),
        ("small.safetensors", b"small weights".to_vec()),
        ("ink-000010.safetensors", b"an earlier step".to_vec()),
        ("checkpoint-3/adapter_model.safetensors", b"a checkpoint".to_vec()),
        ("provenance.json", b"{}\n".to_vec()),
        ("metrics.json", b"{}".to_vec()),
    ]
}

pub(super) fn publish() -> Value {
    json!({
        "huggingface": TARGET, "private": true, "license": "apache-2.0", "base_model": "runwayml/stable-diffusion-v1-5",
        "tags": ["style"], "tag": "build-{build}",
    })
}

/// Returns the permissions to publish at all stand-ins.
pub(super) fn section(hub: &HubServer, s3: &S3) -> String {
    format!("[publish]\nreleases = [\"acme/*\"]\n{}{}", hub.section(), s3.publish_section())
}

/// Returns a client of the stand-in for GitHub.
pub(super) fn client(github: &GitHub) -> Client {
    let config = format!("api_url = {:?}\ntoken = {:?}\ntimeout = '2s'\n", github.api_url(), github::TOKEN);
    Client::new(&toml::from_str(&config).unwrap()).unwrap()
}

impl World {
    pub(super) async fn start() -> Self {
        Self::with(&usual(), publish()).await
    }

    /// Lets a job pass that has left these files.
    pub(super) async fn with(files: &[(&str, Vec<u8>)], publish: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trouble = Trouble::default();
        let (hub, s3) = (HubServer::with(trouble.clone()).await, S3::with(trouble.clone()).await);
        let github = GitHub::with(folder.path().join("github"), trouble.clone()).await;
        let url = database::url().await;
        let db = PgPool::connect(&url).await.unwrap();
        trainyard::store::MIGRATOR.run(&db).await.unwrap();
        database::insert_build(&db, 12).await;
        let objects = Objects::open(&StorageConfig::default(), folder.path()).unwrap();
        let permissions: toml::Table = toml::from_str(&section(&hub, &s3)).unwrap();
        let permissions: PublishConfig = permissions["publish"].clone().try_into().unwrap();
        let publisher = Publisher {
            db: db.clone(),
            objects: objects.clone(),
            permissions,
            github: client(&github),
            instance: "here".to_owned(),
            public_url: "https://ci.example.org".parse().unwrap(),
        };
        let world = Self { hub, github, s3, trouble, db, publisher, objects, url, folder };
        world.pass(3, files, publish).await;
        world
    }

    /// Lets one more job pass, with this number in the build. Returns its id.
    pub(super) async fn pass(&self, number: i32, files: &[(&str, Vec<u8>)], publish: Value) -> JobId {
        let config = json!({"train": {"config": "configs/ink.yaml", "publish": publish}});
        let job: JobId = sqlx::query_scalar(
            "insert into job (build_id, repo_id, number, kind, config, state, attempt, runner, lease_until, started_at)
             values ((select max(id) from build), 1, $2, 'train', $1, 'running', 1, 'local', now() + interval '1 minute', now())
             returning id",
        )
        .bind(config)
        .bind(number)
        .fetch_one(&self.db)
        .await
        .unwrap();
        let attempt = AttemptId { job, number: 1 };
        let mut artifacts = Vec::new();
        for (path, bytes) in files {
            let key = Keys { instance: "here".to_owned() }.artifact(trainyard::domain::RepoId(1), false, attempt, path);
            let mut object = self.objects.begin(&key);
            object.write(bytes.clone().into()).await.unwrap();
            object.finish().await.unwrap();
            let (size, sha256) = (bytes.len() as u64, Sha256::digest(bytes).into());
            artifacts.push(NewArtifact { path: (*path).to_owned(), key, size, sha256 });
        }
        let points = vec![Point { step: 1, value: 0.9 }, Point { step: 40, value: 0.1 }];
        let training = json!({
            "conditions": [{"name": "gate-loss", "holds": true, "told": "the mean of the last 50 steps is 0.1"}],
            "saved": [],
        });
        let reports =
            Reports { training, loss: Series { points, ..Series::default() }, artifacts, ..Reports::default() };
        let end =
            Finish { verdict: Verdict::Passed, exit_status: Some(0), reason: None, tail: b"", offset: 0, reports };
        assert!(queue::finish(&self.db, attempt, &end).await.unwrap());
        job
    }

    /// Returns the publications of the first job.
    pub(super) async fn publications(&self) -> Vec<Publication> {
        publications::of(&self.db, JOB).await.unwrap()
    }

    /// Returns the first publication of the first job, if it has one.
    pub(super) async fn publication(&self) -> Option<Publication> {
        self.publications().await.into_iter().next()
    }

    /// Returns true if no publication is on its way.
    pub(super) async fn has_ended(&self) -> bool {
        sqlx::query_scalar("select not exists (select from publication where state = 'waiting')")
            .fetch_one(&self.db)
            .await
            .unwrap()
    }

    /// Waits until a request has come, and a moment more for its effect.
    pub(super) async fn hangs(&self, request: usize) {
        while self.trouble.asked().len() <= request {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    /// Lets the time pass until the publication is due again, also if a dead process holds it.
    pub(super) async fn wait(&self) {
        sqlx::query("update publication set not_before = now(), held_until = now()").execute(&self.db).await.unwrap();
    }

    /// Lets the pause before the next try pass.
    pub(super) async fn skip_pauses(&self) {
        sqlx::query("update publication set not_before = now() where not_before > now()")
            .execute(&self.db)
            .await
            .unwrap();
    }

    /// Tries until the publication has ended. Returns the number of tries.
    pub(super) async fn finish(&self) -> (u32, Publication) {
        for tries in 1..=20 {
            assert!(tokio::time::timeout(Duration::from_secs(30), self.publisher.step()).await.unwrap().unwrap());
            if self.has_ended().await {
                return (tries, self.publication().await.unwrap());
            }
            self.wait().await;
        }
        panic!("{:?}", self.publication().await);
    }

    /// Panics unless a job was published exactly once to each place.
    pub(super) fn assert_published_everywhere(&self, job: i32) {
        let tag = format!("job-{job}-of-12");
        let repository = self.hub.repository(TARGET).unwrap();
        let title = format!("Weights of acme/styles build 12, job {job}");
        let ours: Vec<_> = repository.commits.iter().filter(|commit| commit.title == title).collect();
        assert_eq!((ours.len(), repository.tags.get(&tag)), (1, Some(&ours[0].id)), "{title}");
        let releases: Vec<_> = self.github.releases.all().into_iter().filter(|release| release.tag == tag).collect();
        let [release] = &releases[..] else { panic!("{releases:?}") };
        let mut names: Vec<&str> = release.assets.iter().map(|asset| asset.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["SHA256SUMS", "ink.safetensors", "provenance.json", "small.safetensors"], "{tag}");
        assert!(!release.draft && release.assets.iter().all(|asset| asset.is_whole), "{release:?}");
        for name in [".trainyard", "README.md", "SHA256SUMS", "ink.safetensors", "provenance.json", "small.safetensors"]
        {
            assert!(self.s3.object(&format!("models/{job}/12/{name}")).is_some(), "{job}: {name}");
        }
    }

    /// Panics unless the Hub has exactly one commit of ours, with the right files and the tag, and saw no wrong request.
    pub(super) fn assert_published_once(&self) {
        let repository = self.hub.repository(TARGET).unwrap();
        let ours: Vec<_> = repository.commits.iter().filter(|commit| commit.title.starts_with("Weights of")).collect();
        let titles: Vec<&str> = repository.commits.iter().map(|commit| commit.title.as_str()).collect();
        assert_eq!(ours.len(), 1, "{titles:?}");
        let names: Vec<&str> = ours[0].tree.keys().map(String::as_str).collect();
        for name in ["README.md", "ink.safetensors", "provenance.json", "small.safetensors"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("0010") || name.contains('/')), "{names:?}");
        assert_eq!(repository.tags.get("build-12"), Some(&ours[0].id));
        assert_eq!(self.hub.wrong(), Vec::<String>::new());
    }
}
