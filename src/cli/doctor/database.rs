//! Postgres: the configured server, or the private cluster.

use chrono::TimeDelta;
use sqlx::postgres::PgConnectOptions;

use super::Findings;
use crate::config::Config;
use crate::domain::RepoName;
use crate::store::postgres::examine::{self, Schema};

const WHAT: &str = "Postgres";
/// Oldest version that is tested.
const OLDEST: u32 = 15;
/// Maximum difference of the two clocks: the times on pages come from the database, those in messages from this
/// machine.
const MOST_APART: TimeDelta = TimeDelta::seconds(5);

pub(super) async fn check(config: &Config, found: &mut Findings) {
    match config.database.options() {
        Err(error) => found.failure(WHAT, &error),
        Ok(Some(options)) => server("the server of database.url", &options, config, found).await,
        Ok(None) => private(config, found).await,
    }
}

async fn private(config: &Config, found: &mut Findings) {
    match examine::private(&config.server.data_dir).await {
        Err(error) => found.failure(WHAT, &error),
        Ok(cluster) => match cluster.running {
            Some(options) => server("the private server", &options, config, found).await,
            None => {
                let major = cluster.version.split('.').next().and_then(|major| major.parse().ok());
                old(&cluster.version, major, found);
                let made = if cluster.is_made { "is not running" } else { "is created by the first start" };
                found.ok(WHAT, format!("the private server, {}; it {made}", cluster.version));
            }
        },
    }
}

/// Lists the repositories that the service has built lately, if its database can be read.
pub(super) async fn repositories(config: &Config) -> Vec<RepoName> {
    let options = match config.database.options() {
        Ok(Some(options)) => Some(options),
        Ok(None) => examine::private(&config.server.data_dir).await.ok().and_then(|cluster| cluster.running),
        Err(_) => None,
    };
    let Some(options) = options else { return Vec::new() };
    examine::repositories(&options).await.unwrap_or_default()
}

fn old(version: &str, major: Option<u32>, found: &mut Findings) {
    if major.is_some_and(|major| major < OLDEST) {
        found.problem(WHAT, format!("version {version} is too old"), &format!("Install version {OLDEST} or newer."));
    }
}

async fn server(which: &str, options: &PgConnectOptions, config: &Config, found: &mut Findings) {
    let database = match examine::database(options).await {
        Ok(database) => database,
        Err(error) => {
            let advice = "Start it, or correct database.url: host, port, user, password and database name.";
            return found.problem(WHAT, format!("cannot connect to {which}: {error:#}"), advice);
        }
    };
    found.ok(WHAT, format!("{which}, {}", database.version));
    old(&database.version, Some(database.major), found);
    match database.schema {
        Schema::Current => found.ok("schema", "is up to date"),
        Schema::Behind(missing) => found.ok("schema", format!("migrations for the next start to run: {missing}")),
        Schema::Newer(version) => found.problem(
            "schema",
            format!("a newer Trainyard has used this database (migration {version})"),
            "Install that version or a newer one, or use another database.",
        ),
        Schema::Foreign(version) => found.problem(
            "schema",
            format!("migration {version} belongs to another program, or was interrupted"),
            "Set database.url to another database, or restore this one from a backup.",
        ),
    }
    let (allowed, wanted) = (database.max_connections, config.database.most_connections());
    if allowed < wanted {
        let told = format!("the server allows {allowed}, and this process may hold {wanted}");
        found.problem("connections", told, "Raise max_connections of the server, or lower database.connections.");
    }
    let apart = database.ahead.num_milliseconds().abs();
    if TimeDelta::milliseconds(apart) > MOST_APART {
        let told = format!("the clocks of Postgres and of this machine are {} s apart", apart / 1000);
        found.warning("clock", told, "Synchronize both with a time server, by chrony or systemd-timesyncd.");
    } else {
        found.ok("clock", format!("agrees with Postgres's clock within {apart} ms"));
    }
}
