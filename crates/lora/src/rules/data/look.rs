//! How trainers look for images: in which folders, and with which ends of names.

/// The file name extensions that are images to some trainer.
const IMAGES: [&str; 8] = ["png", "jpg", "jpeg", "webp", "bmp", "gif", "avif", "jxl"];
/// More extensions of images, which most trainers do not read.
const RARE: [&str; 6] = ["tif", "tiff", "heic", "heif", "svg", "psd"];
/// Extensions that sd-scripts reads. The last two need a plugin of Pillow.
const OF_SD_SCRIPTS: [&str; 7] = ["png", "jpg", "jpeg", "webp", "bmp", "avif", "jxl"];

/// The way in which a trainer looks for images in a folder.
pub(super) struct Look {
    pub(super) trainer: &'static str,
    /// Kind of the files that the trainer looks for.
    pub(super) noun: &'static str,
    ends: &'static [&'static str],
    /// True when `.Png` counts as `.png`.
    any_case: bool,
    depth: Depth,
    /// The hidden folders that are skipped; `None` when all hidden files and folders are.
    hidden: Option<&'static [&'static str]>,
}

#[derive(Clone, Copy, PartialEq)]
enum Depth {
    /// The folder itself.
    Direct,
    /// Sub-folders such as `10_style`, and nothing else.
    Repeats,
    /// All sub-folders.
    Deep,
}

pub(super) const SD_SCRIPTS: Look = Look {
    trainer: "sd-scripts",
    noun: "image",
    ends: &OF_SD_SCRIPTS,
    any_case: false,
    depth: Depth::Repeats,
    hidden: None,
};
pub(super) const SD_SCRIPTS_SETS: Look = Look { depth: Depth::Direct, ..SD_SCRIPTS };
pub(super) const MUSUBI: Look = Look { trainer: "musubi-tuner", ..SD_SCRIPTS_SETS };
pub(super) const MUSUBI_VIDEOS: Look =
    Look { noun: "video", ends: &["mp4", "webm", "avi", "mkv", "mov", "flv", "wmv", "m4v", "mpg", "mpeg"], ..MUSUBI };
pub(super) const AI_TOOLKIT: Look = Look {
    trainer: "ai-toolkit",
    noun: "image",
    ends: &[
        "png", "jpg", "jpeg", "webp", "mp4", "avi", "mov", "webm", "mkv", "wmv", "m4v", "flv", "wav", "mp3", "flac",
    ],
    any_case: true,
    depth: Depth::Deep,
    hidden: None,
};
pub(super) const SIMPLETUNER: Look = Look {
    trainer: "SimpleTuner",
    noun: "image",
    ends: &IMAGES,
    any_case: true,
    depth: Depth::Deep,
    hidden: Some(&[".Spotlight-V100", ".Trashes", ".fseventsd", ".TemporaryItems", ".zfs", ".ipynb_checkpoints"]),
};
/// The folders of images that the library `datasets` reads.
pub(super) const IMAGE_FOLDER: Look =
    Look { trainer: "the trainer", noun: "image", ends: &IMAGES, any_case: true, depth: Depth::Deep, hidden: None };

impl Look {
    /// Returns true if the trainer takes a file for an image. The path is relative to the folder that the config names.
    pub(super) fn finds(&self, path: &str) -> bool {
        let is_seen = match self.hidden {
            None => !is_hidden(path),
            Some(skipped) => !path.split('/').any(|part| skipped.contains(&part)),
        };
        self.enters(path) && is_seen && self.reads(path)
    }

    /// Returns true if the trainer looks into the folder of a file.
    pub(super) fn enters(&self, path: &str) -> bool {
        let folders = path.rsplit_once('/').map(|(folders, _)| folders);
        match self.depth {
            Depth::Direct => folders.is_none(),
            Depth::Repeats => folders.is_some_and(|folder| !folder.contains('/') && has_repeats(folder)),
            Depth::Deep => true,
        }
    }

    /// Returns true if the end of the name is one that the trainer reads.
    pub(super) fn reads(&self, name: &str) -> bool {
        let Some((_, end)) = name.rsplit_once('.') else { return false };
        self.ends.iter().any(|known| {
            let is_other_case = self.any_case || end.bytes().all(|byte| !byte.is_ascii_lowercase());
            *known == end || is_other_case && end.eq_ignore_ascii_case(known)
        })
    }

    /// Says where the trainer looks, for a folder in which it finds nothing.
    pub(super) fn in_words(&self) -> &'static str {
        match self.depth {
            Depth::Direct => "it looks at the files of the folder itself, not at its sub-folders",
            Depth::Repeats => "it reads only `REPEATS_NAME` sub-folders, such as 10_style, and not what is deeper",
            Depth::Deep => "it reads other kinds of files",
        }
    }

    /// Returns true if the trainer reads sub-folders with a number of repeats only.
    pub(super) fn wants_repeats(&self) -> bool {
        self.depth == Depth::Repeats
    }
}

/// Returns true if trainers treat a file of this name as an image.
pub fn is_image(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, end)| IMAGES.iter().any(|known| end.eq_ignore_ascii_case(known)))
}

/// Returns true if people would call a file of this name an image, whether or not a trainer reads it.
pub(super) fn is_image_to_people(path: &str) -> bool {
    let is_rare = |end: &str| RARE.iter().any(|known| end.eq_ignore_ascii_case(known));
    !is_hidden(path) && (is_image(path) || path.rsplit_once('.').is_some_and(|(_, end)| is_rare(end)))
}

/// Returns true if the file or a folder on the way to it is hidden.
pub(super) fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('.'))
}

/// Returns true for names such as `10_style`.
pub(super) fn has_repeats(folder: &str) -> bool {
    folder.split_once('_').is_some_and(|(times, _)| times.parse::<u32>().is_ok())
}
