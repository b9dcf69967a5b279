use super::*;
use crate::domain::{PullRequest, TOKEN_FORMATS};

fn trigger() -> Trigger {
    Trigger {
        kind: TriggerKind::Push,
        repo: "acme/styles".parse().expect("a name"),
        branch: Some("main".to_owned()),
        tag: None,
        sha: "0123456789abcdef0123456789abcdef01234567".parse().expect("a commit"),
        before: None,
        message: Some("Train longer".to_owned()),
        author: None,
        sender: Some("alice".to_owned()),
        compare_url: None,
        pull_request: None,
        travis: None,
    }
}

fn of(text: &str) -> Plan {
    of_trigger(text, &trigger())
}

fn of_trigger(text: &str, trigger: &Trigger) -> Plan {
    let file = SourceFile { path: CONFIG.to_owned(), text: text.as_bytes().to_vec() };
    plan(&[file], &Imports::new(), trigger, &Settings::default())
}

fn rules(plan: &Plan) -> Vec<&str> {
    let told = plan.problems.iter().filter(|problem| problem.severity > Severity::Info);
    told.map(|problem| problem.rule.as_str()).collect()
}

#[test]
fn files_that_cannot_be_built_from() {
    let none = plan(&[], &Imports::new(), &trigger(), &Settings::default());
    assert_eq!(rules(&none), ["no-config"]);
    assert!(none.is_fatal());
    let large = format!("script: {}", "x".repeat(yaml::MAX_BYTES));
    for (text, rule) in [
        ("", "empty-config"),
        ("# only a comment\n", "empty-config"),
        ("a: [", "bad-yaml"),
        ("script\n", "not-a-map"),
        ("- a\n", "not-a-map"),
        (&large, "config-too-large"),
        ("jobs:\n  include:\n  - if: false\n", "no-jobs"),
    ] {
        let plan = of(text);
        assert!(rules(&plan).contains(&rule), "{text:.20}: {:?}", plan.problems);
        assert!(plan.is_fatal() && !plan.has_lint_errors(), "{text:.20}");
        assert!(plan.jobs.is_empty());
    }
}

#[test]
fn a_request_brings_its_own_configuration() {
    let api = Trigger { kind: TriggerKind::Api, ..trigger() };
    let of = |file: Option<&str>, text: &str, mode: &str| {
        let requested = vec![RequestConfig { text: text.to_owned(), mode: Some(mode.to_owned()) }];
        let settings = Settings { requested, ..Settings::default() };
        let files = file.map(|text| SourceFile { path: CONFIG.to_owned(), text: text.as_bytes().to_vec() });
        plan(files.as_slice(), &Imports::new(), &api, &settings)
    };
    let script = |plan: &Plan| plan.jobs[0].config["script"].clone();
    let file = "script: a\nenv: {global: [A=1]}\n";
    let merged = of(Some(file), "{script: b, if: type = api, env: {global: [B=1]}}", "deep_merge_prepend");
    assert_eq!((script(&merged), rules(&merged)), (serde_json::json!(["b"]), vec![]));
    // Its own key names the mode too, and neither key is part of a job.
    let replaced = of(Some("script: ["), "{script: b, merge_mode: replace}", "replace");
    assert_eq!((script(&replaced), replaced.jobs[0].config.get("merge_mode")), (serde_json::json!(["b"]), None));
    assert!(!of(None, "script: b", "merge").is_fatal(), "no file is needed");
    for (file, text, place) in [(Some(file), "script: [", "api:config"), (Some("script: ["), "script: b", CONFIG)] {
        let plan = of(file, text, "merge");
        assert!(plan.is_fatal() && plan.jobs.is_empty());
        assert_eq!(plan.problems[0].file.as_deref(), Some(place));
    }
    assert!(of(Some(file), "", "replace").is_fatal(), "nothing is left");
}

