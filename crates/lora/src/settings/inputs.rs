//! Reader of `lora.train.dataset` and `lora.train.model`: the data that the service fetches for a training.

use super::reader::Reader;
use crate::domain::Severity;
use crate::input::{Input, InputKind, Source, overlap};
use crate::repository::normal;
use crate::yaml::{Data, Node};

const KEYS: [&str; 3] = ["from", "to", "sha256"];
/// Maximum number of inputs of a training.
const MOST: usize = 8;

/// Reads one entry or a list of them.
pub(super) fn read(reader: &mut Reader, kind: InputKind, node: &Node, inputs: &mut Vec<Input>) {
    let key = format!("lora.train.{}", kind.key());
    let nodes = match &node.data {
        Data::Seq(items) => items.iter().collect(),
        _ => vec![node],
    };
    if nodes.len() + inputs.len() > MOST {
        reader.wrong(&key, node.at, &format!("at most {MOST} entries, with those of the other key"));
    }
    for node in nodes.into_iter().take(MOST - inputs.len().min(MOST)) {
        let Some(input) = entry(reader, &key, kind, node) else { continue };
        match inputs.iter().find(|other| overlap(other.place(), input.place())) {
            Some(other) => {
                let wanted = format!("a path of its own, and {} is taken by {}", input.place(), other.from);
                reader.wrong(&format!("{key}.to"), node.at, &wanted);
            }
            None => inputs.push(input),
        }
    }
}

fn entry(reader: &mut Reader, key: &str, kind: InputKind, node: &Node) -> Option<Input> {
    let (mut from, mut to, mut sha256) = (None, None, None);
    let errors = reader.findings.len();
    for entry in reader.entries(key, node) {
        let at = entry.value.at;
        let text = entry.value.text().unwrap_or_default();
        match entry.key.as_str() {
            "from" => match text.parse::<Source>() {
                Ok(source) => from = Some(source),
                Err(wanted) => reader.wrong(&format!("{key}.from"), at, &wanted),
            },
            "to" => match place(text) {
                Some(place) => to = Some(place),
                None => reader.wrong(&format!("{key}.to"), at, "a path below the root of the repository"),
            },
            "sha256" => match is_sha256(text) {
                true => sha256 = Some(text.to_lowercase()),
                false => reader.wrong(&format!("{key}.sha256"), at, "64 digits of hexadecimal"),
            },
            _ => reader.unknown(key, node, entry, &KEYS),
        }
    }
    let (Some(from), Some(to)) = (from, to) else {
        if reader.findings.len() == errors {
            reader.wrong(key, node.at, "a map with `from: ADDRESS` and `to: PATH`");
        }
        return None;
    };
    let input = Input { kind, from, sha256, to, at: node.at };
    match &input.from {
        Source::Hub(_) | Source::Git(_) | Source::Bucket { .. } | Source::File(_) if input.sha256.is_some() => {
            reader.wrong(&format!("{key}.sha256"), node.at, "left out: it is for a single file, https://…");
            return None;
        }
        Source::Git(git) if input.from.is_open() && !git.is_at_commit() => {
            reader.wrong(&format!("{key}.from"), node.at, "git+https://…, or git+http://… with a commit");
            return None;
        }
        Source::Web(_) if input.from.is_open() && input.sha256.is_none() => {
            reader.wrong(&format!("{key}.from"), node.at, "https://…, or http://… with `sha256`");
            return None;
        }
        _ => {}
    }
    if !input.is_pinned() {
        let pin = if matches!(input.from, Source::Web(_)) { "`sha256`" } else { "a commit, `@REVISION`" };
        let message = format!(
            "`{key}.from` names whatever {} is at the time of the build, so that two builds may train on different data: \
             pin it with {pin}",
            input.from
        );
        reader.report(Severity::Warning, node.at, &format!("{key}.from"), message);
    }
    Some(input)
}

