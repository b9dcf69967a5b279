use super::*;
use crate::travis::normal::read;

/// Returns the places and messages of the traps about the values in a file.
fn traps_in(text: &str) -> Vec<(u32, String)> {
    let document = read(text).expect("YAML");
    let root = document.root.as_ref().expect("a root");
    let traps = cut_values(root).into_iter().chain(repeated_variables(root));
    traps.map(|trap| (trap.at.line, trap.message)).collect()
}

/// Checks that a file has one trap, on a line and with these words in its message.
fn one(text: &str, line: u32, words: &[&str]) {
    let traps = traps_in(text);
    let [(at, message)] = traps.as_slice() else { panic!("{text}: {traps:?}") };
    assert_eq!(*at, line, "{text}");
    assert!(words.iter().all(|word| message.contains(word)), "{text}: {message}");
}

#[test]
fn values_of_maps_that_the_shell_does_not_take_as_one_word() {
    for (value, what) in [
        ("slow and not network", "blank"),
        ("-m \"not slow\"", "blank"),
        ("it's", "quote"),
        ("'\"open'", "quote"),
        ("'{\"a\": 1}'", "quote"),
        ("a(b)", "`(`"),
        ("a&b", "`&`"),
        ("a;b", "`;`"),
        ("a|b", "`|`"),
        ("'<x>'", "`<`"),
        ("numpy>=1.2", "`>`"),
        ("$(date", "not closed"),
        ("'{1,2}'", "braces"),
        ("C:\\tools", "backslash"),
        ("$(a $(b) c)", "substituted"),
    ] {
        for text in ["env:\n  global:\n    A_B: VALUE\n", "env:\n  global:\n  - A_B: VALUE\n", "\nenv:\n  A_B: VALUE\n"]
        {
            one(&text.replace("VALUE", value), 3, &["A_B", what, "quotes"]);
        }
        one(
            &format!(
                "jobs:\n  include:\n  - env: {{A_B: \"{}\"}}\n",
                value.trim_matches('\'').replace('\\', "\\\\").replace('"', "\\\"")
            ),
            3,
            &["A_B"],
        );
    }
}

#[test]
fn values_that_the_shell_takes_as_they_are() {
    for value in [
        "a",
        "",
        "'\"slow and not network\"'",
        "\"'a b'\"",
        "'#fff'",
        "a#b",
        "1.2.3",
        "$HOME/bin:$PATH",
        "$(date +%Y)",
        "'`date`'",
        "'\"$(cat a b)\"'",
        "${A:-b}",
        "https://example.com/a?b=c",
        "-Dx=1",
        "a\\&b",
        "'{a}'",
        "'*.whl'",
        "a@b,c",
        "~/x",
        "{secure: \"a b\"}",
        "'\"a\";'",
        "",
    ] {
        assert_eq!(traps_in(&format!("env:\n  global:\n    A: {value}\n")), [], "{value}");
    }
}

#[test]
fn texts_of_variables_with_blanks() {
    for (text, words) in [
        ("ARGS=slow and fast", ["ARGS", "blank"]),
        ("A=1 ARGS=slow fast B=2", ["ARGS", "blank"]),
        ("ARGS= fast", ["ARGS is empty", "remove the blank"]),
        ("ARGS= FAST", ["ARGS is empty", "remove the blank"]),
        ("ARGS:fast", ["`:` in place of `=`", "NAME=value"]),
        ("ARGS: fast", ["`:` in place of `=`", "NAME=value"]),
        ("A=1 B=x;y", ["B does not", "`;`"]),
        ("A=-m\"x y\"", ["A gets only", "quote"]),
    ] {
        one(&format!("env:\n- '{text}'\n"), 2, &words);
        one(&format!("env:\n  global:\n  - '{text}'\n"), 3, &words);
        one(&format!("env: '{text}'\n"), 1, &words);
        one(&format!("jobs:\n  include:\n  - env: '{text}'\n"), 3, &words);
    }
    for text in [
        "A=1 B=2",
        "A= B=2",
        "A=\"x y\" B='a;b'",
        "A",
        "\"A=1\"",
        "A=$(cat x) B=`cat y`",
        "A=1;",
        "A = 1",
        "A=1 CLANG B=2",
        "A=\"x\" # why",
        "A=1;B=2",
        "export A=1",
        "Build wheel=",
    ] {
        assert_eq!(traps_in(&format!("env:\n- '{}'\n", text.replace('\'', "''"))), [], "{text}");
    }
}

#[test]
fn messages_do_not_show_values() {
    let text = "env:\n- A=hunter2 hunter3\n- \"a: hunter3\"\n- A= hunter2\n- A=hunter2;x\n- hunter2:x\n";
    let traps = traps_in(text);
    assert_eq!(traps.len(), 5, "{traps:?}");
    assert!(traps.iter().all(|(_, message)| !message.contains("hunter")), "{traps:?}");
}

#[test]
fn variables_that_a_job_gets_more_than_once() {
    for (text, line, words) in [
        ("jobs:\n  include:\n  - env:\n    - X=1\n    - X=2\n    - X=3\n", 5, ["X is set 3 times", "jobs: include:"]),
        ("matrix:\n  include:\n  - env:\n    - X=1 Y=1\n    - X=2 Y=1\n", 5, ["X is set 2 times", "jobs: include:"]),
        ("jobs:\n  - env:\n    - X: 1\n    - X: 2\n", 4, ["X is set 2 times", "jobs: include:"]),
        ("env:\n  global:\n  - X=1\n  - Y=1\n  - X=2\n", 5, ["X is set 2 times", "env: jobs:"]),
        ("jobs:\n  include:\n  - env: X=1 X=2\n", 3, ["X is set 2 times", "jobs: include:"]),
        ("env:\n- X=1\n- X=1 X=2\n", 3, ["X is set 2 times", "one item"]),
        ("env: X=1 X=2\n", 1, ["X is set 2 times", "one item"]),
    ] {
        one(text, line, &words);
    }
    for text in [
        "env:\n- X=1\n- X=2\n",
        "env:\n  matrix:\n  - X=1\n  - X=2\n  global:\n  - X=0\n",
        "env:\n  global:\n  - PATH=a:$PATH\n  - PATH=b:${PATH}\n",
        "env:\n  global:\n  - X=1\n  - X=1\n",
        "env:\n  global:\n  - X=1\n  - X: {secure: a}\n",
        "jobs:\n  include:\n  - env: X=1\n  - env: X=2\n",
        "_env: &e [X=1, Y=1]\njobs:\n  include:\n  - env: [*e, X=2]\n",
        "_env: &e {X: 1}\nenv:\n  global:\n  - *e\n  - X: 2\n",
        "jobs:\n  include:\n  - env: &a\n    - X=1\n    - Y=1\n  - env: *a\n",
    ] {
        assert_eq!(traps_in(text), [], "{text}");
    }
}
