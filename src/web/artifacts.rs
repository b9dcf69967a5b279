//! The files that jobs have left: a list, and a download for each that no browser executes.

use axum::Json;
use axum::body::Body;
use axum::extract::{self, Path};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};

use super::State;
use super::access::OfJob;
use super::error::{Error, InJson, Problem};
use super::query::Query;
use super::rows::job_facts;
use crate::domain::{AttemptId, JobId};
use crate::store::output::artifacts;

/// An artifact, as pages and programs see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ArtifactFacts)]
pub(super) struct Artifact {
    /// Path in the folder of artifacts.
    pub path: String,
    /// Bytes.
    pub size: i64,
    pub sha256: String,
    /// Reason why it was removed.
    pub removed: Option<String>,
    /// Address of the download, relative to the server's.
    #[serde(skip)]
    pub address: String,
}

/// `GET /provenance.pem`: the key that signs statements of provenance.
pub(super) async fn provenance_key(extract::State(state): extract::State<State>) -> Result<Response, Error> {
    let key = state.provenance_key.public().await?;
    Ok(([(header::CONTENT_TYPE, "application/x-pem-file")], key).into_response())
}

impl Artifact {
    /// Returns the size in words.
    pub(super) fn shown_size(&self) -> String {
        ByteSize::b(self.size.cast_unsigned()).to_string()
    }

    /// Returns the first digits of the hash.
    pub(super) fn short_hash(&self) -> &str {
        &self.sha256[..12]
    }
}

/// Lists the artifacts that an attempt has left.
pub(super) async fn of(db: &PgPool, attempt: AttemptId) -> Result<Vec<Artifact>, Error> {
    let found = artifacts::of(db, attempt).await?;
    let shown = found.into_iter().map(|artifact| Artifact {
        address: format!("/api/v1/jobs/{}/artifacts/{}", attempt.job, escaped(&artifact.path, b"/")),
        path: artifact.path,
        size: artifact.size,
        sha256: hex::encode(artifact.sha256),
        removed: artifact.removed,
    });
    Ok(shown.collect())
}

/// An artifact with the address of its download.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Artifact)]
pub(super) struct Download {
    #[serde(flatten)]
    artifact: Artifact,
    /// Address of the download.
    url: String,
}

/// Artifacts of an attempt.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ArtifactList {
    artifacts: Vec<Download>,
}

/// Query parameters: an attempt.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Number of an earlier attempt. The latest if it is missing.
    attempt: Option<i32>,
}

impl Wanted {
    async fn attempt_of(&self, db: &PgPool, job: JobId) -> Result<AttemptId, Error> {
        let latest = job_facts(db, job).await?.attempt_of(job);
        Ok(AttemptId { number: self.attempt.unwrap_or(latest.number), ..latest })
    }
}

/// Lists the artifacts that an attempt at a job has left.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/artifacts", operation_id = "listArtifacts", tag = "Jobs", params(Wanted),
    responses((status = 200, description = "The artifacts", body = ArtifactList)))]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    OfJob(job): OfJob,
    Query(wanted): Query<Wanted>,
) -> Result<Json<ArtifactList>, InJson> {
    let attempt = wanted.attempt_of(&state.db, job).await?;
    let query = wanted.attempt.map(|number| format!("?attempt={number}")).unwrap_or_default();
    let with_url = |artifact: Artifact| {
        let url = state.public(&format!("{}{query}", artifact.address));
        Download { artifact, url }
    };
    let artifacts = of(&state.db, attempt).await?.into_iter().map(with_url).collect();
    Ok(Json(ArtifactList { artifacts }))
}

/// Returns an artifact as a download.
///
/// The content is not trusted, so nothing in it may run, neither here nor in the name of this server.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/artifacts/{path}", operation_id = "getArtifact", tag = "Jobs",
    params(Wanted),
    responses(
        (status = 200, description = "The file", body = String, content_type = "application/octet-stream"),
        (status = 410, description = "The artifact was removed", body = Problem)))]
pub(super) async fn download(
    extract::State(state): extract::State<State>,
    OfJob(job): OfJob,
    Path((_, path)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, InJson> {
    // Postgres has no NUL in text, so no path has one.
    let path = Some(path).filter(|path| !path.contains('\0')).ok_or(Error::NotFound("artifact"))?;
    let attempt = wanted.attempt_of(&state.db, job).await?;
    let artifact = artifacts::find(&state.db, attempt, &path).await?.ok_or(Error::NotFound("artifact"))?;
    let gone = |why: &str| Error::Gone(format!("This artifact is no longer here: {why}."));
    let Some(key) = artifact.key else {
        return Err(gone(artifact.removed.as_deref().unwrap_or("it was removed")).into());
    };
    let size = artifact.size.cast_unsigned();
    let bytes = state.objects.read(&key, 0..size).await?;
    let bytes = bytes.ok_or_else(|| gone("its object is missing from the storage"))?;
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_LENGTH, HeaderValue::from(size)),
        (header::CONTENT_DISPOSITION, disposition(&path)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
        // The next attempt at the job may leave another file of this name.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((headers, Body::from_stream(bytes)).into_response())
}

/// Returns the header that makes a browser save a file under the last part of its path.
fn disposition(path: &str) -> HeaderValue {
    let name = path.rsplit('/').next().unwrap_or_default();
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._- +".contains(c) { c } else { '_' }).collect();
    let value = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", escaped(name, b""));
    HeaderValue::from_str(&value).unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}

/// Escapes a text for an address, or for a header's extended value: all but letters, digits and a few signs become
/// `%XX`.
fn escaped(text: &str, but: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || but.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_so_that_no_header_and_no_address_ends_early() {
        let told = |path: &str| disposition(path).to_str().unwrap().to_owned();
        assert_eq!(told("out/a b.txt"), "attachment; filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt");
        assert_eq!(
            told("x\";\r\nSet-Cookie: é"),
            "attachment; filename=\"x____Set-Cookie_ _\"; filename*=UTF-8''x%22%3B%0D%0ASet-Cookie%3A%20%C3%A9"
        );
        assert_eq!(escaped("out/#1?.bin", b"/"), "out/%231%3F.bin");
    }
}