#[test]
fn a_secret_of_each_format_is_found_in_the_travis_yml_and_in_configs() {
    for format in &TOKEN_FORMATS {
        let secret = format.example();
        let config = format!("{{\"model_family\": \"flux\", \"train_batch_size\": 1, \"note\": \"{secret}\"}}");
        let files = [(CONFIG, format!("script: 'echo \"{secret}\"'\n")), ("a.json", config)];
        let files = files.map(|(path, text)| SourceFile { path: path.to_owned(), text: text.into_bytes() });
        let plan = plan(&files, &Imports::new(), &trigger(), &Settings::default());
        let places: Vec<_> = plan.problems.iter().map(|found| (found.rule.as_str(), found.file.as_deref())).collect();
        for place in [("plain-secret", Some(CONFIG)), ("secret", Some("a.json"))] {
            assert!(places.contains(&place), "{secret}: {places:?}");
        }
        assert!(plan.problems.iter().all(|problem| !problem.message.contains(&secret)));
    }
}

#[test]
fn more_than_two_hundred_jobs() {
    let list: String = (0..300).map(|n| format!("  - N={n}\n")).collect();
    let plan = of(&format!("language: shell\nscript: true\nenv:\n{list}"));
    assert_eq!(rules(&plan), ["too-many-jobs"]);
    assert_eq!(plan.jobs.len(), MAX_JOBS);
}

#[test]
fn skip_words_count_but_for_cron() {
    for (message, skips) in [
        ("Fix\n\n[skip ci]", true),
        ("[CI Skip] x", true),
        ("[travis skip]", true),
        ("skip ci", false),
        ("[ci skip-tests]", false),
    ] {
        let push = Trigger { message: Some(message.to_owned()), ..trigger() };
        assert_eq!(of_trigger("script: true\n", &push).skip.is_some(), skips, "{message}");
        let cron = Trigger { kind: TriggerKind::Cron, ..push };
        assert_eq!(of_trigger("script: true\n", &cron).skip, None, "{message}");
    }
}

