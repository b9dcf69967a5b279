//! Deliveries that are worked on again because a person has asked for it.

use sqlx::PgPool;

use super::deliveries::{Body, LONGEST_DELAY, Source};
use crate::domain::DeliveryId;

/// A stored delivery, with what a decision about it needs.
#[derive(Debug, Clone)]
pub struct Kept {
    pub source: Source,
    pub event: String,
    /// Body as it was signed; empty when it was removed.
    pub body: Vec<u8>,
    /// Key of the scope whose secret has signed it.
    pub signed_scope: Option<String>,
    /// True when it asked for a build as it came, so that its signature was held against the repository.
    pub asked: bool,
}

/// Reads a delivery whose stored body has at most this many bytes. The body of a larger one is left out.
pub async fn read(db: &PgPool, id: &DeliveryId, most: i32) -> sqlx::Result<Option<Kept>> {
    type Row = (Source, String, Vec<u8>, Option<i32>, Option<String>, bool);
    let row: Option<Row> = sqlx::query_as(
        "select source, event, case when coalesce(body_size, octet_length(body)) <= $2 then body else '' end,
             case when coalesce(body_size, octet_length(body)) <= $2 and body <> '' then body_size end,
             signed_scope, body_hash is not null
         from delivery where id = $1",
    )
    .bind(id)
    .bind(most)
    .fetch_optional(db)
    .await?;
    row.map(|(source, event, body, size, signed_scope, asked)| {
        Ok(Kept { source, event, body: Body::unpack(body, size)?, signed_scope, asked })
    })
    .transpose()
}

/// Opens a delivery again that has ended without a build, and makes one due that waits for its next try. Returns false if
/// it has a build, or no body any more.
pub async fn replay(db: &PgPool, id: &DeliveryId) -> sqlx::Result<bool> {
    let opened = sqlx::query(
        "update delivery set done_at = null, outcome = null,
             not_before = case when done_at is null and not_before > now() + $2 then not_before else now() end,
             tries = case when done_at is null then tries else 0 end,
             last_error = case when done_at is null then last_error end
         where id = $1 and body <> '' and delivery_result(done_at, outcome, last_error) <> 'built'
             and not exists (select from build where delivery_id = delivery.id)",
    )
    .bind(id)
    .bind(LONGEST_DELAY)
    .execute(db)
    .await?;
    Ok(opened.rows_affected() == 1)
}
