//! Reader of `lora.train.publish`: the places to which trained weights go.

use serde::{Deserialize, Serialize};

use super::reader::Reader;
use crate::yaml::{Entry, Mark, Node};

const KEY: &str = "lora.train.publish";
const KEYS: [&str; 9] =
    ["huggingface", "release", "s3", "environment", "private", "license", "base_model", "tags", "tag"];
/// The keys that name a place, of which one is enough.
const PLACES: [&str; 3] = ["huggingface", "release", "s3"];
/// The part of a tag's name that is the number of the build. A tag stays where it is, so each build needs its own.
const BUILD: &str = "{build}";
/// Maximum number of tags of a model, and of characters of a word.
const MOST_TAGS: usize = 20;
const MOST_WORD: usize = 96;
/// Maximum length of the address of a folder in a bucket.
const MOST_ADDRESS: usize = 300;

/// The places to which a training that has passed publishes its weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The repository on the Hugging Face Hub, `OWNER/NAME`.
    pub huggingface: Option<String>,
    /// True for a release at GitHub, in the repository that is built.
    #[serde(default)]
    pub release: bool,
    /// The folder in a bucket, `s3://BUCKET/FOLDER` with `{build}` for the number of the build.
    #[serde(default)]
    pub s3: Option<String>,
    /// The environment whose people approve.
    #[serde(default)]
    pub environment: Option<String>,
    /// True if a repository that does not exist yet is made a private one.
    pub private: bool,
    /// The license, by the Hub's name for it.
    pub license: Option<String>,
    /// The repository of the model that was trained, `OWNER/NAME`.
    pub base_model: Option<String>,
    /// Tags of the model card.
    pub tags: Vec<String>,
    /// The name of the git tag, with `{build}` for the number of the build.
    tag: String,
    /// Position of the entry in the `.travis.yml`.
    #[serde(skip)]
    pub at: Mark,
}

impl Publish {
    /// Returns the name of the git tag for a build.
    pub fn tag_of(&self, build: i32) -> String {
        self.tag.replace(BUILD, &build.to_string())
    }

    /// Lists the places, in words.
    pub fn places(&self) -> impl Iterator<Item = String> {
        let release = self.release.then(|| "a release at GitHub".to_owned());
        self.huggingface
            .iter()
            .map(|target| format!("{target} on the Hugging Face Hub"))
            .chain(release)
            .chain(self.s3.clone())
    }
}

/// Reads the value of the key. Returns `None` if it names no place, and reports that.
pub(super) fn read(reader: &mut Reader, node: &Node) -> Option<Publish> {
    let mut publish = Publish {
        huggingface: None,
        release: false,
        s3: None,
        environment: None,
        private: true,
        license: None,
        base_model: None,
        tags: Vec::new(),
        tag: format!("build-{BUILD}"),
        at: node.at,
    };
    for entry in reader.entries(KEY, node) {
        match entry.key.as_str() {
            "huggingface" => publish.huggingface = text(reader, entry, is_repository, REPOSITORY),
            "release" => publish.release = truth(reader, entry).unwrap_or_default(),
            "s3" => publish.s3 = text(reader, entry, is_folder, FOLDER),
            // Without the environment, nobody would have to approve.
            "environment" => publish.environment = Some(text(reader, entry, is_environment, ENVIRONMENT)?),
            "private" => publish.private = truth(reader, entry).unwrap_or(true),
            "license" => publish.license = text(reader, entry, is_license, "a license such as apache-2.0"),
            "base_model" => publish.base_model = text(reader, entry, is_repository, REPOSITORY),
            "tags" => match tags(&entry.value) {
                Some(tags) => publish.tags = tags,
                None => reader.wrong(&format!("{KEY}.tags"), entry.value.at, "a list of at most 20 words"),
            },
            "tag" => {
                if let Some(tag) = text(reader, entry, is_tag, "a name with {build} in it, such as v{build}") {
                    publish.tag = tag;
                }
            }
            _ => reader.unknown(KEY, node, entry, &KEYS),
        }
    }
    if publish.places().next().is_none() {
        // A place with a wrong value was reported.
        if !node
            .entries()
            .iter()
            .any(|entry| PLACES.contains(&entry.key.as_str()) && entry.value.text() != Some("false"))
        {
            reader.wrong(
                KEY,
                node.at,
                "a map with `huggingface: OWNER/NAME`, `release: true` or `s3: s3://BUCKET/FOLDER`",
            );
        }
        return None;
    }
    Some(publish)
}

const REPOSITORY: &str = "a repository on the Hub, OWNER/NAME";
const FOLDER: &str = "a folder with {build} in it, such as s3://models/style/{build}";
const ENVIRONMENT: &str = "the name of an environment, of a-z, 0-9 and -";

fn truth(reader: &mut Reader, entry: &Entry) -> Option<bool> {
    match entry.value.text() {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => {
            reader.wrong(&format!("{KEY}.{}", entry.key), entry.value.at, "true or false");
            None
        }
    }
}

fn text(reader: &mut Reader, entry: &Entry, is_good: fn(&str) -> bool, wanted: &str) -> Option<String> {
    let text = entry.value.text().filter(|text| is_good(text));
    if text.is_none() {
        reader.wrong(&format!("{KEY}.{}", entry.key), entry.value.at, wanted);
    }
    text.map(str::to_owned)
}

fn tags(node: &Node) -> Option<Vec<String>> {
    let is_word =
        |text: &&str| (1..=MOST_WORD).contains(&text.chars().count()) && !text.chars().any(|c| c.is_control());
    let tags: Option<Vec<String>> =
        node.items().iter().map(|item| item.text().filter(is_word).map(str::to_owned)).collect();
    tags.filter(|tags| !tags.is_empty() && tags.len() <= MOST_TAGS)
}

