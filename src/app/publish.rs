//! The publishing of trainings: of weights, and of curves in an experiment tracker.

use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::endless;
use super::loops::publisher_loop;
use super::record::record;
use crate::config::Config;
use crate::github::Client;
use crate::publisher::Publisher;
use crate::storage::Objects;

/// Number of publications that are sent at once, each to another place.
const PUBLISHERS: usize = 2;

/// Returns the publisher of a configuration.
pub(super) fn publisher(
    config: &Config,
    db: &PgPool,
    (objects, instance): (&Objects, &str),
    github: &Client,
) -> Publisher {
    Publisher {
        db: db.clone(),
        objects: objects.clone(),
        permissions: config.publish.clone(),
        github: github.clone(),
        instance: instance.to_owned(),
        public_url: config.server.public_url.clone(),
    }
}

/// Publishes weights and curves until `shutdown`.
pub(super) fn publish(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    config: &Config,
    publisher: &Publisher,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    for _ in 0..PUBLISHERS {
        tasks.spawn(endless(publisher_loop(publisher.clone(), shutdown.clone())));
    }
    record(tasks, config, &publisher.db, &publisher.instance, shutdown)
}
