//! Rules on data sets in the repository: images without captions and captions without images, tables that lack columns,
//! files that are not images. Data that the job itself downloads is unknown here, so nothing is reported about it.

use super::{Config, Map, finding};
use crate::domain::Severity;
use crate::repository::normal;
use crate::yaml::Mark;
use crate::{Dialect, Finding, Repository};

/// The file name extensions that trainers recognize as images.
const IMAGES: [&str; 8] = ["png", "jpg", "jpeg", "webp", "bmp", "gif", "avif", "jxl"];
/// The magic bytes of the image formats, with their offsets.
const BEGINS: [(usize, &[u8]); 8] = [
    (0, b"\x89PNG\r\n\x1a\n"),
    (0, b"\xff\xd8\xff"),
    (8, b"WEBP"),
    (0, b"BM"),
    (0, b"GIF8"),
    (4, b"ftyp"),
    (0, b"\xff\x0a"),
    (0, b"\0\0\0\x0cJXL "),
];
/// The first bytes of a Git LFS pointer file.
const LFS: &[u8] = b"version https://git-lfs";
/// The names of a table's columns for files, and of its columns for captions.
const FILE_COLUMNS: [&str; 6] = ["file_name", "filename", "file", "image", "image_path", "path"];
const TEXT_COLUMNS: [&str; 5] = ["prompt", "caption", "text", "captions", "description"];
/// The maximum number of rows of a table that are read, and the maximum number of names in a message.
const MOST_ROWS: usize = 100_000;
const NAMED: usize = 3;

/// Returns true if trainers treat a file of this name as an image.
pub fn is_image(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, end)| IMAGES.iter().any(|known| end.eq_ignore_ascii_case(known)))
}

/// A folder that a config names.
struct Folder<'a> {
    repository: &'a Repository<'a>,
    path: String,
    at: Mark,
    key: String,
    /// The images in the folder, by their full paths.
    images: Vec<&'a str>,
}

/// Finds all problems of the data sets that a config names.
pub(super) fn data(config: &Config<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match config.dialect {
        Dialect::LoraScripts => {
            for map in config.maps_at("") {
                if let Some(folder) = Folder::named(config, map, "train_data_dir", true) {
                    findings.extend(folder.broken_images());
                    findings.extend(table(config, map, &folder));
                }
            }
        }
        Dialect::SdScripts => {
            for map in config.maps_at("").filter(|map| !map.gives("dataset_config") && !map.gives("in_json")) {
                let extension = map.text("caption_extension").unwrap_or(".caption");
                if let Some(folder) = Folder::named(config, map, "train_data_dir", true) {
                    findings.extend(folder.broken_images());
                    findings.extend(folder.without_repeats());
                    // If there are no captions at all, the sub-folder's name serves as the caption. Missing only some
                    // is a mistake.
                    findings.extend(folder.captions(extension, false));
                }
            }
        }
        Dialect::SdScriptsDataset => {
            for map in config.maps_at("datasets.subsets").filter(|map| !map.gives("metadata_file")) {
                let extension = map.text("caption_extension").unwrap_or(".caption");
                if let Some(folder) = Folder::named(config, map, "image_dir", false) {
                    findings.extend(folder.broken_images());
                    findings.extend(folder.captions(extension, !map.gives("class_tokens")));
                }
            }
        }
        Dialect::AiToolkit => {
            for map in config.maps_at("config.process.datasets") {
                let extension = map.text("caption_ext").unwrap_or("txt");
                if let Some(folder) = Folder::named(config, map, "folder_path", true) {
                    findings.extend(folder.broken_images());
                    findings.extend(folder.captions(extension, false));
                }
            }
        }
        _ => {}
    }
    findings
}

impl<'a> Folder<'a> {
    /// Returns the folder that a key names, if the repository has images in it.
    fn named(config: &Config<'a>, map: &Map<'a>, key: &str, deep: bool) -> Option<Self> {
        let entry = map.get(key)?;
        let path = normal(entry.node.text()?)?;
        let below = path.len() + 1;
        let is_near = |file: &&str| deep || !file[below..].contains('/');
        let files = config.repository.files_in(&path).into_iter();
        let images: Vec<&str> = files.filter(|file| is_image(file)).filter(is_near).collect();
        let repository = config.repository;
        (!images.is_empty()).then(|| Self { repository, path, at: entry.node.at, key: map.path_of(key), images })
    }

