//! Repositories.

use std::collections::HashMap;

use axum::Json;
use axum::extract;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};

use super::described::BuildAnswer;
use crate::domain::{RepoId, Right};
use crate::web::State;
use crate::web::access::{self, Sight, View};
use crate::web::error::InJson;
use crate::web::pages::repo::branches;
use crate::web::paging::{Paged, Paging};
use crate::web::query::Query;
use crate::web::rows;

/// A repository.
#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
#[schema(as = RepositoryFacts)]
pub(in crate::web) struct Row {
    id: RepoId,
    owner: String,
    name: String,
    private: bool,
    default_branch: String,
}

/// A repository with its last build.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Repository)]
pub(in crate::web) struct RepoAnswer {
    #[serde(flatten)]
    repo: Row,
    last_build: Option<BuildAnswer>,
    /// Address of the repository's page.
    url: String,
}

/// Repositories, those that were added last first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RepositoryList)]
pub(in crate::web) struct RepoList {
    repos: Vec<RepoAnswer>,
    /// The `before` of the next page; null on the last page.
    next: Option<i64>,
}

/// A repository with your right in it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WholeRepository)]
pub(in crate::web) struct WholeRepo {
    #[serde(flatten)]
    repo: RepoAnswer,
    right: Right,
    /// Branches that were built, the latest first.
    branches: Vec<String>,
}

/// Query parameters of the repositories.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::web) struct Wanted {
    /// Number of repositories, from 1 to 100. 25 if it is missing.
    limit: Option<i64>,
    /// Only repositories with smaller ids: the `next` of the page before.
    before: Option<i64>,
}

/// A variable of a repository's settings. Nobody reads its value here.
#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
pub(in crate::web) struct Variable {
    name: String,
    /// The only branch whose jobs see it; null for all branches.
    branch: Option<String>,
    /// True if logs may show its value.
    is_public: bool,
    changed_at: DateTime<Utc>,
}

/// Variables of a repository's settings.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct VariableList {
    variables: Vec<Variable>,
}

/// A public key.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct PublicKey {
    /// The key as PEM.
    key: String,
}

/// Lists the repositories that you may read, each with its last build.
#[utoipa::path(get, path = "/api/v1/repos", operation_id = "listRepositories", tag = "Repositories", params(Wanted),
    responses((status = 200, description = "A page of repositories", body = RepoList)))]
pub(in crate::web) async fn all(
    extract::State(state): extract::State<State>,
    view: View,
    paging: Paging,
    Query(wanted): Query<Wanted>,
) -> Result<Paged<RepoList>, InJson> {
    let limit = Paging::limit(wanted.limit);
    let mut repos = in_sight(&state.db, &view.sight().await?, wanted.before, limit + 1).await?;
    let next = Paging::cut(&mut repos, limit, |repo| repo.id.0);
    let repos = with_builds(&state, repos).await?;
    Ok(paging.answer(RepoList { repos, next }, next.map(|key| key.to_string())))
}

async fn in_sight(db: &PgPool, sight: &Sight, before: Option<i64>, limit: i64) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as(
        "select id, owner, name, private, default_branch from repo
         where ($1 or not private or id = any($2)) and ($3::bigint is null or id < $3) order by id desc limit $4",
    )
    .bind(sight.everything)
    .bind(&sight.repos)
    .bind(before)
    .bind(limit)
    .fetch_all(db)
    .await
}

async fn with_builds(state: &State, repos: Vec<Row>) -> sqlx::Result<Vec<RepoAnswer>> {
    let ids: Vec<RepoId> = repos.iter().map(|repo| repo.id).collect();
    let mut last: HashMap<RepoId, _> = rows::last_of(&state.db, &ids).await?.into_iter().collect();
    let answer = |repo: Row| RepoAnswer {
        last_build: last.remove(&repo.id).map(|build| BuildAnswer::new(state, build)),
        url: state.public(&format!("/{}/{}", repo.owner, repo.name)),
        repo,
    };
    Ok(repos.into_iter().map(answer).collect())
}

/// Returns a repository with its last build, its branches and your right in it.
#[utoipa::path(get, path = "/api/v1/repos/{owner}/{repo}", operation_id = "getRepository", tag = "Repositories",
    responses((status = 200, description = "The repository", body = WholeRepo)))]
pub(in crate::web) async fn one(
    extract::State(state): extract::State<State>,
    repo: access::Repo,
) -> Result<Json<WholeRepo>, InJson> {
    let private =
        sqlx::query_scalar("select private from repo where id = $1").bind(repo.id).fetch_one(&state.db).await?;
    let branches = branches(&state.db, repo.id).await?;
    let access::Repo { id, owner, name, default_branch, right } = repo;
    let row = Row { id, owner, name, private, default_branch };
    let answer = with_builds(&state, vec![row]).await?.pop();
    let repo = answer.ok_or_else(|| anyhow::anyhow!("a repository has no answer"))?;
    Ok(Json(WholeRepo { repo, right, branches }))
}

/// Returns the public key for `secure:` strings, in the form of Travis's API.
#[utoipa::path(get, path = "/api/v1/repos/{owner}/{repo}/key", operation_id = "getKey", tag = "Repositories",
    responses((status = 200, description = "The key", body = PublicKey)))]
pub(in crate::web) async fn key(
    extract::State(state): extract::State<State>,
    repo: access::Repo,
) -> Result<Json<PublicKey>, InJson> {
    Ok(Json(PublicKey { key: state.keys.public(repo.id).await? }))
}

/// Lists the variables of a repository's settings, without their values.
#[utoipa::path(get, path = "/api/v1/repos/{owner}/{repo}/variables", operation_id = "listVariables",
    tag = "Repositories", responses((status = 200, description = "The variables", body = VariableList)))]
pub(in crate::web) async fn variables(
    extract::State(state): extract::State<State>,
    repo: access::Repo,
) -> Result<Json<VariableList>, InJson> {
    let variables = sqlx::query_as(
        "select name, nullif(branch, '') as branch, is_public, changed_at from variable where repo_id = $1
         order by name, variable.branch",
    )
    .bind(repo.id)
    .fetch_all(&state.db)
    .await?;
    Ok(Json(VariableList { variables }))
}
