//! The language of `if:`.

use serde_json::{Value, json};
use trainyard::travis::condition::{self, Condition, Data, Operand, Predicate};

use crate::support::{Score, corpus};

fn operand(operand: &Operand) -> Value {
    let list = |args: &[Operand]| args.iter().map(self::operand).collect::<Vec<_>>();
    match operand {
        Operand::Variable(name) => json!(["var", name]),
        Operand::Text(text) => json!(["val", text]),
        Operand::Regex(text) => json!(text),
        Operand::Env(args) => json!(["call", "env", list(args)]),
        Operand::Concat(args) => json!(["call", "concat", list(args)]),
    }
}

/// The S-expression of the reference.
fn tree(condition: &Condition) -> Value {
    let name = |word: &str, not: bool| if not { format!("not_{word}") } else { word.to_owned() };
    match condition {
        Condition::Or(left, right) => json!(["or", tree(left), tree(right)]),
        Condition::And(left, right) => json!(["and", tree(left), tree(right)]),
        Condition::Not(inner) => json!(["not", tree(inner)]),
        Condition::Term(term) => operand(term),
        Condition::Equal(left, right, not) => json!([name("eq", *not), operand(left), operand(right)]),
        Condition::Match(left, right, not) => json!([name("match", *not), operand(left), ["reg", operand(right)]]),
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

#[test]
fn grammar_and_results() {
    let Some(cases) = corpus("conditions.json") else { return };
    let mut score = Score::new("conditions");
    for case in cases.as_array().expect("a list") {
        let expr = case["expr"].as_str().expect("a string");
        let parsed = condition::parse(expr);
        let (got, wanted) = if case.get("expected").is_some() || case.get("error").is_some() {
            let wanted = case.get("expected").cloned().unwrap_or(json!("error:ArgumentError"));
            (result(expr, &case["data"]), wanted)
        } else if case["ok"] == true {
            (parsed.as_ref().map_or(json!("not parsed"), tree), case["ast"].clone())
        } else {
            (json!(parsed.is_ok()), json!(false))
        };
        score.count(got == wanted, || format!("{expr}\n  got {got} {parsed:?}\n  not {wanted}"));
    }
    score.close(100.0);
}

#[test]
fn real_conditions_in_five_contexts() {
    let Some(corpus) = corpus("conditions_eval_real.json") else {
        return;
    };
    let mut score = Score::new("conditions in contexts");
    for case in corpus["cases"].as_array().expect("a list") {
        let expr = case["expr"].as_str().expect("a string");
        for (context, wanted) in case["results"].as_object().expect("a map") {
            let got = result(expr, &corpus["contexts"][context]);
            score.count(got == *wanted, || format!("{expr} in {context}\n  got {got}\n  not {wanted}"));
        }
    }
    score.close(100.0);
}