    fn finding(&self, rule: &'static str, severity: Severity, message: String) -> Finding {
        finding(rule, severity, message, self.at, self.key.clone())
    }

    /// Finds images that cannot be opened. Only small files were read, and broken images are small.
    fn broken_images(&self) -> Vec<Finding> {
        let read = || self.images.iter().filter_map(|path| Some((*path, self.repository.text(path)?)));
        let is_lfs = |text: &[u8]| text.starts_with(LFS);
        let named = |is: &dyn Fn(&[u8]) -> bool| -> Vec<&str> {
            read().filter(|(_, text)| is(text)).map(|(path, _)| &path[self.path.len() + 1..]).collect()
        };
        let mut findings = Vec::new();
        let pointers = named(&is_lfs);
        if !pointers.is_empty() {
            let message = format!(
                "{} of {} images in {} are Git LFS pointers: {}; the training would read these small text files \
                 instead of the images, so run `git lfs pull` in the job first",
                pointers.len(),
                self.images.len(),
                self.path,
                listed(&pointers)
            );
            findings.push(self.finding("data-lfs", Severity::Warning, message));
        }
        let empty = named(&|text| text.is_empty());
        if !empty.is_empty() {
            let message = format!("in {} these images are empty: {}; add them again", self.path, listed(&empty));
            findings.push(self.finding("data-images", Severity::Error, message));
        }
        let other = named(&|text| !text.is_empty() && !is_lfs(text) && !begins_like_an_image(text));
        if !other.is_empty() {
            let message =
                format!("in {} these files are not images: {}; replace or remove them", self.path, listed(&other));
            findings.push(self.finding("data-images", Severity::Error, message));
        }
        findings
    }

    /// Finds images without captions and captions without images. `all` makes a folder without any caption a mistake
    /// too.
    fn captions(&self, extension: &str, all: bool) -> Vec<Finding> {
        let extension = extension.trim_start_matches('.');
        let stem = |path: &'a str| path.rsplit_once('.').map_or(path, |(stem, _)| stem);
        let files = self.repository.files_in(&self.path);
        let ends = |path: &str| path.rsplit_once('.').is_some_and(|(_, end)| end == extension);
        let stems_of_captions: Vec<&str> = files.iter().copied().filter(|path| ends(path)).map(stem).collect();
        let stems_of_images: Vec<&str> = self.images.iter().copied().map(stem).collect();
        let has = |stems: &[&str], wanted: &str| stems.binary_search(&wanted).is_ok();
        let (mut captioned, mut pictured) = (stems_of_captions.clone(), stems_of_images.clone());
        captioned.sort_unstable();
        pictured.sort_unstable();
        let name = |path: &'a str| &path[self.path.len() + 1..];
        let bare: Vec<&str> =
            self.images.iter().copied().filter(|path| !has(&captioned, stem(path))).map(name).collect();
        let lone: Vec<&str> = stems_of_captions.into_iter().filter(|stem| !has(&pictured, stem)).map(name).collect();
        let mut findings = Vec::new();
        if !bare.is_empty() && (all || bare.len() < self.images.len()) {
            let message = format!(
                "{} of {} images in {} have no caption in a .{extension} file: {}; write one next to each",
                bare.len(),
                self.images.len(),
                self.path,
                listed(&bare)
            );
            findings.push(self.finding("data-captions", Severity::Warning, message));
        } else if bare.len() == self.images.len()
            && let Some(other) = ["txt", "caption"]
                .into_iter()
                .filter(|other| *other != extension)
                .find(|other| files.iter().any(|path| path.ends_with(&format!(".{other}"))))
        {
            let message = format!(
                "no image in {} has a caption in a .{extension} file, but there are .{other} files: set the key for \
                 the captions' extension to .{other}",
                self.path
            );
            findings.push(self.finding("data-captions", Severity::Warning, message));
        }
        if !lone.is_empty() {
            let message = format!(
                "{} captions in {} have no image: {}; remove them, or add the images",
                lone.len(),
                self.path,
                listed(&lone)
            );
            findings.push(self.finding("data-captions", Severity::Warning, message));
        }
        findings
    }

