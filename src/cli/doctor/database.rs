//! Postgres: the configured server, or the private cluster.

use chrono::TimeDelta;
use sqlx::postgres::PgConnectOptions;

use super::Findings;
use crate::config::Config;
use crate::store::postgres::examine::{self, Schema};

const WHAT: &str = "Postgres";
/// The oldest version that is tested.
const OLDEST: u32 = 15;
/// The times on pages come from the database, those in messages from here.
const MOST_APART: TimeDelta = TimeDelta::seconds(5);

pub(super) async fn check(config: &Config, found: &mut Findings) {
    match config.database.options() {
        Err(error) => found.failure(WHAT, &error),
        Ok(Some(options)) => server("the one of database.url", &options, config, found).await,
        Ok(None) => private(config, found).await,
    }
}

async fn private(config: &Config, found: &mut Findings) {
    match examine::private(&config.server.data_dir).await {
        Err(error) => found.failure(WHAT, &error),
        Ok(cluster) => match cluster.running {
            Some(options) => server("the private one", &options, config, found).await,
            None => {
                let major = cluster.version.split('.').next().and_then(|major| major.parse().ok());
                old(&cluster.version, major, found);
                let made = if cluster.is_made { "does not run now" } else { "is made by the first start" };
                found.ok(WHAT, format!("the private one, {}; it {made}", cluster.version));
            }
        },
    }
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
            let advice = "Start it, or correct database.url: host, port, user, password and the database's name.";
            return found.problem(WHAT, format!("{which} does not let us in: {error:#}"), advice);
        }
    };
    found.ok(WHAT, format!("{which}, {}", database.version));
    old(&database.version, Some(database.major), found);
    match database.schema {
        Schema::Current => found.ok("schema", "is up to date"),
        Schema::Behind(missing) => found.ok("schema", format!("{missing} to be migrated by the next start")),
        Schema::Newer(version) => found.problem(
            "schema",
            format!("a newer Trainyard has used this database (migration {version})"),
            "Install that version or a newer one, or name another database.",
        ),
        Schema::Foreign(version) => found.problem(
            "schema",
            format!("migration {version} was made by another program, or broke off"),
            "Name another database in database.url, or bring this one back from a backup.",
        ),
    }
    if database.max_connections < config.database.connections {
        let (allowed, wanted) = (database.max_connections, config.database.connections);
        let told = format!("the server allows {allowed}, and database.connections wants {wanted}");
        found.problem("connections", told, "Raise max_connections of the server, or lower database.connections.");
    }
    let apart = database.ahead.num_milliseconds().abs();
    if TimeDelta::milliseconds(apart) > MOST_APART {
        let told = format!("the clocks of Postgres and of this machine are {} s apart", apart / 1000);
        found.warning("clock", told, "Let both follow a time server, with chrony or systemd-timesyncd.");
    } else {
        found.ok("clock", format!("agrees with that of Postgres to {apart} ms"));
    }
}
