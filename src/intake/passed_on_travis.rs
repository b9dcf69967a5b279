//! The request of a delivery from Travis. Travis only names the repository, so what else is known of it comes from here.

use anyhow::Context as _;

use super::tries::NotYet;
use super::{Asked, Intake, stored};
use crate::store::deliveries::Delivery;
use crate::store::{builds, repos};
use crate::travis_ci::event::{self, Request};

impl Intake {
    /// Returns the build of a commit that has passed on Travis.
    pub(super) async fn passed_on_travis(&self, delivery: &Delivery) -> Result<Asked, NotYet> {
        let payload = event::parse(&delivery.body).map_err(|error| NotYet::Never(format!("{error:#}")))?;
        let mut trigger = match payload.request {
            Request::Build { trigger, .. } => *trigger,
            Request::Nothing(reason) => return Err(NotYet::Never(reason)),
        };
        let repo = repos::find(&self.db, &trigger.repo).await.context("looking for the repository")?;
        let known = match repo {
            Some(repo) => repos::facts(&self.db, repo).await.context("reading the repository")?,
            None => None,
        };
        let Some(known) = known else {
            return Err(NotYet::Never(format!("{} is not known here, or not any more", trigger.repo)));
        };
        let known = self.present(&known, delivery.tries).await?;
        trigger.repo = known.name.clone();
        // The payload does not say what was pushed since when. And what a failed build on Travis has changed was not
        // looked at here.
        if let Some(branch) = &trigger.branch {
            let last = builds::last_of_travis(&self.db, &trigger.repo, branch).await;
            trigger.before = last.context("reading the builds of the branch")?;
        }
        Ok(Asked::of(stored(known), trigger))
    }
}
