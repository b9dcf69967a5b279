//! A folder with images and captions.

use super::columns::LFS;
use super::image_size::Size;
use super::look::{Look, has_repeats, is_hidden, is_image_to_people};
use super::{listed, path_of};
use crate::domain::{Rule, Severity};
use crate::rules::{Config, finding};
use crate::tree::Entry;
use crate::yaml::Mark;
use crate::{Finding, Repository};

/// The magic bytes of the image formats, with their offsets.
const BEGINS: [(usize, &[u8]); 11] = [
    (0, b"\x89PNG\r\n\x1a\n"),
    (0, b"\xff\xd8\xff"),
    (8, b"WEBP"),
    (0, b"BM"),
    (0, b"GIF8"),
    (4, b"ftyp"),
    (0, b"\xff\x0a"),
    (0, b"\0\0\0\x0cJXL "),
    (0, b"\0\0\0\x0cjP  "),
    (0, b"II*\0"),
    (0, b"MM\0*"),
];

/// A folder that a config names.
pub(super) struct Folder<'a> {
    repository: &'a Repository<'a>,
    look: &'static Look,
    pub(super) path: String,
    at: Mark,
    key: String,
    /// The images or videos that the trainer finds, by their full paths, without hidden ones.
    pub(super) images: Vec<&'a str>,
    /// The hidden images that the trainer finds.
    hidden: Vec<&'a str>,
    /// The files that people would call images, whether or not the trainer finds them.
    others: Vec<&'a str>,
}

impl<'a> Folder<'a> {
    /// Returns the folder that an entry names, if the repository has images in it.
    pub(super) fn named(config: &Config<'a>, entry: &Entry, key: String, look: &'static Look) -> Option<Self> {
        let path = path_of(entry)?;
        let below = path.len() + 1;
        let repository = config.repository;
        let files = repository.files_in(&path);
        let found = files.iter().copied().filter(|file| look.finds(&file[below..]));
        let (hidden, images): (Vec<_>, Vec<_>) = found.partition(|file| is_hidden(&file[below..]));
        let others: Vec<&str> = files.into_iter().filter(|file| is_image_to_people(&file[below..])).collect();
        let is_there = !(images.is_empty() && hidden.is_empty() && others.is_empty());
        is_there.then_some(Self { repository, look, path, at: entry.node.at, key, images, hidden, others })
    }

    pub(super) fn finding(&self, rule: Rule, severity: Severity, message: String) -> Finding {
        finding(rule, severity, message, self.at, self.key.clone())
    }

    /// Returns the sizes of the images, as far as the beginnings of their files tell them, by their paths below the folder.
    pub(super) fn sizes(&self) -> Vec<(&'a str, Size)> {
        let of = |path: &'a str| Some((&path[self.path.len() + 1..], Size::of(self.repository.text(path)?)?));
        self.images.iter().copied().filter_map(of).collect()
    }

