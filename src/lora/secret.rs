//! Detection of tokens and keys by their form.

use std::sync::LazyLock;

use regex::Regex;

/// Tokens with a recognizable form. A key of 40 hex digits looks like a commit, so such keys are found by the name of
/// their config key.
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    let forms = [
        r"\bhf_[A-Za-z0-9]{30,}",
        r"\bgh[pousr]_[A-Za-z0-9]{36,}",
        r"\bgithub_pat_[A-Za-z0-9_]{22,}",
        r"\bAKIA[0-9A-Z]{16}\b",
        r"\bsk-[A-Za-z0-9_-]{32,}",
        r"\bxox[abpr]-[A-Za-z0-9-]{10,}",
        r"hooks\.slack\.com/services/[A-Za-z0-9/]{10,}",
        r"oapi\.dingtalk\.com/robot/send\?access_token=[A-Za-z0-9]{10,}",
        r"qyapi\.weixin\.qq\.com/cgi-bin/webhook/send\?key=[A-Za-z0-9-]{10,}",
        r"open\.feishu\.cn/open-apis/bot/v2/hook/[A-Za-z0-9-]{10,}",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    ];
    Regex::new(&forms.join("|")).expect("a valid expression")
});

/// Config keys whose values are secrets.
const SECRET_KEYS: [&str; 12] = [
    "huggingface_token",
    "hf_token",
    "hf_hub_token",
    "hub_token",
    "ms_hub_token",
    "om_hub_token",
    "wandb_api_key",
    "swanlab_api_key",
    "comet_api_key",
    "api_key",
    "access_token",
    "password",
];

/// Returns true if the value of this key is a secret: by its form, or by the key's name if the value is as long as a
/// secret.
pub(super) fn is_secret(key: &str, value: &str) -> bool {
    let is_like_one = value.len() >= 16 && value.bytes().all(|byte| byte.is_ascii_graphic());
    let is_placeholder = ["your", "<", "${", "{{", "xxx", "..."].iter().any(|mark| value.to_lowercase().contains(mark));
    TOKEN.is_match(value) || SECRET_KEYS.contains(&key) && is_like_one && !is_placeholder
}

/// Returns true if a key's value is a secret regardless of its form.
pub(super) fn is_key(key: &str) -> bool {
    SECRET_KEYS.contains(&key)
}

/// Replaces the secrets in a line of a file with `[secret]`.
pub fn hidden(line: &str) -> String {
    let key = line.split([':', '=']).next().unwrap_or_default().trim_matches([' ', '"', '\'', '-', '\t']);
    if SECRET_KEYS.contains(&key) {
        let end = line.find([':', '=']).map_or(line.len(), |at| at + 1);
        return format!("{} [secret]", &line[..end]);
    }
    TOKEN.replace_all(line, "[secret]").into_owned()
}
