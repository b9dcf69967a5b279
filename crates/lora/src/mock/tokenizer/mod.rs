//! Tokenizers with their own vocabularies: every byte is a token, so they can tokenize any text.

mod chat;
mod clip;
mod t5;

use super::File;

pub(super) use chat::{FAST, chat};
pub(crate) use clip::clip;
pub(crate) use t5::t5;

/// Returns the character that stands for a byte, as in all tokenizers that follow GPT-2: printable characters stand for
/// themselves, the other bytes are mapped to the characters from 256 on.
pub(super) fn letter(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if is_printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !is_printable(*byte)).count() as u32;
    char::from_u32(256 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}
