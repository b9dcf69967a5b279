//! Train jobs: whole trainings with a team's own configs, models and data. They are the last stage of a build, so that
//! lint, jobs and smoke jobs have passed before.

use serde_json::{Value as Json, json};

use super::problems::{of_build, of_file, problem};
use super::publish::PublishPermits;
use super::{CONFIG, Commit, MAX_JOBS, Plan, PlannedJob, Settings, SourceFile, bounds, publish, smoke, travis};
use crate::domain::{JobKind, Problem, Rule, Severity, TrainingRequest, Trigger, TriggerKind};
use crate::lora::input::{Input, overlap};
use crate::lora::smoke::Unfit;
use crate::lora::train::{Training, changed, training};
use crate::lora::{self, Change, Publish, Repository, Train};
use crate::travis::condition;
use crate::travis::matrix::Config;

/// Maximum number of train jobs in a build. Whoever changes many configs at once rarely wants days of GPU time.
const MOST: usize = 8;
/// Names of the stages of a build that has none of its own.
const BEFORE: &str = "test";
const STAGE: &str = "train";

/// The facts that decide which trainings start.
pub(super) struct Asked<'a> {
    pub(super) trigger: &'a Trigger,
    /// The data that conditions see.
    pub(super) data: &'a Json,
    /// A person's request for trainings.
    pub(super) request: Option<&'a TrainingRequest>,
    /// The places to which the repository may publish; `None` when they are not known.
    pub(super) publish: Option<&'a PublishPermits>,
}

/// Returns the data that the conditions of trainings see: those of a `.travis.yml`, but that the type of a build that has
/// passed on Travis is `travis`. Otherwise a push that both GitHub and Travis tell of would be trained twice.
pub(super) fn data(trigger: &Trigger, settings: &Settings) -> Json {
    let mut data = travis::data(trigger, settings);
    if trigger.kind == TriggerKind::Travis {
        data["type"] = "travis".into();
    }
    data
}

/// Adds the train jobs to a plan without errors. Their machines are set up like that of the job `like`.
pub(super) fn add(
    plan: &mut Plan,
    like: &Config,
    commit: &Commit<'_>,
    repository: &Repository<'_>,
    settings: &lora::Settings,
    asked: &Asked<'_>,
) {
    let mut jobs: Vec<PlannedJob> = Vec::new();
    for train in started(plan, settings, asked) {
        let (places, problem) = publish::places(train, asked.trigger, asked.publish);
        plan.problems.extend(problem);
        plan.problems.extend(hidden_files(train, commit));
        for file in configs(train, commit, settings, asked) {
            if jobs.iter().any(|job| job.config["train"]["config"] == file.path.as_str()) {
                continue;
            }
            for changes in train.combinations() {
                match training(&file.path, &file.text, train, &changes, settings.command.as_deref(), repository) {
                    Err(Unfit::NotRun(_)) if train.config.is_none() => {}
                    Err(unfit) => {
                        let message = format!("there is no train job: {unfit}");
                        plan.problems.push(of_file(Severity::Error, Rule::Train, &file.path, message));
                    }
                    Ok(_) if jobs.len() == MOST.min(MAX_JOBS.saturating_sub(plan.jobs.len())) => {
                        let message = format!("there is no train job: a build has at most {MOST} of them");
                        plan.problems.push(of_file(Severity::Warning, Rule::Train, &file.path, message));
                    }
                    Ok(training) => {
                        plan.problems.extend(of_changes(file, &changes, repository));
                        plan.problems.extend(in_output(train, &training));
                        jobs.push(PlannedJob {
                            number: (plan.jobs.len() + jobs.len() + 1).to_string(),
                            kind: JobKind::Train,
                            stage: None,
                            name: Some(name(&file.path, &changes)),
                            allow_failure: false,
                            config: config_of(
                                like,
                                &file.path,
                                &Ordered { train, changes: &changes, training: &training, places: places.as_ref() },
                            ),
                        });
                    }
                }
            }
        }
    }
    plan.problems.extend(publish::twice(&jobs, &settings.train));
    if plan.problems.iter().any(|problem| problem.severity == Severity::Error) {
        // The build must not pass without a training that was wanted.
        return;
    }
    append(plan, jobs);
}

