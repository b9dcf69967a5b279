//! The model card: the `README.md` of published weights, filled from the run; and the notes of a release.

use serde_json::{Value as Json, json};

use crate::attempt::Examined;
use crate::lora::Publish;
use crate::lora::series::Point;

/// The facts that a card has.
#[derive(Debug)]
pub(super) struct Card<'a> {
    pub(super) publish: &'a Publish,
    /// The repository on the Hub, or the name of the config.
    pub(super) title: &'a str,
    /// Number of the build, and of the job in it.
    pub(super) build: i32,
    pub(super) job: i32,
    /// The repository on the Hub with the git tag of the published commit there; `None` for another place.
    pub(super) on_hub: Option<(&'a str, &'a str)>,
    /// The place from which the weights come; `None` if it must not be told.
    pub(super) source: Option<Source>,
    /// Names of the files with weights.
    pub(super) weights: &'a [String],
    /// True if the files are an adapter that PEFT reads.
    pub(super) is_peft: bool,
    pub(super) losses: &'a [Point],
    /// The result of the training; `None` if it is not stored any more.
    pub(super) examined: Option<&'a Examined>,
}

/// The place from which weights come.
#[derive(Debug)]
pub(super) struct Source {
    /// `owner/name` of the repository.
    pub(super) repo: String,
    pub(super) commit: String,
    /// Path of the config.
    pub(super) config: String,
    /// Address of the job's page.
    pub(super) page: String,
}

/// Maximum length of a text in the card, in characters, and maximum number of metrics.
const MAX_TEXT: usize = 300;
const MAX_METRICS: usize = 50;

impl Card<'_> {
    /// Writes the card.
    pub(super) fn text(&self) -> String {
        format!("---\n{}---\n\n# {}\n\n{}", self.head(), plain(self.title), self.notes())
    }

    /// Writes the facts of the run, without a head.
    pub(super) fn notes(&self) -> String {
        let mut text = match &self.source {
            Some(source) => format!(
                "Trained from `{}` of {} at commit `{}`, in [build {}, job {}]({}).\n",
                code(&source.config),
                plain(&source.repo),
                code(&source.commit),
                self.build,
                self.job,
                source.page,
            ),
            None => format!("Trained in build {}, job {}.\n", self.build, self.job),
        };
        text.push_str(&self.results());
        text.push_str(&self.use_of());
        if self.source.is_some() {
            text.push_str(
                "\n## Provenance\n\n`provenance.json` says from what the files were made, and `provenance.json.sig` is its \
                 signature. `trainyard verify` checks both.\n",
            );
        }
        text
    }

    /// Writes the YAML at the head. A string of JSON is one of YAML.
    fn head(&self) -> String {
        let mut tags = vec!["lora".to_owned()];
        tags.extend(self.publish.tags.iter().filter(|tag| *tag != "lora").cloned());
        let library = if self.is_peft { "peft" } else { "diffusers" };
        let mut head = String::new();
        let mut line = |key: &str, value: Json| head.push_str(&format!("{key}: {value}\n"));
        if let Some(base) = &self.publish.base_model {
            line("base_model", json!(base));
            line("base_model_relation", json!("adapter"));
        }
        line("library_name", json!(library));
        if let Some(license) = &self.publish.license {
            line("license", json!(license));
        }
        line("tags", json!(tags));
        head
    }

    fn results(&self) -> String {
        let mut text = String::new();
        if let (Some(first), Some(last)) = (self.losses.first(), self.losses.last()) {
            let least = self.losses.iter().map(|point| point.value).fold(f64::INFINITY, f64::min);
            text.push_str(&format!(
                "\n## Loss\n\n| first | last | lowest | last step |\n|---|---|---|---|\n| {:.4} | {:.4} | {least:.4} | {} |\n",
                first.value, last.value, last.step
            ));
        }
        let Some(examined) = self.examined else { return text };
        if !examined.conditions.is_empty() {
            text.push_str("\n## Gates\n\n");
            for condition in &examined.conditions {
                text.push_str(&format!("- `{}`: {}\n", code(&condition.name), plain(&condition.told)));
            }
        }
        if !examined.metrics.is_empty() {
            text.push_str("\n## Metrics\n\n");
            for (name, value) in examined.metrics.iter().take(MAX_METRICS) {
                text.push_str(&format!("- {}: {value}\n", plain(name)));
            }
        }
        text
    }

    /// Writes how the weights are loaded.
    fn use_of(&self) -> String {
        // Elsewhere there is nothing that a line of Python could load.
        let Some((repo, tag)) = self.on_hub else { return String::new() };
        // A string of JSON is one of Python.
        let (repo, tag) = (json!(repo), json!(tag));
        let base = json!(self.publish.base_model.as_deref().unwrap_or("BASE_MODEL"));
        let lines = match (self.is_peft, self.weights.first()) {
            (true, _) => format!(
                "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n\
                 model = AutoModelForCausalLM.from_pretrained({base})\n\
                 model = PeftModel.from_pretrained(model, {repo}, revision={tag})\n"
            ),
            (false, Some(name)) => format!(
                "from diffusers import DiffusionPipeline\n\npipe = DiffusionPipeline.from_pretrained({base})\n\
                 pipe.load_lora_weights({repo}, weight_name={}, revision={tag})\n",
                json!(name)
            ),
            (false, None) => return String::new(),
        };
        format!("\n## Use\n\n```python\n{lines}```\n")
    }
}

/// Returns a text for one line, in which nothing is markup.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in one_line(text).chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '.' | ',' | '/' | '-' => plain.push(c),
            c if !c.is_ascii() => plain.push(c),
            c => plain.push_str(&format!("&#{};", u32::from(c))),
        }
    }
    plain
}

