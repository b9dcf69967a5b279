//! Jobs and stages.

use serde_json::{Map, Value, json};
use trainyard::travis::matrix::{self, Notes};

use crate::real::{config, jobs};
use crate::support::{Score, list};
use crate::valid::{options, sorted};

pub fn scores() -> Vec<Score> {
    vec![expansion(), stages()]
}

fn expansion() -> Score {
    let mut score = Score::new("matrix", 98.0);
    for (index, case) in list("matrix.json").iter().enumerate() {
        let (config, _) = config(case["yaml"].as_str().expect("a string"), options(&case["opts"]));
        let data = &case["data"];
        let (got, stages) = if case["pipeline"] == "full" {
            let matrix = matrix::matrix(&config, data);
            (jobs(&matrix.jobs), json!(matrix.stages))
        } else {
            (jobs(&matrix::expand(&config, data, &mut Notes::default())), Value::Null)
        };
        let equal = sorted(&got) == sorted(&case["expected_jobs"])
            && case.get("expected_stages").is_none_or(|wanted| sorted(wanted) == sorted(&stages));
        score.count(index, equal, || {
            format!("{}\n{}\n  got {got} {stages}\n  not {}", case["name"], case["yaml"], case["expected_jobs"])
        });
    }
    score
}

fn stages() -> Score {
    let mut score = Score::new("stages", 98.0);
    for (index, case) in list("stages.json").iter().enumerate() {
        let list = |name: &str| case[name].as_array().cloned().unwrap_or_default();
        let given: Vec<Map<_, _>> = list("jobs").iter().filter_map(Value::as_object).cloned().collect();
        let (stages, given) = matrix::with_stages(&list("stages"), given, &case["data"]);
        let equal = sorted(&json!(stages)) == sorted(&case["expected_stages"])
            && sorted(&jobs(&given)) == sorted(&case["expected_jobs"]);
        score.count(index, equal, || format!("{case}\n  got {stages:?} {}", jobs(&given)));
    }
    score
}
