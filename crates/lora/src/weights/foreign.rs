//! Recognition of files that are named like weights but are not safetensors files.

/// Number of bytes from the start of a file that [`format_name`] examines.
pub(super) const SEEN: usize = 256;

/// Describes a file by its first bytes, and what to do about it. Returns `None` for an unknown format.
pub(super) fn format_name(start: &[u8]) -> Option<&'static str> {
    const ZIP: &str = "this is a pickle of torch.save (a zip archive), which runs code when it is loaded: save as \
                       safetensors (in sd-scripts, save_model_as = \"safetensors\")";
    let text = start.trim_ascii_start().to_ascii_lowercase();
    let begins = |words: &str| text.starts_with(words.as_bytes());
    let is_text = std::str::from_utf8(start).is_ok_and(|text| !text.contains('\0'));
    Some(match start {
        [] => "this file is empty: the save was cut off, or the disk is full",
        _ if start.starts_with(b"PK\x03\x04") => ZIP,
        [0x80, 2..=5, ..] => {
            "this is a Python pickle, which runs code when it is loaded: save as safetensors with the trainer"
        }
        _ if start.starts_with(b"GGUF") => "this is a GGUF file: inspect the safetensors from which it was made",
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
