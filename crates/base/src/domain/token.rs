//! Formats of the secrets of known services, so that no secret is shown or published.

use std::ops::Range;

/// The form of a secret: a marker, followed by characters of one class.
#[derive(Debug, Clone, Copy)]
pub struct TokenFormat {
    /// The service that issues the secret.
    pub service: &'static str,
    /// The text that every secret of this format begins with.
    pub marker: &'static str,
    class: Class,
    /// The minimum number of characters after the marker.
    least: usize,
}

/// The characters that follow a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Letters and digits.
    Alphanumeric,
    /// Capital letters and digits.
    Capitals,
    /// Letters, digits, `_` and `-`. Names are written like this, so a secret must contain a digit, too.
    Words,
    /// Letters, digits and `/`.
    Path,
    /// The body of a key: base64 on several lines, whose ends may be escaped.
    Key,
}

impl Class {
    fn has(self, c: char) -> bool {
        match self {
            Self::Alphanumeric => c.is_ascii_alphanumeric(),
            Self::Capitals => c.is_ascii_uppercase() || c.is_ascii_digit(),
            Self::Words => is_part_of_word(c),
            Self::Path => c.is_ascii_alphanumeric() || c == '/',
            Self::Key => c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "+/=\\".contains(c),
        }
    }
}

const fn format(service: &'static str, marker: &'static str, class: Class, least: usize) -> TokenFormat {
    TokenFormat { service, marker, class, least }
}

/// The service of private keys in PEM.
const PEM: &str = "a private key";

/// The formats that are recognized.
pub static TOKEN_FORMATS: [TokenFormat; 29] = [
    format("Hugging Face", "hf_", Class::Alphanumeric, 30),
    format("GitHub", "ghp_", Class::Alphanumeric, 36),
    format("GitHub", "gho_", Class::Alphanumeric, 36),
    format("GitHub", "ghu_", Class::Alphanumeric, 36),
    format("GitHub", "ghs_", Class::Alphanumeric, 36),
    format("GitHub", "ghr_", Class::Alphanumeric, 36),
    format("GitHub", "github_pat_", Class::Words, 22),
    format("GitLab", "glpat-", Class::Words, 20),
    format("AWS", "AKIA", Class::Capitals, 16),
    format("OpenAI or another provider", "sk-", Class::Words, 32),
    format("npm", "npm_", Class::Alphanumeric, 36),
    format("PyPI", "pypi-AgE", Class::Words, 20),
    format("Google", "AIza", Class::Words, 35),
    format("Slack", "xoxa-", Class::Words, 10),
    format("Slack", "xoxb-", Class::Words, 10),
    format("Slack", "xoxp-", Class::Words, 10),
    format("Slack", "xoxr-", Class::Words, 10),
    format("Slack", "hooks.slack.com/services/", Class::Path, 10),
    format("DingTalk", "oapi.dingtalk.com/robot/send?access_token=", Class::Alphanumeric, 10),
    format("WeChat", "qyapi.weixin.qq.com/cgi-bin/webhook/send?key=", Class::Words, 10),
    format("Feishu", "open.feishu.cn/open-apis/bot/v2/hook/", Class::Words, 10),
    format(PEM, "-----BEGIN PRIVATE KEY-----", Class::Key, 0),
    format(PEM, "-----BEGIN ENCRYPTED PRIVATE KEY-----", Class::Key, 0),
    format(PEM, "-----BEGIN RSA PRIVATE KEY-----", Class::Key, 0),
    format(PEM, "-----BEGIN DSA PRIVATE KEY-----", Class::Key, 0),
    format(PEM, "-----BEGIN EC PRIVATE KEY-----", Class::Key, 0),
    format(PEM, "-----BEGIN OPENSSH PRIVATE KEY-----", Class::Key, 0),
    format(PEM, "-----BEGIN ANY PRIVATE KEY-----", Class::Key, 0),
    format(PEM, "-----BEGIN PGP PRIVATE KEY BLOCK-----", Class::Key, 0),
];

impl TokenFormat {
    /// Returns a secret of this format that nobody has issued.
    pub fn example(&self) -> String {
        let body = "A1".repeat(self.least.div_ceil(2));
        format!("{}{body}", self.marker)
    }

    /// Returns what a secret of this format is, in words: `a token of GitHub`, `a private key`.
    pub fn in_words(&self) -> String {
        if self.service == PEM { PEM.to_owned() } else { format!("a token of {}", self.service) }
    }

    /// Finds the secrets of this format in a text.
    fn find(&self, text: &str) -> impl Iterator<Item = Range<usize>> {
        text.match_indices(self.marker).filter_map(move |(at, _)| {
            // This check comes first. Otherwise a long row of markers would be read once for each of them.
            if self.class != Class::Key && text[..at].ends_with(is_part_of_word) {
                return None;
            }
            let from = at + self.marker.len();
            let rest = &text[from..];
            let body = &rest[..rest.find(|c| !self.class.has(c)).unwrap_or(rest.len())];
            let is_name = self.class == Class::Words && !body.contains(|c: char| c.is_ascii_digit());
            (body.len() >= self.least && !is_name).then_some(at..from + body.len())
        })
    }
}

fn is_part_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// Finds the places in a text that have the form of a known secret, with the format of each. The places are in the
/// order of the formats, not of the text.
pub fn tokens(text: &str) -> Vec<(Range<usize>, &'static TokenFormat)> {
    TOKEN_FORMATS.iter().flat_map(|format| format.find(text).map(move |range| (range, format))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(Range<usize>, &'static str)> {
        tokens(text).into_iter().map(|(range, format)| (range, format.service)).collect()
    }

    #[test]
    fn each_format_is_found_where_it_stands_alone_and_is_long_enough() {
        for format in &TOKEN_FORMATS {
            let token = format.example();
            assert_eq!(found(&format!("x={token};")), [(2..2 + token.len(), format.service)]);
            assert_eq!(found(&token[..format.marker.len() + format.least - 1]), [], "{token}");
            // Where line breaks are escaped, a letter precedes the key.
            assert_eq!(found(&format!("\\n{token}")).is_empty(), format.service != PEM, "{token}");
        }
    }

    #[test]
    fn names_are_not_tokens() {
        for text in
            ["sk-image-segmentation-with-a-long-name", "hf_a_name_of_a_function_that_is_long_1", "xoxb-and-so-on"]
        {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn a_private_key_is_found_with_its_body() {
        let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE+/o=\nAAAA\n";
        assert_eq!(found(&format!("{key}-----END RSA PRIVATE KEY-----\n")), [(0..key.len(), PEM)]);
    }

    #[test]
    fn a_long_row_of_beginnings_is_read_once() {
        // If the rest of the text were read for each marker, this would take minutes.
        for format in &TOKEN_FORMATS {
            let row = format.marker.repeat((1 << 18) / format.marker.len());
            assert!(found(&row).len() <= 1 || format.service == PEM, "{row:.40}");
        }
    }
}
