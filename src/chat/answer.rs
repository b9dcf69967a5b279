//! The answers of chats. Some say in a success of HTTP that they have refused a message.

use std::time::Duration;

use serde_json::Value;

use super::ChatKind;

/// The answer of a chat.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Time of the header `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Beginning of the body.
    pub body: Vec<u8>,
}

/// Reason why a chat has not taken a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Another try may succeed, after this time at least.
    Later(String, Option<Duration>),
    /// No other try can succeed: the operator has to change something.
    Never(String),
}

/// Pause after DingTalk's refusal of too many messages: it takes none for ten minutes.
const DINGTALK_PAUSE: Duration = Duration::from_secs(600);
/// Pause after WeCom's refusal of too many messages, which counts them by the minute.
const WECOM_PAUSE: Duration = Duration::from_secs(65);
/// Longest pause that an answer may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// Returns the reason why a chat has not taken a message, if its answer says so.
pub(super) fn judge(kind: ChatKind, answer: &Answer) -> Result<(), Refusal> {
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let status = answer.status;
    if status == 429 {
        let told = json["parameters"]["retry_after"].as_f64().or(json["retry_after"].as_f64());
        let told = told.filter(|seconds| *seconds >= 0.0).map(|seconds| Duration::from_secs_f64(seconds.min(3600.0)));
        let wait = told.or(answer.retry_after).map(|wait| wait.min(MAX_PAUSE));
        return Err(Refusal::Later("it takes no more messages for now (429)".to_owned(), wait));
    }
    if status == 408 || status >= 500 {
        return Err(Refusal::Later(format!("it answered {status}"), None));
    }
    if !(200..300).contains(&status) {
        let words = json["description"].as_str().or(json["message"].as_str());
        let words = words.map_or_else(|| String::from_utf8_lossy(&answer.body).into_owned(), str::to_owned);
        return Err(Refusal::Never(format!("it answered {status}: {}", first(&words))));
    }
    let code = match kind {
        ChatKind::DingTalk | ChatKind::WeCom => json["errcode"].as_i64(),
        ChatKind::Feishu => json["code"].as_i64().or(json["StatusCode"].as_i64()),
        ChatKind::Slack | ChatKind::Telegram | ChatKind::Discord | ChatKind::Teams => return Ok(()),
    };
    let words = first(json["errmsg"].as_str().or(json["msg"].as_str()).unwrap_or("no reason given"));
    match (kind, code) {
        (_, Some(0)) => Ok(()),
        (ChatKind::DingTalk, Some(code @ 130_101)) => Err(later(code, &words, Some(DINGTALK_PAUSE))),
        (ChatKind::WeCom, Some(code @ 45_009)) => Err(later(code, &words, Some(WECOM_PAUSE))),
        // Busy, or too many requests.
        (ChatKind::DingTalk, Some(code @ -1)) | (ChatKind::WeCom, Some(code @ -1)) => Err(later(code, &words, None)),
        (ChatKind::Feishu, Some(code @ (11_232 | 9_499_001))) => Err(later(code, &words, None)),
        (_, Some(code)) => Err(Refusal::Never(format!("it answered {code}: {words}"))),
        (_, None) => Err(Refusal::Never(format!("its answer is not one of {kind:?}"))),
    }
}

fn later(code: i64, words: &str, wait: Option<Duration>) -> Refusal {
    Refusal::Later(format!("it answered {code}: {words}"), wait)
}

fn first(words: &str) -> String {
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: ChatKind, status: u16, body: &str) -> Result<(), Refusal> {
        judge(kind, &Answer { status, retry_after: None, body: body.as_bytes().to_vec() })
    }

    #[test]
    fn a_success_of_http_is_none_when_the_body_has_a_code() {
        for (kind, good, bad, told) in [
            (
                ChatKind::DingTalk,
                r#"{"errcode":0,"errmsg":"ok"}"#,
                r#"{"errcode":310000,"errmsg":"sign not match"}"#,
                "sign",
            ),
            (
                ChatKind::WeCom,
                r#"{"errcode":0,"errmsg":"ok"}"#,
                r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#,
                "url",
            ),
            (
                ChatKind::Feishu,
                r#"{"code":0,"msg":"success"}"#,
                r#"{"code":19024,"msg":"Key Words Not Found"}"#,
                "Words",
            ),
        ] {
            assert_eq!(said(kind, 200, good), Ok(()));
            let Err(Refusal::Never(why)) = said(kind, 200, bad) else { panic!("{kind:?}") };
            assert!(why.contains(told), "{why}");
            assert!(matches!(said(kind, 200, "<html>"), Err(Refusal::Never(_))));
        }
        assert_eq!(said(ChatKind::Feishu, 200, r#"{"StatusCode":0,"StatusMessage":"success"}"#), Ok(()));
        assert_eq!(said(ChatKind::Slack, 200, "ok"), Ok(()));
        assert_eq!(said(ChatKind::Discord, 204, ""), Ok(()));
    }

    #[test]
    fn too_many_messages_wait_for_as_long_as_the_service_says() {
        let wait = |result| match result {
            Err(Refusal::Later(_, wait)) => wait.map(|wait| wait.as_secs()),
            other => panic!("{other:?}"),
        };
        let fast = r#"{"errcode":130101,"errmsg":"send too fast, exceed 20 times per minute"}"#;
        assert_eq!(wait(said(ChatKind::DingTalk, 200, fast)), Some(600));
        assert_eq!(wait(said(ChatKind::WeCom, 200, r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#)), Some(65));
        let body = r#"{"ok":false,"error_code":429,"parameters":{"retry_after":12}}"#;
        assert_eq!(wait(said(ChatKind::Telegram, 429, body)), Some(12));
        assert_eq!(wait(said(ChatKind::Discord, 429, r#"{"retry_after":1.5}"#)), Some(1));
        assert_eq!(wait(said(ChatKind::Telegram, 429, r#"{"parameters":{"retry_after":1e300}}"#)), Some(3600));
        assert_eq!(wait(said(ChatKind::Slack, 500, "")), None);
        assert!(
            matches!(said(ChatKind::Slack, 404, "no_service"), Err(Refusal::Never(why)) if why.contains("no_service"))
        );
    }
}
