//! Emails that a `.travis.yml` asks for.

use anyhow::Context as _;
use tracing::warn;

use super::{Notifier, about, event, payload};
use crate::chat::{Publications, Refusal, Words};
use crate::lora::series::{Point, picture};
use crate::mail::{Chart, Mail, NotTaken};
use crate::store::notifications::{self, Loss, Notification};
use crate::travis::notifications::Recipient;

/// Name of the mail server in messages and alerts.
const EMAIL: &str = "mail server";

/// Maximum number of charts of a mail.
const MAX_CHARTS: i64 = 3;

/// Draws the loss of a training, if it has two values at least.
fn chart(loss: &Loss) -> Option<Chart> {
    let points = loss.steps.iter().zip(&loss.points);
    let points: Vec<Point> = points.map(|(step, value)| Point { step: step.unsigned_abs(), value: *value }).collect();
    let (first, last) = (points.first()?, points.last()?);
    let name = loss.name.as_deref().unwrap_or("training");
    let title = format!("{name}: the loss goes from {:.4} to {:.4} at step {}", first.value, last.value, last.step);
    Some(Chart { title, png: picture(&points)? })
}

impl Notifier {
    /// Sends a mail that a `.travis.yml` asks for.
    pub(super) async fn mail(
        &self,
        note: &Notification,
        recipient: &Recipient,
        publications: Option<&Publications>,
    ) -> anyhow::Result<bool> {
        let is_asked = event(&note.event).is_some_and(|event| recipient.asks(event, note.state, note.previous));
        let Some(mailer) = self.mailer.as_ref().filter(|_| is_asked) else {
            notifications::remove(&self.db, note.id).await?;
            return Ok(true);
        };
        // Travis sends no mail of a build that a newer one has canceled.
        if note.event == "canceled" && notifications::is_superseded(&self.db, note.build_id).await? {
            notifications::remove(&self.db, note.id).await?;
            return Ok(true);
        }
        let address = match self.in_the_clear(note, &recipient.email).await? {
            Ok(text) => mailer.config().recipient(&text),
            Err(why) => Err(why),
        };
        let address = match address {
            Ok(address) => address,
            Err(why) => {
                notifications::done(&self.db, note.id, &format!("not sent: {why}")).await?;
                return Ok(true);
            }
        };
        let (facts, jobs) = notifications::facts(&self.db, note.build_id).await.context("reading a build")?;
        let status = notifications::status(&self.db, note.build_id).await.context("reading a status")?;
        let build = payload::chat_build(note, facts, &jobs, &self.public_url);
        let about = about(publications, Words { status: status.as_deref(), ..Words::default() });
        let losses = notifications::losses(&self.db, note.build_id, MAX_CHARTS).await.context("reading losses")?;
        // Drawing takes milliseconds, in which the thread must not wait for others.
        let charts = tokio::task::spawn_blocking(move || losses.iter().filter_map(chart).collect());
        let charts = charts.await.context("drawing a chart")?;
        let mail = Mail::of(format!("notification-{}", note.id), &build, about, charts)?;
        match mailer.send(address, &mail).await {
            // That of one recipient says nothing about the server.
            Err(NotTaken::Never(why)) => {
                warn!("a recipient of build {} was not mailed: {why}", note.build_id.0);
                notifications::done(&self.db, note.id, &format!("not sent: {why}")).await?;
            }
            Err(NotTaken::Later(why)) => self.record(note, EMAIL, Err(Refusal::Later(why, None))).await?,
            Err(NotTaken::Refused(why)) => self.record(note, EMAIL, Err(Refusal::Never(why))).await?,
            Ok(()) => self.record(note, EMAIL, Ok(())).await?,
        }
        Ok(true)
    }
}