fn place(text: &str) -> Option<String> {
    let place = normal(text)?;
    // Git's own folder is no place for data.
    if place.split('/').next() == Some(".git") {
        return None;
    }
    Some(if text.ends_with('/') { format!("{place}/") } else { place })
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    fn read(train: &str) -> (Vec<Input>, Vec<String>) {
        let document = crate::yaml::read(&format!("train: {{{train}}}")).expect("YAML");
        let (settings, findings) = Settings::read(&document.root.expect("a value"));
        let train = settings.train.into_iter().next().expect("a training");
        (train.inputs, findings.into_iter().map(|finding| finding.message).collect())
    }

    #[test]
    fn one_or_a_list_of_each() {
        let hash = "AB".repeat(32);
        let (inputs, wrong) = read(&format!(
            "dataset: {{from: 'hf://datasets/acme/style@v1', to: ./data/train}}, model: [{{from: 'hf://acme/base@v2', to: \
             models/base/}}, {{from: 'https://example.org/vae.bin', sha256: {hash}, to: models/vae.bin}}, \
             {{from: 'file:///srv/models/clip', to: models/clip}}]"
        ));
        assert_eq!(wrong, Vec::<String>::new());
        let shown: Vec<String> =
            inputs.iter().map(|input| format!("{} {} {}", input.kind.key(), input.from, input.to)).collect();
        assert_eq!(
            shown,
            [
                "dataset hf://datasets/acme/style@v1 data/train",
                "model hf://acme/base@v2 models/base/",
                "model https://example.org/vae.bin models/vae.bin",
                "model file:///srv/models/clip models/clip",
            ]
        );
        assert_eq!((inputs[2].sha256.as_deref(), inputs[1].place()), (Some("ab".repeat(32).as_str()), "models/base"));
    }

    #[test]
    fn the_latest_of_something_is_warned_about() {
        for (from, pin) in [
            ("hf://datasets/acme/style", "a commit, `@REVISION`"),
            ("hf://datasets/acme/style@main", "a commit, `@REVISION`"),
            ("git+https://git.example.org/acme/style", "a commit, `@REVISION`"),
            ("git+https://git.example.org/acme/style@master//train", "a commit, `@REVISION`"),
            ("https://example.org/x.zip", "`sha256`"),
        ] {
            let (inputs, wrong) = read(&format!("dataset: {{from: '{from}', to: data}}"));
            assert!(inputs.len() == 1 && wrong.len() == 1, "{from}: {wrong:?}");
            assert!(wrong[0].ends_with(&format!("pin it with {pin}")), "{from}: {wrong:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_right() {
        let hash = "ab".repeat(32);
        let good = "from: 'hf://acme/base@v1', to: data";
        let many = vec![format!("{{from: 'hf://acme/base@v1', to: a{hash}}}"); 9].join(", ");
        for (text, told) in [
            ("dataset: style".to_owned(), "`lora.train.dataset` has to be a map"),
            ("dataset: {from: 'hf://acme/base@v1'}".to_owned(), "a map with `from: ADDRESS` and `to: PATH`"),
            ("dataset: {to: data}".to_owned(), "a map with `from: ADDRESS` and `to: PATH`"),
            ("model: {from: 'gs://x/y', to: data}".to_owned(), "gs:// is not fetched"),
            ("model: {from: 'hf://acme/base@v1', to: ../x}".to_owned(), "below the root of the repository"),
            ("model: {from: 'hf://acme/base@v1', to: /data}".to_owned(), "below the root of the repository"),
            ("model: {from: 'hf://acme/base@v1', to: .}".to_owned(), "below the root of the repository"),
            ("model: {from: 'hf://acme/base@v1', to: .git/x}".to_owned(), "below the root of the repository"),
            (format!("model: {{{good}, sha256: {hash}}}"), "left out: it is for a single file"),
            (format!("model: {{{good}, sha256: abc}}"), "64 digits"),
            (format!("model: {{{good}, revision: v1}}"), "`lora.train.model.revision` is not known"),
            ("model: {from: 'http://example.org/x.bin', to: data}".to_owned(), "or http://… with `sha256`"),
            ("model: {from: 'git+http://example.org/x@v1', to: data}".to_owned(), "or git+http://… with a commit"),
            (format!("model: {{from: 'git+https://example.org/x@v1', to: d, sha256: {hash}}}"), "for a single file"),
            ("model: {from: 'git+ssh://example.org/x@v1', to: d}".to_owned(), "git+ssh:// is not fetched"),
            (
                format!("model: {{{good}}}, dataset: {{from: 'hf://acme/b@v1', to: data/x}}"),
                "is taken by hf://acme/base",
            ),
            (format!("model: [{many}]"), "at most 8 entries"),
        ] {
            let (_, wrong) = read(&text);
            assert!(wrong.iter().any(|message| message.contains(told)), "{text}: {wrong:?}");
        }
    }
}