/// Returns a text for a span of code.
fn code(text: &str) -> String {
    one_line(text).replace('`', "'")
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::verdict::Condition;

    fn publish(more: &str) -> Publish {
        let text = format!("train: {{publish: {{huggingface: acme/ink{more}}}}}");
        let document = crate::yaml::read(&text).expect("YAML");
        let (settings, findings) = crate::lora::Settings::read(&document.root.expect("a value"));
        assert!(findings.is_empty(), "{findings:?}");
        settings.train.into_iter().next().and_then(|train| train.publish).expect("a place")
    }

    fn source(config: &str) -> Source {
        Source {
            repo: "acme/styles".to_owned(),
            commit: "0123456789012345678901234567890123456789".to_owned(),
            config: config.to_owned(),
            page: "https://ci.example.org/acme/styles/builds/12/jobs/3".to_owned(),
        }
    }

    #[test]
    fn a_card_has_a_head_and_the_facts_of_the_run() {
        let publish = publish(", license: apache-2.0, base_model: runwayml/sd, tags: [style, 'a: \"b\"']");
        let told = "the mean of the last 50 steps is 0.1 | <script>".to_owned();
        let conditions = vec![Condition { name: "gate-loss".to_owned(), holds: true, told }];
        let examined = Examined {
            conditions,
            saved: Vec::new(),
            metrics: [("eval/clip".to_owned(), 0.5)].into(),
            parameters: Vec::new(),
            series: Default::default(),
        };
        let points = [Point { step: 1, value: 0.9 }, Point { step: 40, value: 0.1 }];
        let card = Card {
            publish: &publish,
            title: "ink",
            build: 12,
            job: 3,
            on_hub: Some(("acme/ink", "build-12")),
            source: Some(source("configs/ink.yaml")),
            weights: &["ink.safetensors".to_owned()],
            is_peft: false,
            losses: &points,
            examined: Some(&examined),
        };
        let text = card.text();
        insta::assert_snapshot!(text, @r#"
        ---
        base_model: "runwayml/sd"
        base_model_relation: "adapter"
        library_name: "diffusers"
        license: "apache-2.0"
        tags: ["lora","style","a: \"b\""]
        ---

        # ink

        Trained from `configs/ink.yaml` of acme/styles at commit `0123456789012345678901234567890123456789`, in [build 12, job 3](https://ci.example.org/acme/styles/builds/12/jobs/3).

        ## Loss

        | first | last | lowest | last step |
        |---|---|---|---|
        | 0.9000 | 0.1000 | 0.1000 | 40 |

        ## Gates

        - `gate-loss`: the mean of the last 50 steps is 0.1 &#124; &#60;script&#62;

        ## Metrics

        - eval/clip: 0.5

        ## Use

        ```python
        from diffusers import DiffusionPipeline

        pipe = DiffusionPipeline.from_pretrained("runwayml/sd")
        pipe.load_lora_weights("acme/ink", weight_name="ink.safetensors", revision="build-12")
        ```

        ## Provenance

        `provenance.json` says from what the files were made, and `provenance.json.sig` is its signature. `trainyard verify` checks both.
        "#);
    }

    #[test]
    fn an_adapter_is_loaded_with_peft_and_a_private_source_is_not_told() {
        let publish = publish("");
        let card = Card {
            publish: &publish,
            title: "ink",
            build: 12,
            job: 3,
            on_hub: Some(("acme/ink", "build-12")),
            source: None,
            weights: &["adapter_model.safetensors".to_owned()],
            is_peft: true,
            losses: &[],
            examined: None,
        };
        let text = card.text();
        assert!(text.starts_with("---\nlibrary_name: \"peft\"\ntags: [\"lora\"]\n---\n\n# ink\n"), "{text}");
        assert!(text.contains("PeftModel.from_pretrained(model, \"acme/ink\", revision=\"build-12\")"), "{text}");
        assert!(
            !text.contains("acme/styles") && !text.contains("example.org") && !text.contains("rovenance"),
            "{text}"
        );
    }

    #[test]
    fn the_notes_of_a_release_have_no_head_and_no_repository_on_the_hub() {
        let publish = publish("");
        let card = Card {
            publish: &publish,
            title: "ink",
            build: 12,
            job: 3,
            on_hub: None,
            source: Some(source("configs/ink.yaml")),
            weights: &["ink.safetensors".to_owned()],
            is_peft: false,
            losses: &[Point { step: 1, value: 0.9 }],
            examined: None,
        };
        let notes = card.notes();
        assert!(notes.starts_with("Trained from `configs/ink.yaml`") && notes.contains("## Loss"), "{notes}");
        assert!(!notes.contains("acme/ink") && !notes.contains("## Use") && notes.contains("## Provenance"), "{notes}");
    }

    #[test]
    fn nothing_in_a_card_is_markup_of_others() {
        let publish = publish("");
        let source = Source { repo: "a/b](http://x)".to_owned(), ..source("a`\n---\n<b>.yaml") };
        let card = Card {
            publish: &publish,
            title: "ink",
            build: 1,
            job: 1,
            on_hub: Some(("acme/ink", "build-1")),
            source: Some(source),
            weights: &["a\"\n```.safetensors".to_owned()],
            is_peft: false,
            losses: &[],
            examined: None,
        };
        let text = card.text();
        assert_eq!(text.matches("\n---\n").count(), 1, "{text}");
        assert!(text.contains("`a' --- <b>.yaml`") && !text.contains("](http://x)"), "{text}");
        assert!(text.contains("weight_name=\"a\\\"\\n```.safetensors\""), "{text}");
    }
}
