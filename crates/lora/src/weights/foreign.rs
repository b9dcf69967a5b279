//! Recognition of files that are named like weights but are not safetensors files.

use std::borrow::Cow;

/// Number of bytes from the start of a file that [`format_name`] examines.
pub(super) const SEEN: usize = 256;

/// Describes a file by its first bytes, and what to do about it. Returns `None` for an unknown format.
pub(super) fn format_name(start: &[u8]) -> Option<Cow<'static, str>> {
    if let Some(count) = tensors_of_gguf(start) {
        return Some(Cow::Owned(format!(
            "this is a GGUF file of llama.cpp with {count} tensors: inspect the safetensors from which it was made"
        )));
    }
    constant(start).map(Cow::Borrowed)
}

/// Returns the number of tensors that the header of a GGUF file has: after the magic and the version.
fn tensors_of_gguf(start: &[u8]) -> Option<u64> {
    let header = start.strip_prefix(b"GGUF")?;
    header.get(4..)?.first_chunk().map(|count| u64::from_le_bytes(*count))
}

fn constant(start: &[u8]) -> Option<&'static str> {
    const ZIP: &str = "this is a pickle of torch.save (a zip archive), which runs code when it is loaded: save as \
                       safetensors (in sd-scripts, save_model_as = \"safetensors\")";
    let text = start.trim_ascii_start().to_ascii_lowercase();
    let begins = |words: &str| text.starts_with(words.as_bytes());
    let has = |name: &[u8]| start.windows(name.len()).any(|part| part == name);
    let is_text = std::str::from_utf8(start).is_ok_and(|text| !text.contains('\0'));
    Some(match start {
        [] => "this file is empty: the save was cut off, or the disk is full",
        _ if start.starts_with(b"PK\x03\x04") && has(b"data.pkl") => ZIP,
        _ if start.starts_with(b"PK\x03\x04") => "this is a zip archive: unpack it, and inspect the weights in it",
        [0x80, 2..=5, ..] => {
            "this is a Python pickle, which runs code when it is loaded: save as safetensors with the trainer"
        }
        _ if start.starts_with(b"GGUF") => "this is a GGUF file: inspect the safetensors from which it was made",
        _ if start.starts_with(b"\x93NUMPY") => "this is an array of NumPy and not weights: convert it to safetensors",
        _ if start.starts_with(b"\x89HDF") => "this is an HDF5 file, as Keras writes them: convert it to safetensors",
        _ if start.starts_with(b"\x89PNG") || start.starts_with(&[0xff, 0xd8, 0xff]) => {
            "this is an image and not weights: download the weights themselves"
        }
        [0x1f, 0x8b, ..] => "this is compressed with gzip: unpack it first",
        _ if begins("version https://git-lfs") => {
            "this is a Git LFS pointer and not the file itself: run `git lfs pull`"
        }
        _ if begins("<!doctype html") || begins("<html") => {
            "this is a web page and not weights: the download got an error page or a login, so download it again"
        }
        _ if begins("{") || begins("<?xml") => {
            "this is JSON or XML and not weights: the download got a server's response, so read it"
        }
        _ if is_text => "this is plain text and not weights: read it, the download may have got an error message",
        _ if start.iter().all(|byte| *byte == 0) => {
            "this file begins with only zeros: it was allocated, but never written"
        }
        _ => return None,
    })
}
