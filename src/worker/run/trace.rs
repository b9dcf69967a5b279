//! The span of an attempt, in the trace of the delivery that has asked for its build.

use std::time::Duration;

use tracing::debug;

use crate::store::builds;
use crate::store::queue::Claimed;
use crate::telemetry::traces::{self, Parent, Span};
use crate::worker::Handles;

/// Begins the span of an attempt, after that of its wait in the queue. An adopted attempt has waited in an earlier
/// process.
pub(super) async fn begin(handles: &Handles, job: &Claimed, is_adopted: bool) -> Span {
    if !traces::are_on() {
        return Parent::none().begin("job");
    }
    let origin = builds::origin_of(&handles.db, job.id).await;
    let origin = origin.unwrap_or_else(|error| {
        debug!("the attempt {} has no trace: {error}", job.attempt_id());
        None
    });
    let Some(origin) = origin else { return Parent::none().begin("job") };
    let trace = Parent::delivery(&origin.delivery);
    if !is_adopted {
        let mut claim = trace.begin("claim");
        claim.began_before(Duration::try_from_secs_f64(origin.waited).unwrap_or_default());
        claim.set("trainyard.job", job.id.0);
        claim.set("trainyard.runner", handles.presence.name.clone());
    }
    let mut span = trace.begin("job");
    span.set("trainyard.job", job.id.0);
    span.set("trainyard.attempt", i64::from(job.attempt));
    span.set("trainyard.runner", handles.presence.name.clone());
    span
}
