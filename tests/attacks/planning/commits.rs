//! Commits that are small to write and expensive to plan, or whose plan no database takes.

use trainyard::domain::{Revision, Severity};
use trainyard::plan::{MAX_JOBS, MAX_PROBLEMS, Plan, SourceFile};
use trainyard::planner::{Answer, PlanError};
use trainyard::travis::import::{Found, Imports, Source};

use super::{Watched, ask, fact, file, trigger};
use crate::support::hostile::{self, Hostile};

/// A training config for which a smoke job can be derived.
const CONFIG: &str =
    "base_model: ./m.safetensors\ntrain_data_dir: ./data\nlora_rank: 8\nepochs: 10\noutput_dir: ./out\n";

/// The bound or refusal that an attack has to end with.
enum End {
    /// A problem at this place, whose message has these words.
    Problem(&'static str, &'static str),
    /// A plan with this number of jobs.
    Jobs(usize),
    /// No build, for a reason with these words.
    Skipped(&'static str),
    /// No plan, for a reason with these words.
    Refused(&'static str),
}
use End::{Jobs, Problem, Refused, Skipped};

struct Attack {
    name: &'static str,
    files: Vec<SourceFile>,
    end: End,
}

fn numbered<T>(count: usize, one: impl Fn(usize) -> T) -> Vec<T> {
    (0..count).map(one).collect()
}

/// Returns a commit with a custom dialect for each of these schemas.
fn of_schemas(schemas: Vec<String>) -> Vec<SourceFile> {
    let dialects = numbered(schemas.len(), |n| format!("  - {{schema: s{n}.json, configs: 'c{n}/*.yaml'}}\n"));
    let travis = format!("script: true\nlora:\n  dialects:\n{}", dialects.concat());
    let schemas = schemas.into_iter().enumerate().map(|(n, schema)| file(format!("s{n}.json"), schema));
    std::iter::once(file(".travis.yml", travis)).chain(schemas).collect()
}

/// Returns a schema with these patterns.
fn of_patterns(patterns: Vec<String>) -> String {
    let patterns: Vec<String> = patterns.iter().map(|text| format!("{{\"pattern\": {text:?}}}")).collect();
    format!("{{\"anyOf\": [{}]}}", patterns.join(","))
}

/// Returns a commit of these training configs, all of which get smoke jobs.
fn of_configs(count: usize, text: impl Fn(usize) -> String) -> Vec<SourceFile> {
    let travis = "lora: {smoke: all, command: 'python train.py {config}'}\n";
    let configs = numbered(count, |n| file(format!("c{n}.yaml"), text(n)));
    std::iter::once(file(".travis.yml", travis)).chain(configs).collect()
}

fn travis(text: impl Into<Vec<u8>>) -> Vec<SourceFile> {
    vec![file(".travis.yml", text)]
}

fn of_schemas_and_files() -> Vec<Attack> {
    let of = |name, files, end| Attack { name, files, end };
    let heavy = |n| format!("(\\p{{L}}{{23}}|q)x{n}");
    vec![
        of(
            "a pattern whose automaton takes a megabyte",
            of_schemas(vec![of_patterns(numbered(1, heavy))]),
            Problem(".travis.yml:4:5", "not a JSON Schema"),
        ),
        of(
            "300 patterns",
            of_schemas(vec![of_patterns(numbered(300, |n| format!("^a{n}$")))]),
            Problem(".travis.yml:4:5", "more than 100 different regular expressions"),
        ),
        of(
            "60 patterns in each of 100 schemas",
            of_schemas(numbered(100, |_| of_patterns(numbered(60, |n| format!("^a{n}$"))))),
            Problem(".travis.yml:5:5", "more than 100 different regular expressions"),
        ),
        of(
            "a pattern of 2 KiB",
            of_schemas(vec![of_patterns(vec!["a?".repeat(1024)])]),
            Problem(".travis.yml:4:5", "longer than 1024 bytes"),
        ),
        of(
            "a hundred captures of many states each",
            of_schemas(vec![of_patterns(numbered(100, |n| format!("^(([a-z]+)([0-9]+)){{9}}([a-z0-9]+){n}$")))]),
            Jobs(1),
        ),
        of(
            "100 schemas of 9,000 parts each",
            of_schemas(numbered(100, |_| format!("{{\"enum\": [{}1]}}", "1,".repeat(9_000)))),
            Problem(".travis.yml:9:5", "more than 50000 parts together"),
        ),
        of("2,000 configs, each with a mock model", of_configs(1_999, |_| CONFIG.to_owned()), Jobs(20)),
        of(
            "400,000 problems",
            of_configs(1_999, |_| format!("{CONFIG}{}", "epochs: 1\n".repeat(200))),
            Problem("", "more problems, which are not shown"),
        ),
        of(
            "problems about keys of 100 KB",
            numbered(100, |n| {
                let key = "k".repeat(100_000);
                let text =
                    format!("{{\"model_family\": \"flux\", \"train_batch_size\": 1, \"{key}\": 1, \"{key}\": 2}}");
                file(format!("c{n}.json"), text)
            }),
            Problem("c0.json:1:", "kkkk"),
        ),
        of(
            "a config of one long line",
            of_configs(1, |_| format!("{{{}, x: [{}1]}}", CONFIG.trim_end().replace('\n', ", "), "1,".repeat(5_000))),
            Jobs(1),
        ),
    ]
}

fn of_texts() -> Vec<Attack> {
    let of = |name, files, end| Attack { name, files, end };
    let nul = "character NUL";
    vec![
        of("NUL in a command", travis("language: shell\nscript: \"a\\0b\"\n"), Problem(".travis.yml:2:9", nul)),
        of("NUL in a key", travis("script: true\n\"a\\0b\": c\n"), Problem(".travis.yml:2:1", nul)),
        of("NUL in a stage", travis("jobs: {include: [{stage: \"a\\x00\"}]}\n"), Problem(".travis.yml:1:26", nul)),
        of("NUL as \\u0000", travis("env: \"A=\\u0000\"\nscript: true\n"), Problem(".travis.yml:1:6", nul)),
        of("a byte NUL", travis("script: a\0b\n"), Problem(".travis.yml", "")),
        of("NUL in an anchor", travis("script: *a\0b\n"), Problem(".travis.yml", "")),
        of("NUL in a config", of_configs(1, |_| format!("{CONFIG}prompt: \"a\\0\"\n")), Problem("c0.yaml:6:9", nul)),
        of(
            "NUL in a config in TOML",
            vec![file("a.toml", format!("{}prompt = \"a\\u0000\"\n", CONFIG_TOML))],
            Problem("a.toml:5:10", nul),
        ),
        of(
            "NUL in a config in JSON",
            vec![file("a.json", "{\"model_family\": \"flux\", \"train_batch_size\": 1, \"note\": \"a\\u0000\"}")],
            Problem("a.json:1:57", nul),
        ),
        of(
            "a file that is not UTF-8",
            travis([b"script: \xff\xfe".as_slice()].concat()),
            Problem(".travis.yml", "UTF-8"),
        ),
        of("half of a pair", travis("script: \"a\\ud800\"\n"), Problem(".travis.yml", "")),
        of(
            "a stage with a name of 500 KB",
            travis(format!("jobs: {{include: [{{stage: {}, script: a}}]}}\n", "s".repeat(500_000))),
            Jobs(1),
        ),
        of(
            "a job with a name of 500 KB",
            travis(format!("jobs: {{include: [{{name: {}, script: a}}]}}\n", "n".repeat(500_000))),
            Jobs(1),
        ),
        of(
            "a long condition that does not hold",
            travis(format!("script: a\nif: branch = {}\n", "b".repeat(5_000))),
            Skipped("the condition"),
        ),
        of(
            "20 smoke jobs that take over megabytes",
            {
                let text = "\\x01".repeat(200_000);
                let mut files = of_configs(30, |_| CONFIG.to_owned());
                let more = format!("language: python\nscript: a\nbefore_install: &a \"{text}\"\ninstall: *a\n");
                files[0].text.extend(more.into_bytes());
                files
            },
            Refused("more than"),
        ),
    ]
}

/// The keys of [`CONFIG`] in TOML.
const CONFIG_TOML: &str = "pretrained_model_name_or_path = \"m\"\ntrain_data_dir = \"d\"\nnetwork_module = \"networks.lora\"\nnetwork_dim = 4\n";

/// Checks that a plan is within all bounds.
fn check_bounds(name: &str, plan: &Plan) {
    assert!(plan.jobs.len() <= MAX_JOBS, "{name}: {} jobs", plan.jobs.len());
    assert!(plan.problems.len() <= MAX_PROBLEMS, "{name}: {} problems", plan.problems.len());
    for problem in &plan.problems {
        assert!(problem.message.len() <= 2_000, "{name}: a message of {} bytes", problem.message.len());
        assert!(problem.key.as_ref().is_none_or(|key| key.len() <= 400), "{name}: a long key");
    }
    let names = plan.jobs.iter().flat_map(|job| [&job.name, &job.stage]).flatten().chain(&plan.stages);
    for text in names.chain(&plan.skip) {
        assert!(text.len() <= 400, "{name}: a name of {} bytes", text.len());
    }
    let stored = serde_json::to_string(&plan).unwrap();
    assert!(!stored.contains("\\u0000"), "{name}: NUL in the plan");
}

/// Returns the difference between an answer and the end that it should have.
fn difference(name: &str, end: &End, answer: Result<Answer, PlanError>) -> Option<String> {
    let plan = match (end, answer) {
        (Refused(words), Err(PlanError::Commit(why))) if why.contains(words) => return None,
        (_, Ok(Answer::Planned(plan))) => plan,
        (_, other) => return Some(format!("{name}: {other:?}")),
    };
    check_bounds(name, &plan);
    let is_as_expected = match end {
        Problem(place, words) => {
            plan.problems.iter().any(|found| found.place().starts_with(place) && found.message.contains(words))
        }
        Jobs(count) => plan.jobs.len() == *count,
        Skipped(words) => plan.skip.as_ref().is_some_and(|why| why.contains(words)),
        Refused(_) => false,
    };
    let first = plan.problems.iter().map(|found| format!("{} {}", found.place(), found.message)).take(5);
    (!is_as_expected).then(|| {
        format!(
            "{name}: {} jobs, {:?}, {} problems: {:?}",
            plan.jobs.len(),
            plan.skip,
            plan.problems.len(),
            first.collect::<Vec<_>>()
        )
    })
}

#[tokio::test]
async fn expensive_commits_end_with_a_bound_or_a_refusal() {
    let mut differences = Vec::new();
    for Attack { name, files, end } in of_schemas_and_files().into_iter().chain(of_texts()) {
        let watched = Watched::new();
        let begin = std::time::Instant::now();
        let answer = ask(&watched.planner, &files, Imports::new()).await;
        let peak = watched.pids().first().and_then(|pid| fact(*pid, "VmPeak:"));
        println!("{name}: {:?}, {peak:?} kB of address space", begin.elapsed());
        differences.extend(difference(name, &end, answer));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test]
async fn hostile_files_end_with_their_problem() {
    let watched = Watched::new();
    for Hostile { name, text, rule } in hostile::all() {
        match ask(&watched.planner, &travis(text), Imports::new()).await {
            Ok(Answer::Planned(plan)) => {
                check_bounds(name, &plan);
                let has = |rule| plan.problems.iter().any(|problem| problem.rule == rule);
                assert!(rule.is_none_or(has), "{name}: {:?}", plan.problems);
            }
            // The files of its imports are wanted first.
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn nul_in_an_imported_file_is_a_problem_there() {
    let watched = Watched::new();
    let source = Source { repo: trigger().repo, revision: Revision::Built, path: "ci/a.yml".to_owned() };
    let files = travis("import: ci/a.yml\n");
    match ask(&watched.planner, &files, Imports::new()).await {
        Ok(Answer::Wanted(wanted)) => assert_eq!(wanted, std::slice::from_ref(&source)),
        other => panic!("{other:?}"),
    }
    let imports = Imports::from([(source, Found::File(b"env: A=1\nscript: \"a\\0\"\n".to_vec()))]);
    let answer = ask(&watched.planner, &files, imports).await;
    assert_eq!(difference("an import", &Problem("ci/a.yml:2:9", "character NUL"), answer), None);
}

#[tokio::test]
async fn errors_are_kept_where_other_problems_are_left_out() {
    let watched = Watched::new();
    // A thousand warnings come before the only error.
    let mut files = of_configs(1_000, |_| format!("{CONFIG}output_dri: x\n"));
    files.push(file("z.yaml", format!("{CONFIG}epochs: 1\n")));
    let Ok(Answer::Planned(plan)) = ask(&watched.planner, &files, Imports::new()).await else { panic!("no plan") };
    check_bounds("warnings", &plan);
    let errors: Vec<_> = plan.problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    assert!(!errors.is_empty() && plan.has_lint_errors() && !plan.is_fatal(), "{errors:?}");
}
