//! The request with a message, for each kind of chat: its address, its body, and its signature.
//!
//! Sources: the pages of the services about incoming webhooks and custom robots. Slack: "Sending messages using incoming
//! webhooks"; DingTalk: "Custom robot access"; Feishu: "Custom bot usage guide"; WeCom: "Group robot configuration";
//! Telegram: "sendMessage" of the Bot API; Discord: "Execute Webhook"; Teams: "Create incoming webhooks with Workflows".

use base64::prelude::{BASE64_STANDARD, Engine as _};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;

use super::text::Text;
use super::{ChatConfig, ChatKind};

/// Description of an image. Feishu shows none by its address.
const ALT: &str = "Loss of the training";

/// A request to a chat.
#[derive(Debug, Clone)]
pub struct Form {
    /// Its address, which is a secret.
    pub url: SecretString,
    pub body: Value,
}

impl Form {
    /// Returns the request with a message, as it is at `now`: some services refuse an old signature.
    pub(super) fn of(chat: &ChatConfig, text: &Text, now: DateTime<Utc>) -> Self {
        let url = chat.url.as_ref().map_or("", |url| url.expose_secret()).trim().to_owned();
        let secret = chat.secret.as_ref().map(|secret| secret.expose_secret()).filter(|secret| !secret.is_empty());
        // DingTalk and Feishu refuse a message without the word.
        let title = match &chat.keyword {
            Some(keyword) => format!("{keyword} {}", text.title),
            None => text.title.clone(),
        };
        let (url, body) = match chat.kind {
            ChatKind::Slack => (url, slack(&title, text, chat.channel.as_deref())),
            ChatKind::DingTalk => (dingtalk_url(url, secret, now), dingtalk(&title, text)),
            ChatKind::Feishu => (url, feishu(&title, text, secret, now)),
            ChatKind::WeCom => (url, wecom(&title, text)),
            ChatKind::Telegram => (url, telegram(&title, text, chat.chat_id.as_deref().unwrap_or_default())),
            ChatKind::Discord => (url, discord(&title, text)),
            ChatKind::Teams => (url, teams(&title, text)),
        };
        Self { url: url.into(), body }
    }
}

fn slack(title: &str, text: &Text, channel: Option<&str>) -> Value {
    let colour = match text.is_good {
        Some(true) => "#2da44e",
        Some(false) => "#cf222e",
        None => "#8c959f",
    };
    let lines = text.with_links(|title, url| format!("<{url}|{title}>"));
    let words = format!("*<{}|{title}>*\n{}", text.url, lines.join("\n"));
    let section = json!({"type": "section", "text": {"type": "mrkdwn", "text": words}});
    // `text` is for notifications, which show no blocks.
    let mut body = json!({"text": title, "attachments": [{"color": colour, "blocks": [section]}]});
    // Not a block: Slack refuses a message with an image in a block that it cannot fetch.
    if let (Some(image), Some(attachments)) = (&text.image, body["attachments"].as_array_mut()) {
        attachments.push(json!({"fallback": ALT, "image_url": image}));
    }
    if let Some(channel) = channel {
        body["channel"] = channel.into();
    }
    body
}

fn dingtalk(title: &str, text: &Text) -> Value {
    // Two spaces at the end keep the break of a line.
    let image = text.image.as_ref().map(|image| format!("\n\n![{ALT}]({image})")).unwrap_or_default();
    let text = format!("**[{title}]({})**\n\n{}{image}", text.url, text.with_links(markdown).join("  \n"));
    json!({"msgtype": "markdown", "markdown": {"title": title, "text": text}})
}

/// Returns the address with the time in milliseconds and its signature.
fn dingtalk_url(url: String, secret: Option<&str>, now: DateTime<Utc>) -> String {
    let Some(secret) = secret else { return url };
    let time = now.timestamp_millis();
    let sign = BASE64_STANDARD.encode(hmac(secret.as_bytes(), format!("{time}\n{secret}").as_bytes()));
    let sign: String = url::form_urlencoded::byte_serialize(sign.as_bytes()).collect();
    let join = if url.contains('?') { '&' } else { '?' };
    format!("{url}{join}timestamp={time}&sign={sign}")
}

