//! Replays of deliveries.

use axum::Json;
use axum::extract::{self, Path};
use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;

use crate::domain::DeliveryId;
use crate::store::replays;
use crate::web::State;
use crate::web::access::View;
use crate::web::deliveries::{self, Outcome};
use crate::web::error::{Error, InJson, Problem};
use crate::web::webhook;

/// A delivery that is worked on again.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Replayed {
    replayed: DeliveryId,
}

/// Lets a delivery be worked on again that has no build.
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/replay", operation_id = "replayDelivery", tag = "Deliveries",
    responses((status = 200, description = "The delivery waits again", body = Replayed),
        (status = 404, description = "There is no such delivery", body = Problem),
        (status = 409, description = "It has a build, or no body", body = Problem)))]
pub(in crate::web) async fn replay(
    extract::State(state): extract::State<State>,
    Path(id): Path<String>,
    view: View,
) -> Result<Json<Replayed>, InJson> {
    let who = view.who();
    let delivery = deliveries::find(&state.db, &id).await?;
    if let Some(build) = &delivery.build {
        let build = state.public(build);
        let told = format!("This delivery has a build already: {build}. Restart that build to run its jobs again.");
        return Err(Error::Conflict(told).into());
    }
    if delivery.result == Outcome::Built {
        return Err(Error::Conflict("The build of this delivery was deleted.".to_owned()).into());
    }
    if !delivery.has_body {
        return Err(Error::Conflict("The body of this delivery was removed.".to_owned()).into());
    }
    let kept = replays::read(&state.db, &delivery.id, i32::MAX).await?.ok_or(Error::NotFound("delivery"))?;
    webhook::check_replay(&state, &kept).await?;
    if !replays::replay(&state.db, &delivery.id).await? {
        return Err(Error::Conflict("This delivery has a build by now.".to_owned()).into());
    }
    info!(delivery = %delivery.id, "{who} lets the delivery {} be worked on again", delivery.id);
    state.bells.intake.ring();
    Ok(Json(Replayed { replayed: delivery.id }))
}