    /// Reports a folder without sub-folders such as `10_style`: sd-scripts reads only those, and exits with 0 when it
    /// finds no image.
    fn without_repeats(&self) -> Option<Finding> {
        let has_repeats = |folder: &str| folder.split_once('_').is_some_and(|(times, _)| times.parse::<u32>().is_ok());
        let sub_folder = |path: &&str| path[self.path.len() + 1..].split_once('/').map(|(folder, _)| folder.to_owned());
        let is_found = self.images.iter().filter_map(sub_folder).any(|folder| has_repeats(&folder));
        let message = format!(
            "{} has no sub-folder such as 10_style: sd-scripts reads only `REPEATS_NAME` sub-folders, finds no image \
             there, and ends with exit status 0; move the images into one",
            self.path
        );
        (!is_found).then(|| self.finding("data-folders", Severity::Error, message))
    }
}

/// Finds missing columns, images and lines in a table of captions.
fn table(config: &Config<'_>, map: &Map<'_>, folder: &Folder<'_>) -> Vec<Finding> {
    let table = || -> Option<_> {
        let entry = map.get("metadata_path")?;
        let path = normal(entry.node.text()?).filter(|path| path.ends_with(".csv"))?;
        let text = config.repository.text(&path)?;
        Some((entry, path, text))
    };
    let Some((entry, path, text)) = table() else { return Vec::new() };
    let tell =
        |rule, severity, message| vec![finding(rule, severity, message, entry.node.at, "metadata_path".to_owned())];
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    let mut rows = reader.byte_records().take(MOST_ROWS).filter_map(Result::ok).map(|row| -> Vec<String> {
        row.iter().map(|cell| String::from_utf8_lossy(cell).trim().trim_start_matches('\u{feff}').to_owned()).collect()
    });
    let Some(head) = rows.next() else {
        return tell("data-columns", Severity::Error, format!("{path} is empty: add a line for each image"));
    };
    let column = |names: &[&str]| head.iter().position(|cell| names.contains(&cell.to_lowercase().as_str()));
    let (Some(file), Some(_)) = (column(&FILE_COLUMNS), column(&TEXT_COLUMNS)) else {
        let first: String = head.join(",").chars().take(60).collect();
        let message = format!(
            "{path} does not name a column for files and one for captions in its first line, which is `{first}`: begin it \
             with `file_name,prompt`, for example"
        );
        return tell("data-columns", Severity::Warning, message);
    };
    let names: Vec<String> = rows.filter_map(|row| row.get(file).cloned()).filter(|name| !name.is_empty()).collect();
    let is_there = |name: &&String| {
        let path = format!("{}/{}", folder.path, name.trim_start_matches("./"));
        config.repository.has(&path) || config.repository.has(name)
    };
    let missing: Vec<&str> = names.iter().filter(|name| !is_there(name)).map(String::as_str).collect();
    let mut findings = Vec::new();
    if !missing.is_empty() {
        let message = format!(
            "{path} names {} images that are not in {}: {}; add them, or remove their lines",
            missing.len(),
            folder.path,
            listed(&missing)
        );
        findings.extend(tell("data-captions", Severity::Warning, message));
    }
    let told: std::collections::BTreeSet<&str> =
        names.iter().map(|name| name.trim_start_matches("./").rsplit('/').next().unwrap_or(name)).collect();
    let name = |path: &&str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let bare: Vec<String> = folder.images.iter().map(name).filter(|name| !told.contains(name.as_str())).collect();
    if !bare.is_empty() {
        let bare: Vec<&str> = bare.iter().map(String::as_str).collect();
        let message = format!(
            "{} of {} images in {} have no line in {path}: {}; add one for each",
            bare.len(),
            folder.images.len(),
            folder.path,
            listed(&bare)
        );
        findings.extend(tell("data-captions", Severity::Warning, message));
    }
    findings
}

fn begins_like_an_image(text: &[u8]) -> bool {
    BEGINS.iter().any(|(at, begin)| text.get(*at..).is_some_and(|rest| rest.starts_with(begin)))
}

/// Formats names as `a, b, c and 4 more`.
fn listed(names: &[&str]) -> String {
    let named: Vec<String> = names.iter().take(NAMED).map(|name| name.chars().take(80).collect()).collect();
    let more = names.len().saturating_sub(NAMED);
    named.join(", ") + if more > 0 { format!(" and {more} more") } else { String::new() }.as_str()
}
