//! Buttons of check runs, and *Re-run*. GitHub has to have the check run, made by our App, for the commit that the
//! payload names.

use anyhow::Context as _;

use super::acts::{self, Done};
use super::{Case, no_right, unanswered};
use crate::domain::{Command, Sha};
use crate::github::{KnownCheck, SendError};
use crate::intake::Intake;
use crate::intake::tries::NotYet;
use crate::store::pulls::{self, Known};

/// Returns a check that GitHub has as the payload says.
fn proven(known: Result<Option<KnownCheck>, SendError>, sha: &Sha) -> Result<KnownCheck, NotYet> {
    let known = known.map_err(|error| unanswered(&error, "GitHub does not confirm the check"))?;
    let refused = |why: &str| NotYet::Refused(why.to_owned());
    let known = known.ok_or_else(|| refused("GitHub has no such check"))?;
    if !known.is_ours {
        return Err(refused("another App has made the check"));
    }
    if known.sha != *sha {
        return Err(refused("GitHub has the check for another commit"));
    }
    Ok(known)
}

impl Intake {
    pub(super) async fn obey_check_run(
        &self,
        case: &Case<'_>,
        id: i64,
        sha: &Sha,
        command: Option<Command>,
    ) -> Result<(), NotYet> {
        let check = proven(self.github.check_run(case.target(), id).await, sha)?;
        let no_build = || NotYet::Never("the build of the check run is not here any more".to_owned());
        let build = check.build.ok_or_else(no_build)?;
        let build = pulls::of_commit(&self.db, case.repo, build, sha).await.context("reading the build")?;
        self.on_builds(case, &[build.ok_or_else(no_build)?], command).await
    }

    pub(super) async fn obey_check_suite(&self, case: &Case<'_>, id: i64, sha: &Sha) -> Result<(), NotYet> {
        proven(self.github.check_suite(case.target(), id).await, sha)?;
        let builds = pulls::checked(&self.db, case.repo, sha).await.context("reading the builds")?;
        if builds.is_empty() {
            return Err(NotYet::Never(format!("no build of {} has a check run", sha.short())));
        }
        self.on_builds(case, &builds, None).await
    }

    /// Changes builds; without a command, all of their jobs run again.
    async fn on_builds(&self, case: &Case<'_>, builds: &[Known], command: Option<Command>) -> Result<(), NotYet> {
        let may_write = self.may_write(case, case.by).await?;
        let mut tx = self.db.begin().await.context("opening a transaction")?;
        self.record_request(&mut tx, case, !may_write).await?;
        if !may_write {
            return self.conclude(tx, case, None, &Done::impossible(no_right(case))).await;
        }
        let who = &case.by.login;
        let mut told = Vec::new();
        for build in builds {
            let done = match &command {
                None => acts::restart(&mut tx, build, who).await?,
                Some(Command::Cancel) => acts::cancel(&mut tx, build, who).await?,
                Some(Command::Approve) => match acts::approve_one(&mut tx, build.id, who).await? {
                    true => Done::impossible(format!("Approved build #{}.", build.number)),
                    false => Done::impossible(format!("Build #{} waits for no approval.", build.number)),
                },
                Some(_) => acts::retry(&mut tx, build, who).await?,
            };
            told.push(done.told);
        }
        self.conclude(tx, case, None, &Done::impossible(told.join(" "))).await
    }
}