fn feishu(title: &str, text: &Text, secret: Option<&str>, now: DateTime<Utc>) -> Value {
    let template = match text.is_good {
        Some(true) => "green",
        Some(false) => "red",
        None => "grey",
    };
    let button = |title: &str, url: &str| {
        let label = json!({"tag": "plain_text", "content": title});
        json!({"tag": "button", "text": label, "type": "default", "url": url})
    };
    let links = text.links.iter().map(|(title, url)| button(title, url));
    let actions: Vec<Value> = [button(text.button, &text.url)].into_iter().chain(links).collect();
    let card = json!({
        "header": {"template": template, "title": {"tag": "plain_text", "content": title}},
        "elements": [
            {"tag": "div", "text": {"tag": "plain_text", "content": text.lines.join("\n")}},
            {"tag": "action", "actions": actions},
        ],
    });
    let mut body = json!({"msg_type": "interactive", "card": card});
    if let Some(secret) = secret {
        // Unlike elsewhere, the time and the secret are the key here, and the message is empty.
        let time = now.timestamp();
        let key = format!("{time}\n{secret}");
        body["timestamp"] = time.to_string().into();
        body["sign"] = BASE64_STANDARD.encode(hmac(key.as_bytes(), b"")).into();
    }
    body
}

fn wecom(title: &str, text: &Text) -> Value {
    let quoted: Vec<String> = text.with_links(markdown).iter().map(|line| format!("> {line}")).collect();
    let content = format!("**[{title}]({})**\n{}", text.url, quoted.join("\n"));
    // Only `markdown_v2` shows images, and only `markdown` has colours and mentions. Both of these are tags, which no text
    // but a template has: they are what the operator wants.
    let has_tags = text.lines.iter().any(|line| line.contains('<'));
    match text.image.as_ref().filter(|_| !has_tags) {
        Some(image) => {
            let content = format!("{content}\n\n![{ALT}]({image})");
            json!({"msgtype": "markdown_v2", "markdown_v2": {"content": content}})
        }
        None => json!({"msgtype": "markdown", "markdown": {"content": content}}),
    }
}

fn markdown(title: &str, url: &str) -> String {
    format!("[{title}]({url})")
}

fn telegram(title: &str, text: &Text, chat: &str) -> Value {
    let link = |title: &str, url: &str| format!("<a href=\"{}\">{title}</a>", url.replace('&', "&amp;"));
    let preview = match &text.image {
        Some(image) => json!({"url": image, "prefer_large_media": true}),
        None => json!({"is_disabled": true}),
    };
    let text = format!("<b>{}</b>\n{}", link(title, &text.url), text.with_links(link).join("\n"));
    json!({"chat_id": chat, "text": text, "parse_mode": "HTML", "link_preview_options": preview})
}

fn discord(title: &str, text: &Text) -> Value {
    let colour = match text.is_good {
        Some(true) => 0x2d_a4_4e,
        Some(false) => 0xcf_22_2e,
        None => 0x8c_95_9f,
    };
    let lines = text.with_links(markdown);
    let mut embed = json!({"title": title, "url": text.url, "description": lines.join("\n"), "color": colour});
    if let Some(image) = &text.image {
        embed["image"] = json!({"url": image});
    }
    json!({"embeds": [embed], "allowed_mentions": {"parse": []}})
}

fn teams(title: &str, text: &Text) -> Value {
    let colour = match text.is_good {
        Some(true) => "good",
        Some(false) => "attention",
        None => "default",
    };
    // The text of a `TextRun` is plain, that of a `TextBlock` is Markdown.
    let run = |text: &str, colour: &str, weight: &str| {
        let run = json!({"type": "TextRun", "text": text, "color": colour, "weight": weight});
        json!({"type": "RichTextBlock", "inlines": [run]})
    };
    let mut body = vec![run(title, colour, "bolder")];
    body.extend(text.lines.iter().map(|line| run(line, "default", "default")));
    body.extend(text.image.iter().map(|image| json!({"type": "Image", "url": image, "altText": ALT})));
    let open = |title: &str, url: &str| json!({"type": "Action.OpenUrl", "title": title, "url": url});
    let links = text.links.iter().map(|(title, url)| open(title, url));
    let actions: Vec<Value> = [open(text.button, &text.url)].into_iter().chain(links).collect();
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
        "body": body, "actions": actions,
    });
    let attachment = json!({"contentType": "application/vnd.microsoft.card.adaptive", "content": card});
    json!({"type": "message", "attachments": [attachment]})
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"));
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}