/// Returns true for the names that the Hub allows: letters, digits, `-`, `_` and `.`, without `--` and `..`.
fn is_repository(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        (1..=MOST_WORD).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && is_edge(part.chars().next())
            && is_edge(part.chars().next_back())
            && !part.contains("--")
            && !part.contains("..")
            && !part.ends_with(".git")
    };
    text.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name))
}

/// Returns true for a folder of plain names in a bucket, of which each build has its own.
fn is_folder(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_part = |part: &str| {
        let rest = part.replacen(BUILD, "0", 1);
        !rest.is_empty() && !rest.starts_with('.') && rest.chars().all(is_plain)
    };
    let is_bucket = |bucket: &str| (3..=63).contains(&bucket.len()) && !bucket.contains(BUILD) && is_part(bucket);
    let Some((bucket, folder)) = text.strip_prefix("s3://").and_then(|rest| rest.split_once('/')) else { return false };
    text.len() <= MOST_ADDRESS && is_bucket(bucket) && folder.contains(BUILD) && folder.split('/').all(is_part)
}

fn is_environment(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_license(text: &str) -> bool {
    (1..=MOST_WORD).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
}

fn is_tag(text: &str) -> bool {
    let rest = text.replacen(BUILD, "", 1);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.contains(BUILD)
        && text.len() <= MOST_WORD
        && rest.chars().all(is_plain)
        && !text.starts_with(['-', '.'])
        && !text.ends_with('.')
        && !text.ends_with(".lock")
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    fn read(publish: &str) -> (Option<Publish>, Vec<String>) {
        let document = crate::yaml::read(&format!("train: {{publish: {publish}}}")).expect("YAML");
        let (settings, findings) = Settings::read(&document.root.expect("a value"));
        let publish = settings.train.into_iter().next().and_then(|train| train.publish);
        (publish, findings.into_iter().map(|finding| finding.message).collect())
    }

    #[test]
    fn everything_that_can_be_said() {
        let (publish, wrong) = read(
            "{huggingface: acme/Ink.lora_2, private: false, license: apache-2.0, base_model: runwayml/sd-v1-5, \
             tags: [style, '墨'], tag: 'v{build}'}",
        );
        assert_eq!(wrong, Vec::<String>::new());
        let publish = publish.expect("a place");
        assert_eq!((publish.huggingface.as_deref(), publish.private), (Some("acme/Ink.lora_2"), false));
        assert_eq!(
            (publish.license.as_deref(), publish.base_model.as_deref()),
            (Some("apache-2.0"), Some("runwayml/sd-v1-5"))
        );
        assert_eq!((publish.tags.len(), publish.tag_of(12)), (2, "v12".to_owned()));
    }

    #[test]
    fn a_repository_is_private_unless_it_is_said_otherwise() {
        let (publish, wrong) = read("{huggingface: acme/ink}");
        assert_eq!(wrong, Vec::<String>::new());
        let publish = publish.expect("a place");
        assert!(publish.private && publish.license.is_none());
        assert_eq!(publish.tag_of(3), "build-3");
        let (publish, wrong) = read("{huggingface: acme/ink, private: no way}");
        assert!(publish.expect("a place").private && wrong.len() == 1);
    }

    #[test]
    fn names_that_the_hub_does_not_allow_are_told() {
        for name in
            ["ink", "acme/", "acme/a/b", "acme/../x", "acme/a--b", "-a/b", "a/b.git", "a/b c", "a/b?x", "''", "[a]"]
        {
            let (publish, wrong) = read(&format!("{{huggingface: {name}}}"));
            assert!(publish.is_none() && wrong.len() == 1, "{name}: {wrong:?}");
        }
        for (more, told) in [
            ("tag: latest", "with {build} in it"),
            ("tag: '../{build}'", "with {build} in it"),
            ("tags: style", "a list of"),
            ("license: \"a\\nb\"", "a license such as"),
            ("base_model: ./models/sd.bin", "OWNER/NAME"),
            ("colour: red", "colour"),
        ] {
            let (publish, wrong) = read(&format!("{{huggingface: acme/ink, {more}}}"));
            assert!(publish.is_some() && wrong.len() == 1 && wrong[0].contains(told), "{more}: {wrong:?}");
        }
        for nothing in ["{private: true}", "{release: false}"] {
            assert!(read(nothing).1[0].contains("huggingface: OWNER/NAME"), "{nothing}");
        }
    }

    #[test]
    fn weights_may_go_to_several_places_with_an_approval() {
        let (publish, wrong) = read("{release: true, s3: 's3://acme-models/ink/{build}', environment: production}");
        assert_eq!(wrong, Vec::<String>::new());
        let publish = publish.expect("places");
        assert!(publish.release && publish.huggingface.is_none());
        assert_eq!(publish.s3.as_deref(), Some("s3://acme-models/ink/{build}"));
        assert_eq!(publish.environment.as_deref(), Some("production"));
        assert_eq!(publish.places().collect::<Vec<_>>(), ["a release at GitHub", "s3://acme-models/ink/{build}"]);
        for folder in
            ["s3://b/x{build}", "s3://models/ink", "models/{build}", "s3://models/../{build}", "s3://models//{build}"]
        {
            let (publish, wrong) = read(&format!("{{s3: '{folder}'}}"));
            assert!(
                publish.is_none() && wrong.len() == 1 && wrong[0].contains("with {build} in it"),
                "{folder}: {wrong:?}"
            );
        }
        // A place whose approval cannot be read gets nothing.
        let (publish, wrong) = read("{release: true, environment: 'Big Prod'}");
        assert!(publish.is_none() && wrong.len() == 1 && wrong[0].contains("the name of an environment"), "{wrong:?}");
    }
}