    /// Finds images that cannot be opened, by the beginnings of their files.
    pub(super) fn broken_images(&self) -> Vec<Finding> {
        let read = || self.images.iter().filter_map(|path| Some((*path, self.repository.text(path)?)));
        let is_lfs = |text: &[u8]| text.starts_with(LFS);
        let named = |is: &dyn Fn(&[u8]) -> bool| -> Vec<&str> {
            read().filter(|(_, text)| is(text)).map(|(path, _)| &path[self.path.len() + 1..]).collect()
        };
        let trainer = self.look.trainer;
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
            findings.push(self.finding(Rule::DataLfs, Severity::Warning, message));
        }
        let empty = named(&|text| text.is_empty());
        if !empty.is_empty() {
            let message = format!(
                "{trainer} cannot open images in {} that are empty: {}; add them again",
                self.path,
                listed(&empty)
            );
            findings.push(self.finding(Rule::DataImages, Severity::Error, message));
        }
        let other = named(&|text| !text.is_empty() && !is_lfs(text) && !begins_like_an_image(text));
        if !other.is_empty() {
            let message = format!(
                "{trainer} cannot open files in {} that are not images: {}; replace them",
                self.path,
                listed(&other)
            );
            findings.push(self.finding(Rule::DataImages, Severity::Error, message));
        }
        findings
    }

    /// Finds images without captions and captions without images. `all` makes a folder without any caption a mistake
    /// too.
    pub(super) fn captions(&self, extension: &str, all: bool) -> Vec<Finding> {
        let extension = extension.trim_start_matches('.');
        let noun = self.look.noun;
        let stem = |path: &'a str| path.rsplit_once('.').map_or(path, |(stem, _)| stem);
        let below = self.path.len() + 1;
        let is_read = |path: &&str| !is_hidden(&path[below..]) && self.look.enters(&path[below..]);
        let files = self.repository.files_in(&self.path).into_iter().filter(is_read);
        let files: Vec<&str> = files.collect();
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
        let trainer = self.look.trainer;
        let mut findings = Vec::new();
        let other = ["txt", "caption"].into_iter().filter(|other| *other != extension);
        let other = other.into_iter().find(|other| files.iter().any(|path| path.ends_with(&format!(".{other}"))));
        if let Some(other) = other.filter(|_| bare.len() == self.images.len()) {
            let message = format!(
                "{trainer} finds no caption in a .{extension} file in {}, but there are .{other} files: set the key for \
                 the captions' extension to .{other}",
                self.path
            );
            findings.push(self.finding(Rule::DataCaptions, Severity::Warning, message));
        } else if !bare.is_empty() && (all || bare.len() < self.images.len()) {
            let message = format!(
                "{trainer} finds no .{extension} caption for {} of {} {noun}s in {}: {}; write one next to each",
                bare.len(),
                self.images.len(),
                self.path,
                listed(&bare)
            );
            findings.push(self.finding(Rule::DataCaptions, Severity::Warning, message));
        }
        if !lone.is_empty() {
            let message = format!(
                "{trainer} reads no caption without its {noun}, as {} in {}: {}; remove them, or add the {noun}s",
                lone.len(),
                self.path,
                listed(&lone)
            );
            findings.push(self.finding(Rule::DataCaptions, Severity::Warning, message));
        }
        findings
    }

    /// Reports a folder with images of which the trainer finds none: most trainers then end with exit status 0.
    pub(super) fn without_images(&self) -> Option<Finding> {
        let look = self.look;
        let names: Vec<&str> = self.others.iter().map(|path| &path[self.path.len() + 1..]).collect();
        let folder = |path: &&str| path.split_once('/').map(|(folder, _)| folder.to_owned());
        let has_folder = names.iter().filter_map(folder).any(|folder| has_repeats(&folder));
        if look.wants_repeats() && !has_folder {
            let message = format!(
                "{} has no sub-folder such as 10_style: sd-scripts reads only `REPEATS_NAME` sub-folders, finds no image \
                 there, and ends with exit status 0; move the images into one",
                self.path
            );
            return Some(self.finding(Rule::DataFolders, Severity::Error, message));
        }
        let unread: Vec<&str> = names.iter().copied().filter(|name| !look.reads(name)).collect();
        let why = if unread.len() == names.len() { "it does not read files with these ends" } else { look.in_words() };
        let message =
            format!("{} finds no image in {}, though there are {}: {why}", look.trainer, self.path, listed(&names));
        (!names.is_empty()).then(|| self.finding(Rule::DataFolders, Severity::Error, message))
    }

    /// Finds hidden images that the trainer reads: copies that a program made, which no one wants to train.
    pub(super) fn hidden_images(&self) -> Option<Finding> {
        let names: Vec<&str> = self.hidden.iter().map(|path| &path[self.path.len() + 1..]).collect();
        // One example of each kind: a hidden folder, and a hidden file.
        let part = |name: &'a str| name.split('/').find(|part| part.starts_with('.'));
        let mut kinds: Vec<&str> = names.iter().copied().filter_map(part).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let message = format!(
            "the trainer also reads {} hidden images in {}: {}; remove these copies from the data",
            names.len(),
            self.path,
            listed(&kinds)
        );
        (!names.is_empty()).then(|| self.finding(Rule::DataHidden, Severity::Warning, message))
    }
}

pub(super) fn begins_like_an_image(text: &[u8]) -> bool {
    BEGINS.iter().any(|(at, begin)| text.get(*at..).is_some_and(|rest| rest.starts_with(begin)))
}
