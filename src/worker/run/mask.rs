//! The mask of a job's secrets: in the log, `[secure]` replaces each form of a secret that the job prints.
//!
//! The mask hides what a job prints by mistake. It cannot stop a job that wants to publish its secrets, so jobs of
//! forks never get any.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

const HIDDEN: &[u8] = b"[secure]";
/// The length in bytes from which a secret is searched for in encoded forms and line by line. Shorter texts would match
/// everywhere by chance.
const ENOUGH: usize = 6;

/// A filter that replaces secrets in a stream of bytes, however the stream is cut into pieces.
#[derive(Debug, Default)]
pub(super) struct Mask {
    /// The search for the leftmost longest form; `None` when there is nothing to hide.
    forms: Option<AhoCorasick>,
    /// All forms, sorted, to find out if bytes are the start of a form.
    sorted: Vec<Vec<u8>>,
    longest: usize,
    /// Bytes that may be the start of a secret, and wait for the bytes that follow.
    held: Vec<u8>,
}

/// Bytes that may be stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Masked {
    /// The bytes with the secrets replaced.
    pub(super) bytes: Vec<u8>,
    /// Number of bytes of the stream that they stand for.
    pub(super) read: usize,
}

impl Mask {
    /// Makes a mask of these secrets. It hides all of their forms: as written, in JSON, in a URL, in hex, in base64 at
    /// any offset, and each line of a secret with several lines.
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Self> {
        let sorted: Vec<Vec<u8>> = secrets.into_iter().flat_map(forms).collect::<BTreeSet<_>>().into_iter().collect();
        if sorted.is_empty() {
            return Ok(Self::default());
        }
        let found = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&sorted)?;
        let longest = sorted.iter().map(Vec::len).max().unwrap_or_default();
        Ok(Self { forms: Some(found), sorted, longest, held: Vec::new() })
    }

    /// Takes the next bytes of the stream. Holds back bytes that may be the start of a secret.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Masked {
        if self.forms.is_none() {
            return Masked { bytes: bytes.to_vec(), read: bytes.len() };
        }
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(bytes);
        let masked = self.replace(&text, false);
        self.held = text.split_off(masked.read);
        masked
    }

    /// Ends the stream, and returns the bytes that were held back: they cannot become a secret any more.
    pub(super) fn end(&mut self) -> Masked {
        let text = std::mem::take(&mut self.held);
        self.replace(&text, true)
    }

    /// Forgets the bytes that were held back: the stream is read again from the last byte that came out.
    pub(super) fn rewind(&mut self) {
        self.held.clear();
    }

    fn replace(&self, text: &[u8], is_end: bool) -> Masked {
        let Some(forms) = &self.forms else {
            return Masked { bytes: text.to_vec(), read: text.len() };
        };
        let mut masked = Masked::default();
        let mut open = if is_end { text.len() } else { self.open_from(text, 0) };
        while let Some(found) = forms.find(Input::new(text).range(masked.read..)) {
            // A longer form may begin at the same place, or before it.
            if open <= found.start() {
                break;
            }
            masked.bytes.extend_from_slice(&text[masked.read..found.start()]);
            masked.bytes.extend_from_slice(HIDDEN);
            masked.read = found.end();
            if open < masked.read {
                open = self.open_from(text, masked.read);
            }
        }
        masked.bytes.extend_from_slice(&text[masked.read..open]);
        masked.read = open;
        masked
    }

    /// Returns the first position from `start` on whose bytes to the end are the start of a longer form.
    fn open_from(&self, text: &[u8], start: usize) -> usize {
        let from = text.len().saturating_sub(self.longest.saturating_sub(1)).max(start);
        let is_open = |at: &usize| {
            let rest = &text[*at..];
            let next = self.sorted.partition_point(|form| form.as_slice() <= rest);
            self.sorted.get(next).is_some_and(|form| form.starts_with(rest))
        };
        (from..text.len()).find(is_open).unwrap_or(text.len())
    }
}

/// Returns the forms in which a secret may appear.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.as_bytes().to_vec(), json_escaped(secret)];
    if secret.len() >= ENOUGH {
        let percent: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        forms.push(percent.replace('+', "%20").into_bytes());
        forms.push(percent.into_bytes());
        forms.push(hex::encode(secret).into_bytes());
        forms.push(hex::encode_upper(secret).into_bytes());
        forms.extend((0..3).flat_map(|offset| in_base64(secret.as_bytes(), offset)));
    }
    let lines: Vec<&str> = secret.lines().collect();
    if lines.len() > 1 {
        // A terminal ends a line with a carriage return as well, and a log shows a long secret line by line.
        let lines = lines.into_iter().map(str::trim).filter(|line| line.len() >= ENOUGH);
        forms.extend(lines.map(|line| line.as_bytes().to_vec()));
    }
    forms.retain(|form| !form.is_empty());
    forms
}