fn name(path: &str, changes: &[Change]) -> String {
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    match changes.is_empty() {
        true => bounds::name(&format!("train {path}")),
        false => bounds::name(&format!("train {path} with {}", changes.join(", "))),
    }
}

/// Returns an error for each input in whose place the commit has files: the job would not see them.
fn hidden_files(train: &Train, commit: &Commit<'_>) -> Vec<Problem> {
    let hidden = train.inputs.iter().filter_map(|input| {
        let file = commit.paths.iter().find(|path| overlap(path, input.place()))?;
        Some(of_input(input, format!("the commit has {file} where {} is to be: name another path", input.from)))
    });
    hidden.collect()
}

/// Returns an error for each input that lies where the training saves: the place of an input is read-only.
fn in_output(train: &Train, training: &Training) -> Vec<Problem> {
    let inside = train.inputs.iter().filter(|input| overlap(&training.output, input.place()));
    let message = format!("the training saves in {}, and this place is read-only: name another path", training.output);
    inside.map(|input| of_input(input, message.clone())).collect()
}

fn of_input(input: &Input, message: String) -> Problem {
    let key = format!("lora.train.{}.to", input.kind.key());
    problem(Severity::Error, Rule::Train, message, Some(input.at), Some(key))
}

/// Lints a config with its changes: each value of a matrix would fail after hours otherwise.
fn of_changes(file: &SourceFile, changes: &[Change], repository: &Repository<'_>) -> Vec<Problem> {
    if changes.is_empty() {
        return Vec::new();
    }
    let Ok(changed) = changed(&file.path, &file.text, changes) else { return Vec::new() };
    let linted = lora::lint(&file.path, changed.text.as_bytes(), repository);
    let errors = linted.into_iter().flat_map(|linted| linted.problems);
    let of = |problem: Problem| {
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let message = format!("with {}: {}", changes.join(", "), problem.message);
        Problem { rule: problem.rule, key: problem.key, ..of_file(problem.severity, Rule::Train, &file.path, message) }
    };
    errors.filter(|problem| problem.severity == Severity::Error).map(of).collect()
}

/// Returns the trainings that the trigger or a person starts.
fn started<'a>(plan: &mut Plan, settings: &'a lora::Settings, asked: &Asked<'_>) -> Vec<&'a Train> {
    let is_fork = asked.trigger.pull_request.as_ref().is_some_and(|pull| pull.is_from_fork(&asked.trigger.repo));
    let is_asked = asked.request.is_some_and(|request| request.whole);
    let mut started = Vec::new();
    for train in &settings.train {
        let holds = match &train.when {
            _ if asked.request.is_some() => is_asked,
            None => false,
            Some(when) => match condition::parse(&when.text) {
                Ok(condition) => {
                    condition.holds(condition::Data { variables: asked.data, env: &asked.data["env"] }) == Ok(true)
                }
                Err(error) => {
                    let message = format!("`lora.train.if` is no condition: {error}");
                    let key = Some("lora.train.if".to_owned());
                    plan.problems.push(problem(Severity::Error, Rule::InvalidCondition, message, Some(when.at), key));
                    false
                }
            },
        };
        if holds && is_fork {
            let message = "whole trainings do not run for pull requests from forks".to_owned();
            plan.problems.push(of_build(Severity::Info, Rule::Train, message));
            return Vec::new();
        }
        if holds {
            started.push(train);
        }
    }
    started
}