#[test]
fn conditions_and_branches_see_the_trigger() {
    assert!(of("if: branch = other\nscript: true\n").skip.is_some_and(|why| why.contains("branch = other")));
    assert!(of("branches: {only: [other]}\nscript: true\n").skip.is_some());
    let pull = PullRequest {
        number: 7,
        title: "T".to_owned(),
        head_branch: "feature".to_owned(),
        head_repo: Some("bob/styles".parse().expect("a name")),
        draft: false,
    };
    let pull = Trigger { kind: TriggerKind::PullRequest, pull_request: Some(pull), ..trigger() };
    let text = "language: shell\njobs:\n  include:\n  - name: a\n    if: type = pull_request AND head_branch = feature\n  \
                - name: b\n    if: type = push\n";
    let plan = of_trigger(text, &pull);
    assert_eq!(plan.jobs.iter().filter_map(|job| job.name.as_deref()).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn training_configs_fail_the_build_without_ending_it() {
    let travis = SourceFile { path: CONFIG.to_owned(), text: b"language: shell\nscript: true\n".to_vec() };
    let config = SourceFile {
        path: "configs/style.yaml".to_owned(),
        text: b"train_data_dir: x\nlora_rank: 4\nepochs: 1\noutput_dir: y\n".to_vec(),
    };
    let plan = plan(&[travis, config], &Imports::new(), &trigger(), &Settings::default());
    assert_eq!(rules(&plan), ["missing-required"]);
    assert!(plan.has_lint_errors() && !plan.is_fatal());
    assert_eq!(plan.jobs.len(), 1);
}

#[test]
fn commands_that_start_trainers_are_checked_on_their_lines() {
    let text = "language: shell\nscript:\n  - echo\n  - |\n    sh train.sh\n    python sdxl_train_network.py --netwrok_dim 8 $MORE\n";
    let travis = SourceFile { path: CONFIG.to_owned(), text: text.as_bytes().to_vec() };
    let script = SourceFile {
        path: "train.sh".to_owned(),
        text: b"python sdxl_train_network.py \\\n  --network_dim 1e2 \"$@\"\n".to_vec(),
    };
    let plan = plan(&[travis, script], &Imports::new(), &trigger(), &Settings::default());
    let told = plan.problems.iter().filter(|problem| problem.severity == Severity::Error);
    let places: Vec<_> = told.map(|problem| (problem.place(), problem.rule.as_str())).collect();
    assert_eq!(places, [(".travis.yml:6:34".to_owned(), "unknown-key"), ("train.sh:2:17".to_owned(), "wrong-type")]);
    assert_eq!(plan.linted, 1);
}

#[test]
fn which_files_are_wanted() {
    for (path, size, wanted) in [
        (CONFIG, 5_000_000, true),
        ("configs/a.yaml", 100, true),
        ("a.toml", 100, true),
        ("configs/a.yaml", 5_000_000, false),
        ("node_modules/x/a.json", 10, false),
        ("train.py", 10, false),
        ("scripts/train.sh", 100, true),
        ("Makefile", 100, true),
        ("README.md", 100, true),
        ("bin/train", 100, true),
        ("bin/train", 100_000, false),
    ] {
        assert_eq!(wants(path, size), wanted, "{path}");
    }
}

#[test]
fn traps_are_problems_with_a_place() {
    let plan = of("language: shell\nenv:\n  - CONFIG=a.yaml\n  - OUT=./out\nscript: train $CONFIG $OUT\n");
    assert_eq!(plan.jobs.len(), 2);
    let trap = plan.problems.iter().find(|problem| problem.rule == "env-list-splits-variables").expect("the trap");
    assert_eq!((trap.severity, trap.line, trap.column), (Severity::Warning, Some(2), Some(1)));
    assert!(trap.message.contains("env: global:"), "{}", trap.message);
}

#[test]
fn a_deployment_that_lacks_a_key_ends_the_build_in_which_it_would_run() {
    let text = "language: shell\nscript: x\ndeploy:\n  - provider: pypi\n    usernmae: me\n    on: main\n";
    let plan = of(text);
    assert!(plan.is_fatal() && rules(&plan) == ["find-key", "incomplete-deployment"], "{:?}", plan.problems);
    let told = plan.problems.iter().find(|problem| problem.severity == Severity::Error).expect("the error");
    assert_eq!(told.place(), ".travis.yml:4:5");
    assert_eq!(
        told.message,
        "the provider `pypi` deploys nothing without `password`: add `password:` with an API token, as `{secure: …}` or \
         as a variable such as `$PYPI_TOKEN`"
    );
    for kind in [TriggerKind::PullRequest, TriggerKind::Travis] {
        let plan = of_trigger(text, &Trigger { kind, ..trigger() });
        assert!(!plan.is_fatal() && rules(&plan) == ["find-key", "incomplete-deployment"], "{:?}", plan.problems);
    }
}

#[test]
fn a_misspelled_key_of_a_deployment_is_told_with_the_nearest_one() {
    for (provider, wrong, right) in [
        ("script", "scirpt", Some("script")),
        ("releases", "relase_notes", Some("release_notes")),
        ("s3", "bukket", Some("bucket")),
        ("pages", "local-dri", Some("local_dir")),
        ("pypi", "pasword", Some("password")),
        ("huggingface", "repo_tpye", Some("repo_type")),
        ("huggingface", "bucket", None),
    ] {
        let plan =
            of(&format!("language: shell\nscript: x\ndeploy:\n  provider: {provider}\n  {wrong}: x\n  on: next\n"));
        let is_it = |it: &&Problem| it.line == Some(5) && ["find-key", "unknown-key"].contains(&it.rule.as_str());
        let told: Vec<_> = plan.problems.iter().filter(is_it).collect();
        let [told] = &told[..] else { panic!("{provider}: {:?}", plan.problems) };
        assert_eq!(told.severity, Severity::Warning, "{provider}");
        let words = match right {
            Some(right) => format!("the key `{wrong}` is not known and is read as `{right}`: write `{right}`"),
            None => format!("the key `{wrong}` is not known and has no effect"),
        };
        assert_eq!(told.message, words, "{provider}");
    }
}

#[test]
fn an_import_that_is_not_there_is_fatal_however_much_else_is_wrong() {
    let noise: String = (0..49).map(|n| format!("- {{source: a{n}.yml, if: 'branch = (', mode: none}}\n")).collect();
    let plan = of(&format!("script: x\nimport:\n{noise}- last.yml\n"));
    assert!(plan.is_fatal() && plan.jobs.is_empty() && plan.problems.len() > 49, "{}", plan.problems.len());
    assert_eq!(plan.problems[0].message, "last.yml was not fetched");
}

#[test]
fn conditions_of_imports_are_checked_too() {
    let plan = of("script: x\nlanguage: shell\nimport:\n- source: a.yml\n  if: branch = main AND tag IS present\n");
    assert_eq!(rules(&plan), ["condition-never-holds"]);
    assert_eq!(plan.problems[0].place(), ".travis.yml:4:3");
}

#[test]
fn an_error_in_an_imported_file_is_not_one_of_a_training_config() {
    let config = SourceFile { path: CONFIG.to_owned(), text: b"script: x\nimport: acme/ci:a.yml\n".to_vec() };
    let wanted = wanted_imports(std::slice::from_ref(&config), &Imports::new(), &trigger(), &Settings::default());
    let imports =
        wanted.into_iter().map(|source| (source, crate::travis::import::Found::File(b"a: [".to_vec()))).collect();
    let plan = plan(&[config], &imports, &trigger(), &Settings::default());
    assert!(plan.is_fatal() && !plan.has_lint_errors());
    assert_eq!(plan.problems[0].place(), "acme/ci:a.yml:1:4");
}

const CONFIG_TEXT: &str = "base_model: m.safetensors\ntrain_data_dir: ./data\nmetadata_path: ./data/metadata.csv\n\
                           output_dir: ./out\nlora_rank: 4\nmax_train_steps: 100\n";

/// Plans training configs and other files, with these changes.
fn of_trainings(travis: Option<&str>, paths: &[&str], changed: Option<&[&str]>) -> Plan {
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.as_bytes().to_vec() };
    let configs = paths.iter().filter(|path| path.ends_with(".yaml")).map(|path| file(path, CONFIG_TEXT));
    let files: Vec<SourceFile> = configs.chain(travis.map(|text| file(CONFIG, text))).collect();
    let changed = changed.map(|paths| paths.iter().copied().collect());
    let commit = Commit { files: &files, paths, changed: changed.as_ref(), only_smoke: None };
    plan(commit, &Imports::new(), &trigger(), &Settings::default())
}

/// Returns the numbers, kinds, names and stages of the jobs.
fn jobs(plan: &Plan) -> Vec<(&str, JobKind, &str, Option<&str>)> {
    plan.jobs
        .iter()
        .map(|job| (job.number.as_str(), job.kind, job.name.as_deref().unwrap_or_default(), job.stage.as_deref()))
        .collect()
}

#[test]
fn without_a_travis_yml_the_changed_configs_are_tried() {
    let paths = ["a.yaml", "b.yaml", "train.py"];
    let all = of_trainings(None, &paths, None);
    assert_eq!(jobs(&all), [("1", JobKind::Smoke, "smoke a.yaml", None), ("2", JobKind::Smoke, "smoke b.yaml", None)]);
    assert!(rules(&all).is_empty() && all.linted == 2, "{:?}", all.problems);
    let job = &all.jobs[0].config;
    assert_eq!(job["language"], "python");
    assert_eq!(job["script"][0], "python train.py --config /home/travis/smoke/config.yaml");
    assert_eq!((&job["smoke"]["config"], &job["smoke"]["steps"]), (&"a.yaml".into(), &3.into()));
    let one = of_trainings(None, &paths, Some(&["b.yaml", "README.md"]));
    assert_eq!(jobs(&one), [("1", JobKind::Smoke, "smoke b.yaml", None)]);
    let none = of_trainings(None, &paths, Some(&["README.md"]));
    assert!(none.jobs.is_empty() && none.problems.is_empty() && none.linted == 2, "{none:?}");
}

#[test]
fn smoke_jobs_stand_beside_the_first_stage_and_are_set_up_as_its_jobs() {
    let travis = "language: python\npython: '3.11'\ninstall: pip install .\nbefore_script: make data\nscript: pytest\n\
                  env: [A=1, A=2]\njobs: {include: [{stage: deploy, script: make}]}\n\
                  lora: {smoke: {steps: 7, timeout: 3m}, command: 'acc launch t.py {config}'}\n";
    let plan = of_trainings(Some(travis), &["a.yaml"], None);
    assert_eq!(rules(&plan), Vec::<&str>::new());
    let found = jobs(&plan);
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(found[3], ("4", JobKind::Smoke, "smoke a.yaml", found[0].3));
    let job = &plan.jobs[3].config;
    assert_eq!((&job["python"], &job["install"][0]), (&"3.11".into(), &"pip install .".into()));
    assert_eq!(job["script"], serde_json::json!(["acc launch t.py /home/travis/smoke/config.yaml"]));
    assert_eq!((&job["smoke"]["steps"], &job["smoke"]["timeout"]), (&7.into(), &180.into()));
    assert!(job.get("before_script").is_none() && job.get("lora").is_none());
}

#[test]
fn who_is_asked_for_smoke_jobs() {
    let script = "language: python\nscript: pytest\n";
    let count = |plan: &Plan| plan.jobs.iter().filter(|job| job.kind == JobKind::Smoke).count();
    let of = |lora: &str, paths: &[&str]| of_trainings(Some(&format!("{script}{lora}")), paths, Some(&["a.yaml"]));
    // With the trainer in the repository, no settings are required.
    assert_eq!(count(&of("", &["a.yaml", "b.yaml", "train.py"])), 1);
    // Without it, the file has to name the command. Only an author who asked for smoke jobs gets a warning.
    let silent = of("", &["a.yaml"]);
    assert_eq!((count(&silent), rules(&silent)), (0, vec![]));
    let asked = of("lora: {}\n", &["a.yaml"]);
    assert_eq!((count(&asked), rules(&asked)), (0, vec!["smoke"]));
    assert_eq!(count(&of("lora: {command: 'x {config}'}\n", &["a.yaml"])), 1);
    assert_eq!(count(&of("lora: {smoke: all}\n", &["a.yaml", "b.yaml", "train.py"])), 2);
    assert_eq!(count(&of("lora: {smoke: false}\n", &["a.yaml", "train.py"])), 0);
    assert_eq!(count(&of("lora: {configs: 'other/*'}\n", &["a.yaml", "train.py"])), 0);
    let wrong = of("lora: {smoke: {steps: many}}\n", &["a.yaml", "train.py"]);
    assert!(wrong.is_fatal() && rules(&wrong) == ["lora-settings"], "{:?}", wrong.problems);
    let told = wrong.problems.iter().find(|problem| problem.rule == "lora-settings").expect("a problem");
    assert_eq!(told.place(), ".travis.yml:3:23");
}

#[test]
fn a_person_who_asks_for_smoke_jobs_gets_these_alone() {
    let of = |travis: &str, config: Option<&str>| {
        let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.as_bytes().to_vec() };
        let files = [file("a.yaml", CONFIG_TEXT), file("b.yaml", CONFIG_TEXT), file(CONFIG, travis)];
        let changed = BTreeSet::from(["b.yaml"]);
        let paths = ["a.yaml", "b.yaml", "train.py", CONFIG];
        let commit = Commit { files: &files, paths: &paths, changed: Some(&changed), only_smoke: config };
        let trainings = Some(TrainingRequest { config: config.map(str::to_owned), whole: false });
        let trigger = Trigger { message: Some("[skip ci]".to_owned()), ..trigger() };
        plan(commit, &Imports::new(), &trigger, &Settings { trainings, ..Settings::default() })
    };
    let names = |plan: &Plan| plan.jobs.iter().map(|job| job.name.clone().unwrap_or_default()).collect::<Vec<_>>();
    for travis in ["script: pytest\n", "script: pytest\nif: false\n", "script: pytest\nlora: {smoke: false}\n"] {
        assert_eq!(names(&of(travis, None)), ["smoke a.yaml", "smoke b.yaml"], "{travis}");
        assert_eq!(names(&of(travis, Some("a.yaml"))), ["smoke a.yaml"], "{travis}");
    }
    let missing = of("script: pytest\n", Some("c.yaml"));
    let told = missing.problems.iter().find(|problem| problem.rule == "smoke").expect("a problem");
    assert!(missing.is_fatal() && told.message.starts_with("c.yaml has no smoke job: the commit has no"), "{told:?}");
}

#[test]
fn a_file_that_only_speaks_of_trainings_has_no_jobs_of_its_own() {
    let plan = of_trainings(Some("language: python\nlora: {smoke: all}\n"), &["a.yaml", "train.py"], None);
    assert_eq!(jobs(&plan), [("1", JobKind::Smoke, "smoke a.yaml", None)]);
}
