//! Settings of single repositories, as Travis keeps them in a repository's settings: the limit on its jobs, and the
//! cancels of builds that are superseded.

use std::collections::BTreeMap;

use serde::Deserialize;
use sqlx::PgPool;

use crate::domain::{RepoName, Trigger};
use crate::github::Scope;
use crate::store::queue::superseded::Cancels;
use crate::store::repos;

/// Settings of a repository, or of all repositories of an owner. What is not set has the value for everyone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RepositorySettings {
    /// Number of its jobs that run at once, in place of `queue.slots_per_repository`; 0 for any number.
    pub slots: Option<u16>,
    /// True if a push cancels older builds of its branch.
    pub cancel_pushes: Option<bool>,
    /// True if a new commit of a pull request cancels its older builds.
    pub cancel_pull_requests: Option<bool>,
    /// True if running builds are canceled too, in place of `travis.cancel_running`.
    pub cancel_running: Option<bool>,
}

/// `[repositories]` of the configuration: settings by owner or repository.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct RepositoriesConfig(BTreeMap<Scope, RepositorySettings>);

impl RepositoriesConfig {
    /// Returns the settings of a repository. Each value comes from the narrowest name that has it.
    pub fn of(&self, repo: &RepoName) -> RepositorySettings {
        let mut settings = RepositorySettings::default();
        for named in Scope::around(repo).iter().filter_map(|scope| self.0.get(scope)) {
            settings.slots = settings.slots.or(named.slots);
            settings.cancel_pushes = settings.cancel_pushes.or(named.cancel_pushes);
            settings.cancel_pull_requests = settings.cancel_pull_requests.or(named.cancel_pull_requests);
            settings.cancel_running = settings.cancel_running.or(named.cancel_running);
        }
        settings
    }

    /// Returns true if any repository has a limit of its own.
    pub fn have_slots(&self) -> bool {
        self.0.values().any(|settings| settings.slots.is_some())
    }

    /// Stores the limits of the known repositories, for the queue. Intake stores those of new ones.
    ///
    /// # Errors
    /// Fails when Postgres does not answer.
    pub async fn store(&self, db: &PgPool) -> sqlx::Result<()> {
        let mut connection = db.acquire().await?;
        for (repo, name) in repos::all(db).await? {
            let slots = name.parse().ok().and_then(|name| self.of(&name).slots);
            repos::set_slots(&mut connection, repo, slots).await?;
        }
        Ok(())
    }
}

impl RepositorySettings {
    /// Returns the older builds that a build of this trigger cancels; `None` for none.
    pub(super) fn cancels(self, trigger: &Trigger, usual: Cancels) -> Option<Cancels> {
        let setting = if trigger.pull_request.is_some() { self.cancel_pull_requests } else { self.cancel_pushes };
        let cancels = match self.cancel_running {
            Some(true) => Cancels::Running,
            Some(false) => Cancels::Queued,
            None => usual,
        };
        setting.unwrap_or(true).then_some(cancels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_comes_from_the_narrowest_name_that_has_it() {
        let config: RepositoriesConfig = toml::from_str(
            "acme = {slots = 4, cancel_running = true}\n'Acme/Styles' = {slots = 0, cancel_pushes = false}",
        )
        .unwrap();
        let of = |name: &str| config.of(&name.parse().unwrap());
        let styles = RepositorySettings {
            slots: Some(0),
            cancel_pushes: Some(false),
            cancel_pull_requests: None,
            cancel_running: Some(true),
        };
        assert_eq!(of("ACME/styles"), styles);
        assert_eq!(of("acme/other").slots, Some(4));
        assert_eq!(of("bob/styles"), RepositorySettings::default());
        let push = Trigger::push("acme/styles".parse().unwrap(), "main", "0".repeat(40).parse().unwrap());
        assert_eq!(styles.cancels(&push, Cancels::Queued), None);
        assert_eq!(of("acme/other").cancels(&push, Cancels::Queued), Some(Cancels::Running));
        assert_eq!(of("bob/styles").cancels(&push, Cancels::Queued), Some(Cancels::Queued));
        assert!(toml::from_str::<RepositoriesConfig>("acme = {slot = 4}").is_err());
    }
}