/// Returns the configs of a training.
fn configs<'a>(
    train: &'a Train,
    commit: &'a Commit<'_>,
    settings: &'a lora::Settings,
    asked: &'a Asked<'_>,
) -> impl Iterator<Item = &'a SourceFile> {
    let is_change = matches!(asked.trigger.kind, TriggerKind::Push | TriggerKind::PullRequest | TriggerKind::Travis);
    let named = asked.request.and_then(|request| request.config.as_deref());
    let wants_all = !is_change || asked.request.is_some();
    commit.files.iter().filter(move |file| {
        let is_wanted = match &train.config {
            Some(path) => file.path == *path,
            None => {
                file.path != CONFIG && settings.covers(&file.path) && (wants_all || smoke::is_changed(file, commit))
            }
        };
        is_wanted && named.is_none_or(|named| file.path == named)
    })
}

/// Puts the train jobs behind all others, in a stage of their own.
fn append(plan: &mut Plan, jobs: Vec<PlannedJob>) {
    if jobs.is_empty() {
        return;
    }
    if plan.stages.is_empty() && !plan.jobs.is_empty() {
        plan.stages.push(BEFORE.to_owned());
        plan.jobs.iter_mut().for_each(|job| job.stage = Some(BEFORE.to_owned()));
    }
    // A stage that the file calls so may have others behind it.
    let mut name = STAGE.to_owned();
    while plan.stages.contains(&name) {
        name.push_str(" (lora)");
    }
    plan.jobs.extend(jobs.into_iter().map(|job| PlannedJob { stage: Some(name.clone()), ..job }));
    plan.stages.push(name);
}

/// Returns the error of a requested training that gets no job: nothing was tried, so the build must not pass.
pub(super) fn untried(plan: &Plan, settings: &lora::Settings, asked: &Asked<'_>) -> Option<Problem> {
    let request = asked.request.filter(|request| request.whole)?;
    let is_there = plan.jobs.iter().any(|job| job.kind == JobKind::Train);
    if is_there || plan.problems.iter().any(|problem| problem.severity == Severity::Error) {
        return None;
    }
    let pull = asked.trigger.pull_request.as_ref();
    let why = match &request.config {
        _ if pull.is_some_and(|pull| pull.is_from_fork(&asked.trigger.repo)) => {
            "whole trainings do not run for pull requests from forks".to_owned()
        }
        _ if settings.train.is_empty() => format!("{CONFIG} has no key `lora.train`"),
        Some(path) => format!("no training of `lora.train` is for {path}"),
        None => "no training of `lora.train` has a config in the commit".to_owned(),
    };
    Some(of_build(Severity::Error, Rule::Train, format!("there is no train job: {why}")))
}

/// Returns the errors of trainings that name a file that is not in the commit.
pub(super) fn without_file(settings: &lora::Settings, commit: &Commit<'_>) -> Vec<Problem> {
    let is_there = |path: &str| commit.paths.is_empty() || commit.paths.contains(&path);
    let named = settings.train.iter().flat_map(|train| {
        let config = train.config.as_deref().map(|path| (train, "lora.train.config", path));
        let reference = train.gates.reference.as_deref().map(|path| (train, "lora.train.gate.reference", path));
        config.into_iter().chain(reference)
    });
    let told = named.filter(|(.., path)| !is_there(path)).map(|(train, key, path)| {
        let message = format!("`{key}` names {path}, which the commit does not have");
        problem(Severity::Error, Rule::MissingFile, message, Some(train.at), Some(key.to_owned()))
    });
    told.collect()
}

/// A training that gets a job.
struct Ordered<'a> {
    train: &'a Train,
    changes: &'a [Change],
    training: &'a Training,
    /// The places to which the weights go.
    places: Option<&'a Publish>,
}

