//! Logs as rows of compressed chunks. A log is the container's output with its secrets hidden: in order, without a gap,
//! without a repeat.

use anyhow::Context as _;
use sqlx::{PgConnection, PgPool};

use crate::domain::AttemptId;

/// Compression level of zstd for log chunks: the fastest that still halves text several times.
const LEVEL: i32 = 1;

/// Appends `bytes` at `offset` of an attempt's log. They stand for `output` bytes of the container's output. Returns
/// false, without writing anything, when the attempt is no longer the job's running one, or when the stored log does
/// not end at `offset`.
pub async fn append(
    db: &mut PgConnection,
    attempt: AttemptId,
    offset: i64,
    bytes: &[u8],
    output: usize,
) -> anyhow::Result<bool> {
    if bytes.is_empty() {
        return Ok(true);
    }
    let packed = zstd::bulk::compress(bytes, LEVEL).context("compressing a log chunk")?;
    let length = i32::try_from(bytes.len()).context("a log chunk over 2 GiB")?;
    let written = sqlx::query(
        "with fenced as (
             update job set log_length = log_length + $4, output_read = output_read + $6
             where id = $1 and attempt = $2 and state = 'running' and log_length = $3 returning id
         )
         insert into log_chunk (job_id, attempt, start, length, bytes) select id, $2, $3, $4, $5 from fenced",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(offset)
    .bind(length)
    .bind(packed)
    .bind(i64::try_from(output).context("an output over 2^63 bytes")?)
    .execute(db)
    .await
    .context("storing a log chunk")?;
    Ok(written.rows_affected() == 1)
}

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Offset of the first byte in the log.
    pub start: i64,
    pub bytes: Vec<u8>,
}

#[derive(sqlx::FromRow)]
struct Chunk {
    start: i64,
    length: i32,
    bytes: Vec<u8>,
}

/// Reads an attempt's log from `offset`: whole chunks until at least `enough` bytes are read or the log ends.
///
/// # Errors
/// Fails when a chunk does not decompress to its stored length, and when Postgres does not answer.
pub async fn read(db: &PgPool, attempt: AttemptId, offset: i64, enough: usize) -> anyhow::Result<Piece> {
    let mut piece = Piece { start: offset, bytes: Vec::new() };
    loop {
        let at = offset + i64::try_from(piece.bytes.len())?;
        let chunks: Vec<Chunk> = sqlx::query_as(
            "select start, length, bytes from log_chunk
             where job_id = $1 and attempt = $2 and start + length > $3 and start < $4
               and start >= coalesce((select max(start) from log_chunk
                                      where job_id = $1 and attempt = $2 and start <= $3), 0)
             order by start limit 64",
        )
        .bind(attempt.job)
        .bind(attempt.number)
        .bind(at)
        // Reads no more than necessary: chunks of a flood are large.
        .bind(offset.saturating_add(i64::try_from(enough).unwrap_or(i64::MAX)))
        .fetch_all(db)
        .await
        .context("reading a log")?;
        if chunks.is_empty() {
            return Ok(piece);
        }
        for chunk in chunks {
            let length = usize::try_from(chunk.length)?;
            let raw = zstd::bulk::decompress(&chunk.bytes, length).context("a stored log chunk does not decompress")?;
            anyhow::ensure!(raw.len() == length, "a stored log chunk is {} bytes, not {length}", raw.len());
            let at = offset + i64::try_from(piece.bytes.len())?;
            let skip = usize::try_from(at - chunk.start).context("a gap in the stored log")?;
            piece.bytes.extend_from_slice(&raw[skip..]);
            if piece.bytes.len() >= enough {
                return Ok(piece);
            }
        }
    }
}
