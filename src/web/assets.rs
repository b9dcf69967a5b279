//! The stylesheet, the script and the icon, compiled into the program.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::error::Error;

#[derive(RustEmbed)]
#[folder = "src/web/static"]
struct Assets;

fn tag(file: &EmbeddedFile) -> String {
    hex::encode(&file.metadata.sha256_hash()[..8])
}

/// Returns the address of a file. It changes with the content, so that browsers may cache it forever.
pub(super) fn url(name: &str) -> String {
    let version = Assets::get(name).map(|file| tag(&file)).unwrap_or_default();
    format!("/static/{name}?v={version}")
}

/// `GET /static/{file}`
pub(super) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Error> {
    let file = Assets::get(&name).ok_or(Error::NotFound("file"))?;
    let etag = format!("\"{}\"", tag(&file));
    // The compressor's copy has the same tag, marked as weak.
    let same = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag));
    let caching = [(header::ETAG, etag), (header::CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned())];
    if same {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    let content_type = match name.rsplit_once('.') {
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/octet-stream",
    };
    Ok((caching, [(header::CONTENT_TYPE, content_type)], file.data).into_response())
}