/// Returns the job in Travis's form. The order for the training stands under `train`.
fn config_of(like: &Config, path: &str, Ordered { train, changes, training, places }: &Ordered<'_>) -> Json {
    let kept = like.iter().filter(|(key, _)| smoke::KEPT.contains(&key.as_str()) || *key == "vm");
    let mut config: Config = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
    config.insert("script".to_owned(), json!([training.command]));
    let order = json!({
        "config": path, "output": training.output, "checkpoints": training.checkpoints, "gpus": train.gpus,
        "timeout": train.timeout.map(|timeout| timeout.as_secs()),
        "steps": training.steps, "may_stop_early": training.may_stop_early, "gates": train.gates,
        "changes": changes, "publish": places, "inputs": train.inputs,
    });
    config.insert("train".to_owned(), order);
    Json::Object(config)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::{PullRequest, Sha};
    use crate::plan;
    use crate::travis::import::Imports;

    const CONFIG_TEXT: &str = "base_model: m.safetensors\ntrain_data_dir: ./data\nmetadata_path: ./data/metadata.csv\n\
                               output_dir: ./out\nlora_rank: 4\nmax_train_steps: 100\n";
    const PATHS: [&str; 6] = ["a.yaml", "b.yaml", "train.py", "m.safetensors", "data/metadata.csv", CONFIG];

    fn push(message: &str) -> Trigger {
        let sha: Sha = "0123456789012345678901234567890123456789".parse().expect("a sha");
        Trigger {
            message: Some(message.to_owned()),
            ..Trigger::push("acme/styles".parse().expect("a name"), "main", sha)
        }
    }

    fn planned(travis: &str, trigger: &Trigger, trainings: Option<TrainingRequest>) -> Plan {
        let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.as_bytes().to_vec() };
        let files = [file("a.yaml", CONFIG_TEXT), file("b.yaml", CONFIG_TEXT), file(CONFIG, travis)];
        let changed = BTreeSet::from(["b.yaml"]);
        let only_smoke = trainings.as_ref().and_then(|request| request.config.as_deref());
        let commit = Commit { files: &files, paths: &PATHS, changed: Some(&changed), only_smoke };
        plan::plan(commit, &Imports::new(), trigger, &Settings { trainings: trainings.clone(), ..Settings::default() })
    }

    /// Plans a training that publishes, for a repository to which these places are open.
    fn published(train: &str, trigger: &Trigger, open: Option<&[&str]>) -> Plan {
        let permits = |open: &[&str]| PublishPermits {
            huggingface: open.iter().map(ToString::to_string).collect(),
            ..PublishPermits::default()
        };
        permitted(train, trigger, open.map(permits))
    }

    fn permitted(train: &str, trigger: &Trigger, publish: Option<PublishPermits>) -> Plan {
        let travis = format!("language: python\nlora: {{smoke: false, train: {train}}}\n");
        let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.as_bytes().to_vec() };
        let files = [file("a.yaml", CONFIG_TEXT), file("b.yaml", CONFIG_TEXT), file(CONFIG, &travis)];
        let commit = Commit { files: &files, paths: &PATHS, changed: None, only_smoke: None };
        plan::plan(commit, &Imports::new(), trigger, &Settings { publish, ..Settings::default() })
    }

    fn names(plan: &Plan) -> Vec<(&str, &str)> {
        plan.jobs
            .iter()
            .map(|job| (job.name.as_deref().unwrap_or_default(), job.stage.as_deref().unwrap_or_default()))
            .collect()
    }

    fn errors(plan: &Plan) -> Vec<&str> {
        let errors = plan.problems.iter().filter(|problem| problem.severity == Severity::Error);
        errors.map(|problem| problem.message.as_str()).collect()
    }

    const TRAIN: &str = "language: python\nscript: pytest\nlora:\n  train:\n    config: a.yaml\n    if: branch = main AND \
                         commit_message =~ /\\[train\\]/\n    gate: {loss: {max: 0.2}}\n";

    #[test]
    fn a_condition_starts_a_training_after_all_other_jobs() {
        let plan = planned(TRAIN, &push("Ink [train]"), None);
        assert_eq!(errors(&plan), Vec::<&str>::new());
        assert_eq!(names(&plan), [("", "test"), ("smoke b.yaml", "test"), ("train a.yaml", "train")]);
        assert_eq!(
            (plan.stages.as_slice(), plan.jobs[2].number.as_str()),
            (["test", "train"].map(String::from).as_slice(), "3")
        );
        let config = &plan.jobs[2].config;
        assert_eq!(config["script"], json!(["python train.py --config a.yaml"]));
        assert_eq!((&config["train"]["output"], &config["train"]["gpus"]), (&json!("out"), &json!(1)));
        assert_eq!(config["train"]["gates"]["loss"]["mean"]["max"], 0.2);
        assert!(config.get("lora").is_none() && config.get("smoke").is_none());
        assert_eq!(names(&planned(TRAIN, &push("Ink"), None)), [("", ""), ("smoke b.yaml", "")]);
    }

    #[test]
    fn without_a_condition_only_people_start_a_training() {
        let travis = TRAIN.replace(" if: branch = main AND commit_message =~ /\\[train\\]/\n", " gpus: 0\n");
        assert!(!names(&planned(&travis, &push("[train]"), None)).iter().any(|(name, _)| name.starts_with("train")));
        let ask = |config: Option<&str>| TrainingRequest { config: config.map(str::to_owned), whole: true };
        let asked = planned(&travis, &push("x"), Some(ask(None)));
        assert_eq!(names(&asked), [("smoke a.yaml", "test"), ("smoke b.yaml", "test"), ("train a.yaml", "train")]);
        assert_eq!(
            names(&planned(&travis, &push("x"), Some(ask(Some("a.yaml"))))),
            [("smoke a.yaml", "test"), ("train a.yaml", "train")]
        );
        let other = planned(&travis, &push("x"), Some(ask(Some("b.yaml"))));
        assert_eq!(errors(&other), ["there is no train job: no training of `lora.train` is for b.yaml"]);
        let none = planned("script: x\n", &push("x"), Some(ask(None)));
        assert_eq!(errors(&none), ["there is no train job: .travis.yml has no key `lora.train`"]);
        let smoke = TrainingRequest { config: None, whole: false };
        assert_eq!(names(&planned(TRAIN, &push("[train]"), Some(smoke))).len(), 2, "smoke jobs alone");
    }

    #[test]
    fn a_matrix_gives_a_job_for_each_combination() {
        let of = |matrix: &str| {
            let travis = format!("language: python\nlora: {{train: {{config: a.yaml, if: true, matrix: {matrix}}}}}\n");
            planned(&travis, &push("x"), None)
        };
        let plan = of("{lora_rank: [4, 8], max_train_steps: [100]}");
        let trained: Vec<&str> =
            names(&plan).into_iter().filter(|(_, stage)| *stage == "train").map(|(name, _)| name).collect();
        assert_eq!(
            trained,
            [
                "train a.yaml with lora_rank=4, max_train_steps=100",
                "train a.yaml with lora_rank=8, max_train_steps=100"
            ]
        );
        let config = &plan.jobs.last().expect("a job").config;
        assert_eq!(config["train"]["changes"][0], json!({"key": "lora_rank", "value": 8}));
        assert_eq!(config["script"], json!(["python train.py --config /home/travis/train/config.yaml"]));
        let wrong = of("{lora_rank: [0]}");
        assert!(errors(&wrong)[0].starts_with("with lora_rank=0: "), "{:?}", errors(&wrong));
        assert!(!wrong.jobs.iter().any(|job| job.kind == JobKind::Train));
        assert!(errors(&of("{rank: [4]}"))[0].contains("changes `rank`, which a.yaml does not have"));
    }

    #[test]
    fn without_a_config_the_changed_ones_are_trained() {
        let travis = "language: python\nlora: {train: {if: true}}\n";
        assert_eq!(names(&planned(travis, &push("x"), None)), [("smoke b.yaml", "test"), ("train b.yaml", "train")]);
        let of_travis = Trigger { kind: TriggerKind::Travis, ..push("x") };
        assert_eq!(planned(&travis.replace("true", "type = travis"), &of_travis, None).jobs.len(), 2);
        assert_eq!(planned(&travis.replace("true", "type = push"), &of_travis, None).jobs.len(), 1);
        let cron = Trigger { kind: TriggerKind::Cron, ..push("x") };
        assert_eq!(planned(travis, &cron, None).jobs.len(), 4);
    }

    #[test]
    fn a_fork_has_no_training_whatever_it_writes() {
        let pull = |head: Option<&str>| PullRequest {
            number: 7,
            title: "T".to_owned(),
            head_branch: "main".to_owned(),
            head_repo: head.map(|head| head.parse().expect("a name")),
            draft: false,
        };
        let of = |head: Option<&str>, request: Option<TrainingRequest>| {
            let trigger = Trigger { kind: TriggerKind::PullRequest, pull_request: Some(pull(head)), ..push("[train]") };
            planned(TRAIN, &trigger, request)
        };
        let is_training = |plan: &Plan| plan.jobs.iter().any(|job| job.kind == JobKind::Train);
        assert!(is_training(&of(Some("acme/styles"), None)));
        for head in [Some("mallory/styles"), None] {
            let plan = of(head, None);
            assert!(!is_training(&plan) && errors(&plan).is_empty(), "{head:?}");
            assert!(plan.problems.iter().any(|problem| problem.message.contains("for pull requests from forks")));
            let asked = of(head, Some(TrainingRequest { config: None, whole: true }));
            assert!(!is_training(&asked));
            assert!(errors(&asked)[0].contains("do not run for pull requests from forks"), "{:?}", errors(&asked));
        }
    }

    #[test]
    fn weights_go_only_to_places_that_the_operator_has_opened() {
        let train = "{config: a.yaml, if: true, publish: {huggingface: acme/ink}}";
        for open in [None, Some(&["acme/*"][..]), Some(&["other/x", "Acme/Ink"])] {
            let plan = published(train, &push("x"), open);
            assert_eq!(errors(&plan), Vec::<&str>::new());
            assert_eq!(plan.jobs[0].config["train"]["publish"]["huggingface"], "acme/ink");
        }
        for open in [&[][..], &["other/*"], &["*"], &["acme/in"]] {
            let plan = published(train, &push("x"), Some(open));
            assert!(plan.jobs.is_empty(), "{open:?}");
            assert!(errors(&plan)[0].contains("may not publish to acme/ink"), "{:?}", errors(&plan));
        }
    }

    #[test]
    fn each_place_and_each_environment_has_its_own_permit() {
        let publish = "{release: true, s3: 's3://acme-models/ink/{build}', environment: production}";
        let train = format!("{{config: a.yaml, if: true, publish: {publish}}}");
        let all = PublishPermits {
            s3: vec!["s3://acme-models/**".to_owned()],
            releases: true,
            environments: vec!["production".to_owned()],
            ..PublishPermits::default()
        };
        let planned = permitted(&train, &push("x"), Some(all.clone()));
        assert_eq!(errors(&planned), Vec::<&str>::new());
        let order = &planned.jobs[0].config["train"]["publish"];
        assert_eq!((&order["release"], &order["environment"]), (&json!(true), &json!("production")));
        for (permits, told) in [
            (PublishPermits { s3: Vec::new(), ..all.clone() }, "an entry [[publish.s3]]"),
            (PublishPermits { releases: false, ..all.clone() }, "an entry in publish.releases"),
            (PublishPermits { environments: Vec::new(), ..all.clone() }, "has no environment production"),
            (PublishPermits { required: Some("legal".to_owned()), ..all.clone() }, "of the environment legal"),
        ] {
            let plan = permitted(&train, &push("x"), Some(permits));
            assert!(plan.jobs.is_empty() && errors(&plan)[0].contains(told), "{told}: {:?}", errors(&plan));
        }
        // A required environment needs no word in the file.
        let permits = PublishPermits { required: Some("production".to_owned()), ..all };
        let plan = permitted("{config: a.yaml, if: true, publish: {release: true}}", &push("x"), Some(permits));
        assert_eq!(plan.jobs[0].config["train"]["publish"]["environment"], "production");
    }

    #[test]
    fn a_pull_request_publishes_nothing() {
        let pull = PullRequest {
            number: 7,
            title: "T".to_owned(),
            head_branch: "ink".to_owned(),
            head_repo: Some("acme/styles".parse().expect("a name")),
            draft: false,
        };
        let trigger = Trigger { kind: TriggerKind::PullRequest, pull_request: Some(pull), ..push("x") };
        let train = "{config: a.yaml, if: true, publish: {huggingface: acme/ink}}";
        let plan = published(train, &trigger, Some(&["acme/*"]));
        assert!(plan.jobs.len() == 1 && plan.jobs[0].config["train"]["publish"].is_null());
        assert!(plan.problems.iter().any(|problem| problem.message.contains("this is a pull request")));
    }

    #[test]
    fn a_train_job_has_its_data_where_the_commit_has_nothing() {
        let of = |more: &str| {
            let travis =
                format!("language: python\nlora: {{smoke: false, train: {{config: a.yaml, if: true, {more}}}}}\n");
            planned(&travis, &push("x"), None)
        };
        let plan = of("dataset: {from: 'hf://datasets/acme/style@v1', to: data/train/}");
        assert_eq!(errors(&plan), Vec::<&str>::new());
        let input =
            json!({"kind": "dataset", "from": "hf://datasets/acme/style@v1", "sha256": null, "to": "data/train/"});
        assert_eq!(plan.jobs[0].config["train"]["inputs"], json!([input]));
        for (more, told) in [
            ("dataset: {from: 'hf://datasets/acme/style@v1', to: data}", "the commit has data/metadata.csv where"),
            ("model: {from: 'hf://acme/base@v1', to: m.safetensors/x}", "the commit has m.safetensors where"),
            ("model: {from: 'hf://acme/base@v1', to: out/base}", "the training saves in out, and this place"),
        ] {
            let plan = of(more);
            assert!(errors(&plan).iter().any(|error| error.contains(told)), "{more}: {:?}", errors(&plan));
            assert!(plan.jobs.is_empty());
        }
    }

    #[test]
    fn two_trainings_of_a_build_do_not_publish_to_one_place() {
        let both = "[{config: a.yaml, if: true, publish: {huggingface: acme/ink}}, \
                    {config: b.yaml, if: true, publish: {huggingface: Acme/ink}}]";
        let sweep = "{config: a.yaml, if: true, matrix: {lora_rank: [4, 8]}, publish: {huggingface: acme/ink}}";
        for train in [both, sweep] {
            let plan = published(train, &push("x"), Some(&["acme/*"]));
            assert!(errors(&plan)[0].contains("several train jobs of this build publish to"), "{:?}", errors(&plan));
            assert!(plan.jobs.is_empty());
        }
    }

    #[test]
    fn a_training_that_cannot_start_fails_the_build() {
        for (change, told) in [
            ("config: c.yaml", "`lora.train.config` names c.yaml, which the commit does not have"),
            (
                "config: a.yaml, gate: {loss: {within: 5%}, reference: ci/a.json}",
                "`lora.train.gate.reference` names ci/a.json, which the commit does not have",
            ),
            ("if: branch =", "`lora.train.if` is no condition"),
            ("output: data", "the commit has data/metadata.csv, which could pass for a result"),
        ] {
            let plan =
                planned(&format!("language: python\nlora: {{train: {{if: true, {change}}}}}\n"), &push("x"), None);
            assert!(errors(&plan).iter().any(|error| error.contains(told)), "{change}: {:?}", errors(&plan));
            assert!(!plan.jobs.iter().any(|job| job.kind == JobKind::Train));
        }
    }
}
