//! Short questions and answers, in every form that language model trainers read.

use serde_json::{Value, json};

use super::File;

/// A question with an answer, and a worse answer for trainers that compare two answers.
pub(crate) struct Row {
    pub(crate) question: String,
    pub(crate) answer: String,
    pub(crate) worse: String,
}

const WORDS: [&str; 16] = [
    "apple", "bread", "cloud", "dune", "ember", "forest", "garden", "harbour", "island", "jacket", "kettle", "lantern",
    "meadow", "needle", "ocean", "paper",
];

/// Returns a row for each word.
fn rows() -> Vec<Row> {
    let row = |word: &&str| Row {
        question: format!("How many letters has the word {word}?"),
        answer: format!("The word {word} has {} letters.", word.len()),
        worse: format!("I do not know the word {word}."),
    };
    WORDS.iter().map(row).collect()
}

/// Converts a row to turns of a user and an assistant, with the trainer's names for the keys and roles.
pub(crate) fn conversation(row: &Row, role: &str, content: &str, user: &str, assistant: &str) -> Value {
    json!([{role: user, content: row.question}, {role: assistant, content: row.answer}])
}

/// A conversion of a row to the JSON of one form.
type Form = fn(&Row) -> Value;

/// Returns one file for each form, and LLaMA-Factory's list of these files.
pub(super) fn files() -> Vec<File> {
    let forms: [(&str, Form); 5] = [
        ("alpaca", |row| json!({"instruction": row.question, "input": "", "output": row.answer})),
        ("completion", |row| json!({"text": format!("{} {}", row.question, row.answer)})),
        ("chat", |row| json!({"messages": conversation(row, "role", "content", "user", "assistant")})),
        ("sharegpt", |row| json!({"conversations": conversation(row, "from", "value", "human", "gpt")})),
        ("preference", |row| json!({"prompt": row.question, "chosen": row.answer, "rejected": row.worse})),
    ];
    let mut files: Vec<File> = forms.iter().map(|(name, form)| lines(&format!("{name}.jsonl"), *form)).collect();
    let info = json!({
        "alpaca": {"file_name": "alpaca.jsonl"},
        "completion": {"file_name": "completion.jsonl", "columns": {"prompt": "text"}},
        "chat": {
            "file_name": "chat.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": {
                "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
            },
        },
        "sharegpt": {"file_name": "sharegpt.jsonl", "formatting": "sharegpt"},
        "preference": {
            "file_name": "preference.jsonl",
            "ranking": true,
            "columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
        },
    });
    files.push(File::json("dataset_info.json", &info));
    files
}

/// Creates a file with one row per line.
pub(crate) fn lines(path: &str, form: impl Fn(&Row) -> Value) -> File {
    File::new(path, rows().iter().map(|row| format!("{}\n", form(row))).collect::<String>())
}
