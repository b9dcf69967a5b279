//! The chart of a loss as an image of its own, for a reader at GitHub or in a chat.

use anyhow::Context as _;
use axum::extract::{self, Path};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use chrono::Utc;

use super::axis::Axes;
use super::{LOSS, curve};
use crate::domain::{AttemptId, JobId};
use crate::lora::series::{Series, picture};
use crate::outbox::ChartForm;
use crate::store::output::reports;
use crate::web::State;
use crate::web::error::Error;
use crate::web::rows::job_facts;

/// Colours that can be read on a light and on a dark page, as an image does not know which it is on.
const STYLE: &str = "text{fill:#6e7781;font:11.5px sans-serif}.y,.end{text-anchor:end}.x{text-anchor:middle}\
     .axis{font-weight:600}.grid{stroke:#8c959f;stroke-opacity:.3}.base,.tick{stroke:#6e7781;stroke-width:1}\
     path{fill:none;stroke:#2f81f7;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}\
     .values{stroke-width:1;opacity:.4}circle{fill:#fff;stroke:#2f81f7;stroke-width:2}.last{fill:#2f81f7}\
     rect.broken{fill:#cf222e;opacity:.12}line.broken,.cross{stroke:#cf222e}";

/// `GET /charts/{job}/{attempt}/{until}/{signature}`: the loss of a job that has ended, for who has its address.
pub(in crate::web) async fn loss(
    extract::State(state): extract::State<State>,
    Path((job, number, until, file)): Path<(i64, i32, i64, String)>,
) -> Result<Response, Error> {
    let job = JobId(job);
    // Whoever guesses addresses does not learn which jobs there are.
    let known = ChartForm::split(&file)
        .filter(|(signature, _)| state.charts.allow(AttemptId { job, number }, until, signature, Utc::now()));
    let (_, form) = known.ok_or(Error::NotFound("chart"))?;
    let is_latest = job_facts(&state.db, job).await?.attempt == number;
    let points = if is_latest { reports::loss(&state.db, job).await? } else { None };
    let points = points.filter(|points| !points.is_empty()).ok_or(Error::NotFound("chart"))?;
    let (kind, image) = match form {
        ChartForm::Svg => ("image/svg+xml", draw(&Series { points, ..Series::default() }).into_bytes()),
        ChartForm::Png => {
            // Drawing takes milliseconds, in which the thread must not wait for others.
            let drawn = tokio::task::spawn_blocking(move || picture(&points)).await.context("drawing a chart")?;
            ("image/png", drawn.ok_or(Error::NotFound("chart"))?)
        }
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; sandbox"),
        (header::CACHE_CONTROL, "max-age=86400"),
    ];
    Ok((headers, image).into_response())
}

/// Draws a series as a whole SVG document. It is made of numbers and constants only.
pub(super) fn draw(series: &Series) -> String {
    let axes = Axes::of(&series.points, LOSS);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"240\" viewBox=\"0 0 640 240\">\n\
         <style>{STYLE}</style>\n<svg x=\"58\" y=\"28\" width=\"566\" height=\"168\" overflow=\"visible\">\n"
    );
    axes.draw(&mut svg);
    curve::draw(&mut svg, series, &axes);
    svg.push_str("</svg></svg>\n");
    svg
}
