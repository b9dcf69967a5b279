use super::*;
use crate::tree::Entry;

/// Formats the values without their positions.
fn values(node: &Node) -> String {
    match &node.value {
        Value::List(items) => format!("[{}]", items.iter().map(values).collect::<Vec<_>>().join(",")),
        Value::Map(entries) => {
            let entry = |entry: &Entry| format!("{:?}:{}", entry.key, values(&entry.node));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
        }
        value => format!("{value:?}"),
    }
}

fn copied(format: Format, text: &str) -> String {
    let source = format.read(text);
    assert!(source.faults.is_empty(), "{text}: {:?}", source.faults);
    let root = source.root.expect("a root");
    let written = format.write(&root);
    let again = format.read(&written);
    assert!(again.faults.is_empty(), "{written}: {:?}", again.faults);
    assert_eq!(values(&again.root.expect("a root")), values(&root), "{written}");
    written
}

#[test]
fn yaml_means_the_same_after_it() {
    let text =
        "lr: 2e-4\nbig: 1.0e+6\ntiny: 0.0000001\nword: \"no\"\nis: no\nnone: ~\nempty: ''\nnumber: '8'\nat: a: b\n";
    let text = text.replace("at: a: b", "at: 'a: b'");
    let expected = "lr: 2e-4\nbig: 1000000.0\ntiny: 0.0000001\nword: \"no\"\nis: false\nnone: null\nempty: \"\"\nnumber: \"8\"\nat: \"a: b\"\n";
    assert_eq!(copied(Format::Yaml, &text), expected);
    let nested = "a:\n- - 1\n  - [x, {}]\n- b: [2]\n  c: {d: [], e: '#'}\n- |\n  two\n  lines\n? odd key\n: \"\\u0085\\x01\"\n\"é\": ü\n";
    let expected = "a:\n  -\n    - 1\n    -\n      - x\n      - {}\n  - b:\n      - 2\n    c:\n      d: []\n      e: \"#\"\n  - \"two\\nlines\\n\"\n\"odd key\": \"\\u0085\\u0001\"\n\"é\": ü\n";
    assert_eq!(copied(Format::Yaml, nested), expected);
    copied(Format::Yaml, "a: &x {k: v}\nb: *x\nc: .5\nd: 1:30\ne: 2024-01-01\nf: [http://a/b#c, -x, 'é\"\\']\n");
}

#[test]
fn toml_means_the_same_after_it() {
    let text = "z = 1\na = 1e-4\n\"odd key\" = 'C:\\x'\nd = { b = [1.0, -2.5], c = \"\" }\n[[sets]]\nx = true\n[[sets.below]]\ny = [[1], [\"a\"]]\n[[sets.below]]\n[t.u]\n";
    let expected = "z = 1\na = 0.0001\n\"odd key\" = \"C:\\\\x\"\n\n[d]\nb = [1.0, -2.5]\nc = \"\"\n\n[[sets]]\nx = true\n\n[[sets.below]]\ny = [[1], [\"a\"]]\n\n[[sets.below]]\n\n[t]\n\n[t.u]\n";
    assert_eq!(copied(Format::Toml, text), expected);
    copied(Format::Toml, "a = inf\nb = -inf\nc = [{ a = 1 }, 2]\ne = 1_000\nf = 0x10\nd = [{}, {b = 1}]\n");
}

#[test]
fn json_means_the_same_after_it() {
    let text = "{\"a\": [1, 2.0, \"\\u0001é\\\"\"], \"--b\": {\"c\": null, \"d\": {}}, \"e\": 1e-5, \"f\": -Infinity}";
    let expected = "{\n  \"a\": [\n    1,\n    2.0,\n    \"\\u0001é\\\"\"\n  ],\n  \"--b\": {\n    \"c\": null,\n    \"d\": {}\n  },\n  \"e\": 0.00001,\n  \"f\": -Infinity\n}\n";
    assert_eq!(copied(Format::Json, text), expected);
}
