//! The rows of `metadata.csv` and `metadata.jsonl`, which name images and their captions.

use serde_json::{Map, Value};

/// The name of the column for files that the library `datasets` reads.
const FILE_COLUMN: &str = "file_name";
/// The names of columns for captions.
pub(super) const TEXT_COLUMNS: [&str; 5] = ["prompt", "caption", "text", "captions", "description"];
/// The maximum number of rows of a table that are read.
pub(super) const MOST_ROWS: usize = 100_000;

/// A row that names a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) file: String,
    pub(super) has_caption: bool,
}

/// Returns the cells of a table, the first line among them.
pub(super) fn csv_rows(text: &[u8]) -> impl Iterator<Item = Vec<String>> {
    let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    reader.into_byte_records().take(MOST_ROWS).filter_map(Result::ok).map(|row| {
        let cell = |cell: &[u8]| String::from_utf8_lossy(cell).trim().trim_start_matches('\u{feff}').to_owned();
        row.iter().map(cell).collect()
    })
}

/// Returns the place of the first column with one of these names.
pub(super) fn column(head: &[String], names: &[&str]) -> Option<usize> {
    head.iter().position(|cell| names.contains(&cell.to_lowercase().as_str()))
}

/// Reads the rows that name files; none of a table that is about something else. The error is the end of a sentence that
/// begins with the file's name.
pub(super) fn rows(path: &str, text: &[u8]) -> Result<Vec<Row>, String> {
    if path.ends_with(".csv") { Ok(of_csv(text)) } else { of_json_lines(text) }
}

fn of_csv(text: &[u8]) -> Vec<Row> {
    let mut rows = csv_rows(text);
    let head = rows.next().unwrap_or_default();
    let Some(file) = column(&head, &[FILE_COLUMN]) else { return Vec::new() };
    let caption = column(&head, &TEXT_COLUMNS);
    let cell = |row: &[String], place: usize| row.get(place).filter(|cell| !cell.is_empty()).cloned();
    let read = |row: Vec<String>| {
        let has_caption = caption.is_some_and(|caption| cell(&row, caption).is_some());
        cell(&row, file).map(|file| Row { file, has_caption })
    };
    rows.filter_map(read).collect()
}

fn of_json_lines(text: &[u8]) -> Result<Vec<Row>, String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let mut rows = Vec::new();
    for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()).take(MOST_ROWS) {
        let row: Map<String, Value> =
            serde_json::from_str(line).map_err(|_| format!("has a line {} that is no JSON object", index + 1))?;
        let is_blank = |value: &Value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
        let has_caption = TEXT_COLUMNS.iter().any(|key| row.get(*key).is_some_and(|value| !is_blank(value)));
        let file = row.get(FILE_COLUMN).and_then(Value::as_str);
        rows.extend(file.map(|file| Row { file: file.to_owned(), has_caption }));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, text: &str) -> Result<Vec<(String, bool)>, String> {
        rows(path, text.as_bytes()).map(|rows| rows.into_iter().map(|row| (row.file, row.has_caption)).collect())
    }

    #[test]
    fn rows_have_a_file_and_perhaps_a_caption() {
        let expected = [("a.png", true), ("b c.png", true), ("d.png", false)].map(|(file, has)| (file.to_owned(), has));
        let csv = "\u{feff}file_name,License,Text\na.png,x,\"a cat, \"\"sitting\"\"\non a mat\"\n\"b c.png\",,a dog\nd.png,x,\n,x,y\n";
        assert_eq!(read("metadata.csv", csv).unwrap(), expected);
        let lines = "{\"file_name\": \"a.png\", \"text\": \"a cat\"}\n\n{\"file_name\": \"b c.png\", \"caption\": {\"en\": \"a dog\"}}\n\
                     {\"file_name\": \"d.png\", \"text\": \" \"}\n{\"text\": \"x\"}\n";
        assert_eq!(read("metadata.jsonl", lines).unwrap(), expected);
    }

    #[test]
    fn other_tables_name_nothing_and_a_broken_line_is_told() {
        assert_eq!(read("metadata.csv", "").unwrap(), []);
        assert_eq!(read("metadata.csv", "path,text\n/srv/a.png,x\n").unwrap(), []);
        assert_eq!(read("metadata.jsonl", "{\"x\": 1}\n").unwrap(), []);
        for broken in ["{}\n[1]\n", "{}\n{\"file_name\": \n"] {
            assert_eq!(read("metadata.jsonl", broken).unwrap_err(), "has a line 2 that is no JSON object");
        }
    }
}
