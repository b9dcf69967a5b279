//! A train job that has passed, and a publisher for it, without a service around them.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use trainyard::domain::{AttemptId, JobId, Verdict};
use trainyard::hub::PublishConfig;
use trainyard::lora::series::{Point, Series};
use trainyard::publisher::Publisher;
use trainyard::storage::{Keys, Objects, StorageConfig};
use trainyard::store::output::artifacts::NewArtifact;
use trainyard::store::output::reports::Reports;
use trainyard::store::publications::{self, Publication, PublicationState};
use trainyard::store::queue::{self, Finish};

use crate::support::database;
use crate::support::hub::HubServer;

pub(super) const JOB: JobId = JobId(1);
pub(super) const TARGET: &str = "acme/ink";

pub(super) struct World {
    pub(super) hub: HubServer,
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

impl World {
    pub(super) async fn start() -> Self {
        Self::with(&usual(), publish()).await
    }

    /// Lets a job pass that has left these files.
    pub(super) async fn with(files: &[(&str, Vec<u8>)], publish: Value) -> Self {
        let hub = HubServer::start().await;
        let url = database::url().await;
        let db = PgPool::connect(&url).await.unwrap();
        trainyard::store::MIGRATOR.run(&db).await.unwrap();
        database::insert_build(&db, 12).await;
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::open(&StorageConfig::default(), folder.path()).unwrap();
        let permissions: toml::Table = toml::from_str(&hub.section()).unwrap();
        let permissions: PublishConfig = permissions["publish"].clone().try_into().unwrap();
        let publisher = Publisher {
            db: db.clone(),
            objects: objects.clone(),
            permissions,
            instance: "here".to_owned(),
            public_url: "https://ci.example.org".parse().unwrap(),
        };
        let world = Self { hub, db, publisher, objects, url, folder };
        world.pass(files, publish).await;
        world
    }

    async fn pass(&self, files: &[(&str, Vec<u8>)], publish: Value) {
        let config = json!({"train": {"config": "configs/ink.yaml", "publish": publish}});
        sqlx::query(
            "insert into job (build_id, repo_id, number, kind, config, state, attempt, runner, lease_until, started_at)
             values (1, 1, 3, 'train', $1, 'running', 1, 'local', now() + interval '1 minute', now())",
        )
        .bind(config)
        .execute(&self.db)
        .await
        .unwrap();
        let attempt = AttemptId { job: JOB, number: 1 };
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
    }

    /// Returns the publication, if the job has one.
    pub(super) async fn publication(&self) -> Option<Publication> {
        publications::of(&self.db, JOB).await.unwrap()
    }

    pub(super) async fn has_ended(&self) -> bool {
        self.publication().await.is_some_and(|publication| publication.state != PublicationState::Waiting)
    }

    /// Lets the time pass until the publication is due again, also if a dead process holds it.
    pub(super) async fn wait(&self) {
        sqlx::query("update publication set not_before = now(), held_until = now()").execute(&self.db).await.unwrap();
    }

    /// Tries until the publication has ended. Returns the number of tries.
    pub(super) async fn finish(&self) -> (u32, Publication) {
        for tries in 1..=20 {
            assert!(tokio::time::timeout(Duration::from_secs(30), self.publisher.step()).await.unwrap().unwrap());
            let publication = self.publication().await.unwrap();
            if publication.state != PublicationState::Waiting {
                return (tries, publication);
            }
            self.wait().await;
        }
        panic!("{:?}", self.publication().await);
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
