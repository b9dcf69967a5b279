//! Conditions of `if:`.

use serde_json::{Value, json};
use trainyard::travis::condition::{self, Condition, Data, Operand, Predicate};

use crate::support::{Score, corpus, list};

fn operand(operand: &Operand) -> Value {
    let list = |args: &[Operand]| args.iter().map(self::operand).collect::<Vec<_>>();
    match operand {
        Operand::Variable(name) => json!(["var", name]),
        Operand::Text(text) => json!(["val", text]),
        Operand::Regex(pattern) => json!(pattern.text()),
        Operand::Env(args) => json!(["call", "env", list(args)]),
        Operand::Missing => Value::Null,
        Operand::Concat(args) => json!(["call", "concat", list(args)]),
    }
}

/// Returns the S-expression that the reference gives.
fn tree(condition: &Condition) -> Value {
    let name = |word: &str, not: bool| if not { format!("not_{word}") } else { word.to_owned() };
    match condition {
        Condition::Or(left, right) => json!(["or", tree(left), tree(right)]),
        Condition::And(left, right) => json!(["and", tree(left), tree(right)]),
        Condition::Not(inner) => json!(["not", tree(inner)]),
        Condition::Term(term) => operand(term),
        Condition::Equal(left, right, not) => json!([name("eq", *not), operand(left), operand(right)]),
        Condition::Match(left, Operand::Missing, not) => json!([name("match", *not), operand(left), null]),
        Condition::Match(left, right, not) => json!([name("match", *not), operand(left), ["reg", operand(right)]]),
        Condition::In(left, list, not) if list.is_empty() => json!([name("in", *not), operand(left), null]),
        Condition::In(left, list, not) => {
            json!([name("in", *not), operand(left), list.iter().map(operand).collect::<Vec<_>>()])
        }
        Condition::Is(left, predicate, not) => {
            let word = match predicate {
                Predicate::Present => "present",
                Predicate::Blank => "blank",
                Predicate::True => "true",
                Predicate::False => "false",
            };
            json!([if *not { "is_not" } else { "is" }, operand(left), word])
        }
    }
}

fn result(expr: &str, data: &Value) -> Value {
    let data = Data { variables: data, env: &data["env"] };
    match condition::parse(expr).map(|condition| condition.holds(data)) {
        Ok(Ok(holds)) => json!(holds),
        Ok(Err(_)) => json!("error:ArgumentError"),
        Err(_) => json!("not parsed"),
    }
}

pub fn scores() -> Vec<Score> {
    vec![cases("conditions", "conditions.json"), cases("conditions, quirks", "conditions_quirks.json"), in_contexts()]
}

/// Scores the cases of a file. Each case has some of these: whether the grammar accepts the condition, the tree, and
/// the result or the error of its evaluation.
fn cases(name: &'static str, file: &str) -> Score {
    let mut score = Score::new(name, 100.0);
    for (index, case) in list(file).iter().enumerate() {
        let expr = case["expr"].as_str().expect("a string");
        let parsed = condition::parse(expr);
        let mut pairs = Vec::new();
        if !case["expected"].is_null() {
            pairs.push((result(expr, &case["data"]), case["expected"].clone()));
        } else if case["ok"] == false {
            pairs.push((json!(parsed.is_ok()), json!(false)));
        } else if !case["error"].is_null() {
            pairs.push((result(expr, &case["data"]), json!("error:ArgumentError")));
        }
        if case["ok"] == true {
            pairs.push((parsed.as_ref().map_or(json!("not parsed"), tree), case["ast"].clone()));
        }
        let equal = !pairs.is_empty() && pairs.iter().all(|(got, wanted)| got == wanted);
        score.count(index, equal, || format!("{expr}\n  {parsed:?}\n  got and wanted {pairs:?}"));
    }
    score
}

fn in_contexts() -> Score {
    let mut score = Score::new("conditions in contexts", 100.0);
    let corpus = corpus("conditions_eval_real.json").unwrap_or_default();
    for (index, case) in corpus["cases"].as_array().into_iter().flatten().enumerate() {
        let expr = case["expr"].as_str().expect("a string");
        for (context, wanted) in case["results"].as_object().expect("a map") {
            let got = result(expr, &corpus["contexts"][context]);
            let case = format!("{index} {context}");
            score.count(case, got == *wanted, || format!("{expr}\n  got {got}\n  not {wanted}"));
        }
    }
    score
}
