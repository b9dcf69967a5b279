//! Messages to rooms of Slack that a `.travis.yml` names.

use anyhow::Context as _;

use super::{Notifier, about, event, payload};
use crate::chat::{ChatConfig, Publications, Words};
use crate::store::notifications::{self, Notification};
use crate::travis::notifications::{SlackAddress, SlackRoom};

impl Notifier {
    /// Tells a room that a `.travis.yml` names.
    pub(super) async fn tell_room(
        &self,
        note: &Notification,
        room: &SlackRoom,
        publications: Option<&Publications>,
    ) -> anyhow::Result<bool> {
        if !event(&note.event).is_some_and(|event| room.asks(event, note.state, note.previous)) {
            notifications::remove(&self.db, note.id).await?;
            return Ok(true);
        }
        let address = match self.in_the_clear(note, &room.room).await? {
            Ok(text) => SlackAddress::of(&text),
            Err(why) => Err(why),
        };
        let SlackAddress { url, channel } = match address {
            Ok(address) => address,
            Err(why) => {
                notifications::done(&self.db, note.id, &format!("not sent: {why}")).await?;
                return Ok(true);
            }
        };
        // All rooms of a repository share one pace.
        let name = format!("slack of repository {}", note.repo_id.0);
        let template = (!room.template.is_empty()).then(|| room.template.join("\n"));
        let chat = ChatConfig::slack(name, url, channel, template);
        let (facts, jobs) = notifications::facts(&self.db, note.build_id).await.context("reading a build")?;
        let status = notifications::status(&self.db, note.build_id).await.context("reading a status")?;
        let title = facts.pull_request_title.clone();
        let build = payload::chat_build(note, facts, &jobs, &self.public_url);
        let chart = self.chart(note).await?;
        let words = Words { pull_request: title.as_deref(), status: status.as_deref(), chart: chart.as_deref() };
        let sent = self.chats.send(&chat, &build, about(publications, words)).await;
        // A refusal is the repository's to mend, so the operator gets no alert.
        self.settle(note, "room of Slack", &sent).await?;
        Ok(true)
    }
}