fn json_escaped(secret: &str) -> Vec<u8> {
    let quoted = serde_json::Value::from(secret).to_string();
    quoted.as_bytes()[1..quoted.len() - 1].to_vec()
}

/// Returns the characters that a secret becomes in base64 when `offset` bytes of its group of three come before it, in
/// both alphabets. Characters that also depend on the bytes around the secret are left out.
fn in_base64(secret: &[u8], offset: usize) -> Vec<Vec<u8>> {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(secret);
    // The first characters hold bits of the bytes before. The last one may hold bits of the byte after.
    let first = (offset * 8).div_ceil(6);
    let last = bytes.len() * 8 / 6;
    [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)]
        .into_iter()
        .map(|text| text.as_bytes()[first..last].to_vec())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(secrets: &[&str], pieces: &[&[u8]]) -> (String, usize) {
        let mut mask = Mask::new(secrets.iter().copied()).unwrap();
        let mut whole = Masked::default();
        for piece in pieces.iter().map(|piece| mask.push(piece)).collect::<Vec<_>>().into_iter().chain([mask.end()]) {
            whole.bytes.extend_from_slice(&piece.bytes);
            whole.read += piece.read;
        }
        (String::from_utf8(whole.bytes).unwrap(), whole.read)
    }

    #[test]
    fn a_secret_is_hidden_in_every_form() {
        let secret = "s3cr\"t/+ value\nof two lines";
        let mut texts = vec![
            secret.to_owned(),
            serde_json::json!({ "token": secret }).to_string(),
            url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
            hex::encode(secret),
            hex::encode_upper(secret),
            "of two lines\r".to_owned(),
        ];
        texts.extend((0..3).map(|n| STANDARD_NO_PAD.encode(format!("{}{secret} and more", "x".repeat(n)))));
        texts.extend((0..3).map(|n| URL_SAFE_NO_PAD.encode(format!("{}{secret}", "x".repeat(n)))));
        for text in texts {
            let (shown, read) = masked(&[secret], &[b"before ", text.as_bytes(), b" after"]);
            assert!(shown.contains("[secure]"), "{text} shows as {shown}");
            assert!(shown.starts_with("before ") && shown.ends_with(" after"), "{shown}");
            assert_eq!(read, text.len() + 13);
            let rest: String = shown.replace("[secure]", "");
            assert!(rest.len() < 40, "{text} shows as {shown}");
        }
    }

    #[test]
    fn what_is_no_secret_goes_through_at_once() {
        let mut mask = Mask::new(["hunter2"]).unwrap();
        assert_eq!(mask.push(b"a hun"), Masked { bytes: b"a ".to_vec(), read: 2 });
        assert_eq!(mask.push(b"gry dog\n"), Masked { bytes: b"hungry dog\n".to_vec(), read: 11 });
        assert_eq!(mask.push(b"hunter"), Masked::default());
        assert_eq!(mask.end(), Masked { bytes: b"hunter".to_vec(), read: 6 });
        let mut none = Mask::default();
        assert_eq!(none.push(b"hunter2"), Masked { bytes: b"hunter2".to_vec(), read: 7 });
    }

    #[test]
    fn the_longest_secret_wins_also_over_pieces() {
        assert_eq!(masked(&["abc", "abcdef"], &[b"xabcdefx abcdx"]).0, "x[secure]x [secure]dx");
        assert_eq!(masked(&["abc", "abcdef"], &[b"xabc", b"def", b"x abc", b"dx"]).0, "x[secure]x [secure]dx");
    }

    proptest! {
        #[test]
        fn how_the_stream_is_cut_changes_nothing(text in "[ab]{0,40}", cuts in prop::collection::vec(0_usize..40, 0..6)) {
            let secrets = ["aab", "abaab", "bbb"];
            let whole = masked(&secrets, &[text.as_bytes()]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            prop_assert_eq!(&masked(&secrets, &pieces), &whole);
            prop_assert_eq!(whole.1, text.len());

            // A follower that comes back reads again from the last byte that came out.
            let mut mask = Mask::new(secrets).unwrap();
            let (mut shown, mut at) = (Vec::new(), 0);
            for piece in pieces {
                mask.rewind();
                let up_to = piece.as_ptr() as usize - text.as_ptr() as usize + piece.len();
                let more = mask.push(&text.as_bytes()[at..up_to]);
                at += more.read;
                shown.extend(more.bytes);
            }
            shown.extend(mask.end().bytes);
            prop_assert_eq!(String::from_utf8(shown).unwrap(), whole.0);
        }
    }
}
